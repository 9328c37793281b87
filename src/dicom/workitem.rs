//! Workitems: Unified Procedure Steps as data sets, and what may become of them (PS3.4 Annex CC, PS3.18 chapter 11).
//!
//! Invariants: a workitem never holds its Transaction UID, which is kept apart and told to nobody; a data set that leaves
//! [`read`] can be encoded, is no deeper than [`DEPTH`](super::limits::DEPTH) and has its attributes by their tags in upper case.

mod read;
mod rules;
mod step;
#[cfg(test)]
mod tests;

use dicom_core::Tag;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::tag;

pub use read::{Format, read, room, weight};
pub use rules::{DEFAULTS, is_key};
pub use step::{
    Changed, Conflict, Reasons, StateRequest, cancel, change_state, check_update, transaction,
};

/// A data set in the DICOM JSON Model.
pub type WorkitemDataSet = Map<String, Value>;

/// SOP class of a workitem: Unified Procedure Step - Push.
pub const PUSH: &str = "1.2.840.10008.5.1.4.34.6.1";
/// Names all workitems in a subscription: UPS Global Subscription SOP Instance.
pub const ALL: &str = "1.2.840.10008.5.1.4.34.5";
/// Names all workitems that match a filter: UPS Filtered Global Subscription SOP Instance.
pub const FILTERED: &str = "1.2.840.10008.5.1.4.34.5.1";
/// Longest workitem, in bytes of DICOM JSON.
pub const LONGEST: usize = 4 << 20;

pub(crate) const CHARACTER_SET: Tag = Tag(0x0008, 0x0005);
pub(crate) const SOP_CLASS: Tag = Tag(0x0008, 0x0016);
pub(crate) const SOP_INSTANCE: Tag = Tag(0x0008, 0x0018);
/// Transaction UID.
pub const TRANSACTION: Tag = Tag(0x0008, 0x1195);
const PATIENT_ID: Tag = Tag(0x0010, 0x0020);
const STUDY: Tag = Tag(0x0020, 0x000D);
const START: Tag = Tag(0x0040, 0x4005);
const MODIFIED: Tag = Tag(0x0040, 0x4010);
pub(crate) const READINESS: Tag = Tag(0x0040, 0x4041);
const CANCELED_AT: Tag = Tag(0x0040, 0x4052);
const CODE_MEANING: Tag = Tag(0x0008, 0x0104);
const REFERENCED_REQUEST: Tag = Tag(0x0040, 0xA370);
/// Procedure Step State.
pub const STATE: Tag = Tag(0x0074, 0x1000);
pub(crate) const PROGRESS: Tag = Tag(0x0074, 0x1002);
pub(crate) const REASON_CODES: Tag = Tag(0x0074, 0x100E);
const PRIORITY: Tag = Tag(0x0074, 0x1200);
const WORKLIST_LABEL: Tag = Tag(0x0074, 0x1202);
const LABEL: Tag = Tag(0x0074, 0x1204);
const PERFORMED: Tag = Tag(0x0074, 0x1216);
pub(crate) const REASON: Tag = Tag(0x0074, 0x1238);

/// State of a procedure step (0074,1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody has begun.
    Scheduled,
    /// A performer has claimed it.
    InProgress,
    /// It is done.
    Completed,
    /// It was given up.
    Canceled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Scheduled,
        Self::InProgress,
        Self::Completed,
        Self::Canceled,
    ];

    /// Its defined term.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::InProgress => "IN PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Canceled => "CANCELED",
        }
    }

    /// The state of a defined term.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing changes any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled)
    }
}

