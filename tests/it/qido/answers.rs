//! What a result says.

use std::collections::BTreeSet;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, Lengths, Syntax};

use super::{ROOTS, SAMPLES, store_samples};

use crate::support::prelude::*;

/// The one result of a search.
#[track_caller]
fn row(server: &Deployment, target: &str) -> Value {
    let rows = server.get(target).expect(200).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{target}");
    rows[0].clone()
}

fn tags(row: &Value) -> BTreeSet<&str> {
    let object = row.as_object().expect("an object");
    assert!(object.keys().is_sorted());
    object.keys().map(String::as_str).collect()
}

const STUDY: &str = "/studies?StudyInstanceUID=1.2.3.601";
const SERIES: &str = "/studies/1.2.3.601/series?SeriesInstanceUID=1.2.3.601.1";
const INSTANCE: &str = "/studies/1.2.3.601/series/1.2.3.601.1/instances";

#[test]
fn default_attributes_are_those_of_the_root() {
    on_each_index(|server| {
        store_samples(server);
        // Whole rows: those of the lists that the samples have a value for, the RetrieveURL, and what was matched on.
        for root in ROOTS {
            for (level, path) in [("study", STUDY), ("series", SERIES), ("instance", INSTANCE)] {
                let row = row(server, &format!("{root}{path}"));
                assert_json_snapshot!(format!("{}_{level}", &root[1..]), row);
            }
        }
        // PS3.18 §10.6.3.3: these are there, empty when there is no value.
        for (path, required) in [
            (
                STUDY,
                "00080020 00080030 00080050 00080061 00080090 00081190 00100010 00100020 00100030 00100040 0020000D 00200010 00201206 00201208",
            ),
            (
                SERIES,
                "00080060 00081190 0020000D 0020000E 00200011 00201209 00400244",
            ),
            (
                INSTANCE,
                "00080016 00080018 00081190 0020000D 0020000E 00200013",
            ),
        ] {
            let row = row(server, &format!("/dicom-web{path}"));
            let missing: Vec<&str> = required
                .split(' ')
                .filter(|tag| !tags(&row).contains(tag))
                .collect();
            assert_eq!(missing, [""; 0], "{path}");
        }
    });
}

#[test]
fn relational_searches_bring_the_attributes_of_the_levels_above() {
    let server = TestApp::start(None);
    store_samples(&server);
    for root in ROOTS {
        let series = row(
            &server,
            &format!("{root}/series?SeriesInstanceUID=1.2.3.601.1"),
        );
        assert_eq!(series["00100020"]["Value"][0], "doe-2", "{root}");
        assert_eq!(series["0020000D"]["Value"][0], "1.2.3.601");
        let instance = row(
            &server,
            &format!("{root}/instances?SOPInstanceUID=1.2.3.601.1.1"),
        );
        assert_eq!(instance["00100020"]["Value"][0], "doe-2", "{root}");
        assert_eq!(instance["00080060"]["Value"][0], "MR");
        let target = format!("{root}/studies/1.2.3.601/instances?SOPInstanceUID=1.2.3.601.1.1");
        let below = row(&server, &target);
        assert_eq!(below.get("00100020"), None, "{root}");
        assert_eq!(below["00080060"]["Value"][0], "MR");
    }
}

#[test]
fn the_retrieve_url_leads_to_what_was_found() {
    let server = TestApp::start(None);
    store_samples(&server);
    let name = SAMPLES[3].name();
    for root in ROOTS {
        for (path, wanted) in [
            (STUDY, name.study_path()),
            (SERIES, name.series_path()),
            (INSTANCE, name.path()),
        ] {
            let row = row(&server, &format!("{root}{path}"));
            assert_eq!(row["00081190"]["vr"], "UR");
            let url = row["00081190"]["Value"][0].as_str().expect("a URL");
            assert_eq!(url, format!("{}{root}{wanted}", server.url()));
            let target = url.strip_prefix(server.url()).expect("an absolute URL");
            let found = server.get_as(target, "multipart/related; type=\"application/dicom\"");
            assert!(!found.expect(200).parts().is_empty());
        }
    }
}

#[test]
fn fields_are_included_however_they_are_written() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for fields in [
                "includefield=PatientAge,PatientSex,ReferringPhysicianName",
                "includefield=PatientAge%2CPatientSex%2C00080090",
                "includefield=00101010&includefield=00100040&includefield=00080090",
                "IncludeField=00101010&includefield=PatientSex,00080090",
                "includefield=all",
            ] {
                let row = row(server, &format!("{root}{STUDY}&{fields}"));
                assert_eq!(row["00101010"]["Value"][0], "050Y", "{root} {fields}");
                assert_eq!(row["00080090"]["Value"][0]["Alphabetic"], "Doctor^Doc");
            }
            // Any known attribute, from the newest instance.
            let row = row(
                server,
                &format!("{root}{INSTANCE}?includefield=ImageComments"),
            );
            assert_eq!(row["00204000"]["Value"][0], "a comment");
        }
        // What is matched on comes back.
        let row = row(server, &format!("/v2{STUDY}&ModalitiesInStudy=MR"));
        assert_eq!(row["00080061"]["Value"], json!(["CT", "MR"]));
    });
}

