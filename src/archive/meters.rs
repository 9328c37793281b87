//! What the archive counts of itself.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::ingest::outcome::Outcome;
use super::left_out::UnreadableRows;
use super::statistics::Statistics;

use crate::meter::{Counter, Histogram, SIZES, Timed};
use crate::trace::{Stage, StageSpan};

/// How long a stage of the store takes; each time is a span of the request too.
#[derive(Debug)]
pub(super) struct StageMeter {
    stage: Stage,
    pub(super) seconds: Histogram,
}

impl StageMeter {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            seconds: Histogram::seconds(),
        }
    }

    /// Notes the time until the value is dropped.
    #[must_use]
    pub(super) fn timed(&self) -> (Timed<'_>, StageSpan) {
        (self.seconds.timed(), self.stage.begin())
    }
}

/// Counts of one archive.
#[derive(Debug)]
pub(super) struct ArchiveMeters {
    /// Time a piece of a part took to be written to the spool.
    pub(super) spool: StageMeter,
    /// Time a part's walk took, its digest included.
    pub(super) parse: StageMeter,
    /// Time a part's blob took to be written.
    pub(super) write: StageMeter,
    /// Time the names of a batch took to be durable.
    pub(super) settle: StageMeter,
    /// Time a batch took to get its rows, the wait for the transaction before included.
    pub(super) commit: StageMeter,
    /// Instances handed to one commit by one request.
    pub(super) batch: Histogram,
    /// Rows that scans looked at.
    pub(super) scanned: Counter,
    /// What could not be read back.
    pub(super) unreadable: UnreadableRows,
    pub(super) stored: Counter,
    pub(super) warned: Counter,
    pub(super) failed: Counter,
    /// Runs of the sweeper.
    pub(super) sweeps: Counter,
    /// Blobs it removed.
    pub(super) swept: Counter,
    /// Blobs it could not remove.
    pub(super) unswept: Counter,
    /// Damaged instances as last counted.
    pub(super) damaged: AtomicU64,
    /// Those of them that the log told.
    pub(super) named: AtomicU64,
    /// Instances that were opened lately and count as they were read.
    pub(super) opened_hits: Counter,
    /// Those that counted after the index was asked for their version.
    pub(super) opened_revalidated: Counter,
    /// Instances that had to be read.
    pub(super) opened_misses: Counter,
    /// Damaged instances that were stored again.
    pub(super) healed: Counter,
    /// Workitems made of what arrived.
    pub(super) arrivals: Counter,
    /// Studies deleted because their time was over.
    pub(super) expired: Counter,
    /// Instances that bulk updates changed.
    pub(super) updated: Counter,
    /// Instances that exports wrote.
    pub(super) exported: Counter,
    /// What exports could not write.
    pub(super) unexported: Counter,
    /// Instances whose place another one took.
    pub(super) replaced: Counter,
    /// How much is stored, as last looked at.
    pub(super) stored_now: Mutex<Option<Statistics>>,
    /// Deleted instances that were restored.
    pub(super) restored: Counter,
}

impl Default for ArchiveMeters {
    fn default() -> Self {
        Self {
            spool: StageMeter::new(Stage::Spool),
            parse: StageMeter::new(Stage::Walk),
            write: StageMeter::new(Stage::Write),
            settle: StageMeter::new(Stage::Settle),
            commit: StageMeter::new(Stage::Commit),
            batch: Histogram::new(SIZES),
            scanned: Counter::default(),
            unreadable: UnreadableRows::default(),
            stored: Counter::default(),
            warned: Counter::default(),
            failed: Counter::default(),
            sweeps: Counter::default(),
            swept: Counter::default(),
            unswept: Counter::default(),
            damaged: AtomicU64::new(0),
            named: AtomicU64::new(0),
            opened_hits: Counter::default(),
            opened_revalidated: Counter::default(),
            opened_misses: Counter::default(),
            healed: Counter::default(),
            arrivals: Counter::default(),
            expired: Counter::default(),
            updated: Counter::default(),
            exported: Counter::default(),
            unexported: Counter::default(),
            replaced: Counter::default(),
            stored_now: Mutex::default(),
            restored: Counter::default(),
        }
    }
}

impl ArchiveMeters {
    /// Instances that were stored.
    pub(super) fn stored_instances(&self) -> u64 {
        self.stored.get() + self.warned.get()
    }

    /// Counts what became of parts.
    pub(super) fn outcomes(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match outcome {
                Outcome::Stored { warning: None, .. } => self.stored.one(),
                Outcome::Stored { .. } => self.warned.one(),
                Outcome::Failed { .. } => self.failed.one(),
            }
        }
    }
}
