//! A life of a server as its clients see it: what they stored and deleted, what was acknowledged, and what may be.
//!
//! Invariant: an operation without an answer leaves each instance as it was before or as it would be after, a delete
//! all of its instances alike; everything else is exactly what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread;

use serde_json::{Value, json};
use stowage::dicom::testing::Syntax;

use crate::support::dicom::{Name, noise};
use crate::support::http::Response;
use crate::support::multipart;
use crate::support::server::{Server, wait_until};
use dicom_core::{Tag, VR};

/// One request.
enum Op {
    Store(Vec<(Name, Vec<u8>)>),
    /// By PUT: each takes the place of what has its UIDs.
    Replace(Vec<(Name, Vec<u8>)>),
    Delete(String, Vec<Name>),
    /// Of a study that was deleted, with what it held.
    Restore(String, Vec<(Name, Vec<u8>)>),
}

/// What one client knows.
#[derive(Default)]
struct Client {
    /// Bytes of what is stored; none for what is known to be absent.
    known: BTreeMap<Name, Option<Vec<u8>>>,
    /// What an operation without an answer may have made of them; all or none of a delete.
    perhaps: Vec<(Name, Option<Vec<u8>>)>,
    together: bool,
}

/// All clients.
pub(super) struct Life {
    clients: Vec<Client>,
    /// Grows with each piece of work, so that its instances are new.
    turn: u32,
    /// Parts sent without an answer: each may have left a blob.
    lost_parts: u64,
    feed: bool,
}

fn file(name: &Name, modality: &str, size: usize, seed: &str) -> Vec<u8> {
    let data_set = name
        .data_set()
        .text(Tag(0x0008, 0x0060), VR::CS, modality)
        .text(Tag(0x0008, 0x0080), VR::LO, "Harbour")
        .bytes(Tag(0x0042, 0x0011), VR::OB, noise(seed, size));
    name.file(&data_set, Syntax::ExplicitLittle).bytes
}

/// The requests of one turn of a client; the first study stays, the second is deleted.
fn script(client: u32, turn: u32) -> Vec<Op> {
    let study = 10_000 + client * 1000 + turn * 2;
    let name = |study, series, instance| Name::new(study, series, instance);
    let with = |name: Name, modality, size| {
        let bytes = file(&name, modality, size, &name.instance);
        (name, bytes)
    };
    let stays = with(name(study, 1, 1), "CT", 500);
    let spooled = with(name(study, 1, 2), "CT", 60_000);
    let other = with(name(study, 2, 1), "MR", 500);
    let third = with(name(study, 2, 2), "MR", 500);
    let short_lived = [
        with(name(study + 1, 1, 1), "US", 500),
        with(name(study + 1, 2, 1), "CT", 500),
    ];
    let liar = (stays.0.clone(), file(&stays.0, "CT", 500, "other bytes"));
    vec![
        Op::Store(vec![stays.clone(), spooled.clone()]),
        Op::Store(vec![other.clone(), third.clone()]),
        // Identical, and with other bytes: both change nothing.
        Op::Store(vec![stays.clone()]),
        Op::Store(vec![liar]),
        Op::Store(short_lived.to_vec()),
        Op::Delete(other.0.path(), vec![other.0.clone()]),
        Op::Delete(
            short_lived[0].0.study_path(),
            short_lived.iter().map(|(name, _)| name.clone()).collect(),
        ),
        Op::Restore(short_lived[0].0.study_path(), short_lived.to_vec()),
        Op::Delete(
            short_lived[0].0.study_path(),
            short_lived.iter().map(|(name, _)| name.clone()).collect(),
        ),
        // Stored again with other bytes after it was deleted.
        Op::Store(vec![(other.0.clone(), file(&other.0, "MR", 700, "again"))]),
        Op::Delete(
            third.0.series_path(),
            vec![other.0.clone(), third.0.clone()],
        ),
        Op::Store(vec![other]),
        // One that is there and one that is new; each as it was, or as it will be.
        Op::Replace(vec![
            (
                spooled.0.clone(),
                file(&spooled.0, "CT", 70_000, "replaced"),
            ),
            with(name(study, 1, 3), "CT", 500),
        ]),
    ]
}

impl Client {
    /// What an operation makes of the instances it names.
    fn after(&self, op: &Op) -> Vec<(Name, Option<Vec<u8>>)> {
        match op {
            Op::Delete(_, names) => names.iter().map(|name| (name.clone(), None)).collect(),
            Op::Replace(files) | Op::Restore(_, files) => files
                .iter()
                .map(|(name, bytes)| (name.clone(), Some(bytes.clone())))
                .collect(),
            Op::Store(files) => {
                let stored = |name: &Name| self.known.get(name).cloned().flatten();
                let after = |(name, bytes): &(Name, Vec<u8>)| {
                    let bytes = stored(name).unwrap_or_else(|| bytes.clone());
                    (name.clone(), Some(bytes))
                };
                files.iter().map(after).collect()
            }
        }
    }

