//! Inserts that take the places of what is stored.

use std::sync::Arc;

use stowage::index::{ChangeAction, ChangeState, FeedRange, Inserted, StudyCondition, Version};
use stowage::scope::Scope;

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::queries::studies;

on_each_back_end!(
    what_replaces_is_there_whole_and_counts_once,
    the_last_of_a_batch_wins,
    a_replacement_whose_answer_was_lost_is_not_done_again,
    a_blob_that_others_use_stays_off_the_trash,
    a_condition_is_decided_where_the_study_is_locked,
    a_study_whose_time_is_over_is_deleted_unless_it_was_stored_into,
);

const ALL: FeedRange = FeedRange::Sequence {
    after: 0,
    through: i64::MAX,
};

fn sample(instance: u32, patient: &str) -> Sample {
    Sample::new(1, 1, instance)
        .with(0x0010_0020, patient)
        .with(0x0008_0060, "CT")
}

async fn keys_on_trash(index: &TestIndex) -> Vec<String> {
    let later = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
    let trash = index.discarded(later, None, 100).await.unwrap();
    trash.into_iter().map(|blob| blob.key).collect()
}

async fn version(index: &TestIndex, study: u32) -> Option<Version> {
    let scope = Scope::everything();
    let found = index.version(&scope, &target(study, None, None)).await;
    found.unwrap()
}

async fn what_replaces_is_there_whole_and_counts_once(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &[sample(1, "A"), sample(2, "A")]).await;
    let before = version(index, 1).await.unwrap();
    let new = sample(1, "B").replacing();
    let other = sample(3, "B").replacing();
    let inserted = index.insert(&[new.build(), other.build()]).await.unwrap();
    let [Inserted::Replaced { watermark }, Inserted::Stored { .. }] = inserted.as_slice() else {
        panic!("{inserted:?}");
    };
    let rows = index
        .instances(&scope, &target(1, None, None), 0, 10)
        .await
        .unwrap();
    assert_eq!(rows.len(), 3);
    let row = rows.iter().find(|row| row.name == name(1, 1, 1)).unwrap();
    assert_eq!((row.watermark, row.digest), (*watermark, new.digest()));
    assert_eq!(row.place.key, new.key());
    assert_eq!(keys_on_trash(index).await, [sample(1, "A").key()]);
    let after = version(index, 1).await.unwrap();
    assert!(after.version > before.version);
    assert_eq!(after.instances, 3);
    assert!(index.counter_errors(10).await.unwrap().is_empty());
    // The latest value wins, as for any other store.
    assert!(studies(index, &[]).await[0].study.contains("\"B\""));

    let changes = index.changes(&(&scope).into(), &ALL).await.unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change.action,
                change.name.instance.to_string(),
                change.state,
            )
        })
        .collect();
    let entry =
        |action, instance, state| (action, name(1, 1, instance).instance.to_string(), state);
    use ChangeAction::{Create, Update};
    use ChangeState::{Current, Replaced};
    assert_eq!(
        told,
        [
            entry(Create, 1, Replaced),
            entry(Create, 2, Current),
            entry(Update, 1, Current),
            entry(Create, 3, Current),
        ]
    );
}

async fn the_last_of_a_batch_wins(index: &TestIndex) {
    store(index, &[sample(1, "A")]).await;
    let batch = [
        // What is stored already says so.
        sample(1, "B"),
        sample(1, "C").replacing(),
        sample(1, "D").replacing(),
        sample(1, "E"),
        // Nothing is stored: the first one would be.
        sample(2, "B"),
        sample(2, "C").replacing(),
    ];
    let built: Vec<_> = batch.iter().map(Sample::build).collect();
    let inserted = index.insert(&built).await.unwrap();
    let [
        first,
        Inserted::Superseded,
        Inserted::Replaced { .. },
        fourth,
        Inserted::Superseded,
        Inserted::Stored { .. },
    ] = inserted.as_slice()
    else {
        panic!("{inserted:?}");
    };
    let exists = |sample: &Sample| Inserted::Exists {
        digest: sample.digest(),
        stored: None,
    };
    assert_eq!(*first, exists(&sample(1, "A")));
    assert_eq!(*fourth, exists(&sample(1, "D")));
    let rows = index.all_instances(0, 10).await.unwrap();
    let digests: Vec<_> = rows.iter().map(|row| row.digest).collect();
    assert_eq!(digests, [sample(1, "D").digest(), sample(2, "C").digest()]);
    assert_eq!(keys_on_trash(index).await, [sample(1, "A").key()]);
    assert!(index.counter_errors(10).await.unwrap().is_empty());
    let changes = index
        .changes(&(&Scope::everything()).into(), &ALL)
        .await
        .unwrap();
    assert_eq!(changes.len(), 3);
}

