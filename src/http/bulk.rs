//! Bulk data by URI (PS3.18 §10.4.1.1.5): every `BulkDataURI` of a metadata answer resolves here.
//!
//! Pixel data is negotiated as frames are. Invariant: codestreams are one part for each frame; only a single-part answer
//! holds them one after the other.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header;
use axum::response::Response;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::error::HttpError;
use super::extract::RetrieveRequest;
use super::frames::{BulkFormat, BulkWrapping, forms, frame_types};
use super::links::Links;
use super::multipart::writer::ResponsePart;
use super::range::ranged;
use super::represent::header_value;
use super::represent::{
    etag_of, etag_of_instance, lasting, many_parts, not_modified, one_part, part, still_lasting,
    unchanged, validated,
};
use crate::archive::content::Representation;
use crate::archive::open_instance::OpenInstance;
use crate::archive::services::frames::BulkValue;
use crate::archive::services::retrieve::InstanceRows;
use crate::archive::{Archive, ArchiveError};
use crate::auth::Action;
use crate::dicom::codec::transfer_syntax::{self, OCTETS};
use crate::dicom::media::{FramePreference, RepresentationPlan};
use crate::dicom::uid::InstanceName;
use crate::scope::Scope;

/// Returns one value, as multipart or single part.
///
/// # Errors
/// 404 for a path that no metadata names, 406 when no acceptable form can be made, 416 outside the value.
pub(super) async fn retrieve_bulk(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let name = ask.path.instance()?;
    let archive = &ask.api.app.archive;
    let instance = archive.open(&scope, &name).await?;
    let bulk = ask.path.bulk.as_deref().unwrap_or_default();
    let value = value(archive, &scope, &instance, &name, bulk).await?;
    let forms = forms(&ask.preferences(), &ask.api);
    let Some(choice) = choose(archive, &instance, &value, &forms) else {
        return Err(HttpError::not_acceptable(possible(
            archive, &instance, &value,
        )));
    };
    let location = format!("{}/bulkdata/{bulk}", ask.links.instance(&name));
    let found = BulkMatch {
        archive: archive.clone(),
        instance,
        value,
        choice,
        location,
    };
    let choice = &found.choice;
    let (wrap, media, syntax) = (choice.wrap, &choice.media, &choice.syntax);
    let representation = format!("bulkdata {wrap:?} {media} {syntax:?} {bulk}");
    let mut tag = etag_of_instance(found.instance.row.watermark, &representation);
    if wrap == BulkWrapping::Multipart {
        tag = format!("W/{tag}");
    }
    if not_modified(&ask.headers, &tag) {
        return still_lasting(&tag);
    }
    if found.choice.wrap == BulkWrapping::Single {
        let content_type = match &found.choice.syntax {
            Some(syntax) => format!("{}; transfer-syntax={syntax}", found.choice.media),
            None => found.choice.media.clone(),
        };
        let mut response = ranged(&ask.headers, found.content(1).await?, &tag).await?;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header_value(&content_type)?);
        return lasting(response, &tag);
    }
    if found.count() == 1 {
        return lasting(one_part(found.part(1).await?), &tag);
    }
    let media = found.choice.media.clone();
    lasting(many_parts(&media, found.parts()).await?, &tag)
}

/// A value with its own media type.
async fn value(
    archive: &Archive,
    scope: &Scope,
    instance: &OpenInstance,
    name: &InstanceName,
    path: &str,
) -> Result<BulkValue, ArchiveError> {
    let found = match archive.bulk(instance, path) {
        Ok(found) => found,
        // What stands in the metadata itself is served all the same.
        Err(ArchiveError::NotFound { .. }) => archive.inline_value(scope, name, path).await?,
        Err(error) => return Err(error),
    };
    let found = archive.recognized(instance, found).await?;
    with_media(archive, scope, name, found).await
}

async fn with_media(
    archive: &Archive,
    scope: &Scope,
    name: &InstanceName,
    mut value: BulkValue,
) -> Result<BulkValue, ArchiveError> {
    if value.is_document() {
        let subject = archive.subject(scope, name).await?;
        value.media = subject.document_media();
        if let Some(length) = subject.document_length() {
            value.end_at(length);
        }
    }
    Ok(value)
}

/// How a value is sent.
struct BulkChoice {
    wrap: BulkWrapping,
    media: String,
    syntax: Option<String>,
    /// How its frames are made; none for a value that is sent as it is.
    frames: Option<RepresentationPlan>,
}