#[test]
fn counters_and_modalities_are_computed() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            let include =
                "includefield=00201208,NumberOfStudyRelatedSeries&includefield=ModalitiesInStudy";
            let study = row(
                server,
                &format!("{root}/studies?StudyInstanceUID=1.2.3.600&{include}"),
            );
            assert_eq!(
                study["00201208"],
                json!({ "vr": "IS", "Value": [3] }),
                "{root}"
            );
            assert_eq!(study["00201206"], json!({ "vr": "IS", "Value": [2] }));
            assert_eq!(
                study["00080061"],
                json!({ "vr": "CS", "Value": ["CT", "SR"] })
            );
            let target =
                format!("{root}/series?SeriesInstanceUID=1.2.3.600.1&includefield=00201209");
            let series = row(server, &target);
            assert_eq!(series["00201209"], json!({ "vr": "IS", "Value": [2] }));
        }
    });
}

#[test]
fn the_latest_value_of_a_study_wins_and_an_empty_one_never_does() {
    on_each_index(|server| {
        let store = |number: u32, description: Option<&str>| {
            let name = Name::new(610, 1, number);
            let data_set = match description {
                Some(text) => {
                    name.data_set()
                        .set(DataSet::new().text(Tag(0x0008, 0x1030), VR::LO, text))
                }
                None => name.data_set(),
            };
            let file = name.file(&data_set, Syntax::ExplicitLittle);
            server.store("/v2", [&file]).expect(200);
        };
        let reported = || {
            let target = "/v2/studies?StudyInstanceUID=1.2.3.610";
            row(server, target)["00081030"]["Value"][0].clone()
        };
        store(1, Some("first"));
        assert_eq!(reported(), "first");
        store(2, Some("second"));
        assert_eq!(reported(), "second");
        store(3, None);
        store(4, Some(""));
        assert_eq!(reported(), "second");
        let found = server.get("/v2/studies?StudyDescription=first").status;
        assert_eq!(found, 204);
    });
}

#[test]
fn parameters_that_are_not_known_are_told_by_the_standard_root() {
    let server = TestApp::start(None);
    store_samples(&server);
    let answer = server.get("/dicom-web/studies?Unknown=1").expect(200);
    assert_eq!(answer.json().as_array().map(Vec::len), Some(4));
    let warning = answer.header("warning").expect("a warning");
    assert!(warning.starts_with("299 "), "{warning}");
    assert!(warning.contains("Unknown"), "{warning}");
}

#[test]
fn parts_of_sequences_and_private_attributes_are_included() {
    on_each_index(|server| {
        let name = Name::new(620, 1, 1);
        let request = DataSet::new()
            .text(Tag(0x0040, 0x0009), VR::SH, "SPS-1")
            .text(Tag(0x0040, 0x1001), VR::SH, "RP-1");
        let data_set = name.data_set().set(
            DataSet::new()
                .text(Tag(0x0009, 0x0010), VR::LO, "OTHER")
                .text(Tag(0x0009, 0x0011), VR::LO, "MAKER")
                .text(Tag(0x0009, 0x1001), VR::LO, "theirs")
                .text(Tag(0x0009, 0x1101), VR::LO, "ours")
                .items(Tag(0x0032, 0x1064), Lengths::Undefined, vec![request]),
        );
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
        let of = |fields: &str| {
            let target = format!("/dicom-web/studies?StudyInstanceUID=1.2.3.620&{fields}");
            row(server, &target)
        };
        for field in [
            "includefield=RequestedProcedureCodeSequence.ScheduledProcedureStepID",
            "includefield=00321064.00400009",
        ] {
            let item = &of(field)["00321064"]["Value"][0];
            assert_eq!(item["00400009"]["Value"][0], "SPS-1", "{field}");
            assert_eq!(item.get("00401001"), None, "{field}");
        }
        let whole = &of("includefield=00321064")["00321064"]["Value"][0];
        assert_eq!(whole["00401001"]["Value"][0], "RP-1");
        // By its full tag, and by its creator in whatever block.
        assert_eq!(
            of("includefield=00091001")["00091001"]["Value"][0],
            "theirs"
        );
        let found = of("00090010=MAKER&includefield=00091001");
        assert_eq!(found["00091101"]["Value"][0], "ours");
        assert_eq!(found["00090011"]["Value"][0], "MAKER");
        assert_eq!(found.get("00091001"), None);
        // What belongs to a lower level is not a study's to say.
        let lower = of("includefield=SOPInstanceUID,Modality,00200013");
        for tag in ["00080018", "00080060", "00200013"] {
            assert_eq!(lower.get(tag), None, "{tag}");
        }
        // What nobody knows is nothing.
        of("includefield=NoSuchField,12345678,,x.y");
    });
}
