//! What subscribers are told of a workitem: the event reports of PS3.4 Table CC.2.4-1 in the DICOM JSON Model.
//!
//! Invariant: an event holds what the standard lists for it and nothing else of the workitem, and is no longer than [`LONGEST_EVENT`].

use dicom_core::Tag;
use serde_json::{Value, json};

use super::tag;
use super::workitem::{
    PROGRESS, PUSH, READINESS, REASON, REASON_CODES, Reasons, STATE, State, WorkitemDataSet,
    element, items, set, text,
};

/// Longest text of an event's attributes, in bytes; what would make it longer and is optional is left out.
pub const LONGEST_EVENT: usize = 16 << 10;

const STATIONS: Tag = Tag(0x0040, 0x4025);
const PERFORMERS: Tag = Tag(0x0040, 0x4034);
const REQUESTING_AE: Tag = Tag(0x0074, 0x1236);
/// Of a performer: code, name, organization.
const OF_PERFORMER: [Tag; 3] = [
    Tag(0x0040, 0x4009),
    Tag(0x0040, 0x4036),
    Tag(0x0040, 0x4037),
];
/// Of the progress: percentage, description, parameters, URIs.
const OF_PROGRESS: [Tag; 4] = [
    Tag(0x0074, 0x1004),
    Tag(0x0074, 0x1006),
    Tag(0x0074, 0x1007),
    Tag(0x0074, 0x1008),
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
    fn new(kind: EventType, mut content: WorkitemDataSet, optional: WorkitemDataSet) -> Self {
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
    pub fn state(item: &WorkitemDataSet) -> Self {
        let (mut reported, mut more) = (WorkitemDataSet::new(), WorkitemDataSet::new());
        let state = text(item, STATE).unwrap_or(State::Scheduled.as_str());
        set(&mut reported, STATE, "CS", state);
        copy(item, READINESS, &mut reported, "CS");
        if let Some(progress) = items(item, PROGRESS).next() {
            for tag in [REASON_CODES, REASON] {
                if let Some(found) = element(progress, tag) {
                    more.insert(tag::hex(tag), found.clone());
                }
            }
        }
        Self::new(EventType::State, reported, more)
    }

    /// The same for another state, which a workitem passes through.
    #[must_use]
    pub fn passing(item: &WorkitemDataSet, state: State) -> Self {
        let mut reported = WorkitemDataSet::new();
        set(&mut reported, STATE, "CS", state.as_str());
        copy(item, READINESS, &mut reported, "CS");
        Self::new(EventType::State, reported, WorkitemDataSet::new())
    }

    /// Somebody asks for a workitem to be canceled; `by` is an AE title.
    #[must_use]
    pub fn cancel_requested(by: &str, reasons: &Reasons) -> Self {
        let (mut reported, mut more) = (WorkitemDataSet::new(), WorkitemDataSet::new());
        set(&mut reported, REQUESTING_AE, "AE", by);
        let texts = [
            (Tag(0x0074, 0x100A), "UR", &reasons.uri),
            (Tag(0x0074, 0x100C), "LO", &reasons.name),
            (REASON, "LT", &reasons.text),
        ];
        for (tag, vr, text) in texts {
            if let Some(text) = text {
                set(&mut more, tag, vr, text.as_str());
            }
        }
        if !reasons.codes.is_empty() {
            more.insert(
                tag::hex(REASON_CODES),
                json!({ "vr": "SQ", "Value": reasons.codes }),
            );
        }
        Self::new(EventType::CancelRequested, reported, more)
    }

    /// Who shall perform a workitem; none when nobody is named.
    #[must_use]
    pub fn assigned(item: &WorkitemDataSet) -> Option<Self> {
        let mut more = WorkitemDataSet::new();
        let stations: Vec<&WorkitemDataSet> = items(item, STATIONS).collect();
        let performers: Vec<WorkitemDataSet> = items(item, PERFORMERS)
            .map(|performer| picked(performer, &OF_PERFORMER))
            .collect();
        if stations.is_empty() && performers.is_empty() {
            return None;
        }
        for (tag, items) in [(STATIONS, json!(stations)), (PERFORMERS, json!(performers))] {
            if items.as_array().is_some_and(|items| !items.is_empty()) {
                more.insert(tag::hex(tag), json!({ "vr": "SQ", "Value": items }));
            }
        }
        Some(Self::new(EventType::Assigned, WorkitemDataSet::new(), more))
    }

    /// How far a workitem is.
    #[must_use]
    pub fn progress(item: &WorkitemDataSet) -> Self {
        let steps: Vec<WorkitemDataSet> = items(item, PROGRESS)
            .map(|step| picked(step, &OF_PROGRESS))
            .collect();
        let mut more = WorkitemDataSet::new();
        more.insert(tag::hex(PROGRESS), json!({ "vr": "SQ", "Value": steps }));
        Self::new(EventType::Progress, WorkitemDataSet::new(), more)
    }

    /// The service itself comes or goes; its lists are kept over that.
    #[must_use]
    pub fn service(status: &str) -> Self {
        let mut reported = WorkitemDataSet::new();
        set(&mut reported, Tag(0x0074, 0x1242), "CS", status);
        set(&mut reported, Tag(0x0074, 0x1244), "CS", "WARM START");
        set(&mut reported, Tag(0x0074, 0x1246), "CS", "WARM START");
        Self::new(EventType::Service, reported, WorkitemDataSet::new())
    }

    /// What subscribers are told of a new workitem.
    #[must_use]
    pub fn of_new(item: &WorkitemDataSet) -> Vec<Self> {
        let mut events = vec![Self::state(item)];
        events.extend(Self::assigned(item));
        events
    }

    /// What subscribers are told of a change.
    #[must_use]
    pub fn of_change(old: &WorkitemDataSet, new: &WorkitemDataSet) -> Vec<Self> {
        let same = |tag| element(old, tag) == element(new, tag);
        let steps = |item: &WorkitemDataSet| -> Vec<WorkitemDataSet> {
            items(item, PROGRESS)
                .map(|step| picked(step, &OF_PROGRESS))
                .filter(|step| !step.is_empty())
                .collect()
        };
        let mut events = Vec::new();
        if !same(STATE) || !same(READINESS) {
            events.push(Self::state(new));
        }
        if steps(old) != steps(new) {
            events.push(Self::progress(new));
        }
        if !same(STATIONS) || !same(PERFORMERS) {
            events.extend(Self::assigned(new));
        }
        events
    }
}

/// Copies an attribute; one that is absent is told without value.
fn copy(item: &WorkitemDataSet, tag: Tag, into: &mut WorkitemDataSet, vr: &str) {
    let found = element(item, tag).cloned();
    into.insert(tag::hex(tag), found.unwrap_or_else(|| json!({ "vr": vr })));
}

/// Some attributes of an item.
fn picked(item: &WorkitemDataSet, tags: &[Tag]) -> WorkitemDataSet {
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
