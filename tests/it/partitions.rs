//! Data partitions (dicom-service §16): the same UIDs in two partitions are two things, on both indexes.

mod commands;
mod scoped;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};
use stowage::http::routes::{ROUTES, Route};

use crate::support::dicom::noise;
use crate::support::prelude::*;
use crate::support::server::{on_each_index_process, on_postgres_with};

const ON: [(&str, &str); 1] = [("STOWAGE_PARTITIONS", "on")];
const DISABLED: &str = "Data partitions feature is disabled.";
const MISSING: &str = "PartitionName value is missing in the route segment.";

fn unknown(name: &str) -> String {
    format!("Specified PartitionName {name} doesn't exist.")
}

/// An image of two frames whose pixels, bulk data, patient and age come from a seed.
fn image(name: &Name, seed: &str) -> BuiltFile {
    let own = DataSet::new()
        .text(Tag(0x0010, 0x0010), VR::PN, seed)
        .text(Tag(0x0010, 0x0020), VR::LO, seed)
        .text(Tag(0x0010, 0x1010), VR::AS, &format!("0{:02}Y", seed.len()));
    let data_set = name
        .image(16, 16, 8, 2)
        .set(own)
        .bytes(
            Tag(0x0042, 0x0011),
            VR::OB,
            noise(&format!("bulk {seed}"), 64),
        )
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise(seed, 512));
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// The partitions with their keys, as they are listed.
fn listed(server: &Deployment) -> Vec<(i64, String)> {
    let list = server.get("/v2/partitions").expect(200).json();
    let entry = |entry: &Value| {
        let created = entry["createdDate"].as_str().expect("a time");
        assert!(created.ends_with('Z') && created.len() >= 20, "{created}");
        let name = entry["partitionName"].as_str().expect("a name");
        (
            entry["partitionKey"].as_i64().expect("a number"),
            name.to_owned(),
        )
    };
    list.as_array().expect("a list").iter().map(entry).collect()
}

fn names(server: &Deployment) -> Vec<String> {
    listed(server).into_iter().map(|(_, name)| name).collect()
}

/// The path of a route below a root, on this instance.
fn path(route: &Route, name: &Name) -> String {
    let path = route
        .path
        .replace("{study}", &name.study)
        .replace("{series}", &name.series)
        .replace("{instance}", &name.instance)
        .replace("{frames}", "2")
        .replace("{*bulk}", "7FE00010")
        .replace("{transaction}", "1.2.3.9.1")
        .replace("{workitem}", "1.2.3.9.2")
        .replace("{aet}", "WATCHER");
    if route.is_by_uri() {
        let query = format!(
            "requestType=WADO&studyUID={}&seriesUID={}&objectUID={}&contentType=application/dicom",
            name.study, name.series, name.instance
        );
        return format!("{}?{query}", path.trim_end_matches('/'));
    }
    path
}

/// Status and text of a refusal in the words of the contract.
fn said(answer: &Response) -> (u16, String) {
    (answer.status, answer.text())
}

#[test]
fn while_they_are_off_every_path_of_partitions_is_refused() {
    let server = TestApp::start(None);
    let name = Name::new(601, 1, 1);
    for target in [
        "/v1/partitions",
        "/v2/partitions",
        "/v2/partitions/",
        "/V2/Partitions/north/Studies",
        "/v1/partitions/north/nothing",
        "/v2/partitions/a%20b/studies",
        "/v1.0-prerelease/partitions/north/workitems",
    ] {
        assert_eq!(
            said(&server.get(target)),
            (400, DISABLED.to_owned()),
            "{target}"
        );
    }
    let stored = server.store("/v2/partitions/north", [&name.small()]);
    assert_eq!(said(&stored), (400, DISABLED.to_owned()));
    let problem = server
        .get("/dicom-web/partitions/north/studies")
        .expect(400);
    assert!(
        problem.json()["type"]
            .as_str()
            .unwrap()
            .ends_with("feature-disabled")
    );
    // Nothing else is another than it was.
    server.store("/v2", [&name.small()]).expect(200);
    let feed = server.get("/v2/changefeed").expect(200).json();
    assert_eq!(feed[0].get("partitionName"), None);
    let keys = server.blob_files();
    assert!(
        keys.iter()
            .all(|key| !key.to_string_lossy().contains("partitions"))
    );
}

