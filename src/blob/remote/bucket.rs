//! A bucket: its client, and the objects in it one request at a time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

use super::connect::client;
use super::failure::{chain, failed, failed_write, is_lost_connection, status, unavailable};
use super::send::send;
use super::upload::{UploadMemory, upload};
use crate::blob::error::{BlobError, ExportFailure, Result};
use crate::blob::location::BucketUrl;
use crate::blob::payload::{CHUNK, OpenBlob, Payload};
use crate::config::StorageConfig;

/// Bytes of one request of what is read ahead; a multiple of a chunk.
pub(super) const PART: usize = 4 * CHUNK;
/// How long a question about the store's health may take.
const PROBE: Duration = Duration::from_secs(3);

/// How long a start waits for the object store before it goes on without an answer.
const START: Duration = Duration::from_secs(5);

/// A key that no blob has.
const NO_BLOB: &str = "probe";

/// A bucket or container, or what is below a prefix of it.
#[derive(Debug, Clone)]
pub(in crate::blob) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Arc<str>,
    /// Parts that may be read ahead, of all streams together.
    pub(super) ahead: Arc<Semaphore>,
    /// Room for parts of uploads.
    uploads: Arc<UploadMemory>,
}

impl Bucket {
    /// Makes the client; nothing is asked of the provider yet.
    pub(in crate::blob) fn open(url: &BucketUrl, storage: &StorageConfig) -> Result<Self> {
        let buffer = storage.blob_buffer_bytes;
        Ok(Self {
            store: client(url, storage)?,
            prefix: Arc::from(url.prefix.as_str()),
            ahead: Arc::new(Semaphore::new(buffer / 2 / PART)),
            uploads: Arc::new(UploadMemory::new(buffer / 2)),
        })
    }

    /// Makes the client and asks whether the bucket is there.
    pub(in crate::blob) async fn connect(url: &BucketUrl, storage: &StorageConfig) -> Result<Self> {
        let bucket = Self::open(url, storage)?;
        let wrong = |reason: &str| {
            Err(BlobError::config(format!(
                "{}: the bucket {} {reason}",
                url.setting, url.name
            )))
        };
        let mut first = bucket.store.list(Some(&Path::from(url.prefix.as_str())));
        let error = match tokio::time::timeout(START, first.next()).await {
            Ok(None | Some(Ok(_))) => return Ok(bucket),
            Ok(Some(Err(error))) => error,
            Err(_) => {
                tracing::warn!(bucket = url.name, "the object store does not answer yet");
                return Ok(bucket);
            }
        };
        match status(&error) {
            Some(404) => wrong("does not exist: create it"),
            Some(401 | 403) => wrong(
                "cannot be listed with these credentials: see docs/configuration.md for the variables and the rights needed",
            ),
            _ => {
                tracing::warn!(bucket = url.name, error = %chain(&error), "the object store cannot be used yet");
                Ok(bucket)
            }
        }
    }

    pub(super) fn path(&self, key: &str) -> Path {
        match &*self.prefix {
            "" => Path::from(key),
            prefix => Path::from(format!("{prefix}/{key}")),
        }
    }

    /// Uploads a blob.
    pub(in crate::blob) async fn store(&self, key: &str, payload: Payload) -> Result<()> {
        let path = self.path(key);
        match payload {
            Payload::Memory(bytes) => {
                let put = self.store.put(&path, bytes.into()).await;
                put.map(drop).map_err(|e| failed_write(key, e))
            }
            Payload::Spooled(file) => upload(&*self.store, &self.uploads, key, &path, file).await,
        }
    }

    /// Uploads what is read from elsewhere, if it has this digest.
    pub(in crate::blob) async fn send(
        &self,
        key: &str,
        source: OpenBlob,
        digest: Option<[u8; 32]>,
    ) -> std::result::Result<(), ExportFailure> {
        send(&*self.store, key, &self.path(key), source, digest).await
    }

    /// Reads a range, whole.
    pub(in crate::blob) async fn read(
        &self,
        key: &str,
        offset: u64,
        length: usize,
    ) -> Result<Bytes> {
        let end = offset.saturating_add(length as u64);
        if length == 0 {
            // A range request cannot ask for nothing.
            return match self.length(key).await? {
                size if size < end => Err(BlobError::short(key, end)),
                _ => Ok(Bytes::new()),
            };
        }
        match self.store.get_range(&self.path(key), offset..end).await {
            Ok(bytes) if bytes.len() == length => Ok(bytes),
            // Less than was asked for, as if that were all: the size of the object tells whether it is.
            Ok(_) => match self.length(key).await {
                Ok(size) if size >= end => {
                    let reason = "the object store sent fewer bytes than it has";
                    Err(unavailable(key, io::Error::other(reason)))
                }
                Ok(_) => Err(BlobError::short(key, end)),
                Err(error) => Err(error),
            },
            Err(error) => Err(self.explain(key, end, error).await),
        }
    }

    /// Providers answer a range past the end in different ways; the size of the object tells.
    async fn explain(&self, key: &str, end: u64, error: object_store::Error) -> BlobError {
        let answered = !matches!(status(&error), Some(401 | 403 | 408 | 429 | 500..))
            && !is_lost_connection(&error);
        match failed(key, error) {
            unavailable @ BlobError::Unavailable { .. } if answered => {
                match self.length(key).await {
                    Ok(size) if size < end => BlobError::short(key, end),
                    Err(missing @ BlobError::Missing { .. }) => missing,
                    _ => unavailable,
                }
            }
            error => error,
        }
    }

    /// Size of a blob in bytes.
    pub(in crate::blob) async fn length(&self, key: &str) -> Result<u64> {
        let head = self.store.head(&self.path(key)).await;
        head.map(|meta| meta.size).map_err(|e| failed(key, e))
    }

    /// Removes a blob; one that is gone already is no error.
    pub(in crate::blob) async fn remove(&self, key: &str) -> Result<()> {
        match self.store.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(key, error)),
        }
    }

    /// Keys of all blobs that were last written before `before`; counts those that were written later.
    pub(in crate::blob) fn list(
        &self,
        before: Option<SystemTime>,
        young: Arc<AtomicU64>,
    ) -> BoxStream<'static, Result<String>> {
        let prefix = Path::from(&*self.prefix);
        self.store
            .list(Some(&prefix))
            .try_filter_map(move |object| {
                let old =
                    before.is_none_or(|before| SystemTime::from(object.last_modified) < before);
                let key = object.location.as_ref().strip_prefix(prefix.as_ref());
                let key = key.map(|key| key.trim_start_matches('/').to_owned());
                if !old {
                    young.fetch_add(1, Ordering::Relaxed);
                }
                std::future::ready(Ok(key.filter(|_| old)))
            })
            .map_err(|error| failed("its list", error))
            .boxed()
    }

    /// Whether the store answers.
    pub(in crate::blob) async fn probe(&self) -> Result<()> {
        match tokio::time::timeout(PROBE, self.length(NO_BLOB)).await {
            Ok(Ok(_) | Err(BlobError::Missing { .. })) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(unavailable(NO_BLOB, io::ErrorKind::TimedOut.into())),
        }
    }
}
