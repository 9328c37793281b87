//! Many writers at once, against a model that knows what must come out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use stowage::dicom::attributes::QueryLevel;
use stowage::index::{ChangeAction, ChangeState, FeedRange, Inserted, NewInstance};
use stowage::scope::Scope;

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, target};
use crate::support::queries::{query, search};

on_each_back_end!(
    of_many_equal_inserts_one_wins,
    batches_with_the_same_studies_do_not_starve,
    inserts_and_deletes_of_one_study_leave_it_whole,
    random_work_of_several_clients_leaves_exact_rows,
);

async fn of_many_equal_inserts_one_wins(index: &TestIndex) {
    for round in 0..10 {
        let inserts = (0..8).map(|client: u32| {
            let index = Arc::clone(&index.index);
            let sample = Sample::new(round, 1, 1).with(0x0010_0020, &format!("P{client}"));
            tokio::spawn(async move {
                (
                    sample.digest(),
                    index.insert(&[sample.build()]).await.unwrap(),
                )
            })
        });
        let outcomes: Vec<_> = join_all(inserts)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let winners: Vec<_> = outcomes
            .iter()
            .filter(|(_, o)| matches!(o[0], Inserted::Stored { .. }))
            .collect();
        assert_eq!(winners.len(), 1);
        let stored = winners[0].0;
        for (_, outcome) in &outcomes {
            match &outcome[0] {
                Inserted::Stored { .. } => {}
                Inserted::Exists { digest, .. } => assert_eq!(*digest, stored),
                other => panic!("nobody is limited or replaces here: {other:?}"),
            }
        }
    }
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn batches_with_the_same_studies_do_not_starve(index: &TestIndex) {
    let work = (0..6_u32).map(|client| {
        let index = Arc::clone(&index.index);
        tokio::spawn(async move {
            for round in 0..8_u32 {
                // Each client names the studies in another order.
                let mut studies: Vec<u32> = (0..10).collect();
                studies.rotate_left(usize::try_from(client + round).unwrap() % 10);
                let batch: Vec<NewInstance> = studies
                    .iter()
                    .map(|s| Sample::new(*s, client, round).build())
                    .collect();
                let inserted = index.insert(&batch).await.unwrap();
                assert!(
                    inserted
                        .iter()
                        .all(|i| matches!(i, Inserted::Stored { .. }))
                );
            }
        })
    });
    for done in join_all(work).await {
        done.unwrap();
    }
    assert!(index.counter_errors(10).await.unwrap().is_empty());
    let page = search(index, &query(QueryLevel::Study)).await;
    assert!(
        page.rows
            .iter()
            .all(|row| row.study_instances == 48 && row.study_series == 6)
    );
}

async fn inserts_and_deletes_of_one_study_leave_it_whole(index: &TestIndex) {
    let scope = Scope::everything();
    let writers = (0..3_u32).map(|client| {
        let index = Arc::clone(&index.index);
        tokio::spawn(async move {
            for round in 0..25 {
                let modality = ["CT", "MR", "US"][usize::try_from(client).unwrap()];
                let batch: Vec<NewInstance> = (0..3)
                    .map(|i| {
                        Sample::new(1, client, round * 3 + i)
                            .with(0x0008_0060, modality)
                            .build()
                    })
                    .collect();
                index.insert(&batch).await.unwrap();
            }
        })
    });
    let deleters = (0..3_u32).map(|client| {
        let index = Arc::clone(&index.index);
        let scope = scope.clone();
        tokio::spawn(async move {
            for round in 0..25 {
                let level = match round % 3 {
                    0 => target(1, None, None),
                    1 => target(1, Some(client), None),
                    _ => target(1, Some(client), Some(round)),
                };
                index.delete(&scope, &level).await.unwrap();
            }
        })
    });
    let work: Vec<_> = writers.chain(deleters).collect();
    for done in join_all(work).await {
        done.unwrap();
    }
    assert_eq!(
        index.counter_errors(10).await.unwrap(),
        Vec::<String>::new()
    );
    check_feed_against_rows(index).await;
}

/// What the feed says is stored is what is stored.
async fn check_feed_against_rows(index: &TestIndex) {
    let all = FeedRange::Sequence {
        after: 0,
        through: i64::MAX,
    };
    let mut stored = BTreeSet::new();
    for change in index
        .changes(&(&Scope::everything()).into(), &all)
        .await
        .unwrap()
    {
        match change.action {
            ChangeAction::Create => assert!(stored.insert(change.name.clone()), "stored twice"),
            ChangeAction::Delete => assert!(stored.remove(&change.name), "deleted but not stored"),
            ChangeAction::Update => panic!("nothing is updated here"),
        }
        if change.state == ChangeState::Current {
            assert_eq!(change.action, ChangeAction::Create);
        }
    }
    let rows = index.all_instances(0, 100_000).await.unwrap();
    let rows: BTreeSet<_> = rows.into_iter().map(|row| row.name).collect();
    assert_eq!(rows, stored);
}

/// Each client owns some studies, so that a model knows the outcome of its calls; the last study belongs to all.
async fn random_work_of_several_clients_leaves_exact_rows(index: &TestIndex) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let work = (0..4_u32).map(|client| {
        let index = Arc::clone(&index.index);
        tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed.wrapping_add(u64::from(client)));
            let mut model = Model::default();
            for _ in 0..40 {
                model.step(&*index, client, &mut rng).await;
            }
            model
        })
    });
    let mut expected = BTreeMap::new();
    for model in join_all(work).await {
        expected.extend(model.unwrap().studies());
    }
    assert_eq!(
        index.counter_errors(10).await.unwrap(),
        Vec::<String>::new()
    );
    check_feed_against_rows(index).await;
    let mut found = BTreeMap::new();
    for row in search(index, &query(QueryLevel::Study)).await.rows {
        if row.study_uid != format!("1.2.{SHARED}") {
            found.insert(
                row.study_uid,
                (row.study_series, row.study_instances, row.modalities),
            );
        }
    }
    assert_eq!(found, expected);
}

