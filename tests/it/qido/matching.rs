//! Which rows match.

use super::{ROOTS, SAMPLES, numbers, store_samples, studies};

use crate::support::prelude::*;

#[test]
fn the_six_resources_hold_what_is_below_them() {
    on_each_index(|server| {
        store_samples(server);
        let (study, series) = (
            SAMPLES[0].name().study_path(),
            SAMPLES[0].name().series_path(),
        );
        for root in ROOTS {
            for (path, uid, wanted) in [
                ("/studies", "0020000D", vec![600, 601, 602, 603]),
                ("/series", "0020000E", vec![1, 1, 1, 1, 2, 2]),
                ("/instances", "00080018", vec![1, 1, 1, 1, 1, 1, 2]),
                (&format!("{study}/series"), "0020000E", vec![1, 2]),
                (&format!("{study}/instances"), "00080018", vec![1, 1, 2]),
                (&format!("{series}/instances"), "00080018", vec![1, 2]),
            ] {
                let answer = server.get(&format!("{root}{path}"));
                assert_eq!(numbers(&answer, uid), wanted, "{root}{path}");
            }
        }
    });
}

#[test]
fn no_match_is_an_empty_array_or_no_content() {
    on_each_index(|server| {
        let name = Name::new(600, 1, 1);
        for stored in [false, true] {
            for (root, status) in [("/dicom-web", 200), ("/v1", 204), ("/v2", 204)] {
                for path in [
                    "/studies?PatientID=nobody".to_owned(),
                    "/series?PatientID=nobody".to_owned(),
                    "/instances?PatientID=nobody".to_owned(),
                    "/studies?offset=1000".to_owned(),
                    "/studies/1.2.99/series".to_owned(),
                    "/studies/1.2.99/instances".to_owned(),
                    "/studies/1.2.99/series/1.2/instances".to_owned(),
                    format!("{}/series/1.2.99/instances", name.study_path()),
                ] {
                    let answer = server.get(&format!("{root}{path}")).expect(status);
                    let wanted = if status == 200 { "[]" } else { "" };
                    assert_eq!(answer.text(), wanted, "{root}{path}");
                }
            }
            if !stored {
                store_samples(server);
            }
        }
    });
}

#[test]
fn attributes_are_named_by_keyword_or_number() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for name in ["StudyDate", "00080020"] {
                assert_eq!(studies(server, root, &format!("{name}=20200215")), [601]);
            }
            for name in ["StudyInstanceUID", "0020000D", "0020000d"] {
                assert_eq!(studies(server, root, &format!("{name}=1.2.3.602")), [602]);
            }
        }
    });
}

#[test]
fn texts_match_without_regard_to_case_and_names_without_accents() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for name in [
                "Doe^John",
                "doe^john",
                "DOE^JOHN",
                "Doe%5EJohn",
                "Doe^John%20%20",
            ] {
                assert_eq!(
                    studies(server, root, &format!("PatientName={name}")),
                    [601],
                    "{name}"
                );
            }
            for name in [
                "Müller^Jörg",
                "muller^jorg",
                "M%C3%BCller%5EJ%C3%B6rg",
                "MULLER^JÖRG",
            ] {
                let query = format!("PatientName={}", encoded(name));
                assert_eq!(studies(server, root, &query), [600], "{name}");
            }
            for name in ["Yamada^Tarou", "山田^太郎", "やまだ^たろう"] {
                let query = format!("PatientName={}", encoded(name));
                assert_eq!(studies(server, root, &query), [602], "{root} {name}");
            }
            assert_eq!(studies(server, root, "PatientName=Doe"), [0_u32; 0]);
        }
        // Other texts: the DICOM service ignores case, the standard does not.
        for root in ["/v1", "/v2"] {
            assert_eq!(studies(server, root, "PatientID=DOE-2"), [601]);
            assert_eq!(studies(server, root, "AccessionNumber=ACC1"), [600, 603]);
        }
        assert_eq!(studies(server, "/dicom-web", "PatientID=DOE-2"), [0_u32; 0]);
        assert_eq!(studies(server, "/dicom-web", "AccessionNumber=ACC1"), [600]);
    });
}

