//! A transfer as an operation, whose progress is written beside the work.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::archive::Archive;
use crate::archive::services::transfers::{Transfer, TransferProgress};

/// Time between two notes of the progress.
const NOTE: Duration = Duration::from_secs(1);

/// A transfer whose progress is written now and then.
pub(super) struct ShownTransfer {
    transfer: Transfer,
    progress: watch::Sender<TransferProgress>,
    writing: AbortOnDropHandle<()>,
}

impl ShownTransfer {
    /// Begins one; none where it cannot be written, which is told in the log.
    pub(super) async fn begin(archive: &Archive, what: &'static str, peer: &str) -> Option<Self> {
        let begun = archive.begin_transfer(what, peer).await;
        let transfer = begun
            .inspect_err(|error| tracing::warn!(%error, "the transfer is no operation"))
            .ok()?;
        let (progress, seen) = watch::channel(TransferProgress::default());
        let mut writer = transfer.clone();
        let writing = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(NOTE).await;
                let now = *seen.borrow();
                writer.note(now).await;
            }
        }));
        Some(Self {
            transfer,
            progress,
            writing,
        })
    }

    /// Ends it.
    pub(super) async fn finish(self, well: bool) {
        drop(self.writing);
        let last = *self.progress.borrow();
        self.transfer.finish(last, well).await;
    }

    /// The id of the operation.
    pub(super) fn id(&self) -> &str {
        self.transfer.id()
    }

    /// Has it written how far it is.
    pub(super) fn show(&self, progress: TransferProgress) {
        self.progress.send_replace(progress);
    }
}