/// The first form the value can take.
fn choose(
    archive: &Archive,
    instance: &OpenInstance,
    value: &BulkValue,
    forms: &[BulkFormat],
) -> Option<BulkChoice> {
    forms.iter().find_map(|form| {
        if value.has_frames() && instance.frame_count() > 0 {
            return choose_frames(archive, instance, value, form);
        }
        let media = [value.media.as_str(), OCTETS]
            .into_iter()
            .find(|media| form.range.covers_type(media))?;
        Some(BulkChoice {
            wrap: form.wrap,
            media: media.to_owned(),
            syntax: value.syntax_as(media).map(ToOwned::to_owned),
            frames: None,
        })
    })
}

fn choose_frames(
    archive: &Archive,
    instance: &OpenInstance,
    value: &BulkValue,
    form: &BulkFormat,
) -> Option<BulkChoice> {
    let preference = FramePreference {
        range: (&form.range.type_name, &form.range.subtype),
        syntax: form.syntax.preference(),
    };
    let (plan, media) = archive.plan_frames(&instance.row, preference)?;
    let layout = &instance.row.layout;
    let whole = matches!(plan, RepresentationPlan::Stored) && form.wrap == BulkWrapping::Single
        || !matches!(plan, RepresentationPlan::Encode(_))
            && transfer_syntax::is_native(&layout.transfer_syntax);
    if form.wrap == BulkWrapping::Single
        && matches!(plan, RepresentationPlan::Encode(_))
        && instance.frame_count() > 1
    {
        return None;
    }
    let syntax = if whole {
        value.syntax.clone()
    } else {
        plan.syntax(layout).to_owned()
    };
    Some(BulkChoice {
        wrap: form.wrap,
        media: media.to_owned(),
        syntax: Some(syntax),
        frames: (!whole).then_some(plan),
    })
}

/// The media types a value can be had in, for 406.
fn possible(archive: &Archive, instance: &OpenInstance, value: &BulkValue) -> Vec<String> {
    if value.has_frames() && instance.frame_count() > 0 {
        return frame_types(&archive.available(&instance.row));
    }
    vec![
        format!("multipart/related; type=\"{}\"", value.media),
        value.media.clone(),
    ]
}

/// A value that is there and how it is sent.
struct BulkMatch {
    archive: Archive,
    instance: Arc<OpenInstance>,
    value: BulkValue,
    choice: BulkChoice,
    location: String,
}

impl BulkMatch {
    /// Number of parts.
    fn count(&self) -> u32 {
        match self.choice.frames {
            Some(RepresentationPlan::Stored | RepresentationPlan::Encode(_)) => {
                self.instance.frame_count()
            }
            Some(RepresentationPlan::Native) | None => 1,
        }
    }

    async fn content(&self, number: u32) -> Result<Representation, ArchiveError> {
        match &self.choice.frames {
            None => self.archive.bulk_content(&self.instance, &self.value).await,
            Some(RepresentationPlan::Native) => self.archive.all_samples(&self.instance).await,
            Some(plan) => self.archive.frame(&self.instance, number, plan).await,
        }
    }

    async fn part(&self, number: u32) -> Result<ResponsePart, ArchiveError> {
        let content = self.content(number).await?.all().await?;
        let syntax = self.choice.syntax.as_deref();
        let location = self.location.clone();
        Ok(part(content, &self.choice.media, syntax, Some(location)))
    }

    fn parts(self) -> BoxStream<'static, Result<ResponsePart, ArchiveError>> {
        let numbers = 1..=self.count();
        let found = Arc::new(self);
        let part = move |number| {
            let found = found.clone();
            async move { found.part(number).await }
        };
        stream::iter(numbers).then(part).boxed()
    }
}

/// Returns every binary value, of all instances of the target: those served by URI, then those that stand in the metadata.
///
/// # Errors
/// 404 when there is none, 406 when none can be had in an acceptable form.
pub(super) async fn retrieve_all_bulk(ask: RetrieveRequest) -> Result<Response, HttpError> {
    all_values(ask, BulkKind::All).await
}

/// Returns the top-level pixel data of all instances of the target.
///
/// # Errors
/// As [`retrieve_all_bulk`].
pub(super) async fn retrieve_pixel_data(ask: RetrieveRequest) -> Result<Response, HttpError> {
    all_values(ask, BulkKind::Pixels).await
}

/// Which values are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BulkKind {
    All,
    /// Top-level pixel data.
    Pixels,
}

impl BulkKind {
    fn has(self, path: &str) -> bool {
        self == Self::All || matches!(path, "7FE00008" | "7FE00009" | "7FE00010")
    }
}

