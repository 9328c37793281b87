//! What a rule about age looks at.

use time::OffsetDateTime;

use crate::dicom::uid::StudyUid;
use crate::scope::Partition;

/// A study, as far as its age counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgedStudy {
    /// Its number, which grows with each new study.
    pub id: i64,
    /// Where it is.
    pub partition: Partition,
    /// Its UID.
    pub uid: StudyUid,
    /// Changes with everything that happens to it.
    pub version: i64,
    /// When its first instance came, UTC.
    pub arrived: OffsetDateTime,
    /// Study Date (0008,0020) as stored.
    pub study_date: Option<String>,
    /// Modalities of its series.
    pub modalities: Vec<String>,
    /// Its instances.
    pub instances: u64,
}
