//! The change feed: each store and each delete once, in order, with what has become of it.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::prelude::*;

/// Entries of an answer.
#[track_caller]
fn entries(server: &Deployment, target: &str) -> Vec<Value> {
    let answer = server.get(target).expect(200);
    assert!(answer.content_type().starts_with("application/json"));
    let entries = answer.json();
    entries.as_array().expect("an array").clone()
}

/// What was done to which instance, and what has become of it.
fn told(entries: &[Value]) -> Vec<(String, String, String)> {
    let text = |entry: &Value, member: &str| entry[member].as_str().expect("text").to_owned();
    entries
        .iter()
        .map(|entry| {
            (
                text(entry, "action"),
                text(entry, "sopInstanceUid"),
                text(entry, "state"),
            )
        })
        .collect()
}

fn sequences(entries: &[Value]) -> Vec<i64> {
    let sequence = |entry: &Value| entry["sequence"].as_i64().expect("a number");
    entries.iter().map(sequence).collect()
}

fn delete(server: &Deployment, name: &Name) {
    let target = format!("/v2{}", name.path());
    server.request("DELETE", &target).send().expect(204);
}

#[test]
fn every_store_and_every_delete_is_told_once() {
    on_each_index(|server| {
        let (one, two) = (Name::new(800, 1, 1), Name::new(800, 1, 2));
        for root in ["/v1", "/v2"] {
            assert_eq!(
                entries(server, &format!("{root}/changefeed")),
                Vec::<serde_json::Value>::new()
            );
            let latest = server.get(&format!("{root}/changefeed/latest")).expect(204);
            assert!(latest.body.is_empty());
        }
        server
            .store("/v2", [&one.small(), &two.small()])
            .expect(200);
        // What fails or changes nothing is not told.
        server.store("/v2", [&one.small()]).expect(409);
        server.store("/dicom-web", [&one.small()]).expect(200);
        let line = |action: &str, name: &Name, state: &str| {
            (action.to_owned(), name.instance.clone(), state.to_owned())
        };
        let mut wanted = vec![
            line("Create", &one, "Current"),
            line("Create", &two, "Current"),
        ];
        let all = |root: &str| entries(server, &format!("{root}/changefeed"));
        for root in ["/v1", "/v2"] {
            assert_eq!(told(&all(root)), wanted, "{root}");
        }
        delete(server, &one);
        wanted[0].2 = "Deleted".to_owned();
        wanted.push(line("Delete", &one, "Deleted"));
        assert_eq!(told(&all("/v1")), wanted);
        server.store("/v2", [&one.small()]).expect(200);
        wanted[0].2 = "Replaced".to_owned();
        wanted[2].2 = "Replaced".to_owned();
        wanted.push(line("Create", &one, "Current"));
        assert_eq!(told(&all("/v1")), wanted);
        assert!(sequences(&all("/v1")).is_sorted());
        let latest = server.get("/v2/changefeed/latest").expect(200).json();
        assert_eq!(told(&[latest]), wanted[3..]);
    });
}

#[test]
fn an_entry_names_the_instance_and_brings_its_metadata() {
    on_each_index(|server| {
        let before = OffsetDateTime::now_utc();
        let (kept, gone) = (Name::new(801, 1, 1), Name::new(801, 1, 2));
        server
            .store("/v2", [&kept.with_bulk(5000), &gone.small()])
            .expect(200);
        delete(server, &gone);
        for root in ["/v1", "/v2"] {
            let all = entries(server, &format!("{root}/changefeed"));
            let first = &all[0];
            assert_eq!(first["studyInstanceUid"], *kept.study);
            assert_eq!(first["seriesInstanceUid"], *kept.series);
            assert_eq!(first["sopInstanceUid"], *kept.instance);
            let stamp = first["timestamp"].as_str().expect("a time");
            let stamp = OffsetDateTime::parse(stamp, &Rfc3339).expect("a time with its zone");
            assert!(
                (before..=OffsetDateTime::now_utc()).contains(&stamp),
                "{stamp}"
            );
            assert_eq!(first["metadata"]["00080018"]["Value"][0], *kept.instance);
            let uri = first["metadata"]["00420011"]["BulkDataURI"].as_str();
            let target = uri.and_then(|uri| uri.strip_prefix(server.url()));
            server.get(target.expect("an absolute URI")).expect(200);
            for entry in &all[1..] {
                assert_eq!(entry.get("metadata"), None, "it is deleted");
            }
            for value in ["false", "False"] {
                let without = entries(
                    server,
                    &format!("{root}/changefeed?includeMetadata={value}"),
                );
                assert!(without.iter().all(|entry| entry.get("metadata").is_none()));
            }
            let latest = format!("{root}/changefeed/latest?includemetadata=false");
            let latest = server.get(&latest).expect(200).json();
            assert_eq!(latest.get("metadata"), None);
        }
    });
}

