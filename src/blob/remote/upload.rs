//! A spool file goes up: small ones at once, large ones in parts.
//!
//! Invariant: parts of all uploads together hold no more memory than the process has set aside for them; an upload that
//! fails is aborted, and nothing of it is ever visible.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::super::local::read_range;
use super::failure::failed_write;
use crate::blob::blocking::blocking;
use crate::blob::error::{BlobError, Result};
use crate::blob::spool::SpoolFile;

/// Unit in which memory is counted.
const UNIT: usize = 1 << 20;
/// Bytes of a part unless the object would need too many.
const PART: u64 = 16 << 20;
/// Parts an object may have; S3 and Google allow 10,000.
const PARTS: u64 = 9_000;
/// Parts of one object under way at the same time.
const AT_ONCE: usize = 4;

/// Memory for parts that are under way, shared by all uploads.
#[derive(Debug)]
pub(super) struct UploadMemory {
    units: Arc<Semaphore>,
    all: usize,
}

impl UploadMemory {
    /// Room for `bytes`, and for one part of the usual size at least.
    pub(super) fn new(bytes: usize) -> Self {
        let all = (bytes / UNIT).clamp(16, Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(all)),
            all,
        }
    }

    /// Waits for room; a part larger than all of it gets all of it.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT).min(self.all)).ok()?;
        // None only after the semaphore was closed, which never happens.
        self.units.clone().acquire_many_owned(units).await.ok()
    }
}

/// Uploads a file.
pub(super) async fn upload(
    store: &dyn ObjectStore,
    memory: &UploadMemory,
    key: &str,
    path: &Path,
    spooled: SpoolFile,
) -> Result<()> {
    let at = |e| BlobError::at(key, e);
    let file = Arc::new(spooled.file().and_then(File::try_clone).map_err(at)?);
    let length = file.metadata().map_err(at)?.len();
    let size = part_size(length);
    if length <= size {
        let (bytes, _room) = part(memory, key, &file, 0, length).await?;
        let put = store.put(path, bytes.into()).await;
        return put.map(drop).map_err(|e| failed_write(key, e));
    }
    let started = store.put_multipart(path).await;
    let mut upload = started.map_err(|e| failed_write(key, e))?;
    let mut running = JoinSet::new();
    match upload_parts(memory, key, &file, length, upload.as_mut(), &mut running).await {
        Ok(()) => Ok(()),
        Err(error) => {
            // A part that arrives after the abort would stay for ever, so those under way are waited for.
            while running.join_next().await.is_some() {}
            // The provider removes by itself what cannot be aborted now, where its bucket is set up to.
            if let Err(failure) = upload.abort().await {
                tracing::warn!(key, error = %failure, "an upload could not be aborted");
            }
            Err(error)
        }
    }
}

async fn upload_parts(
    memory: &UploadMemory,
    key: &str,
    file: &Arc<File>,
    length: u64,
    upload: &mut dyn MultipartUpload,
    running: &mut JoinSet<object_store::Result<()>>,
) -> Result<()> {
    let size = part_size(length);
    let mut offset = 0;
    while offset < length || !running.is_empty() {
        if offset < length && running.len() < AT_ONCE {
            let count = size.min(length - offset);
            let (bytes, room) = part(memory, key, file, offset, count).await?;
            let sent = upload.put_part(bytes.into());
            running.spawn(async move {
                let _room = room;
                sent.await
            });
            offset += count;
        } else if let Some(done) = running.join_next().await {
            let done = done.unwrap_or_else(|source| Err(source.into()));
            done.map_err(|e| failed_write(key, e))?;
        }
    }
    let completed = upload.complete().await;
    completed.map(drop).map_err(|e| failed_write(key, e))
}

/// All parts but the last have the same size, as some servers want it.
fn part_size(length: u64) -> u64 {
    let unit = UNIT as u64;
    length
        .div_ceil(PARTS)
        .div_ceil(unit)
        .saturating_mul(unit)
        .max(PART)
}

/// Reads a part once there is room for it.
async fn part(
    memory: &UploadMemory,
    key: &str,
    file: &Arc<File>,
    offset: u64,
    length: u64,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>)> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let room = memory.take(length).await;
    let (file, key) = (file.clone(), key.to_owned());
    let bytes = blocking(move || read_range(&file, &key, offset, length)).await?;
    Ok((bytes, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_any_size_has_few_enough_parts() {
        for length in [0, 1, PART, PART + 1, 1 << 30, 64 << 30, 5 << 40] {
            let size = part_size(length);
            assert!(length.div_ceil(size) <= PARTS, "{length}");
            assert!(size >= PART && size.is_multiple_of(UNIT as u64), "{length}");
        }
        assert_eq!(part_size(1 << 30), PART);
    }
}
