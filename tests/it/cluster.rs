//! Several nodes on one Postgres and one S3 server behave as one: what was acknowledged by one is there through all,
//! and nothing is lost while they are restarted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use dicom_core::{Tag, VR};
use serde_json::Value;
use stowage::dicom::testing::{BuiltFile, Syntax};
use tokio::runtime::Builder;

use crate::support::dicom::Name;
use crate::support::http::Request;
use crate::support::multipart;
use crate::support::postgres;
use crate::support::proxy::{Proxy, free_port};
use crate::support::s3::{Effect, Fault, KEY, S3, SECRET};
use crate::support::server::{Server, wait_until};

/// Nodes with what they share.
struct Cluster {
    nodes: Vec<Server>,
    s3: S3,
}

impl Cluster {
    /// Starts nodes at the same time on a database without a schema; none where there is no Postgres.
    fn start(count: usize, settings: &[(&str, &str)]) -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let database = runtime.block_on(postgres::empty_database())?;
        let s3 = S3::start();
        let (url, endpoint) = (
            format!("s3://{}/dicom", crate::support::s3::BUCKET),
            s3.endpoint(),
        );
        let shared = [
            ("STOWAGE_DATABASE_URL", database.as_str()),
            ("STOWAGE_DATABASE_CONNECTIONS", "6"),
            ("STOWAGE_BLOB_URL", &url),
            ("STOWAGE_S3_ENDPOINT", &endpoint),
            ("STOWAGE_BLOB_RETRY_SECONDS", "1"),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            // Instances of ordinary size shall go up in parts, too.
            ("STOWAGE_PART_MEMORY_BYTES", "100000"),
        ];
        let start = || {
            let listen = format!("127.0.0.1:{}", free_port());
            let own = [("STOWAGE_LISTEN", listen.as_str())];
            Server::with(&[&shared, settings, &own].concat())
        };
        let nodes = thread::scope(|scope| {
            let starts: Vec<_> = (0..count).map(|_| scope.spawn(start)).collect();
            let nodes = starts.into_iter().map(|s| s.join());
            nodes.map(|n| n.expect("a node starts")).collect()
        });
        Some(Self { nodes, s3 })
    }

    /// A node, for the `turn`th request.
    fn node(&self, turn: u32) -> &Server {
        &self.nodes[usize::try_from(turn).expect("a small number") % self.nodes.len()]
    }

    /// The whole feed as a node tells it: sequence, action, instance.
    fn feed(&self, node: &Server) -> Vec<(i64, String, String)> {
        let mut entries = Vec::new();
        loop {
            let target = format!(
                "/v2/changefeed?limit=200&offset={}&includeMetadata=false",
                entries.len()
            );
            let Value::Array(page) = node.get(&target).expect(200).json() else {
                panic!("the feed is no list");
            };
            if page.is_empty() {
                return entries;
            }
            entries.extend(page.iter().map(|entry| {
                let text = |name: &str| entry[name].as_str().expect("a text").to_owned();
                let sequence = entry["sequence"].as_i64().expect("a number");
                (sequence, text("action"), text("sopInstanceUid"))
            }));
        }
    }

    /// Fails unless all nodes tell the same feed, and each instance was made, and deleted, as often as said.
    fn check_feed(&self, expected: &BTreeMap<(String, String), usize>) {
        let feeds: Vec<_> = self.nodes.iter().map(|node| self.feed(node)).collect();
        assert!(feeds.windows(2).all(|pair| pair[0] == pair[1]), "{feeds:?}");
        assert!(feeds[0].windows(2).all(|pair| pair[0].0 < pair[1].0));
        let mut reported: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (_, action, instance) in &feeds[0] {
            *reported
                .entry((action.clone(), instance.clone()))
                .or_default() += 1;
        }
        assert_eq!(reported, *expected);
    }
}

fn search(node: &Server, name: &Name) -> usize {
    let target = format!(
        "/dicom-web/instances?StudyInstanceUID={}&SOPInstanceUID={}",
        name.study, name.instance
    );
    let found = node.get(&target).expect(200).json();
    found.as_array().expect("a list").len()
}

