//! Blobs in a folder: written in the spool of the same file system, renamed, synced.
//!
//! Invariants: behind [`LocalStore::keep`] the bytes of a blob are on stable storage, and behind [`LocalStore::sync_dirs`] its
//! name is. Where one sync does for both (ADR 17), a blob may get its name before its bytes are there: after a power loss a
//! name without a row may stand at other bytes than its key says. Everything here blocks and runs on the blocking pool.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::buffers::{Buffers, PIECE};
use super::error::{BlobError, Result};
use super::name_durability::sync_covers_names;
use super::spool::{Spool, SpoolFile};
use crate::checksum::{ContentHasher, ContentSums};
use crate::fault;

/// Name of the folder that holds no blobs.
pub(super) const SPOOL: &str = "spool";
/// Bytes hashed at a time.
const HASH: usize = 1 << 20;

/// Folders that are known to be durable, at most.
const KNOWN: usize = 50_000;

/// Tries to give a blob its name before the folder counts as lost.
const TRIES: u32 = 100;

/// Blobs as files below a folder, each at the path its key spells.
#[derive(Debug)]
pub(super) struct LocalStore {
    root: PathBuf,
    /// Folders whose own name this process knows to be durable.
    durable: Mutex<HashSet<PathBuf>>,
    /// Whether the sync of a file makes its name durable, too.
    sync_covers_names: bool,
    buffers: Buffers,
}