/// Percent-encodes what may not stand in a request line.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            0x21..=0x7E => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[test]
fn wildcards_stand_for_any_characters() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for (query, wanted) in [
                ("PatientName=*", vec![600, 601, 602, 603]),
                ("PatientName=Do*", vec![601]),
                ("PatientName=*oh*", vec![601]),
                ("PatientName=D?e^J*n", vec![601]),
                ("PatientName=%2AJohn", vec![601]),
                ("PatientName=m%3Fller*", vec![600]),
                ("PatientID=*-?", vec![600, 601]),
                ("PatientID=??_4", vec![603]),
                ("StudyDescription=Head*", vec![601, 602]),
                ("StudyDescription=*neck", vec![602]),
                ("AccessionNumber=?", vec![]),
                // Neither is special in a database's pattern.
                ("PatientID=ID%25*", vec![]),
                ("PatientID=ID_?", vec![603]),
                ("PatientID=I__?", vec![]),
            ] {
                assert_eq!(studies(server, root, query), wanted, "{root} {query}");
            }
        }
    });
}

#[test]
fn an_empty_value_matches_everything_where_the_standard_decides() {
    on_each_index(|server| {
        store_samples(server);
        for query in ["PatientName=", "AccessionNumber", "StudyDate=&PatientID="] {
            let all = [600, 601, 602, 603];
            assert_eq!(studies(server, "/dicom-web", query), all, "{query}");
            for root in ["/v1", "/v2"] {
                let refused = server.get(&format!("{root}/studies?{query}")).expect(400);
                assert!(refused.text().contains("It needs a value"), "{root}");
            }
        }
    });
}

#[test]
fn fuzzy_names_match_prefixes_of_neighbouring_words() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for (name, wanted) in [
                ("joh", vec![601]),
                ("do", vec![601]),
                ("do+jo", vec![601]),
                ("Doe+John", vec![601]),
                ("doe^john", vec![601]),
                ("mulle", vec![600]),
                ("M%C3%9CL", vec![600]),
                ("mary", vec![603]),
                ("ann", vec![603]),
                ("mary+an", vec![603]),
                ("ohn", vec![]),
                ("mary+john", vec![]),
            ] {
                let query = format!("fuzzymatching=true&PatientName={name}");
                assert_eq!(studies(server, root, &query), wanted, "{root} {name}");
            }
            assert_eq!(
                studies(server, root, "fuzzymatching=false&PatientName=joh"),
                [0; 0]
            );
        }
    });
}

#[test]
fn dates_match_by_day_and_by_range() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for (date, wanted) in [
                ("20200101", vec![600]),
                ("20200101-20200215", vec![600, 601]),
                ("20200102-", vec![601, 602, 603]),
                ("-20200214", vec![600]),
                ("20211231-20211231", vec![603]),
                ("19000101-19991231", vec![]),
            ] {
                let query = format!("StudyDate={date}");
                assert_eq!(studies(server, root, &query), wanted, "{root} {date}");
            }
            for date in [
                "-",
                "20201301",
                "20200101-20190101",
                "2020010",
                "yesterday",
                "20200101-x",
            ] {
                let answer = server.get(&format!("{root}/studies?StudyDate={date}"));
                assert_eq!(answer.status, 400, "{root} {date}");
                assert!(answer.text().contains("StudyDate"), "{}", answer.text());
            }
        }
    });
}

#[test]
fn lists_of_uids_match_any_of_them() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for list in [
                "1.2.3.600,1.2.3.602",
                "1.2.3.600%2C1.2.3.602",
                "1.2.3.600\\1.2.3.602",
                "1.2.3.600%5C1.2.3.602,1.2.3.9",
            ] {
                let query = format!("StudyInstanceUID={list}");
                assert_eq!(studies(server, root, &query), [600, 602], "{root} {list}");
            }
        }
    });
}

#[test]
fn modalities_in_study_match_when_any_series_has_one() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for (query, wanted) in [
                ("ModalitiesInStudy=CT", vec![600, 601, 602]),
                ("ModalitiesInStudy=SR", vec![600]),
                ("00080061=MR", vec![601]),
                ("ModalitiesInStudy=XA", vec![]),
            ] {
                assert_eq!(studies(server, root, query), wanted, "{root} {query}");
            }
            let answer = server.get(&format!("{root}/series?Modality=CT"));
            assert_eq!(numbers(&answer, "0020000E"), [1, 1, 2]);
        }
    });
}

