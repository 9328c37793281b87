//! Rows of subscriptions to workitems and of the events that subscribers are sent.

use crate::dicom::workitem_events::Event;
use crate::scope::Visible;

/// What became of a new workitem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertedWorkitem {
    /// It is stored.
    Stored,
    /// Its UID is taken.
    Exists,
    /// Other subscriptions to all workitems exist by now: nothing was done.
    Stale,
}

/// A subscription to all workitems, or to all that match a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalSubscription {
    /// AE title of the subscriber.
    pub aet: String,
    /// Whether finished workitems are kept for it.
    pub deletion_lock: bool,
    /// Text of the filter; none for all.
    pub filter: Option<String>,
    /// What exists for the subscriber.
    pub visible: Visible,
}

/// All subscriptions to all workitems, and what tells whether they are still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globals {
    /// Changes with the set.
    pub stamp: (i64, i64),
    /// The set.
    pub list: Vec<GlobalSubscription>,
}

/// Who subscribes to a new workitem, by the subscriptions of a stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// That of the [`Globals`] that were looked at.
    pub stamp: (i64, i64),
    /// AE titles, and whether they lock.
    pub subscribers: Vec<(String, bool)>,
}

/// Whether an AE title may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It may; events up to this one were sent to it.
    Known(i64),
    /// It belongs to somebody else.
    Foreign,
}

/// A workitem that is to be subscribed to.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// The workitem.
    pub id: i64,
    /// Its version that the report is of.
    pub version: i64,
    /// What the subscriber is told at the beginning.
    pub report: Option<Event>,
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its number.
    pub sequence: i64,
    /// Event Type ID.
    pub kind: i64,
    /// The workitem; none for events of the service.
    pub uid: Option<String>,
    /// Its attributes, a JSON object.
    pub content: String,
}