#[test]
fn paths_name_a_partition_and_the_first_store_makes_it() {
    on_each_index_with(&ON, |server| {
        let name = Name::new(602, 1, 1);
        let default = (1, "Microsoft.Default".to_owned());
        assert_eq!(listed(server), std::slice::from_ref(&default));
        for route in ROUTES {
            if route.is_partitioned() && route.method != "OPTIONS" {
                let target = format!("/v1{}", path(route, &name));
                let answer = server.request(route.method, &target).accept("*/*").send();
                assert_eq!(said(&answer), (400, MISSING.to_owned()), "{route:?}");
            }
            if route.is_partitioned() && ["GET", "DELETE"].contains(&route.method) {
                let target = format!("/v2/partitions/nowhere{}", path(route, &name));
                let answer = server.request(route.method, &target).accept("*/*").send();
                assert_eq!(said(&answer), (400, unknown("nowhere")), "{route:?}");
            }
            if !route.is_partitioned() {
                let target = format!("/v2/partitions/Microsoft.Default{}", path(route, &name));
                server.request(route.method, &target).send().expect(404);
            }
        }
        for wrong in ["a%20b", "a%2Fb", "%C3%A4", "..", ".", &"x".repeat(65), "a~"] {
            let answer = server.store(&format!("/v2/partitions/{wrong}"), [&name.small()]);
            assert!(
                matches!(answer.status, 400 | 404),
                "{wrong}: {}",
                answer.text()
            );
            assert!(
                answer.status == 404 || answer.text().contains("1 to 64"),
                "{wrong}"
            );
        }
        // What is refused as a whole makes nothing.
        server
            .request("POST", "/v2/partitions/north/studies")
            .send()
            .expect(415);
        assert_eq!(listed(server), std::slice::from_ref(&default));
        let stored = server
            .store("/v2/partitions/north", [&name.small()])
            .expect(200);
        let url = format!("{}/v2/partitions/north{}", server.url(), name.path());
        assert!(stored.text().contains(&url), "{}", stored.text());
        let longest = "Aa0.-_".repeat(10);
        let created = server
            .request(
                "POST",
                &format!("/dicom-web/partitions/{longest}/workitems?1.2.3.9.2"),
            )
            .header("Content-Type", "application/dicom+json")
            .body(crate::worklist::short())
            .send()
            .expect(201);
        let url = format!("/dicom-web/partitions/{longest}/workitems/1.2.3.9.2");
        assert!(created.header("location").unwrap().ends_with(&url));
        assert_eq!(names(server), ["Microsoft.Default", "north", &longest]);
        // Case counts, and the word of a route is a name like any other.
        server.get("/v2/partitions/North/studies").expect(400);
        server
            .store("/v2/Partitions/UI", [&name.small()])
            .expect(200);
        server
            .get(&format!("/v2/partitions/UI{}", name.study_path()))
            .expect(200);
        // The standard's root without a name is the default partition.
        server
            .get(&format!("/dicom-web{}", name.study_path()))
            .expect(404);
        server.store("/dicom-web", [&name.small()]).expect(200);
        let target = format!("/v1/partitions/Microsoft.Default{}", name.study_path());
        server.get(&target).expect(200);
        assert!(server.fsck().contains("0 problems"));
    });
}

/// The parts of an answer, without what is made anew for each.
fn content(answer: &Response) -> Vec<Vec<u8>> {
    if answer.content_type().starts_with("multipart/") {
        answer.parts().into_iter().map(|part| part.body).collect()
    } else {
        vec![answer.body.clone()]
    }
}

/// Where partitions are found: the base of their routes, and the seed of what they hold.
const PLACES: [(&str, &str); 3] = [
    ("/v2/partitions/north", "NORTH"),
    ("/v2/partitions/south", "SOUTHERN"),
    ("/dicom-web", "DEFAULT-ONE"),
];