    /// Runs the script; false when the connection broke.
    fn work(&mut self, server: &Server, script: Vec<Op>) -> (bool, u64) {
        for op in script {
            let after = self.after(&op);
            match send(server, &op) {
                Ok(answer) => {
                    check_answer(&op, &answer, self);
                    self.known.extend(after);
                }
                Err(_) => {
                    for (name, _) in &after {
                        self.known.entry(name.clone()).or_default();
                    }
                    self.perhaps = after;
                    self.together = matches!(op, Op::Delete(..));
                    return (false, self.perhaps.len() as u64);
                }
            }
        }
        (true, 0)
    }

    /// Finds out what became of the last operation; anything else must be as known.
    fn check(&mut self, server: &Server) {
        let perhaps: BTreeMap<_, _> = std::mem::take(&mut self.perhaps).into_iter().collect();
        let mut moved = BTreeSet::new();
        for (name, known) in &mut self.known {
            let found = server.stored(name);
            if found == *known {
                match perhaps.get(name) {
                    Some(after) if after != known => drop(moved.insert(false)),
                    _ => {}
                }
                continue;
            }
            let may_be = perhaps.get(name);
            assert!(
                may_be == Some(&found),
                "{}: {:?} bytes instead of {:?}, perhaps {:?}",
                name.path(),
                found.map(|b| b.len()),
                known.as_ref().map(Vec::len),
                may_be.map(|b| b.as_ref().map(Vec::len)),
            );
            moved.insert(true);
            *known = found;
        }
        assert!(
            !self.together || moved.len() < 2,
            "a delete was done by half"
        );
        self.together = false;
    }
}

fn send(server: &Server, op: &Op) -> io::Result<Response> {
    match op {
        Op::Store(files) | Op::Replace(files) => server
            .request(
                if matches!(op, Op::Store(_)) {
                    "POST"
                } else {
                    "PUT"
                },
                "/dicom-web/studies",
            )
            .header("Content-Type", &multipart::content_type())
            .accept("application/dicom+json")
            .body(multipart::body(files.iter().map(|(_, b)| b.as_slice())))
            .try_send(),
        Op::Delete(path, _) => server
            .request("DELETE", &format!("/dicom-web{path}"))
            .try_send(),
        Op::Restore(path, _) => server
            .request("POST", &format!("/dicom-web/trash{path}/restore"))
            .try_send(),
    }
}

#[track_caller]
fn check_answer(op: &Op, answer: &Response, client: &Client) {
    let expected = match op {
        Op::Delete(_, names) => {
            let stored = |name| client.known.get(name).is_some_and(Option::is_some);
            if names.iter().any(stored) { 204 } else { 404 }
        }
        Op::Replace(_) | Op::Restore(..) => 200,
        Op::Store(files) => {
            let differs = |(name, bytes): &(Name, Vec<u8>)| {
                let known = client.known.get(name).and_then(Option::as_ref);
                known.is_some_and(|known| known != bytes)
            };
            if files.iter().any(differs) { 409 } else { 200 }
        }
    };
    assert_eq!(answer.status, expected, "{}", answer.text());
}

impl Life {
    pub(super) fn new(clients: u32) -> Self {
        Self {
            clients: (0..clients).map(|_| Client::default()).collect(),
            turn: 0,
            lost_parts: 0,
            feed: true,
        }
    }

