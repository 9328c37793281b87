//! Operations: work that outlives the request which began it.

use time::OffsetDateTime;

/// What a long-running operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Values of new query tags are taken from what was stored before.
    Reindex,
    /// Instances are copied elsewhere.
    Export,
    /// Attributes of whole studies are changed.
    Update,
    /// Stored bytes are compared with their digests.
    Scrub,
    /// Instances go to another archive, or come from it.
    Transfer,
    /// It is found out whether instances are safe.
    Commitment,
    /// Workitems are made of what arrives.
    Arrivals,
    /// Studies are deleted because rules say that their time is over.
    Expire,
    /// Instances are copied, de-identified, into another partition.
    Deidentify,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationStatus {
    /// Waiting.
    NotStarted,
    /// Under way.
    Running,
    /// Done.
    Completed,
    /// Given up.
    Failed,
    /// Stopped on request.
    Canceled,
}

impl OperationStatus {
    /// Whether it waits or is under way.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::NotStarted | Self::Running)
    }
}

/// A long-running operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// 32 hex digits.
    pub id: String,
    /// What it does.
    pub kind: OperationKind,
    /// How far it is.
    pub status: OperationStatus,
    /// When it was asked for, UTC.
    pub created: OffsetDateTime,
    /// When it last changed, UTC.
    pub updated: OffsetDateTime,
    /// Progress, 0 to 100.
    pub percent: u8,
    /// Where a restarted server goes on; its meaning is the operation's.
    pub position: i64,
    /// Paths of the resources it makes or changes.
    pub resources: Vec<String>,
    /// A JSON object once it is done.
    pub results: Option<String>,
}

impl Operation {
    /// An operation that begins now.
    #[must_use]
    pub fn new(id: String, kind: OperationKind, status: OperationStatus) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            id,
            kind,
            status,
            created: now,
            updated: now,
            percent: 0,
            position: 0,
            resources: Vec::new(),
            results: None,
        }
    }

    /// A name that no other operation has.
    #[must_use]
    pub fn new_id() -> String {
        format!("{:032x}", rand::random::<u128>())
    }
}