impl LocalStore {
    /// The folder itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn new(root: &Path) -> Self {
        Self::with_syncs(root, sync_covers_names(root))
    }

    fn with_syncs(root: &Path, sync_covers_names: bool) -> Self {
        Self {
            root: root.to_owned(),
            durable: Mutex::default(),
            sync_covers_names,
            buffers: Buffers::default(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Writes a whole blob.
    pub(super) fn put(&self, spool: &Spool, key: &str, bytes: &[u8]) -> Result<()> {
        let spooled = spool.file().map_err(|e| BlobError::at("the spool", e))?;
        let wrote = spooled.file().and_then(|mut f| f.write_all(bytes));
        wrote.map_err(|e| BlobError::at(key, e))?;
        self.keep(key, spooled)
    }

    /// Turns a filled spool file into a blob without copying.
    pub(super) fn keep(&self, key: &str, spooled: SpoolFile) -> Result<()> {
        let at = |e| BlobError::at(key, e);
        fault::point("blob.filled");
        if !self.sync_covers_names {
            spooled.file().and_then(File::sync_data).map_err(at)?;
            fault::point("blob.synced");
        }
        let target = self.path(key);
        // A folder may vanish between two tries, and while it is made: `remove` takes empty ones away.
        let mut tries = 0;
        while let Err(error) = fs::rename(spooled.path(), &target) {
            tries += 1;
            if error.kind() != io::ErrorKind::NotFound || tries > TRIES {
                return Err(at(error));
            }
            let made = target.parent().map(|folder| self.make_folder(folder));
            fault::point("blob.folders");
            match made.unwrap_or(Ok(())).map_err(|e| (e.kind(), e)) {
                // Gone again before it could be looked at.
                Ok(()) | Err((io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists, _)) => {}
                Err((_, error)) => return Err(at(error)),
            }
        }
        fault::point("blob.renamed");
        let file = spooled.kept();
        if self.sync_covers_names {
            // Not `sync_data`: a rename changes nothing that it has to write.
            if let Err(error) = file.and_then(|file| file.sync_all()) {
                let _ = self.remove(key);
                return Err(at(error));
            }
            fault::point("blob.synced");
        }
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // Whole paths at any time.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder; whoever has a blob in it makes its name durable, see [`Self::sync_dirs`].
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        // Another process may have taken away what this one knew to be durable.
        for above in folder.ancestors().take_while(|above| !above.exists()) {
            self.durable().remove(above);
        }
        fs::create_dir_all(folder)
    }

    /// Makes the names of blobs durable: one fsync for each folder they lie in, and one for each folder above whose name is
    /// not known to be durable. Who made it does not matter: another request may be about to sync it and not have done so.
    pub(super) fn sync_dirs(&self, folders: &BTreeSet<String>) -> Result<()> {
        for folder in folders {
            if self.sync_covers_names {
                fault::point("blob.settled");
                continue;
            }
            let leaf = self.path(folder);
            let at = |e| BlobError::at(folder, e);
            let mut unknown = Vec::new();
            for above in leaf.ancestors().take_while(|above| *above != self.root) {
                if self.durable().contains(above) {
                    break;
                }
                unknown.push(above);
            }
            // From the top, so that what is known to be durable can be reached.
            for above in unknown.into_iter().rev() {
                if let Some(parent) = above.parent() {
                    File::open(parent).and_then(|f| f.sync_all()).map_err(at)?;
                }
                let mut durable = self.durable();
                if durable.len() >= KNOWN {
                    durable.clear();
                }
                durable.insert(above.to_owned());
            }
            File::open(&leaf).and_then(|f| f.sync_all()).map_err(at)?;
            fault::point("blob.settled");
        }
        Ok(())
    }

    /// Opens a blob for positional reads.
    pub(super) fn open(&self, key: &str) -> Result<File> {
        File::open(self.path(key)).map_err(|e| BlobError::at(key, e))
    }

    /// Reads a range if name and bytes are in memory already, so that nothing is waited for; none when anything is not so.
    #[cfg(target_os = "linux")]
    pub(super) fn read_at_once(&self, key: &str, offset: u64, length: usize) -> Option<Vec<Bytes>> {
        use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = self.path(key);
        let file = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
        let file = File::from(file);
        let piece = |(at, length)| self.piece_at_once(&file, at, length);
        pieces(offset, length).map(piece).collect()
    }

    /// Reads a piece of an open blob if it is in memory already.
    #[cfg(target_os = "linux")]
    pub(super) fn piece_at_once(&self, file: &File, at: u64, length: usize) -> Option<Bytes> {
        use rustix::io::{ReadWriteFlags, preadv2};
        let fill = |room: &mut [u8]| {
            let read = preadv2(
                file,
                &mut [io::IoSliceMut::new(room)],
                at,
                ReadWriteFlags::NOWAIT,
            );
            if read == Ok(length) { Ok(()) } else { Err(()) }
        };
        self.buffers.filled(length, fill).ok()
    }

    /// Other systems cannot tell.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn read_at_once(&self, _: &str, _: u64, _: usize) -> Option<Vec<Bytes>> {
        None
    }

    /// Other systems cannot tell.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn piece_at_once(&self, _: &File, _: u64, _: usize) -> Option<Bytes> {
        None
    }

    /// Reads a range, whole.
    pub(super) fn read(
        &self,
        key: &str,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Result<Vec<Bytes>> {
        let fill = |at: u64, room: &mut [u8]| match file.read_exact_at(room, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(BlobError::short(key, offset.saturating_add(length as u64)))
            }
            done => done.map_err(|e| BlobError::at(key, e)),
        };
        let piece = |(at, length)| self.buffers.filled(length, |room| fill(at, room));
        pieces(offset, length).map(piece).collect()
    }

    /// Opens a range of a blob for positional reads.
    pub(super) fn source(&self, key: &str, offset: u64, length: u64) -> Result<FileRange> {
        let file = self.open(key)?;
        Ok(FileRange {
            file,
            offset,
            length,
        })
    }

    /// Size of a blob in bytes.
    pub(super) fn length(&self, key: &str) -> Result<u64> {
        let data = fs::metadata(self.path(key));
        data.map(|d| d.len()).map_err(|e| BlobError::at(key, e))
    }

    /// BLAKE3 of a range and the checksums of its blocks.
    pub(super) fn sums(&self, key: &str, offset: u64, length: u64) -> Result<ContentSums> {
        let file = self.open(key)?;
        let mut hasher = ContentHasher::default();
        let mut buffer = vec![0; HASH];
        let (mut at, end) = (offset, offset.saturating_add(length));
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(HASH).min(HASH);
            let Some(room) = buffer.get_mut(..wanted) else {
                break;
            };
            match file.read_at(room, at) {
                Ok(0) => return Err(BlobError::short(key, end)),
                Ok(read) => {
                    hasher.update(room.get(..read).unwrap_or_default());
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BlobError::at(key, error)),
            }
        }
        Ok(hasher.finalize())
    }

    /// Removes a blob; one that is gone already is no error.
    pub(super) fn remove(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(BlobError::at(key, e)),
            _ => {}
        }
        fault::point("blob.removed");
        // Empty folders go too; a store that runs into the gap makes them again.
        let mut folder = path.parent();
        while let Some(at) = folder.filter(|f| *f != self.root) {
            if fs::remove_dir(at).is_err() {
                break;
            }
            self.durable().remove(at);
            folder = at.parent();
        }
        Ok(())
    }

    /// Tells the keys of all blobs that were last written before `before`, in no order, until `tell` wants no more; counts
    /// those that were written later.
    pub(super) fn list(
        &self,
        before: Option<SystemTime>,
        young: &AtomicU64,
        mut tell: impl FnMut(String) -> bool,
    ) -> Result<()> {
        let spool = self.root.join(SPOOL);
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let at = |e| BlobError::at(&folder.display().to_string(), e);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                // Its last blob was removed in the meantime.
                Err(e) if e.kind() == io::ErrorKind::NotFound && folder != self.root => continue,
                Err(e) => return Err(at(e)),
            };
            for entry in entries {
                let entry = entry.map_err(at)?;
                let path = entry.path();
                if path == spool {
                    continue;
                }
                if entry.file_type().map_err(at)?.is_dir() {
                    folders.push(path);
                    continue;
                }
                let written = entry.metadata().and_then(|m| m.modified());
                let old = before.is_none_or(|before| written.is_ok_and(|w| w < before));
                if !old {
                    young.fetch_add(1, Ordering::Relaxed);
                }
                if let (true, Ok(key)) = (old, path.strip_prefix(&self.root))
                    && !tell(key.to_string_lossy().into_owned())
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Reads a range, whole, into memory of its own that is not zeroed first.
#[cfg(feature = "cloud")]
pub(super) fn read_range(file: &File, key: &str, offset: u64, length: usize) -> Result<Bytes> {
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let at = offset.saturating_add(buffer.len() as u64);
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
            Ok(0) => return Err(BlobError::short(key, offset.saturating_add(length as u64))),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(BlobError::at(key, error.into())),
        }
    }
    // The capacity may be larger than what was asked for.
    buffer.truncate(length);
    Ok(Bytes::from(buffer))
}

