//! Limits and offsets: pages over a stable order, and no page that ends in silence.

use std::collections::BTreeSet;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, Syntax};

use super::{ROOTS, numbers};

use crate::support::prelude::*;

#[test]
fn pages_hold_everything_once() {
    on_each_index(|server| {
        let files: Vec<BuiltFile> = (0..250)
            .map(|n| Name::new(1000 + n, 1, 1).small())
            .collect();
        for batch in files.chunks(50) {
            server.store("/dicom-web", batch).expect(200);
        }
        // The standard's root has no page size of its own; the DICOM service has 100.
        for (root, whole) in [("/dicom-web", 250), ("/v1", 100), ("/v2", 100)] {
            for resource in ["studies", "series", "instances"] {
                let answer = server.get(&format!("{root}/{resource}"));
                assert_eq!(
                    numbers(&answer, "0020000D").len(),
                    whole,
                    "{root} {resource}"
                );
            }
            let mut seen = BTreeSet::new();
            let mut pages = 0;
            loop {
                let target = format!("{root}/studies?limit=60&offset={}", pages * 60);
                let page = numbers(&server.get(&target), "0020000D");
                if page.is_empty() {
                    break;
                }
                pages += 1;
                assert!(page.iter().all(|number| seen.insert(*number)), "{root}");
            }
            assert_eq!((pages, seen.len()), (5, 250), "{root}");
            for (parameters, wanted) in [
                ("limit=200", 200),
                ("LIMIT=7", 7),
                ("limit=1&offset=249", 1),
                ("limit=10&offset=245", 5),
                ("limit=10&offset=250", 0),
            ] {
                let answer = server.get(&format!("{root}/studies?{parameters}"));
                assert_eq!(
                    numbers(&answer, "0020000D").len(),
                    wanted,
                    "{root} {parameters}"
                );
            }
        }
        let cut = server.get("/dicom-web/studies?limit=60").expect(200);
        let warning = cut.header("warning").expect("a warning");
        assert!(warning.contains("There are 190 additional results that can be requested"));
        let last = server
            .get("/dicom-web/studies?limit=60&offset=240")
            .expect(200);
        assert_eq!(last.header("warning"), None);
    });
}

#[test]
fn the_newest_come_first() {
    on_each_index(|server| {
        for number in 0..5 {
            let name = Name::new(1300 + number, 1, 1);
            server.store("/v2", [&name.small()]).expect(200);
        }
        for root in super::ROOTS {
            for resource in ["studies", "series", "instances"] {
                let rows = server.get(&format!("{root}/{resource}")).json();
                let uids: Vec<&str> = rows
                    .as_array()
                    .expect("an array")
                    .iter()
                    .map(|row| row["0020000D"]["Value"][0].as_str().expect("a UID"))
                    .collect();
                let wanted = [
                    "1.2.3.1304",
                    "1.2.3.1303",
                    "1.2.3.1302",
                    "1.2.3.1301",
                    "1.2.3.1300",
                ];
                assert_eq!(uids, wanted, "{root} {resource}");
            }
        }
    });
}

/// The target that the `Link` header of an answer names as the next page.
#[track_caller]
fn next(server: &Deployment, answer: &Response) -> Option<String> {
    let link = answer.header("link")?;
    let url = link
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let url = url.unwrap_or_else(|| panic!("not a link to the next page: {link}"));
    let target = url.strip_prefix(server.url()).expect("an absolute URL");
    Some(target.to_owned())
}

/// The last number of each study, as they came.
fn in_order(answer: &Response) -> Vec<u32> {
    let rows = answer.clone().expect(200).json();
    let rows = rows.as_array().expect("an array").iter();
    let last = |uid: &str| uid.rsplit('.').next().and_then(|n| n.parse().ok());
    rows.filter_map(|row| last(row["0020000D"]["Value"][0].as_str()?))
        .collect()
}

fn store(server: &Deployment, numbers: std::ops::Range<u32>) {
    let files: Vec<BuiltFile> = numbers.map(|n| Name::new(n, 1, 1).small()).collect();
    for batch in files.chunks(50) {
        server.store("/dicom-web", batch).expect(200);
    }
}

