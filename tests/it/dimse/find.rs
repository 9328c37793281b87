//! C-FIND: dcmtk's findscu beside QIDO-RS.

use std::collections::BTreeSet;
use std::fs;

use dicom_core::{Tag, VR};
use serde_json::Value;
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use super::peer::Peer;
use super::{dcmtk, folder, gateway, gateway_with, outcome};
use crate::support::dicom::Name;
use crate::support::server::Server;

const STUDY_ROOT: &str = "1.2.840.10008.5.1.4.1.2.2.1";

/// Three studies of two patients, with names in three scripts.
fn fill(server: &Server) {
    let people = [
        (1, "P1", "Müller^Änne", "20200101", "CT"),
        (2, "P1", "Müller^Änne", "20210615", "MR"),
        (3, "P2", "Yamada^Tarou=山田^太郎", "20211231", "CT"),
    ];
    let files: Vec<BuiltFile> = people
        .iter()
        .flat_map(|(study, id, name, date, modality)| {
            (1..=2).map(move |instance| {
                let own = DataSet::new()
                    .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
                    .text(Tag(0x0008, 0x0020), VR::DA, date)
                    .text(Tag(0x0008, 0x0060), VR::CS, modality)
                    .text(Tag(0x0008, 0x0050), VR::SH, &format!("A{study}"))
                    .text(Tag(0x0010, 0x0010), VR::PN, name)
                    .text(Tag(0x0010, 0x0020), VR::LO, id)
                    .text(Tag(0x0020, 0x0013), VR::IS, &instance.to_string());
                let uids = Name::new(*study, 1, instance);
                uids.file(&uids.data_set().set(own), Syntax::ExplicitLittle)
            })
        })
        .collect();
    server.store("/dicom-web", &files).expect(200);
}

/// Runs findscu and returns what it wrote of each result, as dcmdump prints it.
fn found(server: &Server, port: &str, arguments: &[&str]) -> (Vec<String>, String) {
    found_by(server, port, arguments, &[])
}

/// The same, with the keys of files beside those of the arguments.
fn found_by(
    server: &Server,
    port: &str,
    arguments: &[&str],
    files: &[&str],
) -> (Vec<String>, String) {
    let out = folder(server).join("found");
    drop(fs::remove_dir_all(&out));
    fs::create_dir(&out).expect("a folder");
    let mut find = dcmtk("findscu");
    find.args(["-v", "-aec", "STOWAGE", "-X", "-od"]).arg(&out);
    find.args(arguments).args(["127.0.0.1", port]).args(files);
    let (_, printed) = outcome(&mut find);
    let mut files: Vec<_> = fs::read_dir(&out).expect("a folder").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::path);
    let dump = |file: &std::fs::DirEntry| {
        let mut dump = dcmtk("dcmdump");
        outcome(dump.args(["-q", "+L"]).arg(file.path())).1
    };
    (files.iter().map(dump).collect(), printed)
}

/// The value of a tag in what dcmdump printed.
fn value<'a>(dump: &'a str, tag: &str) -> Option<&'a str> {
    let line = dump.lines().find(|line| line.starts_with(tag))?;
    let (_, rest) = line.split_once('[')?;
    rest.split_once(']').map(|(value, _)| value.trim_end())
}

