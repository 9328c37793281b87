//! Export: stored bytes as files in folders.
//!
//! Invariants: a file under its name is complete; nothing that lies in the target folder is followed or waited for. Others
//! may write there: folders are entered by their handles, links are never followed, and what is written is always new.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::blob::BlobError;
use crate::dicom::uid::Target;
use crate::fault;
use crate::scope::Scope;

impl Archive {
    /// Writes the stored bytes of a target below a folder as `study/series/instance.dcm`; files that are there already with
    /// the right bytes are kept. Returns how many instances there are.
    ///
    /// # Errors
    /// When the target does not exist, the stores fail or the folder cannot be written.
    pub async fn export(
        &self,
        scope: &Scope,
        target: &Target,
        folder: &Path,
        reported: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64> {
        let mut rows = self.instances(scope, target).await?;
        let mut count = 0;
        while let Some(row) = rows.next().await {
            let row = row?;
            let name = &row.name;
            let root = ExportFolder::open(folder)?;
            let study = root.below(name.study.as_str())?;
            let place = study.below(name.series.as_str())?;
            let file = format!("{}.dcm", name.instance);
            if place.digest(&file, row.place.length).await? != Some(row.digest) {
                let content = self.stored(&row).await?;
                place.write(&file, content.chunks).await?;
            }
            count += 1;
            reported(row.place.length);
        }
        Ok(count)
    }
}

/// A folder by its handle: whatever happens to its name, it stays the same folder.
pub(super) struct ExportFolder {
    handle: OwnedFd,
    /// For messages.
    path: PathBuf,
}

const IN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl ExportFolder {
    /// The folder that was named, which may be a link; it is made when it is not there.
    pub(super) fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| cannot_write(path, e))?;
        let handle = open(path, IN, Mode::empty()).map_err(|e| cannot_write(path, e.into()))?;
        Ok(Self {
            handle,
            path: path.to_owned(),
        })
    }

    /// A folder in it, made when it is not there; a link is refused.
    pub(super) fn below(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        let failed = |e: Errno| cannot_write(&path, e.into());
        match mkdirat(&self.handle, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let handle = openat(&self.handle, name, IN | OFlags::NOFOLLOW, Mode::empty());
        Ok(Self {
            handle: handle.map_err(failed)?,
            path,
        })
    }

    /// BLAKE3 of a file of this length; none when there is none, or something else.
    async fn digest(&self, name: &str, length: u64) -> Result<Option<[u8; 32]>> {
        // A pipe must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.handle, name, flags, Mode::empty()) else {
            return Ok(None);
        };
        let file = File::from(file);
        let fits = |m: std::fs::Metadata| m.is_file() && m.len() == length;
        if !file.metadata().is_ok_and(fits) {
            return Ok(None);
        }
        let digest = tokio::task::spawn_blocking(move || {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(file).ok()?;
            Some(*hasher.finalize().as_bytes())
        });
        digest
            .await
            .map_err(|_| ArchiveError::Lost { what: "export" })
    }

    /// Writes a file, in place of what has its name.
    pub(super) async fn write(
        &self,
        name: &str,
        mut chunks: stream::BoxStream<'static, Result<Bytes>>,
    ) -> Result<()> {
        let path = self.path.join(name);
        let failed = |e: std::io::Error| cannot_write(&path, e);
        // Written beside and renamed. What a run that was broken off, or somebody else, left there goes; what is opened is new.
        let beside = format!("{name}.part");
        match unlinkat(&self.handle, &beside, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.handle, &beside, flags, Mode::from_raw_mode(0o666));
        let mut file = File::from(file.map_err(|e| failed(e.into()))?);
        while let Some(chunk) = chunks.try_next().await? {
            file.write_all(&chunk).map_err(failed)?;
        }
        fault::point("export.written");
        file.sync_data().map_err(failed)?;
        renameat(&self.handle, &beside, &self.handle, name).map_err(|e| failed(e.into()))?;
        fault::point("export.renamed");
        Ok(())
    }
}

fn cannot_write(path: &Path, source: std::io::Error) -> ArchiveError {
    ArchiveError::Blob(BlobError::at(&path.display().to_string(), source))
}
