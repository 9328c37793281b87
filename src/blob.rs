//! The bytes: blobs by key on local disk.
//!
//! Invariants: a key is used once and a blob never changes; a blob is visible under its key only when all its bytes
//! are on stable storage; [`Blobs::settle`] makes the names of a batch durable. Every failure names the key, which
//! holds no patient data.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use crate::dicom::uid::InstanceName;

/// Bytes read from disk at a time for a streamed answer.
pub const CHUNK: usize = 256 * 1024;

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
    /// The disk is full or may not be written.
    #[error("the blob store cannot write {key}")]
    Full {
        /// What was written.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
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
        Self::new(key, source)
    }

    fn new(key: &str, source: io::Error) -> Self {
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

/// Blobs in a folder.
#[derive(Debug, Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    spool: PathBuf,
    /// Part of every serial of this process; random, so that two processes never make the same key.
    process: u64,
    next: AtomicU64,
}

/// A file being filled, in the file system of the blobs; removed when dropped before it was kept.
#[derive(Debug)]
pub struct SpoolFile {
    path: PathBuf,
    file: Option<File>,
}

impl SpoolFile {
    /// The open file.
    ///
    /// # Errors
    /// Only after the file was kept.
    pub fn file(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::Error::other("the spool file was kept already"))
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Left behind files are removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Blobs {
    /// Opens the folder, making it when needed, and removes what an earlier process left in the spool.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn open(root: &Path) -> Result<Self> {
        let spool = root.join("spool");
        let at = |e| BlobError::new(&root.display().to_string(), e);
        fs::create_dir_all(&spool).map_err(at)?;
        for entry in fs::read_dir(&spool).map_err(at)?.flatten() {
            let _ = fs::remove_file(entry.path());
        }
        let inner = Inner {
            root: root.to_owned(),
            spool,
            process: rand::random(),
            next: AtomicU64::new(0),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// A text that no other call in any process returns: time in µs, process and count, in hex.
    #[must_use]
    pub fn serial(&self) -> String {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let count = self.inner.next.fetch_add(1, Ordering::Relaxed);
        format!(
            "{:014x}{:08x}{count:04x}",
            now.as_micros(),
            self.inner.process & 0xFFFF_FFFF
        )
    }

    /// A new file in the spool.
    ///
    /// # Errors
    /// When the disk is full or not writable.
    pub fn spool(&self) -> Result<SpoolFile> {
        let path = self.inner.spool.join(self.serial());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let file = file.map_err(|e| BlobError::new("spool", e))?;
        Ok(SpoolFile {
            path,
            file: Some(file),
        })
    }

    /// Writes a whole blob and makes its bytes durable; call [`Self::settle`] before relying on its name.
    ///
    /// # Errors
    /// When the disk is full or fails; nothing is visible then.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let spooled = self.spool()?;
        spooled
            .file()
            .and_then(|mut f| f.write_all(bytes))
            .map_err(|e| BlobError::new(key, e))?;
        self.keep(key, spooled)
    }

    /// Turns a filled spool file into a blob without copying; call [`Self::settle`] before relying on its name.
    ///
    /// # Errors
    /// When the disk is full or fails; nothing is visible then.
    pub fn keep(&self, key: &str, mut spooled: SpoolFile) -> Result<()> {
        let at = |e| BlobError::new(key, e);
        spooled.file().and_then(File::sync_data).map_err(at)?;
        let target = self.path(key);
        // A folder may vanish between two tries: the sweeper removes empty ones.
        let mut tries = 0;
        while let Err(error) = fs::rename(&spooled.path, &target) {
            tries += 1;
            if error.kind() != io::ErrorKind::NotFound || tries > 8 {
                return Err(at(error));
            }
            if let Some(folder) = target.parent() {
                self.make_folder(folder).map_err(at)?;
            }
        }
        spooled.file = None;
        Ok(())
    }

    /// Makes a folder and the names of all new ones above it durable.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = folder;
        while !at.exists() && at != self.inner.root {
            missing.push(at);
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        fs::create_dir_all(folder)?;
        for made in missing.iter().rev() {
            if let Some(parent) = made.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Makes the names of a batch of blobs durable: one fsync for each folder.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<()> {
        let folders: BTreeSet<&str> = keys
            .filter_map(|k| k.rsplit_once('/').map(|(folder, _)| folder))
            .collect();
        for folder in folders {
            let synced = File::open(self.path(folder)).and_then(|f| f.sync_all());
            synced.map_err(|e| BlobError::new(folder, e))?;
        }
        Ok(())
    }

    /// Opens a blob for positional reads.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when there is none.
    pub fn open_file(&self, key: &str) -> Result<File> {
        File::open(self.path(key)).map_err(|e| BlobError::new(key, e))
    }

    /// Reads a range, whole.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Short`] when the bytes are not there.
    pub async fn read(&self, key: &str, offset: u64, length: usize) -> Result<Bytes> {
        let (blobs, key) = (self.clone(), key.to_owned());
        blocking(move || read_range(&blobs.open_file(&key)?, &key, offset, length)).await
    }

    /// Reads a range in chunks of [`CHUNK`] bytes; the first chunk is read before this returns, so that a missing
    /// blob is an error here and not in the stream.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Short`] when the bytes are not there.
    pub async fn stream(
        &self,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let (blobs, key) = (self.clone(), key.to_owned());
        let step = |file: Arc<File>, key: Arc<str>, offset: u64, left: u64| async move {
            let take = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            blocking(move || read_range(&file, &key, offset, take)).await
        };
        let (file, first) = {
            let key = key.clone();
            blocking(move || {
                let file = blobs.open_file(&key)?;
                let first = read_range(
                    &file,
                    &key,
                    offset,
                    usize::try_from(length).unwrap_or(CHUNK).min(CHUNK),
                )?;
                Ok((file, first))
            })
            .await?
        };
        let key: Arc<str> = Arc::from(key);
        let file = Arc::new(file);
        let done = first.len() as u64;
        let rest = stream::try_unfold((offset + done, length - done), move |(at, left)| {
            let (file, key) = (file.clone(), key.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let chunk = step(file, key, at, left).await?;
                let read = chunk.len() as u64;
                Ok(Some((chunk, (at + read, left - read))))
            }
        });
        use futures_util::StreamExt;
        Ok(stream::once(async move { Ok(first) }).chain(rest))
    }

    /// Removes a blob; one that is gone already is no error.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(BlobError::new(key, e)),
            _ => {}
        }
        // Empty folders go too; a store that runs into the gap makes them again.
        let mut folder = path.parent();
        while let Some(at) = folder.filter(|f| *f != self.inner.root) {
            if fs::remove_dir(at).is_err() {
                break;
            }
            folder = at.parent();
        }
        Ok(())
    }

    /// Keys of all blobs that were last written before `before`, in no order.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self, before: Option<std::time::SystemTime>) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut folders = vec![self.inner.root.clone()];
        while let Some(folder) = folders.pop() {
            let at = |e| BlobError::new(&folder.display().to_string(), e);
            for entry in fs::read_dir(&folder).map_err(at)? {
                let entry = entry.map_err(at)?;
                let path = entry.path();
                if path == self.inner.spool {
                    continue;
                }
                if entry.file_type().map_err(at)?.is_dir() {
                    folders.push(path);
                    continue;
                }
                let written = entry.metadata().and_then(|m| m.modified());
                let old = before.is_none_or(|before| written.is_ok_and(|w| w < before));
                if let (true, Ok(key)) = (old, path.strip_prefix(&self.inner.root)) {
                    keys.push(key.to_string_lossy().into_owned());
                }
            }
        }
        Ok(keys)
    }

