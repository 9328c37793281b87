//! Extended query tags and long-running operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dicom_core::{Tag, VR};
use stowage::dicom::attributes::QueryLevel;
use stowage::dicom::query::{Case, Condition, Matching, Query};
use stowage::dicom::query_tag::{MAX_TAGS, QueryTag};
use stowage::index::{
    Operation, OperationKind, OperationStatus, TagRow, TagStatus, TagsAdded, WorkMemory, indexed,
};
use stowage::scope::Scope;
use time::OffsetDateTime;

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::queries::query;

on_each_back_end!(
    operations_are_remembered,
    a_tag_finds_what_was_stored_before_and_after,
    each_way_of_matching_works_on_tags,
    adding_is_refused_with_a_reason,
    values_that_do_not_fit_are_errors,
    a_removed_tag_leaves_nothing_behind,
    values_follow_their_rows,
    a_tag_added_under_load_misses_nothing,
);

fn operation(id: &str) -> Operation {
    let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    Operation {
        id: id.to_owned(),
        kind: OperationKind::Reindex,
        status: OperationStatus::NotStarted,
        created: now,
        updated: now,
        percent: 0,
        position: 0,
        resources: vec!["/extendedQueryTags/00101010".to_owned()],
        results: None,
    }
}

fn tag(number: u32, vr: VR, level: QueryLevel) -> QueryTag {
    QueryTag {
        path: format!("{number:08X}"),
        tag: Tag(
            u16::try_from(number >> 16).unwrap(),
            u16::try_from(number & 0xFFFF).unwrap(),
        ),
        vr,
        private_creator: None,
        level,
    }
}

/// Adds tags and indexes what is there.
async fn add(index: &TestIndex, id: &str, tags: &[QueryTag]) -> Vec<TagRow> {
    assert_eq!(
        index.add_tags(tags, &operation(id)).await.unwrap(),
        TagsAdded::Added
    );
    while index.index_tags(id, &unlimited()).await.unwrap() {}
    index.tags().await.unwrap()
}

/// Numbers of the studies found by one condition, ascending.
async fn found(
    index: &TestIndex,
    level: QueryLevel,
    tag: &QueryTag,
    matching: Matching,
) -> Vec<u32> {
    let condition = Condition {
        path: tag.tag_path(),
        vr: tag.vr,
        matching,
        case: Case::Sensitive,
    };
    let tags = index.tags().await.unwrap();
    assert!(indexed(&condition, level, &tags), "{condition:?}");
    let query = Query {
        conditions: vec![condition],
        ..query(level)
    };
    let page = index
        .search(&Scope::everything(), &query, &tags, None, usize::MAX)
        .await
        .unwrap();
    let number = |uid: &str| uid.rsplit('.').next().unwrap().parse().unwrap();
    let mut studies: Vec<u32> = page.rows.iter().map(|row| number(&row.study_uid)).collect();
    studies.reverse();
    let counted = index
        .count(&Scope::everything(), &query, &tags, None, 100_000)
        .await
        .unwrap();
    assert_eq!(counted, studies.len() as u64);
    studies
}

fn single(value: &str) -> Matching {
    Matching::Single(value.to_owned())
}

