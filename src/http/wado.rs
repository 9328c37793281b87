//! WADO-RS objects: `GET` on study, series and instance (PS3.18 §10.4, dicom-service §4).

pub(super) mod deidentified;
mod formats;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};

use super::accept::AcceptItem;
use super::bulk::retrieve_all_bulk;
use super::error::HttpError;
use super::extract::{DEIDENTIFY, RetrieveRequest};
use super::links::Links;
use super::original::{ORIGINAL, varying, wants_original};
use super::range::{OnlyPart, ranged, ranged_part};
use super::represent::{
    OwnedTransferSyntaxPreference, etag_of, etag_of_instance, header_value, lasting, many_parts,
    not_modified, part, saved_as, still_lasting, unchanged, validated, warned,
};
use crate::archive::InstanceRow;
use crate::archive::content::Representation;
use crate::archive::services::retrieve::{Content, InstanceRows};
use crate::archive::zip::ZipEntry;
use crate::archive::{Archive, ArchiveError};
use crate::auth::Action;
use crate::dicom::codec::transfer_syntax::OCTETS;
use crate::dicom::media::{DICOM, RepresentationPlan};
use crate::dicom::uid::Target;
use crate::scope::Scope;
use formats::{AHEAD, InstanceFormat, InstanceWrapping, KEPT, ZIP, forms_of, zipped};

/// Returns the instances of a study or series, or one instance, as Part 10 files.
///
/// # Errors
/// 400 for a malformed UID, 404 for what does not exist, 406 when no acceptable form can be made.
pub(super) async fn retrieve_instances(ask: RetrieveRequest) -> Result<Response, HttpError> {
    if let Some(options) = ask.query.first(DEIDENTIFY) {
        return Box::pin(deidentified::retrieve_deidentified(&ask, options)).await;
    }
    let scope = ask.access.may(Action::Read)?;
    let target = ask.path.parse()?;
    let original = wants_original(&ask.headers)?;
    let preferences = ask.preferences();
    if wants_bulk_data(&preferences) {
        return retrieve_all_bulk(ask).await;
    }
    let forms = InstanceFormat::list(&preferences, &ask.api, &target);
    if forms.is_empty() {
        return Err(HttpError::not_acceptable(forms_of(&target)));
    }
    let (archive, links) = (&ask.api.app.archive, &ask.links);
    let rows = versions(archive, &scope, &target, original).await?;
    let response = match &target {
        Target::Instance(_) => {
            let headers = &ask.headers;
            one_instance(archive, &scope, rows, &forms, (links, headers)).await?
        }
        Target::Study(_) | Target::Series(..) => {
            let version = archive.version(&scope, &target).await?;
            let representation = match original {
                true => format!("{ORIGINAL} {forms:?}"),
                false => format!("{forms:?}"),
            };
            let tag = format!("W/{}", etag_of(version, &representation));
            if not_modified(&ask.headers, &tag) {
                return unchanged(&tag).map(varying);
            }
            let wanted = CollectionRequest {
                scope: &scope,
                target: &target,
                forms: &forms,
                original,
            };
            let response = many_instances(archive, wanted, rows, links).await?;
            if response.status() == StatusCode::OK {
                validated(response, &tag)?
            } else {
                response
            }
        }
    };
    Ok(varying(response))
}

/// Rows of a target: of the versions that are stored now, or of the first ones.
async fn versions(
    archive: &Archive,
    scope: &Scope,
    target: &Target,
    original: bool,
) -> Result<InstanceRows<InstanceRow>, ArchiveError> {
    match original {
        true => archive.first_versions(scope, target).await,
        false => archive.instances(scope, target).await,
    }
}

/// Whether parts that are octets are wished for more than files: then the target's bulk data is meant (PS3.18 §10.4.4).
fn wants_bulk_data(preferences: &[AcceptItem]) -> bool {
    let found = preferences.iter().find_map(|preference| {
        let range = preference.range();
        if range.covers_type(DICOM) || range.covers_type(ZIP) {
            return Some(false);
        }
        (preference.single().is_none() && range.covers_type(OCTETS)).then_some(true)
    });
    found.unwrap_or(false)
}

/// What is asked of a study or series.
#[derive(Clone, Copy)]
struct CollectionRequest<'a> {
    scope: &'a Scope,
    target: &'a Target,
    forms: &'a [InstanceFormat],
    /// First versions are meant.
    original: bool,
}

async fn one_instance(
    archive: &Archive,
    scope: &Scope,
    mut rows: InstanceRows<InstanceRow>,
    forms: &[InstanceFormat],
    (links, headers): (&Links, &HeaderMap),
) -> Result<Response, HttpError> {
    let row = rows
        .next()
        .await
        .ok_or_else(|| HttpError::broken("an instance without a row"))??;
    let chosen = forms
        .iter()
        .find_map(|form| Some((form, archive.plan_instance(&row, form.syntax.preference())?)));
    let Some((form, plan)) = chosen else {
        let list: Vec<String> = archive
            .available(&row)
            .iter()
            .map(|ts| format!("application/dicom; transfer-syntax={ts}"))
            .collect();
        return Err(HttpError::not_acceptable(list));
    };
    let syntax = plan.syntax(&row.layout);
    let content_type = format!("{DICOM}; transfer-syntax={syntax}");
    // A file that was stored without meta information is another one when its bytes are asked for.
    let (wrap, preference) = (form.wrap, &form.syntax);
    let location = links.instance(&row.name);
    let mut representation = format!("file {wrap:?} {preference:?} {syntax}");
    if form.wrap == InstanceWrapping::Multipart {
        representation = format!("{representation} {location}");
    }
    let mut tag = etag_of_instance(row.watermark, &representation);
    if form.wrap == InstanceWrapping::Zip {
        tag = format!("W/{tag}");
    }
    if not_modified(headers, &tag) {
        return still_lasting(&tag);
    }
    let file = archive.produce(scope, &row, &plan).await?;
    let response = match form.wrap {
        InstanceWrapping::Single => {
            let mut response = ranged(headers, file, &tag).await?;
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, header_value(&content_type)?);
            saved_as(response, &format!("{}.dcm", row.name.instance))?
        }
        InstanceWrapping::Zip => {
            let name = format!("{}.dcm", row.name.instance);
            let content = file.all().await?;
            let entry = stream::once(async move { Ok(ZipEntry { name, content }) });
            saved_as(zipped(entry.boxed()), &format!("{}.zip", row.name.instance))?
        }
        InstanceWrapping::Multipart => {
            let part = OnlyPart {
                digest: &row.digest,
                media: DICOM,
                syntax: Some(syntax),
                location,
            };
            ranged_part(headers, file, part, &tag).await?
        }
    };
    lasting(warned(response, archive, row.watermark).await, &tag)
}

