//! Workitems as the modality worklist lists them: one entry for each scheduled procedure step and requested procedure
//! (PS3.4 Annex K, PS3.3 §C.4.10).
//!
//! A workitem that works on images (Input Information Sequence) is nothing a modality does, unless it says so by a Scheduled
//! Procedure Step Sequence of its own.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde_json::{Value, json};

use super::data_set::{JsonDataSet, element, items, set, text};
use super::tag;
use super::workitem::State;

/// (0040,0100) Scheduled Procedure Step Sequence.
pub const STEPS: Tag = tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE;
/// Attributes outside of the groups of patients and visits that are told as they stand.
const COPIED: [Tag; 7] = [
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::REFERENCED_PATIENT_SEQUENCE,
    tags::STUDY_INSTANCE_UID,
    tags::REQUESTING_PHYSICIAN,
    tags::CONFIDENTIALITY_CONSTRAINT_ON_PATIENT_DATA_DESCRIPTION,
];

/// Return keys of type 2 outside of the step (PS3.4 Table K.6-1): there, and empty where nothing is known.
const RETURNED: [(Tag, &str); 18] = [
    (tags::ACCESSION_NUMBER, "SH"),
    (tags::REFERRING_PHYSICIAN_NAME, "PN"),
    (tags::REFERENCED_STUDY_SEQUENCE, "SQ"),
    (tags::REFERENCED_PATIENT_SEQUENCE, "SQ"),
    (tags::PATIENT_BIRTH_DATE, "DA"),
    (tags::PATIENT_SEX, "CS"),
    (tags::PATIENT_WEIGHT, "DS"),
    (tags::MEDICAL_ALERTS, "LO"),
    (tags::ALLERGIES, "LO"),
    (tags::PREGNANCY_STATUS, "US"),
    (tags::REQUESTING_PHYSICIAN, "PN"),
    (tags::ADMISSION_ID, "LO"),
    (tags::SPECIAL_NEEDS, "LO"),
    (tags::CURRENT_PATIENT_LOCATION, "LO"),
    (tags::PATIENT_STATE, "LO"),
    (tags::REQUESTED_PROCEDURE_PRIORITY, "SH"),
    (tags::PATIENT_TRANSPORT_ARRANGEMENTS, "LO"),
    (
        tags::CONFIDENTIALITY_CONSTRAINT_ON_PATIENT_DATA_DESCRIPTION,
        "LO",
    ),
];

/// Adds the return keys of type 2 that an entry lacks, for answers that are not asked for single keys.
pub fn complete(entry: &mut JsonDataSet) {
    for (tag, vr) in RETURNED {
        let missing = || json!({ "vr": vr });
        entry.entry(tag::hex(tag)).or_insert_with(missing);
    }
}

/// The entries of a workitem; none when it is finished, or works on images.
#[must_use]
pub fn entries(item: &JsonDataSet) -> Vec<JsonDataSet> {
    let status = match text(item, tags::PROCEDURE_STEP_STATE).and_then(State::parse) {
        None | Some(State::Scheduled) => "SCHEDULED",
        Some(State::InProgress) => "STARTED",
        Some(State::Completed | State::Canceled) => return Vec::new(),
    };
    let derived = derived(item, status);
    let mut steps: Vec<JsonDataSet> = items(item, STEPS).cloned().collect();
    if steps.is_empty() {
        if items(item, tags::INPUT_INFORMATION_SEQUENCE)
            .next()
            .is_some()
        {
            return Vec::new();
        }
        steps.push(derived);
    } else {
        for step in &mut steps {
            for (tag, element) in &derived {
                step.entry(tag.clone()).or_insert_with(|| element.clone());
            }
        }
    }
    let mut requests: Vec<Option<&JsonDataSet>> = items(item, tags::REFERENCED_REQUEST_SEQUENCE)
        .map(Some)
        .collect();
    if requests.is_empty() {
        requests.push(None);
    }
    let entry = |(request, step): (Option<&JsonDataSet>, &JsonDataSet)| {
        let mut entry = common(item, request);
        entry.insert(tag::hex(STEPS), json!({ "vr": "SQ", "Value": [step] }));
        entry
    };
    let pairs = requests
        .into_iter()
        .flat_map(|request| steps.iter().map(move |step| (request, step)));
    pairs.map(entry).collect()
}

