//! Bodies of metadata and bulk data: `multipart/related` of `application/dicom+json` or `application/dicom+xml` (PS3.18 §10.5.2).

use std::time::Duration;

use axum::body::Body;

use super::{broken, next_in_time, refused_type};
use crate::archive::store::{Shelf, StoreRequest};
use crate::dicom::compose::{LONGEST_METADATA, Metadata};
use crate::http::content_type::ContentType;
use crate::http::error::{HttpError, Slug};
use crate::http::multipart::{Limits, Part, Parts};

/// Longest metadata of a request with the headers of its bulk data, in bytes.
const METADATA: usize = 4 * LONGEST_METADATA;
/// Bytes that a part costs beside its text or headers.
const EACH: usize = 128;

/// Which metadata the body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// One array of data sets in the first part.
    Json,
    /// One Native DICOM Model in each part of that type.
    Xml,
}

impl Model {
    /// The model of a root type, in lower case.
    pub(super) fn of(root_type: &str) -> Option<Self> {
        match root_type {
            "application/dicom+json" => Some(Self::Json),
            "application/dicom+xml" => Some(Self::Xml),
            _ => None,
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

    /// The data sets of all metadata parts, `most` at most.
    fn instances(self, texts: Vec<Vec<u8>>, most: u64) -> Result<Vec<Metadata>, HttpError> {
        if self == Self::Xml {
            return Ok(texts.into_iter().map(Metadata::Xml).collect());
        }
        let mut instances = Vec::new();
        for text in texts {
            let split = Metadata::split(&text, most.saturating_sub(instances.len() as u64));
            let refused = |e| {
                HttpError::bad_request(Slug::InvalidBody, format!("{e}; send one array of objects"))
            };
            instances.append(&mut split.map_err(refused)?);
        }
        Ok(instances)
    }
}

/// Stores what the parts describe; the reason when the body broke off.
pub(super) async fn store(
    request: &mut StoreRequest,
    body: Body,
    boundary: &str,
    model: Model,
    idle: Duration,
) -> Result<Option<String>, HttpError> {
    let mut parts = Parts::new(body.into_data_stream(), boundary, Limits::NONE);
    let (mut texts, mut shelf) = (Vec::new(), request.shelf());
    let mut held = 0;
    loop {
        let mut part = match next_in_time(idle, parts.next()).await? {
            Ok(Some(part)) => part,
            Ok(None) => break,
            // Nothing can be composed of a part of the bulk data.
            Err(error) => return broken(error),
        };
        let content_type = content_type(&part)?;
        held += EACH;
        let taken = if model.is_metadata(&content_type) {
            request.count_part()?;
            let text = text(&mut part, &mut held, idle).await?;
            text.map(|text| texts.push(text))
        } else {
            begin_bulk(request, &mut shelf, &part, &content_type, &mut held)?;
            bulk(request, &mut shelf, &mut part, idle).await?
        };
        if let Err(reason) = taken {
            return Ok(Some(reason));
        }
    }
    let instances = model.instances(texts, request.parts_left())?;
    if shelf.is_ambiguous(instances.len()) {
        return Err(HttpError::bad_request(
            Slug::InvalidBody,
            "each bulk data part needs a Content-Location, the BulkDataURI of its attribute; only the one part of one instance can do without",
        ));
    }
    request.store_described(instances, shelf).await?;
    Ok(None)
}

fn content_type(part: &Part<'_>) -> Result<ContentType, HttpError> {
    let found = part.headers.content_type().map(ContentType::parse);
    found.and_then(Result::ok).ok_or_else(|| {
        let reason = format!("part {} has no Content-Type that can be read", part.number);
        refused_type(&reason)
    })
}

/// The text of a metadata part, or the reason why the body broke off.
async fn text(
    part: &mut Part<'_>,
    held: &mut usize,
    idle: Duration,
) -> Result<Result<Vec<u8>, String>, HttpError> {
    let mut text = Vec::new();
    loop {
        match next_in_time(idle, part.chunk()).await? {
            Ok(Some(chunk)) => {
                hold(held, chunk.len())?;
                text.extend_from_slice(&chunk);
            }
            Ok(None) => return Ok(Ok(text)),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
}

/// Counts what stays in memory until the request ends.
fn hold(held: &mut usize, more: usize) -> Result<(), HttpError> {
    *held = held.saturating_add(more);
    if *held <= METADATA {
        return Ok(());
    }
    let reason = format!(
        "a request may hold {METADATA} bytes of metadata at most, with the headers of its parts: send the rest in another one, \
         large values as bulk data"
    );
    Err(HttpError::payload_too_large(reason))
}

/// Notes what the headers of a bulk data part say.
fn begin_bulk(
    request: &mut StoreRequest,
    shelf: &mut Shelf,
    part: &Part<'_>,
    content_type: &ContentType,
    held: &mut usize,
) -> Result<(), HttpError> {
    // A lone picture, video or document needs no place: it can be one thing only.
    let location = part.headers.content_location().unwrap_or_default();
    let media = content_type.essence();
    let syntax = content_type.parameter("transfer-syntax");
    hold(
        held,
        location.len() + media.len() + syntax.map_or(0, str::len),
    )?;
    let (location, media) = (location.to_owned(), media.to_owned());
    Ok(request.begin_bulk(shelf, location, media, syntax.map(str::to_owned))?)
}

/// Takes the bytes of a bulk data part, or says why the body broke off.
async fn bulk(
    request: &mut StoreRequest,
    shelf: &mut Shelf,
    part: &mut Part<'_>,
    idle: Duration,
) -> Result<Result<(), String>, HttpError> {
    loop {
        match next_in_time(idle, part.chunk()).await? {
            Ok(Some(chunk)) => request.write_bulk(shelf, chunk).await?,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
}
