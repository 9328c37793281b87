//! A blob goes to a bucket that is not the archive's: small ones at once, large ones in parts, one after the other.
//!
//! Invariants: at most one part of [`SEND_PART`] bytes is in memory, more only of objects that would have too many parts;
//! what has another digest than it should never becomes visible.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};

use super::failure::{chain, failed_write, status};
use crate::blob::blocking::blocking;
use crate::blob::error::{BlobError, ExportFailure};
use crate::blob::payload::{OpenBlob, SEND_PART};
use crate::dicom::source::read_full;

/// Parts an object may have; S3 and Google allow 10,000.
const PARTS: u64 = 9_000;

type Result<T> = std::result::Result<T, ExportFailure>;

/// Uploads all bytes of a source.
pub(super) async fn send(
    store: &dyn ObjectStore,
    key: &str,
    path: &Path,
    source: OpenBlob,
    digest: Option<[u8; 32]>,
) -> Result<()> {
    let mut parts = SourceParts::new(key, source, digest);
    if parts.length <= parts.size {
        let bytes = parts.next().await?;
        parts.check()?;
        let put = store.put(path, bytes.into()).await;
        return put.map(drop).map_err(|error| refused(key, error));
    }
    let started = store.put_multipart(path).await;
    let mut upload = started.map_err(|error| refused(key, error))?;
    let sent = send_parts(upload.as_mut(), &mut parts).await;
    if sent.is_err() {
        // The provider removes by itself what cannot be aborted now, where its bucket is set up to.
        if let Err(failure) = upload.abort().await {
            tracing::warn!(key, error = %failure, "an upload could not be aborted");
        }
    }
    sent
}

async fn send_parts(upload: &mut dyn MultipartUpload, parts: &mut SourceParts) -> Result<()> {
    while parts.offset < parts.length {
        let bytes = parts.next().await?;
        let sent = upload.put_part(bytes.into()).await;
        sent.map_err(|error| refused(&parts.key, error))?;
    }
    parts.check()?;
    let completed = upload.complete().await;
    completed
        .map(drop)
        .map_err(|error| refused(&parts.key, error))
}

/// What a provider answers for good is told apart from what may work later.
fn refused(key: &str, error: object_store::Error) -> ExportFailure {
    let missing = matches!(error, object_store::Error::NotFound { .. });
    let reason = match status(&error) {
        _ if missing => "the bucket or container does not exist",
        Some(401 | 403) => "the bucket or container may not be written with these credentials",
        _ => return ExportFailure::Destination(failed_write(key, error)),
    };
    tracing::warn!(key, error = %chain(&error), "{reason}");
    ExportFailure::Refused(reason)
}

/// A source, part by part, with the digest of what was read.
struct SourceParts {
    key: String,
    source: OpenBlob,
    length: u64,
    /// Bytes of a part.
    size: u64,
    offset: u64,
    hasher: blake3::Hasher,
    digest: Option<[u8; 32]>,
}

impl SourceParts {
    fn new(key: &str, source: OpenBlob, digest: Option<[u8; 32]>) -> Self {
        let length = source.len();
        Self {
            key: key.to_owned(),
            length,
            size: length.div_ceil(PARTS).max(SEND_PART as u64),
            source,
            offset: 0,
            hasher: blake3::Hasher::new(),
            digest,
        }
    }

    async fn next(&mut self) -> Result<Bytes> {
        let (source, key, offset) = (self.source.clone(), self.key.clone(), self.offset);
        let count = self.size.min(self.length.saturating_sub(offset));
        let mut hasher = self.hasher.clone();
        let (bytes, hasher) = blocking(move || {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
            let read = read_full(&*source, offset, &mut bytes);
            if read.map_err(|e| BlobError::at(&key, e))? < bytes.len() {
                return Err(BlobError::short(&key, offset.saturating_add(count)));
            }
            hasher.update(&bytes);
            Ok((Bytes::from(bytes), hasher))
        })
        .await
        .map_err(ExportFailure::Source)?;
        self.hasher = hasher;
        self.offset = offset.saturating_add(count);
        Ok(bytes)
    }

    /// Whether all that was read is what it should be.
    fn check(&self) -> Result<()> {
        match self.digest {
            Some(digest) if *self.hasher.finalize().as_bytes() != digest => {
                let key = self.key.clone();
                Err(ExportFailure::Source(BlobError::Damaged { key }))
            }
            _ => Ok(()),
        }
    }
}