async fn operations_are_remembered(index: &TestIndex) {
    let mut first = operation("a1");
    index.begin_operation(&first).await.unwrap();
    index
        .begin_operation(&Operation {
            kind: OperationKind::Export,
            ..operation("b2")
        })
        .await
        .unwrap();
    assert_eq!(index.operation("a1").await.unwrap(), Some(first.clone()));
    assert_eq!(index.operation("zz").await.unwrap(), None);
    let unfinished = index
        .unfinished_operations(OperationKind::Reindex)
        .await
        .unwrap();
    assert_eq!(unfinished, [first.clone()]);
    first.status = OperationStatus::Completed;
    first.percent = 100;
    first.position = 77;
    first.results = Some("{}".to_owned());
    assert!(index.save_operation(&first).await.unwrap());
    let saved = index.operation("a1").await.unwrap().unwrap();
    assert!(saved.updated > first.updated);
    assert_eq!(
        Operation {
            updated: first.updated,
            ..saved
        },
        first
    );
    assert!(
        index
            .unfinished_operations(OperationKind::Reindex)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(!index.save_operation(&operation("zz")).await.unwrap());
}

async fn a_tag_finds_what_was_stored_before_and_after(index: &TestIndex) {
    let age = tag(0x0010_1010, VR::AS, QueryLevel::Study);
    for study in 0..250 {
        store(
            index,
            &[Sample::new(study, 1, 1)
                .with(0x0010_1010, if study % 50 == 0 { "040Y" } else { "" })],
        )
        .await;
    }
    let added = index
        .add_tags(std::slice::from_ref(&age), &operation("op"))
        .await
        .unwrap();
    assert_eq!(added, TagsAdded::Added);
    let row = index.tags().await.unwrap().remove(0);
    assert_eq!(
        (row.status, row.enabled, row.errors),
        (TagStatus::Adding, true, 0)
    );
    assert_eq!(row.tag, age);
    assert_eq!(row.operation.as_deref(), Some("op"));
    store(index, &[Sample::new(300, 1, 1).with(0x0010_1010, "040Y")]).await;
    assert!(index.index_tags("op", &unlimited()).await.unwrap());
    let half = index.operation("op").await.unwrap().unwrap();
    assert_eq!(half.status, OperationStatus::Running);
    assert!(half.percent > 50 && half.percent < 100 && half.position > 0);
    while index.index_tags("op", &unlimited()).await.unwrap() {}
    assert!(!index.index_tags("op", &unlimited()).await.unwrap());
    assert!(
        !index
            .index_tags("no such operation", &unlimited())
            .await
            .unwrap()
    );
    let done = index.operation("op").await.unwrap().unwrap();
    assert_eq!(
        (done.status, done.percent),
        (OperationStatus::Completed, 100)
    );
    assert_eq!(index.tags().await.unwrap()[0].status, TagStatus::Ready);
    store(index, &[Sample::new(301, 1, 1).with(0x0010_1010, "040Y")]).await;
    let expected = [0, 50, 100, 150, 200, 300, 301];
    assert_eq!(
        found(index, QueryLevel::Study, &age, single("040Y")).await,
        expected
    );
    assert_eq!(
        found(index, QueryLevel::Series, &age, single("040Y")).await,
        expected
    );
    assert_eq!(
        found(index, QueryLevel::Instance, &age, single("040Y")).await,
        expected
    );
}

async fn each_way_of_matching_works_on_tags(index: &TestIndex) {
    let age = tag(0x0010_1010, VR::AS, QueryLevel::Study);
    let birth = tag(0x0010_0030, VR::DA, QueryLevel::Study);
    let operator = tag(0x0008_1060, VR::PN, QueryLevel::Study);
    let rows = tag(0x0028_0010, VR::US, QueryLevel::Instance);
    let number = tag(0x0020_0011, VR::IS, QueryLevel::Series);
    let sample = |study, instance, values: &[(u32, &str)]| {
        values
            .iter()
            .fold(Sample::new(study, 1, instance), |s, (tag, value)| {
                s.with(*tag, value)
            })
    };
    store(
        index,
        &[
            sample(
                1,
                1,
                &[
                    (0x0010_1010, "040Y"),
                    (0x0010_0030, "19800101"),
                    (0x0008_1060, "Müller^Jo Ann=山田"),
                    (0x0020_0011, "3"),
                ],
            ),
            sample(1, 2, &[(0x0010_1010, ""), (0x0020_0011, "4")]),
            sample(
                2,
                1,
                &[
                    (0x0010_1010, "041y"),
                    (0x0010_0030, "19900101"),
                    (0x0008_1060, "Ann^Miller"),
                    (0x0020_0011, "5"),
                ],
            ),
            sample(3, 1, &[]),
        ],
    )
    .await;
    add(
        index,
        "op",
        &[
            age.clone(),
            birth.clone(),
            operator.clone(),
            rows,
            number.clone(),
        ],
    )
    .await;
    let wildcard = |text: &str| Matching::Wildcard(text.to_owned());
    let words = |words: &[&str]| Matching::Words(words.iter().map(|w| (*w).to_owned()).collect());
    let range = Matching::Range {
        from: Some("19850101".to_owned()),
        to: None,
    };
    for (tag, matching, expected) in [
        (&age, single("040Y"), vec![1]),
        (&age, single("041Y"), vec![]),
        (
            &age,
            Matching::AnyOf(vec!["040Y".into(), "041y".into()]),
            vec![1, 2],
        ),
        (&age, wildcard("04*"), vec![1, 2]),
        (&age, wildcard("*0Y"), vec![1]),
        (
            &age,
            Matching::AnyWildcard(vec!["*1?".into(), "x*".into()]),
            vec![2],
        ),
        (&age, Matching::Empty, vec![3]),
        (&age, Matching::Universal, vec![1, 2, 3]),
        (&operator, single("MULLER^JO ANN"), vec![1]),
        (&operator, single("山田"), vec![1]),
        (&operator, wildcard("*ann*"), vec![1, 2]),
        (&operator, words(&["jo", "a"]), vec![1]),
        (&operator, words(&["mil"]), vec![2]),
        (&operator, words(&["ann", "jo"]), vec![]),
        (&operator, Matching::Empty, vec![3]),
    ] {
        assert_eq!(
            found(index, QueryLevel::Study, tag, matching.clone()).await,
            expected,
            "{matching:?}"
        );
    }
    // It has a column as well, and the column answers.
    assert_eq!(found(index, QueryLevel::Study, &birth, range).await, [2]);
    assert_eq!(
        found(index, QueryLevel::Series, &number, single("4")).await,
        [1]
    );
    assert_eq!(
        found(index, QueryLevel::Instance, &number, Matching::Number(5.0)).await,
        [2]
    );
    let tags = index.tags().await.unwrap();
    let of_series = Condition {
        path: number.tag_path(),
        vr: VR::IS,
        matching: single("4"),
        case: Case::Sensitive,
    };
    assert!(
        !indexed(&of_series, QueryLevel::Study, &tags),
        "a series tag does not select studies"
    );
}

async fn adding_is_refused_with_a_reason(index: &TestIndex) {
    let age = tag(0x0010_1010, VR::AS, QueryLevel::Study);
    let size = tag(0x0010_2180, VR::SH, QueryLevel::Study);
    index
        .add_tags(std::slice::from_ref(&age), &operation("op1"))
        .await
        .unwrap();
    let running = index
        .add_tags(std::slice::from_ref(&size), &operation("op2"))
        .await
        .unwrap();
    assert_eq!(
        running,
        TagsAdded::Running {
            operation: "op1".to_owned()
        }
    );
    while index.index_tags("op1", &unlimited()).await.unwrap() {}
    let exists = index
        .add_tags(&[size, age.clone()], &operation("op3"))
        .await
        .unwrap();
    assert_eq!(exists, TagsAdded::Exists { path: age.path });
    let many: Vec<QueryTag> = (0..MAX_TAGS)
        .map(|i| {
            tag(
                0x0010_4000 + u32::try_from(i).unwrap(),
                VR::LO,
                QueryLevel::Study,
            )
        })
        .collect();
    assert_eq!(
        index.add_tags(&many, &operation("op4")).await.unwrap(),
        TagsAdded::TooMany
    );
    assert_eq!(index.tags().await.unwrap().len(), 1);
    assert!(index.operation("op4").await.unwrap().is_none());
    assert_eq!(
        index.add_tags(&many[1..], &operation("op5")).await.unwrap(),
        TagsAdded::Added
    );
}

async fn values_that_do_not_fit_are_errors(index: &TestIndex) {
    let as_text = tag(0x0010_1010, VR::LO, QueryLevel::Study);
    store(
        index,
        &[
            Sample::new(1, 1, 1).with(0x0010_1010, "040Y"),
            Sample::new(2, 1, 1),
        ],
    )
    .await;
    let row = add(index, "op", std::slice::from_ref(&as_text))
        .await
        .remove(0);
    assert_eq!(
        (row.status, row.enabled, row.errors),
        (TagStatus::Ready, false, 1)
    );
    let errors = index
        .tag_errors(&(&Scope::everything()).into(), row.id, 0, 10)
        .await
        .unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].name, name(1, 1, 1));
    assert!(!errors[0].message.contains("040Y"));
    assert!(
        index
            .tag_errors(&(&Scope::everything()).into(), row.id, 1, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(index.enable_tag(row.id, true).await.unwrap());
    assert!(index.tags().await.unwrap()[0].enabled);
    assert!(!index.enable_tag(row.id + 1, true).await.unwrap());
}

async fn a_removed_tag_leaves_nothing_behind(index: &TestIndex) {
    let age = tag(0x0010_1010, VR::AS, QueryLevel::Instance);
    store(index, &[Sample::new(1, 1, 1).with(0x0010_1010, "040Y")]).await;
    let row = add(index, "op", std::slice::from_ref(&age)).await.remove(0);
    assert!(index.remove_tag(row.id).await.unwrap());
    assert!(!index.remove_tag(row.id).await.unwrap());
    assert!(index.tags().await.unwrap().is_empty());
    // Added once more, it is another tag that starts from nothing.
    index
        .add_tags(std::slice::from_ref(&age), &operation("op2"))
        .await
        .unwrap();
    let anew = index.tags().await.unwrap().remove(0);
    assert_ne!(anew.id, row.id);
    while index.index_tags("op2", &unlimited()).await.unwrap() {}
    assert_eq!(
        found(index, QueryLevel::Instance, &age, single("040Y")).await,
        [1]
    );
}

async fn values_follow_their_rows(index: &TestIndex) {
    let scope = Scope::everything();
    let of_study = tag(0x0010_1010, VR::AS, QueryLevel::Study);
    let of_series = tag(0x0020_0060, VR::CS, QueryLevel::Series);
    let of_instance = tag(0x0010_2180, VR::SH, QueryLevel::Instance);
    add(
        index,
        "op",
        &[of_study.clone(), of_series.clone(), of_instance.clone()],
    )
    .await;
    let sample = |instance, age, side, size| {
        Sample::new(1, 1, instance)
            .with(0x0010_1010, age)
            .with(0x0020_0060, side)
            .with(0x0010_2180, size)
    };
    store(
        index,
        &[sample(1, "001Y", "L", "A"), sample(2, "002Y", "", "B")],
    )
    .await;
    store(index, &[sample(3, "", "R", "C")]).await;
    assert_eq!(
        found(index, QueryLevel::Study, &of_study, single("002Y")).await,
        [1]
    );
    assert!(
        found(index, QueryLevel::Study, &of_study, single("001Y"))
            .await
            .is_empty()
    );
    assert_eq!(
        found(index, QueryLevel::Series, &of_series, single("R")).await,
        [1]
    );
    assert!(
        found(index, QueryLevel::Series, &of_series, single("L"))
            .await
            .is_empty()
    );
    assert_eq!(
        found(index, QueryLevel::Instance, &of_instance, single("A")).await,
        [1]
    );
    index
        .delete(&scope, &target(1, Some(1), Some(1)))
        .await
        .unwrap();
    assert!(
        found(index, QueryLevel::Instance, &of_instance, single("A"))
            .await
            .is_empty()
    );
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    assert!(
        found(index, QueryLevel::Study, &of_study, single("002Y"))
            .await
            .is_empty()
    );
    store(index, &[sample(1, "001Y", "L", "A")]).await;
    assert_eq!(
        found(index, QueryLevel::Study, &of_study, single("001Y")).await,
        [1]
    );
}

async fn a_tag_added_under_load_misses_nothing(index: &TestIndex) {
    let age = tag(0x0010_1010, VR::AS, QueryLevel::Study);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4_u32)
        .map(|writer| {
            let (index, stop) = (Arc::clone(&index.index), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut stored = 0;
                while !stop.load(Ordering::SeqCst) || stored < 20 {
                    let batch: Vec<_> = (0..5)
                        .map(|i| {
                            Sample::new(writer * 10_000 + stored + i, 1, 1)
                                .with(0x0010_1010, "040Y")
                                .build()
                        })
                        .collect();
                    index.insert(&batch).await.unwrap();
                    stored += 5;
                    if stored % 3 == 0 {
                        let target = target(writer * 10_000 + stored - 1, None, None);
                        index.delete(&Scope::everything(), &target).await.unwrap();
                    }
                }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    add(index, "op", std::slice::from_ref(&age)).await;
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let all = Query {
        limit: None,
        ..query(QueryLevel::Study)
    };
    let all = index
        .search(&Scope::everything(), &all, &[], None, usize::MAX)
        .await
        .unwrap();
    let tags = index.tags().await.unwrap();
    let by_tag = Query {
        limit: None,
        conditions: vec![Condition {
            path: age.tag_path(),
            vr: VR::AS,
            matching: single("040Y"),
            case: Case::Sensitive,
        }],
        ..query(QueryLevel::Study)
    };
    let found = index
        .search(&Scope::everything(), &by_tag, &tags, None, usize::MAX)
        .await
        .unwrap();
    assert_eq!(found.rows.len(), all.rows.len());
}

/// Memory without an end.
fn unlimited() -> WorkMemory {
    std::sync::Arc::new(|_| Ok(Box::new(())))
}
