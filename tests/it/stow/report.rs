//! What the answer says about each instance.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, SOP_CLASS, Syntax};

use super::{comments, failures, items};
use crate::support::multipart::{self, BOUNDARY};
use crate::support::prelude::*;

/// A file whose patient has this id.
fn with_patient_id(name: &Name, id: &str) -> DataSet {
    name.data_set()
        .set(DataSet::new().text(Tag(0x0010, 0x0020), VR::LO, id))
}

#[test]
fn a_success_names_class_instance_and_url() {
    let server = TestApp::start(None);
    for (number, (root, has_list)) in
        (1..).zip([("/dicom-web", false), ("/v1", false), ("/v2", true)])
    {
        let name = Name::new(20, number, 1);
        let mut item = json!({
            "00081150": { "vr": "UI", "Value": [SOP_CLASS] },
            "00081155": { "vr": "UI", "Value": [name.instance] },
            "00081190": { "vr": "UR", "Value": [format!("{}{root}{}", server.url(), name.path())] },
        });
        if has_list {
            item["00741048"] = json!({ "vr": "SQ" });
        }
        let mut wanted = json!({ "00081199": { "vr": "SQ", "Value": [item] } });
        if root == "/dicom-web" {
            let study = format!("{}{root}{}", server.url(), name.study_path());
            wanted["00081190"] = json!({ "vr": "UR", "Value": [study] });
        }
        let answer = server.store(root, [&name.small()]).expect(200);
        assert_eq!(answer.json(), wanted);
    }
}

#[test]
fn a_study_in_the_url_adds_its_url_and_refuses_other_studies() {
    on_each_index(|server| {
        for (number, root) in (21..).zip(["/dicom-web", "/v1", "/v2"]) {
            let (mine, other) = (Name::new(number, 1, 1), Name::new(number + 100, 1, 1));
            let target = format!("{root}{}", mine.study_path());
            let send = |files: &[&[u8]]| {
                server
                    .request("POST", &target)
                    .header("Content-Type", &multipart::content_type())
                    .body(multipart::body(files.iter().copied()))
                    .send()
            };
            let (mine, other) = (mine.small().bytes, other.small().bytes);
            let refused = send(&[&other]).expect(409);
            assert_eq!(failures(&refused), [Some(43264)]);
            // Type 2 in the standard: there without a value.
            let none = (root == "/dicom-web").then(|| json!({ "vr": "UR" }));
            assert_eq!(refused.json().get("00081190"), none.as_ref());
            assert!(comments(&refused, "00081198")[0].starts_with("DICOM100: (0020,000D) - "));

            let both = send(&[&other, &mine]).expect(202);
            let url = format!("{}{target}", server.url());
            assert_eq!(
                both.json()["00081190"],
                json!({ "vr": "UR", "Value": [url] })
            );
            assert_eq!(failures(&both), [Some(43264)]);
            assert_eq!(items(&both.json(), "00081199").len(), 1);
        }
        // A study UID ends with blanks in some clients.
        let padded = Name::new(30, 1, 1);
        server
            .request("POST", &format!("/v2{}%20", padded.study_path()))
            .header("Content-Type", "application/dicom")
            .body(padded.small().bytes)
            .send()
            .expect(200);
    });
}

#[test]
fn the_same_bytes_again_are_a_success_of_the_standard() {
    on_each_index(|server| {
        let name = Name::new(31, 1, 1);
        let (first, other) = (
            name.small(),
            name.file(&with_patient_id(&name, "P2"), Syntax::ExplicitLittle),
        );
        server.store("/dicom-web", [&first]).expect(200);
        let again = server.store("/dicom-web", [&first]).expect(200);
        assert_eq!(items(&again.json(), "00081199").len(), 1);
        let refused = server.store("/dicom-web", [&other]).expect(409);
        assert_eq!(failures(&refused), [Some(0x0111)]);
        assert!(comments(&refused, "00081198")[0].contains("other bytes"));
        let twice = Name::new(32, 1, 1).small();
        let answer = server.store("/dicom-web", [&twice, &twice, &other]);
        assert_eq!(failures(&answer.expect(202)), [Some(0x0111)]);
        assert_eq!(server.stored(&name), Some(first.bytes));
        server.fsck();
    });
}

