//! A range read in parts, several at a time as long as there is room.
//!
//! Invariant: each stream holds one part however many streams there are; more only out of the room all share, so slow
//! readers can make others slower but never stop them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::bucket::{Bucket, PART};
use crate::blob::error::{BlobError, Result};

/// Parts under way at the same time for one stream.
const WINDOW: usize = 8;

/// The parts of one range, in order.
pub(super) struct ReadAhead {
    bucket: Bucket,
    key: Arc<str>,
    next: u64,
    end: u64,
    parts: VecDeque<RangePart>,
}

struct RangePart {
    // A task of its own: a reader that pauses must not stall a request until it times out.
    task: AbortOnDropHandle<Result<Bytes>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl ReadAhead {
    pub(super) fn new(bucket: Bucket, key: &str, offset: u64, length: u64) -> Self {
        Self {
            bucket,
            key: Arc::from(key),
            next: offset,
            end: offset.saturating_add(length),
            parts: VecDeque::new(),
        }
    }

    /// The next part; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        self.fill();
        let Some(part) = self.parts.pop_front() else {
            return Ok(None);
        };
        let read = part.task.await.map_err(|lost| BlobError::Io {
            key: (*self.key).to_owned(),
            source: io::Error::other(lost),
        })?;
        // What comes after is asked for before this part is used.
        self.fill();
        read.map(Some)
    }

    fn fill(&mut self) {
        while self.next < self.end && self.parts.len() < WINDOW {
            let room = self.bucket.ahead.clone().try_acquire_owned().ok();
            if room.is_none() && !self.parts.is_empty() {
                return;
            }
            let length = usize::try_from(self.end - self.next)
                .unwrap_or(PART)
                .min(PART);
            let (bucket, key, offset) = (self.bucket.clone(), self.key.clone(), self.next);
            let task = tokio::spawn(async move { bucket.read(&key, offset, length).await });
            self.parts.push_back(RangePart {
                task: AbortOnDropHandle::new(task),
                _room: room,
            });
            self.next += length as u64;
        }
    }
}