fn qido(server: &Server, target: &str, tag: &str) -> BTreeSet<String> {
    let found: Value = server
        .get(&format!("/dicom-web/{target}"))
        .expect(200)
        .json();
    let rows = found.as_array().expect("a list");
    rows.iter()
        .filter_map(|row| row[tag]["Value"][0].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn every_way_of_matching_finds_what_qido_finds() {
    let (server, port) = gateway();
    fill(&server);
    for (key, value_of, query) in [
        ("PatientID", "P1", "PatientID=P1"),
        ("PatientID", "P*", "PatientID=P*"),
        ("PatientID", "P?", "PatientID=P?"),
        ("PatientID", "P3", "PatientID=P3"),
        ("PatientName", "m*", "PatientName=m*"),
        ("PatientName", "MULLER^ANNE", "PatientName=MULLER%5EANNE"),
        ("StudyDate", "20210101-", "StudyDate=20210101-"),
        (
            "StudyDate",
            "20200101-20210615",
            "StudyDate=20200101-20210615",
        ),
        ("StudyDate", "-20200101", "StudyDate=-20200101"),
        ("ModalitiesInStudy", "CT", "ModalitiesInStudy=CT"),
        ("ModalitiesInStudy", "CT\\MR", "ModalitiesInStudy=CT%5CMR"),
        ("AccessionNumber", "A2", "AccessionNumber=A2"),
        (
            "StudyInstanceUID",
            "1.2.3.1\\1.2.3.3",
            "StudyInstanceUID=1.2.3.1,1.2.3.3",
        ),
        ("StudyDescription", "", ""),
    ] {
        let key = format!("{key}={value_of}");
        let (results, printed) = found(
            &server,
            &port,
            &[
                "-S",
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                "StudyInstanceUID",
                "-k",
                &key,
            ],
        );
        let found: BTreeSet<String> = results
            .iter()
            .filter_map(|dump| value(dump, "(0020,000d)").map(str::to_owned))
            .collect();
        let wanted = qido(&server, &format!("studies?{query}"), "0020000D");
        assert_eq!(found, wanted, "{key}\n{printed}");
    }
}

#[test]
fn answers_have_what_was_asked_in_utf_8_or_the_set_of_the_request() {
    let (server, port) = gateway();
    fill(&server);
    let keys = [
        "-S",
        "-k",
        "QueryRetrieveLevel=STUDY",
        "-k",
        "StudyInstanceUID=1.2.3.3",
        "-k",
        "PatientName",
        "-k",
        "PatientID",
        "-k",
        "NumberOfStudyRelatedInstances",
        "-k",
        "StudyID",
        "-k",
        "InstanceAvailability",
    ];
    let (results, printed) = found(&server, &port, &keys);
    let [dump] = results.as_slice() else {
        panic!("{printed}");
    };
    assert_eq!(value(dump, "(0008,0005)"), Some("ISO_IR 192"));
    assert_eq!(value(dump, "(0010,0010)"), Some("Yamada^Tarou=山田^太郎"));
    assert_eq!(value(dump, "(0020,1208)"), Some("2"));
    assert_eq!(value(dump, "(0008,0054)"), Some("STOWAGE"));
    assert_eq!(value(dump, "(0008,0056)"), Some("ONLINE"));
    assert_eq!(value(dump, "(0008,0052)"), Some("STUDY"));
    assert!(
        dump.contains("(0020,0010) SH (no value available)"),
        "{dump}"
    );
    // A request in Latin-1 finds and gets Latin-1; what that lacks comes in UTF-8.
    let file = folder(&server).join("query.dump");
    let text = b"(0008,0005) CS [ISO_IR 100]\n(0008,0052) CS [STUDY]\n(0010,0010) PN [M\xfcller*]\n(0020,000d) UI\n";
    fs::write(&file, text).expect("written");
    let query = folder(&server).join("query.dcm");
    let (well, printed) = outcome(dcmtk("dump2dcm").args([&file, &query]));
    assert!(well, "{printed}");
    let query = query.to_str().expect("a text");
    let (results, printed) = found_by(&server, &port, &["-S"], &[query]);
    assert_eq!(results.len(), 2, "{printed}");
    assert_eq!(value(&results[0], "(0008,0005)"), Some("ISO_IR 100"));
    // What the set of the request lacks comes in UTF-8.
    let keys = [
        "-S",
        "-k",
        "PatientName=*",
        "-k",
        "StudyInstanceUID=1.2.3.3",
    ];
    let (results, printed) = found_by(&server, &port, &keys, &[query]);
    let [dump] = results.as_slice() else {
        panic!("{printed}");
    };
    assert_eq!(value(dump, "(0008,0005)"), Some("ISO_IR 192"));
    assert_eq!(value(dump, "(0010,0010)"), Some("Yamada^Tarou=山田^太郎"));
}

#[test]
fn each_level_of_both_models_is_answered_and_lower_ones_need_the_keys_above() {
    let (server, port) = gateway();
    fill(&server);
    let patients = [
        "-P",
        "-k",
        "QueryRetrieveLevel=PATIENT",
        "-k",
        "PatientID",
        "-k",
        "PatientName",
    ];
    let (results, printed) = found(&server, &port, &patients);
    let ids: BTreeSet<_> = results
        .iter()
        .filter_map(|d| value(d, "(0010,0020)"))
        .collect();
    assert_eq!((results.len(), ids.len()), (2, 2), "{printed}");
    for (model, keys, wanted) in [
        ("-P", &["QueryRetrieveLevel=STUDY", "PatientID=P1"][..], 2),
        (
            "-S",
            &[
                "QueryRetrieveLevel=SERIES",
                "StudyInstanceUID=1.2.3.1",
                "Modality",
            ],
            1,
        ),
        (
            "-S",
            &[
                "QueryRetrieveLevel=IMAGE",
                "StudyInstanceUID=1.2.3.1",
                "SeriesInstanceUID=1.2.3.1.1",
                "SOPInstanceUID",
            ],
            2,
        ),
    ] {
        let mut arguments = vec![model];
        arguments.extend(keys.iter().flat_map(|key| ["-k", key]));
        let (results, printed) = found(&server, &port, &arguments);
        assert_eq!(results.len(), wanted, "{keys:?}\n{printed}");
    }
    for keys in [
        &["QueryRetrieveLevel=SERIES", "Modality=CT"][..],
        &["QueryRetrieveLevel=PATIENT", "PatientID"],
        &["QueryRetrieveLevel=NONE"],
        &["PatientID=P1"],
        &["QueryRetrieveLevel=STUDY", "StudyDate=tomorrow"],
    ] {
        let mut arguments = vec!["-S"];
        arguments.extend(keys.iter().flat_map(|key| ["-k", key]));
        let (results, printed) = found(&server, &port, &arguments);
        assert!(results.is_empty(), "{keys:?}");
        assert!(
            printed.contains("0xa900") || printed.contains("DoesNotMatchSOPClass"),
            "{keys:?}\n{printed}"
        );
    }
}

#[test]
fn a_peer_finds_only_its_patients_and_a_cancel_ends_the_search() {
    let own = tempfile::tempdir().expect("a folder");
    let peers = own.path().join("peers.json");
    fs::write(
        &peers,
        r#"[{"aeTitle": "FINDSCU", "patients": ["P2"]}, {"aeTitle": "RAW"}]"#,
    )
    .expect("written");
    let (server, port) = gateway_with(&[("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text"))]);
    fill(&server);
    let all = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID"];
    let (results, printed) = found(&server, &port, &all);
    assert_eq!(results.len(), 1, "{printed}");
    assert_eq!(value(&results[0], "(0010,0020)"), Some("P2"));
    // The cancel is there before the search begins, so it is heard before the first result.
    let mut peer = Peer::associate(&port, &[STUDY_ROOT]);
    let identifier = b"\x08\0\x52\0CS\x06\0STUDY ";
    let mut bytes = super::peer::command(1, 0x20, STUDY_ROOT, Some(""));
    bytes.extend(super::peer::pdata(1, 2, identifier));
    bytes.extend(super::peer::cancel(1));
    peer.send(&bytes);
    loop {
        match peer.status() {
            // The data set of a result.
            0xFF00 => drop(peer.unit()),
            status => {
                assert!([0xFE00, 0].contains(&status), "{status:x}");
                break;
            }
        }
    }
    peer.release();
}