#[test]
fn v1_pages_by_sequence() {
    on_each_index(|server| {
        let files: Vec<_> = (0..25).map(|n| Name::new(802, 1, n).small()).collect();
        server.store("/v1", &files).expect(200);
        assert_eq!(entries(server, "/v1/changefeed").len(), 10);
        let mut seen = BTreeSet::new();
        let mut offset = 0;
        loop {
            let page = entries(server, &format!("/v1/changefeed?offset={offset}&limit=7"));
            let Some(last) = sequences(&page).last().copied() else {
                break;
            };
            assert!(
                sequences(&page)
                    .iter()
                    .all(|s| *s > offset && *s <= offset + 7)
            );
            seen.extend(sequences(&page));
            offset = last;
        }
        assert_eq!(seen.len(), 25);
        assert_eq!(
            entries(server, "/v1/changefeed?offset=1000"),
            Vec::<serde_json::Value>::new()
        );
        for query in [
            "limit=0",
            "limit=101",
            "limit=x",
            "offset=-1",
            "offset=x",
            "includeMetadata=0",
        ] {
            server.get(&format!("/v1/changefeed?{query}")).expect(400);
        }
    });
}

#[test]
fn v2_pages_within_a_window_of_time() {
    on_each_index(|server| {
        let files: Vec<_> = (0..5).map(|n| Name::new(803, 1, n).small()).collect();
        server.store("/v2", &files[..2]).expect(200);
        let latest = server.get("/v2/changefeed/latest").json();
        let latest = latest["timestamp"].as_str().expect("a time");
        let moment = OffsetDateTime::parse(latest, &Rfc3339).expect("a time");
        let middle = (moment + time::Duration::microseconds(1)).format(&Rfc3339);
        let middle = middle.expect("a time").replace('+', "%2B");
        for file in &files[2..] {
            server.store("/v2", [file]).expect(200);
        }
        let count = |query: &str| entries(server, &format!("/v2/changefeed?{query}")).len();
        assert_eq!(count(""), 5);
        assert_eq!(count("limit=3"), 3);
        assert_eq!(count("offset=3"), 2);
        assert_eq!(count("offset=5"), 0);
        assert_eq!(count(&format!("endTime={middle}")), 2);
        assert_eq!(count(&format!("startTime={middle}")), 3);
        assert_eq!(count(&format!("startTime={middle}&offset=1&limit=1")), 1);
        assert_eq!(
            count("startTime=2000-01-01T00:00:00Z&endTime=2001-01-01T00:00:00%2B01:00"),
            0
        );
        for query in [
            "limit=0",
            "limit=201",
            "offset=-1",
            "startTime=2000-01-01",
            "startTime=2000-01-01T00:00:00",
            "startTime=yesterday",
            "startTime=2001-01-01T00:00:00Z&endTime=2000-01-01T00:00:00Z",
            "startTime=2001-01-01T00:00:00Z&endTime=2001-01-01T00:00:00Z",
            "includeMetadata=yes",
        ] {
            server.get(&format!("/v2/changefeed?{query}")).expect(400);
        }
    });
}

#[test]
fn a_reader_that_follows_misses_nothing_while_others_store() {
    on_each_index(|server| {
        let (writers, each) = (4_u32, 15_u32);
        let mut seen: Vec<String> = Vec::new();
        std::thread::scope(|scope| {
            let server = &*server;
            let threads: Vec<_> = (0..writers)
                .map(|writer| {
                    scope.spawn(move || {
                        for number in 0..each {
                            let name = Name::new(810 + writer, 1, number);
                            server.store("/v2", [&name.small()]).expect(200);
                        }
                    })
                })
                .collect();
            let mut offset = 0;
            loop {
                let done = threads
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished);
                let target =
                    format!("/v1/changefeed?offset={offset}&limit=100&includeMetadata=false");
                let page = entries(server, &target);
                if let Some(last) = sequences(&page).last() {
                    offset = *last;
                }
                seen.extend(told(&page).into_iter().map(|(_, instance, _)| instance));
                if done && page.is_empty() {
                    break;
                }
            }
        });
        let different: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(
            different.len(),
            (writers * each) as usize,
            "some were skipped"
        );
        assert_eq!(seen.len(), different.len(), "some were told twice");
    });
}