/// Reads of an instance that differ with what is stored.
fn reads(name: &Name) -> Vec<String> {
    let own = |route: &&Route| {
        // Those that are none of studies, and the stream, which has no end.
        let items = [
            "/workitems",
            "/subscribers",
            "/commitment-requests",
            "/trash",
            "/webhooks",
            "/events",
            "/modality-scheduled-procedure-steps",
            "/color-palettes",
            "/defined-procedure-protocols",
            "/hanging-protocols",
            "/implant-templates",
            "/inventories",
            "/protocol-approvals",
        ];
        route.method == "GET"
            && route.is_partitioned()
            && !items.iter().any(|item| route.path.starts_with(item))
    };
    let mut paths: Vec<String> = ROUTES.iter().filter(own).map(|r| path(r, name)).collect();
    paths.push(format!("{}/frames/1,2", name.path()));
    paths.push("/studies?includefield=all".to_owned());
    paths.push("/instances?PatientID=*O*&includefield=00100020".to_owned());
    paths
}

#[test]
fn the_same_uids_in_two_partitions_are_two_things_on_every_route() {
    on_each_index_with(&ON, |server| {
        let name = Name::new(603, 1, 1);
        for (root, seed) in PLACES {
            server.store(root, [&image(&name, seed)]).expect(200);
        }
        let paths = reads(&name);
        let mut known: BTreeMap<(&str, &str), Vec<Vec<u8>>> = BTreeMap::new();
        // Again when all caches are warm, and in another order.
        for round in 0..3 {
            for turn in 0..PLACES.len() {
                let (root, seed) = PLACES[(turn + round) % PLACES.len()];
                for path in &paths {
                    let target = format!("{root}{path}");
                    let answer = server.get(&target).expect(200);
                    let content = content(&answer);
                    let first = known.entry((path, root)).or_insert_with(|| content.clone());
                    assert!(*first == content, "{target}, round {round}");
                    let text = answer.text();
                    for (_, other) in PLACES.iter().filter(|(_, other)| *other != seed) {
                        assert!(!text.contains(other), "{target} tells of {other}: {text}");
                    }
                    if answer.content_type().contains("json") {
                        let urls = text.matches(server.url()).count();
                        let base = format!("{}{root}/studies/", server.url());
                        assert_eq!(text.matches(&base).count(), urls, "{target}: {text}");
                    }
                }
            }
        }
        // What searches find below a study may be the same; what is retrieved is not.
        let listing = |path: &str| {
            ["/studies", "/series", "/instances"]
                .iter()
                .any(|l| path.ends_with(l))
        };
        for path in paths.iter().filter(|path| !listing(path)) {
            let different: BTreeSet<_> = PLACES
                .map(|(root, _)| &known[&(path.as_str(), root)])
                .into();
            assert_eq!(different.len(), PLACES.len(), "{path}");
        }
        let file = server
            .get_as(
                &format!("/v1/partitions/south{}", name.path()),
                "application/dicom; transfer-syntax=*",
            )
            .expect(200);
        assert_eq!(file.body, image(&name, "SOUTHERN").bytes);
        // An identical store changes nothing in its own partition and is new in another one.
        server.store(PLACES[0].0, [&image(&name, "NORTH")]);
        server
            .store("/v2/partitions/west", [&image(&name, "NORTH")])
            .expect(200);

        // What is deleted in one stays in the others, and so does its blob.
        let study = name.study_path();
        let target = format!("/v2/partitions/north{study}");
        server.request("DELETE", &target).send().expect(204);
        server.request("DELETE", &target).send().expect(404);
        for path in [
            name.path(),
            format!("{}/frames/1", name.path()),
            format!("{study}/metadata"),
        ] {
            server
                .get(&format!("/v2/partitions/north{path}"))
                .expect(404);
            for root in ["/v2/partitions/west", "/v2/partitions/south", "/dicom-web"] {
                server.get(&format!("{root}{path}")).expect(200);
            }
        }
        assert_eq!(server.get("/v2/partitions/north/studies").status, 204);

        // The feed is one for all partitions and says which.
        let feed = server.get("/v2/changefeed").expect(200).json();
        let told: Vec<(&str, &str)> = feed
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                (
                    e["action"].as_str().unwrap(),
                    e["partitionName"].as_str().unwrap(),
                )
            })
            .collect();
        let expected = [
            ("Create", "north"),
            ("Create", "south"),
            ("Create", "Microsoft.Default"),
            ("Create", "west"),
            ("Delete", "north"),
        ];
        assert_eq!(told, expected);
        for (entry, patient) in [(1, "SOUTHERN"), (2, "DEFAULT-ONE"), (3, "NORTH")] {
            let metadata = &feed[entry]["metadata"];
            assert_eq!(metadata["00100020"]["Value"], json!([patient]));
            let uri = metadata["7FE00010"]["BulkDataURI"].as_str().unwrap();
            let named = format!("/v2/partitions/{}/studies/", told[entry].1);
            assert!(uri.contains(&named), "{uri}");
        }
        assert_eq!(feed[0].get("metadata"), None);
        assert!(server.fsck().contains("0 problems"));
    });
}

