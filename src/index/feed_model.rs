//! The change feed.

use time::OffsetDateTime;

use crate::dicom::uid::InstanceName;
use crate::scope::Partition;

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeAction {
    /// Stored.
    Create,
    /// Removed.
    Delete,
    /// Changed by bulk update.
    Update,
}

/// State of the version of an instance a change speaks of, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeState {
    /// It is the stored version.
    Current,
    /// Another version is stored.
    Replaced,
    /// No version is stored.
    Deleted,
}

/// One entry of the change feed.
#[derive(Debug, Clone)]
pub struct Change {
    /// Position in the feed.
    pub sequence: i64,
    /// When, UTC.
    pub timestamp: OffsetDateTime,
    /// What.
    pub action: ChangeAction,
    /// The partition it was in.
    pub partition: Partition,
    /// Name of that; none when it has none.
    pub partition_name: Option<String>,
    /// Which instance.
    pub name: InstanceName,
    /// State of that version now.
    pub state: ChangeState,
    /// Watermark of the version that is stored now, for its metadata.
    pub stored: Option<i64>,
}

/// Which part of the feed is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedRange {
    /// Sequences above `after`, up to and including `through`.
    Sequence {
        /// Exclusive start.
        after: i64,
        /// Inclusive end.
        through: i64,
    },
    /// The first entries above a sequence, however far apart they are.
    Following {
        /// Exclusive start.
        after: i64,
        /// Most entries.
        limit: u32,
    },
    /// By time, then sequence.
    Window {
        /// Inclusive start.
        from: Option<OffsetDateTime>,
        /// Exclusive end.
        to: Option<OffsetDateTime>,
        /// Rows to skip.
        skip: u64,
        /// Most rows.
        limit: u32,
    },
}
