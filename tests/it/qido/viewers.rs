//! The query strings that OHIF and Python's `dicomweb-client` send, byte for byte, and what they want back.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::BuiltFile;
use stowage::dicom::testing::{DataSet, Syntax};

use super::{numbers, store_samples, studies};

use crate::support::prelude::*;

const OHIF_FIELDS: &str = "includefield=00081030%2C00080060%2C00080090%2C00100030";

/// A patient whose values hold what has a meaning elsewhere.
fn odd() -> BuiltFile {
    let name = Name::new(700, 1, 1);
    let data_set = name.data_set().set(
        DataSet::new()
            .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
            .text(Tag(0x0008, 0x0020), VR::DA, "20230405")
            .text(Tag(0x0008, 0x0060), VR::CS, "MG")
            .text(Tag(0x0008, 0x1030), VR::LO, "50% a+b, 'c' & d=e")
            .text(Tag(0x0010, 0x0010), VR::PN, "Smith, Jr.^Ann"),
    );
    name.file(&data_set, Syntax::ExplicitLittle)
}

#[test]
fn what_ohif_asks_is_answered() {
    on_each_index(|server| {
        store_samples(server);
        server.store("/dicom-web", [&odd()]).expect(200);
        let page = "limit=101&offset=0&fuzzymatching=true";
        for (filters, wanted) in [
            ("", vec![600, 601, 602, 603, 700]),
            ("&PatientName=*smith*", vec![700]),
            ("&PatientName=%2ASMITH%2A", vec![700]),
            ("&PatientName=*m%C3%BCll*", vec![600]),
            ("&PatientName=Smith%2C%20Jr.%5EAnn", vec![700]),
            ("&00100020=*MUE*", vec![600]),
            ("&00100020=MUE-1", vec![600]),
            ("&AccessionNumber=*ACC*", vec![600, 601]),
            ("&StudyDescription=*ead*", vec![601, 602]),
            (
                "&StudyDescription=50%25+a%2Bb%2C+%27c%27+%26+d%3De",
                vec![700],
            ),
            ("&ModalitiesInStudy=SR", vec![600]),
            ("&ModalitiesInStudy=SR%2CMR", vec![600, 601]),
            ("&ModalitiesInStudy=SR%5CUS", vec![600, 603]),
            ("&ModalitiesInStudy=SR\\US", vec![600, 603]),
            ("&StudyDate=20200101-20200331", vec![600, 601]),
            (
                "&StudyDate=19700102-20261121",
                vec![600, 601, 602, 603, 700],
            ),
            ("&StudyInstanceUID=1.2.3.600%5C1.2.3.602", vec![600, 602]),
            (
                "&StudyInstanceUID=1.2.3.601&StudyInstanceUID=1.2.3.601",
                vec![601],
            ),
        ] {
            let search = format!("{page}&{OHIF_FIELDS}{filters}");
            assert_eq!(studies(server, "/dicom-web", &search), wanted, "{filters}");
        }
        // What its study list reads of a row.
        let search = format!("/dicom-web/studies?{page}&{OHIF_FIELDS}&00100020=MUE-1");
        let row = &server.get_as(&search, "application/dicom+json").json()[0];
        for (tag, value) in [
            ("0020000D", "1.2.3.600"),
            ("00080020", "20200101"),
            ("00080030", "101112"),
            ("00080050", "ACC1"),
            ("00100020", "MUE-1"),
            ("00100030", "19700203"),
            ("00081030", "Knie, rechts"),
            ("00080061", "CT"),
        ] {
            assert_eq!(row[tag]["Value"][0], value, "{tag}");
        }
        assert_eq!(row["00201208"]["Value"][0], 3);
        assert_eq!(row["00100010"]["Value"][0]["Alphabetic"], "Müller^Jörg");
        assert_eq!(row["00080090"]["Value"][0]["Alphabetic"], "Doctor^Doc");
        let series = "/dicom-web/studies/1.2.3.600/series?includefield=00080021%2C00080031%2C0008103E%2C00200011";
        let found = server.get_as(series, "application/dicom+json");
        assert_eq!(numbers(&found, "0020000E"), [1, 2]);
        for row in found.json().as_array().expect("rows") {
            for tag in ["0020000E", "00080060", "00200011", "00201209"] {
                assert!(!row[tag]["Value"][0].is_null(), "{tag}");
            }
        }
        let one = format!("{series}&SeriesInstanceUID=1.2.3.600.2");
        assert_eq!(numbers(&server.get(&one), "0020000E"), [2]);
    });
}

