//! The worklist over HTTP: PS3.18 chapter 11 and dicom-service §14, on both indexes.

mod arrivals;
mod contract;
mod events;
mod performers;
mod scheduled;
mod scoped;
mod search;
mod standard;

use crate::support::prelude::*;

/// UID of a workitem from a number.
fn uid(number: u32) -> String {
    format!("1.2.840.99.{number}")
}

/// A code.
fn code(value: &str) -> Value {
    json!({
        "00080100": { "vr": "SH", "Value": [value] },
        "00080102": { "vr": "SH", "Value": ["99TEST"] },
        "00080104": { "vr": "LO", "Value": [format!("Meaning of {value}")] },
    })
}

fn sequence(items: &[Value]) -> Value {
    json!({ "vr": "SQ", "Value": items })
}

/// A workitem as the DICOM service's pages want it, for a patient.
fn workitem(uid: &str, patient: &str) -> Value {
    json!({
        "00080018": { "vr": "UI", "Value": [uid] },
        "00081080": { "vr": "LO" },
        "00081084": { "vr": "SQ" },
        "00081195": { "vr": "UI" },
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": format!("{patient}^Ünal") }] },
        "00100020": { "vr": "LO", "Value": [patient] },
        "00100021": { "vr": "LO" },
        "00100024": { "vr": "SQ" },
        "00100030": { "vr": "DA", "Value": ["19700131"] },
        "00100040": { "vr": "CS", "Value": ["O"] },
        "00101002": { "vr": "SQ" },
        "00380010": { "vr": "LO" },
        "00380014": { "vr": "SQ" },
        "00400400": { "vr": "LT" },
        "00404005": { "vr": "DT", "Value": ["20260401083000"] },
        "00404018": sequence(&[code("SEG")]),
        "00404021": { "vr": "SQ" },
        "00404025": sequence(&[code("STATION1")]),
        "00404026": { "vr": "SQ" },
        "00404027": { "vr": "SQ" },
        "00404041": { "vr": "CS", "Value": ["READY"] },
        "0040A370": { "vr": "SQ" },
        "00741002": { "vr": "SQ" },
        "00741200": { "vr": "CS", "Value": ["MEDIUM"] },
        "00741204": { "vr": "LO", "Value": ["Segment the liver"] },
        "00741210": { "vr": "SQ" },
        "00741216": { "vr": "SQ" },
    })
}

/// The least that `/dicom-web` makes a workitem of; its UID is given in the URL.
pub(crate) fn short() -> String {
    json!({
        "00404005": { "vr": "DT", "Value": ["20260401083000"] },
        "00404041": { "vr": "CS", "Value": ["READY"] },
        "00741200": { "vr": "CS", "Value": ["HIGH"] },
        "00741204": { "vr": "LO", "Value": ["Segment"] },
    })
    .to_string()
}

/// As [`short`], for a study and a patient.
pub(crate) fn short_for(study: &str, patient: &str) -> String {
    let mut item: Value = serde_json::from_str(&short()).unwrap();
    item["0020000D"] = json!({ "vr": "UI", "Value": [study] });
    item["00100020"] = json!({ "vr": "LO", "Value": [patient] });
    item.to_string()
}

/// The same with some attributes in place of others.
fn with(mut item: Value, changes: &Value) -> Value {
    for (name, element) in changes.as_object().unwrap() {
        item[name] = element.clone();
    }
    item
}

fn send(server: &Deployment, method: &str, target: &str, body: &Value) -> Response {
    server
        .request(method, target)
        .accept("application/dicom+json")
        .header("Content-Type", "application/dicom+json")
        .body(json!([body]).to_string())
        .send()
}

fn create(server: &Deployment, root: &str, item: &Value) -> Response {
    send(server, "POST", &format!("{root}/workitems"), item)
}

fn change_state(
    server: &Deployment,
    root: &str,
    uid: &str,
    state: &str,
    transaction: &str,
) -> Response {
    let body = json!({
        "00081195": { "vr": "UI", "Value": [transaction] },
        "00741000": { "vr": "CS", "Value": [state] },
    });
    send(
        server,
        "PUT",
        &format!("{root}/workitems/{uid}/state"),
        &body,
    )
}

/// What a performer writes before it completes.
fn performed() -> Value {
    json!({
        "00741216": sequence(&[json!({
            "00404019": sequence(&[code("SEG")]),
            "00404028": sequence(&[code("STATION1")]),
            "00404033": sequence(&[json!({ "0020000D": { "vr": "UI", "Value": ["1.2.3"] } })]),
            "00404050": { "vr": "DT", "Value": ["20260401090000"] },
            "00404051": { "vr": "DT", "Value": ["20260401091500"] },
        })]),
    })
}

/// What a performer writes before it gives up.
fn given_up() -> Value {
    json!({
        "00741002": sequence(&[json!({
            "00404052": { "vr": "DT", "Value": ["20260401090000"] },
            "0074100E": sequence(&[code("110501")]),
        })]),
    })
}

/// A workitem as it is.
#[track_caller]
fn read(server: &Deployment, uid: &str) -> Value {
    let target = format!("/dicom-web/workitems/{uid}");
    let answer = server.get_as(&target, "application/dicom+json").expect(200);
    answer.json()[0].clone()
}

fn state(item: &Value) -> &str {
    item["00741000"]["Value"][0].as_str().unwrap()
}

/// UIDs that a search finds, ascending.
#[track_caller]
fn found(server: &Deployment, root: &str, query: &str) -> Vec<String> {
    let answer = server.get_as(
        &format!("{root}/workitems?{query}"),
        "application/dicom+json",
    );
    if answer.status == 204 {
        return Vec::new();
    }
    let answer = answer.expect(200).json();
    let items = answer.as_array().unwrap().iter();
    let uid = |item: &Value| item["00080018"]["Value"][0].as_str().unwrap().to_owned();
    let mut uids: Vec<String> = items.map(uid).collect();
    uids.sort();
    uids
}
