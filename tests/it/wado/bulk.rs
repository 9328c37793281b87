//! Bulk data: every URI in the metadata leads to the bytes of its value.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, Lengths, Syntax};

use crate::support::dicom::noise;
use crate::support::prelude::*;

/// All `BulkDataURI`s with the path of tags and item numbers that leads to them.
fn uris(object: &Value, path: &str, found: &mut Vec<(String, String)>) {
    for (tag, element) in object.as_object().expect("an object") {
        let path = format!("{path}{tag}");
        if let Some(uri) = element["BulkDataURI"].as_str() {
            found.push((path.clone(), uri.to_owned()));
        }
        if element["vr"] == "SQ" {
            let items = element["Value"].as_array();
            for (number, item) in (1..).zip(items.into_iter().flatten()) {
                uris(item, &format!("{path}/{number}/"), found);
            }
        }
    }
}

#[test]
fn every_uri_of_the_metadata_leads_to_its_value() {
    on_each_index(|server| {
        for (number, syntax) in (1..).zip([
            Syntax::ExplicitLittle,
            Syntax::ImplicitLittle,
            Syntax::ExplicitBig,
            Syntax::Deflated,
        ]) {
            let name = Name::new(500, 1, number);
            let values = [
                ("54000100/1/54001010", VR::OW, noise("wave 1", 5000)),
                ("54000100/2/54001010", VR::OW, noise("wave 2", 6000)),
                (
                    "54000100/2/54000100/1/54001010",
                    VR::OW,
                    noise("nested", 7000),
                ),
                ("00660016", VR::OF, noise("floats", 8000)),
                ("00091001", VR::OB, noise("private", 9000)),
                ("7FE00010", VR::OW, noise("pixels", 2 * 128 * 128)),
            ];
            let wave = |at: usize| {
                DataSet::new().bytes(Tag(0x5400, 0x1010), values[at].1, values[at].2.clone())
            };
            let second = DataSet::new()
                .items(Tag(0x5400, 0x0100), Lengths::Undefined, vec![wave(2)])
                .set(wave(1));
            let data_set = name.image(128, 128, 16, 1).set(
                DataSet::new()
                    .text(Tag(0x0009, 0x0010), VR::LO, "STOWAGE TEST")
                    .bytes(Tag(0x0009, 0x1001), VR::OB, values[4].2.clone())
                    .bytes(Tag(0x0066, 0x0016), VR::OF, values[3].2.clone())
                    .items(Tag(0x5400, 0x0100), Lengths::Defined, vec![wave(0), second])
                    .bytes(Tag(0x7FE0, 0x0010), VR::OW, values[5].2.clone()),
            );
            let file = name.file(&data_set, syntax);
            server.store("/dicom-web", [&file]).expect(200);
            for root in ["/dicom-web", "/v1", "/v2"] {
                let metadata = server.get(&format!("{root}{}/metadata", name.path()));
                let mut found = Vec::new();
                uris(&metadata.expect(200).json()[0], "", &mut found);
                let mut paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
                let mut wanted: Vec<&str> = values.iter().map(|(path, ..)| *path).collect();
                paths.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(paths, wanted, "{syntax:?}");
                for (path, uri) in found {
                    let target = uri.strip_prefix(server.url()).expect("an absolute URI");
                    let (_, _, value) = values
                        .iter()
                        .find(|(known, ..)| *known == path)
                        .expect("a value");
                    let single = server.get_as(target, "application/octet-stream");
                    assert!(single.expect(200).body == *value, "{syntax:?} {path}");
                    for accept in [
                        "*/*",
                        "multipart/related; type=\"application/octet-stream\"",
                        "multipart/related; type=\"*/*\"",
                    ] {
                        let parts = server.get_as(target, accept).expect(200).parts();
                        assert!(parts[0].body == *value, "{syntax:?} {path} {accept}");
                        assert_eq!(parts[0].header("Content-Location"), Some(uri.as_str()));
                    }
                }
            }
        }
    });
}

