//! What a scope hides does not exist.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use stowage::dicom::attributes::QueryLevel;
use stowage::index::{FeedRange, Inserted};
use stowage::scope::{Partition, Scope, Visible};

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::queries::query;

on_each_back_end!(
    a_limited_sender_pulls_no_study_into_view,
    a_partition_hides_the_others,
    any_limit_shows_what_it_admits_and_nothing_else,
    only_the_named_patients_and_studies_exist
);

/// What of the studies 1 to 3 a scope shows, by every method.
async fn check(index: &TestIndex, scope: &Scope, visible: &[u32]) {
    check_of(index, 3, scope, visible).await;
}

/// What of the studies from 1 on a scope shows, by every method.
async fn check_of(index: &TestIndex, studies: u32, scope: &Scope, visible: &[u32]) {
    for study in 1..=studies {
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
    for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
        let page = index
            .search(scope, &query(level), &[], None, usize::MAX)
            .await
            .unwrap();
        let positions: Vec<i64> = (1..=100).collect();
        let by_position = index
            .found(scope, level, None, &positions, usize::MAX)
            .await
            .unwrap();
        assert_eq!(by_position.rows.len(), visible.len(), "{level:?}");
        let sizes = index
            .metadata_sizes(&scope.into(), &positions)
            .await
            .unwrap();
        let packed = index
            .packed_metadata(&scope.into(), &positions)
            .await
            .unwrap();
        assert_eq!((sizes.len(), packed.len()), (visible.len(), visible.len()));
        let mut found: Vec<String> = page.rows.iter().map(|row| row.study_uid.clone()).collect();
        found.reverse();
        let expected: Vec<String> = visible.iter().map(|study| format!("1.2.{study}")).collect();
        assert_eq!(found, expected, "{level:?}");
        let counted = index
            .count(scope, &query(level), &[], None, 100)
            .await
            .unwrap();
        assert_eq!(counted, visible.len() as u64);
    }
    let all = FeedRange::Sequence {
        after: 0,
        through: i64::MAX,
    };
    let changes = index.changes(&scope.into(), &all).await.unwrap();
    let found: Vec<String> = changes.iter().map(|c| c.name.study.to_string()).collect();
    let expected: Vec<String> = visible.iter().map(|study| format!("1.2.{study}")).collect();
    assert_eq!(found, expected);
    let latest = index.latest_change(&scope.into()).await.unwrap();
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
        index.changes(&(&scope).into(), &all).await.unwrap().len(),
        2
    );
}

async fn a_limited_sender_pulls_no_study_into_view(index: &TestIndex) {
    let id = 0x0010_0020;
    let p = Visible::Only {
        patients: vec!["P".to_owned()],
        studies: Vec::new(),
    };
    store(index, &[Sample::new(1, 1, 1).with(id, "Q")]).await;
    let batch = [
        Sample::new(1, 2, 1).with(id, "P").sent_by(p.clone()),
        Sample::new(2, 1, 1).with(id, "P").sent_by(p.clone()),
        Sample::new(2, 1, 2).with(id, "Q").sent_by(p.clone()),
        Sample::new(3, 1, 1).with(id, "Q"),
        // Tells neither that it exists nor that it does not.
        Sample::new(1, 1, 1).with(id, "Q").sent_by(p.clone()),
    ];
    let batch: Vec<_> = batch.iter().map(Sample::build).collect();
    let inserted = index.insert(&batch).await.unwrap();
    let stored: Vec<bool> = inserted
        .iter()
        .map(|one| matches!(one, Inserted::Stored { .. }))
        .collect();
    assert_eq!(stored, [false, true, false, true, false]);
    for at in [0, 2, 4] {
        assert_eq!(inserted[at], Inserted::Outside, "{at}");
    }
    let scope = Scope {
        visible: p,
        ..Scope::everything()
    };
    for (study, exists) in [(1, false), (2, true), (3, false)] {
        let wanted = target(study, None, None);
        let version = index.version(&scope, &wanted).await.unwrap();
        assert_eq!(version.is_some(), exists, "{study}");
    }
    let everything = Scope::everything();
    let wanted = target(1, None, None);
    let left = index.version(&everything, &wanted).await.unwrap();
    assert_eq!(left.unwrap().instances, 1);
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn any_limit_shows_what_it_admits_and_nothing_else(index: &TestIndex) {
    const STUDIES: u32 = 10;
    let ids = ["A", "a", "Ä", "A B", "%", "", "a'b"];
    let mut random = StdRng::seed_from_u64(6);
    let mut patients = Vec::new();
    for study in 1..=STUDIES {
        let patient = *ids.choose(&mut random).unwrap();
        let sample = Sample::new(study, 1, 1).with(0x0010_0020, patient);
        store(index, &[sample]).await;
        patients.push((study, patient));
    }
    for _ in 0..15 {
        let some = |random: &mut StdRng, most| random.random_range(0..=most);
        let limit = Visible::Only {
            patients: (0..some(&mut random, 3))
                .map(|_| (*ids.choose(&mut random).unwrap()).to_owned())
                .collect(),
            studies: (0..some(&mut random, 3))
                .map(|_| format!("1.2.{}", random.random_range(1..=STUDIES + 3)))
                .collect(),
        };
        let admitted = |(study, patient): &(u32, &str)| {
            let patient = Some(*patient).filter(|patient| !patient.is_empty());
            limit
                .admits(&format!("1.2.{study}"), patient)
                .then_some(*study)
        };
        let visible: Vec<u32> = patients.iter().filter_map(admitted).collect();
        println!("{limit:?} shows {visible:?}");
        let scope = Scope {
            visible: limit.clone(),
            ..Scope::everything()
        };
        check_of(index, STUDIES, &scope, &visible).await;
    }
}
