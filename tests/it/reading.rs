//! What was stored never makes its reading cost more than what is sent, and what cannot be read fails alone.

use std::io::Write;
use std::thread;

use dicom_core::{Tag, VR};
use stowage::dicom::limits::ParseLimits;
use stowage::dicom::testing::{BuiltFile, DataSet, Lengths, Syntax};

use crate::support::http::connect;
use crate::support::prelude::*;
use crate::support::server::on_each_index_process;
use crate::support::sql::execute;

/// Smallest budget there is, in bytes.
const BUDGET: (&str, &str) = ("STOWAGE_MEMORY_BYTES", "268435456");
/// Media type of one data set after the other in XML.
const XML: &str = "multipart/related; type=\"application/dicom+xml\"";

/// An instance with so many empty private attributes.
fn wide(name: &Name, attributes: u32) -> BuiltFile {
    let mut data_set = name.data_set();
    for number in 0..attributes {
        let (group, element) = (0x0009 + number / 0xE000 * 2, 0x1000 + number % 0xE000);
        let tag = Tag(
            u16::try_from(group).unwrap(),
            u16::try_from(element).unwrap(),
        );
        data_set = data_set.bytes(tag, VR::LO, []);
    }
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// An instance with a sequence of so many empty items.
fn many(name: &Name, items: usize) -> BuiltFile {
    let items = vec![DataSet::new(); items];
    let data_set = name
        .data_set()
        .items(Tag(0x0008, 0x1140), Lengths::Defined, items);
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// An instance with sequences inside each other.
fn deep(name: &Name, depth: usize) -> BuiltFile {
    let mut inner = DataSet::new().text(Tag(0x0008, 0x1155), VR::UI, "1.2.3");
    for _ in 1..depth {
        inner = DataSet::new().items(Tag(0x0008, 0x1140), Lengths::Undefined, vec![inner]);
    }
    let data_set = name
        .data_set()
        .items(Tag(0x0008, 0x1140), Lengths::Undefined, vec![inner]);
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// Every way to read the metadata of a series, with the `Accept` it needs.
fn routes(name: &Name) -> Vec<(String, &'static str)> {
    let series = name.series_path();
    let json = "application/dicom+json";
    vec![
        (
            format!("/dicom-web{series}/instances?includefield=all"),
            json,
        ),
        (
            format!("/dicom-web{series}/instances?includefield=00081140.00081155"),
            json,
        ),
        (
            format!("/dicom-web{series}/instances?00081140.00081155=1.2.9"),
            json,
        ),
        (
            format!("/dicom-web{series}/instances?PatientComments=x"),
            json,
        ),
        (
            format!("/dicom-web{series}/instances?includefield=all"),
            XML,
        ),
        (format!("/dicom-web{series}/metadata"), json),
        (format!("/dicom-web{series}/metadata"), XML),
        ("/v2/changefeed?limit=200".to_owned(), "application/json"),
    ]
}

/// A sample of the metrics.
fn metric(server: &Deployment, name: &str) -> u64 {
    let text = server.get("/metrics").expect(200).text();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

#[test]
fn attributes_cost_what_they_are() {
    let server = TestApp::start(None);
    // So many that nobody would wait for work that grows with their square; `tests/cost` counts what is allocated.
    let name = Name::new(7000, 1, 1);
    server
        .store("/dicom-web", [&wide(&name, 200_000)])
        .expect(200);
    for (target, accept) in routes(&name) {
        let answer = server.get_as(&target, accept);
        assert!(
            [200, 204].contains(&answer.status),
            "{target} {accept}: {}",
            answer.status
        );
    }
}

#[test]
fn structure_does_not_become_memory() {
    on_each_index_process(&[BUDGET], |server| {
        let names: Vec<Name> = (1..=2).map(|n| Name::new(7010, 1, n)).collect();
        server
            .store(
                "/dicom-web",
                [&many(&names[0], 400_000), &wide(&names[1], 60_000)],
            )
            .expect(200);
        server.terminate();
        server.wait();
        server.restart();
        server.get("/dicom-web/studies").expect(200);
        for (target, accept) in routes(&names[0]) {
            server.reset_peak();
            let idle = server.memory("VmRSS");
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let answer = server.get_as(&target, accept);
                        assert!([200, 204].contains(&answer.status), "{target} {accept}");
                    });
                }
            });
            let grown = server.memory("VmHWM").saturating_sub(idle) / 1024;
            println!("{target} {accept}: {grown} MiB");
            // Trees of these took 60 MiB and more for each request.
            assert!(grown < 100, "{target} {accept}: {grown} MiB");
        }
        assert_eq!(metric(server, "stowage_unreadable_metadata_total"), 0);
        assert_eq!(
            metric(server, "stowage_memory_reserved_bytes{purpose=\"text\"}"),
            0
        );
        assert_eq!(
            metric(server, "stowage_memory_reserved_bytes{purpose=\"rows\"}"),
            0
        );
    });
}

