//! What the trash remembers of what was removed.

use time::OffsetDateTime;

use crate::dicom::uid::{InstanceName, StudyUid, Target};
use crate::scope::Partition;

/// Why instances were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// Somebody deleted them.
    Deleted,
    /// The time was over for which their study was stored.
    Expired,
    /// Others took their places.
    Replaced,
}

impl RemovalReason {
    /// Number in `deletion.reason`.
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Deleted => 1,
            Self::Expired => 2,
            Self::Replaced => 3,
        }
    }

    pub(super) fn of_code(code: i64) -> Option<Self> {
        [Self::Deleted, Self::Expired, Self::Replaced]
            .into_iter()
            .find(|reason| reason.code() == code)
    }
}

/// What one delete removed, or one request from one study by replacing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashEntry {
    /// Its number, never given out twice.
    pub id: i64,
    /// Where it was.
    pub partition: Partition,
    /// What was meant; for replaced instances their study.
    pub target: Target,
    /// Why.
    pub reason: RemovalReason,
    /// When, UTC.
    pub since: OffsetDateTime,
    /// Modalities of the study at that time, joined by backslashes.
    pub modalities: String,
    /// DICOM JSON of what the study was searched by at that time; empty when it is very long.
    pub attributes: String,
    /// Series that instances can be restored of.
    pub series: u64,
    /// Instances that can be restored.
    pub instances: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Instances that were restored.
    pub restored: u64,
}

/// Which entries of the trash are wanted.
#[derive(Debug, Clone, Default)]
pub struct TrashFilter {
    /// Those of one study.
    pub study: Option<StudyUid>,
    /// Those with a lower number.
    pub before: Option<i64>,
    /// Most entries.
    pub limit: u32,
}

/// An instance on the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashedInstance {
    /// Key of its blob.
    pub key: String,
    /// The number it had.
    pub watermark: i64,
    /// Its UIDs.
    pub name: InstanceName,
    /// Length of its blob in bytes.
    pub length: u64,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
}
