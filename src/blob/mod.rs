//! The bytes: blobs by key, in a folder or in an object store.
//!
//! Invariants: a key is used once and a blob never changes; a blob is visible under its key only when it is complete;
//! after [`Blobs::store`] and [`Blobs::sync_dirs`] it is durable. Every failure names the key, which holds no patient data.
//! The spool, for what is being received or made, is on the local disk always.

mod buffers;
mod local;
mod location;
#[cfg(feature = "cloud")]
mod remote;
mod spool;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::config::StorageConfig;
use crate::dicom::source::Source;
use crate::dicom::uid::InstanceName;
use local::LocalStore;
use location::Location;
use spool::Spool;

pub use spool::{SpoolFile, Spooled};

/// Bytes of one chunk of a streamed answer at most.
pub const CHUNK: usize = 256 * 1024;
/// Blobs without a row removed at a time.
const DISCARDED: usize = 64;
/// Bytes that are copied from the memory of the system rather than handed to another thread.
const AT_ONCE: usize = 1 << 20;

/// Failure of a blob call.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("the blob {key} is missing")]
    Missing {
        /// Its key.
        key: String,
    },
    /// The blob is shorter than the index says.
    #[error("the blob {key} ends before byte {end}")]
    Short {
        /// Its key.
        key: String,
        /// First byte behind the range asked for.
        end: u64,
    },
    /// The blob is not what was stored: its digest is another.
    #[error("the blob {key} holds other bytes than were stored")]
    Damaged {
        /// Its key.
        key: String,
    },
    /// The disk is full or may not be written.
    #[error("the blob store cannot write {key}")]
    Full {
        /// What was written.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The object store does not answer, or not as it should; later may work.
    #[error("the object store cannot be used for {key}")]
    Unavailable {
        /// What was touched.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings do not name a store that can be used.
    #[error("{reason}")]
    Config {
        /// Which setting is wrong, and what to do.
        reason: String,
    },
    /// Anything else.
    #[error("the blob store failed on {key}")]
    Io {
        /// What was touched.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    /// Sorts an I/O error that happened at `key`.
    #[must_use]
    pub fn at(key: &str, source: io::Error) -> Self {
        // A source of ours that had to speak the language of files.
        let source = match source.downcast::<Self>() {
            Ok(error) => return error,
            Err(source) => source,
        };
        let key = key.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { key },
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::PermissionDenied => Self::Full { key, source },
            _ => Self::Io { key, source },
        }
    }

    fn short(key: &str, end: u64) -> Self {
        let key = key.to_owned();
        Self::Short { key, end }
    }

    fn config(reason: impl Into<String>) -> Self {
        Self::Config {
            reason: reason.into(),
        }
    }
}

/// Result of a blob call.
pub type Result<T> = std::result::Result<T, BlobError>;

/// Names a blob: `{2 hex}/{study}/{series}/{instance}.{serial}.dcm`, so that a lost index can be rebuilt.
#[must_use]
pub fn instance_key(name: &InstanceName, serial: &str) -> String {
    let hash = blake3::hash(name.study.as_str().as_bytes());
    let prefix = &hash.to_hex()[..2];
    format!(
        "{prefix}/{}/{}/{}.{serial}.dcm",
        name.study, name.series, name.instance
    )
}

/// The bytes of a blob to be.
#[derive(Debug)]
pub enum Payload {
    /// In memory.
    Memory(Bytes),
    /// In the spool.
    Spooled(SpoolFile),
}

/// A range of a blob, opened for positional reads; they block, so they belong on the blocking pool.
pub type OpenBlob = Arc<dyn Source + Send + Sync>;

/// Blobs by key.
#[derive(Debug, Clone)]
pub struct Blobs {
    inner: Arc<BlobsInner>,
}

#[derive(Debug)]
struct BlobsInner {
    place: BlobStore,
    spool: Spool,
    /// Part of every serial of this process; random, so that two processes never make the same key.
    process: u64,
    next: AtomicU64,
    /// Hears of blobs that could not be read as they should.
    reports: OnceLock<mpsc::Sender<String>>,
    discards: Discards,
}

/// Blobs without a row that are still to be removed.
#[derive(Debug, Default)]
struct Discards {
    queue: Mutex<DiscardQueue>,
    /// Told whenever some are gone.
    done: Notify,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What this process may still write.
    pub free: u64,
    /// Its size.
    pub total: u64,
}

impl DiskSpace {
    /// Of the file system that a folder is on; none when it cannot be asked.
    fn of(folder: &Path) -> Option<Self> {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(Self {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
}

#[derive(Debug, Default)]
struct DiscardQueue {
    keys: VecDeque<String>,
    /// Somebody removes them.
    running: bool,
    /// Keys ever put into the queue, and how many of them are done with.
    added: u64,
    removed: u64,
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
    /// Opens the store that the settings name; a folder is made when needed, a bucket is asked for once.
    ///
    /// # Errors
    /// [`BlobError::Config`] when the settings are wrong or the object store refuses them, else when the folder cannot be
    /// made or written. An object store that does not answer is no error here: it may come up later.
    pub async fn connect(storage: &StorageConfig) -> Result<Self> {
        let location = match &storage.blob_url {
            Some(url) => location::parse(url, storage.s3_endpoint.as_deref())?,
            None => Location::Folder(storage.data_dir.join("blobs")),
        };
        match location {
            Location::Folder(root) => blocking(move || Self::open(&root)).await,
            #[cfg(feature = "cloud")]
            Location::Bucket(bucket) => {
                let spool = storage.data_dir.join(local::SPOOL);
                let bucket = remote::Bucket::connect(&bucket, storage).await?;
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
            match location::parse(url, storage.s3_endpoint.as_deref())? {
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
        let process = rand::random();
        let spool = Spool::open(spool, process)
            .map_err(|e| BlobError::at(&spool.display().to_string(), e))?;
        let inner = BlobsInner {
            place,
            spool,
            process,
            next: AtomicU64::new(0),
            reports: OnceLock::new(),
            discards: Discards::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

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
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let count = self.inner.next.fetch_add(1, Ordering::Relaxed);
        format!(
            "{:014x}{:08x}{count:04x}",
            now.as_micros(),
            self.inner.process & 0xFFFF_FFFF
        )
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

    /// BLAKE3 of a range.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Short`] when the bytes are not there.
    pub async fn digest(&self, key: &str, offset: u64, length: u64) -> Result<[u8; 32]> {
        match &self.inner.place {
            BlobStore::Folder { folder, .. } => {
                let (folder, key) = (folder.clone(), key.to_owned());
                blocking(move || folder.digest(&key, offset, length)).await
            }
            #[cfg(feature = "cloud")]
            BlobStore::Bucket(bucket) => {
                let mut chunks = bucket.stream(key, offset, length).await?;
                let mut hasher = blake3::Hasher::new();
                while let Some(chunk) = chunks.next().await {
                    hasher.update(&chunk?);
                }
                Ok(*hasher.finalize().as_bytes())
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
        let mut queue = self.discards();
        queue.keys.push_back(key);
        queue.added += 1;
        if !std::mem::replace(&mut queue.running, true) {
            let blobs = self.clone();
            runtime.spawn(async move { blobs.remove_discarded().await });
        }
    }

    /// Waits until everything that was discarded so far is gone.
    pub async fn discarded(&self) {
        let wanted = self.discards().added;
        loop {
            let done = self.inner.discards.done.notified();
            if self.discards().removed >= wanted {
                return;
            }
            done.await;
        }
    }

    fn discards(&self) -> MutexGuard<'_, DiscardQueue> {
        let queue = self.inner.discards.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner)
    }

    async fn remove_discarded(&self) {
        loop {
            let next: Vec<String> = {
                let mut queue = self.discards();
                let most = queue.keys.len().min(DISCARDED);
                let next = queue.keys.drain(..most).collect::<Vec<_>>();
                queue.running = !next.is_empty();
                next
            };
            if next.is_empty() {
                return;
            }
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
            self.discards().removed += count;
            self.inner.discards.done.notify_waiters();
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

async fn stream_file(
    folder: Arc<LocalStore>,
    key: &str,
    offset: u64,
    length: u64,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let key: Arc<str> = Arc::from(key);
    let take = |left: u64| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
    let (at, reader) = (key.clone(), folder.clone());
    let (file, first) = blocking(move || {
        let file = reader.open(&at)?;
        let first = reader.read(&at, &file, offset, take(length))?;
        Ok((Arc::new(file), first))
    })
    .await?;
    let end = offset.saturating_add(length);
    let start = offset.saturating_add(take(length) as u64);
    let rest = stream::try_unfold(start, move |at| {
        let (folder, file, key) = (folder.clone(), file.clone(), key.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            // What is in memory is copied here, so others must get their turn in between.
            tokio::task::coop::consume_budget().await;
            let piece = take(end - at).min(buffers::PIECE);
            let chunks = match folder.piece_at_once(&file, at, piece) {
                Some(chunk) => vec![chunk],
                None => blocking(move || folder.read(&key, &file, at, take(end - at))).await?,
            };
            let read = chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
            Ok(Some((stream::iter(chunks.into_iter().map(Ok)), at + read)))
        }
    });
    let first = stream::iter(first.into_iter().map(Ok));
    Ok(first.chain(rest.try_flatten()).boxed())
}

/// Keys that are found but not yet asked for.
const FOUND: usize = 1024;

fn list_folder(
    folder: Arc<LocalStore>,
    before: Option<SystemTime>,
    young: Arc<AtomicU64>,
) -> BoxStream<'static, Result<String>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(FOUND);
    tokio::task::spawn_blocking(move || {
        let listed = folder.list(before, &young, |key| sender.blocking_send(Ok(key)).is_ok());
        if let Err(error) = listed {
            // Nobody listens any more: then nobody misses it.
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|key| (key, receiver))
    })
    .boxed()
}

/// Notes a blob that could not be removed.
fn log_failure(removed: Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "a blob without a row was left behind; fsck removes it");
    }
}

/// Runs file work on the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(BlobError::Io {
            key: "task".to_owned(),
            source: io::Error::other(e),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::uid::{InstanceUid, SeriesUid, StudyUid};

    #[test]
    fn a_key_holds_the_names_and_a_serial_that_differs() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let name = InstanceName {
            study: StudyUid::parse("1.2").unwrap(),
            series: SeriesUid::parse("1.3").unwrap(),
            instance: InstanceUid::parse("1.4").unwrap(),
        };
        let (one, other) = (blobs.serial(), blobs.serial());
        assert_ne!(one, other);
        let key = instance_key(&name, &one);
        assert_eq!(
            key.get(2..),
            Some(format!("/1.2/1.3/1.4.{one}.dcm").as_str())
        );
    }

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
