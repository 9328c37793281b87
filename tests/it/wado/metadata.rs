//! Metadata: every attribute once, in DICOM JSON, with an `ETag` that changes when and only when the content does.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, Lengths, Syntax};

use crate::support::dicom::noise;
use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

/// The instances of an array, by their UID.
fn uids(metadata: &Value) -> Vec<String> {
    let objects = metadata.as_array().expect("an array");
    let mut uids: Vec<String> = objects
        .iter()
        .map(|object| {
            let uid = object["00080018"]["Value"][0].as_str();
            uid.expect("a UID").to_owned()
        })
        .collect();
    uids.sort();
    uids
}

#[test]
fn metadata_of_a_study_a_series_and_an_instance_is_an_array() {
    on_each_index(|server| {
        let names = [
            Name::new(400, 1, 1),
            Name::new(400, 1, 2),
            Name::new(400, 2, 1),
        ];
        let files: Vec<_> = names.iter().map(Name::small).collect();
        server.store("/v2", &files).expect(200);
        for root in ROOTS {
            for (path, wanted) in [
                (names[0].study_path(), &names[..]),
                (names[0].series_path(), &names[..2]),
                (names[0].path(), &names[..1]),
            ] {
                for accept in ["application/dicom+json", "application/json", "*/*"] {
                    let answer = server.get_as(&format!("{root}{path}/metadata"), accept);
                    let answer = answer.expect(200);
                    assert_eq!(answer.content_type(), "application/dicom+json");
                    let wanted: Vec<&str> = wanted.iter().map(|n| n.instance.as_str()).collect();
                    assert_eq!(uids(&answer.json()), wanted, "{root}{path}");
                }
                let png = server.get_as(&format!("{root}{path}/metadata"), "image/png");
                png.expect(406);
            }
        }
    });
}

#[test]
fn metadata_of_many_instances_comes_in_one_array() {
    on_each_index(|server| {
        let names: Vec<Name> = (0..700).map(|number| Name::new(401, 1, number)).collect();
        let files: Vec<_> = names.iter().map(Name::small).collect();
        server.store("/v2", &files).expect(200);
        let target = format!("/dicom-web{}/metadata", names[0].study_path());
        let mut wanted: Vec<String> = names.into_iter().map(|name| name.instance).collect();
        wanted.sort();
        assert_eq!(uids(&server.get(&target).expect(200).json()), wanted);
    });
}

#[test]
fn values_are_written_as_the_json_model_says() {
    on_each_index(|server| {
        let name = Name::new(402, 1, 1);
        let data_set = name.data_set().set(
            DataSet::new()
                .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
                .text(Tag(0x0008, 0x0008), VR::CS, "ORIGINAL\\\\PRIMARY")
                .text(Tag(0x0008, 0x0020), VR::DA, "20200131")
                .text(Tag(0x0008, 0x0050), VR::SH, "")
                .text(Tag(0x0010, 0x0010), VR::PN, "Müller^Jörg=山田^太郎")
                .text(Tag(0x0010, 0x1030), VR::DS, "72.5\\nothing")
                .text(Tag(0x0020, 0x0013), VR::IS, "+7")
                .bytes(Tag(0x0028, 0x0009), VR::AT, [0x18, 0, 0x63, 0x10])
                .bytes(Tag(0x0018, 0x6028), VR::FD, f64::INFINITY.to_le_bytes())
                .items(
                    Tag(0x0008, 0x1140),
                    Lengths::Undefined,
                    vec![
                        DataSet::new(),
                        DataSet::new().text(Tag(0x0008, 0x1155), VR::UI, "1.2"),
                    ],
                ),
        );
        for (number, syntax) in (1..).zip([
            Syntax::ExplicitLittle,
            Syntax::ImplicitLittle,
            Syntax::ExplicitBig,
            Syntax::Deflated,
        ]) {
            let name = Name::new(402, 1, number);
            let data_set = data_set.clone().set(DataSet::new().text(
                Tag(0x0008, 0x0018),
                VR::UI,
                &name.instance,
            ));
            server
                .store("/dicom-web", [&name.file(&data_set, syntax)])
                .expect(200);
            let target = format!("/dicom-web{}/metadata", name.path());
            let metadata = server.get(&target).expect(200).json();
            let object = metadata[0].as_object().expect("an object");
            assert!(object.keys().is_sorted(), "{syntax:?}");
            assert!(object.keys().all(|key| !key.starts_with("0002")));
            // The same in every syntax but for the name of the instance.
            let mut object = metadata[0].clone();
            assert_eq!(object["00080018"]["Value"][0], json!(name.instance));
            object["00080018"] = json!("its UID");
            assert_eq!(object["00083002"]["vr"], "UI");
            object["00083002"] = json!("those it can be had in");
            assert_json_snapshot!("values", object);
        }
    });
}

