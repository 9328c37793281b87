//! Which attributes a workitem must have, may have and returns: PS3.4 Table CC.2.5-3, and the contract of the DICOM service
//! where that is stricter.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::super::tag;
use super::problem::Problem;
use super::state::State;
use crate::dicom::data_set::{JsonDataSet, element, has_value, items, set, text};
use crate::dicom::query::QueryDialect;

/// Must be there with a value (type 1); the Worklist Label is the server's to give.
const VALUED: &[Tag] = &[
    tags::SCHEDULED_PROCEDURE_STEP_PRIORITY,
    tags::PROCEDURE_STEP_LABEL,
    tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME,
    tags::INPUT_READINESS_STATE,
];
/// Must be there, with or without a value (type 2).
const PRESENT: &[Tag] = &[
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::PATIENT_NAME,
    tags::ISSUER_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::ADMISSION_ID,
    tags::ISSUER_OF_ADMISSION_ID_SEQUENCE,
    tags::COMMENTS_ON_THE_SCHEDULED_PROCEDURE_STEP,
    tags::SCHEDULED_WORKITEM_CODE_SEQUENCE,
    tags::INPUT_INFORMATION_SEQUENCE,
    tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE,
    tags::SCHEDULED_STATION_CLASS_CODE_SEQUENCE,
    tags::SCHEDULED_STATION_GEOGRAPHIC_LOCATION_CODE_SEQUENCE,
    tags::REFERENCED_REQUEST_SEQUENCE,
    tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
    tags::SCHEDULED_PROCESSING_PARAMETERS_SEQUENCE,
    tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE,
];
/// May be absent, not empty.
const NOT_EMPTY: &[Tag] = &[
    tags::PATIENT_ID,
    tags::STUDY_INSTANCE_UID,
    tags::SCHEDULED_PROCEDURE_STEP_EXPIRATION_DATE_TIME,
    tags::EXPECTED_COMPLETION_DATE_TIME,
    tags::REPLACED_PROCEDURE_STEP_SEQUENCE,
];
/// Never changed by an update: identity, state, and the relation to patient and request.
const FIXED: &[Tag] = &[
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::STUDY_INSTANCE_UID,
    tags::ADMISSION_ID,
    tags::ISSUER_OF_ADMISSION_ID_SEQUENCE,
    tags::REFERENCED_REQUEST_SEQUENCE,
    tags::PROCEDURE_STEP_STATE,
    tags::REPLACED_PROCEDURE_STEP_SEQUENCE,
];

/// Returned by a search without being asked for.
pub const DEFAULTS: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::STUDY_INSTANCE_UID,
    tags::ADMISSION_ID,
    tags::ISSUER_OF_ADMISSION_ID_SEQUENCE,
    tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME,
    tags::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME,
    tags::EXPECTED_COMPLETION_DATE_TIME,
    tags::SCHEDULED_WORKITEM_CODE_SEQUENCE,
    tags::INPUT_INFORMATION_SEQUENCE,
    tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE,
    tags::SCHEDULED_STATION_CLASS_CODE_SEQUENCE,
    tags::SCHEDULED_STATION_GEOGRAPHIC_LOCATION_CODE_SEQUENCE,
    tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE,
    tags::INPUT_READINESS_STATE,
    tags::REFERENCED_REQUEST_SEQUENCE,
    tags::PROCEDURE_STEP_STATE,
    tags::SCHEDULED_PROCEDURE_STEP_PRIORITY,
    tags::WORKLIST_LABEL,
    tags::PROCEDURE_STEP_LABEL,
    tags::SCHEDULED_PROCESSING_PARAMETERS_SEQUENCE,
    tags::REPLACED_PROCEDURE_STEP_SEQUENCE,
];

/// Keys of a search beside [`DEFAULTS`], and sequences whose attributes are.
const FURTHER_KEYS: &[Tag] = &[
    tags::COMMENTS_ON_THE_SCHEDULED_PROCEDURE_STEP,
    tags::SCHEDULED_PROCEDURE_STEP_EXPIRATION_DATE_TIME,
    tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
    tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE,
];

/// Whether a path of a search begins with a key of workitems (PS3.4 Table CC.2.5-3, columns of matching).
#[must_use]
pub fn is_key(tag: Tag) -> bool {
    DEFAULTS.contains(&tag) || FURTHER_KEYS.contains(&tag)
}