async fn all_values(ask: RetrieveRequest, kind: BulkKind) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let target = ask.path.parse()?;
    let mut forms = forms(&ask.preferences(), &ask.api);
    forms.retain(|form| form.wrap == BulkWrapping::Multipart);
    if forms.is_empty() {
        return Err(HttpError::not_acceptable([
            "multipart/related; type=\"*/*\"",
        ]));
    }
    let archive = ask.api.app.archive.clone();
    let version = archive.version(&scope, &target).await?;
    let tag = format!(
        "W/{}",
        etag_of(version, &format!("bulkdata {kind:?} {forms:?}"))
    );
    if not_modified(&ask.headers, &tag) {
        return unchanged(&tag);
    }
    let rows = archive.instances(&scope, &target).await?;
    let names = rows.map_ok(|row| row.name).boxed();
    let left_out = Arc::new(Mutex::new(Vec::new()));
    let asked = BulkRequest {
        archive,
        scope: scope.clone(),
        links: ask.links,
        forms: Arc::new(forms),
        left_out: left_out.clone(),
        kind,
    };
    let parts = asked.of_all(names);
    let mut parts = Box::pin(parts.peekable());
    let first = parts.as_mut().peek().await;
    match first {
        None => {
            let possible =
                std::mem::take(&mut *left_out.lock().unwrap_or_else(PoisonError::into_inner));
            Err(if possible.is_empty() {
                HttpError::not_found("Such bulk data")
            } else {
                HttpError::not_acceptable(possible)
            })
        }
        Some(Err(error)) => Err(HttpError::from(error)),
        Some(Ok(first)) => {
            let media = first.head.media_type.clone();
            validated(many_parts(&media, parts.boxed()).await?, &tag)
        }
    }
}

/// A request for all values of some kind.
#[derive(Clone)]
struct BulkRequest {
    archive: Archive,
    scope: Scope,
    links: Links,
    forms: Arc<Vec<BulkFormat>>,
    /// Media types of what is there but in no acceptable form: left out, and told when nothing remains.
    left_out: Arc<Mutex<Vec<String>>>,
    kind: BulkKind,
}

impl BulkRequest {
    fn of_all(
        self,
        names: InstanceRows<InstanceName>,
    ) -> BoxStream<'static, Result<ResponsePart, ArchiveError>> {
        names
            .and_then(move |name| self.clone().of_instance(name))
            .try_flatten()
            .boxed()
    }

    /// The values of one instance that can be had in an acceptable form, each looked at when it is its turn.
    async fn of_instance(
        self,
        name: InstanceName,
    ) -> Result<BoxStream<'static, Result<ResponsePart, ArchiveError>>, ArchiveError> {
        let instance = self.archive.open(&self.scope, &name).await?;
        let base = self.links.instance(&name);
        let (asked, name) = (Arc::new(self), Arc::new(name));
        let at_uri = {
            let (asked, instance) = (asked.clone(), instance.clone());
            stream::iter(0..instance.bulk.len()).filter_map(move |at| {
                let item = instance
                    .bulk
                    .get(at)
                    .filter(|item| asked.kind.has(&item.path));
                let value = item.map(|item| Ok(asked.archive.bulk_value(&instance, item)));
                std::future::ready(value)
            })
        };
        let inline = match asked.kind {
            BulkKind::All => asked.archive.inline_values(&asked.scope, &name).await?,
            BulkKind::Pixels => stream::empty().boxed(),
        };
        let parts = at_uri.chain(inline).and_then(move |found| {
            let (asked, instance) = (asked.clone(), instance.clone());
            let (name, base) = (name.clone(), base.clone());
            async move {
                let archive = &asked.archive;
                let found = archive.recognized(&instance, found).await?;
                let value = with_media(archive, &asked.scope, &name, found).await?;
                let Some(choice) = choose(archive, &instance, &value, &asked.forms) else {
                    note(&asked.left_out, possible(archive, &instance, &value));
                    return Ok::<_, ArchiveError>(stream::empty().boxed());
                };
                let location = format!("{base}/bulkdata/{}", value.path());
                let found = BulkMatch {
                    archive: archive.clone(),
                    instance: instance.clone(),
                    value,
                    choice,
                    location,
                };
                Ok(found.parts())
            }
        });
        Ok(parts.try_flatten().boxed())
    }
}

/// Adds what is not yet in the list.
fn note(list: &Mutex<Vec<String>>, names: Vec<String>) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    for name in names {
        if !list.contains(&name) {
            list.push(name);
        }
    }
}
