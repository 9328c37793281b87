//! How the databases run the documented shapes of search: through an index, on a generated archive.

#[path = "../../../examples/archive/generate.rs"]
mod generate;

use std::sync::Arc;
use std::time::Duration;

use stowage::dicom::attributes::QueryLevel;
use stowage::dicom::query::{Condition, Matching, Query};
use stowage::dicom::uid::{SeriesUid, StudyUid};
use stowage::index::{FeedRange, Index, IndexError, IndexOptions, NewInstance, open};
use stowage::scope::{Partition, Scope, Visible};

use super::on_each_back_end;
use crate::support::index::TestIndex;
use crate::support::queries::{condition, query, search};

on_each_back_end!(
    documented_shapes_are_served_by_an_index,
    a_search_that_takes_too_long_is_given_up,
    deep_pages_of_the_feed_read_nothing_of_what_they_skip,
);

const TOTAL: u64 = 4000;

/// A shape, and whether it may walk along the order of results: what it asks for fills a page soon.
struct Shape {
    name: &'static str,
    query: Query,
    walks: bool,
}

fn single(tag: u32, value: &str) -> Condition {
    condition(tag, Matching::Single(value.to_owned()))
}

fn wildcard(tag: u32, value: &str) -> Condition {
    condition(tag, Matching::Wildcard(value.to_owned()))
}

fn shapes(study: &generate::Study, instance: &NewInstance) -> Vec<Shape> {
    let (family, given) = study.patient_name.split_once('^').unwrap();
    let words = Matching::Words(vec![family.to_lowercase(), given[..2].to_lowercase()]);
    let day = Matching::Range {
        from: Some(study.date.clone()),
        to: Some(study.date.clone()),
    };
    let name = instance.packed.name();
    let ct = || single(0x0008_0061, "CT");
    let shape = |name, level, conditions| Shape {
        name,
        query: Query {
            conditions,
            limit: Some(100),
            ..query(level)
        },
        walks: false,
    };
    let walk = |shape: Shape| Shape {
        walks: true,
        ..shape
    };
    let path = |shape: Shape, series: Option<&SeriesUid>| Shape {
        query: Query {
            study: Some(StudyUid::parse(&study.uid).unwrap()),
            series: series.cloned(),
            ..shape.query
        },
        ..shape
    };
    let (studies, series, instances) =
        (QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance);
    vec![
        walk(shape("worklist page 1", studies, vec![])),
        walk(shape("all series", series, vec![])),
        walk(shape("all instances", instances, vec![])),
        shape("study UID", studies, vec![single(0x0020_000D, &study.uid)]),
        shape(
            "Patient ID",
            studies,
            vec![single(0x0010_0020, &study.patient_id)],
        ),
        shape(
            "Patient ID prefix",
            studies,
            vec![wildcard(
                0x0010_0020,
                &format!("{}*", &study.patient_id[..10]),
            )],
        ),
        shape(
            "accession number",
            studies,
            vec![single(0x0008_0050, &study.accession)],
        ),
        shape(
            "whole name",
            studies,
            vec![single(0x0010_0010, &study.patient_name)],
        ),
        shape(
            "name prefix",
            studies,
            vec![wildcard(0x0010_0010, &format!("{family}^{}*", &given[..2]))],
        ),
        shape(
            "name part",
            studies,
            vec![wildcard(0x0010_0010, &format!("*{}*", &family[1..]))],
        ),
        shape("name words", studies, vec![condition(0x0010_0010, words)]),
        shape("date", studies, vec![single(0x0008_0020, &study.date)]),
        walk(shape(
            "date range and modality",
            studies,
            vec![condition(0x0008_0020, day), ct()],
        )),
        walk(shape("modality", studies, vec![ct()])),
        shape("rare modality", studies, vec![single(0x0008_0061, "ES")]),
        shape(
            "series UID",
            series,
            vec![single(0x0020_000E, name.series.as_str())],
        ),
        shape(
            "series of a patient",
            series,
            vec![single(0x0010_0020, &study.patient_id)],
        ),
        path(shape("series of a study", series, vec![]), None),
        path(shape("instances of a study", instances, vec![]), None),
        path(
            shape("instances of a series", instances, vec![]),
            Some(&name.series),
        ),
        shape(
            "instance UID",
            instances,
            vec![single(0x0008_0018, name.instance.as_str())],
        ),
        shape(
            "instances of a patient",
            instances,
            vec![single(0x0010_0020, &study.patient_id)],
        ),
        shape(
            "instances of a name",
            instances,
            vec![single(0x0010_0010, &study.patient_name)],
        ),
    ]
}

async fn fill(index: &TestIndex) {
    store(index).await;
    index.analyze().await.unwrap();
}

async fn store(index: &TestIndex) {
    for start in (0..TOTAL).step_by(500) {
        let batch: Vec<NewInstance> = (start..start + 500)
            .flat_map(|n| generate::instances(n, TOTAL))
            .collect();
        index.insert(&batch).await.unwrap();
    }
}