#[test]
fn the_same_instance_again_is_a_failure_of_the_dicom_service() {
    on_each_index(|server| {
        for (number, root) in (33..).zip(["/v1", "/v2", "/v1.0-prerelease"]) {
            let name = Name::new(number, 1, 1);
            let first = name.small();
            server.store(root, [&first]).expect(200);
            let refused = server.store(root, [&first]).expect(409);
            assert_eq!(failures(&refused), [Some(45070)]);
            assert!(!comments(&refused, "00081198").is_empty());
            let (fresh, again) = (Name::new(number, 1, 2).small(), &first);
            let both = server.store(root, [&fresh, again, &fresh]).expect(202);
            assert_eq!(failures(&both), [Some(45070), Some(45070)]);
            assert_eq!(items(&both.json(), "00081199").len(), 1);
        }
    });
}

#[test]
fn after_a_delete_an_instance_can_be_stored_at_once() {
    on_each_index(|server| {
        for (number, root) in (36..).zip(["/dicom-web", "/v1", "/v2"]) {
            let name = Name::new(number, 1, 1);
            let (first, second) = (
                name.small(),
                name.file(&with_patient_id(&name, "P2"), Syntax::ExplicitLittle),
            );
            server.store(root, [&first]).expect(200);
            let target = format!("{root}{}", name.path());
            server.request("DELETE", &target).send().expect(204);
            server.store(root, [&second]).expect(200);
            assert_eq!(server.stored(&name), Some(second.bytes));
        }
        server.fsck();
    });
}

#[test]
fn a_patient_id_is_required_by_the_dicom_service_alone() {
    on_each_index(|server| {
        let (absent, empty) = (Name::new(40, 1, 1), Name::new(40, 1, 2));
        let absent = absent.file(
            &absent.data_set().without(Tag(0x0010, 0x0020)),
            Syntax::ExplicitLittle,
        );
        let empty_file = empty.file(&with_patient_id(&empty, ""), Syntax::ExplicitLittle);

        let v1 = server.store("/v1", [&absent, &empty_file]).expect(409);
        assert_eq!(failures(&v1), [Some(43264), Some(43264)]);
        assert!(comments(&v1, "00081198")[0].starts_with("DICOM100: (0010,0020) - "));

        let v2 = server.store("/v2", [&absent, &empty_file]).expect(202);
        assert_eq!(failures(&v2), [Some(43264)]);
        let stored = items(&v2.json(), "00081199");
        assert_eq!(stored[0]["00081196"]["Value"][0], 1);
        assert!(comments(&v2, "00081199")[0].starts_with("DICOM100: (0010,0020) - "));

        let delete = server.request("DELETE", &format!("/v2{}", empty.path()));
        delete.send().expect(204);
        let standard = server.store("/dicom-web", [&absent, &empty_file]);
        assert_eq!(items(&standard.expect(200).json(), "00081199").len(), 2);
    });
}

#[test]
fn a_bad_indexed_attribute_is_refused_by_v1_and_told_by_v2() {
    on_each_index(|server| {
        let name = Name::new(41, 1, 1);
        let bad_date =
            name.data_set()
                .set(DataSet::new().text(Tag(0x0008, 0x0020), VR::DA, "2020-01-01"));
        let file = name.file(&bad_date, Syntax::ExplicitLittle);
        let v1 = server.store("/v1", [&file]).expect(409);
        assert_eq!(failures(&v1), [Some(43264)]);
        assert!(comments(&v1, "00081198")[0].starts_with("DICOM100: (0008,0020) - "));

        let v2 = server.store("/v2", [&file]).expect(202);
        let stored = items(&v2.json(), "00081199");
        assert_eq!(stored[0]["00081196"]["Value"][0], 1);
        assert!(comments(&v2, "00081199")[0].starts_with("DICOM100: (0008,0020) - "));
        let metadata = server.get(&format!("/v2{}/metadata", name.path())).json();
        assert_eq!(metadata[0].get("00080020"), None, "it is not shown");
        assert_eq!(
            server.stored(&name),
            Some(file.bytes),
            "the file is untouched"
        );
    });
}

