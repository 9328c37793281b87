//! Workitems: Unified Procedure Steps as data sets, and what may become of them (PS3.4 Annex CC, PS3.18 chapter 11).
//!
//! Invariants: a workitem never holds its Transaction UID, which is kept apart and told to nobody; a data set that leaves
//! [`read`] can be encoded, is no deeper than [`DEPTH`](super::limits::DEPTH) and has its attributes by their tags in upper case.

mod problem;
mod read;
mod rules;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod uids;

use dicom_dictionary_std::tags;
use time::OffsetDateTime;

use super::data_set::{items, set, text};
use super::tag;

use super::data_set::JsonDataSet;
use super::temporal::moment_of;
pub use problem::{LONGEST, Problem};
pub use read::{Format, read, room, weight};
pub use rules::{DEFAULTS, is_key};
pub use state::State;
pub use step::{
    Changed, Conflict, Reasons, StateRequest, cancel, change_state, check_update, digest,
    transaction,
};
pub use uids::{ALL, FILTERED, PUSH};

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
    pub fn of(item: &JsonDataSet) -> Self {
        let state = text(item, tags::PROCEDURE_STEP_STATE).and_then(State::parse);
        let start = text(item, tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME);
        Self {
            state: state.unwrap_or(State::Scheduled),
            study: study(item),
            patient: text(item, tags::PATIENT_ID).map(str::to_owned),
            start: start.and_then(|start| super::temporal::stored(dicom_core::VR::DT, start)),
        }
    }
}

/// The study of a workitem: its own, or the one that all its requests name.
fn study(item: &JsonDataSet) -> Option<String> {
    if let Some(study) = text(item, tags::STUDY_INSTANCE_UID) {
        return Some(study.to_owned());
    }
    let mut studies = items(item, tags::REFERENCED_REQUEST_SEQUENCE)
        .filter_map(|request| text(request, tags::STUDY_INSTANCE_UID));
    let first = studies.next()?;
    studies
        .all(|study| study == first)
        .then(|| first.to_owned())
}

/// Makes a workitem of what was sent; `uid` is the one of the URL. Returns its UID, and whether something was added or changed
/// that a client should know of.
///
/// # Errors
/// [`Problem`] when it breaks a rule of the contract.
pub fn create(
    item: &mut JsonDataSet,
    uid: Option<&str>,
    dialect: super::query::QueryDialect,
    now: OffsetDateTime,
) -> Result<(String, bool), Problem> {
    let uid = step::uid_of(item, uid)?;
    let modified = rules::check_new(item, dialect)?;
    item.remove(&tag::hex(tags::TRANSACTION_UID));
    set(item, tags::SPECIFIC_CHARACTER_SET, "CS", "ISO_IR 192");
    set(item, tags::SOP_CLASS_UID, "UI", PUSH);
    set(item, tags::SOP_INSTANCE_UID, "UI", uid.as_str());
    set(
        item,
        tags::PROCEDURE_STEP_STATE,
        "CS",
        State::Scheduled.as_str(),
    );
    set(
        item,
        tags::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME,
        "DT",
        moment_of(now),
    );
    Ok((uid, modified))
}

/// Puts the attributes of an update into a workitem; sequences are replaced as a whole.
pub fn update(item: &mut JsonDataSet, changes: JsonDataSet, now: OffsetDateTime) {
    for (name, element) in changes {
        if name != tag::hex(tags::TRANSACTION_UID) && name != tag::hex(tags::SPECIFIC_CHARACTER_SET)
        {
            item.insert(name, element);
        }
    }
    set(
        item,
        tags::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME,
        "DT",
        moment_of(now),
    );
}

/// Reads back a workitem that is stored.
///
/// # Errors
/// [`Problem::Unreadable`] when it is damaged.
pub fn parse(text: &str) -> Result<JsonDataSet, Problem> {
    read::stored(text)
}

/// The text of a workitem, as it is stored and sent.
///
/// # Errors
/// [`Problem::TooLong`] beyond [`LONGEST`].
pub fn write(item: &JsonDataSet) -> Result<String, Problem> {
    read::written(item)
}

/// Checks an update, whatever it is put into.
///
/// # Errors
/// [`Problem`] for attributes that may not be changed or emptied.
pub fn check_changes(changes: &JsonDataSet) -> Result<(), Problem> {
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
pub fn requesting_ae(body: &JsonDataSet) -> String {
    let named = text(body, tags::REQUESTING_AE).and_then(ae_title);
    named.unwrap_or("UNKNOWN").to_owned()
}
