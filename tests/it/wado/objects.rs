//! Studies, series and instances as Part 10 files.

use std::collections::BTreeMap;
use std::process::Command;

use dicom_core::{Tag, VR};
use stowage::dicom::parse::{ParseOptions, parse};
use stowage::dicom::testing::{BuiltFile, DataSet, Lengths, Syntax};

use crate::support::dicom::noise;
use crate::support::multipart::parameter;
use crate::support::prelude::*;
use crate::support::python;
use crate::support::server::run;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const JPEG: Syntax = Syntax::Other("1.2.840.10008.1.2.4.50");
const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

/// A data set with values whose bytes differ between the syntaxes, nested ones and pixels too.
fn rich(name: &Name) -> DataSet {
    let item = DataSet::new()
        .text(Tag(0x0008, 0x1150), VR::UI, "1.2.840.10008.5.1.4.1.1.7")
        .us(Tag(0x0028, 0x0100), &[16])
        .items(
            Tag(0x0040, 0xA730),
            Lengths::Defined,
            vec![
                DataSet::new().bytes(Tag(0x0040, 0xA161), VR::FD, 2.5_f64.to_le_bytes()),
                DataSet::new(),
            ],
        );
    name.image(4, 6, 16, 2).set(
        DataSet::new()
            .text(Tag(0x0008, 0x0008), VR::CS, "ORIGINAL\\PRIMARY")
            .items(Tag(0x0008, 0x1140), Lengths::Undefined, vec![item])
            .text(Tag(0x0009, 0x0010), VR::LO, "STOWAGE TEST")
            .bytes(Tag(0x0009, 0x1001), VR::UN, noise("private", 10))
            .bytes(Tag(0x0018, 0x6028), VR::FD, 0.125_f64.to_le_bytes())
            .bytes(Tag(0x0018, 0x9074), VR::DT, *b"20200101120000")
            .bytes(Tag(0x0020, 0x9056), VR::SH, *b"1 ")
            .bytes(Tag(0x0028, 0x0009), VR::AT, [0x18, 0, 0x63, 0x10])
            .bytes(Tag(0x0066, 0x0016), VR::OF, noise("floats", 4000))
            .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise(&name.instance, 96)),
    )
}

fn encapsulated(name: &Name) -> DataSet {
    name.image(4, 6, 8, 2)
        .fragments(&[0, 108], &[&noise("one", 100), &noise("two", 50)])
}

/// One instance in each syntax, with its file.
fn one_of_each(study: u32) -> Vec<(Name, Syntax, BuiltFile)> {
    let syntaxes = [
        Syntax::ImplicitLittle,
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
        Syntax::Deflated,
        JPEG,
    ];
    (1..)
        .zip(syntaxes)
        .map(|(number, syntax)| {
            let name = Name::new(study, 1 + number % 2, number);
            let data_set = if syntax == JPEG {
                encapsulated(&name)
            } else {
                rich(&name)
            };
            let file = name.file(&data_set, syntax);
            (name, syntax, file)
        })
        .collect()
}

fn syntax_of(content_type: &str) -> String {
    parameter(content_type, "transfer-syntax").expect("a transfer syntax")
}

#[test]
fn any_transfer_syntax_means_the_stored_bytes() {
    on_each_index(|server| {
        let files = one_of_each(200);
        let stored = server.store("/dicom-web", files.iter().map(|(_, _, file)| file));
        stored.expect(200);
        for root in ROOTS {
            for (name, syntax, file) in &files {
                let target = format!("{root}{}", name.path());
                for accept in [
                    "application/dicom; transfer-syntax=*",
                    "application/dicom;transfer-syntax=\"*\"",
                    &format!("application/dicom; transfer-syntax={}", syntax.uid()),
                ] {
                    let answer = server.get_as(&target, accept).expect(200);
                    assert!(answer.body == file.bytes, "{target} {accept}");
                    assert!(answer.content_type().starts_with("application/dicom; "));
                    assert_eq!(syntax_of(answer.content_type()), syntax.uid());
                    let length = answer.header("content-length").map(str::parse);
                    assert_eq!(length, Some(Ok(file.bytes.len())));
                }
                for accept in [
                    "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
                    "multipart/related;transfer-syntax=*;type=application/dicom",
                    "multipart/related; type=application/dicom; transfer-syntax=\"*\"",
                ] {
                    let answer = server.get_as(&target, accept).expect(200);
                    let parts = answer.parts();
                    assert_eq!(parts.len(), 1);
                    assert!(parts[0].body == file.bytes, "{target} {accept}");
                    assert_eq!(syntax_of(parts[0].content_type()), syntax.uid());
                    assert_eq!(
                        parameter(answer.content_type(), "type").as_deref(),
                        Some("application/dicom")
                    );
                }
            }
        }
    });
}

