//! The last stage of a store: what is reported of each part is decided once, of what it is and what the commit made of it.

use super::checks::NOT_YOURS;
use super::options::StoreOptions;
use super::outcome::Outcome;
use super::reason;
use crate::archive::error::Result;
use crate::archive::jobs::heal::Kept;
use crate::archive::rules::Rules;
use crate::dicom::issue::ValidationIssue;
use crate::dicom::uid::InstanceName;
use crate::memory::{MemoryBudget, Purpose, Reservation};

/// Bytes by which the memory of the report grows.
const REPORT: usize = 64 << 10;
/// Copies of an outcome that are made while it is written.
const WRITTEN: usize = 4;

/// What is known of a persisted part once its blob was handed to the commit.
pub(super) struct CommittedPart {
    pub(super) sop_class: String,
    pub(super) name: InstanceName,
    pub(super) warning: Option<u16>,
    pub(super) findings: Vec<ValidationIssue>,
    /// BLAKE3 of its bytes.
    pub(super) digest: Option<[u8; 32]>,
}

/// What is reported of a part (PS3.18 §10.5.3).
pub(super) fn decide(options: &StoreOptions, part: CommittedPart, kept: &Kept) -> Outcome {
    let (reason, comment) = match kept {
        Kept::Stored => return stored(part),
        Kept::Exists(digest) => {
            let identical = part.digest == Some(*digest);
            // Of the same bytes there is nothing to replace.
            let replaced = options.replace.is_some();
            match options.rules {
                _ if replaced && identical => return stored(part),
                Rules::Standard if identical => return stored(part),
                Rules::Standard => (
                    reason::DUPLICATE,
                    "an instance with this SOP Instance UID but other bytes is stored already: delete it first, or send the \
                     new one under a new UID",
                ),
                Rules::V1 | Rules::V2 => (
                    reason::EXISTS,
                    "an instance with these Study, Series and SOP Instance UIDs is stored already",
                ),
            }
        }
        // It does not tell whether the study exists.
        Kept::Outside => (reason::NOT_AUTHORIZED, NOT_YOURS),
        Kept::Unknown(_) | Kept::Unmatched => (
            reason::OUT_OF_RESOURCES,
            "the instance is stored already, but whether it is whole cannot be told now; send it again later",
        ),
    };
    Outcome::Failed {
        sop_class: Some(part.sop_class),
        instance: Some(part.name.instance.to_string()),
        reason,
        comments: vec![comment.to_owned()],
    }
}

fn stored(part: CommittedPart) -> Outcome {
    Outcome::Stored {
        name: part.name,
        sop_class: part.sop_class,
        warning: part.warning,
        findings: part.findings,
    }
}

/// What became of the parts of a request, in their order.
#[derive(Debug)]
pub struct Report {
    /// One for each part.
    pub outcomes: Vec<Outcome>,
    /// Memory of the outcomes and of what is written of them.
    pub held: Reservation,
}

/// A report that grows, with its memory.
pub(super) struct ReportBuilder {
    outcomes: Vec<Outcome>,
    held: Reservation,
    /// Bytes the outcomes take with what is written of them.
    bytes: usize,
    /// Bytes they may take.
    most: usize,
}

impl ReportBuilder {
    /// Nothing is reported yet.
    pub(super) fn new(budget: &MemoryBudget) -> Self {
        Self {
            outcomes: Vec::new(),
            held: budget.nothing(Purpose::Reports),
            bytes: 0,
            most: budget.bytes() / 16,
        }
    }

    /// Adds an outcome, once there is memory for it and, several times over, for what is written of it; where there is none,
    /// its comments but the first are left out.
    pub(super) async fn add(&mut self, mut outcome: Outcome) -> Result<()> {
        let before = self.bytes;
        let total =
            |outcome: &Outcome| before.saturating_add(outcome.bytes().saturating_mul(WRITTEN));
        let mut bytes = total(&outcome);
        let wanted = bytes.next_multiple_of(REPORT);
        if bytes > self.most || self.held.try_grow_to(wanted).is_err() {
            outcome.shorten();
            bytes = total(&outcome);
            self.held.grow_to(bytes.next_multiple_of(REPORT)).await?;
        }
        self.bytes = bytes;
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Whether an instance is stored.
    pub(super) fn has_stored(&self) -> bool {
        let stored = |outcome: &Outcome| matches!(outcome, Outcome::Stored { .. });
        self.outcomes.iter().any(stored)
    }

    /// The report of all parts.
    pub(super) fn finish(self) -> Report {
        Report {
            outcomes: self.outcomes,
            held: self.held,
        }
    }
}
