//! Blobs in an object store: S3, Azure Blob Storage, Google Cloud Storage.
//!
//! Invariants: an object appears whole or not at all, and what was acknowledged is durable, because the provider says so;
//! bytes held for reading ahead and for uploads are bounded for the process, not for the request.

mod bucket;
mod connect;
mod failure;
mod read_ahead;
mod send;
mod source;
mod upload;

use std::sync::Arc;

use super::error::{BlobError, Result};
use super::payload::{CHUNK, OpenBlob};
pub(super) use bucket::Bucket;
use bytes::Bytes;
pub(super) use connect::container_uri;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use read_ahead::ReadAhead;
use source::RemoteSource;

impl Bucket {
    /// Reads a range in chunks, the first before this returns.
    pub(super) async fn stream(
        &self,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let mut ahead = ReadAhead::new(self.clone(), key, offset, length);
        let Some(first) = ahead.next().await? else {
            self.read(key, offset, 0).await?;
            return Ok(stream::empty().boxed());
        };
        let rest = stream::try_unfold(ahead, |mut ahead| async move {
            Ok::<_, BlobError>(ahead.next().await?.map(|part| (part, ahead)))
        });
        let parts = stream::once(async move { Ok(first) }).chain(rest);
        Ok(parts
            .map_ok(|part| stream::iter(chunks(part)).map(Ok))
            .try_flatten()
            .boxed())
    }

    /// Opens a range for positional reads; its first bytes are read before this returns.
    pub(super) async fn open_source(
        &self,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<OpenBlob> {
        let source = RemoteSource::open(self.clone(), key, offset, length).await?;
        Ok(Arc::new(source))
    }
}

/// Slices of [`CHUNK`] bytes; nothing is copied.
fn chunks(mut part: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let chunk = part.split_to(part.len().min(CHUNK));
        (!chunk.is_empty()).then_some(chunk)
    })
}