#[test]
fn a_study_and_a_series_hold_each_instance_once() {
    on_each_index(|server| {
        let files = one_of_each(201);
        let other = Name::new(202, 1, 1).small();
        let stored = files.iter().map(|(_, _, file)| file).chain([&other]);
        server.store("/dicom-web", stored).expect(200);
        for root in ROOTS {
            let study = files[0].0.study_path();
            let series = files[0].0.series_path();
            for (path, wanted) in [(study, None), (series, Some(&files[0].0.series))] {
                let accept = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
                let answer = server.get_as(&format!("{root}{path}"), accept).expect(200);
                let mut got: Vec<(String, Vec<u8>)> = answer
                    .parts()
                    .into_iter()
                    .map(|part| (syntax_of(part.content_type()), part.body))
                    .collect();
                let mut expected: Vec<(String, Vec<u8>)> = files
                    .iter()
                    .filter(|(name, ..)| wanted.is_none_or(|series| *series == name.series))
                    .map(|(_, syntax, file)| (syntax.uid().to_owned(), file.bytes.clone()))
                    .collect();
                got.sort();
                expected.sort();
                assert!(got == expected, "{root}{path}");
            }
        }
    });
}

#[test]
fn uncompressed_files_are_converted_to_explicit_little_endian_and_say_the_same() {
    let server = Server::start(None);
    let files = one_of_each(203);
    let stored = server.store("/dicom-web", files.iter().map(|(_, _, file)| file));
    stored.expect(200);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut pairs = Vec::new();
    let native = files.iter().filter(|(_, syntax, _)| *syntax != JPEG);
    for (number, (name, syntax, file)) in native.enumerate() {
        let sent = folder.path().join(format!("{number}-sent.dcm"));
        std::fs::write(&sent, &file.bytes).expect("a file");
        let mut bodies: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        for root in ROOTS {
            let target = format!("{root}{}", name.path());
            for accept in [
                "application/dicom",
                "multipart/related; type=\"application/dicom\"",
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
            ] {
                let answer = server.get_as(&target, accept).expect(200);
                let (content_type, body) = single(&answer);
                assert_eq!(syntax_of(&content_type), EXPLICIT, "{syntax:?}");
                bodies.insert(body, format!("{target} {accept}"));
            }
        }
        assert_eq!(bodies.len(), 1, "{syntax:?}: {:?}", bodies.values());
        let (body, _) = bodies.pop_first().expect("one");
        let got = folder.path().join(format!("{number}-got.dcm"));
        std::fs::write(&got, body).expect("a file");
        pairs.extend([sent, got]);
    }
    run(Command::new(python::interpreter())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/same_data_set.py"
        ))
        .args(pairs));
}

/// Content type and body of the one object of an answer.
fn single(answer: &Response) -> (String, Vec<u8>) {
    if answer.content_type().starts_with("application/dicom") {
        return (answer.content_type().to_owned(), answer.body.clone());
    }
    let mut parts = answer.parts();
    assert_eq!(parts.len(), 1);
    let part = parts.remove(0);
    (part.content_type().to_owned(), part.body)
}

#[test]
fn sample_files_are_converted_and_say_the_same() {
    let server = Server::start(None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut pairs = Vec::new();
    let native = [
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "image_dfl.dcm",
        "liver_1frame.dcm",
        "reportsi.dcm",
        "rtplan.dcm",
        "chrH31.dcm",
    ];
    for sample in native.map(python::sample) {
        let bytes = std::fs::read(&sample).expect("a sample file");
        let answer = server
            .request("POST", "/dicom-web/studies")
            .header("Content-Type", "application/dicom")
            .body(bytes.clone())
            .send();
        assert_eq!(
            answer.status,
            200,
            "{}: {}",
            sample.display(),
            answer.text()
        );
        let report = answer.json();
        let url = report["00081199"]["Value"][0]["00081190"]["Value"][0]
            .as_str()
            .expect("a URL")
            .trim_start_matches(server.url())
            .to_owned();
        let stored = server.get_as(&url, "application/dicom; transfer-syntax=*");
        let stored = stored.expect(200).body;
        let layout = parse(&bytes, &ParseOptions::default())
            .expect("a file")
            .layout;
        if layout.part10 {
            assert!(stored == bytes, "{}", sample.display());
        } else {
            // What is no Part 10 file has meta information before the same data set.
            let start = usize::try_from(layout.dataset_offset).expect("small");
            assert!(stored.ends_with(&bytes[start..]), "{}", sample.display());
            assert_eq!(stored[128..132], *b"DICM");
        }
        let got = folder.path().join(sample.file_name().expect("a name"));
        let answer = server.get_as(&url, "application/dicom").expect(200);
        assert_eq!(syntax_of(answer.content_type()), EXPLICIT);
        std::fs::write(&got, answer.body).expect("a file");
        pairs.extend([sample, got]);
    }
    run(Command::new(python::interpreter())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/same_data_set.py"
        ))
        .args(pairs));
}