#[test]
fn attributes_of_a_higher_level_match_below_it() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for (path, uid, wanted) in [
                ("/series?PatientID=MUE-1", "0020000E", vec![1, 2]),
                (
                    "/instances?PatientID=MUE-1&Modality=CT",
                    "00080018",
                    vec![1, 2],
                ),
                (
                    "/instances?StudyInstanceUID=1.2.3.601",
                    "00080018",
                    vec![1, 1],
                ),
                (
                    "/studies/1.2.3.600/instances?Modality=SR",
                    "00080018",
                    vec![1],
                ),
                (
                    "/instances?SOPInstanceUID=1.2.3.600.1.2",
                    "00080018",
                    vec![2],
                ),
                (
                    "/series?ManufacturerModelName=model+5&ModalitiesInStudy=SR",
                    "0020000E",
                    vec![1, 2],
                ),
                (
                    "/series?PerformedProcedureStepStartDate=20200215",
                    "0020000E",
                    vec![1, 2],
                ),
            ] {
                let answer = server.get(&format!("{root}{path}"));
                let wanted = if root == "/dicom-web" && path.contains("model+5") {
                    Vec::new()
                } else {
                    wanted
                };
                assert_eq!(numbers(&answer, uid), wanted, "{root}{path}");
            }
        }
        // All conditions hold at once.
        assert_eq!(
            studies(server, "/v2", "ModalitiesInStudy=CT&StudyDate=20210101-"),
            [602]
        );
    });
}

#[test]
fn the_standard_has_keys_that_the_dicom_service_has_not() {
    on_each_index(|server| {
        store_samples(server);
        for (path, uid, wanted) in [
            (
                "/studies?StudyID=S1&StudyTime=101112",
                "0020000D",
                vec![600, 601, 602, 603],
            ),
            (
                "/studies?StudyTime=10-1011",
                "0020000D",
                vec![600, 601, 602, 603],
            ),
            ("/studies?StudyTime=1012-", "0020000D", vec![]),
            ("/series?SeriesNumber=2", "0020000E", vec![2, 2]),
            ("/instances?InstanceNumber=2", "00080018", vec![2]),
            (
                "/instances?SOPClassUID=1.2.840.10008.5.1.4.1.1.7&InstanceNumber=2",
                "00080018",
                vec![2],
            ),
            // Without a column: found all the same, slowly.
            (
                "/studies?PatientAge=050Y&StudyDate=20200101",
                "0020000D",
                vec![600],
            ),
            (
                "/instances?ImageComments=a*&InstanceNumber=2",
                "00080018",
                vec![2],
            ),
        ] {
            let answer = server.get(&format!("/dicom-web{path}"));
            assert_eq!(numbers(&answer, uid), wanted, "{path}");
            let slow = path.contains("PatientAge") || path.contains("ImageComments");
            assert_eq!(answer.headers("warning").is_empty(), !slow, "{path}");
        }
    });
}

#[test]
fn values_are_decoded_before_they_are_split() {
    on_each_index(|server| {
        store_samples(server);
        for root in ROOTS {
            for query in [
                "StudyDescription=Knie%2C%20rechts",
                "StudyDescription=Knie,+rechts",
                "StudyDescription=Knie%2C+rechts",
                "Study%44escription=%4Bnie%2c%20rechts",
            ] {
                assert_eq!(studies(server, root, query), [600], "{root} {query}");
            }
        }
    });
}

#[test]
fn what_was_deleted_is_not_found_and_not_counted() {
    on_each_index(|server| {
        store_samples(server);
        let count = |query: &str| {
            let target = format!("/dicom-web/studies?StudyInstanceUID=1.2.3.600&{query}");
            server.get(&target).expect(200).json()
        };
        let target = format!("/v2{}", SAMPLES[2].name().path());
        server.request("DELETE", &target).send().expect(204);
        assert_eq!(studies(server, "/v2", "ModalitiesInStudy=SR"), [0_u32; 0]);
        let row = &count("")[0];
        assert_eq!(row["00201208"]["Value"][0], 2);
        assert_eq!(row["00201206"]["Value"][0], 1);
        assert_eq!(row["00080061"]["Value"], serde_json::json!(["CT"]));
        let target = format!("/v2{}", SAMPLES[0].name().study_path());
        server.request("DELETE", &target).send().expect(204);
        assert_eq!(studies(server, "/v2", ""), [601, 602, 603]);
        assert_eq!(count(""), serde_json::json!([]));
    });
}

