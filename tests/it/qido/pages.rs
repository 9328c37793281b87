//! Limits and offsets: pages over a stable order, and no page that ends in silence.

use std::collections::BTreeSet;

use stowage::dicom::build::Built;

use super::numbers;
use crate::support::dicom::Name;
use crate::support::server::on_each_index;

#[test]
fn pages_hold_everything_once() {
    on_each_index(|server| {
        let files: Vec<Built> = (0..250)
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