#[test]
fn anything_at_all_is_answered_as_multipart() {
    let server = TestApp::start(None);
    let files = one_of_each(204);
    let stored = server.store("/dicom-web", files.iter().map(|(_, _, file)| file));
    stored.expect(200);
    for root in ROOTS {
        for (name, syntax, file) in &files {
            let target = format!("{root}{}", name.path());
            let answers = [server.get(&target), server.request("GET", &target).send()];
            for answer in answers {
                let parts = answer.expect(200).parts();
                let (content_type, body) = (parts[0].content_type(), &parts[0].body);
                // The standard keeps Implicit VR and Big Endian off the web (PS3.18 §8.7.3.5.2).
                let converted = root == "/dicom-web"
                    && matches!(syntax, Syntax::ImplicitLittle | Syntax::ExplicitBig);
                if converted {
                    assert_eq!(syntax_of(content_type), EXPLICIT);
                } else {
                    assert_eq!(syntax_of(content_type), syntax.uid());
                    assert!(*body == file.bytes, "{target}");
                }
            }
        }
    }
}

#[test]
fn the_accept_parameter_outranks_the_header() {
    let server = TestApp::start(None);
    let name = Name::new(205, 1, 1);
    server.store("/v2", [&name.small()]).expect(200);
    let target = format!(
        "/dicom-web{}?accept=application%2Fdicom%3B%20transfer-syntax%3D*",
        name.path()
    );
    for accept in ["image/png", "multipart/related; type=\"application/dicom\""] {
        let answer = server.get_as(&target, accept).expect(200);
        assert!(answer.content_type().starts_with("application/dicom;"));
        assert_eq!(answer.body, name.small().bytes);
    }
}

#[test]
fn what_cannot_be_accepted_is_406_and_says_what_can_be_had() {
    let server = TestApp::start(None);
    let name = Name::new(206, 1, 1);
    let unreadable = Name::new(206, 1, 2);
    let other = name.image(2, 2, 8, 1).fragments(&[], &[&noise("x", 10)]);
    let other = unreadable.file(
        &other.set(DataSet::new().text(Tag(0x0008, 0x0018), VR::UI, &unreadable.instance)),
        Syntax::Other("1.2.3.4.5"),
    );
    server
        .store("/dicom-web", [&name.small(), &other])
        .expect(200);
    for root in ROOTS {
        for (path, accept) in [
            (name.path(), "image/png"),
            (name.path(), "application/json"),
            (name.path(), "multipart/related; type=\"image/jpeg\""),
            (name.study_path(), "application/dicom"),
            (name.series_path(), "application/dicom"),
            (
                name.path(),
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.2",
            ),
            (
                unreadable.path(),
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
            ),
            (
                unreadable.path(),
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90",
            ),
        ] {
            let answer = server.get_as(&format!("{root}{path}"), accept);
            assert_eq!(answer.status, 406, "{root}{path} {accept}");
            let body = answer.text();
            assert!(
                body.contains("application/dicom") && body.contains("transfer-syntax="),
                "{body}"
            );
        }
    }
}

#[test]
fn what_does_not_exist_is_404_and_what_is_no_uid_400() {
    on_each_index(|server| {
        let (name, other) = (Name::new(207, 1, 1), Name::new(208, 1, 1));
        server
            .store("/v2", [&name.small(), &other.small()])
            .expect(200);
        for root in ROOTS {
            for path in [
                "/studies/1.2.9".to_owned(),
                format!("{}/series/1.9", name.study_path()),
                format!("{}/instances/1.9", name.series_path()),
                // There, but elsewhere.
                format!("{}/series/{}", name.study_path(), other.series),
                format!("{}/instances/{}", name.series_path(), other.instance),
            ] {
                server.get(&format!("{root}{path}")).expect(404);
                server.get(&format!("{root}{path}/metadata")).expect(404);
            }
            let long = "1".repeat(65);
            for uid in ["a", "1.2.", "1%002", "-", "%2e%2e", &long] {
                for path in [
                    format!("/studies/{uid}"),
                    format!("/studies/{uid}/metadata"),
                    format!("{}/series/{uid}", name.study_path()),
                    format!("{}/instances/{uid}", name.series_path()),
                ] {
                    let answer = server.get(&format!("{root}{path}"));
                    assert_eq!(answer.status, 400, "{root}{path}");
                }
            }
        }
    });
}