#[test]
fn bad_parameters_are_400_and_named() {
    let server = TestApp::start(None);
    store_samples(&server);
    for root in ROOTS {
        for (query, name) in [
            ("limit=-1", "limit"),
            ("limit=a", "limit"),
            ("offset=-1", "offset"),
            ("offset=1.5", "offset"),
            ("StudyInstanceUID=abc", "StudyInstanceUID"),
        ] {
            let answer = server.get(&format!("{root}/studies?{query}"));
            assert_eq!(answer.status, 400, "{root} {query}: {}", answer.text());
            assert!(answer.text().contains(name), "{}", answer.text());
        }
        server
            .get(&format!("{root}/studies?PatientName=%ff%fe"))
            .expect(400);
        server
            .get(&format!("{root}/studies/abc/series"))
            .expect(400);
        server
            .get(&format!("{root}/studies/1.2/series/abc/instances"))
            .expect(400);
        server
            .get_as(&format!("{root}/studies"), "image/png")
            .expect(406);
    }
    // The DICOM service refuses what the standard ignores with a warning.
    for query in [
        "Unknown=1",
        "patientid=1",
        "PatientSpeciesDescription=1",
        "Modality=CT",
        "SOPInstanceUID=1.2",
        "includefield=Unknown",
    ] {
        for root in ["/v1", "/v2"] {
            let answer = server.get(&format!("{root}/studies?{query}"));
            assert_eq!(answer.status, 400, "{root} {query}");
            assert!(answer.content_type().starts_with("text/plain"));
        }
        let answer = server.get(&format!("/dicom-web/studies?{query}"));
        assert_eq!(answer.status, 200, "{query}");
    }
    for root in ["/v1", "/v2"] {
        server
            .get(&format!("{root}/studies?PatientID=a&PatientID=b"))
            .expect(400);
        server
            .get(&format!("{root}/studies?PatientID=a&00100020=b"))
            .expect(400);
        for query in [
            "limit=0",
            "limit=201",
            "fuzzymatching=perhaps",
            "limit=9223372036854775808",
            "PatientName=%3cscript",
        ] {
            server.get(&format!("{root}/studies?{query}")).expect(400);
        }
    }
}

#[test]
fn a_universal_key_is_no_key() {
    let server = TestApp::with(&[("STOWAGE_MAX_SCAN", "1")]);
    store_samples(&server);
    for key in [
        "ImageComments=*",
        "ImageComments=",
        "00400275.00400009=*",
        "PatientComments=**",
    ] {
        let found = server.get(&format!("/dicom-web/studies?{key}"));
        assert_eq!(numbers(&found, "0020000D"), [600, 601, 602, 603], "{key}");
        assert_eq!(found.header("warning"), None, "{key}");
    }
    server.get("/dicom-web/studies?ImageComments=x").expect(413);
}

#[test]
fn what_is_unknown_is_told_with_what_was_probably_meant() {
    let server = TestApp::start(None);
    store_samples(&server);
    for (query, expected) in [
        (
            "PatientId=MUE-1",
            "299 stowage: \"The parameter PatientId is not supported and was ignored. Did you mean PatientID?\"",
        ),
        (
            "includefield=PixelSpacings",
            "299 stowage: \"The includefield PixelSpacings is not a known attribute and was ignored. Did you mean PixelSpacing?\"",
        ),
        (
            "includefield=nothing",
            "299 stowage: \"The includefield nothing is not a known attribute and was ignored.\"",
        ),
    ] {
        let found = server
            .get(&format!("/dicom-web/studies?{query}"))
            .expect(200);
        assert_eq!(found.headers("warning"), [expected], "{query}");
    }
}
