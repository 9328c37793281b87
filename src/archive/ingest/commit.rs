//! The fourth stage of a store: persisted instances of a request get their rows, a batch in one transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use super::options::StoreOptions;
use super::outcome::Outcome;
use super::persist::{PersistOutcome, PersistedPart};
use super::report::{CommittedPart, ReportBuilder, decide};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::jobs::commit::{CommitTicket, DurableBlob};
use crate::archive::jobs::heal::Kept;
use crate::index::StudyCondition;

/// Instances committed together at most by one request before it goes on reading.
const FLUSH: usize = 256;
/// Bytes of instances that are packed and wait for that.
const FLUSH_BYTES: usize = 2 << 20;

/// Whether a batch is to be committed before it takes more.
pub(super) enum BatchLevel {
    Open,
    Full,
}

/// Parts of a request that wait for their commit, in their order.
pub(super) struct CommitBatch {
    waiting: VecDeque<PersistOutcome>,
    /// Bytes that they hold.
    bytes: usize,
    /// What must hold of the study, until something is stored.
    condition: Option<Arc<StudyCondition>>,
    /// Set when only the last instances are left.
    ticket: Option<CommitTicket>,
    /// Why the first part failed that was not at fault itself.
    unavailable: Option<ArchiveError>,
}

impl CommitBatch {
    /// Nothing waits.
    pub(super) fn new(options: &StoreOptions) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            condition: options.condition.clone(),
            ticket: None,
            unavailable: None,
        }
    }

    /// Tells the committer that the last instances of the request come soon.
    pub(super) fn announce(&mut self, archive: &Archive) {
        self.ticket = Some(archive.committer.announce());
    }

    /// Adds a part.
    pub(super) fn push(&mut self, part: PersistOutcome) -> BatchLevel {
        if let PersistOutcome::Persisted(part) = &part {
            self.bytes = self.bytes.saturating_add(part.blob.held());
        }
        self.waiting.push_back(part);
        match self.waiting.len() >= FLUSH || self.bytes >= FLUSH_BYTES {
            true => BatchLevel::Full,
            false => BatchLevel::Open,
        }
    }

    /// Why the whole request is to be sent again when nothing of it is stored.
    pub(super) fn into_unavailable(self) -> Option<ArchiveError> {
        self.unavailable
    }

    /// Commits what waits, and reports each part in its order.
    ///
    /// # Errors
    /// When the index could not take the batch: nothing of it is acknowledged.
    pub(super) async fn flush(
        &mut self,
        archive: &Archive,
        options: &StoreOptions,
        report: &mut ReportBuilder,
    ) -> Result<()> {
        self.bytes = 0;
        let mut blobs = Vec::new();
        let mut parts: Vec<std::result::Result<CommittedPart, Outcome>> = Vec::new();
        for part in self.waiting.drain(..) {
            parts.push(match part {
                PersistOutcome::Failed(outcome) => Err(outcome),
                PersistOutcome::Unavailable(outcome, error) => {
                    self.unavailable.get_or_insert(error);
                    Err(outcome)
                }
                PersistOutcome::Persisted(part) => {
                    let PersistedPart {
                        mut blob,
                        sop_class,
                        name,
                        warning,
                        findings,
                    } = *part;
                    if let Some(condition) = &self.condition {
                        blob.require(condition.clone());
                    }
                    let digest = blob.digest();
                    blobs.push(blob);
                    Ok(CommittedPart {
                        sop_class,
                        name,
                        warning,
                        findings,
                        digest,
                    })
                }
            });
        }
        let mut kept = self.commit(archive, blobs).await?.into_iter();
        let mut outcomes = Vec::with_capacity(parts.len());
        let mut discarded = false;
        for part in parts {
            outcomes.push(match part {
                Err(outcome) => outcome,
                Ok(part) => {
                    let kept = kept.next().ok_or(ArchiveError::Lost { what: "a commit" })?;
                    discarded |= !matches!(kept, Kept::Stored);
                    let outcome = decide(options, part, &kept);
                    if let Kept::Unknown(error) = kept {
                        self.unavailable.get_or_insert(error.into());
                    }
                    outcome
                }
            });
        }
        if discarded {
            archive.blobs.discarded().await;
        }
        archive.meters.outcomes(&outcomes);
        for outcome in outcomes {
            report.add(outcome).await?;
        }
        Ok(())
    }

    /// Makes the names of the blobs durable and gives the instances their rows.
    async fn commit(&mut self, archive: &Archive, blobs: Vec<DurableBlob>) -> Result<Vec<Kept>> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        let meters = &archive.meters;
        let timed = meters.settle.timed();
        archive
            .blobs
            .sync_dirs(blobs.iter().map(DurableBlob::key))
            .await?;
        drop(timed);
        let count = u32::try_from(blobs.len()).unwrap_or(u32::MAX);
        meters.batch.saw(count);
        let timed = meters.commit.timed();
        let kept = archive.commit(blobs, self.ticket.take()).await?;
        drop(timed);
        if kept.iter().any(|kept| matches!(kept, Kept::Unmatched)) {
            archive.blobs.discarded().await;
            return Err(ArchiveError::Unmatched);
        }
        if kept.iter().any(|kept| matches!(kept, Kept::Stored)) {
            self.condition = None;
        }
        Ok(kept)
    }
}
