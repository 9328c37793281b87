//! Removes old backups, and the blobs that no kept one names.
//!
//! Invariant: the manifest of a backup goes before anything else of it, so that one that is there is whole.

use futures_util::TryStreamExt;

use super::blobs::{BATCH, HeldKeys};
use super::make::{BackupListener, BackupProgress};
use super::place::{BackupPart, BackupPlace};
use crate::archive::error::Result;
use crate::fault;
use crate::memory::MemoryBudget;

/// What was removed.
#[derive(Debug, Default)]
pub(super) struct PrunedBackups {
    pub(super) backups: usize,
    pub(super) blobs: u64,
    /// Why nothing was.
    pub(super) left: Option<String>,
}

impl BackupPlace {
    /// Keeps the newest backups.
    pub(super) async fn prune(
        &self,
        keep: usize,
        budget: &MemoryBudget,
        reported: BackupListener<'_>,
    ) -> Result<PrunedBackups> {
        let manifests = self.manifests().await?;
        let Some(old) = manifests.len().checked_sub(keep.max(1)).filter(|n| *n > 0) else {
            return Ok(PrunedBackups::default());
        };
        reported(BackupProgress::Stage("removing old backups"));
        let mut named = HeldKeys::none(budget);
        for manifest in manifests.iter().skip(old) {
            let Some(mut list) = self.list_of(manifest).await? else {
                let reason = format!(
                    "the list of blobs of {} is damaged, so it is not known what can go",
                    manifest.name
                );
                return Ok(left(reason));
            };
            loop {
                let blobs = list.next_blobs(BATCH as usize)?;
                if blobs.is_empty() {
                    break;
                }
                blobs.iter().for_each(|blob| named.add(&blob.key));
            }
        }
        if !named.is_complete() {
            let reason = "STOWAGE_MEMORY_BYTES is too small for the keys of all blobs that stay";
            return Ok(left(reason.to_owned()));
        }
        let mut pruned = PrunedBackups::default();
        for manifest in manifests.iter().take(old) {
            for part in BackupPart::ALL {
                self.indexes.remove(&part.key(&manifest.name)).await?;
                fault::point("backup.pruned");
            }
            pruned.backups += 1;
        }
        let mut keys = self.blobs.list(None);
        while let Some(key) = keys.try_next().await? {
            if named.has(&key) == Some(false) {
                self.blobs.remove(&key).await?;
                pruned.blobs += 1;
            }
        }
        // What runs left that were broken off.
        let kept: Vec<&str> = manifests
            .iter()
            .skip(old)
            .map(|m| m.name.as_str())
            .collect();
        let mut keys = self.indexes.list(None);
        while let Some(key) = keys.try_next().await? {
            let name = key.split('/').next().unwrap_or_default();
            if !kept.contains(&name) {
                self.indexes.remove(&key).await?;
            }
        }
        Ok(pruned)
    }
}

fn left(reason: String) -> PrunedBackups {
    PrunedBackups {
        left: Some(reason),
        ..PrunedBackups::default()
    }
}