#[test]
fn what_the_python_client_asks_is_answered() {
    on_each_index(|server| {
        store_samples(server);
        server.store("/dicom-web", [&odd()]).expect(200);
        let rows = |server: &Deployment, target: &str| -> Vec<Value> {
            let accept = "application/dicom+json, application/json";
            let answer = server.get_as(&format!("/dicom-web{target}"), accept);
            let answer = answer.expect(200).json();
            answer.as_array().expect("an array").clone()
        };
        // `quote_plus` encodes everything but letters, digits and `_.-~`.
        for (query, found) in [
            ("PatientName=Smith%2C+Jr.%5EAnn", 1),
            ("PatientName=%2Asmith%2A", 1),
            ("PatientName=Doe%5E%2A", 1),
            ("StudyDate=20200101-20201231", 2),
            ("StudyInstanceUID=1.2.3.600%2C1.2.3.601%2C1.2.3.9", 2),
            ("StudyInstanceUID=1.2.3.600%5C1.2.3.601", 2),
            ("0020000D=1.2.3.600&fuzzymatching=false", 1),
            ("PatientID=Y%2A3", 1),
            ("PatientName=mary+an&fuzzymatching=true", 1),
            ("limit=2&offset=3", 2),
            ("PatientID=nobody", 0),
        ] {
            assert_eq!(
                rows(server, &format!("/studies?{query}")).len(),
                found,
                "{query}"
            );
        }
        let fields = "includefield=PatientAge&includefield=00204000&includefield=00080090";
        let row = &rows(server, &format!("/studies?0020000D=1.2.3.601&{fields}"))[0];
        assert_eq!(row["00101010"]["Value"][0], "050Y");
        assert_eq!(row["00204000"]["Value"][0], "a comment");
        assert_eq!(row["00080090"]["Value"][0]["Alphabetic"], "Doctor^Doc");
        assert_eq!(rows(server, "/series?Modality=CT").len(), 3);
        assert_eq!(
            rows(server, "/studies/1.2.3.600/instances?InstanceNumber=2").len(),
            1
        );
        let both = "/studies/1.2.3.600/series/1.2.3.600.1/instances?SOPInstanceUID=1.2.3.600.1.1%2C1.2.3.600.1.2";
        assert_eq!(rows(server, both).len(), 2);
    });
}

#[test]
fn what_weasis_asks_is_answered() {
    on_each_index(|server| {
        store_samples(server);
        let fields = "includefield=00080020,00080030,00080050,00080061,00080090,00081030,00100010,00100020,00100021,\
                      00100030,00100040,0020000D,00200010";
        for (path, uid, wanted) in [
            (format!("/studies?0020000D=1.2.3.600&{fields}"), "0020000D", vec![600]),
            (format!("/studies?00100020=doe-2&{fields}"), "0020000D", vec![601]),
            (format!("/studies?00080050=ACC2&{fields}"), "0020000D", vec![601]),
            (
                "/series?0020000E=1.2.3.601.2&includefield=0008103E,00080060,0020000E,00200011,00081190".to_owned(),
                "0020000E",
                vec![2],
            ),
            (
                "/instances?00080018=1.2.3.600.1.2&includefield=00080018,00200013,00081190".to_owned(),
                "00080018",
                vec![2],
            ),
        ] {
            let answer = server.get(&format!("/dicom-web{path}"));
            assert_eq!(numbers(&answer, uid), wanted, "{path}");
            let url = answer.json()[0]["00081190"]["Value"][0].as_str().map(str::to_owned);
            assert!(url.is_some_and(|url| url.starts_with(server.url())), "{path}");
        }
    });
}