/// What is not of the step: patient, visit, request.
fn common(item: &JsonDataSet, request: Option<&JsonDataSet>) -> JsonDataSet {
    let mut entry = request.cloned().unwrap_or_default();
    for (name, element) in item {
        let Some(tag) = tag::from_hex(name) else {
            continue;
        };
        let of_patient = tag.0 == 0x0010 || tag.0 == 0x0038;
        let told = of_patient || COPIED.contains(&tag);
        // What is said with a value stands before what is empty.
        if told && (element.get("Value").is_some() || !entry.contains_key(name)) {
            entry.insert(name.clone(), element.clone());
        }
    }
    if text(&entry, tags::REQUESTED_PROCEDURE_PRIORITY).is_none()
        && let Some(priority) = text(item, tags::SCHEDULED_PROCEDURE_STEP_PRIORITY)
    {
        set(
            &mut entry,
            tags::REQUESTED_PROCEDURE_PRIORITY,
            "SH",
            priority,
        );
    }
    if text(&entry, tags::REQUESTED_PROCEDURE_ID).is_none() {
        set(&mut entry, tags::REQUESTED_PROCEDURE_ID, "SH", number(item));
    }
    entry
}

/// The one step of a workitem that has no sequence of steps.
fn derived(item: &JsonDataSet, status: &str) -> JsonDataSet {
    let mut step = JsonDataSet::new();
    let coded = |sequence: Tag, what: Tag| items(item, sequence).find_map(|code| text(code, what));
    let station = tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE;
    let texts = [
        (
            tags::MODALITY,
            "CS",
            coded(
                tags::SCHEDULED_STATION_CLASS_CODE_SEQUENCE,
                tags::CODE_VALUE,
            ),
        ),
        (
            tags::SCHEDULED_STATION_AE_TITLE,
            "AE",
            coded(station, tags::CODE_VALUE),
        ),
        (
            tags::SCHEDULED_STATION_NAME,
            "SH",
            coded(station, tags::CODE_MEANING),
        ),
        (
            tags::SCHEDULED_PROCEDURE_STEP_LOCATION,
            "SH",
            coded(
                tags::SCHEDULED_STATION_GEOGRAPHIC_LOCATION_CODE_SEQUENCE,
                tags::CODE_MEANING,
            ),
        ),
        (
            tags::SCHEDULED_PROCEDURE_STEP_DESCRIPTION,
            "LO",
            text(item, tags::PROCEDURE_STEP_LABEL),
        ),
        (tags::SCHEDULED_PROCEDURE_STEP_STATUS, "CS", Some(status)),
    ];
    for (tag, vr, value) in texts {
        match value {
            Some(value) => set(&mut step, tag, vr, value),
            None => drop(step.insert(tag::hex(tag), json!({ "vr": vr }))),
        }
    }
    set(
        &mut step,
        tags::SCHEDULED_PROCEDURE_STEP_ID,
        "SH",
        number(item),
    );
    let start = text(item, tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME).unwrap_or_default();
    let moment = start.split(['+', '-', '&']).next().unwrap_or_default();
    if let (Some(day), Some(time)) = (moment.get(..8), moment.get(8..)) {
        set(
            &mut step,
            tags::SCHEDULED_PROCEDURE_STEP_START_DATE,
            "DA",
            day,
        );
        let time = if time.is_empty() { "000000" } else { time };
        set(
            &mut step,
            tags::SCHEDULED_PROCEDURE_STEP_START_TIME,
            "TM",
            time,
        );
    }
    let performer = items(item, tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE).find_map(|performer| {
        let name = element(performer, tags::HUMAN_PERFORMER_NAME)?;
        name.get("Value").is_some().then(|| name.clone())
    });
    let name: Value = performer.unwrap_or_else(|| json!({ "vr": "PN" }));
    step.insert(tag::hex(tags::SCHEDULED_PERFORMING_PHYSICIAN_NAME), name);
    let protocol = element(item, tags::SCHEDULED_WORKITEM_CODE_SEQUENCE).cloned();
    step.insert(
        tag::hex(tags::SCHEDULED_PROTOCOL_CODE_SEQUENCE),
        protocol.unwrap_or_else(|| json!({ "vr": "SQ" })),
    );
    step
}

