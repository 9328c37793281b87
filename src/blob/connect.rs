//! Opens the stores that the configuration names.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use super::blocking::blocking;
use super::discard::Discards;
use super::error::{BlobError, Result};
use super::key::Serials;
use super::local::{self, LocalStore};
use super::location::{self, Location};
use super::spool::Spool;
use super::{BlobStore, Blobs, BlobsInner};
use crate::config::StorageConfig;

/// The setting that says where blobs are kept.
const BLOB_URL: &str = "STOWAGE_BLOB_URL";

impl Blobs {
    /// Opens the store that the settings name; a folder is made when needed, a bucket is asked for once.
    ///
    /// # Errors
    /// [`BlobError::Config`] when the settings are wrong or the object store refuses them, else when the folder cannot be
    /// made or written. An object store that does not answer is no error here: it may come up later.
    pub async fn connect(storage: &StorageConfig) -> Result<Self> {
        let location = match &storage.blob_url {
            Some(url) => location::parse(BLOB_URL, url, storage.s3_endpoint.as_deref())?,
            None => Location::Folder(storage.data_dir.join("blobs")),
        };
        match location {
            Location::Folder(root) => blocking(move || Self::open(&root)).await,
            #[cfg(feature = "cloud")]
            Location::Bucket(bucket) => {
                let spool = storage.data_dir.join(local::SPOOL);
                let bucket = super::remote::Bucket::connect(&bucket, storage).await?;
                blocking(move || Self::with(BlobStore::Bucket(bucket), &spool)).await
            }
            #[cfg(not(feature = "cloud"))]
            Location::Bucket(bucket) => Err(BlobError::config(format!(
                "STOWAGE_BLOB_URL: this build of stowage has no object stores, so {} cannot be used: build it with the feature `cloud`",
                bucket.name
            ))),
        }
    }

    /// The folder that the settings name; none for a bucket.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn folder(storage: &StorageConfig) -> Result<Option<PathBuf>> {
        let Some(url) = &storage.blob_url else {
            return Ok(Some(storage.data_dir.join("blobs")));
        };
        Ok(
            match location::parse(BLOB_URL, url, storage.s3_endpoint.as_deref())? {
                Location::Folder(folder) => Some(folder),
                Location::Bucket(_) => None,
            },
        )
    }

    /// Opens a folder, making it when needed.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn open(root: &Path) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let place = BlobStore::Folder {
            folder: Arc::new(LocalStore::new(root)),
            writes: Arc::new(Semaphore::new((cores * 4).max(8))),
        };
        Self::with(place, &root.join(local::SPOOL))
    }

    fn with(place: BlobStore, spool: &Path) -> Result<Self> {
        let serials = Serials::new();
        let spool = Spool::open(spool, serials.process)
            .map_err(|e| BlobError::at(&spool.display().to_string(), e))?;
        let inner = BlobsInner {
            place,
            spool,
            serials,
            reports: OnceLock::new(),
            discards: Discards::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}
