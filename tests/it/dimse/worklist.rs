//! Modality worklist: scheduled procedure steps of workitems, as modalities ask for them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{dcmtk, gateway_with, outcome};
use crate::support::python;
use crate::support::server::{Server, run};

/// A workitem that a modality shall do.
fn scheduled(patient: (&str, &str), station: (&str, &str), start: &str) -> Value {
    let code = |value: &str| {
        json!({ "00080100": { "vr": "SH", "Value": [value] }, "00080102": { "vr": "SH", "Value": ["99TEST"] },
            "00080104": { "vr": "LO", "Value": [format!("{value} of the house")] } })
    };
    json!({
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": patient.0 }] },
        "00100020": { "vr": "LO", "Value": [patient.1] },
        "00404005": { "vr": "DT", "Value": [start] },
        "00404025": { "vr": "SQ", "Value": [code(station.0)] },
        "00404026": { "vr": "SQ", "Value": [code(station.1)] },
        "00404041": { "vr": "CS", "Value": ["READY"] },
        "0040A370": { "vr": "SQ", "Value": [{ "00080050": { "vr": "SH", "Value": ["A1"] },
            "0020000D": { "vr": "UI", "Value": ["1.2.3.77"] } }] },
        "00741000": { "vr": "CS", "Value": ["SCHEDULED"] },
        "00741200": { "vr": "CS", "Value": ["HIGH"] },
        "00741202": { "vr": "LO", "Value": ["radiology"] },
        "00741204": { "vr": "LO", "Value": ["Thorax"] },
    })
}

fn create(server: &Server, uid: &str, item: &Value) {
    let target = format!("/dicom-web/workitems?{uid}");
    let request = server.request("POST", &target);
    let request = request.header("Content-Type", "application/dicom+json");
    request.body(json!([item]).to_string()).send().expect(201);
}

#[test]
fn scheduled_steps_are_listed_for_dcmtk_and_pynetdicom() {
    let own = tempfile::tempdir().expect("a folder");
    let peers = own.path().join("peers.json");
    let text = r#"[{"aeTitle": "CT1", "rights": ["read"]}, {"aeTitle": "FINDSCU"}, {"aeTitle": "WRITER", "rights": ["write"]},
        {"aeTitle": "LIMITED", "patients": ["P1"]}]"#;
    fs::write(&peers, text).expect("written");
    let (server, port) = gateway_with(&[("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text"))]);
    let adam = scheduled(("Adam^A", "P1"), ("CT1", "CT"), "20260401083000");
    create(&server, "1.2.77.1", &adam);
    let other = scheduled(("Böhm^B", "P2"), ("MR2", "MR"), "20260403101500");
    create(&server, "1.2.77.2", &other);
    // Of the same patient, but it works on images that are there.
    let mut works = adam;
    works["00404021"] =
        json!({ "vr": "SQ", "Value": [{ "0020000D": { "vr": "UI", "Value": ["1.2.3.77"] } }] });
    create(&server, "1.2.77.3", &works);
    let mut find = dcmtk("findscu");
    find.args(["-W", "-aec", "STOWAGE", "-k", "PatientName"]);
    find.args(["-k", "ScheduledProcedureStepSequence[0].Modality=CT"]);
    find.args([
        "-k",
        "ScheduledProcedureStepSequence[0].ScheduledStationAETitle",
    ]);
    let (well, printed) = outcome(find.args(["127.0.0.1", &port]));
    let names = printed.matches("(0010,0010) PN [Adam^A").count();
    assert!(well && names == 1 && !printed.contains("MR2"), "{printed}");
    let station = "(0040,0001) AE [CT1";
    assert!(printed.contains(station), "{printed}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pynetdicom_worklist.py");
    let mut client = Command::new(python::interpreter());
    let printed = run(client.arg(script).arg(&port));
    assert!(printed.contains("well"), "{printed}");
}
