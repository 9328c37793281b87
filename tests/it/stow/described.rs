//! Metadata and bulk data instead of files: what is had that way can be stored that way (PS3.18 §10.5.2).

use std::process::Command;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, Lengths, Syntax};

use crate::support::dicom::noise;
use crate::support::multipart::{self, BOUNDARY};
use crate::support::prelude::*;
use crate::support::server::run;

use super::{comments, failures, items};

/// A part: Content-Type, Content-Location, content.
type Sent = (String, String, Vec<u8>);

fn post(server: &Deployment, target: &str, root: &str, parts: &[Sent]) -> Response {
    let mut body = Vec::new();
    for (media, location, content) in parts {
        let head = format!("Content-Type: {media}\r\nContent-Location: {location}\r\n");
        body.extend(multipart::part(BOUNDARY, &head, content));
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let content_type = format!("multipart/related; type=\"{root}\"; boundary={BOUNDARY}");
    server
        .request("POST", target)
        .header("Content-Type", &content_type)
        .body(body)
        .send()
}

/// An image with a header of all sorts, values of which some are bulk data, one nested.
fn file(name: &Name) -> BuiltFile {
    let icon = stowage::dicom::testing::DataSet::new()
        .us(Tag(0x0028, 0x0010), &[64])
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise("icon", 70_000));
    let data_set = name
        .image(100, 100, 16, 3)
        .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
        .text(Tag(0x0010, 0x0010), VR::PN, "Žižka^Jan=山田=やまだ")
        .text(Tag(0x0018, 0x0050), VR::DS, "2.5")
        .items(Tag(0x0088, 0x0200), Lengths::Undefined, vec![icon])
        .bytes(Tag(0x0042, 0x0011), VR::OB, noise("document", 100_002))
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise("pixels", 60_000));
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// Every `BulkDataURI` in a data set.
fn uris(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(uri) = object.get("BulkDataURI").and_then(Value::as_str) {
                found.push(uri.to_owned());
            }
            object.values().for_each(|value| uris(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| uris(value, found)),
        _ => {}
    }
}

/// What a client has of an instance: its metadata and its bulk data, in the transfer syntax asked for.
fn had(server: &Deployment, name: &Name) -> (Value, Vec<Sent>) {
    let target = format!("/dicom-web{}/metadata", name.path());
    let metadata = server.get_as(&target, "application/dicom+json").expect(200);
    let metadata = metadata.json();
    let mut found = Vec::new();
    uris(&metadata, &mut found);
    let bulk = found.into_iter().flat_map(|uri| {
        let path = uri.strip_prefix(server.url()).expect("a URI of the server");
        let answer = server.get_as(path, "multipart/related; type=\"*/*\"; transfer-syntax=*");
        let sent = answer.expect(200).parts().into_iter().map({
            let uri = uri.clone();
            move |part| (part.content_type().to_owned(), uri.clone(), part.body)
        });
        sent.collect::<Vec<Sent>>()
    });
    let bulk = bulk.collect();
    (metadata, bulk)
}

/// As [`had`], with lengths and digests for the bulk data.
fn kept(server: &Deployment, name: &Name) -> (Value, Vec<(String, String, usize, blake3::Hash)>) {
    let (metadata, bulk) = had(server, name);
    let digests = bulk
        .into_iter()
        .map(|(media, uri, bytes)| (media, uri, bytes.len(), blake3::hash(&bytes)));
    (metadata, digests.collect())
}

fn forget(server: &Deployment, name: &Name) {
    let target = format!("/dicom-web{}", name.study_path());
    server.request("DELETE", &target).send().expect(204);
}

#[test]
fn metadata_and_bulk_data_make_an_equal_instance() {
    on_each_index(|server| {
        for (number, root) in (1..).zip(["/dicom-web", "/v1", "/v2"]) {
            let name = Name::new(500, number, 1);
            server.store("/dicom-web", [&file(&name)]).expect(200);
            let (metadata, bulk) = had(server, &name);
            let before = kept(server, &name);
            assert_eq!(bulk.len(), 3);
            forget(server, &name);
            let text = metadata.to_string().into_bytes();
            let mut parts = vec![("application/dicom+json".to_owned(), "x".to_owned(), text)];
            parts.extend(bulk);
            let answer = post(
                server,
                &format!("{root}/studies"),
                "application/dicom+json",
                &parts,
            );
            answer.expect(200);
            assert_eq!(kept(server, &name), before);
            forget(server, &name);
        }
    });
}

