//! The spool: files being filled, on the local disk whatever the blob store is.
//!
//! Invariant: each process has a folder of its own below the spool and holds a lock on a file beside it, so a start
//! removes what dead processes left behind and nothing of a process that lives.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the file that is locked while the spool is looked through.
const DOOR: &str = "spool.lock";
/// Extension of the files that show which processes live.
const LOCK: &str = "lock";

/// A file being filled; removed when dropped before it was kept.
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

    /// Where it lies, for what writes to files by their names.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes its name away: it is gone with this process, whatever ends that, and cannot be kept.
    ///
    /// # Errors
    /// What the file system says.
    pub fn unlink(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Says that the path is no longer the spool's; returns the open file.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub(super) fn kept(mut self) -> io::Result<File> {
        let file = self.file.take();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Left behind files are removed by a later start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How much lies in the spool of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spooled {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The folder of this process.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    lock: PathBuf,
    /// Its lock ends with the process, however that ends.
    _held: File,
    next: AtomicU64,
}

impl Spool {
    /// Makes a folder named `process` below `root` and removes those of dead processes.
    pub(super) fn open(root: &Path, process: u64) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        // Whoever looks through the spool is alone, so nobody takes a folder for dead that is just being made.
        let door = lock_file(&root.join(DOOR))?;
        door.lock()?;
        remove_dead(root)?;
        let (folder, lock) = (
            root.join(format!("{process:016x}")),
            root.join(format!("{process:016x}.{LOCK}")),
        );
        let held = lock_file(&lock)?;
        held.lock()?;
        fs::create_dir(&folder)?;
        Ok(Self {
            folder,
            lock,
            _held: held,
            next: AtomicU64::new(0),
        })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How much lies in it now.
    pub(super) fn usage(&self) -> Spooled {
        let mut usage = Spooled::default();
        // A file may vanish while it is looked at.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if let Ok(metadata) = entry.metadata() {
                usage.files += 1;
                usage.bytes += metadata.len();
            }
        }
        usage
    }

    /// A new file.
    pub(super) fn file(&self) -> io::Result<SpoolFile> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number:x}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(SpoolFile {
            path,
            file: Some(file),
        })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // A folder that still holds files stays until they go or a later start finds it.
        if fs::remove_dir(&self.folder).is_ok() {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

fn remove_dead(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)?.flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == DOOR) {
            continue;
        }
        if path.extension().is_some_and(|e| e == LOCK) {
            let held = lock_file(&path)?;
            match held.try_lock() {
                Ok(()) => {
                    let _ = fs::remove_dir_all(path.with_extension(""));
                    let _ = fs::remove_file(&path);
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        } else if !path.with_extension(LOCK).exists() {
            // A folder or file without a lock belongs to nobody.
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(root)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_not_kept_vanishes() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::open(root.path(), 1).unwrap();
        let file = spool.file().unwrap();
        let path = file.path().to_owned();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());
        drop(spool);
        assert_eq!(names(root.path()), ["spool.lock"]);
    }

    #[test]
    fn a_start_leaves_files_of_living_processes_alone_and_removes_those_of_dead_ones() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("00000000000000aa")).unwrap();
        fs::write(root.path().join("00000000000000aa.lock"), "").unwrap();
        fs::write(root.path().join("00000000000000aa/0"), "left by a crash").unwrap();
        fs::write(root.path().join("older"), "left by an older version").unwrap();
        let first = Spool::open(root.path(), 1).unwrap();
        let file = first.file().unwrap();
        let second = Spool::open(root.path(), 2).unwrap();
        assert!(file.path().exists());
        assert_eq!(
            names(root.path()),
            [
                "0000000000000001",
                "0000000000000001.lock",
                "0000000000000002",
                "0000000000000002.lock",
                "spool.lock"
            ]
        );
        drop(second);
    }
}