    /// Whether the store can be written, by making and removing a spool file.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn probe(&self) -> Result<()> {
        self.spool().map(drop)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.inner.root.join(key)
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

fn read_range(file: &File, key: &str, offset: u64, length: usize) -> Result<Bytes> {
    // `read_to_end` fills spare capacity, so the buffer is not zeroed first.
    let mut buffer = Vec::with_capacity(length);
    let mut reader = At { file, offset }.take(length as u64);
    reader
        .read_to_end(&mut buffer)
        .map_err(|e| BlobError::new(key, e))?;
    if buffer.len() < length {
        return Err(BlobError::Short {
            key: key.to_owned(),
            end: offset + length as u64,
        });
    }
    Ok(Bytes::from(buffer))
}

struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;
    use crate::dicom::uid::{InstanceUid, SeriesUid, StudyUid};

    fn name() -> InstanceName {
        InstanceName {
            study: StudyUid::parse("1.2").unwrap(),
            series: SeriesUid::parse("1.3").unwrap(),
            instance: InstanceUid::parse("1.4").unwrap(),
        }
    }

    #[tokio::test]
    async fn what_was_put_is_read_back_by_range_and_by_stream() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let key = instance_key(&name(), &blobs.serial());
        let bytes: Vec<u8> = (0..700_000u32).map(|i| (i % 251) as u8).collect();
        blobs.put(&key, &bytes).unwrap();
        blobs.settle([key.as_str()].into_iter()).unwrap();
        assert_eq!(blobs.read(&key, 5, 10).await.unwrap(), &bytes[5..15]);
        let chunks: Vec<Bytes> = blobs
            .stream(&key, 1, 699_000)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(chunks.concat(), &bytes[1..699_001]);
        assert!(matches!(
            blobs.read(&key, 699_999, 2).await,
            Err(BlobError::Short { .. })
        ));
    }

    #[tokio::test]
    async fn a_removed_blob_is_missing_and_leaves_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let key = instance_key(&name(), &blobs.serial());
        blobs.put(&key, b"x").unwrap();
        blobs.remove(&key).unwrap();
        blobs.remove(&key).unwrap();
        assert!(matches!(
            blobs.read(&key, 0, 1).await,
            Err(BlobError::Missing { .. })
        ));
        assert!(matches!(
            blobs.stream(&key, 0, 1).await.err(),
            Some(BlobError::Missing { .. })
        ));
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left, ["spool"]);
    }

    #[test]
    fn a_spool_file_that_is_not_kept_vanishes() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        drop(blobs.spool().unwrap());
        assert_eq!(
            fs::read_dir(folder.path().join("spool")).unwrap().count(),
            0
        );
    }

    #[test]
    fn serials_differ() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        assert_ne!(blobs.serial(), blobs.serial());
    }
}