#[test]
fn compressed_pixel_data_by_uri_holds_its_frames() {
    let server = TestApp::start(None);
    let name = Name::new(501, 1, 1);
    let (one, two) = (noise("one", 100), noise("two", 200));
    let data_set = name.image(8, 8, 8, 2).fragments(&[0, 108], &[&one, &two]);
    let file = name.file(&data_set, Syntax::Other("1.2.840.10008.1.2.4.50"));
    server.store("/dicom-web", [&file]).expect(200);
    let metadata = server.get(&format!("/dicom-web{}/metadata", name.path()));
    let mut found = Vec::new();
    uris(&metadata.json()[0], "", &mut found);
    let [(path, uri)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(path, "7FE00010");
    let target = uri.strip_prefix(server.url()).expect("an absolute URI");
    let answer = server.get_as(target, "multipart/related; type=\"image/jpeg\"");
    let bodies: Vec<u8> = answer
        .expect(200)
        .parts()
        .into_iter()
        .flat_map(|part| part.body)
        .collect();
    assert_eq!(bodies, [one, two].concat());
}

#[test]
fn a_range_of_a_value_is_206_and_outside_of_it_416() {
    let server = TestApp::start(None);
    let name = Name::new(502, 1, 1);
    let document = noise("document", 1_000_000);
    let data_set = name
        .data_set()
        .bytes(Tag(0x0042, 0x0011), VR::OB, document.clone());
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    let target = format!("/dicom-web{}/bulkdata/00420011", name.path());
    let ask = |range: &str| {
        server
            .request("GET", &target)
            .accept("application/octet-stream")
            .header("Range", range)
            .send()
    };
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=262143-262144", 262_143, 262_145),
        ("bytes=300000-899999", 300_000, 900_000),
        ("bytes=-1", 999_999, 1_000_000),
        ("bytes=999999-", 999_999, 1_000_000),
    ] {
        let answer = ask(range).expect(206);
        assert!(answer.body == document[from..to], "{range}");
        let reported = format!("bytes {from}-{}/1000000", to - 1);
        assert_eq!(answer.header("content-range"), Some(reported.as_str()));
        assert_eq!(
            answer.header("content-length"),
            Some((to - from).to_string().as_str())
        );
    }
    for range in ["bytes=1000000-", "bytes=1000000-1000001", "bytes=-0"] {
        let answer = ask(range).expect(416);
        assert_eq!(answer.header("content-range"), Some("bytes */1000000"));
    }
    for range in ["bytes=1-0", "bytes=a-b", "pages=1-2", "bytes=0-1,5-6"] {
        assert_eq!(ask(range).expect(200).body.len(), document.len(), "{range}");
    }
}

#[test]
fn a_path_that_no_metadata_names_is_404() {
    let server = TestApp::start(None);
    let name = Name::new(503, 1, 1);
    server
        .store("/dicom-web", [&name.with_bulk(5000)])
        .expect(200);
    for path in [
        "00100010",
        "00420012",
        "00420011/1",
        "00420011/1/00100010",
        "nothing",
        "..%2f..",
        "%00",
        "0",
    ] {
        for root in ["/dicom-web", "/v2"] {
            let target = format!("{root}{}/bulkdata/{path}", name.path());
            assert_eq!(server.get(&target).status, 404, "{target}");
        }
    }
}

