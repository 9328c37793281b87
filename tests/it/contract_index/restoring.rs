//! What the trash remembers, and how it comes back.

use stowage::checksum::ContentSums;
use stowage::index::{
    BlobPlace, ChangeAction, FeedRange, Inserted, RemovalReason, TrashEntry, TrashFilter,
};
use stowage::scope::{Partition, Scope, Visible};
use time::{Duration, OffsetDateTime};

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::queries::studies;

on_each_back_end!(
    each_delete_is_an_entry_with_what_it_took,
    a_restore_gives_instances_their_rows_and_takes_them_off_the_trash,
    what_is_stored_meanwhile_stays,
    what_the_sweeper_claimed_is_not_restored,
    what_is_restored_is_not_claimed,
    two_who_restore_the_same_restore_it_once,
    replaced_instances_have_an_entry_of_their_own,
    entries_are_paged_and_limited_to_what_the_caller_sees,
    entries_are_forgotten_with_their_last_blob,
);

async fn entries(index: &TestIndex) -> Vec<TrashEntry> {
    let filter = TrashFilter {
        limit: 100,
        ..TrashFilter::default()
    };
    let entries = index.trash_entries(&Scope::everything(), &filter).await;
    entries.unwrap()
}

fn samples(study: u32) -> [Sample; 3] {
    [(1, 1), (1, 2), (2, 1)].map(|(series, instance)| {
        Sample::new(study, series, instance)
            .with(0x0010_0010, "A^B")
            .with(0x0008_0060, "CT")
    })
}

fn later() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::HOUR
}

async fn restore(index: &TestIndex, samples: &[Sample]) -> Vec<Inserted> {
    let batch: Vec<_> = samples
        .iter()
        .map(|sample| sample.clone().restored().build())
        .collect();
    index.insert(&batch).await.unwrap()
}

fn all_stored(inserted: &[Inserted]) -> bool {
    let stored = |one: &Inserted| matches!(one, Inserted::Stored { .. });
    inserted.iter().all(stored)
}

async fn each_delete_is_an_entry_with_what_it_took(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &samples(1)).await;
    let before = OffsetDateTime::now_utc() - Duration::SECOND;
    let instance = target(1, Some(1), Some(2));
    for target in [&instance, &target(1, None, None)] {
        index.delete(&scope, target).await.unwrap();
    }
    index.delete(&scope, &instance).await.unwrap();
    let [study, one] = <[TrashEntry; 2]>::try_from(entries(index).await).unwrap();
    assert_eq!(one.target, instance);
    assert_eq!((one.series, one.instances, one.bytes), (1, 1, 1350));
    assert_eq!(study.target, target(1, None, None));
    assert_eq!((study.series, study.instances, study.bytes), (2, 2, 2700));
    assert_eq!((study.reason, study.restored), (RemovalReason::Deleted, 0));
    assert!(study.since > before && study.id > one.id);
    assert_eq!(study.modalities, "CT");
    assert!(study.attributes.contains("A^B"), "{}", study.attributes);
    let instances = index.trashed_instances(&study, 0, 10).await.unwrap();
    let names: Vec<_> = instances.iter().map(|one| one.name.clone()).collect();
    assert_eq!(names, [name(1, 1, 1), name(1, 2, 1)]);
    let rest = index.trashed_instances(&study, instances[0].watermark, 10);
    assert_eq!(rest.await.unwrap(), instances[1..]);
}

async fn a_restore_gives_instances_their_rows_and_takes_them_off_the_trash(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &samples(1)).await;
    let before = studies(index, &[]).await;
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    assert!(studies(index, &[]).await.is_empty());
    assert!(all_stored(&restore(index, &samples(1)[..1]).await));
    let entry = &entries(index).await[0];
    assert_eq!((entry.series, entry.instances, entry.bytes), (2, 2, 2700));
    assert_eq!(entry.restored, 1);
    assert!(all_stored(&restore(index, &samples(1)[1..]).await));
    assert!(entries(index).await.is_empty());
    let entry = index.trash_entry(&scope, entry.id).await.unwrap().unwrap();
    assert_eq!((entry.instances, entry.bytes, entry.restored), (0, 0, 3));
    assert!(index.discarded(later(), None, 10).await.unwrap().is_empty());

    let after = studies(index, &[]).await;
    assert_eq!(after[0].study_instances, before[0].study_instances);
    assert_eq!(after[0].study_series, before[0].study_series);
    assert_eq!(after[0].modalities, before[0].modalities);
    assert!(index.counter_errors(10).await.unwrap().is_empty());
    let range = FeedRange::Sequence {
        after: 6,
        through: 100,
    };
    let changes = index.changes(&(&scope).into(), &range).await.unwrap();
    assert_eq!(changes.len(), 3);
    assert!(changes.iter().all(|one| one.action == ChangeAction::Create));
    // Again: the rows are those of the first time.
    assert!(all_stored(&restore(index, &samples(1)).await));
    assert_eq!(studies(index, &[]).await[0].study_instances, 3);
}

