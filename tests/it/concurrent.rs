//! Many clients at once: one store of an instance wins, deletes are whole for every reader, and what comes out is what a
//! simple model says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use dicom_core::{Tag, VR};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stowage::dicom::testing::{BuiltFile, Syntax};

use crate::support::dicom::noise;
use crate::support::prelude::*;

const MODALITIES: [&str; 3] = ["CT", "MR", "US"];

/// An instance of a series whose number decides its modality; `version` decides the bytes.
fn file(name: &Name, series: u32, version: u32) -> BuiltFile {
    let modality = MODALITIES[usize::try_from(series % 3).unwrap()];
    let seed = format!("{} {version}", name.instance);
    let data_set = name
        .data_set()
        .text(Tag(0x0008, 0x0060), VR::CS, modality)
        .bytes(Tag(0x0042, 0x0011), VR::OB, noise(&seed, 2000));
    name.file(&data_set, Syntax::ExplicitLittle)
}

#[test]
fn of_many_stores_of_one_instance_one_wins_and_the_others_are_told() {
    on_each_index(|server| {
        for round in 0..6 {
            let name = Name::new(100 + round, 1, 1);
            let files: Vec<BuiltFile> = (0..8).map(|v| file(&name, 1, v)).collect();
            let statuses: Vec<u16> = thread::scope(|scope| {
                let server = &*server;
                let stores: Vec<_> = files
                    .iter()
                    .map(|file| scope.spawn(move || server.store("/dicom-web", [file]).status))
                    .collect();
                stores.into_iter().map(|s| s.join().unwrap()).collect()
            });
            let winners: Vec<usize> = (0..8).filter(|at| statuses[*at] == 200).collect();
            assert_eq!(winners.len(), 1, "{statuses:?}");
            assert!(
                statuses.iter().all(|s| [200, 409].contains(s)),
                "{statuses:?}"
            );
            assert!(server.stored(&name).as_ref() == Some(&files[winners[0]].bytes));
        }
        // Identical bytes are a success for everybody, and are kept once.
        let name = Name::new(200, 1, 1);
        let same = file(&name, 1, 0);
        thread::scope(|scope| {
            for _ in 0..8 {
                let (server, same) = (&*server, &same);
                scope.spawn(move || server.store("/dicom-web", [same]).expect(200));
            }
        });
        assert_eq!(server.blob_files().len(), 7);
        server.fsck();
    });
}

#[test]
fn readers_see_a_whole_instance_or_none_while_it_is_deleted_and_stored_again() {
    on_each_index(|server| {
        let names: Vec<Name> = (1..=3)
            .map(|instance| Name::new(300, 1, instance))
            .collect();
        let files: Vec<BuiltFile> = names.iter().map(|name| file(name, 1, 0)).collect();
        let stop = AtomicBool::new(false);
        let (seen, missed) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for reader in 0..3_usize {
                let (server, stop, seen, missed) = (&*server, &stop, &seen, &missed);
                let (names, files) = (&names, &files);
                scope.spawn(move || {
                    let mut turn = reader;
                    while !stop.load(Ordering::Relaxed) {
                        turn += 1;
                        let at = turn % names.len();
                        match server.stored(&names[at]) {
                            Some(bytes) => {
                                assert!(bytes == files[at].bytes);
                                seen.fetch_add(1, Ordering::Relaxed);
                            }
                            None => {
                                missed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        let metadata = format!("/dicom-web{}/metadata", names[at].study_path());
                        let metadata = server.get(&metadata);
                        assert!([200, 404].contains(&metadata.status));
                        if metadata.status == 200 {
                            // A study is stored and deleted in one transaction each.
                            let count = metadata.json().as_array().map(Vec::len);
                            assert_eq!(count, Some(3));
                        }
                    }
                });
            }
            for _ in 0..25 {
                server.store("/dicom-web", &files).expect(200);
                let target = format!("/dicom-web{}", names[0].study_path());
                server.request("DELETE", &target).send().expect(204);
            }
            stop.store(true, Ordering::Relaxed);
        });
        println!("{seen:?} reads of it, {missed:?} of nothing");
        assert!(server.fsck().contains("0 instances"));
    });
}