    /// One turn of all clients at once; false when the server died under them.
    pub(super) fn work(&mut self, server: &Server) -> bool {
        self.turn += 1;
        let turn = self.turn;
        let lives = thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(&mut self.clients)
                .map(|(number, client)| {
                    scope.spawn(move || client.work(server, script(number, turn)))
                })
                .collect();
            let ended = threads.into_iter().map(|t| t.join());
            ended
                .map(|e| e.expect("no panic"))
                .collect::<Vec<(bool, u64)>>()
        });
        self.lost_parts += lives.iter().map(|(_, parts)| parts).sum::<u64>();
        lives.iter().all(|(alive, _)| *alive)
    }

    /// One turn without deletes: a lost index brings the deleted back.
    pub(super) fn store_only(&mut self, server: &Server) {
        self.turn += 1;
        let mut script = script(0, self.turn);
        script.truncate(3);
        let (alive, _) = self.clients[0].work(server, script);
        assert!(alive, "nothing is armed for stores");
    }

    /// The feed begins anew when the index is rebuilt.
    pub(super) fn forget_feed(&mut self) {
        self.feed = false;
    }

    /// Each lost part can have left one blob, and no other may be left.
    #[track_caller]
    pub(super) fn check_orphans(&self, fsck: &str) {
        let before = fsck.split(" blobs without a row").next();
        let count = before.and_then(|text| text.rsplit(' ').next()?.parse::<u64>().ok());
        let count = count.expect("fsck tells how many");
        // A crash between the commit of one part and the removal of its double leaves the double.
        assert!(
            count <= self.lost_parts,
            "{count} of {} lost parts left blobs: {fsck}",
            self.lost_parts
        );
    }

    /// Compares everything that can be asked for with what is known.
    #[track_caller]
    pub(super) fn check(&mut self, server: &Server) {
        for client in &mut self.clients {
            client.check(server);
        }
        let present: BTreeSet<&Name> = self.present().collect();
        let found = server
            .get("/dicom-web/instances?limit=100000")
            .expect(200)
            .json();
        let found: BTreeSet<String> = texts(&found, "00080018");
        let instances = present.iter().map(|name| name.instance.clone());
        assert_eq!(found, instances.collect());
        check_studies(server, &present);
        if self.feed {
            check_feed(server, &present);
        }
    }

    fn present(&self) -> impl Iterator<Item = &Name> {
        let known = self.clients.iter().flat_map(|client| &client.known);
        known.filter_map(|(name, bytes)| bytes.is_some().then_some(name))
    }

    /// Waits until only the blobs of rows are left.
    pub(super) fn wait_until_swept(&self, server: &Server) {
        let rows = self.present().count();
        wait_until("the sweeper is done", || server.blob_files().len() == rows);
    }

    pub(super) fn add_tag(&self, server: &Server) -> io::Result<Response> {
        let tag = json!([{"Path": "00080080", "VR": "LO", "Level": "Instance"}]);
        server
            .request("POST", "/v2/extendedquerytags")
            .header("Content-Type", "application/json")
            .body(tag.to_string())
            .try_send()
    }

    /// Adds the tag unless it is there, and waits until a search by it finds everything.
    pub(super) fn wait_for_tag(&self, server: &Server) {
        let tag = server.get("/v2/extendedquerytags/00080080");
        if tag.status == 404 {
            let added = self.add_tag(server).expect("the server lives");
            added.expect(202);
        }
        wait_until("the tag is ready", || {
            let tag = server.get("/v2/extendedquerytags/00080080").expect(200);
            tag.json()["status"] == "ready"
        });
        let found = server
            .get("/v2/instances?InstitutionName=Harbour&limit=200")
            .expect(200)
            .json();
        assert_eq!(texts(&found, "00080018").len(), self.present().count());
    }
}

fn texts(found: &Value, tag: &str) -> BTreeSet<String> {
    let rows = found.as_array().into_iter().flatten();
    rows.filter_map(|row| row[tag]["Value"][0].as_str().map(str::to_owned))
        .collect()
}

/// Counters and modalities of each study are exact.
#[track_caller]
fn check_studies(server: &Server, present: &BTreeSet<&Name>) {
    let mut expected: BTreeMap<String, (BTreeSet<&str>, u64, BTreeSet<&str>)> = BTreeMap::new();
    for name in present {
        let study = expected.entry(name.study.clone()).or_default();
        study.0.insert(&name.series);
        study.1 += 1;
        let even = (name.study.as_bytes().last().copied().unwrap_or(0) - b'0').is_multiple_of(2);
        study.2.insert(match (even, name.series.ends_with(".1")) {
            (true, true) | (false, false) => "CT",
            (true, false) => "MR",
            (false, true) => "US",
        });
    }
    let target = "/dicom-web/studies?limit=100000&includefield=ModalitiesInStudy,\
                  NumberOfStudyRelatedSeries,NumberOfStudyRelatedInstances";
    let answer = server.get(target);
    let found = match answer.status {
        204 => Value::Array(Vec::new()),
        _ => answer.expect(200).json(),
    };
    let rows = found.as_array().expect("a list");
    assert_eq!(rows.len(), expected.len());
    for row in rows {
        let study = row["0020000D"]["Value"][0].as_str().expect("a UID");
        let (series, instances, modalities) = &expected[study];
        assert_eq!(row["00201206"]["Value"][0], series.len(), "{study}");
        assert_eq!(row["00201208"]["Value"][0], *instances, "{study}");
        let listed = row["00080061"]["Value"].as_array();
        let listed: BTreeSet<&str> = listed
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(listed, *modalities, "{study}");
    }
}

/// The feed tells each change once and in order; what it leaves stored is what is stored.
#[track_caller]
fn check_feed(server: &Server, present: &BTreeSet<&Name>) {
    let mut stored = BTreeSet::new();
    let (mut offset, mut last) = (0, 0);
    loop {
        let target = format!("/v2/changefeed?offset={offset}&limit=200&includeMetadata=false");
        let page = server.get(&target).expect(200).json();
        let page = page.as_array().expect("an array").clone();
        if page.is_empty() {
            break;
        }
        offset += page.len();
        for entry in page {
            let sequence = entry["sequence"].as_i64().expect("a number");
            assert!(sequence > last, "{entry} out of order");
            last = sequence;
            let instance = entry["sopInstanceUid"].as_str().expect("a UID").to_owned();
            let changed = match entry["action"].as_str() {
                Some("Create") => stored.insert(instance),
                Some("Delete") => stored.remove(&instance),
                Some("Update") => stored.contains(&instance),
                other => panic!("the action {other:?}"),
            };
            assert!(changed, "{entry} twice");
        }
    }
    let expected: BTreeSet<String> = present.iter().map(|name| name.instance.clone()).collect();
    assert_eq!(stored, expected);
}
