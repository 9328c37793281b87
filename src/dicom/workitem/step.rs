//! The state machine: who may change what, when (PS3.4 Table CC.1.1-2).

use dicom_dictionary_std::tags;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::tag;
use super::super::uid::check_uid;
use super::problem::Problem;
use super::rules;
use super::state::State;
use crate::dicom::data_set::{JsonDataSet, set, text};
use crate::dicom::query::QueryDialect;
use crate::dicom::temporal::moment_of;

/// Why a request does not fit the state a workitem is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A performer has it already.
    #[error("the workitem is IN PROGRESS already")]
    Claimed,
    /// Nobody has claimed it yet.
    #[error("the workitem is SCHEDULED: claim it first by the state IN PROGRESS")]
    NotClaimed,
    /// The request needs the Transaction UID of the claim.
    #[error("the Transaction UID is missing")]
    NoTransaction,
    /// It has another one.
    #[error("the Transaction UID is incorrect")]
    WrongTransaction,
    /// Nothing changes any more.
    #[error("the workitem is {} and may no longer be changed", .0.as_str())]
    Final(State),
    /// It lacks what the final state needs.
    #[error("the workitem cannot be {}: it has no value of {missing}", .state.as_str())]
    Unfinished {
        /// The state asked for.
        state: State,
        /// The attribute.
        missing: String,
    },
}

/// What a request to change the state asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRequest {
    /// The state.
    pub state: State,
    /// The Transaction UID.
    pub transaction: Option<String>,
}

impl StateRequest {
    /// Reads it out of the body.
    ///
    /// # Errors
    /// [`Problem`] for another state than three, and for what is no UID.
    pub fn of(body: &JsonDataSet) -> Result<Self, Problem> {
        let wrong = Problem::State("IN PROGRESS, COMPLETED or CANCELED");
        let state = text(body, tags::PROCEDURE_STEP_STATE).and_then(State::parse);
        let state = state
            .filter(|state| *state != State::Scheduled)
            .ok_or(wrong)?;
        Ok(Self {
            state,
            transaction: transaction(body, None)?,
        })
    }
}

/// The Transaction UID of a request: that of the query, or that of the data set.
///
/// # Errors
/// [`Problem`] when one is no UID, or when they differ.
pub fn transaction(body: &JsonDataSet, query: Option<&str>) -> Result<Option<String>, Problem> {
    const WHAT: &str = "the Transaction UID (0008,1195)";
    let of_body = text(body, tags::TRANSACTION_UID);
    if let (Some(a), Some(b)) = (of_body, query)
        && a != b.trim()
    {
        return Err(Problem::Mismatch(WHAT));
    }
    let checked = of_body.or(query).map(check_uid).transpose();
    let checked = checked.map_err(|_| Problem::Uid(WHAT))?;
    Ok(checked.map(str::to_owned))
}

/// The UID of a new workitem.
pub(super) fn uid_of(item: &JsonDataSet, query: Option<&str>) -> Result<String, Problem> {
    const WHAT: &str = "the SOP Instance UID (0008,0018)";
    let of_item = text(item, tags::SOP_INSTANCE_UID);
    let query = query.map(str::trim).filter(|uid| !uid.is_empty());
    if let (Some(a), Some(b)) = (of_item, query)
        && a != b
    {
        return Err(Problem::Mismatch(WHAT));
    }
    let uid = of_item.or(query).ok_or(Problem::Uid(WHAT))?;
    check_uid(uid)
        .map(str::to_owned)
        .map_err(|_| Problem::Uid(WHAT))
}

/// Whether a workitem may be updated; `owner` is the digest of the Transaction UID it was claimed with.
///
/// # Errors
/// [`Conflict`] when not.
pub fn check_update(
    state: State,
    owner: Option<&str>,
    transaction: Option<&str>,
) -> Result<(), Conflict> {
    match (state, transaction) {
        (State::Completed | State::Canceled, _) => Err(Conflict::Final(state)),
        (State::Scheduled, None) => Ok(()),
        (State::Scheduled, Some(_)) => Err(Conflict::NotClaimed),
        (State::InProgress, given) => owned(owner, given),
    }
}

fn owned(owner: Option<&str>, transaction: Option<&str>) -> Result<(), Conflict> {
    let transaction = transaction.ok_or(Conflict::NoTransaction)?;
    if owner == Some(digest(transaction).as_str()) {
        Ok(())
    } else {
        Err(Conflict::WrongTransaction)
    }
}

/// What a request to change the state does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The workitem is in the state now; who has claimed it is to be remembered.
    Yes,
    /// It was in the state before: a warning says so.
    Already,
}

