//! Blobs from one store to another, compared with their digests on the way.

use std::collections::HashSet;
use std::io::Write;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::list::ListedBlob;
use crate::archive::error::{ArchiveError, Result};
use crate::blob::{BlobError, Blobs, CHUNK, Payload};
use crate::fault;
use crate::memory::{MemoryBudget, Purpose, Reservation};

/// Blobs copied at the same time.
pub(super) const AT_ONCE: usize = 8;
/// Blobs of a list that are worked on together.
pub(super) const BATCH: u32 = 500;
/// Longest blob that is copied in memory; others go through a file.
const IN_MEMORY: u64 = 1 << 20;
/// Memory of one known key.
const KEY: usize = 48;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopiedBlob {
    pub(super) bytes: u64,
    /// It has the digest it must have, or none is known.
    pub(super) intact: bool,
}

/// Copies a blob; one that is not what it must be only when `keep_damaged` says so.
pub(super) async fn copy_blob(
    from: &Blobs,
    to: &Blobs,
    blob: &ListedBlob,
    keep_damaged: bool,
    budget: &MemoryBudget,
) -> Result<CopiedBlob> {
    let key = &blob.key;
    let bytes = from.length(key).await?;
    let in_memory = usize::try_from(bytes).ok().filter(|_| bytes <= IN_MEMORY);
    let room = in_memory.unwrap_or(CHUNK).saturating_add(2 * CHUNK);
    let _memory = budget.reserve(Purpose::Background, room).await?;
    let mut chunks = from.stream(key, 0, bytes).await?;
    let mut hasher = RangeHasher::new(blob, bytes);
    let failed = |error: std::io::Error| ArchiveError::Blob(BlobError::at(key, error));
    let payload = if let Some(length) = in_memory {
        let mut whole = Vec::with_capacity(length);
        while let Some(chunk) = chunks.try_next().await? {
            hasher.update(&chunk);
            whole.extend_from_slice(&chunk);
        }
        Payload::Memory(Bytes::from(whole))
    } else {
        let spooled = to.spool()?;
        while let Some(chunk) = chunks.try_next().await? {
            hasher.update(&chunk);
            let file = spooled.file().and_then(std::fs::File::try_clone);
            let mut file = file.map_err(failed)?;
            let written = tokio::task::spawn_blocking(move || file.write_all(&chunk));
            let written = written
                .await
                .map_err(|_| ArchiveError::Lost { what: "backup" })?;
            written.map_err(failed)?;
        }
        Payload::Spooled(spooled)
    };
    let intact = hasher.is(blob.digest);
    if intact || keep_damaged {
        to.store(key, payload).await?;
        fault::point("backup.blob");
    }
    Ok(CopiedBlob { bytes, intact })
}

/// BLAKE3 of a range of what passes.
struct RangeHasher {
    hasher: blake3::Hasher,
    /// Bytes before the range, and in it.
    skip: u64,
    left: u64,
}

impl RangeHasher {
    fn new(blob: &ListedBlob, bytes: u64) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            skip: blob.offset,
            left: blob.length.unwrap_or(bytes),
        }
    }

    fn update(&mut self, chunk: &[u8]) {
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let skip = skip.min(chunk.len());
        self.skip = self.skip.saturating_sub(skip as u64);
        let rest = chunk.get(skip..).unwrap_or_default();
        let take = usize::try_from(self.left).unwrap_or(usize::MAX);
        let take = take.min(rest.len());
        self.left = self.left.saturating_sub(take as u64);
        self.hasher.update(rest.get(..take).unwrap_or_default());
    }

    fn is(&self, digest: Option<[u8; 32]>) -> bool {
        self.left == 0 && digest.is_none_or(|digest| *self.hasher.finalize().as_bytes() == digest)
    }
}

/// The keys that a store holds, as far as there is memory for them; else it is asked for each.
pub(super) struct HeldKeys {
    keys: Option<HashSet<[u8; 16]>>,
    held: Reservation,
}

impl HeldKeys {
    /// None known.
    pub(super) fn none(budget: &MemoryBudget) -> Self {
        Self {
            keys: Some(HashSet::new()),
            held: budget.nothing(Purpose::Background),
        }
    }

    /// All that a store holds.
    pub(super) async fn of(store: &Blobs, budget: &MemoryBudget) -> Result<Self> {
        let mut known = Self::none(budget);
        let mut listed = store.list(None);
        while let Some(key) = listed.try_next().await? {
            known.add(&key);
            if !known.is_complete() {
                break;
            }
        }
        Ok(known)
    }

    /// Whether every key could be kept.
    pub(super) fn is_complete(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn add(&mut self, key: &str) {
        let Some(keys) = &mut self.keys else { return };
        let bytes = keys.len().saturating_add(1).saturating_mul(KEY);
        if self
            .held
            .try_grow_to(bytes.next_multiple_of(1 << 20))
            .is_err()
        {
            self.keys = None;
            self.held.shrink_to(0);
            return;
        }
        keys.insert(short(key));
    }

    /// Whether a key is among them; none when they could not all be kept.
    pub(super) fn has(&self, key: &str) -> Option<bool> {
        Some(self.keys.as_ref()?.contains(&short(key)))
    }

    /// Whether a store holds a blob.
    pub(super) async fn or_ask(&self, store: &Blobs, key: &str) -> Result<bool> {
        if let Some(known) = self.has(key) {
            return Ok(known);
        }
        match store.length(key).await {
            Ok(_) => Ok(true),
            Err(BlobError::Missing { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Half of a digest: no two of all keys there will ever be share one.
fn short(key: &str) -> [u8; 16] {
    let mut short = [0; 16];
    let digest = blake3::hash(key.as_bytes());
    short.copy_from_slice(digest.as_bytes().split_at(16).0);
    short
}