/// Where the pieces of a range begin, and their lengths.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize)> {
    let piece = move |start: usize| {
        (
            offset.saturating_add(start as u64),
            PIECE.min(length - start),
        )
    };
    (0..length).step_by(PIECE).map(piece)
}

/// A range of a file.
#[derive(Debug)]
pub(super) struct FileRange {
    file: File,
    offset: u64,
    length: u64,
}

impl crate::dicom::source::Source for FileRange {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        match buf.get_mut(..wanted) {
            Some(buf) if !buf.is_empty() => {
                FileExt::read_at(&self.file, buf, self.offset.saturating_add(offset))
            }
            _ => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_another_one_has_just_made_is_synced_too() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::open(&root.path().join(SPOOL), 1).unwrap();
        let folder = LocalStore::with_syncs(root.path(), false);
        // Made by somebody who has not come to sync anything.
        fs::create_dir_all(root.path().join("aa/1.2/1.3")).unwrap();
        folder.put(&spool, "aa/1.2/1.3/1.dcm", b"x").unwrap();
        let leaf = BTreeSet::from(["aa/1.2/1.3".to_owned()]);
        folder.sync_dirs(&leaf).unwrap();
        for above in ["aa", "aa/1.2", "aa/1.2/1.3"] {
            assert!(
                folder.durable().contains(&root.path().join(above)),
                "{above}"
            );
        }
        folder.remove("aa/1.2/1.3/1.dcm").unwrap();
        assert!(folder.durable().is_empty());
    }

    #[test]
    fn a_folder_that_is_taken_away_while_it_is_made_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::open(&root.path().join(SPOOL), 1).unwrap();
        let folder = LocalStore::with_syncs(root.path(), true);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (folder, spool) = (&folder, &spool);
                scope.spawn(move || {
                    for number in 0..200 {
                        let key = format!("aa/1.2/1.3/{thread}.{number}.dcm");
                        folder.put(spool, &key, b"x").unwrap();
                        folder.remove(&key).unwrap();
                    }
                });
            }
        });
    }
}