/// Changes the state of a workitem.
///
/// # Errors
/// [`Conflict`] when the state it is in does not allow that.
pub fn change_state(
    item: &mut JsonDataSet,
    owner: Option<&str>,
    asked: &StateRequest,
    dialect: QueryDialect,
    now: OffsetDateTime,
) -> Result<Changed, Conflict> {
    let state = text(item, tags::PROCEDURE_STEP_STATE).and_then(State::parse);
    let state = state.unwrap_or(State::Scheduled);
    let transaction = asked.transaction.as_deref();
    match (state, asked.state) {
        (State::Scheduled, State::InProgress) => {
            transaction.ok_or(Conflict::NoTransaction)?;
        }
        (State::Scheduled, _) => return Err(Conflict::NotClaimed),
        (State::InProgress, State::InProgress) => return Err(Conflict::Claimed),
        (State::InProgress, _) => {
            owned(owner, transaction)?;
            if let Some(missing) = rules::unfinished(item, asked.state, dialect) {
                let state = asked.state;
                return Err(Conflict::Unfinished { state, missing });
            }
        }
        (of, to) if of == to => {
            // What was canceled by request has no owner.
            if owner.is_some() {
                owned(owner, transaction)?;
            }
            return Ok(Changed::Already);
        }
        (of, _) => return Err(Conflict::Final(of)),
    }
    set(item, tags::PROCEDURE_STEP_STATE, "CS", asked.state.as_str());
    set(
        item,
        tags::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME,
        "DT",
        moment_of(now),
    );
    Ok(Changed::Yes)
}

/// What a request to cancel may say of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reasons {
    /// Reason for Cancellation (0074,1238).
    pub text: Option<String>,
    /// Items of Procedure Step Discontinuation Reason Code Sequence (0074,100E).
    pub codes: Vec<Value>,
    /// Contact URI (0074,100A).
    pub uri: Option<String>,
    /// Contact Display Name (0074,100C).
    pub name: Option<String>,
}

impl Reasons {
    /// Reads them out of the body.
    #[must_use]
    pub fn of(body: &JsonDataSet) -> Self {
        let owned = |tag| text(body, tag).map(str::to_owned);
        let codes = crate::dicom::data_set::values(
            body,
            tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE,
        )
        .iter();
        Self {
            text: owned(tags::REASON_FOR_CANCELLATION),
            codes: codes.filter(|code| code.is_object()).cloned().collect(),
            uri: owned(tags::CONTACT_URI),
            name: owned(tags::CONTACT_DISPLAY_NAME),
        }
    }
}

/// Cancels a workitem that nobody has begun; why stands in its progress information.
pub fn cancel(item: &mut JsonDataSet, reasons: &Reasons, now: OffsetDateTime) {
    let mut progress = JsonDataSet::new();
    set(
        &mut progress,
        tags::PROCEDURE_STEP_CANCELLATION_DATE_TIME,
        "DT",
        moment_of(now),
    );
    let mut codes = reasons.codes.clone();
    if codes.is_empty() {
        // The final state needs a code (PS3.16 CID 9300).
        let mut code = JsonDataSet::new();
        set(&mut code, tags::CODE_VALUE, "SH", "110513");
        set(&mut code, tags::CODING_SCHEME_DESIGNATOR, "SH", "DCM");
        let meaning = "Discontinued for unspecified reason";
        set(&mut code, tags::CODE_MEANING, "LO", meaning);
        codes.push(code.into());
    }
    if let Some(reason) = &reasons.text {
        set(
            &mut progress,
            tags::REASON_FOR_CANCELLATION,
            "LT",
            reason.as_str(),
        );
        // Where clients of the DICOM service look for it.
        if let Some(first) = codes.first_mut().and_then(Value::as_object_mut) {
            set(first, tags::REASON_FOR_CANCELLATION, "LT", reason.as_str());
        }
    }
    progress.insert(
        tag::hex(tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE),
        json!({ "vr": "SQ", "Value": codes }),
    );
    set(
        item,
        tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
        "SQ",
        Value::Object(progress),
    );
    set(
        item,
        tags::PROCEDURE_STEP_STATE,
        "CS",
        State::Canceled.as_str(),
    );
    set(
        item,
        tags::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME,
        "DT",
        moment_of(now),
    );
}

/// What is kept of a Transaction UID: enough to know it again, and nothing to claim a workitem with.
#[must_use]
pub fn digest(transaction: &str) -> String {
    blake3::hash(transaction.as_bytes()).to_hex().to_string()
}