#[test]
fn the_link_of_each_page_leads_through_all_of_them() {
    on_each_index(|server| {
        store(server, 1000..1060);
        for root in ROOTS {
            for (path, limit, wanted) in [
                ("/studies?limit=7", 7, 1000..1060),
                ("/series?limit=25", 25, 1000..1060),
                ("/instances?limit=59", 59, 1000..1060),
                ("/studies/1.2.3.1001/series?limit=7", 1, 1001..1002),
                (
                    "/studies/1.2.3.1001/series/1.2.3.1001.1/instances?limit=7",
                    1,
                    1001..1002,
                ),
                // What is not in the index is read portion by portion.
                (
                    "/studies?limit=25&includefield=00080070&includefield=PatientAge",
                    25,
                    1000..1060,
                ),
                (
                    "/studies?StudyInstanceUID=1.2.3.1001%2C1.2.3.1002,1.2.3.1003&limit=2",
                    2,
                    1001..1004,
                ),
                ("/studies?offset=50&limit=3", 3, 1000..1010),
            ] {
                let wanted: Vec<u32> = wanted.collect();
                let mut target = Some(format!("{root}{path}"));
                let mut seen = Vec::new();
                let mut remaining = wanted.len();
                while let Some(page) = target {
                    let answer = server.get(&page).expect(200);
                    let found = numbers(&answer, "0020000D");
                    assert_eq!(found.len(), remaining.min(limit), "{page}");
                    remaining -= found.len();
                    seen.extend(found);
                    let warning = answer.header("warning").unwrap_or("");
                    let reported = format!("There are {remaining} additional results");
                    assert_eq!(
                        warning.contains(&reported),
                        remaining > 0,
                        "{page}: {warning}"
                    );
                    target = next(server, &answer);
                    assert_eq!(target.is_some(), remaining > 0, "{page}");
                }
                seen.sort_unstable();
                assert_eq!(seen, wanted, "{root}{path}");
            }
        }
    });
}

#[test]
fn pages_behind_a_cursor_neither_repeat_nor_skip_while_others_store_and_delete() {
    on_each_index(|server| {
        store(server, 1000..1040);
        let mut target = Some("/dicom-web/studies?limit=10".to_owned());
        let mut seen = Vec::new();
        let mut round = 0;
        while let Some(page) = target {
            let answer = server.get(&page).expect(200);
            seen.extend(numbers(&answer, "0020000D"));
            target = next(server, &answer);
            // Newer ones arrive, and one of the page that was just read goes.
            store(server, 2000 + round * 10..2007 + round * 10);
            let gone = format!("/dicom-web/studies/1.2.3.{}", 1035 - round * 10);
            server.request("DELETE", &gone).send().expect(204);
            round += 1;
        }
        seen.sort_unstable();
        assert_eq!(seen, (1000..1040).collect::<Vec<u32>>());
    });
}

#[test]
fn the_exact_number_of_results_is_told_on_request() {
    on_each_index(|server| {
        let files: Vec<BuiltFile> = (0..1102).map(|n| Name::new(1, 1, n + 1).small()).collect();
        for files in files.chunks(200) {
            server.store("/dicom-web", files).expect(200);
        }
        store(server, 1000..1003);
        for root in ROOTS {
            let plain = server.get(&format!("{root}/instances?limit=1")).expect(200);
            let warning = plain.header("warning").expect("a warning");
            assert!(
                warning.contains("There are more than 1000 additional results"),
                "{warning}"
            );
            assert_eq!(plain.header("x-total-count"), None);
            for (query, rest) in [
                ("limit=1", 1104),
                ("limit=100&offset=1000", 5),
                ("limit=100&offset=1100", 0),
            ] {
                let exact = server
                    .request("GET", &format!("{root}/instances?{query}"))
                    .accept("application/dicom+json")
                    .header("Prefer", "return=minimal, Count=exact")
                    .send()
                    .expect(200);
                assert_eq!(
                    exact.header("x-total-count"),
                    Some("1105"),
                    "{root} {query}"
                );
                assert_eq!(exact.header("preference-applied"), Some("count=exact"));
                let warning = exact.header("warning").unwrap_or("");
                let reported = format!("There are {rest} additional results");
                assert_eq!(
                    warning.contains(&reported),
                    rest > 0,
                    "{root} {query}: {warning}"
                );
            }
            let narrow = server
                .request(
                    "GET",
                    &format!("{root}/instances?StudyInstanceUID=1.2.3.1001"),
                )
                .accept("*/*")
                .header("Prefer", "count=exact")
                .send();
            assert_eq!(narrow.header("x-total-count"), Some("1"));
        }
        // Nothing but the number.
        let counted = server
            .request("GET", "/dicom-web/instances?limit=0")
            .accept("*/*")
            .header("Prefer", "count=exact")
            .send()
            .expect(200);
        assert_eq!(
            (counted.text().as_str(), counted.header("x-total-count")),
            ("[]", Some("1105"))
        );
        assert_eq!(next(server, &counted), None);
    });
}

