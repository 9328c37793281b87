//! Keeps the sweepers of all nodes still while a backup is made, and other backups away.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::index::Index;

/// Name of the lease.
pub(in crate::archive) const BACKUP: &str = "backup";
/// How long sweepers stay still after a backup that died.
const LEASE: Duration = Duration::from_secs(120);
/// Pause between two renewals.
const RENEW: Duration = Duration::from_secs(20);

/// The right to make a backup, which is renewed until it is given back or dropped.
pub(super) struct BackupHold {
    index: Arc<dyn Index>,
    holder: String,
    renewing: AbortOnDropHandle<()>,
}

impl Archive {
    /// Takes the right to make a backup.
    pub(super) async fn hold_for_backup(&self) -> Result<BackupHold> {
        let (index, holder) = (self.index.clone(), self.blobs.serial());
        if !index.take_lease(BACKUP, &holder, LEASE).await? {
            let reason = "another backup of this archive is being made, or was broken off less than two minutes ago";
            return Err(ArchiveError::invalid(reason));
        }
        let (renewed, by) = (index.clone(), holder.clone());
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW).await;
                if let Err(error) = renewed.take_lease(BACKUP, &by, LEASE).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the right to make a backup cannot be renewed");
                }
            }
        });
        Ok(BackupHold {
            index,
            holder,
            renewing: AbortOnDropHandle::new(renewing),
        })
    }
}

impl BackupHold {
    /// Lets the sweepers go on.
    pub(super) async fn end(self) {
        drop(self.renewing);
        if let Err(error) = self.index.give_back_lease(BACKUP, &self.holder).await {
            tracing::debug!(%error, "the lease ends by itself");
        }
    }
}