#[test]
fn an_etag_in_any_spelling_is_answered_with_304() {
    on_each_index(|server| {
        let name = Name::new(403, 1, 1);
        server.store("/v2", [&name.small()]).expect(200);
        for root in ROOTS {
            for path in [name.study_path(), name.series_path(), name.path()] {
                let target = format!("{root}{path}/metadata");
                let ask = |condition: &str| {
                    server
                        .request("GET", &target)
                        .accept("application/dicom+json")
                        .header("If-None-Match", condition)
                        .send()
                };
                let first = server.get(&target).expect(200);
                let tag = first.header("etag").expect("an ETag").to_owned();
                let bare = tag.trim_matches('"');
                assert_eq!(tag, format!("\"{bare}\""), "it is quoted");
                for condition in [
                    tag.clone(),
                    bare.to_owned(),
                    format!("W/{tag}"),
                    format!("\"other\", {tag}"),
                    "*".to_owned(),
                ] {
                    let answer = ask(&condition).expect(304);
                    assert!(answer.body.is_empty());
                    assert_eq!(answer.header("etag"), Some(tag.as_str()));
                }
                for condition in ["\"other\"", "other", "\"\"", ""] {
                    let answer = ask(condition).expect(200);
                    assert_eq!(answer.body, first.body, "{condition}");
                }
            }
        }
        let unknown = server
            .request("GET", "/v2/studies/1.2.99/metadata")
            .header("If-None-Match", "*");
        unknown.send().expect(404);
    });
}

#[test]
fn an_etag_changes_when_instances_come_and_go() {
    on_each_index(|server| {
        let (first, second, other) = (
            Name::new(404, 1, 1),
            Name::new(404, 1, 2),
            Name::new(404, 2, 1),
        );
        let tag = |path: &str| {
            let answer = server.get(&format!("/v2{path}/metadata")).expect(200);
            answer.header("etag").expect("an ETag").to_owned()
        };
        let all = || {
            [
                tag(&first.study_path()),
                tag(&first.series_path()),
                tag(&first.path()),
            ]
        };
        server.store("/v2", [&first.small()]).expect(200);
        let begin = all();
        server.store("/v2", [&other.small()]).expect(200);
        let elsewhere = all();
        assert_ne!(begin[0], elsewhere[0], "the study has one more");
        assert_eq!(begin[1..], elsewhere[1..], "the series has not");
        server.store("/v2", [&second.small()]).expect(200);
        let more = all();
        assert_ne!(elsewhere[1], more[1]);
        assert_eq!(begin[2], more[2]);
        let delete = |name: &Name| {
            let target = format!("/v2{}", name.path());
            server.request("DELETE", &target).send().expect(204);
        };
        delete(&first);
        assert_ne!(tag(&first.series_path()), more[1]);
        // The newest goes: what is left is not what was there before it came.
        server.store("/v2", [&first.small()]).expect(200);
        let again = all();
        assert_ne!(again[2], begin[2], "the same bytes are another version");
        delete(&first);
        assert_ne!(tag(&first.study_path()), again[0]);
        assert_ne!(tag(&first.study_path()), more[0]);
    });
}

#[test]
fn large_values_become_uris_and_short_ones_stay() {
    let server = TestApp::start(None);
    let name = Name::new(405, 1, 1);
    let data_set = name.data_set().set(
        DataSet::new()
            .bytes(Tag(0x0009, 0x1001), VR::OB, noise("short", 8))
            .text(Tag(0x0009, 0x0010), VR::LO, "STOWAGE TEST")
            .bytes(Tag(0x0042, 0x0011), VR::OB, noise("document", 100_000)),
    );
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    let metadata = server
        .get(&format!("/dicom-web{}/metadata", name.path()))
        .json();
    assert!(metadata[0]["00091001"]["InlineBinary"].is_string());
    let uri = metadata[0]["00420011"]["BulkDataURI"]
        .as_str()
        .expect("a URI");
    assert!(
        uri.starts_with(&format!("{}/dicom-web{}/", server.url(), name.path())),
        "{uri}"
    );
}

#[test]
fn numbers_above_the_threshold_of_bulk_data_are_values_under_every_root() {
    let server = TestApp::start(None);
    let name = Name::new(5820, 1, 1);
    let decimals: Vec<String> = (0..20_000).map(|i| format!("{i}.5")).collect();
    let doubles: Vec<u8> = (0..10_000_u32)
        .flat_map(|i| f64::from(i).to_le_bytes())
        .collect();
    let contour = DataSet::new().text(Tag(0x3006, 0x0050), VR::DS, &decimals.join("\\"));
    let data_set = name
        .data_set()
        .items(Tag(0x3006, 0x0040), Lengths::Undefined, vec![contour])
        .bytes(Tag(0x0040, 0xA161), VR::FD, doubles);
    let file = name.file(&data_set, Syntax::ImplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    for root in ["/dicom-web", "/v1", "/v2"] {
        let target = format!("{root}{}/metadata", name.path());
        let metadata = server.get_as(&target, "application/dicom+json").expect(200);
        let metadata = &metadata.json()[0];
        let contour = &metadata["30060040"]["Value"][0]["30060050"];
        assert_eq!(contour["Value"].as_array().map(Vec::len), Some(20_000));
        assert_eq!(contour["Value"][19_999], 19_999.5);
        assert_eq!(metadata["0040A161"]["Value"][9999], 9999.0);
    }
}
