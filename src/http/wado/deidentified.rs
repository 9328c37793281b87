//! De-identified instances: a retrieve with the parameter `deidentify` (not in the standard).
//!
//! Invariants: it needs a right of its own and no other; no header and no name of a file has a UID that was replaced; what
//! cannot be de-identified is left out and the answer says so, in its status and a `Warning`; other routes refuse the
//! parameter (`routes.rs`), so that nobody who asks for de-identified instances gets anything else. It is a parameter and
//! no header, so an answer of it has a URL of its own in every cache; and no cache keeps it.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::formats::{AHEAD, InstanceFormat, InstanceWrapping, KEPT, forms_of, zipped};
use crate::archive::services::deidentify::{Deidentifiable, DeidentifiedInstance};
use crate::archive::services::retrieve::{Content, InstanceRows};
use crate::archive::zip::ZipEntry;
use crate::archive::{Archive, ArchiveError, InstanceRow};
use crate::auth::Action;
use crate::dicom::deidentify::{DeidentifyOptions, DeidentifyOptionsError, DeidentifyProfile};
use crate::dicom::media::DICOM;
use crate::dicom::uid::{InstanceName, Target};
use crate::http::accept::RequestedTransferSyntax;
use crate::http::error::{HttpError, ProblemType};
use crate::http::extract::{DEIDENTIFY, RetrieveRequest};
use crate::http::original::wants_original;
use crate::http::represent::{
    OwnedTransferSyntaxPreference, body_of, header_value, many_parts, part, saved_as, warning,
};
use crate::scope::Scope;

/// What makes the instances of an answer.
#[derive(Clone)]
struct Deidentifier {
    archive: Archive,
    scope: Scope,
    profile: Arc<DeidentifyProfile>,
}

/// How much of a target can be sent.
#[derive(Default)]
struct Inventory {
    total: u64,
    /// Of these so many can be sent, for each form that is accepted.
    fitting: Vec<u64>,
    /// Why the first one cannot be de-identified that cannot.
    reason: Option<String>,
    /// The transfer syntax of one that can.
    syntax: Option<String>,
    /// Rows, when they are few.
    kept: Vec<InstanceRow>,
}

/// An instance that is being sent.
struct DeidentifiedPart {
    name: InstanceName,
    syntax: String,
    content: Content,
}