#[test]
fn query_tags_answer_in_each_partition_for_itself() {
    on_each_index_with(&ON, |server| {
        let name = Name::new(604, 1, 1);
        for (root, seed) in &PLACES[..2] {
            server.store(root, [&image(&name, seed)]).expect(200);
        }
        let added = server
            .request("POST", "/v2/extendedquerytags")
            .header("Content-Type", "application/json")
            .body(r#"[{"path": "00101010", "level": "Study"}]"#)
            .send()
            .expect(202);
        let operation = added.json()["href"].as_str().unwrap().to_owned();
        assert!(operation.starts_with(&format!("{}/v2/operations/", server.url())));
        let operation = operation.trim_start_matches(server.url()).to_owned();
        wait_until("the tag is indexed", || {
            server.get(&operation).status == 200
        });
        for (root, own, other) in [
            ("/v2/partitions/north", "005Y", "008Y"),
            ("/v2/partitions/south", "008Y", "005Y"),
        ] {
            let ask = |age: &str| server.get(&format!("{root}/studies?PatientAge={age}"));
            ask(own).expect(200);
            ask(other).expect(204);
        }
    });
}

#[test]
fn workitems_and_their_subscribers_belong_to_one_partition() {
    on_each_index_with(&ON, |server| {
        let send = |method: &str, target: &str, body: &str| {
            server
                .request(method, target)
                .accept("application/dicom+json")
                .header("Content-Type", "application/dicom+json")
                .body(body)
                .send()
        };
        let all = "1.2.840.10008.5.1.4.34.5";
        for partition in ["north", "south"] {
            let root = format!("/dicom-web/partitions/{partition}");
            let created = send(
                "POST",
                &format!("{root}/workitems?1.2.3.9.7"),
                &crate::worklist::short(),
            );
            created.expect(201);
            // Twice the same title, once in each partition.
            let target = format!("{root}/workitems/{all}/subscribers/WATCHER?deletionlock=false");
            let subscribed = send("POST", &target, "").expect(201);
            let channel = subscribed.header("content-location").unwrap();
            assert!(
                channel.ends_with(&format!("{root}/subscribers/WATCHER")),
                "{channel}"
            );
        }
        let again = send(
            "POST",
            "/dicom-web/partitions/north/workitems?1.2.3.9.7",
            &crate::worklist::short(),
        );
        again.expect(409);
        server.get("/dicom-web/workitems/1.2.3.9.7").expect(404);
        let claim = r#"[{"00081195": {"vr": "UI", "Value": ["1.2.3.9.8"]}, "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}}]"#;
        send(
            "PUT",
            "/dicom-web/partitions/north/workitems/1.2.3.9.7/state",
            claim,
        )
        .expect(200);
        let state = |partition: &str| {
            let target = format!("/dicom-web/partitions/{partition}/workitems/1.2.3.9.7");
            server.get(&target).expect(200).json()[0]["00741000"]["Value"][0].clone()
        };
        assert_eq!(
            (state("north"), state("south")),
            (json!("IN PROGRESS"), json!("SCHEDULED"))
        );
        let end = |partition: &str| {
            let target =
                format!("/dicom-web/partitions/{partition}/workitems/{all}/subscribers/WATCHER");
            server.request("DELETE", &target).send().status
        };
        assert_eq!((end("north"), end("north"), end("south")), (200, 404, 200));
    });
}

#[test]
fn a_partition_that_many_make_at_once_is_made_once() {
    on_postgres_with(&ON, |first| {
        let url = first.setting("STOWAGE_DATABASE_URL").unwrap().to_owned();
        let blobs = format!("file://{}", first.data().join("blobs").display());
        let second = TestApp::with(&[
            ON[0],
            ("STOWAGE_DATABASE_URL", &url),
            ("STOWAGE_BLOB_URL", &blobs),
        ]);
        make_at_once(&[first, &second]);
    });
    let server = TestApp::with(&ON);
    make_at_once(&[&server]);
}

fn make_at_once(nodes: &[&Deployment]) {
    for round in 0..4 {
        let root = format!("/v2/partitions/new-{round}");
        thread::scope(|scope| {
            for number in 0..8_u32 {
                let (root, node) = (&root, nodes[number as usize % nodes.len()]);
                scope.spawn(move || {
                    let name = Name::new(610 + number, 1, 1);
                    node.store(root, [&name.small()]).expect(200);
                });
            }
        });
        for node in nodes {
            let found = node.get(&format!("{root}/studies")).expect(200).json();
            assert_eq!(found.as_array().unwrap().len(), 8);
        }
    }
    let listed = listed(nodes[0]);
    assert_eq!(listed.len(), 5, "{listed:?}");
    let keys: BTreeSet<i64> = listed.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), 5);
    assert!(nodes[0].fsck().contains("0 problems"));
}

