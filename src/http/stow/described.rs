//! Bodies of metadata and bulk data: `multipart/related` of `application/dicom+json` or `application/dicom+xml` (PS3.18 §10.5.2).

use std::time::Duration;

use axum::body::Body;

use super::refusals::{broken, hopeless, next_in_time, refused_type};
use crate::archive::ArchiveError;
use crate::archive::ingest::{BulkDataBuffer, StoreRequest};
use crate::dicom::compose::{LONGEST_METADATA, SentMetadata};
use crate::http::content_type::ContentType;
use crate::http::error::{HttpError, ProblemType};
use crate::http::multipart::{BodyLimits, BodyPart, Parts};
use crate::memory::Reservation;

/// Longest metadata of a request with the headers of its bulk data, in bytes.
const METADATA: usize = 4 * LONGEST_METADATA;
/// Bytes that a part costs beside its text or headers.
const EACH: usize = 128;

/// Which metadata the body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum MetadataModel {
    /// One array of data sets in the first part.
    Json,
    /// One Native DICOM Model in each part of that type.
    Xml,
}

impl MetadataModel {
    /// The model of a root type, in lower case.
    pub(super) fn of(root_type: &str) -> Option<Self> {
        match root_type {
            "application/dicom+json" => Some(Self::Json),
            "application/dicom+xml" => Some(Self::Xml),
            _ => None,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/dicom+json",
            Self::Xml => "application/dicom+xml",
        }
    }

    fn is_metadata(self, content_type: &ContentType) -> bool {
        match self {
            Self::Json => {
                content_type.is("application/dicom+json") || content_type.is("application/json")
            }
            Self::Xml => content_type.is("application/dicom+xml"),
        }
    }
}

/// Stores what the parts describe; the reason when the body broke off.
pub(super) async fn store(
    request: &mut StoreRequest,
    body: Body,
    boundary: &str,
    model: MetadataModel,
    idle: Duration,
) -> Result<Option<String>, HttpError> {
    let mut parts = Parts::new(body.into_data_stream(), boundary, BodyLimits::NONE);
    let (mut texts, mut bulk_buffer) = (Vec::new(), request.bulk_buffer());
    let mut held = Texts {
        bytes: 0,
        room: request.text_room(),
    };
    loop {
        let mut part = match next_in_time(idle, parts.next()).await? {
            Ok(Some(part)) => part,
            Ok(None) => break,
            // Nothing can be composed of a part of the bulk data.
            Err(error) => return broken(error),
        };
        let content_type = content_type(&part, model)?;
        held.add(EACH).await?;
        let taken = if model.is_metadata(&content_type) {
            request.count_part()?;
            let text = text(&mut part, &mut held, idle).await?;
            text.map(|text| texts.push(text))
        } else {
            begin_bulk(request, &mut bulk_buffer, &part, &content_type, &mut held).await?;
            bulk(request, &mut bulk_buffer, &mut part, idle).await?
        };
        if let Err(reason) = taken {
            return Ok(Some(reason));
        }
    }
    let instances = match model {
        MetadataModel::Json => request.split(texts).await.map_err(refused_json)?,
        MetadataModel::Xml => texts.into_iter().map(SentMetadata::Xml).collect(),
    };
    if bulk_buffer.is_ambiguous(instances.len()) {
        return Err(HttpError::bad_request(
            ProblemType::InvalidBody,
            "each bulk data part needs a Content-Location, the BulkDataURI of its attribute; only the one part of one instance can do without",
        ));
    }
    request.store_described(instances, bulk_buffer).await?;
    drop(held);
    Ok(request.is_hopeless().then(hopeless))
}

fn refused_json(error: ArchiveError) -> HttpError {
    match error {
        ArchiveError::Invalid { reason } => {
            HttpError::bad_request(ProblemType::InvalidBody, reason)
        }
        error => error.into(),
    }
}

/// The type of a part; the root part, which is the first, has that of the request when it names none (RFC 2387 §3.1).
fn content_type(part: &BodyPart<'_>, model: MetadataModel) -> Result<ContentType, HttpError> {
    let named = part.headers.content_type();
    let named = named.or((part.number == 1).then_some(model.media_type()));
    let found = named.map(ContentType::parse);
    found.and_then(Result::ok).ok_or_else(|| {
        let reason = format!("part {} has no Content-Type that can be read", part.number);
        refused_type(&reason)
    })
}

/// The text of a metadata part, or the reason why the body broke off.
async fn text(
    part: &mut BodyPart<'_>,
    held: &mut Texts,
    idle: Duration,
) -> Result<Result<Vec<u8>, String>, HttpError> {
    let mut text = Vec::new();
    loop {
        match next_in_time(idle, part.chunk()).await? {
            Ok(Some(chunk)) => {
                held.add(chunk.len()).await?;
                text.extend_from_slice(&chunk);
            }
            Ok(None) => return Ok(Ok(text)),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
}

/// What stays in memory until the request ends.
struct Texts {
    bytes: usize,
    room: Reservation,
}

impl Texts {
    /// Counts and reserves it: a text that grows has a place of twice its size, and is taken apart into copies.
    async fn add(&mut self, more: usize) -> Result<(), HttpError> {
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes > METADATA {
            return Err(too_much());
        }
        let step = (2 * self.bytes).next_multiple_of(64 << 10);
        if step > self.room.bytes() {
            let reserved = self.room.grow_to(step.next_power_of_two()).await;
            reserved.map_err(ArchiveError::from)?;
        }
        Ok(())
    }
}

fn too_much() -> HttpError {
    let reason = format!(
        "a request may hold {METADATA} bytes of metadata at most, with the headers of its parts: send the rest in another one, \
         large values as bulk data"
    );
    HttpError::payload_too_large(reason)
}

/// Notes what the headers of a bulk data part say.
async fn begin_bulk(
    request: &mut StoreRequest,
    bulk_buffer: &mut BulkDataBuffer,
    part: &BodyPart<'_>,
    content_type: &ContentType,
    held: &mut Texts,
) -> Result<(), HttpError> {
    // A lone picture, video or document needs no place: it can be one thing only.
    let location = part.headers.content_location().unwrap_or_default();
    let media = content_type.essence();
    let syntax = content_type.parameter("transfer-syntax");
    held.add(location.len() + media.len() + syntax.map_or(0, str::len))
        .await?;
    let (location, media) = (location.to_owned(), media.to_owned());
    Ok(request.begin_bulk(bulk_buffer, location, media, syntax.map(str::to_owned))?)
}

/// Takes the bytes of a bulk data part, or says why the body broke off.
async fn bulk(
    request: &mut StoreRequest,
    bulk_buffer: &mut BulkDataBuffer,
    part: &mut BodyPart<'_>,
    idle: Duration,
) -> Result<Result<(), String>, HttpError> {
    loop {
        match next_in_time(idle, part.chunk()).await? {
            Ok(Some(chunk)) => request.write_bulk(bulk_buffer, chunk).await?,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
}
