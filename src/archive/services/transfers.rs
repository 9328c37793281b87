//! Transfers to and from other archives as operations: what the command line does, seen under `/operations`.
//!
//! Invariant: a transfer never fails because its progress cannot be written; one whose process is gone is not running.

use serde_json::json;
use time::OffsetDateTime;

use crate::archive::{Archive, Result};
use crate::index::{Operation, OperationKind, OperationStatus};

/// A running transfer writes its progress far more often: one that has not for so long is gone.
const GONE: time::Duration = time::Duration::minutes(2);

/// How far a transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferProgress {
    /// Instances or studies in all, as far as they are known.
    pub total: u64,
    /// Those that arrived.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// Bytes that were sent.
    pub bytes: u64,
}

/// A transfer that is an operation.
#[derive(Debug, Clone)]
pub struct Transfer {
    archive: Archive,
    operation: Operation,
    what: &'static str,
    peer: String,
}

impl Archive {
    /// Begins a transfer: `what` it does (`send`, `fetch`), and with whom.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn begin_transfer(&self, what: &'static str, peer: &str) -> Result<Transfer> {
        let now = OffsetDateTime::now_utc();
        let left = self.index.unfinished_operations(OperationKind::Transfer);
        for mut old in left.await? {
            if now - old.updated > GONE {
                old.status = OperationStatus::Failed;
                self.index.save_operation(&old).await?;
            }
        }
        let mut transfer = Transfer {
            archive: self.clone(),
            operation: Operation::new(
                Operation::new_id(),
                OperationKind::Transfer,
                OperationStatus::Running,
            ),
            what,
            peer: peer.to_owned(),
        };
        transfer.show(TransferProgress::default());
        self.index.begin_operation(&transfer.operation).await?;
        Ok(transfer)
    }
}

impl Transfer {
    /// The id it is found by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.operation.id
    }

    fn show(&mut self, progress: TransferProgress) {
        let TransferProgress {
            total,
            done,
            failed,
            bytes,
        } = progress;
        let ended = done.saturating_add(failed).saturating_mul(100);
        let percent = ended.checked_div(total).unwrap_or(0).min(99);
        self.operation.percent = u8::try_from(percent).unwrap_or(99);
        let results = json!({ "service": self.what, "peer": self.peer, "total": total, "done": done, "failed": failed,
            "bytes": bytes });
        self.operation.results = Some(results.to_string());
    }

    /// Writes how far it is.
    pub async fn note(&mut self, progress: TransferProgress) {
        self.show(progress);
        self.save().await;
    }

    /// Writes how it ended: completed when nothing failed.
    pub async fn finish(mut self, progress: TransferProgress, well: bool) {
        self.show(progress);
        self.operation.status = if well {
            self.operation.percent = 100;
            OperationStatus::Completed
        } else {
            OperationStatus::Failed
        };
        self.save().await;
    }

    async fn save(&self) {
        if let Err(error) = self.archive.index.save_operation(&self.operation).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                operation = self.operation.id,
                "the progress of a transfer cannot be written"
            );
        }
    }
}
