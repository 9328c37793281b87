//! Deletes, the trash and the audit.

use stowage::index::Inserted;
use stowage::scope::Scope;
use time::{Duration, OffsetDateTime};

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::queries::studies;

on_each_back_end!(
    each_level_is_deleted_with_what_lies_below,
    what_does_not_exist_is_not_deleted,
    an_instance_can_be_stored_again_at_once,
    modalities_shrink_with_their_series,
    blobs_go_to_the_trash_unless_another_row_uses_them,
    the_trash_remembers_and_forgets,
    a_blob_that_has_a_row_is_not_handed_to_the_sweeper,
    the_audit_sees_everything,
);

async fn each_level_is_deleted_with_what_lies_below(index: &TestIndex) {
    let scope = Scope::everything();
    let samples: Vec<Sample> = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]
        .map(|(series, instance)| Sample::new(1, series, instance).with(0x0010_0010, "A^B"))
        .to_vec();
    store(index, &samples).await;
    store(index, &[Sample::new(2, 1, 1)]).await;

    assert_eq!(
        index
            .delete(&scope, &target(1, Some(1), Some(1)))
            .await
            .unwrap(),
        1
    );
    assert!(
        index
            .content(&scope, &name(1, 1, 1))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(studies(index, &[]).await[1].study_instances, 4);

    assert_eq!(
        index
            .delete(&scope, &target(1, Some(2), None))
            .await
            .unwrap(),
        2
    );
    assert!(
        index
            .version(&scope, &target(1, Some(2), None))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(studies(index, &[]).await[1].study_series, 2);

    // The last instance takes its series along.
    assert_eq!(
        index
            .delete(&scope, &target(1, Some(3), Some(1)))
            .await
            .unwrap(),
        1
    );
    assert!(
        index
            .version(&scope, &target(1, Some(3), None))
            .await
            .unwrap()
            .is_none()
    );
    assert!(index.counter_errors(10).await.unwrap().is_empty());

    assert_eq!(
        index.delete(&scope, &target(1, None, None)).await.unwrap(),
        1
    );
    assert!(
        index
            .version(&scope, &target(1, None, None))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(studies(index, &[]).await.len(), 1);
    assert!(studies(index, &[(0x0010_0010, "A^B")]).await.is_empty());

    // The last instance takes its study along.
    assert_eq!(
        index
            .delete(&scope, &target(2, Some(1), Some(1)))
            .await
            .unwrap(),
        1
    );
    assert!(studies(index, &[]).await.is_empty());
    assert!(index.all_instances(0, 10).await.unwrap().is_empty());
}

async fn what_does_not_exist_is_not_deleted(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &[Sample::new(1, 1, 1)]).await;
    for missing in [
        target(2, None, None),
        target(1, Some(2), None),
        target(1, Some(1), Some(2)),
    ] {
        assert_eq!(index.delete(&scope, &missing).await.unwrap(), 0);
    }
    let version = index
        .version(&scope, &target(1, None, None))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(version.instances, 1);
    let all = stowage::index::FeedRange::Sequence {
        after: 0,
        through: i64::MAX,
    };
    let changes = index.changes(&(&scope).into(), &all).await.unwrap();
    assert_eq!(changes.len(), 1);
}

async fn an_instance_can_be_stored_again_at_once(index: &TestIndex) {
    let scope = Scope::everything();
    let mut last = 0;
    for level in [
        target(1, None, None),
        target(1, Some(1), None),
        target(1, Some(1), Some(1)),
    ] {
        let watermark = store(index, &[Sample::new(1, 1, 1)]).await[0];
        assert!(watermark > last);
        last = watermark;
        assert_eq!(index.delete(&scope, &level).await.unwrap(), 1);
        assert_eq!(index.delete(&scope, &level).await.unwrap(), 0);
    }
}

async fn modalities_shrink_with_their_series(index: &TestIndex) {
    let sample = |series, modality| Sample::new(1, series, 1).with(0x0008_0060, modality);
    store(index, &[sample(1, "MR"), sample(2, "CT"), sample(3, "CT")]).await;
    let scope = Scope::everything();
    index
        .delete(&scope, &target(1, Some(2), None))
        .await
        .unwrap();
    assert_eq!(studies(index, &[]).await[0].modalities, ["CT", "MR"]);
    index
        .delete(&scope, &target(1, Some(3), Some(1)))
        .await
        .unwrap();
    assert_eq!(studies(index, &[]).await[0].modalities, ["MR"]);
}

async fn blobs_go_to_the_trash_unless_another_row_uses_them(index: &TestIndex) {
    let scope = Scope::everything();
    let packed = |study, instance: u32| {
        Sample::new(study, 1, instance).blob("pack", u64::from(instance) * 2000)
    };
    let single = Sample::new(1, 1, 3);
    store(
        index,
        &[packed(1, 1), packed(1, 2), single.clone(), packed(2, 1)],
    )
    .await;
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::hours(1);
    let trash = index.discarded(later, None, 10).await.unwrap();
    assert_eq!(
        trash.iter().map(|t| t.key.clone()).collect::<Vec<_>>(),
        [single.key()]
    );
    index.delete(&scope, &target(2, None, None)).await.unwrap();
    let trash = index.discarded(later, None, 10).await.unwrap();
    assert_eq!(trash.len(), 2);
    assert_eq!(trash[1].key, "pack");
}

async fn the_trash_remembers_and_forgets(index: &TestIndex) {
    let before = OffsetDateTime::now_utc() - Duration::seconds(2);
    let keys = [
        "b".to_owned(),
        "a".to_owned(),
        "a".to_owned(),
        "c'\\%".to_owned(),
    ];
    index.discard(&keys).await.unwrap();
    index.discard(&keys[..1]).await.unwrap();
    index.discard(&[]).await.unwrap();
    assert!(index.discarded(before, None, 10).await.unwrap().is_empty());
    let later = OffsetDateTime::now_utc() + Duration::seconds(2);
    let trash = index.discarded(later, None, 10).await.unwrap();
    assert_eq!(
        trash.iter().map(|t| t.key.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c'\\%"]
    );
    assert!(
        trash
            .iter()
            .all(|t| t.attempts == 0 && t.since > before && t.since < later)
    );
    assert_eq!(index.discarded(later, None, 2).await.unwrap().len(), 2);
    let rest = index.discarded(later, Some(&trash[0]), 10).await.unwrap();
    assert_eq!(rest, trash[1..]);
    index.retry_later("b").await.unwrap();
    index.retry_later("b").await.unwrap();
    index
        .purge(&["a".to_owned(), "nothing".to_owned()])
        .await
        .unwrap();
    let trash = index.discarded(later, None, 10).await.unwrap();
    assert_eq!((trash[0].key.as_str(), trash[0].attempts), ("b", 2));
    assert_eq!(trash.len(), 2);
}

async fn the_audit_sees_everything(index: &TestIndex) {
    let samples = [
        Sample::new(1, 1, 1),
        Sample::new(1, 1, 1).partition(2),
        Sample::new(2, 1, 1),
    ];
    let inserted = index
        .insert(&samples.clone().map(|s| s.build()))
        .await
        .unwrap();
    assert!(
        inserted
            .iter()
            .all(|i| matches!(i, Inserted::Stored { .. }))
    );
    let all = index.all_instances(0, 10).await.unwrap();
    assert_eq!(all.len(), 3);
    let rest = index.all_instances(all[0].watermark, 1).await.unwrap();
    assert_eq!(rest[0].watermark, all[1].watermark);

    index.discard(&["old".to_owned()]).await.unwrap();
    let keys = [
        samples[0].key(),
        "nobody's".to_owned(),
        "old".to_owned(),
        samples[1].key(),
    ];
    assert_eq!(
        index.known_keys(&keys).await.unwrap(),
        [true, false, true, true]
    );
    assert!(index.known_keys(&[]).await.unwrap().is_empty());

    assert!(index.counter_errors(10).await.unwrap().is_empty());
    index.ping().await.unwrap();
}

/// A commit whose answer was lost: its blobs went onto the trash, but their rows are there.
async fn a_blob_that_has_a_row_is_not_handed_to_the_sweeper(index: &TestIndex) {
    let sample = Sample::new(1, 1, 1);
    index
        .discard(&[sample.key(), "aa/none".to_owned()])
        .await
        .unwrap();
    store(index, std::slice::from_ref(&sample)).await;
    let handed = async || {
        let soon = OffsetDateTime::now_utc() + Duration::HOUR;
        let discarded = index.discarded(soon, None, 10).await.unwrap();
        discarded
            .into_iter()
            .map(|d| (d.key, d.since))
            .collect::<Vec<_>>()
    };
    let first = handed().await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].0, "aa/none");
    let before_delete = OffsetDateTime::now_utc() - Duration::MILLISECOND;
    index
        .delete(&Scope::everything(), &target(1, None, None))
        .await
        .unwrap();
    let second = handed().await;
    // Its grace period begins with the delete.
    let (_, since) = second.iter().find(|(key, _)| *key == sample.key()).unwrap();
    assert!(*since >= before_delete);
}