#[test]
fn studies_are_sorted_by_orderby_and_paged_by_links() {
    on_each_index(|server| {
        let file = |n: u32, date: &str, patient: &str| {
            let name = Name::new(n, 1, 1);
            let data_set = name.data_set();
            let data_set = data_set.text(Tag(0x0008, 0x0020), VR::DA, date).text(
                Tag(0x0010, 0x0010),
                VR::PN,
                patient,
            );
            name.file(&data_set, Syntax::ExplicitLittle)
        };
        let files: Vec<BuiltFile> = (0..12)
            .map(|n| {
                let date = format!("2024{:02}01", 1 + n * 5 % 12);
                file(n + 101, &date, &format!("Name{}^A", n % 2))
            })
            .collect();
        server.store("/dicom-web", &files).expect(200);
        let by_date: Vec<u32> = (0..12).map(|month| month * 5 % 12 + 101).collect();
        for root in ROOTS {
            for (order, wanted) in [
                ("StudyDate", by_date.clone()),
                ("-00080020", by_date.iter().rev().copied().collect()),
                (
                    "-PatientName",
                    vec![112, 110, 108, 106, 104, 102, 111, 109, 107, 105, 103, 101],
                ),
                // Nothing decides this condition but the stored metadata.
                ("StudyDate&InstitutionName=", by_date.clone()),
            ] {
                let strict = root != "/dicom-web" && order.contains('&');
                if strict {
                    continue;
                }
                let mut target = Some(format!("{root}/studies?limit=5&orderby={order}"));
                let mut seen = Vec::new();
                while let Some(page) = target {
                    let answer = server.get(&page).expect(200);
                    seen.extend(in_order(&answer));
                    target = next(server, &answer);
                }
                assert_eq!(seen, wanted, "{root} {order}");
            }
            // A place in one order is none in another.
            let answer = server.get(&format!("{root}/studies?limit=5&orderby=StudyDate"));
            let link = next(server, &answer).expect("another page");
            let other = link.replace("orderby=StudyDate", "orderby=-StudyDate");
            server.get(&other).expect(400);
        }
        for wrong in [
            "/studies?orderby=StudyDescription",
            "/studies?orderby=",
            "/series?orderby=StudyDate",
            "/instances?orderby=-PatientID",
        ] {
            server.get(&format!("/v2{wrong}")).expect(400);
            let answer = server.get(&format!("/dicom-web{wrong}")).expect(200);
            let warning = answer.header("warning").expect("a warning");
            assert!(warning.contains("orderby was ignored"), "{warning}");
        }
        server
            .get("/dicom-web/studies?orderby=StudyDate&orderby=PatientID")
            .expect(400);
    });
}

#[test]
fn a_scan_keeps_the_order_that_is_asked_for() {
    on_each_index(|server| {
        let files: Vec<BuiltFile> = (1..=9)
            .map(|n| {
                let name = Name::new(n, 1, 1);
                let data_set = name.data_set();
                let date = format!("202401{:02}", n * 4 % 9 + 1);
                let place = if n % 3 == 0 { "Elsewhere" } else { "Here" };
                let data_set = data_set.text(Tag(0x0008, 0x0020), VR::DA, &date).text(
                    Tag(0x0008, 0x0080),
                    VR::LO,
                    place,
                );
                name.file(&data_set, Syntax::ExplicitLittle)
            })
            .collect();
        server.store("/dicom-web", &files).expect(200);
        let mut wanted: Vec<u32> = (1..=9).filter(|n| n % 3 != 0).collect();
        wanted.sort_by_key(|n| n * 4 % 9);
        let mut target =
            Some("/dicom-web/studies?limit=2&InstitutionName=Here&orderby=StudyDate".to_owned());
        let mut seen = Vec::new();
        while let Some(page) = target {
            let exact = server
                .request("GET", &page)
                .accept("application/dicom+json")
                .header("Prefer", "count=exact")
                .send()
                .expect(200);
            assert_eq!(exact.header("x-total-count"), Some("6"));
            let answer = server.get(&page).expect(200);
            assert_eq!(in_order(&answer), in_order(&exact));
            seen.extend(in_order(&answer));
            target = next(server, &answer);
        }
        assert_eq!(seen, wanted);
    });
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    let server = TestApp::start(None);
    store(&server, 1000..1003);
    let answer = server.get("/dicom-web/studies?limit=1");
    let next = next(&server, &answer).expect("another page");
    let cursor = next.rsplit("cursor=").next().expect("a cursor");
    for root in ROOTS {
        for wrong in [
            "",
            "x",
            "s",
            "s-1",
            "1",
            "szz",
            "s1%002",
            "sffffffffffffffffff",
        ] {
            let answer = server.get(&format!("{root}/studies?cursor={wrong}"));
            assert_eq!(answer.status, 400, "{root} {wrong}");
            assert!(answer.text().contains("cursor"));
        }
        // One of studies says nothing about instances.
        server
            .get(&format!("{root}/instances?cursor={cursor}"))
            .expect(400);
        let rest = server.get(&format!("{root}/studies?cursor={cursor}"));
        assert_eq!(numbers(&rest, "0020000D"), [1000, 1001]);
        // Limit and offset work behind it.
        let rest = server.get(&format!("{root}/studies?cursor={cursor}&limit=1&offset=1"));
        assert_eq!(numbers(&rest, "0020000D"), [1000]);
    }
}