/// What a client does next; numbers choose among its own studies or the shared one, series and instance.
#[derive(Debug, Clone)]
enum Op {
    Store(Vec<(u32, u32, u32)>, u32),
    DeleteStudy(u32),
    DeleteSeries(u32, u32),
    DeleteInstance(u32, u32, u32),
    Read(u32, u32, u32),
    Search(u32),
}

/// Study 0 is everybody's, 1 and 2 are the client's own.
fn op() -> impl Strategy<Value = Op> {
    let place = || (0..3_u32, 0..3_u32, 0..3_u32);
    prop_oneof![
        5 => (prop::collection::vec(place(), 1..4), 0..2_u32).prop_map(|(p, v)| Op::Store(p, v)),
        1 => (0..3_u32).prop_map(Op::DeleteStudy),
        1 => (0..3_u32, 0..3_u32).prop_map(|(s, e)| Op::DeleteSeries(s, e)),
        2 => place().prop_map(|(s, e, i)| Op::DeleteInstance(s, e, i)),
        2 => place().prop_map(|(s, e, i)| Op::Read(s, e, i)),
        1 => (0..3_u32).prop_map(Op::Search),
    ]
}

/// One client with what it knows of its own studies: version of each instance.
struct Client {
    base: u32,
    number: u32,
    own: BTreeMap<(u32, u32, u32), u32>,
    /// Stores and deletes of single shared instances that succeeded.
    shared_stores: u32,
}

impl Client {
    fn study(&self, study: u32) -> u32 {
        match study {
            0 => self.base,
            own => self.base + self.number * 2 + own,
        }
    }

    fn name(&self, (study, series, instance): (u32, u32, u32)) -> Name {
        Name::new(self.study(study), series, instance)
    }

    fn run(&mut self, server: &Deployment, op: &Op) {
        match op {
            Op::Store(places, version) => {
                for place in places {
                    self.store(server, *place, *version);
                }
            }
            Op::DeleteStudy(study) => {
                let path = self.name((*study, 0, 0)).study_path();
                self.delete(server, *study, &path, |_| true);
            }
            Op::DeleteSeries(study, series) => {
                let path = self.name((*study, *series, 0)).series_path();
                self.delete(server, *study, &path, |at| at.1 == *series);
            }
            Op::DeleteInstance(study, series, instance) => {
                let at = (*study, *series, *instance);
                let path = self.name(at).path();
                self.delete(server, *study, &path, |other| *other == at);
            }
            Op::Read(study, series, instance) => {
                let at = (*study, *series, *instance);
                let found = server.stored(&self.name(at));
                if *study > 0 {
                    let known = self.own.get(&at);
                    let known = known.map(|v| file(&self.name(at), at.1, *v).bytes);
                    assert!(found == known, "{at:?}");
                }
            }
            Op::Search(study) if *study > 0 => self.search(server, *study),
            Op::Search(_) => {}
        }
    }

    fn store(&mut self, server: &Deployment, at: (u32, u32, u32), version: u32) {
        let file = file(&self.name(at), at.1, version);
        let status = server.store("/v2", [&file]).status;
        if at.0 == 0 {
            assert!([200, 202, 409].contains(&status), "{status}");
            self.shared_stores += u32::from(status != 409);
            return;
        }
        // The service answers 409 whatever the bytes are, and 202 where it has warnings.
        let known = self.own.contains_key(&at);
        assert_eq!(status == 409, known, "{at:?}: {status}");
        assert!([200, 202, 409].contains(&status), "{at:?}: {status}");
        self.own.entry(at).or_insert(version);
    }

    fn delete(
        &mut self,
        server: &Deployment,
        study: u32,
        path: &str,
        goes: impl Fn(&(u32, u32, u32)) -> bool,
    ) {
        let status = server
            .request("DELETE", &format!("/v2{path}"))
            .send()
            .status;
        if study == 0 {
            assert!([204, 404].contains(&status), "{status}");
            return;
        }
        let before = self.own.len();
        self.own.retain(|at, _| at.0 != study || !goes(at));
        let expected = if self.own.len() < before { 204 } else { 404 };
        assert_eq!(status, expected, "{path}");
    }