#[test]
fn native_models_and_bulk_data_make_equal_instances() {
    let server = TestApp::start(None);
    let names = [Name::new(510, 1, 1), Name::new(510, 1, 2)];
    for name in &names {
        server.store("/dicom-web", [&file(name)]).expect(200);
    }
    let target = format!("/dicom-web{}/metadata", names[0].series_path());
    let models = server.get_as(&target, "multipart/related; type=\"application/dicom+xml\"");
    let mut parts: Vec<Sent> = models
        .expect(200)
        .parts()
        .into_iter()
        .map(|part| {
            (
                "application/dicom+xml".to_owned(),
                "x".to_owned(),
                part.body,
            )
        })
        .collect();
    let before: Vec<_> = names.iter().map(|name| kept(&server, name)).collect();
    for name in &names {
        parts.extend(had(&server, name).1);
    }
    forget(&server, &names[0]);
    post(
        &server,
        "/dicom-web/studies",
        "application/dicom+xml",
        &parts,
    )
    .expect(200);
    for (name, before) in names.iter().zip(before) {
        assert_eq!(kept(&server, name), before);
    }
}

#[test]
fn compressed_frames_keep_their_bytes_and_their_syntax() {
    let server = TestApp::start(None);
    let name = Name::new(520, 1, 1);
    let native = name
        .image(16, 16, 8, 2)
        .bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![7; 512]);
    let native = name.file(&native, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&native]).expect(200);
    let target = format!("/dicom-web{}/frames/1,2", name.path());
    let accept = "multipart/related; type=\"image/jls\"";
    let frames = server.get_as(&target, accept).expect(200).parts();
    let (metadata, _) = had(&server, &name);
    forget(&server, &name);

    let uri = metadata[0]["7FE00010"]["BulkDataURI"].clone();
    let uri = uri.as_str().expect("pixels are bulk data").to_owned();
    let text = metadata.to_string().into_bytes();
    let mut parts = vec![("application/dicom+json".to_owned(), "x".to_owned(), text)];
    for frame in &frames {
        parts.push((
            frame.content_type().to_owned(),
            uri.clone(),
            frame.body.clone(),
        ));
    }
    post(
        &server,
        "/dicom-web/studies",
        "application/dicom+json",
        &parts,
    )
    .expect(200);
    let stored = server.get_as(
        &format!("/dicom-web{}", name.path()),
        "application/dicom; transfer-syntax=*",
    );
    let stored = stored.expect(200);
    assert!(stored.content_type().contains("1.2.840.10008.1.2.4.80"));
    let pixels = server.get_as(
        &target,
        "multipart/related; type=\"application/octet-stream\"",
    );
    for part in pixels.expect(200).parts() {
        assert_eq!(part.body, vec![7; 256]);
    }
}

#[test]
fn an_instance_that_cannot_be_composed_fails_alone() {
    let server = TestApp::start(None);
    let (good, bad) = (Name::new(530, 1, 1), Name::new(530, 1, 2));
    let describe = |name: &Name| described(name, &json!({}));
    let mut broken = describe(&bad);
    broken["7FE00010"] = json!({ "vr": "OW", "BulkDataURI": "nowhere" });
    let send = |text: &str| {
        let part = (
            "application/dicom+json".to_owned(),
            "x".to_owned(),
            text.into(),
        );
        post(
            &server,
            "/dicom-web/studies",
            "application/dicom+json",
            &[part],
        )
    };
    let answer = send(&json!([describe(&good), broken]).to_string()).expect(202);
    assert_eq!(failures(&answer), [Some(0xC000)]);
    let failed = &items(&answer.json(), "00081198")[0];
    assert_eq!(failed["00081155"]["Value"][0], bad.instance.as_str());
    let reported = comments(&answer, "00081198");
    assert!(reported[0].contains("7FE00010"), "{reported:?}");
    let found = server.get(&format!("/dicom-web{}/instances", good.study_path()));
    assert_eq!(found.expect(200).json().as_array().map(Vec::len), Some(1));

    for text in ["", "[", "7", "\"x\"", "[}"] {
        send(text).expect(400);
    }
    send("[]").expect(400);
    send("[{}]").expect(409);
}

/// Metadata of a Secondary Capture image, with more attributes.
fn described(name: &Name, more: &Value) -> Value {
    let uid = |value: &str| json!({ "vr": "UI", "Value": [value] });
    let mut attributes = json!({
        "00080016": uid("1.2.840.10008.5.1.4.1.1.7"), "00080018": uid(&name.instance),
        "0020000D": uid(&name.study), "0020000E": uid(&name.series),
        "00100020": { "vr": "LO", "Value": ["P1"] },
    });
    let both = attributes.as_object_mut().zip(more.as_object().cloned());
    both.into_iter().for_each(|(all, more)| all.extend(more));
    attributes
}

/// The body's first part: metadata of all instances.
fn metadata(instances: &[Value]) -> Sent {
    let text = json!(instances).to_string().into_bytes();
    ("application/dicom+json".to_owned(), "x".to_owned(), text)
}

