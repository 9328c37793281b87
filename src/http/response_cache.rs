//! Metadata answers made lately, ready to send: the text, and its gzip once somebody has accepted that.
//!
//! Invariants: an answer is named by the version of its target and the base of its links, so it is never stale; whoever
//! gets one has asked the index for that version in a scope of its own; all of them together stay within the configured
//! bytes, and so does what is being recorded.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use http_body::Body as _;
use moka::future::Cache;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::error::HttpError;
use super::layers::MIN_COMPRESSED;
use crate::archive::Version;
use crate::dicom::uid::Target;
use crate::memory::{MemoryBudget, Purpose, Reservation};
use crate::scope::Partition;

/// How long an answer is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(600);
/// Part of the cache that one answer may take.
const SHARE: u64 = 4;
/// What is compressed is kept when it is this many times shorter than its text.
const PACKED: usize = 2;
/// Answers recorded at the same time.
const RECORDED: usize = 2;

/// Names an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ResponseKey {
    /// Where the target lies.
    pub(super) partition: Partition,
    /// Whose metadata it is.
    pub(super) target: Target,
    /// Which state of it.
    pub(super) version: Version,
    /// What its links begin with.
    pub(super) base: String,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct CachedResponse {
    text: Bytes,
    /// None when it saves too little to be kept.
    gzip: OnceCell<Option<Bytes>>,
}

impl CachedResponse {
    /// The body in the best encoding the client accepts.
    ///
    /// # Errors
    /// When the work was lost.
    pub(super) async fn respond(
        &self,
        headers: &HeaderMap,
        budget: &MemoryBudget,
    ) -> Result<Response, HttpError> {
        let small = (self.text.len() as u64) < MIN_COMPRESSED;
        let plain = || Ok(Body::from(self.text.clone()).into_response());
        if small || !accepts_gzip(headers) {
            return plain();
        }
        let packed = self
            .gzip
            .get_or_try_init(|| gzip(self.text.clone(), budget))
            .await;
        let packed = match packed {
            Ok(Some(packed)) => packed,
            Ok(None) => return plain(),
            // Without memory for it the text itself will do.
            Err(Unpacked::NoMemory) => return plain(),
            Err(Unpacked::Lost) => {
                return Err(HttpError::broken("an answer cannot be compressed"));
            }
        };
        let mut response = Body::from(packed.clone()).into_response();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        fields.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        Ok(response)
    }
}

/// Why there is no gzip of an answer.
enum Unpacked {
    NoMemory,
    Lost,
}

/// The gzip of a text; none when it is longer than [`PACKED`] allows.
async fn gzip(text: Bytes, budget: &MemoryBudget) -> Result<Option<Bytes>, Unpacked> {
    let held = budget.try_reserve(Purpose::Answers, text.len());
    let held = held.map_err(|_| Unpacked::NoMemory)?;
    let packed = tokio::task::spawn_blocking(move || {
        let _held = held;
        let most = text.len() / PACKED;
        let mut encoder = GzEncoder::new(Vec::with_capacity(most), Compression::fast());
        for piece in text.chunks(64 << 10) {
            encoder.write_all(piece).ok()?;
            if encoder.get_ref().len() > most {
                return Some(None);
            }
        }
        let packed = encoder.finish().ok()?;
        Some((packed.len() <= most).then(|| Bytes::from(packed)))
    });
    packed.await.ok().flatten().ok_or(Unpacked::Lost)
}

/// Answers by name.
#[derive(Debug, Clone)]
pub(super) struct MetadataResponseCache {
    cache: Cache<ResponseKey, Arc<CachedResponse>>,
    largest: u64,
    recorded: Arc<Semaphore>,
}