/// Returns the instances of a study or series, or one, de-identified, in their stored transfer syntax.
///
/// # Errors
/// 400 for options that are not known, 403 for options that the server does not allow, 404 for what does not exist, 406 when
/// nothing can be de-identified or no acceptable form can be made.
pub(super) async fn retrieve_deidentified(
    ask: &RetrieveRequest,
    options: &str,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Deidentify)?;
    let target = ask.path.parse()?;
    let archive = ask.api.app.archive.clone();
    let options =
        options
            .parse::<DeidentifyOptions>()
            .map_err(|error: DeidentifyOptionsError| {
                HttpError::invalid_query(DEIDENTIFY, &sentence(&error))
            })?;
    let profile = allowed_profile(&archive, options)?;
    ask.note.deidentified(profile.options);
    if wants_original(&ask.headers)? {
        return Err(HttpError::bad_request(
            ProblemType::InvalidRequest,
            "First versions are not de-identified: leave out the header or the parameter.",
        ));
    }
    let mut preferences = ask.preferences();
    for preference in &mut preferences {
        // Instances keep their transfer syntax, so that is the default.
        let syntax = &mut preference.transfer_syntax;
        syntax.get_or_insert(RequestedTransferSyntax::Any);
    }
    let forms = InstanceFormat::list(&preferences, &ask.api, &target);
    if forms.is_empty() {
        return Err(HttpError::not_acceptable(forms_of(&target)));
    }
    let deidentifier = Deidentifier {
        archive,
        scope,
        profile,
    };
    let mut response = match &target {
        Target::Instance(_) => deidentifier.one(&target, &forms).await?,
        Target::Study(_) | Target::Series(..) => deidentifier.many(&target, &forms).await?,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// How instances are de-identified with the options that a request names.
///
/// # Errors
/// 400 when the server has no key, 403 for options that it does not allow.
pub(in crate::http) fn allowed_profile(
    archive: &Archive,
    options: DeidentifyOptions,
) -> Result<Arc<DeidentifyProfile>, HttpError> {
    let profile = archive.deidentification(options)?;
    match profile.requestable.missing(options) {
        None => Ok(profile),
        Some(option) => Err(HttpError::new(
            ProblemType::Forbidden,
            format!(
                "The option {option} is not allowed in requests: this server allows those that STOWAGE_DEIDENTIFY_REQUEST_OPTIONS lists."
            ),
        )),
    }
}

impl Deidentifier {
    /// One instance.
    async fn one(&self, target: &Target, forms: &[InstanceFormat]) -> Result<Response, HttpError> {
        let mut rows = self.archive.instances(&self.scope, target).await?;
        let row = rows.next().await;
        let row = row.ok_or_else(|| HttpError::broken("an instance without a row"))??;
        let Some(form) = forms.iter().find(|form| fits(form, &row)) else {
            return Err(only_stored(&row.layout.transfer_syntax));
        };
        let sent = match self.make(&row).await? {
            Deidentifiable::Made(made) => sent(made, &row).await?,
            Deidentifiable::Refused(reason) => return Err(nothing(&reason)),
        };
        if form.wrap != InstanceWrapping::Single {
            return wrapped(form.wrap, stream::once(async { Ok(sent) }).boxed()).await;
        }
        let content_type = format!("{DICOM}; transfer-syntax={}", sent.syntax);
        let mut response = body_of(sent.content);
        let content_type = header_value(&content_type)?;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        saved_as(response, &format!("{}.dcm", sent.name.instance))
    }

    /// The instances of a study or series.
    async fn many(&self, target: &Target, forms: &[InstanceFormat]) -> Result<Response, HttpError> {
        let Inventory {
            total,
            fitting,
            reason,
            syntax,
            kept,
        } = self.take_inventory(target, forms).await?;
        let whole = fitting.iter().position(|count| *count == total);
        let chosen = whole.or_else(|| fitting.iter().position(|count| *count > 0));
        let chosen = chosen.and_then(|at| Some((forms.get(at)?, *fitting.get(at)?)));
        let Some((form, count)) = chosen else {
            return Err(match (syntax, reason) {
                (Some(syntax), _) => only_stored(&syntax),
                (None, Some(reason)) => nothing(&reason),
                (None, None) => HttpError::broken("a target without rows"),
            });
        };
        let rows = match total <= KEPT {
            true => stream::iter(kept.into_iter().map(Ok)).boxed(),
            false => self.archive.instances(&self.scope, target).await?,
        };
        let partial = count < total;
        let sent = self.send(rows, form.clone(), partial);
        let mut response = wrapped(form.wrap, sent).await?;
        if partial {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let left_out = total - count;
            let reason = reason.unwrap_or_else(|| "stored in other transfer syntaxes".to_owned());
            let text = format!("{left_out} of {total} instances were left out: {reason}");
            let headers = response.headers_mut();
            headers.insert(header::WARNING, warning(&quotable(&text))?);
        }
        Ok(response)
    }

    /// Finds out what can be sent, before the status line: makes all that is made of an instance before its first byte.
    async fn take_inventory(
        &self,
        target: &Target,
        forms: &[InstanceFormat],
    ) -> Result<Inventory, HttpError> {
        let rows = self.archive.instances(&self.scope, target).await?;
        let deidentifier = self.clone();
        let mut looked = rows
            .map_ok(move |row| {
                let deidentifier = deidentifier.clone();
                async move {
                    let refusal = match deidentifier.make(&row).await? {
                        Deidentifiable::Made(_) => None,
                        Deidentifiable::Refused(reason) => Some(reason),
                    };
                    Ok::<_, ArchiveError>((row, refusal))
                }
            })
            .try_buffered(AHEAD);
        let mut inventory = Inventory {
            fitting: vec![0; forms.len()],
            ..Inventory::default()
        };
        while let Some((row, refusal)) = looked.try_next().await? {
            inventory.total += 1;
            if refusal.is_none() {
                for (form, fitting) in forms.iter().zip(&mut inventory.fitting) {
                    *fitting += u64::from(fits(form, &row));
                }
                let syntax = &row.layout.transfer_syntax;
                inventory.syntax.get_or_insert_with(|| syntax.clone());
            }
            inventory.reason = inventory.reason.take().or(refusal);
            if inventory.total <= KEPT {
                inventory.kept.push(row);
            }
        }
        Ok(inventory)
    }

    /// Makes the instances of an answer; what cannot be made is left out where the answer says that something is.
    fn send(
        &self,
        rows: InstanceRows<InstanceRow>,
        form: InstanceFormat,
        partial: bool,
    ) -> BoxStream<'static, Result<DeidentifiedPart, ArchiveError>> {
        let deidentifier = self.clone();
        rows.map_ok(move |row| {
            let deidentifier = deidentifier.clone();
            let wanted = fits(&form, &row);
            async move {
                if !wanted && partial {
                    return Ok(None);
                }
                match deidentifier.make(&row).await? {
                    Deidentifiable::Made(made) if wanted => sent(made, &row).await.map(Some),
                    Deidentifiable::Refused(_) if partial => Ok(None),
                    // It was replaced by another version since it was counted: too late to say so in the status.
                    _ => Err(ArchiveError::Busy {
                        what: "an update of what is being read",
                    }),
                }
            }
        })
        .try_buffered(AHEAD)
        .try_filter_map(|sent| std::future::ready(Ok(sent)))
        .boxed()
    }

    async fn make(&self, row: &InstanceRow) -> Result<Deidentifiable, ArchiveError> {
        let made = self.archive.try_deidentify(&self.scope, row, &self.profile);
        Box::pin(made).await
    }
}