#[test]
fn bulk_data_in_many_parts_needs_no_more_than_one_file() {
    let server = Server::with(&[("STOWAGE_PART_MEMORY_BYTES", "1000000")]);
    let limit = format!("--nofile={0}:{0}", server.open_files() + 60);
    let pid = server.pid().to_string();
    run(Command::new("prlimit").args(["--pid", &pid, &limit]));
    let name = Name::new(550, 1, 1);
    let us = |value: u16| json!({ "vr": "US", "Value": [value] });
    let instance = described(
        &name,
        &json!({
            "00280002": us(1), "00280004": { "vr": "CS", "Value": ["MONOCHROME2"] },
            "00280008": { "vr": "IS", "Value": [300] }, "00280010": us(100), "00280011": us(100),
            "00280100": us(8), "00280101": us(8), "00280102": us(7), "00280103": us(0),
            "7FE00010": { "vr": "OB", "BulkDataURI": "pixels" },
        }),
    );
    let mut parts = vec![metadata(&[instance])];
    let octets = "application/octet-stream".to_owned();
    let frame = |number: usize| noise(&format!("frame {number}"), 10_000);
    parts.extend((0..300).map(|number| (octets.clone(), "pixels".to_owned(), frame(number))));
    let root = "application/dicom+json";
    post(&server, "/dicom-web/studies", root, &parts).expect(200);
    let target = format!("/dicom-web{}/frames/1,150,300", name.path());
    let frames = server.get_as(
        &target,
        "multipart/related; type=\"application/octet-stream\"",
    );
    for (part, number) in frames.expect(200).parts().iter().zip([0, 149, 299]) {
        assert!(part.body == frame(number), "{number}");
    }
}

#[test]
fn what_metadata_asks_for_is_bounded_like_what_a_request_sends() {
    let settings = [
        ("STOWAGE_MAX_REQUEST_BYTES", "1000000"),
        ("STOWAGE_MAX_PARTS", "30"),
    ];
    let server = TestApp::with(&settings);
    let send = |parts: &[Sent]| {
        let root = "application/dicom+json";
        post(&server, "/dicom-web/studies", root, parts)
    };
    let document = json!({ "00420011": { "vr": "OB", "BulkDataURI": "one" } });
    let instances = |count: u32, more: &Value| {
        let name = |number| Name::new(551, 1, number);
        let all = (0..count).map(|number| described(&name(number), more));
        metadata(&all.collect::<Vec<Value>>())
    };
    let octets = "application/octet-stream".to_owned();
    let bulk = (octets, "one".to_owned(), noise("document", 100_000));
    // Ten instances of one part are as many bytes as a request may have.
    send(&[instances(9, &document), bulk.clone()]).expect(200);
    send(&[instances(11, &document), bulk.clone()]).expect(413);
    // Parts and instances are counted together, those that fail too.
    let reported = send(&[instances(40, &json!({}))]).expect(400).text();
    assert!(reported.contains("at most"), "{reported}");
    let empty = json!([{}]).to_string().into_bytes();
    let empty = ("application/dicom+json".to_owned(), "x".to_owned(), empty);
    send(&vec![empty; 16]).expect(400);
    send(&vec![bulk; 40]).expect(413);
}

#[test]
fn bulk_data_without_a_location_is_refused() {
    let server = TestApp::start(None);
    let mut body = multipart::part(BOUNDARY, "Content-Type: application/dicom+json\r\n", b"[]");
    body.extend(multipart::part(
        BOUNDARY,
        "Content-Type: image/jpeg\r\n",
        b"x",
    ));
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let content_type =
        format!("multipart/related; type=\"application/dicom+json\"; boundary={BOUNDARY}");
    let answer = server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", &content_type)
        .body(body)
        .send();
    assert!(answer.expect(400).text().contains("Content-Location"));
}

#[test]
fn a_report_comes_as_xml_when_asked_for() {
    let server = TestApp::start(None);
    let name = Name::new(540, 1, 1);
    let store = |accept: &str| {
        server
            .request("POST", "/dicom-web/studies")
            .header("Content-Type", "application/dicom")
            .accept(accept)
            .body(name.small().bytes)
            .send()
    };
    let answer = store("application/dicom+xml").expect(200);
    assert_eq!(answer.content_type(), "application/dicom+xml");
    let text = answer.text();
    assert!(text.contains("<NativeDicomModel"), "{text}");
    assert!(text.contains("keyword=\"ReferencedSOPSequence\""), "{text}");
    assert!(text.contains(&name.instance), "{text}");
    let json = store("application/dicom+json, application/dicom+xml;q=0.5").expect(200);
    assert_eq!(json.content_type(), "application/dicom+json");
    store("image/png").expect(406);
}