/// Checks a new workitem and adds what the server gives; whether that is more than the contract says it gives.
pub(super) fn check_new(item: &mut JsonDataSet, dialect: QueryDialect) -> Result<bool, Problem> {
    let standard = dialect == QueryDialect::Standard;
    let mut modified = false;
    for tag in VALUED {
        if !has_value(item, *tag) {
            return Err(Problem::Missing(*tag, true));
        }
    }
    match text(item, tags::PROCEDURE_STEP_STATE) {
        None => modified |= standard,
        Some(state) if State::parse(state) == Some(State::Scheduled) => {}
        Some(_) => return Err(Problem::State("SCHEDULED")),
    }
    if has_value(item, tags::TRANSACTION_UID) {
        return Err(Problem::Filled(tags::TRANSACTION_UID));
    }
    if !standard && element(item, tags::TRANSACTION_UID).is_none() {
        return Err(Problem::Missing(tags::TRANSACTION_UID, false));
    }
    if standard {
        for tag in [
            tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
            tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE,
        ] {
            if has_value(item, tag) {
                return Err(Problem::Filled(tag));
            }
        }
    }
    for tag in PRESENT {
        if element(item, *tag).is_none() {
            if !standard {
                return Err(Problem::Missing(*tag, false));
            }
            let empty = serde_json::json!({ "vr": tag::vr(*tag).to_string() });
            item.insert(tag::hex(*tag), empty);
            modified = true;
        }
    }
    for tag in NOT_EMPTY {
        if element(item, *tag).is_some() && !has_value(item, *tag) {
            return Err(Problem::Empty(*tag));
        }
    }
    if !standard || !has_value(item, tags::WORKLIST_LABEL) {
        set(item, tags::WORKLIST_LABEL, "LO", "worklist");
        modified |= standard;
    }
    codes(item)?;
    Ok(modified)
}

/// Checks an update, whatever it is put into.
pub(super) fn check_changes(changes: &JsonDataSet) -> Result<(), Problem> {
    for tag in FIXED {
        if element(changes, *tag).is_some() {
            return Err(Problem::Fixed(*tag));
        }
    }
    for tag in VALUED
        .iter()
        .chain(&[tags::WORKLIST_LABEL])
        .chain(NOT_EMPTY)
    {
        if element(changes, *tag).is_some() && !has_value(changes, *tag) {
            return Err(Problem::Empty(*tag));
        }
    }
    codes(changes)
}

/// Codes at the top need their meaning (PS3.3 §8.3).
fn codes(item: &JsonDataSet) -> Result<(), Problem> {
    for (name, _) in item {
        let Some(tag) = tag::from_hex(name) else {
            continue;
        };
        let is_code = tag::keyword(tag).is_some_and(|keyword| keyword.ends_with("CodeSequence"));
        if is_code && items(item, tag).any(|code| !has_value(code, tags::CODE_MEANING)) {
            return Err(Problem::CodeMeaning(tag));
        }
    }
    Ok(())
}

/// What is missing for a final state (column "Final State" of Table CC.2.5-3), as a path of attributes.
pub(super) fn unfinished(
    item: &JsonDataSet,
    state: State,
    dialect: QueryDialect,
) -> Option<String> {
    let (sequence, wanted): (Tag, &[Tag]) = match state {
        State::Completed => (
            tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE,
            &[
                tags::PERFORMED_WORKITEM_CODE_SEQUENCE,
                tags::PERFORMED_STATION_NAME_CODE_SEQUENCE,
                tags::OUTPUT_INFORMATION_SEQUENCE,
                tags::PERFORMED_PROCEDURE_STEP_START_DATE_TIME,
                tags::PERFORMED_PROCEDURE_STEP_END_DATE_TIME,
            ],
        ),
        State::Canceled => (
            tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
            &[
                tags::PROCEDURE_STEP_CANCELLATION_DATE_TIME,
                tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE,
            ],
        ),
        State::Scheduled | State::InProgress => return None,
    };
    let path = |tag: &Tag| {
        format!(
            "{}.{}",
            super::problem::reported(sequence),
            super::problem::reported(*tag)
        )
    };
    let Some(first) = items(item, sequence).next() else {
        return Some(super::problem::reported(sequence));
    };
    let done = |step: &JsonDataSet, tag: Tag| {
        // A step may have made nothing: the standard takes an empty list of outputs.
        let output = tag == tags::OUTPUT_INFORMATION_SEQUENCE && dialect == QueryDialect::Standard;
        has_value(step, tag) || output && element(step, tag).is_some()
    };
    let missing = wanted.iter().find(|tag| !done(first, **tag));
    missing.map(path)
}