impl MetadataResponseCache {
    /// Room for so many bytes; none at all with 0.
    pub(super) fn new(bytes: u64) -> Self {
        // What is compressed comes later.
        let weigh = |key: &ResponseKey, answer: &Arc<CachedResponse>| {
            let text = answer.text.len();
            let all = text + text / PACKED + key.base.len() + size_of::<ResponseKey>();
            u32::try_from(all).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(bytes)
            .time_to_idle(IDLE)
            .build();
        Self {
            cache,
            largest: bytes / SHARE,
            recorded: Arc::new(Semaphore::new(RECORDED)),
        }
    }

    /// The answer of this name.
    pub(super) async fn get(&self, key: &ResponseKey) -> Option<Arc<CachedResponse>> {
        self.cache.get(key).await
    }

    /// Passes a body on and keeps it when it was sent to its end and is not too large.
    ///
    /// # Errors
    /// What the body met, if it is one that is in memory.
    pub(super) async fn record(
        &self,
        key: ResponseKey,
        body: Body,
        budget: &MemoryBudget,
    ) -> Result<Body, HttpError> {
        let hint = body.size_hint();
        if hint.lower() > self.largest {
            return Ok(body);
        }
        if hint.exact().is_some() {
            let whole = axum::body::to_bytes(body, usize::MAX).await;
            let whole = whole.map_err(|_| HttpError::broken("an answer cannot be read"))?;
            self.keep(key, whole.clone()).await;
            return Ok(Body::from(whole));
        }
        let Ok(permit) = self.recorded.clone().try_acquire_owned() else {
            return Ok(body);
        };
        let recorder = Recorder {
            answers: self.clone(),
            key,
            pieces: Vec::new(),
            length: 0,
            held: budget.nothing(Purpose::Answers),
            _permit: permit,
        };
        Ok(recorder.tap(body.into_data_stream()))
    }

    async fn keep(&self, key: ResponseKey, text: Bytes) {
        let gzip = OnceCell::new();
        self.cache
            .insert(key, Arc::new(CachedResponse { text, gzip }))
            .await;
    }
}

/// What was sent of an answer so far.
struct Recorder {
    answers: MetadataResponseCache,
    key: ResponseKey,
    pieces: Vec<Bytes>,
    length: u64,
    held: Reservation,
    _permit: OwnedSemaphorePermit,
}

impl Recorder {
    /// Takes note of all that flows by.
    fn tap(self, pieces: BodyDataStream) -> Body {
        let start = (pieces, Some(self));
        Body::from_stream(stream::try_unfold(start, |(mut pieces, recorder)| async {
            let Some(piece) = pieces.next().await.transpose()? else {
                if let Some(whole) = recorder {
                    whole.finish().await;
                }
                return Ok::<_, axum::Error>(None);
            };
            let recorder = recorder.and_then(|recorder| recorder.add(&piece));
            Ok(Some((piece, (pieces, recorder))))
        }))
    }

    /// None when it has become too large, or when there is no memory for it.
    fn add(mut self, piece: &Bytes) -> Option<Self> {
        self.length = self.length.saturating_add(piece.len() as u64);
        if self.length > self.answers.largest {
            return None;
        }
        // In pieces, and once more when they are put together.
        let bytes = usize::try_from(self.length).ok()?.checked_mul(2)?;
        self.held.try_grow_to(bytes).ok()?;
        self.pieces.push(piece.clone());
        Some(self)
    }

    async fn finish(self) {
        let text = Bytes::from(self.pieces.concat());
        self.answers.keep(self.key, text).await;
    }
}

/// Whether gzip may be sent and nothing is asked for before it (RFC 9110 §12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, 0.0_f32);
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let items = lines.filter_map(|line| line.to_str().ok());
    for item in items.flat_map(|line| line.split(',')) {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = parameters.trim().strip_prefix("q=");
        let weight = weight.map_or(Some(1.0), |weight| weight.trim().parse().ok());
        let weight = weight.unwrap_or(0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "*" => any = Some(weight),
            "identity" => identity = weight,
            _ => {}
        }
    }
    let weight = gzip.or(any).unwrap_or(0.0);
    weight > 0.0 && weight >= identity
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::dicom::uid::StudyUid;

    fn budget() -> MemoryBudget {
        MemoryBudget::new(64 << 20)
    }

    fn key(version: i64) -> ResponseKey {
        ResponseKey {
            partition: Partition::DEFAULT,
            target: Target::Study(StudyUid::parse("1.2").unwrap()),
            version: Version {
                version,
                instances: 1,
            },
            base: "http://h/dicom-web".to_owned(),
        }
    }