/// A number of 16 characters that is the same whenever it is asked for: workitems have a UID only.
fn number(item: &JsonDataSet) -> String {
    let uid = text(item, tags::SOP_INSTANCE_UID).unwrap_or_default();
    let hash = blake3::hash(uid.as_bytes());
    hash.to_hex()
        .chars()
        .take(16)
        .collect::<String>()
        .to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: Value) -> JsonDataSet {
        match json {
            Value::Object(item) => item,
            _ => JsonDataSet::new(),
        }
    }

    fn scheduled() -> JsonDataSet {
        item(json!({
            "00080018": { "vr": "UI", "Value": ["1.2.3"] },
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Doe^J" }] },
            "00100020": { "vr": "LO", "Value": ["4711"] },
            "00404005": { "vr": "DT", "Value": ["20260401083000+0200"] },
            "00404025": { "vr": "SQ", "Value": [{ "00080100": { "vr": "SH", "Value": ["CT1"] },
                "00080104": { "vr": "LO", "Value": ["CT room 1"] } }] },
            "00404026": { "vr": "SQ", "Value": [{ "00080100": { "vr": "SH", "Value": ["CT"] } }] },
            "0040A370": { "vr": "SQ", "Value": [
                { "00080050": { "vr": "SH", "Value": ["A1"] }, "0020000D": { "vr": "UI", "Value": ["1.9"] } },
                { "00080050": { "vr": "SH", "Value": ["A2"] } }] },
            "00741000": { "vr": "CS", "Value": ["SCHEDULED"] },
            "00741200": { "vr": "CS", "Value": ["HIGH"] },
            "00741204": { "vr": "LO", "Value": ["Abdomen"] }
        }))
    }

    #[test]
    fn each_request_of_a_workitem_is_an_entry_with_its_step() {
        let entries = entries(&scheduled());
        let accessions: Vec<_> = entries
            .iter()
            .map(|entry| text(entry, Tag(0x0008, 0x0050)))
            .collect();
        assert_eq!(accessions, [Some("A1"), Some("A2")]);
        assert_eq!(text(&entries[0], Tag(0x0020, 0x000D)), Some("1.9"));
        assert_eq!(text(&entries[0], Tag(0x0010, 0x0020)), Some("4711"));
        assert_eq!(
            text(&entries[0], tags::REQUESTED_PROCEDURE_PRIORITY),
            Some("HIGH")
        );
        let step = items(&entries[0], STEPS).next().unwrap();
        for (tag, value) in [
            (Tag(0x0008, 0x0060), "CT"),
            (Tag(0x0040, 0x0001), "CT1"),
            (Tag(0x0040, 0x0010), "CT room 1"),
            (Tag(0x0040, 0x0002), "20260401"),
            (Tag(0x0040, 0x0003), "083000"),
            (Tag(0x0040, 0x0007), "Abdomen"),
            (tags::SCHEDULED_PROCEDURE_STEP_STATUS, "SCHEDULED"),
        ] {
            assert_eq!(text(step, tag), Some(value), "{tag:?}");
        }
        assert_eq!(
            text(step, tags::SCHEDULED_PROCEDURE_STEP_ID).map(str::len),
            Some(16)
        );
    }

    #[test]
    fn a_whole_entry_has_every_return_key_of_type_2() {
        let mut entry = entries(&scheduled()).remove(0);
        complete(&mut entry);
        for (tag, vr) in RETURNED {
            let element = element(&entry, tag).unwrap();
            assert_eq!(element["vr"], vr, "{tag:?}");
            assert_eq!(tag::vr(tag).to_string(), vr, "{tag:?}");
        }
        assert_eq!(text(&entry, Tag(0x0008, 0x0050)), Some("A1"));
    }

    #[test]
    fn steps_of_its_own_come_first_and_what_is_no_acquisition_is_left_out() {
        let mut own = scheduled();
        own.insert(
            tag::hex(STEPS),
            json!({ "vr": "SQ", "Value": [{ "00400009": { "vr": "SH", "Value": ["S1"] },
                "00080060": { "vr": "CS", "Value": ["MR"] } }] }),
        );
        let listed = entries(&own);
        let step = items(&listed[0], STEPS).next().unwrap();
        assert_eq!(text(step, tags::SCHEDULED_PROCEDURE_STEP_ID), Some("S1"));
        assert_eq!(text(step, Tag(0x0008, 0x0060)), Some("MR"));
        assert_eq!(text(step, Tag(0x0040, 0x0001)), Some("CT1"));
        let mut works = scheduled();
        works.insert(
            tag::hex(tags::INPUT_INFORMATION_SEQUENCE),
            json!({ "vr": "SQ", "Value": [{}] }),
        );
        assert!(entries(&works).is_empty());
        let mut done = scheduled();
        for (state, status) in [("COMPLETED", None), ("IN PROGRESS", Some("STARTED"))] {
            set(&mut done, tags::PROCEDURE_STEP_STATE, "CS", state);
            let listed = entries(&done);
            let step = listed.first().and_then(|entry| items(entry, STEPS).next());
            assert_eq!(
                step.and_then(|step| text(step, tags::SCHEDULED_PROCEDURE_STEP_STATUS)),
                status
            );
        }
    }
}
