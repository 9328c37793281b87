//! What subscribers are told of a workitem: the event reports of PS3.4 Table CC.2.4-1 in the DICOM JSON Model.
//!
//! Invariant: an event holds what the standard lists for it and nothing else of the workitem, and is no longer than [`LONGEST_EVENT`].

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde_json::{Value, json};

use super::data_set::{JsonDataSet, element, items, set, text};
use super::tag;
use super::workitem::{PUSH, Reasons, State};

/// Longest text of an event's attributes, in bytes; what would make it longer and is optional is left out.
pub const LONGEST_EVENT: usize = 16 << 10;

/// Of a performer: code, name, organization.
const OF_PERFORMER: [Tag; 3] = [
    tags::HUMAN_PERFORMER_CODE_SEQUENCE,
    tags::HUMAN_PERFORMER_ORGANIZATION,
    tags::HUMAN_PERFORMER_NAME,
];
/// Of the progress: percentage, description, parameters, URIs.
const OF_PROGRESS: [Tag; 4] = [
    tags::PROCEDURE_STEP_PROGRESS,
    tags::PROCEDURE_STEP_PROGRESS_DESCRIPTION,
    tags::PROCEDURE_STEP_PROGRESS_PARAMETERS_SEQUENCE,
    tags::PROCEDURE_STEP_COMMUNICATIONS_URI_SEQUENCE,
];

/// Event Type ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// UPS State Report.
    State = 1,
    /// UPS Cancel Requested.
    CancelRequested = 2,
    /// UPS Progress Report.
    Progress = 3,
    /// SCP Status Change.
    Service = 4,
    /// UPS Assigned.
    Assigned = 5,
}

impl EventType {
    /// The number.
    #[must_use]
    pub const fn id(self) -> i64 {
        self as i64
    }
}

/// An event: its type and its attributes, as the text of a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type.
    pub kind: EventType,
    /// Its attributes.
    pub content: String,
}

impl Event {
    /// `required` is always told, `optional` as far as there is room.
    fn new(kind: EventType, mut content: JsonDataSet, optional: JsonDataSet) -> Self {
        let mut length = serde_json::to_string(&content).unwrap_or_default().len();
        for (name, element) in optional {
            let more = element.to_string().len().saturating_add(12);
            length = length.saturating_add(more);
            if length > LONGEST_EVENT {
                break;
            }
            content.insert(name, element);
        }
        Self {
            kind,
            content: serde_json::to_string(&content).unwrap_or_default(),
        }
    }

    /// The state of a workitem.
    #[must_use]
    pub fn state(item: &JsonDataSet) -> Self {
        let (mut reported, mut more) = (JsonDataSet::new(), JsonDataSet::new());
        let state = text(item, tags::PROCEDURE_STEP_STATE).unwrap_or(State::Scheduled.as_str());
        set(&mut reported, tags::PROCEDURE_STEP_STATE, "CS", state);
        copy(item, tags::INPUT_READINESS_STATE, &mut reported, "CS");
        if let Some(progress) =
            items(item, tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE).next()
        {
            for tag in [
                tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE,
                tags::REASON_FOR_CANCELLATION,
            ] {
                if let Some(found) = element(progress, tag) {
                    more.insert(tag::hex(tag), found.clone());
                }
            }
        }
        Self::new(EventType::State, reported, more)
    }

    /// The same for another state, which a workitem passes through.
    #[must_use]
    pub fn passing(item: &JsonDataSet, state: State) -> Self {
        let mut reported = JsonDataSet::new();
        set(
            &mut reported,
            tags::PROCEDURE_STEP_STATE,
            "CS",
            state.as_str(),
        );
        copy(item, tags::INPUT_READINESS_STATE, &mut reported, "CS");
        Self::new(EventType::State, reported, JsonDataSet::new())
    }

    /// Somebody asks for a workitem to be canceled; `by` is an AE title.
    #[must_use]
    pub fn cancel_requested(by: &str, reasons: &Reasons) -> Self {
        let (mut reported, mut more) = (JsonDataSet::new(), JsonDataSet::new());
        set(&mut reported, tags::REQUESTING_AE, "AE", by);
        let texts = [
            (tags::CONTACT_URI, "UR", &reasons.uri),
            (tags::CONTACT_DISPLAY_NAME, "LO", &reasons.name),
            (tags::REASON_FOR_CANCELLATION, "LT", &reasons.text),
        ];
        for (tag, vr, text) in texts {
            if let Some(text) = text {
                set(&mut more, tag, vr, text.as_str());
            }
        }
        if !reasons.codes.is_empty() {
            more.insert(
                tag::hex(tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE),
                json!({ "vr": "SQ", "Value": reasons.codes }),
            );
        }
        Self::new(EventType::CancelRequested, reported, more)
    }

