//! The bytes: blobs by key, in a folder or in an object store.
//!
//! Invariants: a key is used once and a blob never changes; a blob is visible under its key only when it is complete;
//! after [`Blobs::store`] and [`Blobs::sync_dirs`] it is durable. Every failure names the key, which holds no patient data.
//! The spool, for what is being received or made, is on the local disk always.

mod blocking;
mod buffers;
mod connect;
mod discard;
mod disk;
mod error;
mod export_destination;
mod export_folder;
mod folder;
mod key;
mod local;
mod location;
mod name_durability;
mod payload;
#[cfg(feature = "cloud")]
mod remote;
mod spool;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::{Semaphore, mpsc};

use crate::checksum::{ContentHasher, ContentSums};
use blocking::blocking;
use discard::Discards;
use folder::{list_folder, stream_file};
use key::Serials;
use local::LocalStore;
use spool::Spool;

pub use disk::DiskSpace;
pub use error::{BlobError, ExportFailure, Result};
pub use export_destination::{Destination, Destinations};
pub use export_folder::{ExportFile, ExportFolder};
pub use key::{contradicts, instance_key, key_serial, serial_behind, serials_before};
pub use payload::{CHUNK, OpenBlob, Payload, SEND_PART};
pub use spool::{SpoolFile, Spooled};

/// Bytes that are copied from the memory of the system rather than handed to another thread.
const AT_ONCE: usize = 1 << 20;

/// Blobs by key.
#[derive(Debug, Clone)]
pub struct Blobs {
    inner: Arc<BlobsInner>,
}

#[derive(Debug)]
struct BlobsInner {
    place: BlobStore,
    spool: Spool,
    serials: Serials,
    /// Hears of blobs that could not be read as they should.
    reports: OnceLock<mpsc::Sender<String>>,
    discards: Discards,
}

#[derive(Debug)]
enum BlobStore {
    Folder {
        folder: Arc<LocalStore>,
        /// Files written and synced at the same time.
        writes: Arc<Semaphore>,
    },
    #[cfg(feature = "cloud")]
    Bucket(remote::Bucket),
}

impl Blobs {
    /// How many writes under way pay off where on a disk one would: over a network most of their time is waiting.
    #[must_use]
    pub fn overlap(&self) -> usize {
        match &self.inner.place {
            BlobStore::Folder { .. } => 1,
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(_) => 4,
        }
    }