async fn a_search_that_takes_too_long_is_given_up(index: &TestIndex) {
    fill(index).await;
    let options = IndexOptions {
        search_time: Duration::from_nanos(1),
        sqlite_readers: 1,
        max_connections: 2,
        ..IndexOptions::default()
    };
    let hurried = open(&index.url, &options).await.unwrap();
    let scope = Scope::everything();
    let patterns: Vec<String> = (0..80)
        .map(|n| format!("*no{n}such*description*"))
        .collect();
    let mut slow = query(QueryLevel::Study);
    slow.conditions = vec![condition(0x0008_1030, Matching::AnyWildcard(patterns))];
    let found = index.count(&scope, &slow, &[], None, u64::MAX).await;
    assert_eq!(found.unwrap(), 0);
    let counted = hurried.count(&scope, &slow, &[], None, u64::MAX).await;
    assert!(
        matches!(counted, Err(IndexError::TooSlow { .. })),
        "{counted:?}"
    );
    let page = hurried.search(&scope, &slow, &[], None, usize::MAX).await;
    assert!(matches!(page, Err(IndexError::TooSlow { .. })), "{page:?}");
    // What does not walk far has no limit, and the connection is none the worse.
    let mut quick = query(QueryLevel::Study);
    quick.limit = Some(100);
    for _ in 0..3 {
        let page = hurried.search(&scope, &quick, &[], None, usize::MAX).await;
        assert_eq!(page.unwrap().rows.len(), 100);
    }
}

async fn documented_shapes_are_served_by_an_index(index: &TestIndex) {
    store(index).await;
    // Until somebody analyses it, SQLite knows nothing of the data; Postgres does so by itself.
    if !index.url.contains('?') {
        check_plans(index, &index.index).await;
    }
    index.analyze().await.unwrap();
    // On so few rows a full scan can be the cheapest; asked for is that none is needed.
    let planner = match index.url.split_once('?') {
        Some(_) => open(
            &format!("{}&options[enable_seqscan]=off", index.url),
            &IndexOptions::default(),
        )
        .await
        .unwrap(),
        None => Arc::clone(&index.index),
    };
    check_plans(index, &planner).await;
}

async fn check_plans(index: &TestIndex, planner: &Arc<dyn Index>) {
    let study = generate::study(1234, TOTAL);
    let instance = generate::instances(1234, TOTAL).remove(0);
    let mut wrong = Vec::new();
    for shape in shapes(&study, &instance) {
        let found = search(index, &shape.query).await.rows;
        assert!(!found.is_empty(), "{} finds nothing", shape.name);
        for plan in planner
            .plan(&Scope::everything(), &shape.query, &[], None)
            .await
            .unwrap()
        {
            if plan
                .lines()
                .any(|line| full_scan(line) && !(shape.walks && walk(line, &plan)))
            {
                wrong.push(format!("{}:\n{plan}", shape.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A line of a plan that reads a whole table or a whole index.
fn full_scan(line: &str) -> bool {
    [
        "study",
        "series",
        "instance",
        "study_name",
        "study_name_word",
    ]
    .iter()
    .any(|table| {
        let sqlite = line == format!("SCAN {table}")
            || line.starts_with(&format!("SCAN {table} USING"))
            || line.starts_with(&format!("SEARCH {table} USING"))
                && line.ends_with("(partition=?)");
        let postgres = line.contains(&format!("Seq Scan on {table} "))
            || line.ends_with(&format!("Seq Scan on {table}"));
        sqlite || postgres
    })
}

/// Along the row ids, newest first, until the page is full: nothing is sorted before the limit.
fn walk(line: &str, plan: &str) -> bool {
    line.starts_with("SCAN ")
        && !line.contains(" USING ")
        && plan.matches("TEMP B-TREE FOR ORDER BY").count() <= 1
}

async fn deep_pages_of_the_feed_read_nothing_of_what_they_skip(index: &TestIndex) {
    fill(index).await;
    let url = match index.url.split_once('?') {
        Some(_) => format!("{}&options[enable_seqscan]=off", index.url),
        None => index.url.clone(),
    };
    let planner = open(&url, &IndexOptions::default()).await.unwrap();
    let everything = Scope::everything();
    let newest = index
        .latest_change(&(&everything).into())
        .await
        .unwrap()
        .unwrap();
    let page = newest.sequence - 150;
    let window = |skip| FeedRange::Window {
        from: None,
        to: None,
        skip,
        limit: 100,
    };
    let behind = FeedRange::Following {
        after: page,
        limit: 100,
    };
    let through = FeedRange::Sequence {
        after: page,
        through: page + 100,
    };
    let limited = Scope {
        partition: Partition::DEFAULT,
        visible: Visible::Only {
            patients: vec![generate::study(7, TOTAL).patient_id],
            studies: Vec::new(),
        },
    };
    let deep = window(u64::try_from(page).unwrap());
    let found = index.changes(&(&everything).into(), &deep).await.unwrap();
    assert_eq!(found.len(), 100, "the page is deep, and there");
    for scope in [&everything, &limited] {
        for range in [&deep, &window(0), &behind, &through] {
            let plan = planner.change_plan(&scope.into(), range).await.unwrap();
            // Studies, series and instances are looked up for the entries of the page alone.
            assert!(!plan.lines().any(full_scan), "{range:?}:\n{plan}");
            // Entries come in their order from an index or the row ids; Postgres may sort their places instead, which
            // are 16 bytes each, and the page itself.
            let sorts = plan.matches("TEMP B-TREE FOR ORDER BY").count()
                + plan
                    .lines()
                    .filter(|line| {
                        line.trim_start_matches([' ', '-', '>'])
                            .starts_with("Sort  (")
                    })
                    .count();
            let most = if plan.contains("Limit ") { 2 } else { 1 };
            assert!(sorts <= most, "{range:?}:\n{plan}");
            assert!(!plan.contains("Seq Scan on change"), "{range:?}:\n{plan}");
        }
    }
}