    fn pieces(texts: &[&'static str]) -> Body {
        let pieces = texts
            .iter()
            .map(|text| Ok::<_, axum::Error>(Bytes::from_static(text.as_bytes())));
        Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()))
    }

    async fn read(body: Body) -> Vec<u8> {
        axum::body::to_bytes(body, usize::MAX)
            .await
            .unwrap()
            .to_vec()
    }

    #[tokio::test]
    async fn an_answer_that_was_sent_whole_is_there_for_its_version_only() {
        let answers = MetadataResponseCache::new(1 << 20);
        let body = answers
            .record(key(1), pieces(&["[1", ",2]"]), &budget())
            .await
            .unwrap();
        assert!(answers.get(&key(1)).await.is_none(), "not sent yet");
        assert_eq!(read(body).await, b"[1,2]");
        let kept = answers.get(&key(1)).await.unwrap();
        let again = kept.respond(&HeaderMap::new(), &budget()).await.unwrap();
        assert_eq!(read(again.into_body()).await, b"[1,2]");
        assert!(answers.get(&key(2)).await.is_none());
        let mut elsewhere = key(1);
        elsewhere.base = "http://other/dicom-web".to_owned();
        assert!(answers.get(&elsewhere).await.is_none());
    }

    #[tokio::test]
    async fn what_is_large_broken_or_left_is_not_kept() {
        let answers = MetadataResponseCache::new(40);
        let body = answers
            .record(key(1), pieces(&["12345678901"]), &budget())
            .await
            .unwrap();
        assert_eq!(read(body).await, b"12345678901");
        assert!(answers.get(&key(1)).await.is_none());

        let answers = MetadataResponseCache::new(1 << 20);
        let broken = [Ok(Bytes::from_static(b"1")), Err(axum::Error::new("gone"))];
        let body = Body::from_stream(stream::iter(broken));
        let body = answers.record(key(2), body, &budget()).await.unwrap();
        assert!(axum::body::to_bytes(body, usize::MAX).await.is_err());
        assert!(answers.get(&key(2)).await.is_none());

        let left = answers
            .record(key(3), pieces(&["1", "2"]), &budget())
            .await
            .unwrap();
        drop(left);
        assert!(answers.get(&key(3)).await.is_none());
        assert_eq!(answers.recorded.available_permits(), RECORDED);
    }

    #[tokio::test]
    async fn without_memory_nothing_is_recorded_and_nothing_compressed() {
        let none = MemoryBudget::new(0);
        let answers = MetadataResponseCache::new(1 << 20);
        let body = answers.record(key(1), pieces(&["1", "2"]), &none).await;
        assert_eq!(read(body.unwrap()).await, b"12");
        assert!(answers.get(&key(1)).await.is_none());
        let text = "[0]".repeat(1000);
        let body = answers
            .record(key(2), Body::from(text.clone()), &none)
            .await;
        read(body.unwrap()).await;
        let kept = answers.get(&key(2)).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let plain = kept.respond(&headers, &none).await.unwrap();
        assert_eq!(read(plain.into_body()).await, text.as_bytes());
        let packed = kept.respond(&headers, &budget()).await.unwrap();
        assert!(packed.headers().contains_key(header::CONTENT_ENCODING));
    }

    #[tokio::test]
    async fn what_does_not_compress_is_sent_as_it_is() {
        let mut text = Vec::new();
        for number in 0..2000_u32 {
            text.extend(blake3::hash(&number.to_le_bytes()).as_bytes());
        }
        let answers = MetadataResponseCache::new(1 << 20);
        let body = answers
            .record(key(1), Body::from(text.clone()), &budget())
            .await;
        read(body.unwrap()).await;
        let kept = answers.get(&key(1)).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let plain = kept.respond(&headers, &budget()).await.unwrap();
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(read(plain.into_body()).await, text);
    }

    #[tokio::test]
    async fn gzip_is_sent_to_those_who_accept_it() {
        let text = "[0]".repeat(1000);
        let answers = MetadataResponseCache::new(1 << 20);
        let body = answers
            .record(key(1), Body::from(text.clone()), &budget())
            .await
            .unwrap();
        assert_eq!(read(body).await, text.as_bytes());
        let kept = answers.get(&key(1)).await.unwrap();
        for (accepted, packed) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip;q=0.5, identity", false),
            ("br", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            let response = kept.respond(&headers, &budget()).await.unwrap();
            let encoding = response.headers().get(header::CONTENT_ENCODING).cloned();
            let body = read(response.into_body()).await;
            assert_eq!(encoding.is_some(), packed, "{accepted}");
            let mut unpacked = String::new();
            if packed {
                GzDecoder::new(body.as_slice())
                    .read_to_string(&mut unpacked)
                    .unwrap();
            } else {
                unpacked = String::from_utf8(body).unwrap();
            }
            assert_eq!(unpacked, text, "{accepted}");
        }
    }
}