/// Whether an instance can be sent in a form: it keeps its transfer syntax.
fn fits(form: &InstanceFormat, row: &InstanceRow) -> bool {
    match &form.syntax {
        OwnedTransferSyntaxPreference::Uid(uid) => *uid == row.layout.transfer_syntax,
        // None was named.
        OwnedTransferSyntaxPreference::Stored
        | OwnedTransferSyntaxPreference::StoredForTheWeb
        | OwnedTransferSyntaxPreference::Default => true,
    }
}

async fn sent(
    made: DeidentifiedInstance,
    row: &InstanceRow,
) -> Result<DeidentifiedPart, ArchiveError> {
    Ok(DeidentifiedPart {
        name: made.name,
        syntax: row.layout.transfer_syntax.clone(),
        content: made.file.all().await?,
    })
}

/// Instances as the parts of an answer, or the files of a ZIP.
async fn wrapped(
    wrap: InstanceWrapping,
    sent: BoxStream<'static, Result<DeidentifiedPart, ArchiveError>>,
) -> Result<Response, HttpError> {
    if wrap == InstanceWrapping::Zip {
        let entries = sent.map_ok(|sent| {
            let name = &sent.name;
            ZipEntry {
                name: format!("{}/{}/{}.dcm", name.study, name.series, name.instance),
                content: sent.content,
            }
        });
        return saved_as(zipped(entries.boxed()), "deidentified.zip");
    }
    // Of the stored instance a part says no more than its bytes do.
    let parts = sent.map_ok(|sent| part(sent.content, DICOM, Some(&sent.syntax), None));
    many_parts(DICOM, parts.boxed()).await
}

/// Another transfer syntax was asked for than the stored one.
fn only_stored(syntax: &str) -> HttpError {
    HttpError::not_acceptable([format!("{DICOM}; transfer-syntax={syntax}")])
}

/// Nothing of what was asked for can be de-identified.
fn nothing(reason: &str) -> HttpError {
    HttpError::new(ProblemType::NotAcceptable, sentence(&reason))
}

/// Of a text, what may stand in a quoted string.
fn quotable(text: &str) -> String {
    let plain = |c: &char| (c.is_ascii_graphic() || *c == ' ') && !matches!(c, '"' | '\\');
    text.chars().filter(plain).take(500).collect()
}

fn sentence(text: &impl ToString) -> String {
    let text = text.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    let first = first.into_iter().collect::<String>();
    format!("{first}{}.", letters.as_str())
}
