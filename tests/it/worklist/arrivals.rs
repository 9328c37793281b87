//! Workitems made of what arrives: a rule makes one when a study is quiet.

use std::io::Write;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, Syntax};
use tempfile::NamedTempFile;

use crate::crash_matrix::{forget_leases, points::ARRIVALS};
use crate::support::prelude::*;
use crate::support::server::on_each_index_process;

const RULES: &str = r#"[
    {"name": "liver", "quietSeconds": 1, "modalities": ["CT"],
     "workitem": {"00741204": {"vr": "LO", "Value": ["Segment the liver"]}}},
    {"name": "triage", "quietSeconds": 1, "modalities": ["MR", "US"]}
]"#;

fn rules() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(RULES.as_bytes()).unwrap();
    file
}

fn store(server: &Deployment, name: &Name, modality: &str) {
    let data_set = name
        .data_set()
        .set(DataSet::new().text(Tag(0x0008, 0x0060), VR::CS, modality))
        .set(DataSet::new().text(Tag(0x0010, 0x0020), VR::LO, "P7"));
    server
        .store(
            "/dicom-web",
            [&name.file(&data_set, Syntax::ExplicitLittle)],
        )
        .expect(200);
}

fn workitems(server: &Deployment) -> Vec<Value> {
    let found = server
        .get("/dicom-web/workitems?includefield=all")
        .expect(200)
        .json();
    found.as_array().cloned().unwrap_or_default()
}

fn of_study<'w>(all: &'w [Value], name: &Name) -> Vec<&'w Value> {
    let mine = |item: &&Value| item["0020000D"]["Value"][0] == name.study.as_str();
    all.iter().filter(mine).collect()
}

#[test]
fn a_quiet_study_makes_one_workitem_of_each_rule_that_fits() {
    let rules = rules();
    let path = rules.path().to_str().unwrap().to_owned();
    on_each_index_process(&[], |server| {
        // What was there before the rules makes none.
        let before = Name::new(1800, 1, 1);
        store(server, &before, "CT");
        server.terminate();
        server.wait();
        server.set("STOWAGE_WORKITEM_RULES", Some(&path));
        server.restart();
        let [one, two] = [1, 2].map(|instance| Name::new(1801, 1, instance));
        let other = Name::new(1802, 1, 1);
        let unfit = Name::new(1803, 1, 1);
        store(server, &one, "CT");
        store(server, &two, "CT");
        store(server, &unfit, "DX");
        store(server, &other, "US");
        wait_until("both are made", || workitems(server).len() == 2);
        let all = workitems(server);
        let mine = of_study(&all, &one);
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0]["00741204"]["Value"][0], "Segment the liver");
        assert_eq!(mine[0]["00741000"]["Value"][0], "SCHEDULED");
        assert_eq!(mine[0]["00404041"]["Value"][0], "READY");
        assert_eq!(mine[0]["00100020"]["Value"][0], "P7");
        let uid = mine[0]["00080018"]["Value"][0].as_str().unwrap();
        let whole = server
            .get(&format!("/dicom-web/workitems/{uid}"))
            .expect(200)
            .json();
        let input = &whole[0]["00404021"]["Value"][0];
        assert_eq!(input["0020000E"]["Value"], json!([one.series]));
        assert_eq!(input["00081199"]["Value"].as_array().map(Vec::len), Some(2));
        assert_eq!(of_study(&all, &other)[0]["00741204"]["Value"][0], "triage");
        // What comes later into the same study makes no second one, also after a restart.
        store(server, &Name::new(1801, 2, 1), "CT");
        server.kill();
        server.wait();
        forget_leases(server);
        server.restart();
        let last = Name::new(1804, 1, 1);
        store(server, &last, "MR");
        wait_until("that of the last study is made", || {
            !of_study(&workitems(server), &last).is_empty()
        });
        wait_until("all are decided", || {
            let all = workitems(server);
            all.len() == 3 && of_study(&all, &one).len() == 1
        });
    });
}

#[test]
fn a_crash_while_one_is_made_makes_it_once() {
    let rules = rules();
    let path = rules.path().to_str().unwrap().to_owned();
    for point in ARRIVALS {
        let fault = format!("{point}:1");
        let settings = [
            ("STOWAGE_WORKITEM_RULES", path.as_str()),
            ("STOWAGE_FAULT", fault.as_str()),
        ];
        on_each_index_process(&settings, |server| {
            let name = Name::new(1810, 1, 1);
            store(server, &name, "CT");
            server.wait();
            server.set("STOWAGE_FAULT", None);
            forget_leases(server);
            server.restart();
            wait_until("it is made", || workitems(server).len() == 1);
            server.fsck();
        });
    }
}

#[test]
fn rules_that_cannot_be_read_keep_the_server_from_starting() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(br#"[{"name": "a", "quietSeconds": 0}]"#)
        .unwrap();
    let server = Server::with(&[]);
    let path = file.path().to_str().unwrap();
    let told = server.command_with(
        &[
            ("STOWAGE_WORKITEM_RULES", path),
            ("STOWAGE_LISTEN", "127.0.0.1:0"),
        ],
        &["serve"],
    );
    assert!(!told.status.success());
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        text.contains("quietSeconds of a must be 1 to 86400"),
        "{text}"
    );
}
