//! Workitems as they are kept and found.

use crate::dicom::workitem::{Keys, State};
use crate::dicom::workitem_events::Event;

/// A workitem that is to be stored, or what is to become of one.
#[derive(Debug, Clone)]
pub struct NewWorkitem {
    /// What it is found by.
    pub keys: Keys,
    /// Digest of the Transaction UID it is claimed with.
    pub owner: Option<String>,
    /// Memory that reading its data set takes, in bytes.
    pub weight: usize,
    /// Its data set, packed.
    pub content: Vec<u8>,
    /// What subscribers are told.
    pub events: Vec<Event>,
}

/// What is known of a workitem without reading its data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkitemRow {
    /// Names it in calls.
    pub id: i64,
    /// Its SOP Instance UID.
    pub uid: String,
    /// The version that this is.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// Digest of the Transaction UID it is claimed with.
    pub owner: Option<String>,
    /// Memory that reading its data set takes, in bytes.
    pub weight: usize,
    /// Bytes of the packed data set.
    pub packed: usize,
}

/// A workitem that a search looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundWorkitem {
    /// Names it in calls; the newest has the highest.
    pub id: i64,
    /// Memory that reading its data set takes, in bytes.
    pub weight: usize,
    /// Bytes of the packed data set.
    pub packed: usize,
}

/// What narrows a search by columns; nothing for any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkitemFilter {
    /// One of these states.
    pub states: Option<Vec<State>>,
    /// One of these studies.
    pub studies: Option<Vec<String>>,
    /// One of these Patient IDs, folded.
    pub patients: Option<Vec<String>>,
    /// Start at this moment or later.
    pub from: Option<String>,
    /// Start at this moment or earlier.
    pub to: Option<String>,
}