#[test]
fn what_one_node_acknowledged_is_seen_through_every_other_at_once() {
    const CLIENTS: u32 = 6;
    const ROUNDS: u32 = 6;
    let Some(cluster) = Cluster::start(3, &[]) else {
        return;
    };
    // Clients share studies in pairs, so that nodes write the same rows.
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let name = Name::new(client / 2 + 1, client + 1, round + 1);
                    let size = if round % 3 == 2 { 300_000 } else { 20_000 };
                    one_life(cluster, &name, &name.with_bulk(size), client + round);
                }
            });
        }
    });
    let mut expected = BTreeMap::new();
    for client in 0..CLIENTS {
        for round in 0..ROUNDS {
            let name = Name::new(client / 2 + 1, client + 1, round + 1);
            for action in ["Create", "Delete"] {
                expected.insert((action.to_owned(), name.instance.clone()), 1);
            }
        }
    }
    cluster.check_feed(&expected);
    cluster.nodes[0].fsck();
}

/// Stores, reads, finds, deletes and misses an instance, each through another node.
fn one_life(cluster: &Cluster, name: &Name, file: &BuiltFile, turn: u32) {
    cluster.node(turn).store("/dicom-web", [file]).expect(200);
    for other in 0..3 {
        let node = cluster.node(turn + other);
        assert!(
            node.stored(name).as_deref() == Some(&file.bytes),
            "other bytes"
        );
        assert_eq!(search(node, name), 1);
        let metadata = node.get(&format!("/dicom-web{}/metadata", name.path()));
        assert_eq!(
            metadata.expect(200).json()[0]["00080018"]["Value"][0],
            name.instance
        );
    }
    let target = format!("/v2{}", name.path());
    cluster
        .node(turn + 1)
        .request("DELETE", &target)
        .send()
        .expect(204);
    for other in 0..3 {
        let node = cluster.node(turn + other);
        assert_eq!(node.stored(name), None);
        assert_eq!(search(node, name), 0);
        node.get(&format!("/dicom-web{}/frames/1", name.path()))
            .expect(404);
    }
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    const CLIENTS: u32 = 4;
    let Some(mut cluster) = Cluster::start(2, &[]) else {
        return;
    };
    let addresses: Vec<String> = cluster
        .nodes
        .iter()
        .map(|n| n.address().to_owned())
        .collect();
    let proxy = Proxy::before(&addresses);
    let acknowledged = Mutex::new(Vec::new());
    let (stop, stored) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (proxy, acknowledged, stop, stored) = (&proxy, &acknowledged, &stop, &stored);
            scope.spawn(move || {
                let mut instance = 0;
                while !stop.load(Ordering::Relaxed) {
                    instance += 1;
                    let name = Name::new(client + 1, 1, instance);
                    let size = if instance % 5 == 0 { 400_000 } else { 8_000 };
                    store_until_acknowledged(proxy, &name.with_bulk(size));
                    acknowledged
                        .lock()
                        .expect("nobody panics")
                        .push((name, size));
                    stored.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |count| {
            let before = stored.load(Ordering::Relaxed);
            wait_until("instances are stored", || {
                stored.load(Ordering::Relaxed) >= before + count
            });
        };
        for node in &mut cluster.nodes {
            more(20);
            node.terminate();
            assert!(node.wait().success(), "{}", node.log());
            more(20);
            node.restart();
        }
        more(20);
        stop.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.into_inner().expect("nobody panics");
    let mut expected = BTreeMap::new();
    for (turn, (name, size)) in (0..).zip(&acknowledged) {
        let stored = cluster.node(turn).stored(name);
        assert!(stored == Some(name.with_bulk(*size).bytes), "{name:?}");
        expected.insert(("Create".to_owned(), name.instance.clone()), 1);
    }
    cluster.check_feed(&expected);
    let said = cluster.nodes[1].fsck();
    println!("{} instances: {said}", acknowledged.len());
}

/// What a client that does not want to lose anything does: it sends again until it has an answer.
fn store_until_acknowledged(proxy: &Proxy, file: &BuiltFile) {
    wait_until("somebody answers", || {
        let request = Request::new(proxy.address(), "POST", "/dicom-web/studies")
            .header("Content-Type", &multipart::content_type())
            .accept("application/dicom+json")
            .body(multipart::body([file.bytes.as_slice()]));
        match request.try_send() {
            Ok(answer) if answer.status < 500 => answer.expect(200).status == 200,
            _ => false,
        }
    });
}

#[test]
fn deleted_bytes_leave_the_object_store_and_others_stay() {
    let settings = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    let Some(cluster) = Cluster::start(2, &settings) else {
        return;
    };
    let names: Vec<Name> = (1..=6).map(|i| Name::new(i % 2 + 1, 1, i)).collect();
    let files: Vec<BuiltFile> = names.iter().map(Name::small).collect();
    cluster.node(0).store("/dicom-web", &files).expect(200);
    assert_eq!(cluster.s3.objects(), 6);
    let study = names[0].study_path();
    let deleted = cluster.node(1).request("DELETE", &format!("/v2{study}"));
    deleted.send().expect(204);
    wait_until("the sweeper has come", || cluster.s3.objects() == 3);
    for (name, file) in names.iter().zip(&files) {
        let expected = (name.study != names[0].study).then_some(&file.bytes);
        assert_eq!(cluster.node(0).stored(name).as_ref(), expected);
    }
    cluster.node(0).fsck();
}

#[test]
fn an_object_store_that_is_away_is_an_honest_503_until_it_is_back() {
    let Some(cluster) = Cluster::start(1, &[]) else {
        return;
    };
    let (node, name) = (cluster.node(0), Name::new(1, 1, 1));
    let file = name.with_bulk(300_000);
    node.store("/dicom-web", [&file]).expect(200);
    node.wait_for_health(200);
    for method in ["GET", "HEAD", "PUT", "POST"] {
        cluster.s3.fail(Fault {
            method,
            at: "",
            times: u32::MAX,
            effect: Effect::Status(503),
        });
    }
    let target = format!("/dicom-web{}", name.path());
    let answer = node
        .get_as(&target, "application/dicom; transfer-syntax=*")
        .expect(503);
    assert!(answer.header("retry-after").is_some());
    node.wait_for_health(503);
    assert_eq!(search(node, &name), 1);
    let other = Name::new(1, 1, 2);
    let refused = node.store("/dicom-web", [&other.small()]);
    assert!(refused.status >= 400, "{}", refused.text());
    assert_eq!(search(node, &other), 0);
    cluster.s3.heal();
    node.wait_for_health(200);
    assert!(node.stored(&name).as_deref() == Some(&file.bytes));
    node.store("/dicom-web", [&other.small()]).expect(200);
    node.fsck();
}

#[test]
fn an_object_store_that_answers_wrongly_is_never_believed_and_damages_nothing() {
    let Some(cluster) = Cluster::start(1, &[]) else {
        return;
    };
    let node = cluster.node(0);
    let (small, large) = (Name::new(1, 1, 1), Name::new(1, 1, 2));
    let files = [small.with_bulk(3000), large.with_bulk(3 << 20)];
    node.store("/dicom-web", &files).expect(200);
    let effects = [
        Effect::Status(500),
        Effect::Status(503),
        Effect::Status(403),
        Effect::Cut(10),
        Effect::Short(10),
        Effect::Short(usize::MAX),
    ];
    for effect in effects {
        for times in [1, u32::MAX] {
            for (name, file) in [&small, &large].into_iter().zip(&files) {
                cluster.s3.fail(Fault {
                    method: "GET",
                    at: "",
                    times,
                    effect,
                });
                let target = format!("/dicom-web{}", name.path());
                let request = node.request("GET", &target);
                // A whole answer has the right bytes; else it says that it failed, or breaks off.
                if let Ok(answer) = request
                    .accept("application/dicom; transfer-syntax=*")
                    .try_send()
                {
                    match answer.status {
                        200 => assert!(answer.body == file.bytes, "{effect:?}"),
                        503 => assert!(answer.header("retry-after").is_some()),
                        other => panic!("{effect:?}: {other} {}", answer.text()),
                    }
                }
                cluster.s3.heal();
                assert!(
                    node.stored(name).as_ref() == Some(&file.bytes),
                    "{effect:?}"
                );
            }
        }
    }
    // The same for stores: what is acknowledged is there.
    for (instance, effect) in [
        (3, Effect::Status(500)),
        (4, Effect::Status(403)),
        (5, Effect::Cut(0)),
    ] {
        let name = Name::new(1, 1, instance);
        let file = name.with_bulk(300_000);
        for method in ["PUT", "POST"] {
            cluster.s3.fail(Fault {
                method,
                at: "",
                times: u32::MAX,
                effect,
            });
        }
        let refused = node.store("/dicom-web", [&file]);
        assert!(
            [503, 409].contains(&refused.status),
            "{} {}",
            refused.status,
            refused.text()
        );
        assert_eq!(node.stored(&name), None);
        cluster.s3.heal();
        node.store("/dicom-web", [&file]).expect(200);
        assert!(node.stored(&name).as_ref() == Some(&file.bytes));
    }
    assert_eq!(
        count(node, "stowage_damaged_instances"),
        0,
        "{}",
        node.log()
    );
    node.fsck();
}

#[test]
fn an_object_store_that_is_silent_is_503_and_others_go_on() {
    let Some(cluster) = Cluster::start(1, &[]) else {
        return;
    };
    let node = cluster.node(0);
    let (stuck, other) = (Name::new(1, 1, 1), Name::new(2, 1, 2));
    let files = [stuck.with_bulk(3000), other.with_bulk(3000)];
    node.store("/dicom-web", &files).expect(200);
    cluster.s3.fail(Fault {
        method: "GET",
        at: "1.2.3.1.1.1.",
        times: u32::MAX,
        effect: Effect::Silence,
    });
    let target = format!("/dicom-web{}", stuck.path());
    thread::scope(|scope| {
        let silent = scope.spawn(|| node.get_as(&target, "application/dicom; transfer-syntax=*"));
        for _ in 0..5 {
            assert!(node.stored(&other).as_ref() == Some(&files[1].bytes));
            node.store("/dicom-web", [&Name::new(3, 1, 3).small()])
                .expect(200);
        }
        let answer = silent.join().expect("no panic").expect(503);
        assert!(answer.header("retry-after").is_some());
    });
    cluster.s3.heal();
    assert!(node.stored(&stuck).as_ref() == Some(&files[0].bytes));
    node.fsck();
}

#[test]
fn an_object_store_that_is_slow_holds_up_nobody_who_wants_something_else() {
    // However long this machine takes, what stands still is asked for again.
    let patient = [("STOWAGE_BLOB_RETRY_SECONDS", "120")];
    let Some(cluster) = Cluster::start(2, &patient) else {
        return;
    };
    let (node, second) = (cluster.node(0), cluster.node(1));
    let (slow, other) = (Name::new(1, 1, 1), Name::new(2, 1, 2));
    let files = [slow.with_bulk(3 << 20), other.with_bulk(300_000)];
    node.store("/dicom-web", &files).expect(200);
    cluster.s3.fail(Fault {
        method: "GET",
        at: "1.2.3.1.1.1.",
        times: u32::MAX,
        effect: Effect::Pause(100_000),
    });
    let target = format!("/dicom-web{}", slow.path());
    // More than there are places for work on the blocking pool.
    let readers = 24;
    thread::scope(|scope| {
        let reading: Vec<_> = (0..readers)
            .map(|_| scope.spawn(|| node.get_as(&target, "application/dicom; transfer-syntax=*")))
            .collect();
        wait_until("everybody reads", || {
            u32::MAX - cluster.s3.faults_left() >= readers
        });
        for (number, via) in [node, second, node].into_iter().enumerate() {
            assert!(via.stored(&other).as_ref() == Some(&files[1].bytes));
            let number = u32::try_from(number).expect("a small number");
            let more = Name::new(3, 1, number + 1);
            via.store("/dicom-web", [&more.small()]).expect(200);
            via.get(&format!("/dicom-web{}/metadata", slow.path()))
                .expect(200);
            via.get("/dicom-web/studies?includefield=all").expect(200);
        }
        assert!(reading.iter().all(|reader| !reader.is_finished()));
        cluster.s3.heal();
        for reader in reading {
            let answer = reader.join().expect("no panic").expect(200);
            assert!(answer.body == files[0].bytes, "it comes whole");
        }
    });
    node.fsck();
}

/// A sample of the counts of a node.
fn count(node: &Server, sample: &str) -> u64 {
    let text = node.get("/metrics").expect(200).text();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    found.parse().expect("a number")
}

#[test]
fn one_node_sweeps_for_all_and_another_one_when_it_is_gone() {
    const RUNS: &str = "stowage_sweeper_runs_total";
    let settings = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    let Some(mut cluster) = Cluster::start(2, &settings) else {
        return;
    };
    let runs = |cluster: &Cluster| -> Vec<u64> {
        cluster.nodes.iter().map(|node| count(node, RUNS)).collect()
    };
    wait_until("the sweeper has run", || {
        runs(&cluster).iter().sum::<u64>() >= 3
    });
    let before = runs(&cluster);
    assert!(before.contains(&0), "both sweep: {before:?}");
    let sweeping = usize::from(before[0] == 0);
    // It gives the lease back when it stops, so nobody waits for its end.
    cluster.nodes[sweeping].terminate();
    assert!(cluster.nodes[sweeping].wait().success());
    let other = &cluster.nodes[1 - sweeping];
    wait_until("the other node sweeps", || count(other, RUNS) > 0);
}

#[test]
fn a_picture_that_a_node_has_cached_is_gone_with_its_instance_at_once() {
    let Some(cluster) = Cluster::start(2, &[]) else {
        return;
    };
    let name = Name::new(5, 1, 1);
    let pixels = crate::support::dicom::noise("cluster", 40);
    let data_set = name
        .image(4, 5, 16, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, pixels);
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    cluster.node(0).store("/dicom-web", [&file]).expect(200);
    let paths = ["/rendered", "/thumbnail", "/frames/1", "/metadata", ""];
    let get = |node: &Server, path: &str| node.get(&format!("/dicom-web{}{path}", name.path()));
    for node in &cluster.nodes {
        for path in paths.iter().chain(&paths) {
            get(node, path).expect(200);
        }
        assert!(
            count(node, "stowage_frame_cache_entries") > 0
                || count(node, "stowage_frame_cache_lookups_total{result=\"hit\"}") > 0
        );
    }
    let deleted = cluster
        .node(0)
        .request("DELETE", &format!("/v2{}", name.path()));
    deleted.send().expect(204);
    for node in &cluster.nodes {
        for path in paths {
            get(node, path).expect(404);
        }
    }
    // Another image under the same name is not answered with the old one's pictures.
    let pixels = vec![0; 40];
    let data_set = name
        .image(4, 5, 16, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, pixels.clone());
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    cluster.node(1).store("/dicom-web", [&file]).expect(200);
    for node in &cluster.nodes {
        let target = format!("/dicom-web{}/frames/1", name.path());
        let frame = node.get_as(&target, "application/octet-stream").expect(200);
        assert_eq!(frame.body, pixels);
    }
}

/// One frame of 40 bytes that are all `value`.
fn one_frame(name: &Name, value: u8) -> BuiltFile {
    let data_set = name
        .image(4, 5, 16, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, vec![value; 40]);
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// Status of a frame, and its first byte.
fn frame(node: &Server, name: &Name) -> (u16, Option<u8>) {
    let target = format!("/dicom-web{}/frames/1", name.path());
    let answer = node.get_as(&target, "application/octet-stream");
    let first = answer.body.first().copied();
    (answer.status, first.filter(|_| answer.status == 200))
}

/// Asks for a frame until the node answers without asking the database.
fn keep_frame(node: &Server, name: &Name) {
    wait_until("a node answers from what it read", || {
        let before = count(node, KEPT);
        assert_eq!(frame(node, name).0, 200);
        count(node, KEPT) > before
    });
}

/// Rows that count without a question.
const KEPT: &str = "stowage_instance_cache_lookups_total{result=\"hit\"}";

#[test]
fn what_one_node_keeps_in_memory_ends_with_a_change_through_another() {
    const ROUNDS: u8 = 12;
    let Some(cluster) = Cluster::start(3, &[]) else {
        return;
    };
    let name = Name::new(6, 1, 1);
    let first = one_frame(&name, 0);
    cluster.node(0).store("/dicom-web", [&first]).expect(200);
    for round in 1..=ROUNDS {
        for node in &cluster.nodes {
            keep_frame(node, &name);
        }
        let writer = cluster.node(round.into());
        // Readers ask all the time, so that one is in the middle of it when the change comes.
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for node in &cluster.nodes {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let (status, value) = frame(node, &name);
                        assert_eq!(status, 200);
                        assert!(
                            value == Some(round - 1) || value == Some(round),
                            "{value:?}"
                        );
                    }
                });
            }
            let replaced = writer
                .request("PUT", "/dicom-web/studies")
                .header("Content-Type", &multipart::content_type())
                .body(multipart::body([one_frame(&name, round).bytes.as_slice()]))
                .send();
            assert_eq!(replaced.status, 200);
            for node in &cluster.nodes {
                assert_eq!(frame(node, &name), (200, Some(round)), "round {round}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
    for node in &cluster.nodes {
        keep_frame(node, &name);
    }
    let deleted = cluster
        .node(1)
        .request("DELETE", &format!("/v2{}", name.path()));
    deleted.send().expect(204);
    for node in &cluster.nodes {
        assert_eq!(frame(node, &name), (404, None));
    }
}

#[test]
fn a_node_that_stood_still_answers_nothing_that_was_deleted_meanwhile() {
    let Some(cluster) = Cluster::start(2, &[]) else {
        return;
    };
    let names: Vec<Name> = (1..=3).map(|study| Name::new(study + 20, 1, 1)).collect();
    for name in &names {
        cluster
            .node(0)
            .store("/dicom-web", [&one_frame(name, 1)])
            .expect(200);
        keep_frame(cluster.node(0), name);
    }
    let delete = |name: &Name| {
        let target = format!("/v2{}", name.path());
        cluster
            .node(1)
            .request("DELETE", &target)
            .send()
            .expect(204);
    };
    cluster.nodes[0].pause();
    // It cannot say that it has heard of the first, and has no lease when the second comes.
    delete(&names[0]);
    delete(&names[1]);
    let target = format!("/dicom-web{}/frames/1", names[0].path());
    // A request that waits for the node before it goes on is answered by what is true now.
    let waiting = Request::new(cluster.node(0).address(), "GET", &target);
    let answer = thread::scope(|scope| {
        let waiting = scope.spawn(|| waiting.send());
        cluster.nodes[0].resume();
        waiting.join().expect("an answer")
    });
    assert_eq!(answer.status, 404);
    assert_eq!(frame(cluster.node(0), &names[1]), (404, None));
    // And it takes part again.
    keep_frame(cluster.node(0), &names[2]);
    delete(&names[2]);
    assert_eq!(frame(cluster.node(0), &names[2]), (404, None));
}

/// What a stranger does with a cluster: everything through the proxy, then the same through each node.
const STRANGER: &str = r#"
set -euo pipefail
fetch() { curl --silent --show-error --fail --max-time 30 "$@"; }
url=$STOWAGE_URL/dicom-web
study=1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420
series=1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652
instance=1.2.826.0.1.3680043.8.498.12714725698140337137334606354172323212
for file in dcms/*.dcm; do
    fetch --header 'Content-Type: application/dicom' --data-binary "@$file" "$url/studies" >/dev/null
done
for node in $STOWAGE_URL $NODES; do
    [ "$(fetch "$node/dicom-web/instances" | grep -o 00080018 | wc -l)" -eq 3 ]
    fetch --header 'Accept: image/png' "$node/dicom-web/studies/$study/series/$series/instances/$instance/rendered" | grep --text --count PNG >/dev/null
    fetch "$node/health/ready" >/dev/null
done
# Links lead through the proxy, whichever node made them, and the counts of the nodes do not get out.
fetch "$url/studies" | grep --fixed-strings "$STOWAGE_URL/dicom-web/studies/" >/dev/null
[ "$(curl --silent --output /dev/null --write-out '%{http_code}' "$STOWAGE_URL/metrics")" = 404 ]
fetch --request DELETE "$url/studies/$study"
for node in $STOWAGE_URL $NODES; do
    [ "$(fetch "$node/dicom-web/studies")" = '[]' ]
done
echo all is well
"#;

#[test]
fn the_whole_topology_starts_from_one_script_and_serves_a_stranger() {
    if postgres::is_missing() || Proxy::is_missing() {
        println!("SKIPPED deploy/cluster: it needs Postgres and nginx");
        return;
    }
    let stowage = Path::new(env!("CARGO_BIN_EXE_stowage"));
    let s3 = stowage.with_file_name("examples").join("s3");
    if !s3.is_file() {
        println!(
            "SKIPPED deploy/cluster: only a `cargo test` of all targets builds the example s3"
        );
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("deploy/cluster"))
        .args(["bash", "-c", STRANGER])
        .env("PORT", free_port().to_string())
        .env("STOWAGE", stowage)
        .env("S3", s3)
        .output()
        .expect("the script can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("all is well"),
        "{said}{errors}"
    );
}