#[test]
fn v1_looks_at_nothing_but_indexed_attributes() {
    let server = TestApp::start(None);
    let name = Name::new(42, 1, 1);
    // Patient's Weight is no number; v2 looks at every element, at every depth.
    let weight = DataSet::new().text(Tag(0x0010, 0x1030), VR::DS, "heavy");
    let nested = name.data_set().set(DataSet::new().items(
        Tag(0x0008, 0x1110),
        stowage::dicom::testing::Lengths::Undefined,
        vec![weight],
    ));
    let file = name.file(&nested, Syntax::ExplicitLittle);
    let v1 = server.store("/v1", [&file]).expect(200);
    assert_eq!(items(&v1.json(), "00081199")[0].get("00741048"), None);
    let delete = server.request("DELETE", &format!("/v1{}", name.path()));
    delete.send().expect(204);
    let v2 = server.store("/v2", [&file]).expect(202);
    assert!(comments(&v2, "00081199")[0].starts_with("DICOM100: (0010,1030) - "));
}

#[test]
fn v2_warns_of_every_implicit_vr_file() {
    let server = TestApp::start(None);
    for (number, (root, status)) in (43..).zip([("/dicom-web", 200), ("/v1", 200), ("/v2", 202)]) {
        let name = Name::new(number, 1, 1);
        let file = name.file(&name.data_set(), Syntax::ImplicitLittle);
        let answer = server.store(root, [&file]).expect(status);
        let stored = items(&answer.json(), "00081199");
        let warning = stored[0]["00081196"]["Value"][0].as_u64();
        assert_eq!(warning, (root == "/v2").then_some(45063));
    }
}

#[test]
fn missing_identifiers_are_named() {
    let server = TestApp::start(None);
    for (number, tag) in (46..).zip([
        Tag(0x0020, 0x000D),
        Tag(0x0020, 0x000E),
        Tag(0x0008, 0x0018),
        Tag(0x0008, 0x0016),
    ]) {
        for root in ["/dicom-web", "/v1", "/v2"] {
            let name = Name::new(number, 1, 1);
            let file = name.file(&name.data_set().without(tag), Syntax::ExplicitLittle);
            let answer = server.store(root, [&file]).expect(409);
            assert_eq!(failures(&answer), [Some(43264)], "{root} {tag}");
            let start = format!("DICOM100: ({:04X},{:04X}) - ", tag.0, tag.1);
            let comment = &comments(&answer, "00081198")[0];
            assert!(comment.starts_with(&start), "{comment}");
        }
    }
}

#[test]
fn identifiers_that_are_no_uids_are_named() {
    let server = TestApp::start(None);
    let long = "1".repeat(65);
    let uids = [
        "../../etc/passwd",
        "1.2/3",
        "1.2\\1.3",
        &long,
        "1.2.",
        "a.b",
        "1.2\u{0}3",
    ];
    for root in ["/dicom-web", "/v1", "/v2"] {
        for uid in uids {
            for tag in [
                Tag(0x0020, 0x000D),
                Tag(0x0020, 0x000E),
                Tag(0x0008, 0x0018),
            ] {
                let name = Name::new(50, 1, 1);
                let data_set = name.data_set().set(DataSet::new().text(tag, VR::UI, uid));
                let file = name.file(&data_set, Syntax::ExplicitLittle);
                let answer = server.store(root, [&file]).expect(409);
                assert_eq!(failures(&answer), [Some(43264)], "{root} {tag} {uid:?}");
                let start = format!("DICOM100: ({:04X},{:04X}) - ", tag.0, tag.1);
                let comment = &comments(&answer, "00081198")[0];
                assert!(comment.starts_with(&start), "{comment}");
            }
        }
    }
    assert!(server.blob_files().is_empty(), "{:?}", server.blob_files());
}