#[test]
fn what_may_be_stored_deep_can_be_read() {
    on_each_index(|server| {
        let name = Name::new(7020, 1, 1);
        let depth = ParseLimits::default().depth;
        server
            .store("/dicom-web", [&deep(&name, depth)])
            .expect(200);
        for (target, accept) in routes(&name) {
            let answer = server.get_as(&target, accept);
            assert!([200, 204].contains(&answer.status), "{target} {accept}");
            assert_eq!(
                answer
                    .header("warning")
                    .filter(|w| w.contains("cannot be read")),
                None
            );
        }
        let metadata = server.get(&format!("/dicom-web{}/metadata", name.path()));
        assert_eq!(
            metadata.expect(200).text().matches("00081140").count(),
            depth
        );
        let path = vec!["00081140"; 15].join(".");
        let found = server.get(&format!(
            "/dicom-web/instances?includefield={path}.00081155"
        ));
        assert_eq!(found.expect(200).text().matches("00081140").count(), 15);
    });
}

/// Makes what is stored of an instance unreadable.
fn damage(server: &Deployment, name: &Name) {
    let statement = format!(
        "update instance_content set metadata = {} where watermark = (select watermark from instance where \
         sop_instance_uid = '{}')",
        match server.setting("STOWAGE_DATABASE_URL") {
            Some(_) => "'\\x01ff'",
            None => "x'01ff'",
        },
        name.instance
    );
    execute(server, statement);
}

fn is_warned(answer: &Response) -> bool {
    let warnings = answer.headers.iter();
    let mut warnings = warnings.filter(|(name, _)| name.eq_ignore_ascii_case("warning"));
    warnings.any(|(_, text)| text.contains("cannot be read and was left out"))
}

#[test]
fn what_cannot_be_read_is_left_out_with_a_warning() {
    on_each_index_process(&[], |server| {
        let (good, bad) = (Name::new(7030, 1, 1), Name::new(7030, 1, 2));
        server
            .store("/dicom-web", [&good.small(), &bad.small()])
            .expect(200);
        damage(server, &bad);
        let series = good.series_path();
        for (target, accept) in [
            (
                format!("/dicom-web{series}/metadata"),
                "application/dicom+json",
            ),
            (format!("/dicom-web{series}/metadata"), XML),
            (
                format!("/dicom-web{series}/instances?includefield=all"),
                "application/dicom+json",
            ),
            (
                format!("/dicom-web{series}/instances?PatientComments=%22%22"),
                "application/dicom+json",
            ),
        ] {
            let answer = server.get_as(&target, accept).expect(200);
            let text = answer.text();
            assert!(text.contains(&good.instance), "{target} {accept}: {text}");
            assert!(!text.contains(&bad.instance), "{target} {accept}: {text}");
            assert!(
                is_warned(&answer) || accept == XML,
                "{target} {accept}: {:?}",
                answer.headers
            );
        }
        // The feed tells of both all the same.
        let feed = server.get("/v2/changefeed").expect(200);
        let entries = feed.json();
        let reported = |at: usize| !entries[at]["metadata"].is_null();
        assert_eq!((reported(0), reported(1)), (true, false), "{entries}");
        assert!(is_warned(&feed));
        server
            .get(&format!("/dicom-web{}/metadata", bad.path()))
            .expect(500);
        assert!(metric(server, "stowage_unreadable_metadata_total") >= 6);
        let log = server.log();
        let reported = log
            .matches("metadata of an instance cannot be read and is left out")
            .count();
        assert_eq!(reported, 1, "{log}");
    });
}

#[test]
fn a_scan_ends_when_its_client_leaves() {
    let server = Server::start(None);
    let files: Vec<BuiltFile> = (1..=300)
        .map(|number| wide(&Name::new(7040, 1, number), 6_000))
        .collect();
    for files in files.chunks(50) {
        server.store("/dicom-web", files).expect(200);
    }
    let scanned = || metric(&server, "stowage_search_scanned_rows_total");
    let mut left = 0;
    // On a busy machine a client may come too late to leave in time.
    for _ in 0..10 {
        let before = scanned();
        let mut stream = connect(server.address()).expect("the server listens");
        let search = server.request("GET", "/dicom-web/instances?PatientComments=x");
        stream
            .write_all(search.head().as_bytes())
            .expect("the server reads");
        wait_until("the scan begins", || scanned() > before);
        drop(stream);
        let mut last = 0;
        wait_until("the scan ends", || {
            let now = scanned();
            let still = now == last;
            last = now;
            // Portions of its work are shorter than this.
            server.get("/dicom-web/instances?includefield=all&limit=20");
            still
        });
        left = 300 - (last - before);
        if left > 0 {
            break;
        }
    }
    assert!(left > 0, "every scan went on to its end");
}