const SHARED: u32 = 999;

/// What one client believes to be stored: the modality of each instance's series.
#[derive(Default)]
struct Model {
    instances: BTreeSet<(u32, u32, u32)>,
}

fn modality(series: u32) -> &'static str {
    ["CT", "MR", "CT", "PT"][usize::try_from(series).unwrap() % 4]
}

impl Model {
    async fn step(&mut self, index: &dyn stowage::index::Index, client: u32, rng: &mut StdRng) {
        let own = [client * 10, client * 10 + 1, client * 10 + 2];
        let study = if rng.random_bool(0.2) {
            SHARED
        } else {
            *own.choose(rng).unwrap()
        };
        let series = rng.random_range(0..4);
        let instance = rng.random_range(0..6);
        let scope = Scope::everything();
        if rng.random_bool(0.65) {
            let mut keys = vec![(study, series, instance)];
            for _ in 0..rng.random_range(0..5) {
                keys.push((
                    *own.choose(rng).unwrap(),
                    rng.random_range(0..4),
                    rng.random_range(0..6),
                ));
            }
            let batch: Vec<NewInstance> = keys
                .iter()
                .map(|(s, e, i)| {
                    let key = format!("{:x}", rng.random::<u128>());
                    Sample::new(*s, *e, *i)
                        .with(0x0008_0060, modality(*e))
                        .blob(&key, 0)
                        .build()
                })
                .collect();
            let inserted = index.insert(&batch).await.unwrap();
            for (key, inserted) in keys.into_iter().zip(inserted) {
                let stored = matches!(inserted, Inserted::Stored { .. });
                if key.0 != SHARED {
                    assert_eq!(self.instances.insert(key), stored);
                }
            }
        } else {
            let level = match rng.random_range(0..3) {
                0 => (target(study, None, None), (None, None)),
                1 => (target(study, Some(series), None), (Some(series), None)),
                _ => (
                    target(study, Some(series), Some(instance)),
                    (Some(series), Some(instance)),
                ),
            };
            let deleted = index.delete(&scope, &level.0).await.unwrap();
            if study != SHARED {
                let before = self.instances.len();
                let (series, instance) = level.1;
                self.instances.retain(|(s, e, i)| {
                    *s != study
                        || series.is_some_and(|series| series != *e)
                        || instance.is_some_and(|x| x != *i)
                });
                assert_eq!(deleted, (before - self.instances.len()) as u64);
            }
        }
    }

    /// Series, instances and modalities of each study.
    fn studies(&self) -> BTreeMap<String, (i64, i64, Vec<String>)> {
        let mut studies: BTreeMap<u32, (BTreeSet<u32>, i64, BTreeSet<&str>)> = BTreeMap::new();
        for (study, series, _) in &self.instances {
            let entry = studies.entry(*study).or_default();
            entry.0.insert(*series);
            entry.1 += 1;
            entry.2.insert(modality(*series));
        }
        let study = |(study, (series, instances, modalities)): (
            u32,
            (BTreeSet<u32>, i64, BTreeSet<&str>),
        )| {
            let modalities = modalities.into_iter().map(str::to_owned).collect();
            (
                name(study, 0, 0).study.to_string(),
                (series.len() as i64, instances, modalities),
            )
        };
        studies.into_iter().map(study).collect()
    }
}