/// What is wrong with a request about a workitem; continues no sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The body is no data set, or one of its attributes cannot be encoded.
    #[error("{0}")]
    Unreadable(String),
    /// An attribute must be there.
    #[error("the attribute {} must be present{}", reported(*.0), if *.1 { " with a value" } else { ", with or without a value" })]
    Missing(Tag, bool),
    /// An attribute may not be empty.
    #[error("the attribute {} must have a value when it is present", reported(*.0))]
    Empty(Tag),
    /// An attribute must have no value yet.
    #[error("the attribute {} must have no value when a workitem is created", reported(*.0))]
    Filled(Tag),
    /// An attribute may not be changed.
    #[error("the attribute {} may not be changed by an update", reported(*.0))]
    Fixed(Tag),
    /// A code without its meaning.
    #[error("each item of {} needs a Code Meaning (0008,0104)", reported(*.0))]
    CodeMeaning(Tag),
    /// No UID, or none that is well formed.
    #[error("{0} must be given as a UID of at most 64 digits and dots")]
    Uid(&'static str),
    /// Two UIDs that must be the same are not.
    #[error("{0} in the query and in the data set are not the same")]
    Mismatch(&'static str),
    /// Another state than the request may ask for.
    #[error("the Procedure Step State (0074,1000) must be {0}")]
    State(&'static str),
    /// It grew beyond [`LONGEST`].
    #[error("the workitem would be longer than {LONGEST} bytes")]
    TooLong,
}

/// An attribute as it is told: its keyword, and its number.
fn reported(tag: Tag) -> String {
    let keyword = tag::keyword(tag).unwrap_or("attribute");
    format!("{keyword} ({:04X},{:04X})", tag.group(), tag.element())
}

/// What the index keeps of a workitem beside its data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Its state.
    pub state: State,
    /// The one study it is about, if there is one.
    pub study: Option<String>,
    /// Patient ID as it stands there.
    pub patient: Option<String>,
    /// Start as a moment in normal form (`yyyymmddhhmmss.ffffff`).
    pub start: Option<String>,
}

impl Keys {
    /// The keys of a workitem.
    #[must_use]
    pub fn of(item: &WorkitemDataSet) -> Self {
        let state = text(item, STATE).and_then(State::parse);
        let start = text(item, START);
        Self {
            state: state.unwrap_or(State::Scheduled),
            study: study(item),
            patient: text(item, PATIENT_ID).map(str::to_owned),
            start: start.and_then(|start| super::temporal::stored(dicom_core::VR::DT, start)),
        }
    }
}

/// The study of a workitem: its own, or the one that all its requests name.
fn study(item: &WorkitemDataSet) -> Option<String> {
    if let Some(study) = text(item, STUDY) {
        return Some(study.to_owned());
    }
    let mut studies = items(item, REFERENCED_REQUEST).filter_map(|request| text(request, STUDY));
    let first = studies.next()?;
    studies
        .all(|study| study == first)
        .then(|| first.to_owned())
}

/// The element of an attribute.
pub(crate) fn element(item: &WorkitemDataSet, tag: Tag) -> Option<&Value> {
    item.get(&tag::hex(tag))
}

/// The values of an attribute; none when it is absent or empty.
fn values(item: &WorkitemDataSet, tag: Tag) -> &[Value] {
    let values = element(item, tag).and_then(|element| element.get("Value")?.as_array());
    values.map_or(&[], Vec::as_slice)
}

/// The first value of an attribute as a text, without padding; none when it is empty.
pub(crate) fn text(item: &WorkitemDataSet, tag: Tag) -> Option<&str> {
    let text = values(item, tag).first()?.as_str()?;
    let text = text.trim_matches([' ', '\0']);
    (!text.is_empty()).then_some(text)
}

/// The items of a sequence.
pub(crate) fn items(item: &WorkitemDataSet, tag: Tag) -> impl Iterator<Item = &WorkitemDataSet> {
    values(item, tag).iter().filter_map(Value::as_object)
}

/// Whether an attribute has a value.
fn has_value(item: &WorkitemDataSet, tag: Tag) -> bool {
    let Some(element) = element(item, tag) else {
        return false;
    };
    let filled = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.trim_matches([' ', '\0']).is_empty(),
        Value::Object(groups) => {
            element.get("vr").and_then(Value::as_str) == Some("SQ")
                || groups.values().any(|group| group.as_str() != Some(""))
        }
        _ => true,
    };
    values(item, tag).iter().any(filled) || element.get("InlineBinary").is_some()
}

/// Sets an attribute to one value.
pub(crate) fn set(item: &mut WorkitemDataSet, tag: Tag, vr: &str, value: impl Into<Value>) {
    let value: Value = value.into();
    item.insert(tag::hex(tag), json!({ "vr": vr, "Value": [value] }));
}

/// A moment as a DT value, in UTC.
#[must_use]
pub fn moment(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}.{:06}+0000",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}

/// What is kept of a Transaction UID: enough to know it again, and nothing to claim a workitem with.
#[must_use]
pub fn digest(transaction: &str) -> String {
    blake3::hash(transaction.as_bytes()).to_hex().to_string()
}

/// Makes a workitem of what was sent; `uid` is the one of the URL. Returns its UID, and whether something was added or changed
/// that a client should know of.
///
/// # Errors
/// [`Problem`] when it breaks a rule of the contract.
pub fn create(
    item: &mut WorkitemDataSet,
    uid: Option<&str>,
    dialect: super::query_parse::QueryDialect,
    now: OffsetDateTime,
) -> Result<(String, bool), Problem> {
    let uid = step::uid_of(item, uid)?;
    let modified = rules::check_new(item, dialect)?;
    item.remove(&tag::hex(TRANSACTION));
    set(item, CHARACTER_SET, "CS", "ISO_IR 192");
    set(item, SOP_CLASS, "UI", PUSH);
    set(item, SOP_INSTANCE, "UI", uid.as_str());
    set(item, STATE, "CS", State::Scheduled.as_str());
    set(item, MODIFIED, "DT", moment(now));
    Ok((uid, modified))
}

/// Puts the attributes of an update into a workitem; sequences are replaced as a whole.
pub fn update(item: &mut WorkitemDataSet, changes: WorkitemDataSet, now: OffsetDateTime) {
    for (name, element) in changes {
        if name != tag::hex(TRANSACTION) && name != tag::hex(CHARACTER_SET) {
            item.insert(name, element);
        }
    }
    set(item, MODIFIED, "DT", moment(now));
}

/// Reads back a workitem that is stored.
///
/// # Errors
/// [`Problem::Unreadable`] when it is damaged.
pub fn parse(text: &str) -> Result<WorkitemDataSet, Problem> {
    read::stored(text)
}

/// The text of a workitem, as it is stored and sent.
///
/// # Errors
/// [`Problem::TooLong`] beyond [`LONGEST`].
pub fn write(item: &WorkitemDataSet) -> Result<String, Problem> {
    read::written(item)
}

/// Checks an update, whatever it is put into.
///
/// # Errors
/// [`Problem`] for attributes that may not be changed or emptied.
pub fn check_changes(changes: &WorkitemDataSet) -> Result<(), Problem> {
    rules::check_changes(changes)
}

/// An AE title; none when it is not 1 to 16 printable characters (PS3.5 §6.2).
#[must_use]
pub fn ae_title(text: &str) -> Option<&str> {
    let text = text.trim();
    let sound = |b: u8| (b' '..=b'~').contains(&b) && b != b'\\';
    (!text.is_empty() && text.len() <= 16 && text.bytes().all(sound)).then_some(text)
}

/// The AE title of who asks for a workitem to be canceled (0074,1236), as far as the request names one.
#[must_use]
pub fn requesting_ae(body: &WorkitemDataSet) -> String {
    let named = text(body, Tag(0x0074, 0x1236)).and_then(ae_title);
    named.unwrap_or("UNKNOWN").to_owned()
}