async fn many_instances(
    archive: &Archive,
    wanted: CollectionRequest<'_>,
    mut rows: InstanceRows<InstanceRow>,
    links: &Links,
) -> Result<Response, HttpError> {
    let CollectionRequest { scope, forms, .. } = wanted;
    // Plans are counted before the status line; of few instances the rows are kept, of many they are read again.
    let mut made = vec![0_u64; forms.len()];
    let mut total = 0_u64;
    let only_stored = forms
        .first()
        .is_some_and(|f| !matches!(f.syntax, OwnedTransferSyntaxPreference::Uid(_)));
    if only_stored {
        (made, total) = (vec![1], 1);
    } else {
        let mut kept = Vec::new();
        while let Some(row) = rows.next().await {
            let row = row?;
            total += 1;
            for (form, made) in forms.iter().zip(&mut made) {
                *made += u64::from(
                    archive
                        .plan_instance(&row, form.syntax.preference())
                        .is_some(),
                );
            }
            if total <= KEPT {
                kept.push(row);
            }
        }
        rows = if total <= KEPT {
            stream::iter(kept.into_iter().map(Ok)).boxed()
        } else {
            drop(kept);
            versions(archive, scope, wanted.target, wanted.original).await?
        };
    }
    // The first wish that every instance can meet, else the first that any can.
    let whole = made.iter().position(|m| *m == total);
    let Some(at) = whole.or_else(|| made.iter().position(|m| *m > 0)) else {
        return Err(HttpError::not_acceptable([
            "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
        ]));
    };
    let (wrap, syntax) = forms.get(at).map_or(
        (
            InstanceWrapping::Multipart,
            OwnedTransferSyntaxPreference::Stored,
        ),
        |f| (f.wrap, f.syntax.clone()),
    );
    let status = if whole.is_some() {
        StatusCode::OK
    } else {
        StatusCode::PARTIAL_CONTENT
    };
    let (archive, scope) = (archive.clone(), scope.clone());
    let (links, syntax) = (links.clone(), Arc::new(syntax));
    let parts = rows
        .map_ok(move |row| {
            let plan = archive.plan_instance(&row, syntax.preference());
            let (archive, scope) = (archive.clone(), scope.clone());
            let syntax = syntax.clone();
            async move {
                let Some(plan) = plan else { return Ok(None) };
                let producer = Producer {
                    archive: &archive,
                    scope: &scope,
                };
                producer.part(row, plan, &syntax).await
            }
        })
        .try_buffered(AHEAD)
        .try_filter_map(|part| std::future::ready(Ok(part)))
        .boxed();
    let mut response = if wrap == InstanceWrapping::Zip {
        let entries = parts.map_ok(|(row, _, content)| ZipEntry {
            name: format!(
                "{}/{}/{}.dcm",
                row.name.study, row.name.series, row.name.instance
            ),
            content,
        });
        let name = match wanted.target {
            Target::Study(study) => study.as_str(),
            Target::Series(_, series) => series.as_str(),
            Target::Instance(name) => name.instance.as_str(),
        };
        saved_as(zipped(entries.boxed()), &format!("{name}.zip"))?
    } else {
        let parts = parts.map_ok(move |(row, plan, content)| {
            let syntax = plan.syntax(&row.layout);
            part(
                content,
                DICOM,
                Some(syntax),
                Some(links.instance(&row.name)),
            )
        });
        many_parts(DICOM, parts.boxed()).await?
    };
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        let warning = "299 stowage: \"Instances that cannot be had in the transfer syntax asked for were left out\"";
        response
            .headers_mut()
            .insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(response)
}

/// Makes the parts of an answer.
struct Producer<'a> {
    archive: &'a Archive,
    scope: &'a Scope,
}

impl Producer<'_> {
    /// The part of one instance; one that cannot be converted comes as stored when no syntax was named, else it is
    /// left out, so that it does not spoil the others.
    async fn part(
        &self,
        row: InstanceRow,
        plan: RepresentationPlan,
        preference: &OwnedTransferSyntaxPreference,
    ) -> Result<Option<(InstanceRow, RepresentationPlan, Content)>, ArchiveError> {
        let produced = self.archive.produce(self.scope, &row, &plan);
        let opened = produced.and_then(Representation::all).await;
        let (plan, content) = match opened {
            Ok(content) => (plan, content),
            Err(error) if error.is_about_pixels() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an instance cannot be converted"
                );
                if matches!(preference, OwnedTransferSyntaxPreference::Uid(_)) {
                    return Ok(None);
                }
                (RepresentationPlan::Stored, self.archive.stored(&row).await?)
            }
            Err(error) => return Err(error),
        };
        Ok(Some((row, plan, content)))
    }
}