#[test]
fn what_is_no_dicom_file_is_told_without_uids() {
    let server = TestApp::start(None);
    let files: [&[u8]; 3] = [b"", b"hello", b"\x89PNG\r\n\x1a\n and so on"];
    for (root, sequence, reason) in [
        ("/dicom-web", "0008119A", 0xC000),
        ("/v1", "00081198", 43264),
        ("/v2", "00081198", 43264),
    ] {
        let good = Name::new(51, u32::from(root == "/v2"), u32::from(root == "/v1"));
        let good = good.small().bytes;
        let sent = [files[0], files[1], good.as_slice(), files[2]];
        for (sent, status, stored) in [(sent.as_slice(), 202, 1), (&files, 409, 0)] {
            let answer = server
                .request("POST", &format!("{root}/studies"))
                .header("Content-Type", &multipart::content_type())
                .body(multipart::body(sent.iter().copied()))
                .send()
                .expect(status);
            let report = answer.json();
            assert_eq!(items(&report, "00081199").len(), stored);
            let failed = items(&report, sequence);
            assert_eq!(failed.len(), 3, "{root}: {report}");
            for item in failed {
                assert_eq!(item["00081197"]["Value"][0], reason);
                assert_eq!(item.get("00081155"), None);
                assert_eq!(item.get("00081150"), None);
            }
            assert!(!comments(&answer, sequence).is_empty());
        }
    }
}

#[test]
fn a_request_without_a_part_has_nothing_to_report() {
    let server = TestApp::start(None);
    let closed = format!("--{BOUNDARY}--\r\n");
    for (root, status) in [("/dicom-web", 400), ("/v1", 204), ("/v2", 204)] {
        for body in [closed.as_str(), ""] {
            let answer = server
                .request("POST", &format!("{root}/studies"))
                .header("Content-Type", &multipart::content_type())
                .body(body)
                .send()
                .expect(status);
            assert_eq!(answer.body.is_empty(), status == 204);
        }
    }
}

#[test]
fn an_empty_body_is_an_empty_part() {
    let server = TestApp::start(None);
    for root in ["/dicom-web", "/v1", "/v2"] {
        let answer = server
            .request("POST", &format!("{root}/studies"))
            .header("Content-Type", "application/dicom")
            .body("")
            .send()
            .expect(409);
        let report = answer.json();
        let failed = [items(&report, "00081198"), items(&report, "0008119A")].concat();
        assert_eq!(failed.len(), 1, "{report}");
    }
}

#[test]
fn parts_before_the_cut_of_a_broken_body_are_stored_and_the_cut_is_told() {
    on_each_index(|server| {
        for (number, root) in (60..).zip(["/dicom-web", "/v1", "/v2"]) {
            let (first, second) = (Name::new(number, 1, 1), Name::new(number, 1, 2));
            let whole = multipart::body([
                first.small().bytes.as_slice(),
                second.small().bytes.as_slice(),
            ]);
            let cut = &whole[..whole.len() - 100];
            let answer = server
                .request("POST", &format!("{root}/studies"))
                .header("Content-Type", &multipart::content_type())
                .body(cut)
                .send()
                .expect(202);
            let report = answer.json();
            assert_eq!(items(&report, "00081199").len(), 1, "{report}");
            let failed = items(&report, "00081198").len() + items(&report, "0008119A").len();
            assert_eq!(failed, 1, "{report}");
            assert!(server.stored(&first).is_some());
            assert_eq!(server.stored(&second), None);
            // Nothing complete at all.
            let answer = server
                .request("POST", &format!("{root}/studies"))
                .header("Content-Type", &multipart::content_type())
                .body(&whole[..20])
                .send();
            assert!((400..500).contains(&answer.status), "{}", answer.status);
        }
        server.fsck();
    });
}
