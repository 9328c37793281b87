//! Extended query tags.

use time::OffsetDateTime;

use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::InstanceName;

/// Life of a query tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagStatus {
    /// What was stored before is being indexed.
    Adding,
    /// Searches may use it.
    Ready,
    /// Its values are being removed.
    Deleting,
}

/// An extended query tag as the index keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// Names it in calls.
    pub id: i64,
    /// What it is.
    pub tag: QueryTag,
    /// Life.
    pub status: TagStatus,
    /// Searches by it are allowed.
    pub enabled: bool,
    /// Instances whose value could not be indexed.
    pub errors: i64,
    /// The operation that indexes what was stored before.
    pub operation: Option<String>,
}

/// What became of a wish to add query tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagsAdded {
    /// They are there and being indexed.
    Added,
    /// One of them exists; nothing was added.
    Exists {
        /// Its path.
        path: String,
    },
    /// There would be more than [`crate::dicom::query_tag::MAX_TAGS`]; nothing was added.
    TooMany,
    /// Other tags are being indexed; nothing was added.
    Running {
        /// By this operation.
        operation: String,
    },
}

/// An instance whose value of a tag could not be indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagIndexError {
    /// Name of the partition it is in.
    pub partition: String,
    /// Which instance.
    pub name: InstanceName,
    /// When it was found, UTC.
    pub created: OffsetDateTime,
    /// Why, without patient data.
    pub message: String,
}

/// Which side of the lock on the list of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagLock {
    /// The list is read and must not change before the transaction ends.
    Shared,
    /// The list is about to grow.
    Exclusive,
}