#[test]
fn a_crash_while_a_partition_is_made_leaves_it_whole_or_not_there() {
    let mut server = Server::with(&ON);
    let name = Name::new(620, 1, 1);
    for point in ["partition.made:1", "commit.begun:1", "insert.committed:1"] {
        server.set("STOWAGE_FAULT", Some(point));
        server.kill();
        server.wait();
        server.restart();
        let target = format!("/v2/partitions/{}/studies", point.replace(':', "-"));
        let died = server
            .request("POST", &target)
            .header("Content-Type", "application/dicom")
            .body(name.small().bytes)
            .try_send();
        assert!(died.is_err(), "{point}");
        server.wait();
        server.set("STOWAGE_FAULT", None);
        server.restart();
        let root = target.trim_end_matches("/studies");
        server.store(root, [&name.small()]);
        server
            .get(&format!("{root}{}", name.study_path()))
            .expect(200);
    }
    assert_eq!(listed(&server).len(), 4);
    assert!(server.fsck().contains("0 problems"));
}

#[test]
fn it_is_switched_on_without_a_migration_and_off_only_when_nothing_is_hidden() {
    on_each_index_process(&[], |server| {
        let name = Name::new(630, 1, 1);
        server.store("/v2", [&name.small()]).expect(200);
        let blobs = |server: &Server| {
            let mut blobs = server.blob_files();
            blobs.retain(|blob| blob.extension().is_some_and(|end| end == "dcm"));
            blobs
        };
        let before = (server.stored(&name), blobs(server));
        server.terminate();
        server.wait();
        server.set("STOWAGE_PARTITIONS", Some("on"));
        server.restart();
        assert_eq!((server.stored(&name), blobs(server)), before);
        // The page works on the default partition, and says so.
        let config = server.get("/ui/config").expect(200).json();
        assert_eq!(config["partition"], "Microsoft.Default");
        let target = format!("/v2/partitions/Microsoft.Default{}", name.study_path());
        server.get(&target).expect(200);
        server
            .store("/v2/partitions/north", [&name.small()])
            .expect(200);
        server.terminate();
        server.wait();
        server.set("STOWAGE_PARTITIONS", None);
        server.restart_to_die();
        assert!(!server.wait().success());
        let log = server.log();
        assert!(
            log.contains("STOWAGE_PARTITIONS is off") && log.contains("north"),
            "{log}"
        );
        server.set("STOWAGE_PARTITIONS", Some("on"));
        server.restart();
        let target = format!("/v2/partitions/north{}", name.study_path());
        server.request("DELETE", &target).send().expect(204);
        server.terminate();
        server.wait();
        server.set("STOWAGE_PARTITIONS", None);
        server.restart();
        assert_eq!(server.stored(&name), before.0);
    });
}