#[test]
fn what_a_file_says_of_its_place_is_not_repeated() {
    on_each_index(|server| {
        let name = Name::new(7050, 1, 1);
        let evil = "https://evil.example/steal";
        let item = DataSet::new().text(Tag(0x0008, 0x1190), VR::UR, "https://other.example/");
        let data_set = name
            .data_set()
            .text(Tag(0x0008, 0x0054), VR::AE, "EVIL")
            .text(Tag(0x0008, 0x0056), VR::CS, "OFFLINE")
            .text(Tag(0x0008, 0x1190), VR::UR, evil)
            .items(Tag(0x0008, 0x1115), Lengths::Defined, vec![item]);
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
        let mut targets = routes(&name);
        targets.extend([
            (
                format!("/dicom-web{}/metadata", name.path()),
                "application/dicom+json",
            ),
            (
                "/dicom-web/instances?includefield=00080054,00081190,00080056".to_owned(),
                "application/dicom+json",
            ),
            (
                "/v2/instances?includefield=00080054,00081190,00080056".to_owned(),
                "application/dicom+json",
            ),
            ("/v1/changefeed/latest".to_owned(), "application/json"),
        ]);
        for (target, accept) in targets {
            let text = server.get_as(&target, accept).text();
            for word in ["evil.example", "EVIL", "OFFLINE"] {
                assert!(!text.contains(word), "{target} {accept}: {text}");
            }
            if target.ends_with("includefield=all") || target.contains("metadata") {
                assert!(text.contains("other.example"), "{target} {accept}: {text}");
            }
        }
        // The URL of the server stands there once.
        let all = server.get("/dicom-web/instances?includefield=all");
        let text = all.expect(200).text();
        let own = format!("\"00081190\":{{\"Value\":[\"{}", server.url());
        assert_eq!(text.matches("\"00081190\":").count(), 2, "{text}");
        assert_eq!(text.matches(&own).count(), 1, "{text}");
        let stored = server.stored(&name).expect("it is stored");
        assert!(stored == file.bytes, "what is stored is not changed");
    });
}

#[test]
fn an_empty_name_among_others_is_a_name_in_xml() {
    let server = TestApp::start(None);
    let name = Name::new(7060, 1, 1);
    let data_set = name
        .data_set()
        .text(Tag(0x0008, 0x1070), VR::PN, "A^B\\\\C");
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    let target = format!("/dicom-web{}/metadata", name.path());
    let text = server.get_as(&target, XML).expect(200).text();
    assert!(text.contains("<PersonName number=\"2\"/>"), "{text}");
}

#[test]
fn long_attributes_are_in_the_metadata_and_not_in_every_result() {
    on_each_index(|server| {
        let name = Name::new(7070, 1, 1);
        let item = |number: usize| {
            DataSet::new().text(Tag(0x0040, 0x1001), VR::SH, &format!("step {number}"))
        };
        let long: Vec<DataSet> = (0..1000).map(item).collect();
        let data_set = name
            .data_set()
            .items(Tag(0x0040, 0x0275), Lengths::Defined, long);
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
        let found = server.get("/dicom-web/series").expect(200);
        assert!(found.body.len() < 5_000, "{} bytes", found.body.len());
        let metadata = server.get(&format!("/dicom-web{}/metadata", name.path()));
        let metadata: Value = metadata.expect(200).json();
        let items = metadata[0]["00400275"]["Value"].as_array();
        assert_eq!(items.map(Vec::len), Some(1000));
    });
}

#[test]
fn pages_of_results_are_whole_however_long_the_rows_are() {
    on_each_index(|server| {
        // More than is read at a time in all, and rows of very different length.
        let files: Vec<BuiltFile> = (1..=120)
            .map(|number| {
                let name = Name::new(7100 + number, 1, 1);
                let length = if number % 3 == 0 { 10_000 } else { 10 };
                let text = format!("{number} {}", "x".repeat(length));
                let data_set = name.data_set().text(Tag(0x0010, 0x21B0), VR::LT, &text);
                name.file(&data_set, Syntax::ExplicitLittle)
            })
            .collect();
        server.store("/dicom-web", &files).expect(200);
        let expected: Vec<u32> = (7101..=7220).collect();
        for query in [
            "includefield=AdditionalPatientHistory",
            "includefield=all",
            "AdditionalPatientHistory=*x*",
            "limit=120&AdditionalPatientHistory=*x*",
        ] {
            let found = server.get(&format!("/dicom-web/studies?{query}"));
            let studies = super::qido::numbers(&found, "0020000D");
            assert_eq!(studies, expected, "{query}");
        }
        let found =
            server.get("/dicom-web/studies?AdditionalPatientHistory=*x*&limit=50&offset=20");
        // The newest come first.
        assert_eq!(super::qido::numbers(&found, "0020000D"), expected[50..100]);
        let next = found.header("link").expect("a next page").to_owned();
        assert!(
            found.header("warning").is_some_and(|w| w.contains("slow")),
            "{next}"
        );
    });
}
