//! Folders outside of the archive, into which files are written.
//!
//! Invariants: a file under its name is complete; nothing that lies in the folder is followed or waited for. Others may
//! write there: folders are entered by their handles, links are never followed, and what is written is always new.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, flock, fstat, fsync, mkdirat, open, openat, renameat,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::error::{BlobError, Result};
use crate::fault;

const IN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A folder by its handle: whatever happens to its name, it stays the same folder.
#[derive(Debug, Clone)]
pub struct ExportFolder {
    handle: Arc<OwnedFd>,
    /// For messages.
    path: PathBuf,
}

impl ExportFolder {
    /// The folder that was named, which may be a link; it is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made or entered.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| failed(path, e))?;
        let handle = open(path, IN, Mode::empty()).map_err(|e| failed(path, e.into()))?;
        Ok(Self {
            handle: Arc::new(handle),
            path: path.to_owned(),
        })
    }

    /// A folder in it, durably made when it is not there; a link is refused.
    ///
    /// # Errors
    /// When it cannot be made or entered.
    pub fn below(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        let wrong = |e: Errno| failed(&path, e.into());
        match mkdirat(&self.handle, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(wrong(error)),
        }
        let handle = openat(&self.handle, name, IN | OFlags::NOFOLLOW, Mode::empty());
        Ok(Self {
            handle: Arc::new(handle.map_err(wrong)?),
            path,
        })
    }

    /// BLAKE3 of a file of this length; none when there is none, or something else. Reads the file.
    #[must_use]
    pub fn digest(&self, name: &str, length: u64) -> Option<[u8; 32]> {
        // A pipe must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.handle, name, flags, Mode::empty()).ok()?);
        let fits = |m: std::fs::Metadata| m.is_file() && m.len() == length;
        if !file.metadata().is_ok_and(fits) {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).ok()?;
        Some(*hasher.finalize().as_bytes())
    }

    /// Begins a file that is to be in place of what has its name.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(&self, name: &str) -> Result<ExportFile> {
        let path = self.path.join(name);
        let wrong = |e: io::Error| failed(&path, e);
        // Written beside and renamed.
        let beside = format!("{name}.part");
        self.remove_unfinished(&beside).map_err(wrong)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.handle, &beside, flags, Mode::from_raw_mode(0o666));
        let file = file.map_err(|e| wrong(e.into()))?;
        // Whoever takes it for left over in between has removed it.
        if !lock(&file).map_err(wrong)? || !self.is_named(&file, &beside).map_err(wrong)? {
            return Err(wrong(taken()));
        }
        Ok(ExportFile {
            file: File::from(file),
            folder: self.handle.clone(),
            name: name.to_owned(),
            beside,
            path,
        })
    }

    /// Removes what a run that was broken off, or somebody else, left under a name; not what another process, or another
    /// thread, is writing now.
    fn remove_unfinished(&self, name: &str) -> io::Result<()> {
        // A pipe must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let left = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(left) => Some(File::from(left)),
            Err(Errno::NOENT) => return Ok(()),
            // A link, or nothing that could be opened: no file of ours.
            Err(_) => None,
        };
        if let Some(left) = &left
            && left.metadata()?.is_file()
            && !(lock(left)? && self.is_named(left, name)?)
        {
            return Err(taken());
        }
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a file has this name.
    fn is_named(&self, file: &impl AsFd, name: &str) -> io::Result<bool> {
        let (file, named) = (
            fstat(file)?,
            match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) => named,
                Err(Errno::NOENT) => return Ok(false),
                Err(error) => return Err(error.into()),
            },
        );
        Ok((file.st_dev, file.st_ino) == (named.st_dev, named.st_ino))
    }

    /// Makes the names in it durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        fsync(&self.handle).map_err(|e| failed(&self.path, e.into()))
    }
}

/// Locks a file until it is closed; false when it is being written elsewhere. Where files cannot be locked, nobody else writes.
fn lock(file: &impl AsFd) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Another process is at the same file: later it is there, or can be written.
fn taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "it is being written by another process",
    )
}

/// A file that is being written beside its name, which is locked: only its writer renames or removes it.
#[derive(Debug)]
pub struct ExportFile {
    file: File,
    folder: Arc<OwnedFd>,
    name: String,
    beside: String,
    path: PathBuf,
}

impl ExportFile {
    /// Appends bytes.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|e| failed(&self.path, e))
    }

    /// Gives the file its name once its bytes are durable.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn finish(self) -> Result<()> {
        fault::point("export.written");
        self.file.sync_data().map_err(|e| failed(&self.path, e))?;
        let renamed = renameat(&self.folder, &self.beside, &self.folder, &self.name);
        renamed.map_err(|e| failed(&self.path, e.into()))?;
        fault::point("export.renamed");
        Ok(())
    }

    /// Removes what was written.
    pub fn abandon(self) {
        // What stays is removed when the file is written again.
        let _ = unlinkat(&self.folder, &self.beside, AtFlags::empty());
    }
}

fn failed(path: &Path, source: io::Error) -> BlobError {
    BlobError::at(&path.display().to_string(), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_neither_removed_nor_renamed_by_another() {
        let place = tempfile::tempdir().unwrap();
        let folder = ExportFolder::open(place.path()).unwrap();
        let mut first = folder.create("a.dcm").unwrap();
        first.append(b"half").unwrap();
        let other = ExportFolder::open(place.path()).unwrap();
        let error = other.create("a.dcm").unwrap_err();
        assert!(error.to_string().contains("a.dcm"), "{error}");
        first.append(b" and half").unwrap();
        first.finish().unwrap();
        let written = |name| std::fs::read(place.path().join(name));
        assert_eq!(written("a.dcm").unwrap(), b"half and half");
        assert!(written("a.dcm.part").is_err());
        // What nobody writes any more goes, whatever it is.
        std::fs::write(place.path().join("a.dcm.part"), "left").unwrap();
        other.create("a.dcm").unwrap().finish().unwrap();
        assert_eq!(written("a.dcm").unwrap(), b"");
        std::os::unix::fs::symlink("a.dcm", place.path().join("a.dcm.part")).unwrap();
        other.create("a.dcm").unwrap().abandon();
        assert!(written("a.dcm.part").is_err() && written("a.dcm").is_ok());
    }
}
