//! Bodies of metadata and bulk data: `multipart/related` of `application/dicom+json` or `application/dicom+xml` (PS3.18 §10.5.2).

use std::time::Duration;

use axum::body::Body;

use super::{broken, next_in_time, refused_type};
use crate::archive::store::{Attached, StoreRequest};
use crate::dicom::compose::{LONGEST_METADATA, Metadata};
use crate::http::content_type::ContentType;
use crate::http::error::{HttpError, Slug};
use crate::http::multipart::{Limits, Part, Parts};

/// Longest metadata of a request, in bytes.
const METADATA: usize = 4 * LONGEST_METADATA;

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

    fn instances(self, texts: Vec<Vec<u8>>) -> Result<Vec<Metadata>, HttpError> {
        if self == Self::Xml {
            return Ok(texts.into_iter().map(Metadata::Xml).collect());
        }
        let mut instances = Vec::new();
        for text in texts {
            let split = Metadata::split(&text);
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
    let (mut texts, mut attached) = (Vec::new(), Vec::new());
    let mut held = 0;
    loop {
        let mut part = match next_in_time(idle, parts.next()).await? {
            Ok(Some(part)) => part,
            Ok(None) => break,
            // Nothing can be composed of a part of the bulk data.
            Err(error) => return broken(error),
        };
        let number = part.number;
        let content_type = content_type(&part)?;
        if model.is_metadata(&content_type) {
            let text = match text(&mut part, METADATA - held, idle).await? {
                Ok(text) => text,
                Err(reason) => return Ok(Some(reason)),
            };
            held += text.len();
            texts.push(text);
        } else {
            let location = part.headers.content_location().ok_or_else(|| {
                let reason = format!(
                    "part {number} needs a Content-Location: the BulkDataURI of its attribute"
                );
                HttpError::bad_request(Slug::InvalidBody, reason)
            })?;
            let location = location.to_owned();
            match attach(request, &mut part, location, &content_type, idle).await? {
                Ok(part) => attached.push(part),
                Err(reason) => return Ok(Some(reason)),
            }
        }
    }
    let instances = model.instances(texts)?;
    request.store_described(instances, &attached).await?;
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
    most: usize,
    idle: Duration,
) -> Result<Result<Vec<u8>, String>, HttpError> {
    let mut text = Vec::new();
    loop {
        match next_in_time(idle, part.chunk()).await? {
            Ok(Some(chunk)) if text.len() + chunk.len() > most => {
                let reason = format!(
                    "a request may hold {METADATA} bytes of metadata at most: send the rest in another one, large values as bulk data"
                );
                return Err(HttpError::payload_too_large(reason));
            }
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => return Ok(Ok(text)),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
}

/// Takes a bulk data part, or says why the body broke off.
async fn attach(
    request: &mut StoreRequest,
    part: &mut Part<'_>,
    location: String,
    content_type: &ContentType,
    idle: Duration,
) -> Result<Result<Attached, String>, HttpError> {
    let mut held = request.begin_part()?;
    loop {
        match next_in_time(idle, part.chunk()).await? {
            Ok(Some(chunk)) => request.write(&mut held, chunk).await?,
            Ok(None) => break,
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    let media = content_type.essence().to_owned();
    let syntax = content_type.parameter("transfer-syntax").map(str::to_owned);
    Ok(Ok(request.attach(held, location, media, syntax).await?))
}