async fn a_replacement_whose_answer_was_lost_is_not_done_again(index: &TestIndex) {
    store(index, &[sample(1, "A")]).await;
    let known = Arc::new(StudyCondition::OneOf(vec![
        version(index, 1).await.unwrap(),
    ]));
    let new = sample(1, "B").replacing().when(&known);
    let first = store(index, std::slice::from_ref(&new)).await;
    let again = index.insert(&[new.build()]).await.unwrap();
    assert_eq!(
        again,
        [Inserted::Stored {
            watermark: first[0]
        }]
    );
    assert_eq!(keys_on_trash(index).await, [sample(1, "A").key()]);
    let changes = index
        .changes(&(&Scope::everything()).into(), &ALL)
        .await
        .unwrap();
    assert_eq!(changes.len(), 2);
}

async fn a_blob_that_others_use_stays_off_the_trash(index: &TestIndex) {
    store(
        index,
        &[
            sample(1, "A").blob("both", 0),
            sample(2, "A").blob("both", 1350),
        ],
    )
    .await;
    store(index, &[sample(1, "B").replacing()]).await;
    assert!(keys_on_trash(index).await.is_empty());
    store(index, &[sample(2, "B").replacing()]).await;
    assert_eq!(keys_on_trash(index).await, ["both"]);
}

async fn a_condition_is_decided_where_the_study_is_locked(index: &TestIndex) {
    let absent = Arc::new(StudyCondition::Absent);
    let there = Arc::new(StudyCondition::Exists);
    let insert = async |samples: &[Sample]| {
        let built: Vec<_> = samples.iter().map(Sample::build).collect();
        index.insert(&built).await.unwrap()
    };
    assert_eq!(
        insert(&[sample(1, "A").when(&there)]).await,
        [Inserted::Unmatched]
    );
    assert!(version(index, 1).await.is_none());
    store(index, &[sample(1, "A").when(&absent)]).await;
    assert_eq!(
        insert(&[sample(2, "A").when(&absent)]).await,
        [Inserted::Unmatched]
    );
    // Two who have read the same version: one of them loses, and who says nothing is not concerned.
    let read = version(index, 1).await.unwrap();
    let named = || Arc::new(StudyCondition::OneOf(vec![read]));
    let (one, two) = (named(), named());
    let inserted = insert(&[
        sample(1, "B").replacing().when(&one),
        sample(1, "C").replacing().when(&two),
        sample(2, "B").replacing().when(&one),
        sample(3, "D"),
    ])
    .await;
    assert!(
        matches!(
            inserted.as_slice(),
            [
                Inserted::Replaced { .. },
                Inserted::Unmatched,
                Inserted::Stored { .. },
                Inserted::Stored { .. }
            ]
        ),
        "{inserted:?}"
    );
    assert_eq!(
        insert(&[sample(4, "E").when(&two)]).await,
        [Inserted::Unmatched]
    );
    assert_eq!(version(index, 1).await.unwrap().instances, 3);
}

async fn a_study_whose_time_is_over_is_deleted_unless_it_was_stored_into(index: &TestIndex) {
    let now = time::OffsetDateTime::now_utc();
    let past = now - time::Duration::HOUR;
    store(
        index,
        &[
            Sample::new(1, 1, 1).until(past),
            Sample::new(2, 1, 1).until(past - time::Duration::HOUR),
            Sample::new(3, 1, 1).until(now + time::Duration::HOUR),
            Sample::new(4, 1, 1),
        ],
    )
    .await;
    let studies = async || -> Vec<String> {
        let expired = index.expired(now, 10).await.unwrap();
        expired.iter().map(|(_, study)| study.to_string()).collect()
    };
    assert_eq!(studies().await, ["1.2.2", "1.2.1"]);
    let expired = index.expired(now, 10).await.unwrap();
    // Somebody stores into one of them meanwhile; one that exists changes nothing.
    store(index, &[Sample::new(1, 1, 2)]).await;
    index
        .insert(&[Sample::new(2, 1, 1).with(0x0010_0020, "B").build()])
        .await
        .unwrap();
    let mut removed = Vec::new();
    for study in &expired {
        removed.push(index.delete_expired(study, now).await.unwrap());
    }
    assert_eq!(removed, [1, 0]);
    assert!(studies().await.is_empty());
    assert!(version(index, 2).await.is_none());
    assert_eq!(version(index, 1).await.unwrap().instances, 2);
}