#[test]
fn head_answers_as_get_without_a_body() {
    let server = TestApp::start(None);
    let name = Name::new(209, 1, 1);
    server.store("/v2", [&name.small()]).expect(200);
    for (path, accept) in [
        (name.path(), "application/dicom; transfer-syntax=*"),
        (
            format!("{}/metadata", name.path()),
            "application/dicom+json",
        ),
        (name.study_path(), "*/*"),
        ("/studies".to_owned(), "application/dicom+json"),
    ] {
        for root in ROOTS {
            let target = format!("{root}{path}");
            let get = server.get_as(&target, accept).expect(200);
            let head = server.request("HEAD", &target).accept(accept).send();
            let head = head.expect(200);
            assert!(head.body.is_empty());
            for header in ["content-length", "etag", "cache-control"] {
                if get.header(header).is_some() {
                    assert_eq!(head.header(header), get.header(header), "{target}");
                }
            }
            let kind = |answer: &Response| {
                let kind = answer.content_type().split(';').next();
                kind.map(str::to_owned)
            };
            assert_eq!(kind(&head), kind(&get));
        }
    }
    server
        .request("HEAD", "/v2/studies/1.2.99")
        .send()
        .expect(404);
}

#[test]
fn what_is_saved_has_a_whole_file_name() {
    let server = TestApp::start(None);
    let name = Name::new(5740, 1, 1);
    server.store("/dicom-web", [&name.small()]).expect(200);
    for root in ROOTS {
        for (path, accept, file) in [
            (
                name.path(),
                "application/dicom",
                format!("{}.dcm", name.instance),
            ),
            (
                name.path(),
                "application/zip",
                format!("{}.zip", name.instance),
            ),
            (
                name.series_path(),
                "application/zip",
                format!("{}.zip", name.series),
            ),
            (
                name.study_path(),
                "application/zip",
                format!("{}.zip", name.study),
            ),
        ] {
            let answer = server
                .request("GET", &format!("{root}{path}"))
                .accept(accept)
                .header("Origin", "http://localhost:3000")
                .send()
                .expect(200);
            let wanted = format!("attachment; filename=\"{file}\"");
            assert_eq!(answer.header("Content-Disposition"), Some(wanted.as_str()));
            let exposed = answer.header("Access-Control-Expose-Headers");
            assert!(exposed.unwrap_or_default().contains("Content-Disposition"));
        }
    }
    let by_uri = format!(
        "/dicom-web/wado?requestType=WADO&objectUID={}&contentType=application/dicom",
        name.instance
    );
    let answer = server.get(&by_uri).expect(200);
    let wanted = format!("attachment; filename=\"{}.dcm\"", name.instance);
    assert_eq!(answer.header("Content-Disposition"), Some(wanted.as_str()));
}

#[test]
fn octets_of_an_instance_a_series_and_a_study_are_their_bulk_data() {
    let server = TestApp::start(None);
    let names = [Name::new(5741, 1, 1), Name::new(5741, 1, 2)];
    let files = names.each_ref().map(|name| name.with_bulk(5000));
    server.store("/dicom-web", &files).expect(200);
    let octets = "multipart/related; type=\"application/octet-stream\"";
    let stored = |name: &Name| {
        let file = server.stored(name).expect("it is stored");
        file[file.len() - 5000..].to_vec()
    };
    for root in ROOTS {
        for (path, count) in [
            (names[0].path(), 1),
            (names[0].series_path(), 2),
            (names[0].study_path(), 2),
        ] {
            let answer = server.get_as(&format!("{root}{path}"), octets).expect(200);
            let parts = answer.parts();
            assert_eq!(parts.len(), count, "{root}{path}");
            for part in parts {
                let uri = part.header("Content-Location").expect("a location");
                let name = names.iter().find(|name| uri.contains(&name.path()));
                let name = name.expect("the location of an instance");
                assert!(part.body == stored(name));
                assert!(part.content_type().starts_with("application/octet-stream"));
                // The location leads to the same bytes.
                let path = uri.strip_prefix(server.url()).expect("our own URL");
                let alone = server.get_as(path, "application/octet-stream").expect(200);
                assert!(alone.body == part.body);
            }
        }
        // Whoever takes files as well gets files unless octets come first.
        let both = format!("{octets};q=0.5, multipart/related; type=\"application/dicom\"");
        let answer = server.get_as(&format!("{root}{}", names[0].path()), &both);
        assert!(
            answer
                .expect(200)
                .content_type()
                .contains("application/dicom")
        );
    }
    let empty = Name::new(5742, 1, 1);
    server.store("/dicom-web", [&empty.small()]).expect(200);
    server
        .get_as(&format!("/dicom-web{}", empty.path()), octets)
        .expect(404);
}
