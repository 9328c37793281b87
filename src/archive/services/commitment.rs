//! Storage commitment: whether what somebody sent is safe here (PS3.4 Annex J).
//!
//! Invariants: committed is what has a row and whose bytes, read now, have the digest taken when they were stored; a request that
//! was taken is kept until it is reported.

use std::time::Duration;

use futures_util::TryStreamExt;

use super::check::{Fault, check_blob};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::dicom::uid::{InstanceUid, Target};
use crate::memory::{Purpose, Reservation};
use crate::scope::{Partition, Scope};

use crate::index::InstanceRow;
pub use crate::index::{CommitmentRow, NewCommitment};

/// Requests one peer may have that are not reported yet.
const MOST: u32 = 1000;
/// What is made of a request, in multiples of its characters.
const COPIES: usize = 6;

/// Why an instance is not committed: Failure Reason (PS3.3 §C.14.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitmentFailure {
    /// Its bytes cannot be read, or are not those that were stored.
    Processing,
    /// It is not there.
    NoSuchInstance,
    /// It has another SOP class.
    Conflict,
    /// The stores cannot be asked now.
    Resources,
}

impl CommitmentFailure {
    /// The value of (0008,1197) Failure Reason.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Processing => 0x0110,
            Self::NoSuchInstance => 0x0112,
            Self::Conflict => 0x0119,
            Self::Resources => 0x0213,
        }
    }

    pub(super) fn of(error: &ArchiveError) -> Self {
        match error {
            ArchiveError::NotFound { .. } => Self::NoSuchInstance,
            ArchiveError::Busy { .. } | ArchiveError::Memory(_) | ArchiveError::Index(_) => {
                Self::Resources
            }
            _ => Self::Processing,
        }
    }
}

impl Archive {
    /// Whether an instance is there and whole.
    ///
    /// # Errors
    /// [`CommitmentFailure`] when it is not, or when that cannot be said.
    pub async fn commit_instance(
        &self,
        scope: &Scope,
        class: &str,
        instance: &str,
    ) -> std::result::Result<(), CommitmentFailure> {
        let failed = |error: ArchiveError| CommitmentFailure::of(&error);
        let uid = InstanceUid::parse(instance);
        let uid = uid.map_err(|_| CommitmentFailure::NoSuchInstance)?;
        let name = self.locate(scope, None, None, &uid).await;
        let target = Target::Instance(name.map_err(failed)?);
        let mut rows = self.instances(scope, &target).await.map_err(failed)?;
        let row = rows.try_next().await.map_err(failed)?;
        let row = row.ok_or(CommitmentFailure::NoSuchInstance)?;
        if row.sop_class != class {
            return Err(CommitmentFailure::Conflict);
        }
        self.commit_row(&row).await
    }

    /// Reads the bytes of an instance and compares their digest; damage is remembered.
    ///
    /// # Errors
    /// [`CommitmentFailure`] when they are not those that were stored, or when that cannot be said.
    pub(super) async fn commit_row(
        &self,
        row: &InstanceRow,
    ) -> std::result::Result<(), CommitmentFailure> {
        match check_blob(&self.blobs, &row.place, Some(row.digest)).await {
            None => Ok(()),
            Some(Fault::Away(_)) => Err(CommitmentFailure::Resources),
            Some(Fault::Damage(problem)) => {
                // The scrub finds it again when it cannot be noted now.
                drop(self.remember_damage(row, problem).await);
                Err(CommitmentFailure::Processing)
            }
        }
    }

    /// Keeps a request until it is reported, looked after by the caller for a while; false when its requestor has too many.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn keep_commitment(
        &self,
        partition: Partition,
        new: &NewCommitment,
        hold: Duration,
    ) -> Result<bool> {
        let kept = self.index.add_commitment(partition, new, MOST, hold);
        Ok(kept.await?)
    }

    /// Requests that nobody looks after, and looks after them; at most `limit`.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn claim_commitments(
        &self,
        limit: u32,
        hold: Duration,
    ) -> Result<Vec<CommitmentRow>> {
        let mut claimed = Vec::new();
        for row in self.index.due_commitments(limit).await? {
            if self.index.claim_commitment(&row, hold).await? {
                claimed.push(row);
            }
        }
        Ok(claimed)
    }

    /// What a request asks for, with memory for what is made of it; none when it is reported.
    ///
    /// # Errors
    /// When the index fails, or there is no memory.
    pub async fn commitment_request(
        &self,
        row: &CommitmentRow,
    ) -> Result<Option<(String, Reservation)>> {
        let bytes = row.weight.saturating_mul(COPIES);
        let held = self.budget.reserve(Purpose::Background, bytes).await?;
        let request = self.index.commitment_request(&row.id).await?;
        Ok(request.map(|request| (request, held)))
    }

    /// Leaves a request alone for a while, after so many reports that nobody took.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn hold_commitment(&self, id: &str, hold: Duration, attempts: u32) -> Result<()> {
        Ok(self.index.hold_commitment(id, hold, attempts).await?)
    }

    /// Forgets a request that is reported, or given up.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn finish_commitment(&self, id: &str) -> Result<()> {
        Ok(self.index.finish_commitment(id).await?)
    }
}
