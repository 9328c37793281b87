//! Reads a backup again: everything in it has the digest it had when it was stored.

use std::io::{Seek, Write};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::blobs::{AT_ONCE, BATCH};
use super::list::{ListReader, ListedBlob};
use super::make::{BackupListener, BackupProgress, handle};
use super::place::{BackupManifest, BackupPart, BackupPlace, file_digest};
use crate::archive::error::{ArchiveError, Result};
use crate::blob::{BlobError, CHUNK, SpoolFile};
use crate::memory::{MemoryBudget, Purpose};

impl BackupPlace {
    /// Fetches a part of a backup into the spool; none when it has another digest.
    pub(super) async fn fetch(
        &self,
        part: BackupPart,
        manifest: &BackupManifest,
    ) -> Result<Option<SpoolFile>> {
        let key = part.key(&manifest.name);
        let length = self.indexes.length(&key).await?;
        let spooled = self.indexes.spool()?;
        let mut chunks = self.indexes.stream(&key, 0, length).await?;
        while let Some(chunk) = chunks.try_next().await? {
            let mut file = handle(&spooled)?;
            let written = tokio::task::spawn_blocking(move || file.write_all(&chunk));
            let written = written
                .await
                .map_err(|_| ArchiveError::Lost { what: "backup" })?;
            written.map_err(|error| BlobError::at("the spool", error))?;
        }
        let (digest, _) = file_digest(spooled.path()).await?;
        let expected = match part {
            BackupPart::List => &manifest.list_digest,
            _ => &manifest.index_digest,
        };
        Ok(Some(spooled).filter(|_| digest == *expected))
    }

    /// The list of blobs of a backup.
    pub(super) async fn list_of(&self, manifest: &BackupManifest) -> Result<Option<ListReader>> {
        let Some(list) = self.fetch(BackupPart::List, manifest).await? else {
            return Ok(None);
        };
        let mut file = handle(&list)?;
        let rewound = file.rewind();
        rewound.map_err(|error| BlobError::at("the spool", error))?;
        Ok(Some(ListReader::new(file)))
    }

    /// Reads everything of a backup; returns how much is wrong. What was damaged before it was saved is wrong too.
    ///
    /// # Errors
    /// When the place cannot be read.
    pub async fn verify(
        &self,
        manifest: &BackupManifest,
        budget: &MemoryBudget,
        reported: BackupListener<'_>,
    ) -> Result<u64> {
        reported(BackupProgress::Stage("reading the backup again"));
        let mut problems = 0;
        let mut problem = |text: String| {
            problems += 1;
            reported(BackupProgress::Problem(&text));
        };
        if self.fetch(BackupPart::Index, manifest).await?.is_none() {
            problem(format!("the index of {} has other bytes", manifest.name));
        }
        let Some(mut list) = self.list_of(manifest).await? else {
            problem(format!("the list of {} has other bytes", manifest.name));
            return Ok(problems);
        };
        loop {
            let blobs = list.next_blobs(BATCH as usize)?;
            if blobs.is_empty() {
                return Ok(problems);
            }
            let mut read = stream::iter(blobs)
                .map(|blob| async move { self.check(blob, budget).await })
                .buffer_unordered(AT_ONCE)
                .boxed();
            while let Some(found) = read.next().await {
                let (blob, wrong) = found?;
                reported(BackupProgress::Blob(blob.length.unwrap_or(0)));
                if let Some(wrong) = wrong {
                    problem(format!("{}: {wrong}", blob.key));
                }
            }
        }
    }

    /// BLAKE3 of a range of a blob of the backup.
    async fn digest(
        &self,
        key: &str,
        offset: u64,
        length: u64,
    ) -> std::result::Result<[u8; 32], BlobError> {
        let mut chunks = self.blobs.stream(key, offset, length).await?;
        let mut hasher = blake3::Hasher::new();
        while let Some(chunk) = chunks.try_next().await? {
            hasher.update(&chunk);
        }
        Ok(*hasher.finalize().as_bytes())
    }

    async fn check(
        &self,
        blob: ListedBlob,
        budget: &MemoryBudget,
    ) -> Result<(ListedBlob, Option<&'static str>)> {
        let _memory = budget.reserve(Purpose::Background, 4 * CHUNK).await?;
        let wrong = match (blob.length, blob.digest) {
            (Some(length), Some(expected)) => {
                match self.digest(&blob.key, blob.offset, length).await {
                    Ok(digest) if digest == expected => None,
                    Ok(_) => Some("has other bytes in the backup"),
                    Err(BlobError::Short { .. }) => Some("is cut short in the backup"),
                    Err(BlobError::Missing { .. }) => Some("is missing in the backup"),
                    Err(error) => return Err(error.into()),
                }
            }
            _ => match self.blobs.length(&blob.key).await {
                Ok(_) => None,
                Err(BlobError::Missing { .. }) => Some("is missing in the backup"),
                Err(error) => return Err(error.into()),
            },
        };
        Ok((blob, wrong))
    }
}