#[test]
fn what_would_cost_too_much_is_413_with_advice() {
    let settings = [("STOWAGE_MAX_RESULTS", "20"), ("STOWAGE_MAX_SCAN", "10")];
    on_each_index_with(&settings, |server| {
        let files: Vec<BuiltFile> = (1000..1030)
            .map(|n| {
                let name = Name::new(n, 1, 1);
                let age = if n % 2 == 0 { "030Y" } else { "040Y" };
                let data_set = name
                    .data_set()
                    .text(
                        Tag(0x0008, 0x0020),
                        VR::DA,
                        &format!("202401{:02}", n - 999),
                    )
                    .text(Tag(0x0010, 0x1010), VR::AS, age);
                name.file(&data_set, Syntax::ExplicitLittle)
            })
            .collect();
        server.store("/dicom-web", &files).expect(200);
        let refused = |query: &str, advice: &str| {
            let answer = server.get(&format!("/dicom-web/studies{query}"));
            assert_eq!(answer.status, 413, "{query}");
            assert_eq!(answer.content_type(), "application/problem+json");
            assert!(answer.text().contains(advice), "{}", answer.text());
        };
        // More than one answer may hold, and nobody asked for less.
        refused("", "page with limit");
        refused("?includefield=PatientAge", "page with limit");
        let cut = server.get("/dicom-web/studies?limit=25").expect(200);
        assert_eq!(numbers(&cut, "0020000D").len(), 20);
        assert!(
            cut.header("warning")
                .is_some_and(|w| w.contains("There are 10 additional"))
        );
        assert!(next(server, &cut).is_some());
        assert_eq!(studies(server, "?StudyDate=20240115-").len(), 16);
        // A page far behind, if there is one.
        refused("?limit=5&offset=21", "Link header");
        assert_eq!(studies(server, "?limit=5&offset=20").len(), 5);
        assert_eq!(
            studies(server, "?StudyDate=20240115-&limit=5&offset=500").len(),
            0
        );
        server.get("/v2/studies?limit=5&offset=21").expect(413);
        server
            .get("/v2/studies?StudyDate=20240115-&offset=21")
            .expect(204);
        // An attribute without an index, and too many rows to look at.
        refused("?PatientAge=030Y", "extended query tag");
        refused("?PatientAge=099Y&limit=5", "extended query tag");
        assert_eq!(
            studies(server, "?PatientAge=030Y&StudyDate=20240125-"),
            [1024, 1026, 1028]
        );
        // A page that fills before that is a page, and the next one follows.
        let mut target = Some("/dicom-web/studies?PatientAge=030Y&limit=3".to_owned());
        let mut seen = Vec::new();
        while let Some(page) = target {
            let answer = server.get(&page).expect(200);
            let found = numbers(&answer, "0020000D");
            assert!(found.len() <= 3);
            seen.extend(found);
            target = next(server, &answer);
            if target.is_some() {
                let warnings = answer.headers("warning").join("\n");
                assert!(warnings.contains("additional results"), "{warnings}");
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (1000..1030).step_by(2).collect::<Vec<u32>>());
    });
}

#[track_caller]
fn studies(server: &Deployment, query: &str) -> Vec<u32> {
    numbers(
        &server.get(&format!("/dicom-web/studies{query}")),
        "0020000D",
    )
}
