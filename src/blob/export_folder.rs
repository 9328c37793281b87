//! Folders outside of the archive, into which files are written.
//!
//! Invariants: a file under its name is complete; nothing that lies in the folder is followed or waited for. Others may
//! write there: folders are entered by their handles, links are never followed, and what is written is always new.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, mkdirat, open, openat, renameat, unlinkat};
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
        let wrong = |e: Errno| failed(&path, e.into());
        // Written beside and renamed. What a run that was broken off, or somebody else, left there goes; what is opened is new.
        let beside = format!("{name}.part");
        match unlinkat(&self.handle, &beside, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(wrong(error)),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.handle, &beside, flags, Mode::from_raw_mode(0o666));
        Ok(ExportFile {
            file: File::from(file.map_err(wrong)?),
            folder: self.handle.clone(),
            name: name.to_owned(),
            beside,
            path,
        })
    }

    /// Makes the names in it durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        fsync(&self.handle).map_err(|e| failed(&self.path, e.into()))
    }
}

/// A file that is being written beside its name.
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
