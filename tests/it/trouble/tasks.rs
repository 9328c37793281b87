//! Defects and lines that go dead while instances are committed: an honest 503, then everything works again without a
//! restart, nothing that was acknowledged is lost, and nothing is there twice.

use std::thread;

use crate::support::dicom::Name;
use crate::support::line::{Cut, Line};
use crate::support::postgres;
use crate::support::server::{Server, on_each_index_process, wait_until};

/// Short times, so that a dead line is given up soon.
const TIMES: [(&str, &str); 2] = [
    ("STOWAGE_DATABASE_CALL_SECONDS", "2"),
    ("STOWAGE_DATABASE_WAIT_SECONDS", "2"),
];

/// A sample of the counts of a server.
fn count(server: &Server, sample: &str) -> u64 {
    let text = server.get("/metrics").expect(200).text();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    found.parse().expect("a number")
}

/// How many instances a search finds.
fn found(server: &Server) -> usize {
    let found = server.get("/dicom-web/instances").expect(200).json();
    found.as_array().map_or(0, Vec::len)
}

/// Stores again and again until it works; only 503 may be the answer before.
fn store_until_done(server: &Server, name: &Name) {
    wait_until("a store works again", || {
        let answer = server.store("/dicom-web", [&name.with_bulk(2000)]);
        match answer.status {
            200 => true,
            503 => {
                assert!(answer.header("retry-after").is_some());
                false
            }
            other => panic!("{other} {}\n{}", answer.text(), server.log()),
        }
    });
}

/// Each of so many instances is there once, as it was stored.
fn expect_whole(server: &Server, instances: u32) {
    for instance in 1..=instances {
        let name = Name::new(1, 1, instance);
        assert!(
            server.stored(&name) == Some(name.with_bulk(2000).bytes),
            "{instance}\n{}",
            server.log()
        );
    }
    assert_eq!(found(server), instances as usize);
    let said = server.fsck();
    assert!(said.contains(" 0 blobs without a row"), "{said}");
}

#[test]
fn a_committer_that_panics_is_started_again_and_nothing_is_lost() {
    let points = [
        "commit.begun",
        "insert.instances",
        "insert.committed",
        "commit.done",
        "commit.settled",
    ];
    for point in points {
        let panics = format!("{point}:2");
        on_each_index_process(&[("STOWAGE_FAULT_PANIC", &panics)], |server| {
            let names = [1, 2, 3].map(|instance| Name::new(1, 1, instance));
            server
                .store("/dicom-web", [&names[0].with_bulk(2000)])
                .expect(200);
            let refused = server
                .store("/dicom-web", [&names[1].with_bulk(2000)])
                .expect(503);
            assert!(refused.header("retry-after").is_some());
            store_until_done(server, &names[1]);
            store_until_done(server, &names[2]);
            expect_whole(server, 3);
            let restarts = count(server, "stowage_task_restarts_total{task=\"committer\"}");
            assert_eq!(restarts, 1, "{point}");
            let ready = server.get("/health/ready").expect(200).text();
            assert!(ready.contains("started again 1 times"), "{ready}");
        });
    }
}

#[test]
fn a_committer_that_always_panics_is_told_by_the_health_check() {
    let server = Server::with(&[("STOWAGE_FAULT_PANIC", "commit.begun:1-1000000")]);
    server.get("/health/ready").expect(200);
    wait_until("the server is not ready", || {
        server
            .store("/dicom-web", [&Name::new(1, 1, 1).small()])
            .expect(503);
        let ready = server.get("/health/ready");
        ready.status == 503 && ready.text().contains("the task committer fails")
    });
    server.wait_for_health(503);
    server.get("/health/live").expect(200);
    assert_eq!(
        count(&server, "stowage_task_failing{task=\"committer\"}"),
        1
    );
    assert_eq!(found(&server), 0);
}

/// A server whose index is behind a line; none where there is no Postgres.
fn behind_a_line(settings: &[(&str, &str)]) -> Option<(Server, Line)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let line = Line::to(&runtime.block_on(postgres::database())?);
    let database = [("STOWAGE_DATABASE_URL", line.url())];
    let server = Server::with(&[&TIMES[..], &database, settings].concat());
    Some((server, line))
}

#[test]
fn a_line_that_goes_dead_in_the_middle_of_a_commit_is_given_up() {
    let Some((server, line)) = behind_a_line(&[]) else {
        return;
    };
    store_until_done(&server, &Name::new(1, 1, 1));
    for (instance, delivered) in [(2, false), (3, true)] {
        let name = Name::new(1, 1, instance);
        line.cut(Cut {
            at: "COMMIT",
            behind: Some(name.instance.clone()),
            delivered,
            times: 1,
        });
        let refused = server
            .store("/dicom-web", [&name.with_bulk(2000)])
            .expect(503);
        assert!(refused.header("retry-after").is_some());
        store_until_done(&server, &name);
    }
    assert_eq!(line.dead(), 2);
    expect_whole(&server, 3);
}

