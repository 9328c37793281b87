//! Inserts and look-ups.

use stowage::index::Inserted;
use stowage::scope::{Partition, Scope};

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, name, store, target};
use crate::support::queries::studies;

on_each_back_end!(
    an_empty_batch_is_nothing,
    an_instance_comes_back_as_it_was_inserted,
    the_same_instance_is_stored_once,
    the_same_instance_twice_in_a_batch_is_stored_once,
    instances_come_in_pages,
    the_latest_value_wins_and_no_value_never_does,
    an_instance_that_exists_changes_nothing,
    an_insert_whose_answer_was_lost_succeeds_when_it_is_repeated,
    counters_and_modalities_are_maintained,
    a_version_grows_with_every_change,
    a_large_batch_is_one_transaction,
    long_and_odd_values_do_not_fail_a_batch,
    opening_again_keeps_everything,
);

async fn an_empty_batch_is_nothing(index: &TestIndex) {
    assert!(index.insert(&[]).await.unwrap().is_empty());
}

async fn an_instance_comes_back_as_it_was_inserted(index: &TestIndex) {
    let sample = Sample::new(1, 2, 3)
        .with(0x0008_0060, "CT")
        .with(0x0020_0013, "7");
    let (new, parsed) = (sample.build(), sample.instance());
    let watermark = store(index, &[sample]).await[0];
    let scope = Scope::everything();
    for wanted in [
        target(1, None, None),
        target(1, Some(2), None),
        target(1, Some(2), Some(3)),
    ] {
        let rows = index.instances(&scope, &wanted, 0, 10).await.unwrap();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!(row.watermark, watermark);
        assert_eq!(row.name, parsed.name);
        assert_eq!(row.sop_class, parsed.sop_class);
        assert_eq!(row.layout, parsed.layout);
        assert_eq!(row.pixel, parsed.pixel);
        assert_eq!(row.place, new.place);
        assert_eq!(row.digest, new.digest);
        let metadata = index.metadata(&scope, &wanted, 0, 10).await.unwrap();
        assert_eq!(metadata.len(), 1);
        assert_eq!(metadata[0].row.watermark, watermark);
    }
    let content = index
        .content(&scope, &name(1, 2, 3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(content.row.watermark, watermark);
    assert_eq!(content.frames, parsed.frames.to_bytes());
    let bulk: Vec<stowage::dicom::instance::BulkItem> =
        serde_json::from_slice(&content.bulk).unwrap();
    assert_eq!(bulk, parsed.bulk);
    for other in [
        target(2, None, None),
        target(1, Some(3), None),
        target(1, Some(2), Some(4)),
    ] {
        assert!(
            index
                .instances(&scope, &other, 0, 10)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(index.version(&scope, &other).await.unwrap().is_none());
    }
    assert!(
        index
            .content(&scope, &name(1, 2, 4))
            .await
            .unwrap()
            .is_none()
    );
}

async fn the_same_instance_is_stored_once(index: &TestIndex) {
    let first = Sample::new(1, 1, 1).with(0x0010_0020, "A");
    let second = Sample::new(1, 1, 1).with(0x0010_0020, "B");
    let other = Sample::new(1, 1, 2);
    store(index, std::slice::from_ref(&first)).await;
    let inserted = index
        .insert(&[second.build(), other.build()])
        .await
        .unwrap();
    let Inserted::Exists { digest, stored } = &inserted[0] else {
        panic!("{inserted:?}");
    };
    assert_eq!(*digest, first.digest());
    let row = &index.all_instances(0, 1).await.unwrap()[0];
    let stored = stored.as_ref().expect("it was there before");
    assert_eq!(
        (stored.watermark, &stored.place, stored.damaged),
        (row.watermark, &row.place, false)
    );
    assert!(matches!(inserted[1], Inserted::Stored { .. }));
}

/// Otherwise whoever repeats it would take its blob for one that no row needs.
async fn an_insert_whose_answer_was_lost_succeeds_when_it_is_repeated(index: &TestIndex) {
    let sample = Sample::new(1, 1, 1).with(0x0010_0020, "A");
    let watermarks = store(index, std::slice::from_ref(&sample)).await;
    let again = store(index, std::slice::from_ref(&sample)).await;
    assert_eq!(again, watermarks);
    assert_eq!(index.all_instances(0, 10).await.unwrap().len(), 1);
}

async fn the_same_instance_twice_in_a_batch_is_stored_once(index: &TestIndex) {
    let first = Sample::new(1, 1, 1).with(0x0010_0020, "A");
    let second = Sample::new(1, 1, 1).with(0x0010_0020, "B");
    let inserted = index
        .insert(&[first.build(), second.build()])
        .await
        .unwrap();
    assert!(matches!(inserted[0], Inserted::Stored { .. }));
    assert_eq!(
        inserted[1],
        Inserted::Exists {
            digest: first.digest(),
            stored: None,
        }
    );
    let found = studies(index, &[]).await;
    assert!(
        found[0].study.contains("\"A\"") && !found[0].study.contains("\"B\""),
        "{}",
        found[0].study
    );
    assert_eq!(found[0].study_instances, 1);
}

async fn instances_come_in_pages(index: &TestIndex) {
    let samples: Vec<Sample> = (0..25).map(|i| Sample::new(1, i % 3, i)).collect();
    let watermarks = store(index, &samples).await;
    assert!(watermarks.is_sorted());
    let scope = Scope::everything();
    let mut found = Vec::new();
    loop {
        let after = found.last().copied().unwrap_or(0);
        let page = index
            .instances(&scope, &target(1, None, None), after, 10)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().map(|row| row.watermark));
    }
    assert_eq!(found, watermarks);
    let series = index
        .instances(&scope, &target(1, Some(2), None), 0, 100)
        .await
        .unwrap();
    assert_eq!(series.len(), 8);
}

async fn the_latest_value_wins_and_no_value_never_does(index: &TestIndex) {
    let old = Sample::new(1, 1, 1)
        .with(0x0008_0020, "20200101")
        .with(0x0008_1030, "old")
        .with(0x0010_0010, "Old^Name")
        .with(0x0008_103E, "series old");
    let new = Sample::new(1, 1, 2)
        .with(0x0008_0020, "")
        .with(0x0008_1030, "new")
        .with(0x0010_0010, "New^Name")
        .with(0x0010_0020, "")
        .with(0x0008_103E, "");
    store(index, &[old]).await;
    store(index, &[new]).await;
    let found = studies(index, &[]).await;
    assert_eq!(
        found[0].study,
        concat!(
            r#"{"00080020":{"vr":"DA","Value":["20200101"]},"00081030":{"vr":"LO","Value":["new"]},"#,
            r#""00100010":{"vr":"PN","Value":[{"Alphabetic":"New^Name"}]},"00100020":{"vr":"LO"}}"#
        )
    );
    for (tag, value, count) in [
        (0x0008_0020, "20200101", 1),
        (0x0008_1030, "new", 1),
        (0x0008_1030, "old", 0),
        (0x0010_0010, "new^name", 1),
        (0x0010_0010, "old^name", 0),
    ] {
        assert_eq!(
            studies(index, &[(tag, value)]).await.len(),
            count,
            "{tag:08x} {value}"
        );
    }
}

async fn an_instance_that_exists_changes_nothing(index: &TestIndex) {
    let scope = Scope::everything();
    store(index, &[Sample::new(1, 1, 1).with(0x0010_0020, "A")]).await;
    let version = index.version(&scope, &target(1, None, None)).await.unwrap();
    let again = Sample::new(1, 1, 1)
        .with(0x0010_0020, "B")
        .with(0x0008_0060, "MR");
    index.insert(&[again.build()]).await.unwrap();
    assert_eq!(
        index.version(&scope, &target(1, None, None)).await.unwrap(),
        version
    );
    let found = studies(index, &[]).await;
    assert_eq!(found[0].study, r#"{"00100020":{"vr":"LO","Value":["A"]}}"#);
    assert!(found[0].modalities.is_empty());
    let latest = index
        .latest_change(&(&scope).into())
        .await
        .unwrap()
        .unwrap();
    let all = stowage::index::FeedRange::Sequence {
        after: 0,
        through: i64::MAX,
    };
    assert_eq!(
        index.changes(&(&scope).into(), &all).await.unwrap().len(),
        1
    );
    assert_eq!(latest.name, name(1, 1, 1));
}

async fn counters_and_modalities_are_maintained(index: &TestIndex) {
    let sample =
        |series, instance, modality| Sample::new(1, series, instance).with(0x0008_0060, modality);
    store(
        index,
        &[sample(1, 1, "MR"), sample(1, 2, "MR"), sample(2, 1, "CT")],
    )
    .await;
    store(index, &[sample(2, 2, "CT"), sample(3, 1, "")]).await;
    let found = studies(index, &[]).await;
    assert_eq!(found[0].modalities, ["CT", "MR"]);
    assert_eq!((found[0].study_series, found[0].study_instances), (3, 5));
    // The only instance of the series turns out to be something else.
    store(index, &[sample(2, 3, "PT")]).await;
    let found = studies(index, &[]).await;
    assert_eq!(found[0].modalities, ["MR", "PT"]);
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn a_version_grows_with_every_change(index: &TestIndex) {
    let scope = Scope::everything();
    let mut last = 0;
    for i in 0..3 {
        store(index, &[Sample::new(1, 1, i), Sample::new(2, 1, i)]).await;
        let version = index
            .version(&scope, &target(1, None, None))
            .await
            .unwrap()
            .unwrap();
        assert!(version.version > last);
        assert_eq!(version.instances, i64::from(i) + 1);
        last = version.version;
    }
    let instance = index
        .version(&scope, &target(1, Some(1), Some(0)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(instance.instances, 1);
    let series = index
        .version(&scope, &target(1, Some(1), None))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(series.instances, 3);
    index
        .delete(&scope, &target(1, Some(1), Some(0)))
        .await
        .unwrap();
    let shrunk = index
        .version(&scope, &target(1, None, None))
        .await
        .unwrap()
        .unwrap();
    assert!(shrunk.version > last);
    assert_eq!(shrunk.instances, 2);
    index.delete(&scope, &target(1, None, None)).await.unwrap();
    store(index, &[Sample::new(1, 1, 0)]).await;
    let anew = index
        .version(&scope, &target(1, None, None))
        .await
        .unwrap()
        .unwrap();
    assert!(
        anew.version > shrunk.version,
        "a study stored again is not mistaken for the old one"
    );
}

async fn a_large_batch_is_one_transaction(index: &TestIndex) {
    let samples: Vec<Sample> = (0..2500)
        .map(|i| Sample::new(i % 300, i % 7, i).with(0x0010_0010, &format!("Name{}^X", i % 300)))
        .collect();
    let watermarks = store(index, &samples).await;
    assert_eq!(watermarks.len(), 2500);
    assert_eq!(studies(index, &[]).await.len(), 300);
    assert!(index.counter_errors(10).await.unwrap().is_empty());
}

async fn long_and_odd_values_do_not_fail_a_batch(index: &TestIndex) {
    let long = "é".repeat(20_000);
    let odd = "a\0b\u{1}c\u{FFFF}'\";--\u{10FFFF}";
    let words = "w ".repeat(5000);
    let mut samples = vec![Sample::new(9, 1, 1)];
    for (i, value) in [long.as_str(), odd, words.as_str(), "  "]
        .into_iter()
        .enumerate()
    {
        let mut sample = Sample::new(u32::try_from(i).unwrap(), 1, 1);
        for key in stowage::dicom::attributes::KEYS
            .iter()
            .filter(|key| key.vr != dicom_core::VR::SQ)
        {
            let tag = u32::from(key.tag.group()) << 16 | u32::from(key.tag.element());
            sample = sample.with(tag, value);
        }
        samples.push(sample);
    }
    store(index, &samples).await;
    assert_eq!(studies(index, &[]).await.len(), 5);
    assert_eq!(studies(index, &[(0x0010_0020, &long)]).await.len(), 1);
}

async fn opening_again_keeps_everything(index: &TestIndex) {
    store(index, &[Sample::new(1, 1, 1)]).await;
    let options = stowage::index::IndexOptions::default();
    let opened: Vec<_> = (0..4)
        .map(|_| stowage::index::open(&index.url, &options))
        .collect();
    for opened in futures_util::future::join_all(opened).await {
        let opened = opened.unwrap();
        let rows = opened
            .instances(&Scope::everything(), &target(1, None, None), 0, 10)
            .await;
        assert_eq!(rows.unwrap().len(), 1);
        opened.ping().await.unwrap();
    }
    assert_eq!(Scope::everything().partition, Partition::DEFAULT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_nodes_make_one_new_sqlite_database() {
    let folder = tempfile::tempdir().unwrap();
    make_together(&format!(
        "sqlite://{}",
        folder.path().join("new.sqlite").display()
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_nodes_make_one_new_postgres_database() {
    if let Some(url) = crate::support::postgres::empty_database().await {
        make_together(&url).await;
    }
}

async fn make_together(url: &str) {
    let options = stowage::index::IndexOptions::default();
    let nodes = (0..8).map(|_| stowage::index::open(url, &options));
    let nodes: Vec<_> = futures_util::future::join_all(nodes)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    nodes[0]
        .insert(&[Sample::new(1, 1, 1).build()])
        .await
        .unwrap();
    let rows = nodes[3]
        .instances(&Scope::everything(), &target(1, None, None), 0, 10)
        .await;
    assert_eq!(rows.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_connections_to_postgres_are_replaced() {
    let Some(index) = crate::support::index::postgres().await else {
        return;
    };
    store(&index, &[Sample::new(1, 1, 1)]).await;
    crate::support::postgres::disconnect(&index.url).await;
    index.ping().await.unwrap();
    store(&index, &[Sample::new(2, 1, 1)]).await;
    assert_eq!(studies(&index, &[]).await.len(), 2);
}