    /// Who shall perform a workitem; none when nobody is named.
    #[must_use]
    pub fn assigned(item: &JsonDataSet) -> Option<Self> {
        let mut more = JsonDataSet::new();
        let stations: Vec<&JsonDataSet> =
            items(item, tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE).collect();
        let performers: Vec<JsonDataSet> = items(item, tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE)
            .map(|performer| picked(performer, &OF_PERFORMER))
            .collect();
        if stations.is_empty() && performers.is_empty() {
            return None;
        }
        for (tag, items) in [
            (tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE, json!(stations)),
            (tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE, json!(performers)),
        ] {
            if items.as_array().is_some_and(|items| !items.is_empty()) {
                more.insert(tag::hex(tag), json!({ "vr": "SQ", "Value": items }));
            }
        }
        Some(Self::new(EventType::Assigned, JsonDataSet::new(), more))
    }

    /// How far a workitem is.
    #[must_use]
    pub fn progress(item: &JsonDataSet) -> Self {
        let steps: Vec<JsonDataSet> =
            items(item, tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE)
                .map(|step| picked(step, &OF_PROGRESS))
                .collect();
        let mut more = JsonDataSet::new();
        more.insert(
            tag::hex(tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE),
            json!({ "vr": "SQ", "Value": steps }),
        );
        Self::new(EventType::Progress, JsonDataSet::new(), more)
    }

    /// The service itself comes or goes; its lists are kept over that.
    #[must_use]
    pub fn service(status: &str) -> Self {
        let mut reported = JsonDataSet::new();
        set(&mut reported, tags::SCP_STATUS, "CS", status);
        set(
            &mut reported,
            tags::SUBSCRIPTION_LIST_STATUS,
            "CS",
            "WARM START",
        );
        set(
            &mut reported,
            tags::UNIFIED_PROCEDURE_STEP_LIST_STATUS,
            "CS",
            "WARM START",
        );
        Self::new(EventType::Service, reported, JsonDataSet::new())
    }

    /// What subscribers are told of a new workitem.
    #[must_use]
    pub fn of_new(item: &JsonDataSet) -> Vec<Self> {
        let mut events = vec![Self::state(item)];
        events.extend(Self::assigned(item));
        events
    }

    /// What subscribers are told of a change.
    #[must_use]
    pub fn of_change(old: &JsonDataSet, new: &JsonDataSet) -> Vec<Self> {
        let same = |tag| element(old, tag) == element(new, tag);
        let steps = |item: &JsonDataSet| -> Vec<JsonDataSet> {
            items(item, tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE)
                .map(|step| picked(step, &OF_PROGRESS))
                .filter(|step| !step.is_empty())
                .collect()
        };
        let mut events = Vec::new();
        if !same(tags::PROCEDURE_STEP_STATE) || !same(tags::INPUT_READINESS_STATE) {
            events.push(Self::state(new));
        }
        if steps(old) != steps(new) {
            events.push(Self::progress(new));
        }
        if !same(tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE)
            || !same(tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE)
        {
            events.extend(Self::assigned(new));
        }
        events
    }
}

/// Copies an attribute; one that is absent is told without value.
fn copy(item: &JsonDataSet, tag: Tag, into: &mut JsonDataSet, vr: &str) {
    let found = element(item, tag).cloned();
    into.insert(tag::hex(tag), found.unwrap_or_else(|| json!({ "vr": vr })));
}

/// Some attributes of an item.
fn picked(item: &JsonDataSet, tags: &[Tag]) -> JsonDataSet {
    let found = |tag: &Tag| Some((tag::hex(*tag), element(item, *tag)?.clone()));
    tags.iter().filter_map(found).collect()
}

/// The message of an event: what is sent on the channel (PS3.18 §8.10.5), with its number in a private attribute.
#[must_use]
pub fn message(kind: i64, uid: &str, sequence: i64, content: &str) -> String {
    let inside = content.trim().trim_start_matches('{');
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let separator = if inside.is_empty() { "" } else { "," };
    let id = sequence.rem_euclid(1 << 16);
    format!(
        "{{\"00000002\":{{\"vr\":\"UI\",\"Value\":[\"{PUSH}\"]}},\"00000110\":{{\"vr\":\"US\",\"Value\":[{id}]}},\
         \"00001000\":{{\"vr\":\"UI\",\"Value\":[{}]}},\"00001002\":{{\"vr\":\"US\",\"Value\":[{kind}]}}{separator}{inside},\
         \"00770010\":{{\"vr\":\"LO\",\"Value\":[\"STOWAGE EVENTS\"]}},\"00771001\":{{\"vr\":\"UV\",\"Value\":[{sequence}]}}}}",
        Value::from(uid)
    )
}
