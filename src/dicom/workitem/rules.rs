//! Which attributes a workitem must have, may have and returns: PS3.4 Table CC.2.5-3, and the contract of the DICOM service
//! where that is stricter.

use dicom_core::Tag;

use super::super::query_parse::QueryDialect;
use super::super::tag;
use super::{
    CODE_MEANING, LABEL, PERFORMED, PRIORITY, PROGRESS, Problem, READINESS, START, STATE, State,
    TRANSACTION, WORKLIST_LABEL, WorkitemDataSet, element, has_value, items, set, text,
};

macro_rules! tags {
    ($($tag:literal)*) => { &[$(Tag((($tag as u32) >> 16) as u16, (($tag as u32) & 0xFFFF) as u16)),*] };
}

/// Must be there with a value (type 1); the Worklist Label is the server's to give.
const VALUED: &[Tag] = &[PRIORITY, LABEL, START, READINESS];
/// Must be there, with or without a value (type 2).
const PRESENT: &[Tag] = tags!(0x00081080 0x00081084 0x00100010 0x00100021 0x00100024 0x00100030 0x00100040 0x00101002
    0x00380010 0x00380014 0x00400400 0x00404018 0x00404021 0x00404025 0x00404026 0x00404027 0x0040A370 0x00741002
    0x00741210 0x00741216);
/// May be absent, not empty.
const NOT_EMPTY: &[Tag] = tags!(0x00100020 0x0020000D 0x00404008 0x00404011 0x00741224);
/// Never changed by an update: identity, state, and the relation to patient and request.
const FIXED: &[Tag] = tags!(0x00080016 0x00080018 0x00081080 0x00081084 0x00100010 0x00100020 0x00100021 0x00100024
    0x00100030 0x00100040 0x00101002 0x0020000D 0x00380010 0x00380014 0x0040A370 0x00741000 0x00741224);

/// Returned by a search without being asked for.
pub const DEFAULTS: &[Tag] = tags!(0x00080005 0x00080016 0x00080018 0x00081080 0x00081084 0x00100010 0x00100020 0x00100021
    0x00100024 0x00100030 0x00100040 0x00101002 0x0020000D 0x00380010 0x00380014 0x00404005 0x00404010 0x00404011
    0x00404018 0x00404021 0x00404025 0x00404026 0x00404027 0x00404034 0x00404041 0x0040A370 0x00741000 0x00741200
    0x00741202 0x00741204 0x00741210 0x00741224);

/// Keys of a search beside [`DEFAULTS`], and sequences whose attributes are.
const FURTHER_KEYS: &[Tag] = tags!(0x00400400 0x00404008 0x00741002 0x00741216);

/// Whether a path of a search begins with a key of workitems (PS3.4 Table CC.2.5-3, columns of matching).
#[must_use]
pub fn is_key(tag: Tag) -> bool {
    DEFAULTS.contains(&tag) || FURTHER_KEYS.contains(&tag)
}

/// Checks a new workitem and adds what the server gives; whether that is more than the contract says it gives.
pub(super) fn check_new(
    item: &mut WorkitemDataSet,
    dialect: QueryDialect,
) -> Result<bool, Problem> {
    let standard = dialect == QueryDialect::Standard;
    let mut modified = false;
    for tag in VALUED {
        if !has_value(item, *tag) {
            return Err(Problem::Missing(*tag, true));
        }
    }
    match text(item, STATE) {
        None => modified |= standard,
        Some(state) if State::parse(state) == Some(State::Scheduled) => {}
        Some(_) => return Err(Problem::State("SCHEDULED")),
    }
    if has_value(item, TRANSACTION) {
        return Err(Problem::Filled(TRANSACTION));
    }
    if !standard && element(item, TRANSACTION).is_none() {
        return Err(Problem::Missing(TRANSACTION, false));
    }
    if standard {
        for tag in [PROGRESS, PERFORMED] {
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
    if !standard || !has_value(item, WORKLIST_LABEL) {
        set(item, WORKLIST_LABEL, "LO", "worklist");
        modified |= standard;
    }
    codes(item)?;
    Ok(modified)
}

/// Checks an update, whatever it is put into.
pub(super) fn check_changes(changes: &WorkitemDataSet) -> Result<(), Problem> {
    for tag in FIXED {
        if element(changes, *tag).is_some() {
            return Err(Problem::Fixed(*tag));
        }
    }
    for tag in VALUED.iter().chain(&[WORKLIST_LABEL]).chain(NOT_EMPTY) {
        if element(changes, *tag).is_some() && !has_value(changes, *tag) {
            return Err(Problem::Empty(*tag));
        }
    }
    codes(changes)
}

/// Codes at the top need their meaning (PS3.3 §8.3).
fn codes(item: &WorkitemDataSet) -> Result<(), Problem> {
    for (name, _) in item {
        let Some(tag) = tag::from_hex(name) else {
            continue;
        };
        let is_code = tag::keyword(tag).is_some_and(|keyword| keyword.ends_with("CodeSequence"));
        if is_code && items(item, tag).any(|code| !has_value(code, CODE_MEANING)) {
            return Err(Problem::CodeMeaning(tag));
        }
    }
    Ok(())
}

/// What is missing for a final state (column "Final State" of Table CC.2.5-3), as a path of attributes.
pub(super) fn unfinished(
    item: &WorkitemDataSet,
    state: State,
    dialect: QueryDialect,
) -> Option<String> {
    let (sequence, wanted): (Tag, &[Tag]) = match state {
        State::Completed => (
            PERFORMED,
            tags!(0x00404019 0x00404028 0x00404033 0x00404050 0x00404051),
        ),
        State::Canceled => (PROGRESS, tags!(0x00404052 0x0074100E)),
        State::Scheduled | State::InProgress => return None,
    };
    let path = |tag: &Tag| format!("{}.{}", super::reported(sequence), super::reported(*tag));
    let Some(first) = items(item, sequence).next() else {
        return Some(super::reported(sequence));
    };
    let done = |step: &WorkitemDataSet, tag: Tag| {
        // A step may have made nothing: the standard takes an empty list of outputs.
        let output = tag == Tag(0x0040, 0x4033) && dialect == QueryDialect::Standard;
        has_value(step, tag) || output && element(step, tag).is_some()
    };
    let missing = wanted.iter().find(|tag| !done(first, **tag));
    missing.map(path)
}
