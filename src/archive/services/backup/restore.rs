//! Brings a backup back: blobs first, then the index, so that a row implies its blob at any time.

use std::fs::File;
use std::path::Path;

use futures_util::{StreamExt, stream};

use super::blobs::{AT_ONCE, BATCH, copy_blob};
use super::make::{BackupListener, BackupProgress, handle};
use super::place::{BackupManifest, BackupPart, BackupPlace};
use crate::archive::error::{ArchiveError, Result};
use crate::blob::{BlobError, Blobs};
use crate::fault;
use crate::memory::MemoryBudget;

/// What was brought back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoredBlobs {
    /// Blobs that were copied, and their bytes.
    pub copied: (u64, u64),
    /// Blobs that were there already.
    pub known: u64,
    /// Blobs that are missing or damaged in the backup.
    pub lost: u64,
}

impl BackupPlace {
    /// Copies the blobs of a backup that a store does not hold.
    ///
    /// # Errors
    /// When a store fails, or the list of blobs is damaged.
    pub async fn restore_blobs(
        &self,
        manifest: &BackupManifest,
        to: &Blobs,
        budget: &MemoryBudget,
        reported: BackupListener<'_>,
    ) -> Result<RestoredBlobs> {
        reported(BackupProgress::Stage("copying blobs"));
        let Some(mut list) = self.list_of(manifest).await? else {
            let name = &manifest.name;
            let reason = format!("the list of blobs of the backup {name} is damaged: take another");
            return Err(ArchiveError::invalid(reason));
        };
        let mut restored = RestoredBlobs::default();
        loop {
            let blobs = list.next_blobs(BATCH as usize)?;
            if blobs.is_empty() {
                return Ok(restored);
            }
            let mut copied = stream::iter(blobs)
                .map(|blob| async move {
                    let there = match to.length(&blob.key).await {
                        // A blob is whole when it has its name; only one of another length is no blob of ours.
                        Ok(length) => blob
                            .length
                            .is_none_or(|needed| length >= needed.saturating_add(blob.offset)),
                        Err(BlobError::Missing { .. }) => false,
                        Err(error) => return Err(error.into()),
                    };
                    let result = match there {
                        true => None,
                        false => Some(copy_blob(&self.blobs, to, &blob, false, budget).await),
                    };
                    Ok::<_, ArchiveError>((blob, result))
                })
                .buffered(AT_ONCE)
                .boxed();
            let mut new = Vec::new();
            while let Some(one) = copied.next().await {
                let (blob, result) = one?;
                let bytes = match result {
                    None => {
                        restored.known += 1;
                        0
                    }
                    Some(Ok(copied)) if copied.intact => {
                        new.push(blob.key.clone());
                        restored.copied.0 += 1;
                        restored.copied.1 += copied.bytes;
                        copied.bytes
                    }
                    Some(Ok(_)) => {
                        restored.lost += 1;
                        let problem = format!("{}: is damaged in the backup", blob.key);
                        reported(BackupProgress::Problem(&problem));
                        0
                    }
                    Some(Err(ArchiveError::Blob(BlobError::Missing { .. }))) => {
                        restored.lost += 1;
                        let problem = format!("{}: is missing in the backup", blob.key);
                        reported(BackupProgress::Problem(&problem));
                        0
                    }
                    Some(Err(error)) => return Err(error),
                };
                reported(BackupProgress::Blob(bytes));
            }
            drop(copied);
            to.sync_dirs(new.iter().map(String::as_str)).await?;
            fault::point("restore.blobs");
        }
    }

    /// Writes the index of a backup, an `SQLite` file, to a path where nothing is.
    ///
    /// # Errors
    /// When it is damaged, or cannot be written.
    pub async fn restore_index(&self, manifest: &BackupManifest, to: &Path) -> Result<()> {
        let Some(index) = self.fetch(BackupPart::Index, manifest).await? else {
            let name = &manifest.name;
            let reason = format!("the index of the backup {name} is damaged: take another backup");
            return Err(ArchiveError::invalid(reason));
        };
        let mut from = handle(&index)?;
        let path = to.to_owned();
        let written = tokio::task::spawn_blocking(move || {
            std::io::Seek::rewind(&mut from)?;
            let mut file = File::create_new(&path)?;
            std::io::copy(&mut from, &mut file)?;
            file.sync_all()
        });
        let written = written
            .await
            .map_err(|_| ArchiveError::Lost { what: "restore" })?;
        written.map_err(|error| {
            let to = to.display();
            ArchiveError::invalid(format!("{to} cannot be written: {error}"))
        })
    }
}
