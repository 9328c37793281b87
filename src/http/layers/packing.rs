//! Which answers are compressed: text for those who accept it, while there is memory for another encoder.
//!
//! Invariant: an encoder's state is reserved for as long as the answer lives, and a subject cannot have all encoders; without
//! memory for one the answer goes out as it is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use tower_http::compression::predicate::Predicate;
use tower_http::compression::{CompressionLayer, CompressionLevel};

use super::admission::address;
use super::guarded::GuardedBody;
use crate::http::links::LinksConfig;
use crate::memory::{MemoryBudget, Purpose};
use crate::shares::Shares;

/// Smallest body worth compressing, in bytes.
pub(in crate::http) const MIN_COMPRESSED: u64 = 1024;
/// Bytes that an encoder holds.
const ENCODER: usize = 384 << 10;
/// Part of the memory budget that encoders may take.
const PART: usize = 8;

/// Memory for encoders.
#[derive(Debug, Clone)]
pub struct Packing {
    encoders: Shares,
    budget: MemoryBudget,
    links: LinksConfig,
}

impl Packing {
    /// Encoders within an eighth of a budget; `links` says which proxies are believed about who asks.
    #[must_use]
    pub fn new(budget: MemoryBudget, links: LinksConfig) -> Self {
        Self {
            encoders: Shares::new((budget.bytes() / PART / ENCODER) as u64),
            budget,
            links,
        }
    }
}

/// An answer that there is no encoder for.
#[derive(Debug, Clone, Copy)]
struct IdentityBody;

/// Reserves the encoder of an answer that would be compressed; belongs right inside of [`compression`].
pub async fn reserve_encoder(
    State(packing): State<Arc<Packing>>,
    request: Request,
    next: Next,
) -> Response {
    let accepts = request.headers().contains_key(ACCEPT_ENCODING);
    let subject = accepts.then(|| address(&packing.links, &request));
    let mut response = next.run(request).await;
    let Some(subject) = subject.filter(|_| is_worth_it(&response)) else {
        return response;
    };
    let share = packing.encoders.try_take(&subject, None, 1);
    let reserved = packing.budget.try_reserve(Purpose::Answers, ENCODER);
    match (share, reserved) {
        (Ok(share), Ok(reserved)) => {
            response.map(|body| Body::new(GuardedBody::new(body, (share, reserved))))
        }
        _ => {
            response.extensions_mut().insert(IdentityBody);
            response
        }
    }
}

/// gzip for clients that accept it, where it helps: see [`TextOnly`].
#[must_use]
pub fn compression() -> CompressionLayer<TextOnly> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(TextOnly)
}

/// JSON, XML and text of at least 1 KiB; never multipart, DICOM, pictures or byte ranges.
#[derive(Debug, Clone, Copy)]
pub struct TextOnly;

impl Predicate for TextOnly {
    fn should_compress<B>(&self, response: &http::Response<B>) -> bool
    where
        B: http_body::Body,
    {
        response.extensions().get::<IdentityBody>().is_none() && is_worth_it(response)
    }
}

fn is_worth_it<B: http_body::Body>(response: &http::Response<B>) -> bool {
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let text = essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(essence.as_str(), "application/json" | "application/xml");
    let known_small = response
        .body()
        .size_hint()
        .upper()
        .is_some_and(|size| size < MIN_COMPRESSED);
    let headers = response.headers();
    text && !known_small
        && !headers.contains_key(CONTENT_RANGE)
        && !headers.contains_key(CONTENT_ENCODING)
}