#[test]
fn all_bulk_data_has_what_the_metadata_holds_inline() {
    let server = TestApp::start(None);
    let name = Name::new(5810, 1, 1);
    let item = DataSet::new().bytes(Tag(0x5400, 0x1010), VR::OW, *b"wave");
    let data_set = name
        .data_set()
        .text(Tag(0x0009, 0x0010), VR::LO, "STOWAGE TEST")
        .bytes(Tag(0x0009, 0x1001), VR::UN, *b"own ")
        .bytes(Tag(0x0042, 0x0011), VR::OB, noise("document", 3000))
        .items(
            Tag(0x5400, 0x0100),
            Lengths::Undefined,
            vec![DataSet::new(), item],
        );
    for (number, syntax) in (1..).zip([
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
        Syntax::Deflated,
    ]) {
        let name = Name::new(5810, 1, number);
        let data_set = data_set.clone().set(name.data_set());
        let file = name.file(&data_set, syntax);
        server.store("/dicom-web", [&file]).expect(200);
    }
    let octets = "multipart/related; type=\"application/octet-stream\"";
    for (path, instances) in [(name.path(), 1), (name.study_path(), 3)] {
        let target = format!("/dicom-web{path}/bulkdata");
        let parts = server.get_as(&target, octets).expect(200).parts();
        assert_eq!(parts.len(), 3 * instances);
        for part in &parts {
            let uri = part.header("Content-Location").expect("a location");
            let own = uri.strip_prefix(server.url()).expect("our own URL");
            let alone = server.get_as(own, "application/octet-stream").expect(200);
            assert!(alone.body == part.body, "{own}");
        }
        let of = |tail: &str| {
            let found = parts.iter().find(|part| {
                let uri = part.header("Content-Location").unwrap_or_default();
                uri.ends_with(tail)
            });
            found.expect("a part").body.clone()
        };
        assert_eq!(of("/bulkdata/00091001"), b"own ");
        assert_eq!(of("/bulkdata/54000100/2/54001010").len(), 4);
        assert!(of("/bulkdata/00420011") == noise("document", 3000));
    }
    let pixels = format!("/dicom-web{}/pixeldata", name.path());
    server.get_as(&pixels, octets).expect(404);
}

#[test]
fn a_document_ends_where_its_length_says_however_it_is_asked_for() {
    let server = TestApp::start(None);
    // Short ones stand in the metadata, long ones are served by URI.
    for (number, media, document) in [
        (1, "text/XML", "<ClinicalDocument/>".to_owned()),
        (
            2,
            "text/xml",
            format!("<ClinicalDocument>{}</ClinicalDocument>", "x".repeat(4000)),
        ),
        (
            3,
            "application/pdf",
            format!("%PDF-1.7 {}", "y".repeat(3000)),
        ),
    ] {
        assert_eq!(document.len() % 2, 1, "there is padding");
        let name = Name::new(5811, 1, number);
        let mut padded = document.clone().into_bytes();
        padded.push(0);
        let length = u32::try_from(document.len()).expect("it is short");
        let data_set = name
            .data_set()
            .bytes(Tag(0x0042, 0x0011), VR::OB, padded)
            .text(Tag(0x0042, 0x0012), VR::LO, media)
            .bytes(Tag(0x0042, 0x0015), VR::UL, length.to_le_bytes());
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
        let media = media.to_ascii_lowercase();
        let own = format!("/dicom-web{}", name.path());
        let wado = format!(
            "/dicom-web/wado?requestType=WADO&objectUID={}",
            name.instance
        );
        for (target, accept) in [
            (format!("{own}/bulkdata/00420011"), media.as_str()),
            (format!("{own}/rendered"), media.as_str()),
            (format!("{own}/rendered"), "*/*"),
            (wado, "*/*"),
        ] {
            let answer = server.get_as(&target, accept).expect(200);
            assert_eq!(answer.content_type(), media, "{target} {accept}");
            assert_eq!(answer.text(), document, "{target} {accept}");
        }
        let octets = server.get_as(
            &format!("{own}/bulkdata/00420011"),
            "application/octet-stream",
        );
        assert_eq!(octets.expect(200).text(), document);
        for (target, inner) in [
            (format!("{own}/bulkdata/00420011"), media.as_str()),
            (format!("{own}/bulkdata"), media.as_str()),
            (format!("{own}/bulkdata"), "*/*"),
        ] {
            let accept = format!("multipart/related; type=\"{inner}\"");
            let parts = server.get_as(&target, &accept).expect(200).parts();
            assert_eq!(parts.len(), 1, "{target} {accept}");
            assert_eq!(parts[0].content_type(), media);
            assert_eq!(parts[0].body, document.as_bytes());
        }
    }
}
