//! Bodies of requests about workitems: one data set, in memory that is reserved before it arrives.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use futures_util::StreamExt;

use super::super::content_type::{ContentType, ContentTypeError};
use super::super::error::{HttpError, ProblemType};
use super::super::layers::broken_body;
use super::super::represent::DICOM_XML;
use super::super::state::ApiState;
use super::refusals::refused;
use crate::archive::ArchiveError;
use crate::archive::lanes::Lane;
use crate::dicom::data_set::JsonDataSet;
use crate::dicom::query_parse::QueryDialect;
use crate::dicom::workitem::{Format, read, room};
use crate::memory::{Purpose, Reservation};

/// Longest body, in bytes.
const LONGEST: usize = 1 << 20;
/// Memory that is reserved at a time while a body arrives.
const STEP: usize = 64 << 10;

/// A body that arrived and was not read yet.
pub(in crate::http) struct SentWorkitem {
    bytes: Vec<u8>,
    format: Option<Format>,
    held: Reservation,
}

/// A data set and the memory it takes.
pub(in crate::http) struct Read {
    pub(in crate::http) data_set: JsonDataSet,
    pub(in crate::http) held: Reservation,
}

impl SentWorkitem {
    /// Receives a body.
    ///
    /// # Errors
    /// 415 for another type than the root takes, 413 for more than 1 MiB.
    pub(in crate::http) async fn of(
        api: &ApiState,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, HttpError> {
        let format = format(api, headers)?;
        Self::receive(api, body, Some(format)).await
    }

    /// As [`Self::of`], where there may be no body at all.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(in crate::http) async fn of_optional(
        api: &ApiState,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, HttpError> {
        if ContentType::of_request(headers) != Err(ContentTypeError::Missing) {
            return Self::of(api, headers, body).await;
        }
        let sent = Self::receive(api, body, None).await?;
        if sent.bytes.is_empty() {
            Ok(sent)
        } else {
            Err(unsupported(api))
        }
    }

    async fn receive(
        api: &ApiState,
        body: Body,
        format: Option<Format>,
    ) -> Result<Self, HttpError> {
        let archive = &api.app.archive;
        let seconds = archive.limits().idle_seconds;
        let idle = Duration::from_secs(seconds);
        let mut held = archive.budget().nothing(Purpose::Text);
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        loop {
            let next = tokio::time::timeout(idle, chunks.next()).await;
            let next = next.map_err(|_| {
                let silence = format!("no byte of the body came for {seconds} seconds");
                HttpError::new(ProblemType::RequestTimeout, silence)
            })?;
            let Some(chunk) = next else {
                break;
            };
            let chunk = chunk.map_err(|error| broken_body(&error))?;
            let length = bytes.len().saturating_add(chunk.len());
            if length > LONGEST {
                let reason = format!("the body may have {LONGEST} bytes at most");
                return Err(HttpError::payload_too_large(reason));
            }
            // A list that grows has a place of twice its size.
            let room = length.saturating_mul(2).next_multiple_of(STEP);
            held.grow_to(room).await.map_err(ArchiveError::from)?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(Self {
            bytes,
            format,
            held,
        })
    }

    /// Reads the data set; one that was left out is empty.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(in crate::http) async fn read(self, api: &ApiState) -> Result<Read, HttpError> {
        let Self {
            bytes,
            format,
            mut held,
        } = self;
        let Some(format) = format else {
            let data_set = JsonDataSet::new();
            return Ok(Read { data_set, held });
        };
        let archive = &api.app.archive;
        let before = held.bytes();
        let room = before.saturating_add(room(&bytes, format));
        held.grow_to(room).await.map_err(ArchiveError::from)?;
        let read = archive
            .lanes()
            .run(Lane::Text, move || Ok(read(&bytes, format)));
        let data_set = read
            .await?
            .map_err(|problem| refused(api, problem.into()))?;
        Ok(Read { data_set, held })
    }
}

fn format(api: &ApiState, headers: &HeaderMap) -> Result<Format, HttpError> {
    let content_type = ContentType::of_request(headers).map_err(|_| unsupported(api))?;
    let json = content_type.is("application/dicom+json") || content_type.is("application/json");
    match api.profile.dialect {
        QueryDialect::Service if json => Ok(Format::Array),
        QueryDialect::Standard if json => Ok(Format::Json),
        QueryDialect::Standard if content_type.is(DICOM_XML) => Ok(Format::Xml),
        _ => Err(unsupported(api)),
    }
}

fn unsupported(api: &ApiState) -> HttpError {
    HttpError::unsupported_media_type(match api.profile.dialect {
        QueryDialect::Service => {
            "The body must be application/dicom+json: an array of one data set."
        }
        QueryDialect::Standard => {
            "The body must be application/dicom+json or application/dicom+xml: one data set."
        }
    })
}
