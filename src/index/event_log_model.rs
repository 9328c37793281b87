//! Events of studies and workitems, and who is told of them by HTTP.

use time::OffsetDateTime;

use crate::scope::{Partition, Visible};

/// Something that happened to a study or workitem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Grows without gaps, in the order in which things happened.
    pub sequence: i64,
    /// When it happened.
    pub time: OffsetDateTime,
    /// Where.
    pub partition: Partition,
    /// What, such as `study.arrived`.
    pub kind: String,
    /// The study; of a workitem the one it is about, if it names one.
    pub study: Option<String>,
    /// What is told of it, a JSON object.
    pub data: String,
}

/// Who is told by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Stands in the ids of its messages.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whose events.
    pub partition: Partition,
    /// Where they are sent.
    pub url: String,
    /// What they are signed with: `whsec_` and base64.
    pub secret: String,
    /// Kinds of events; one that ends with `*` stands for all that begin so.
    pub kinds: Vec<String>,
    /// Whose token made it; none without access control, and for what commands and files made.
    pub owner: Option<String>,
    /// Which studies exist for its owner.
    pub visible: Visible,
    /// How it was made: `route`, `command` or `file`.
    pub origin: String,
    /// When it was made.
    pub created: OffsetDateTime,
    /// Why nothing is sent; none while something is.
    pub disabled: Option<String>,
    /// Events up to this one became deliveries.
    pub cursor: i64,
}

impl WebhookRow {
    /// Whether it is told of events of a kind.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        kinds_cover(&self.kinds, kind)
    }

    /// What the DICOM service calls a kind of event, when it is asked for by that name.
    #[must_use]
    pub fn service_kind(&self, kind: &str) -> Option<&'static str> {
        service_kind(kind).filter(|theirs| self.kinds.iter().any(|one| one == theirs))
    }
}

/// Kinds of events of instances, and what the DICOM service calls them.
pub const SERVICE_KINDS: [(&str, &str); 3] = [
    (
        "instance.created",
        "Microsoft.HealthcareApis.DicomImageCreated",
    ),
    (
        "instance.updated",
        "Microsoft.HealthcareApis.DicomImageUpdated",
    ),
    (
        "instance.deleted",
        "Microsoft.HealthcareApis.DicomImageDeleted",
    ),
];

/// What the DICOM service calls a kind of event.
#[must_use]
pub fn service_kind(kind: &str) -> Option<&'static str> {
    let mut known = SERVICE_KINDS.iter();
    known
        .find(|(ours, _)| *ours == kind)
        .map(|(_, theirs)| *theirs)
}

/// Whether a kind of event is among those of a list, in which `study.*` stands for all of studies; names of the DICOM service
/// count as ours.
#[must_use]
pub fn kinds_cover(kinds: &[String], kind: &str) -> bool {
    let theirs = service_kind(kind);
    kinds.iter().any(|one| match one.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => one == kind || theirs == Some(one.as_str()),
    })
}

/// An event on its way to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// The event.
    pub event: LoggedEvent,
    /// Attempts that failed.
    pub attempts: u32,
}

/// An event that was given up, or waits after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryState {
    /// Number of the event.
    pub sequence: i64,
    /// Its kind; none when it is forgotten.
    pub kind: Option<String>,
    /// Attempts that failed.
    pub attempts: u32,
    /// Whether it was given up.
    pub dead: bool,
    /// How the last attempt ended.
    pub problem: Option<String>,
}

/// What becomes of a delivery after an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// It is tried again after this time.
    Again(std::time::Duration),
    /// It is given up.
    Dead,
}