    /// The search tells exactly what the model knows of a study.
    fn search(&self, server: &Deployment, study: u32) {
        let mine: Vec<_> = self.own.keys().filter(|at| at.0 == study).collect();
        let uid = self.name((study, 0, 0)).study;
        let target = format!(
            "/dicom-web/studies?StudyInstanceUID={uid}&includefield=ModalitiesInStudy,\
             NumberOfStudyRelatedSeries,NumberOfStudyRelatedInstances"
        );
        let answer = server.get(&target);
        let found = match answer.status {
            204 => Value::Array(Vec::new()),
            _ => answer.expect(200).json(),
        };
        let Some(row) = found.get(0) else {
            assert!(mine.is_empty(), "{uid}");
            return;
        };
        let series: BTreeSet<u32> = mine.iter().map(|at| at.1).collect();
        let modalities: BTreeSet<&str> = series
            .iter()
            .map(|s| MODALITIES[usize::try_from(s % 3).unwrap()])
            .collect();
        assert_eq!(row["00201206"]["Value"][0], series.len(), "{row}");
        assert_eq!(row["00201208"]["Value"][0], mine.len(), "{row}");
        let reported = row["00080061"]["Value"].as_array().cloned();
        let reported: Vec<String> = reported
            .unwrap_or_default()
            .iter()
            .filter_map(|m| m.as_str().map(str::to_owned))
            .collect();
        assert_eq!(reported, modalities.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn random_work_of_several_clients_comes_out_as_the_model_says() {
    on_each_index(|server| {
        let base = AtomicU32::new(1000);
        let config = Config {
            cases: 16,
            failure_persistence: None,
            // A failure depends on timing: a smaller case proves nothing.
            max_shrink_iters: 0,
            ..Config::default()
        };
        let work = prop::collection::vec(prop::collection::vec(op(), 8..16), 3);
        let server = &*server;
        let result = TestRunner::new(config).run(&work, |work| {
            let base = base.fetch_add(10, Ordering::Relaxed);
            check_case(server, base, &work);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
        server.fsck();
    });
}

fn check_case(server: &Deployment, base: u32, work: &[Vec<Op>]) {
    let clients: Vec<Client> = thread::scope(|scope| {
        let running: Vec<_> = (0..)
            .zip(work)
            .map(|(number, ops)| {
                scope.spawn(move || {
                    let mut client = Client {
                        base,
                        number,
                        own: BTreeMap::new(),
                        shared_stores: 0,
                    };
                    for op in ops {
                        client.run(server, op);
                    }
                    client
                })
            })
            .collect();
        running.into_iter().map(|r| r.join().unwrap()).collect()
    });
    for client in &clients {
        for study in [1, 2] {
            client.search(server, study);
        }
        for (at, version) in &client.own {
            let expected = file(&client.name(*at), at.1, *version).bytes;
            assert!(server.stored(&client.name(*at)) == Some(expected));
        }
    }
    // Of the shared study the feed tells what happened: each store that was acknowledged, once.
    let shared = format!("1.2.3.{base}");
    let (mut stored, mut creates) = (BTreeSet::new(), 0);
    let mut offset = 0;
    loop {
        let target = format!("/v2/changefeed?offset={offset}&limit=200&includeMetadata=false");
        let page = server.get(&target).expect(200).json();
        let page = page.as_array().cloned().unwrap_or_default();
        if page.is_empty() {
            break;
        }
        offset += page.len();
        for entry in page.iter().filter(|e| e["studyInstanceUid"] == *shared) {
            let instance = entry["sopInstanceUid"].as_str().map(str::to_owned);
            if entry["action"] == "Create" {
                creates += 1;
                assert!(stored.insert(instance), "{entry} twice");
            } else {
                assert!(stored.remove(&instance), "{entry} twice");
            }
        }
    }
    let acknowledged: u32 = clients.iter().map(|client| client.shared_stores).sum();
    assert_eq!(creates, acknowledged);
    let target = format!("/dicom-web/instances?StudyInstanceUID={shared}&limit=1000");
    let found = server.get(&target).expect(200).json();
    assert_eq!(found.as_array().map(Vec::len), Some(stored.len()));
}