#[test]
fn a_database_that_falls_silent_is_told_and_used_again_when_it_speaks() {
    let Some((server, line)) = behind_a_line(&[]) else {
        return;
    };
    let (before, during) = (Name::new(1, 1, 1), Name::new(1, 1, 2));
    store_until_done(&server, &before);
    line.silence(true);
    server
        .store("/dicom-web", [&during.with_bulk(2000)])
        .expect(503);
    let search = server.get("/dicom-web/studies").expect(503);
    assert!(search.header("retry-after").is_some());
    for path in ["/health/ready", "/health/check"] {
        server.get(path).expect(503);
    }
    server.get("/health/live").expect(200);
    line.silence(false);
    store_until_done(&server, &during);
    wait_until("the server is ready", || {
        server.get("/health/ready").status == 200
    });
    expect_whole(&server, 2);
}

#[test]
fn searches_that_are_stuck_take_no_connection_from_stores_and_reads() {
    // Four of them are for lookups by keys, three of which searches may take.
    let settings = [("STOWAGE_DATABASE_CONNECTIONS", "12")];
    let Some((server, line)) = behind_a_line(&settings) else {
        return;
    };
    let (before, during) = (Name::new(1, 1, 1), Name::new(1, 1, 2));
    store_until_done(&server, &before);
    line.cut(Cut {
        at: "424242424242",
        behind: None,
        delivered: false,
        times: u32::MAX,
    });
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let stuck = server.get("/dicom-web/studies?AccessionNumber=424242424242");
                assert_eq!(stuck.status, 503, "{}", stuck.text());
            });
        }
        wait_until("searches are stuck", || line.dead() >= 3);
        server
            .store("/dicom-web", [&during.with_bulk(2000)])
            .expect(200);
        let metadata = format!("/dicom-web{}/metadata", before.path());
        server.get(&metadata).expect(200);
        assert!(server.stored(&during).is_some());
    });
    expect_whole(&server, 2);
}

#[test]
fn a_refused_connection_is_said_at_the_start() {
    let server = Server::start(None);
    // Nobody listens on port 1.
    let nowhere = (
        "STOWAGE_DATABASE_URL",
        "postgres://stowage@127.0.0.1:1/stowage",
    );
    let refused = server.command_with(&[nowhere], &["fsck"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(said.contains("onnection refused"), "{said}");
    assert!(!said.contains("timed out"), "{said}");
}

#[test]
fn a_node_that_goes_dead_in_the_middle_of_a_commit_holds_up_no_other_node_for_long() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let Some(database) = runtime.block_on(postgres::database()) else {
        return;
    };
    let blobs = tempfile::tempdir().expect("a temporary folder can be made");
    let blobs = format!("file://{}", blobs.path().display());
    let line = Line::to(&database);
    let node = |url: &str| {
        let own = [
            ("STOWAGE_DATABASE_URL", url),
            ("STOWAGE_BLOB_URL", blobs.as_str()),
        ];
        Server::with(&[&TIMES[..], &own].concat())
    };
    let (dead, other) = (node(line.url()), node(&database));
    // One study: whoever stores into it has its row locked, and at the end the feed of all.
    let names = [1, 2, 3].map(|instance| Name::new(1, 1, instance));
    store_until_done(&dead, &names[0]);
    line.cut(Cut {
        at: "COMMIT",
        behind: Some(names[1].instance.clone()),
        delivered: false,
        times: 1,
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            dead.store("/dicom-web", [&names[1].with_bulk(2000)])
                .expect(503)
        });
        wait_until("the line is dead", || line.dead() == 1);
        store_until_done(&other, &names[2]);
    });
    store_until_done(&dead, &names[1]);
    expect_whole(&other, 3);
    assert_eq!(found(&dead), 3);
}

#[test]
fn accepting_and_the_audit_go_on_after_a_panic() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let audit = folder.path().join("audit.jsonl");
    let audit = audit.to_str().expect("a path is text");
    for (task, panics) in [
        ("connections", "serve.accepted:3-4"),
        ("audit", "audit.write:2-3"),
    ] {
        let settings = [("STOWAGE_FAULT_PANIC", panics), ("STOWAGE_AUDIT", audit)];
        let server = Server::with(&settings);
        for instance in 1..=8 {
            let name = Name::new(1, 1, instance);
            wait_until("a store is answered", || {
                let sent = server.request("POST", "/dicom-web/studies");
                let sent = sent.header("Content-Type", "application/dicom");
                sent.body(name.with_bulk(2000).bytes)
                    .try_send()
                    .is_ok_and(|answer| answer.status == 200)
            });
        }
        let sample = format!("stowage_task_restarts_total{{task=\"{task}\"}}");
        wait_until("the task was started again", || {
            count(&server, &sample) == 2
        });
        // Whoever writes the audit is well again with the first event that it has written.
        wait_until("it is ready again", || {
            server.get("/health/ready").status == 200
        });
        let ready = server.get("/health/ready").text();
        assert!(ready.contains(&format!("task {task}")), "{ready}");
        assert!(ready.contains("started again 2 times"), "{ready}");
        if task == "audit" {
            // No event is lost, and none is there twice.
            let written = || count(&server, "stowage_audit_events_total{outcome=\"written\"}");
            wait_until("all events are written", || written() == 8);
            let lines = std::fs::read_to_string(audit).expect("there are events");
            let stored = lines.lines().filter(|line| line.contains("\"instances\""));
            let stored = stored.inspect(|line| assert!(line.ends_with('}'), "{line}"));
            assert!(stored.count() >= 8, "{lines}");
            assert_eq!(
                count(&server, "stowage_audit_events_total{outcome=\"lost\"}"),
                0
            );
        }
    }
}