    /// Whether reads wait for a network.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !matches!(&self.inner.place, BlobStore::Folder { .. })
    }

    /// Lets somebody hear the keys of blobs that are missing, too short or hold other bytes; the first one hears them.
    pub fn report_to(&self, reports: mpsc::Sender<String>) {
        let _ = self.inner.reports.set(reports);
    }

    /// Tells of a blob that cannot be read as it should, if that is what the error says; it may get lost when there are many.
    pub fn report(&self, error: &BlobError) {
        if let BlobError::Missing { key }
        | BlobError::Short { key, .. }
        | BlobError::Damaged { key }
        | BlobError::Io { key, .. } = error
            && let Some(reports) = self.inner.reports.get()
        {
            let _ = reports.try_send(key.clone());
        }
    }

    /// A text that no other call in any process returns: time in µs, process and count, in hex.
    #[must_use]
    pub fn serial(&self) -> String {
        self.inner.serials.next()
    }

    /// A new file in the spool; blocks.
    ///
    /// # Errors
    /// When the disk is full or not writable.
    pub fn spool(&self) -> Result<SpoolFile> {
        let file = self.inner.spool.file();
        file.map_err(|e| BlobError::at("the spool", e))
    }

    /// Makes a blob; call [`Self::sync_dirs`] before relying on its name.
    ///
    /// # Errors
    /// When the store is full or fails; nothing is visible then, or whole blobs that no row names.
    pub async fn store(&self, key: &str, payload: Payload) -> Result<()> {
        match &self.inner.place {
            BlobStore::Folder { folder, writes } => {
                let permit = writes.clone().acquire_owned().await;
                let (blobs, folder, key) = (self.clone(), folder.clone(), key.to_owned());
                blocking(move || {
                    let _permit = permit;
                    blobs.put(&folder, &key, payload)
                })
                .await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => bucket.store(key, payload).await,
        }
    }

    /// As [`Self::store`], on this thread, which may block; gives the payload back when that cannot be or others have to
    /// go first.
    ///
    /// # Errors
    /// The payload.
    pub fn store_at_once(
        &self,
        key: &str,
        payload: Payload,
    ) -> std::result::Result<Result<()>, Payload> {
        match &self.inner.place {
            BlobStore::Folder { folder, writes } => match writes.try_acquire() {
                Ok(_permit) => Ok(self.put(folder, key, payload)),
                Err(_) => Err(payload),
            },
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(_) => Err(payload),
        }
    }

    fn put(&self, folder: &LocalStore, key: &str, payload: Payload) -> Result<()> {
        match payload {
            Payload::Memory(bytes) => folder.put(&self.inner.spool, key, &bytes),
            Payload::Spooled(file) => folder.keep(key, file),
        }
    }

    /// Makes the names of a batch of blobs durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn sync_dirs<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<()> {
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                let folders: BTreeSet<String> = keys
                    .filter_map(|k| k.rsplit_once('/').map(|(folder, _)| folder.to_owned()))
                    .collect();
                if folders.is_empty() {
                    return Ok(());
                }
                let folder = folder.clone();
                blocking(move || folder.sync_dirs(&folders)).await
            }
            // An object store acknowledges what is durable.
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(_) => Ok(()),
        }
    }

    /// Reads a range, whole; in one or more chunks of [`CHUNK`] bytes at most where it lies in a folder.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Short`] when the bytes are not there.
    pub async fn read(&self, key: &str, offset: u64, length: usize) -> Result<Vec<Bytes>> {
        let read = self.read_range(key, offset, length).await;
        read.inspect_err(|error| self.report(error))
    }

    async fn read_range(&self, key: &str, offset: u64, length: usize) -> Result<Vec<Bytes>> {
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                if length <= AT_ONCE
                    && let Some(chunks) = folder.read_at_once(key, offset, length)
                {
                    return Ok(chunks);
                }
                let (folder, key) = (folder.clone(), key.to_owned());
                blocking(move || folder.read(&key, &folder.open(&key)?, offset, length)).await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => Ok(vec![bucket.read(key, offset, length).await?]),
        }
    }

    /// Reads a range in chunks of [`CHUNK`] bytes at most; the first chunk is read before this returns, so that a
    /// missing blob is an error here and not in the stream.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Short`] when the bytes are not there.
    pub async fn stream(
        &self,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let chunks = match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                stream_file(folder.clone(), key, offset, length).await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => bucket.stream(key, offset, length).await,
        };
        let blobs = self.clone();
        let chunks = chunks.inspect_err(|error| self.report(error))?;
        Ok(chunks.inspect_err(move |error| blobs.report(error)).boxed())
    }

    /// Opens a range for positional reads.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when there is no such blob.
    pub async fn open_source(&self, key: &str, offset: u64, length: u64) -> Result<OpenBlob> {
        let opened = self.open_range(key, offset, length).await;
        opened.inspect_err(|error| self.report(error))
    }

    async fn open_range(&self, key: &str, offset: u64, length: u64) -> Result<OpenBlob> {
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                let (folder, key) = (folder.clone(), key.to_owned());
                blocking(move || Ok(Arc::new(folder.source(&key, offset, length)?) as OpenBlob))
                    .await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => bucket.open_source(key, offset, length).await,
        }
    }

    /// Size of a blob in bytes.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when there is no such blob.
    pub async fn length(&self, key: &str) -> Result<u64> {
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                let (folder, key) = (folder.clone(), key.to_owned());
                blocking(move || folder.length(&key)).await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => bucket.length(key).await,
        }
    }

    /// BLAKE3 of a range and the checksums of its blocks.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Short`] when the bytes are not there.
    pub async fn sums(&self, key: &str, offset: u64, length: u64) -> Result<ContentSums> {
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                let (folder, key) = (folder.clone(), key.to_owned());
                blocking(move || folder.sums(&key, offset, length)).await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => {
                let mut chunks = bucket.stream(key, offset, length).await?;
                let mut hasher = ContentHasher::default();
                while let Some(chunk) = chunks.next().await {
                    hasher.update(&chunk?);
                }
                Ok(hasher.finalize())
            }
        }
    }

    /// Removes a blob; one that is gone already is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove(&self, key: &str) -> Result<()> {
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                let (folder, key) = (folder.clone(), key.to_owned());
                blocking(move || folder.remove(&key)).await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => bucket.remove(key).await,
        }
    }

    /// Removes a blob that no row names without making anybody wait; one that stays is found by `fsck`.
    pub fn discard(&self, key: String) {
        // Without a runtime the process is ending, or it is no server.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            if let BlobStore::Folder { folder, .. } = &self.inner.place {
                log_failure(folder.remove(&key));
            }
            return;
        };
        if self.inner.discards.add(key) {
            let blobs = self.clone();
            runtime.spawn(async move { blobs.remove_discarded().await });
        }
    }

    /// Waits until everything that was discarded so far is gone.
    pub async fn discarded(&self) {
        self.inner.discards.finished().await;
    }

    async fn remove_discarded(&self) {
        while let Some(next) = self.inner.discards.next() {
            let count = next.len() as u64;
            match &self.inner.place {
                BlobStore::Folder { folder, .. } => {
                    let folder = folder.clone();
                    let removed = blocking(move || {
                        next.iter().for_each(|key| log_failure(folder.remove(key)));
                        Ok(())
                    });
                    log_failure(removed.await);
                }
                #[cfg(feature = "cloud")]
                BlobStore::Bucket(_) => {
                    let removed = next.into_iter().map(|key| {
                        let blobs = self.clone();
                        async move { log_failure(blobs.remove(&key).await) }
                    });
                    stream::iter(removed).buffer_unordered(8).count().await;
                }
            }
            self.inner.discards.finish(count);
        }
    }

    /// Keys of all blobs that were last written before `before`, in no order.
    #[must_use]
    pub fn list(&self, before: Option<SystemTime>) -> BoxStream<'static, Result<String>> {
        self.list_old(before, &Arc::default())
    }

    /// As [`Self::list`], counting those that were written later.
    #[must_use]
    pub fn list_old(
        &self,
        before: Option<SystemTime>,
        young: &Arc<AtomicU64>,
    ) -> BoxStream<'static, Result<String>> {
        let young = young.clone();
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => list_folder(folder.clone(), before, young),
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => bucket.list(before, young),
        }
    }

    /// How much lies in the spool of this process; looks into a folder, but a small one.
    #[must_use]
    pub fn spooled(&self) -> Spooled {
        self.inner.spool.usage()
    }

    /// Room on the disks of this machine, by what lies there: `blobs` where they are in a folder, and the `spool`.
    ///
    /// Asks the file systems, so it belongs on the blocking pool.
    #[must_use]
    pub fn disks(&self) -> Vec<(&'static str, DiskSpace)> {
        let blobs = match &self.inner.place {
            BlobStore::Folder { folder, .. } => Some(("blobs", folder.root())),
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(_) => None,
        };
        let spool = Some(("spool", self.inner.spool.folder()));
        let places = [blobs, spool].into_iter().flatten();
        places
            .filter_map(|(what, folder)| Some((what, DiskSpace::of(folder)?)))
            .collect()
    }

    /// Whether spool and store can be used.
    ///
    /// # Errors
    /// Why they cannot.
    pub async fn probe(&self) -> Result<()> {
        let blobs = self.clone();
        blocking(move || blobs.spool().map(drop)).await?;
        match &self.inner.place {
            BlobStore::Folder { .. } => Ok(()),
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => bucket.probe().await,
        }
    }
}

/// Notes a blob that could not be removed.
fn log_failure(removed: Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "a blob without a row was left behind; fsck removes it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_removed_blob_leaves_no_folder_behind() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let payload = Payload::Memory(Bytes::from_static(b"x"));
        blobs.store("aa/1.2/1.3/1.4.0.dcm", payload).await.unwrap();
        blobs.remove("aa/1.2/1.3/1.4.0.dcm").await.unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().flatten();
        let left: Vec<_> = left.map(|e| e.file_name()).collect();
        assert_eq!(left, ["spool"]);
    }
}