async fn what_is_stored_meanwhile_stays(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &samples(1)).await;
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    let other = Sample::new(1, 1, 1).with(0x0008_0060, "MR");
    store(index, std::slice::from_ref(&other)).await;
    let inserted = restore(index, &samples(1)).await;
    assert!(matches!(inserted[0], Inserted::Exists { .. }));
    assert!(all_stored(&inserted[1..]));
    let entry = &entries(index).await[0];
    assert_eq!((entry.instances, entry.restored), (1, 2));
    // When the other one has gone, too, this one can come back.
    index
        .delete(&scope, &target(1, Some(1), Some(1)))
        .await
        .unwrap();
    assert!(all_stored(&restore(index, &samples(1)[..1]).await));
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn what_the_sweeper_claimed_is_not_restored(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &samples(1)).await;
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    let keys: Vec<String> = samples(1).iter().map(Sample::key).collect();
    let past = OffsetDateTime::now_utc() - Duration::HOUR;
    assert!(index.claim(&keys, past).await.unwrap().is_empty());
    let claimed = index.claim(&keys[..1], later()).await.unwrap();
    assert_eq!(claimed, keys[..1]);
    assert_eq!(entries(index).await[0].instances, 2);
    let inserted = restore(index, &samples(1)).await;
    assert!(matches!(inserted[0], Inserted::Swept), "{inserted:?}");
    assert!(all_stored(&inserted[1..]));
    // A sweeper that died claims them again.
    assert_eq!(index.claim(&keys, later()).await.unwrap(), keys[..1]);
    index.purge(&claimed).await.unwrap();
    assert!(matches!(
        restore(index, &samples(1)[..1]).await[..],
        [Inserted::Swept]
    ));
    assert_eq!(studies(index, &[]).await[0].study_instances, 2);
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn what_is_restored_is_not_claimed(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &samples(1)).await;
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    let listed = index.discarded(later(), None, 10).await.unwrap();
    let keys: Vec<String> = listed.into_iter().map(|blob| blob.key).collect();
    restore(index, &samples(1)[..2]).await;
    assert_eq!(
        index.claim(&keys, later()).await.unwrap(),
        [samples(1)[2].key()]
    );
}

async fn two_who_restore_the_same_restore_it_once(index: &TestIndex) {
    let scope = Scope::everything();
    for study in 1..=5 {
        store(index, &samples(study)).await;
        let target = target(study, None, None);
        index.delete(&scope, &target).await.unwrap();
        let samples = samples(study);
        let keys: Vec<String> = samples.iter().map(Sample::key).collect();
        let (one, two, swept) = tokio::join!(
            restore(index, &samples),
            restore(index, &samples),
            index.claim(&keys, later())
        );
        let swept = swept.unwrap();
        for (at, key) in keys.iter().enumerate() {
            let there = |inserted: &Inserted| matches!(inserted, Inserted::Stored { .. });
            let gone = swept.contains(key);
            assert_eq!((there(&one[at]), there(&two[at])), (!gone, !gone), "{key}");
        }
    }
    let range = FeedRange::Sequence {
        after: 0,
        through: 1000,
    };
    let changes = index.changes(&(&scope).into(), &range).await.unwrap();
    let stored = |one: &&stowage::index::Change| one.action == ChangeAction::Create;
    let created = changes.iter().filter(stored).count();
    let rows = index.all_instances(0, 100).await.unwrap();
    assert_eq!(created, 15 + rows.len());
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn replaced_instances_have_an_entry_of_their_own(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &samples(1)).await;
    let newer = Sample::new(1, 1, 1).with(0x0008_0060, "MR").replacing();
    store(index, std::slice::from_ref(&newer)).await;
    let entry = &entries(index).await[0];
    assert_eq!(entry.reason, RemovalReason::Replaced);
    assert_eq!(entry.target, target(1, None, None));
    assert_eq!((entry.instances, entry.bytes), (1, 1350));
    // As long as the newer one is there, it stays.
    let inserted = restore(index, &samples(1)[..1]).await;
    assert!(matches!(inserted[0], Inserted::Exists { .. }));
    index
        .delete(&scope, &target(1, Some(1), Some(1)))
        .await
        .unwrap();
    assert!(all_stored(&restore(index, &samples(1)[..1]).await));
    let rows = index.all_instances(0, 10).await.unwrap();
    let place = BlobPlace {
        key: samples(1)[0].key(),
        offset: 0,
        length: 1350,
        blocks: Some(ContentSums::of(&[7; 1350]).blocks),
    };
    assert!(rows.iter().any(|row| row.place == place));
}

