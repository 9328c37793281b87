//! What a scope hides does not exist.

use stowage::dicom::keys::Level;
use stowage::index::{FeedRange, WithMetadata};
use stowage::scope::{Partition, Scope, Visible};

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::queries::query;

on_each_back_end!(
    a_partition_hides_the_others,
    only_the_named_patients_and_studies_exist
);

/// What of the studies 1 to 3 a scope shows, by every method.
async fn check(index: &TestIndex, scope: &Scope, visible: &[u32]) {
    for study in 1..=3 {
        let shown = visible.contains(&study);
        for wanted in [
            target(study, None, None),
            target(study, Some(1), None),
            target(study, Some(1), Some(1)),
        ] {
            assert_eq!(
                index.version(scope, &wanted).await.unwrap().is_some(),
                shown,
                "{wanted:?}"
            );
            let rows = index.instances(scope, &wanted, 0, 10).await.unwrap();
            assert_eq!(!rows.is_empty(), shown, "{wanted:?}");
            let rows = index.metadata(scope, &wanted, 0, 10).await.unwrap();
            assert_eq!(!rows.is_empty(), shown, "{wanted:?}");
            if !shown {
                assert_eq!(index.delete(scope, &wanted).await.unwrap(), 0);
            }
        }
        let content = index.content(scope, &name(study, 1, 1)).await.unwrap();
        assert_eq!(content.is_some(), shown);
    }
    for level in [Level::Study, Level::Series, Level::Instance] {
        let page = index
            .search(scope, &query(level), &[], WithMetadata::Yes, None)
            .await
            .unwrap();
        let mut found: Vec<String> = page.rows.iter().map(|row| row.study_uid.clone()).collect();
        found.reverse();
        let expected: Vec<String> = visible.iter().map(|study| format!("1.2.{study}")).collect();
        assert_eq!(found, expected, "{level:?}");
        let counted = index.count(scope, &query(level), &[], 100).await.unwrap();
        assert_eq!(counted, visible.len() as u64);
    }
    let all = FeedRange::Sequence {
        after: 0,
        through: i64::MAX,
    };
    let changes = index.changes(scope, &all, WithMetadata::Yes).await.unwrap();
    let found: Vec<String> = changes.iter().map(|c| c.name.study.to_string()).collect();
    let expected: Vec<String> = visible.iter().map(|study| format!("1.2.{study}")).collect();
    assert_eq!(found, expected);
    let latest = index.latest_change(scope, WithMetadata::No).await.unwrap();
    assert_eq!(
        latest.map(|c| c.name.study.to_string()),
        expected.last().cloned()
    );
}

async fn a_partition_hides_the_others(index: &TestIndex) {
    store(
        index,
        &[
            Sample::new(1, 1, 1),
            Sample::new(2, 1, 1).partition(2),
            Sample::new(3, 1, 1),
        ],
    )
    .await;
    let of = |partition| Scope {
        partition: Partition(partition),
        visible: Visible::All,
    };
    check(index, &of(1), &[1, 3]).await;
    check(index, &of(2), &[2]).await;
    check(index, &of(3), &[]).await;
    // The same UIDs live side by side.
    store(index, &[Sample::new(1, 1, 1).partition(2)]).await;
    assert_eq!(
        index.delete(&of(2), &target(1, None, None)).await.unwrap(),
        1
    );
    assert!(
        index
            .version(&of(1), &target(1, None, None))
            .await
            .unwrap()
            .is_some()
    );
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn only_the_named_patients_and_studies_exist(index: &TestIndex) {
    let sample = |study, patient| Sample::new(study, 1, 1).with(0x0010_0020, patient);
    store(index, &[sample(1, "Ab"), sample(2, "ab"), sample(3, "")]).await;
    let only = |patients: &[&str], studies: &[&str]| Scope {
        partition: Partition::DEFAULT,
        visible: Visible::Only {
            patients: patients.iter().map(|text| (*text).to_owned()).collect(),
            studies: studies.iter().map(|text| (*text).to_owned()).collect(),
        },
    };
    check(index, &only(&["Ab"], &[]), &[1]).await;
    check(index, &only(&["AB"], &[]), &[]).await;
    check(index, &only(&["Ab", "ab"], &[]), &[1, 2]).await;
    check(index, &only(&[""], &[]), &[]).await;
    check(index, &only(&[], &["1.2.3"]), &[3]).await;
    check(index, &only(&["Ab"], &["1.2.3", "1.2.9"]), &[1, 3]).await;
    check(index, &only(&[], &[]), &[]).await;
    // A delete shows in the feed of those who saw the study.
    let scope = only(&["Ab"], &[]);
    assert_eq!(
        index.delete(&scope, &target(1, None, None)).await.unwrap(),
        1
    );
    let all = FeedRange::Sequence {
        after: 0,
        through: i64::MAX,
    };
    assert_eq!(
        index
            .changes(&scope, &all, WithMetadata::No)
            .await
            .unwrap()
            .len(),
        2
    );
}
