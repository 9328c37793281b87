//! Instances of another server into this archive (WADO-RS), part by part as they come.
//!
//! Invariants: every part goes the way of a stored part, with the same checks and memory; an instance of another study than
//! was asked for is refused; what is reported as stored is durable.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{Stream, stream};

use super::connection::{RemoteAnswer, RemoteServer};
use super::error::RemoteError;
use crate::archive::ingest::{IncomingPart, Outcome, StoreOptions, StoreRequest};
use crate::archive::{Archive, ArchiveError};
use crate::http::content_type::ContentType;
use crate::http::multipart::{BodyLimits, BodyPart, MultipartError, Parts};
use crate::memory::{Purpose, Reservation};

/// Instances that are reported together.
const TOGETHER: usize = 100;
/// Memory of what waits between the connection and the store.
const BUFFER: usize = 512 << 10;
/// As the server has them, whatever their transfer syntax.
const AS_STORED: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

/// An instance that came.
#[derive(Debug, Clone)]
pub struct ReceivedInstance {
    /// What became of it here.
    pub outcome: Outcome,
    /// BLAKE3 of the bytes that came.
    pub digest: [u8; 32],
    /// How many they are.
    pub bytes: u64,
}

/// Parts that are being stored.
struct ReceivedParts<'a> {
    archive: &'a Archive,
    options: &'a StoreOptions,
    request: StoreRequest,
    /// Digest and length of each part of the request.
    sums: VecDeque<([u8; 32], u64)>,
    reported: &'a mut (dyn FnMut(ReceivedInstance) + Send),
}

impl RemoteServer {
    /// Stores what a path holds, `most` instances at most, and tells of each.
    ///
    /// # Errors
    /// [`RemoteError`] when it broke off; what was reported before is stored.
    pub async fn retrieve(
        &self,
        path: &str,
        most: usize,
        archive: &Archive,
        options: &StoreOptions,
        reported: &mut (dyn FnMut(ReceivedInstance) + Send),
    ) -> Result<(), RemoteError> {
        let budget = archive.budget();
        let memory = budget.reserve(Purpose::Background, BUFFER).await?;
        let answer = self.get(path, AS_STORED).await?;
        let unusable = || {
            RemoteError::Unusable(
                "its answer is neither multipart/related nor application/dicom".to_owned(),
            )
        };
        let content_type = ContentType::parse(answer.content_type()).map_err(|_| unusable())?;
        let mut received = ReceivedParts {
            archive,
            options,
            request: archive.begin_store(options.clone())?,
            sums: VecDeque::new(),
            reported,
        };
        let done = if content_type.is("application/dicom") {
            received.take_one(answer).await
        } else if content_type.is("multipart/related") {
            let related = content_type.related().map_err(|_| unusable())?;
            let body = chunks(answer, memory);
            let parts = Parts::new(body, &related.boundary, BodyLimits::NONE);
            received.take_all(parts, most).await
        } else {
            return Err(unusable());
        };
        // What came whole before it broke off is kept.
        let kept = received.finish().await;
        done.and(kept)
    }
}

/// The body as a stream.
fn chunks(
    answer: RemoteAnswer,
    memory: Reservation,
) -> impl Stream<Item = Result<Bytes, RemoteError>> + Send + 'static {
    stream::try_unfold((answer, memory), |(mut answer, memory)| async move {
        let chunk = answer.chunk().await?;
        Ok(chunk.map(|chunk| (chunk, (answer, memory))))
    })
}

/// What a reader of parts says, as this server's failure.
fn broken(error: MultipartError) -> RemoteError {
    match error {
        MultipartError::Aborted(inner) => match inner.downcast::<RemoteError>() {
            Ok(own) => *own,
            Err(other) => RemoteError::Passing(other.to_string()),
        },
        MultipartError::Truncated { .. } => RemoteError::Passing(error.to_string()),
        error => RemoteError::Unusable(error.to_string()),
    }
}

impl ReceivedParts<'_> {
    async fn take_all(&mut self, mut parts: Parts, most: usize) -> Result<(), RemoteError> {
        let mut count = 0_usize;
        while let Some(part) = parts.next().await.map_err(broken)? {
            count = count.saturating_add(1);
            if count > most {
                let reason = format!("it sends more than the {most} instances it lists");
                return Err(RemoteError::Unusable(reason));
            }
            self.take_part(part).await?;
            if self.sums.len() >= TOGETHER {
                self.report().await?;
            }
        }
        Ok(())
    }

    async fn take_part(&mut self, mut part: BodyPart<'_>) -> Result<(), RemoteError> {
        let mut stored = self.request.begin_part()?;
        let mut hasher = blake3::Hasher::new();
        let mut length = 0_u64;
        while let Some(chunk) = part.chunk().await.map_err(broken)? {
            self.write(&mut stored, chunk, &mut hasher, &mut length)
                .await?;
        }
        self.end(stored, &hasher, length).await
    }

    async fn take_one(&mut self, mut answer: RemoteAnswer) -> Result<(), RemoteError> {
        let mut stored = self.request.begin_part()?;
        let mut hasher = blake3::Hasher::new();
        let mut length = 0_u64;
        while let Some(chunk) = answer.chunk().await? {
            self.write(&mut stored, chunk, &mut hasher, &mut length)
                .await?;
        }
        self.end(stored, &hasher, length).await
    }

    async fn write(
        &mut self,
        part: &mut IncomingPart,
        chunk: Bytes,
        hasher: &mut blake3::Hasher,
        length: &mut u64,
    ) -> Result<(), ArchiveError> {
        hasher.update(&chunk);
        *length = length.saturating_add(chunk.len() as u64);
        self.request.write(part, chunk).await
    }

    async fn end(
        &mut self,
        part: IncomingPart,
        hasher: &blake3::Hasher,
        length: u64,
    ) -> Result<(), RemoteError> {
        self.sums.push_back((*hasher.finalize().as_bytes(), length));
        Ok(self.request.end_part(part).await?)
    }

    /// Commits what came so far and tells of it.
    async fn report(&mut self) -> Result<(), RemoteError> {
        let next = self.archive.begin_store(self.options.clone())?;
        let request = std::mem::replace(&mut self.request, next);
        let sums = std::mem::take(&mut self.sums);
        let report = request.finish().await?;
        for (outcome, (digest, bytes)) in report.outcomes.into_iter().zip(sums) {
            (self.reported)(ReceivedInstance {
                outcome,
                digest,
                bytes,
            });
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), RemoteError> {
        self.report().await
    }
}