async fn entries_are_paged_and_limited_to_what_the_caller_sees(index: &TestIndex) {
    let scope = Scope::everything();
    for (study, patient) in [(1, "P"), (2, "Q"), (3, "P"), (4, "Q"), (5, "p")] {
        let sample = Sample::new(study, 1, 1).with(0x0010_0020, patient);
        store(index, &[sample]).await;
        let target = target(study, None, None);
        index.delete(&scope, &target).await.unwrap();
    }
    let elsewhere = Sample::new(6, 1, 1).partition(2);
    store(index, &[elsewhere]).await;
    let other = Scope {
        partition: Partition(2),
        visible: Visible::All,
    };
    index.delete(&other, &target(6, None, None)).await.unwrap();
    let list = async |scope: &Scope, filter: TrashFilter| {
        let entries = index.trash_entries(scope, &filter).await.unwrap();
        let study = |entry: &TrashEntry| entry.target.study().to_string();
        let studies: Vec<String> = entries.iter().map(study).collect();
        (studies, entries.last().map(|entry| entry.id))
    };
    let page = |limit, before| TrashFilter {
        study: None,
        before,
        limit,
    };
    let (first, last) = list(&scope, page(2, None)).await;
    assert_eq!(first, ["1.2.5", "1.2.4"]);
    let (rest, _) = list(&scope, page(10, last)).await;
    assert_eq!(rest, ["1.2.3", "1.2.2", "1.2.1"]);
    let one = TrashFilter {
        study: Some(name(4, 1, 1).study),
        ..page(10, None)
    };
    assert_eq!(list(&scope, one.clone()).await.0, ["1.2.4"]);
    assert_eq!(list(&other, page(10, None)).await.0, ["1.2.6"]);
    let limited = Scope {
        partition: Partition::DEFAULT,
        visible: Visible::Only {
            patients: vec!["P".to_owned()],
            studies: vec!["1.2.2".to_owned()],
        },
    };
    let (seen, last) = list(&limited, page(10, None)).await;
    assert_eq!(seen, ["1.2.3", "1.2.2", "1.2.1"]);
    assert!(list(&limited, one).await.0.is_empty());
    let last = last.unwrap();
    assert!(index.trash_entry(&limited, last).await.unwrap().is_some());
    assert!(index.trash_entry(&other, last).await.unwrap().is_none());
    let hidden = index.trash_entry(&limited, last + 3).await.unwrap();
    assert_eq!(hidden, None);
}

async fn entries_are_forgotten_with_their_last_blob(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &samples(1)).await;
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    let id = entries(index).await[0].id;
    assert_eq!(index.forget_entries(later(), 10).await.unwrap(), 0);
    let keys: Vec<String> = samples(1).iter().map(Sample::key).collect();
    index.purge(&keys[..2]).await.unwrap();
    assert_eq!(entries(index).await[0].instances, 1);
    restore(index, &samples(1)[2..]).await;
    let past = OffsetDateTime::now_utc() - Duration::HOUR;
    assert_eq!(index.forget_entries(past, 10).await.unwrap(), 0);
    assert!(index.trash_entry(&scope, id).await.unwrap().is_some());
    assert_eq!(index.forget_entries(later(), 10).await.unwrap(), 1);
    assert!(index.trash_entry(&scope, id).await.unwrap().is_none());
}
