//! Import and export: files in folders instead of requests, through the same store and the same blobs.
//!
//! Invariant: an imported file goes the way of a stored part; importing again finds identical instances and changes
//! nothing, so an import that was broken off is simply started again.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::Archive;
use super::error::{ArchiveError, Result};
use super::store::{Outcome, StoreOptions};
use crate::blob::{BlobError, CHUNK};
use crate::dicom::uid::Target;
use crate::fault;
use crate::scope::Scope;

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Which file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why it is not stored; none when it is.
    pub refused: Option<String>,
}

/// All files below paths, in order of their names; links are not followed.
///
/// # Errors
/// When a path cannot be read; folders below it that cannot be read are left out.
pub fn files_below(paths: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if std::fs::metadata(path)?.is_file() {
            files.push(path.clone());
            continue;
        }
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() => files.push(entry.path()),
                    _ => {}
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

impl Archive {
    /// Stores one file of the local disk.
    ///
    /// # Errors
    /// When the stores fail; a file that cannot be read or stored is told in the result.
    pub async fn import_file(&self, path: &Path, options: StoreOptions) -> Result<Imported> {
        let mut imported = Imported {
            path: path.to_owned(),
            bytes: 0,
            refused: None,
        };
        let mut request = self.begin_store(options)?;
        let mut part = request.begin_part()?;
        let at = path.to_owned();
        let mut file = match self.work(move || Ok(File::open(at))).await? {
            Ok(file) => file,
            Err(error) => {
                imported.refused = Some(format!("cannot be opened: {error}"));
                return Ok(imported);
            }
        };
        loop {
            let read = self.work(move || {
                let mut buffer = Vec::with_capacity(CHUNK);
                let read = Read::by_ref(&mut file)
                    .take(CHUNK as u64)
                    .read_to_end(&mut buffer);
                Ok(read.map(|_| (file, buffer)))
            });
            match read.await? {
                Ok((_, buffer)) if buffer.is_empty() => break,
                Ok((again, buffer)) => {
                    file = again;
                    imported.bytes += buffer.len() as u64;
                    request.write(&mut part, Bytes::from(buffer)).await?;
                }
                Err(error) => {
                    imported.refused = Some(format!("cannot be read: {error}"));
                    return Ok(imported);
                }
            }
        }
        request.end_part(part).await?;
        for outcome in request.finish().await? {
            if let Outcome::Failed { comments, .. } = outcome {
                imported.refused = Some(comments.join("; "));
            }
        }
        Ok(imported)
    }

    /// Stores files, several at a time, telling each result.
    ///
    /// # Errors
    /// When the stores fail.
    pub async fn import_files(
        &self,
        files: Vec<PathBuf>,
        options: &StoreOptions,
        told: &mut (dyn FnMut(Imported) + Send),
    ) -> Result<()> {
        let at_once = self.limits.store_concurrency.max(1);
        let mut running = stream::iter(files)
            .map(|path| async move { self.import_file(&path, options.clone()).await })
            .buffer_unordered(at_once);
        while let Some(imported) = running.next().await {
            told(imported?);
        }
        Ok(())
    }

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
        told: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64> {
        let mut rows = self.instances(scope, target).await?;
        let mut count = 0;
        while let Some(row) = rows.next().await {
            let row = row?;
            let name = &row.name;
            let place = folder.join(name.study.as_str()).join(name.series.as_str());
            let path = place.join(format!("{}.dcm", name.instance));
            let there = std::fs::metadata(&path).is_ok_and(|m| m.len() == row.place.length);
            if !there || file_digest(path.clone()).await? != Some(row.digest) {
                let content = self.stored(&row).await?;
                std::fs::create_dir_all(&place).map_err(|e| cannot_write(&place, e))?;
                write_file(&path, content.chunks).await?;
            }
            count += 1;
            told(row.place.length);
        }
        Ok(count)
    }
}

async fn write_file(
    path: &Path,
    mut chunks: stream::BoxStream<'static, Result<Bytes>>,
) -> Result<()> {
    use std::io::Write;
    // Written beside and renamed: a file under its name is complete.
    let beside = path.with_extension("part");
    let mut file = File::create(&beside).map_err(|e| cannot_write(path, e))?;
    while let Some(chunk) = chunks.try_next().await? {
        file.write_all(&chunk).map_err(|e| cannot_write(path, e))?;
    }
    fault::point("export.written");
    file.sync_data().map_err(|e| cannot_write(path, e))?;
    std::fs::rename(&beside, path).map_err(|e| cannot_write(path, e))?;
    fault::point("export.renamed");
    Ok(())
}

/// BLAKE3 of a file; none when it cannot be read.
async fn file_digest(path: PathBuf) -> Result<Option<[u8; 32]>> {
    let digest = tokio::task::spawn_blocking(move || {
        let mut hasher = blake3::Hasher::new();
        let file = File::open(path).ok()?;
        hasher.update_reader(file).ok()?;
        Some(*hasher.finalize().as_bytes())
    });
    digest
        .await
        .map_err(|_| ArchiveError::Lost { what: "export" })
}

fn cannot_write(path: &Path, source: std::io::Error) -> ArchiveError {
    ArchiveError::Blob(BlobError::at(&path.display().to_string(), source))
}
