//! Studies in the order that was asked for: total, page after page, along an index.

use stowage::dicom::attributes::QueryLevel;
use stowage::dicom::query::{Matching, Order, Query, SortKey};
use stowage::index::{MatchedRow, Position};
use stowage::scope::{Scope, Visible};

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, store};
use crate::support::queries::{condition, query, search};

on_each_back_end!(
    studies_come_in_the_order_that_is_asked_for,
    pages_of_an_order_hold_everything_once,
    an_order_is_read_along_its_index,
);

const DATE: u32 = 0x0008_0020;
const TIME: u32 = 0x0008_0030;
const ACCESSION: u32 = 0x0008_0050;
const NAME: u32 = 0x0010_0010;
const ID: u32 = 0x0010_0020;

fn ordered(by: SortKey, descending: bool) -> Query {
    Query {
        order: Some(Order { by, descending }),
        ..query(QueryLevel::Study)
    }
}

fn numbers(rows: &[MatchedRow]) -> Vec<u32> {
    let number = |row: &MatchedRow| row.study_uid.rsplit('.').next().unwrap().parse().unwrap();
    rows.iter().map(number).collect()
}

async fn studies_come_in_the_order_that_is_asked_for(index: &TestIndex) {
    let sample = |study, date, time, name, id, accession| {
        Sample::new(study, 1, 1)
            .with(DATE, date)
            .with(TIME, time)
            .with(NAME, name)
            .with(ID, id)
            .with(ACCESSION, accession)
    };
    store(
        index,
        &[
            sample(1, "20240102", "090000", "Zoe^Ann", "b2", "30"),
            sample(2, "20240102", "080000", "müller^a", "B10", "10"),
            sample(3, "20231231", "235959", "Mueller^A", "a1", "20"),
            sample(4, "", "", "", "", ""),
            sample(5, "20240102", "", "MULLER^b", "b2", "30"),
        ],
    )
    .await;
    for (by, ascending) in [
        (SortKey::StudyDate, [4, 3, 5, 2, 1]),
        // Without accents and case; the one without a name first.
        (SortKey::PatientName, [4, 3, 2, 5, 1]),
        (SortKey::PatientId, [4, 3, 2, 1, 5]),
        (SortKey::AccessionNumber, [4, 2, 3, 1, 5]),
    ] {
        let rows = search(index, &ordered(by, false)).await.rows;
        assert_eq!(numbers(&rows), ascending, "{by:?}");
        let rows = search(index, &ordered(by, true)).await.rows;
        let descending: Vec<u32> = ascending.into_iter().rev().collect();
        assert_eq!(numbers(&rows), descending, "{by:?}");
        // By their positions likewise.
        let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
        let scope = Scope::everything();
        let order = ordered(by, true).order;
        let again = index.found(&scope, QueryLevel::Study, order, &positions, usize::MAX);
        assert_eq!(numbers(&again.await.unwrap().rows), descending, "{by:?}");
    }
    // A name that comes later sorts its study too; one that does not come takes nothing away.
    store(index, &[Sample::new(4, 1, 2).with(NAME, "Ziegler^Z")]).await;
    store(index, &[Sample::new(1, 1, 2)]).await;
    let rows = search(index, &ordered(SortKey::PatientName, false))
        .await
        .rows;
    assert_eq!(numbers(&rows), [3, 2, 5, 4, 1]);
    // Together with conditions of every breadth.
    for conditions in [
        vec![condition(DATE, Matching::Single("20240102".to_owned()))],
        vec![condition(ID, Matching::Wildcard("*b*".to_owned()))],
        vec![condition(
            DATE,
            Matching::Range {
                from: Some("20240101".to_owned()),
                to: None,
            },
        )],
    ] {
        let folded = conditions
            .into_iter()
            .map(|one| stowage::dicom::query::Condition {
                case: stowage::dicom::query::Case::Folded,
                ..one
            });
        let asked = Query {
            conditions: folded.collect(),
            ..ordered(SortKey::AccessionNumber, true)
        };
        assert_eq!(numbers(&search(index, &asked).await.rows), [5, 1, 2]);
    }
    let scope = Scope {
        visible: Visible::Only {
            patients: vec!["b2".to_owned()],
            studies: Vec::new(),
        },
        ..Scope::everything()
    };
    let mine = ordered(SortKey::StudyDate, false);
    let page = index.search(&scope, &mine, &[], None, usize::MAX).await;
    assert_eq!(numbers(&page.unwrap().rows), [5, 1]);
}

async fn pages_of_an_order_hold_everything_once(index: &TestIndex) {
    for study in 0..40_u32 {
        let value = format!("2024010{}", 1 + study * 7 % 4);
        store(
            index,
            &[Sample::new(study, 1, 1)
                .with(DATE, &value)
                .with(NAME, &format!("N{}", study % 5))
                .with(ID, &format!("P{}", study % 3))],
        )
        .await;
    }
    let broad = condition(
        DATE,
        Matching::Range {
            from: Some("20240101".to_owned()),
            to: None,
        },
    );
    let scope = Scope::everything();
    for by in SortKey::ALL {
        for descending in [false, true] {
            for conditions in [vec![], vec![broad.clone()]] {
                let asked = Query {
                    limit: Some(7),
                    conditions,
                    ..ordered(by, descending)
                };
                let mut seen = Vec::new();
                let mut before: Option<Position> = None;
                loop {
                    let behind = before.as_ref();
                    let page = index.search(&scope, &asked, &[], behind, usize::MAX).await;
                    let page = page.unwrap();
                    seen.extend(numbers(&page.rows));
                    before = page.rows.last().map(MatchedRow::place);
                    let behind = before.as_ref();
                    let left = index.count(&scope, &asked, &[], behind, 1000).await;
                    assert_eq!(left.unwrap(), 40 - seen.len() as u64, "{by:?} {descending}");
                    if !page.more {
                        break;
                    }
                }
                let whole = Query {
                    limit: Some(1000),
                    ..asked.clone()
                };
                assert_eq!(seen, numbers(&search(index, &whole).await.rows));
                assert_eq!(seen.len(), 40, "{by:?} {descending}");
            }
        }
    }
    // A page that ends early because its rows are wide ends at the same place in the order.
    let asked = ordered(SortKey::PatientName, false);
    let page = index.search(&scope, &asked, &[], None, 200).await.unwrap();
    let all = search(index, &asked).await.rows;
    assert!(page.more && page.rows.len() < 40);
    assert_eq!(numbers(&page.rows), numbers(&all)[..page.rows.len()]);
}

async fn an_order_is_read_along_its_index(index: &TestIndex) {
    for start in (0..1200_u32).step_by(300) {
        let samples: Vec<Sample> = (start..start + 300)
            .map(|study| {
                Sample::new(study, 1, 1)
                    .with(
                        DATE,
                        &format!("2024{:02}{:02}", 1 + study % 12, 1 + study % 28),
                    )
                    .with(NAME, &format!("Name{}^A", study * 31 % 997))
                    .with(ID, &format!("P{}", study * 17 % 991))
                    .with(ACCESSION, &format!("A{}", study * 13 % 983))
            })
            .collect();
        store(index, &samples).await;
    }
    index.analyze().await.unwrap();
    let scope = Scope::everything();
    for (by, name) in [
        (SortKey::StudyDate, "study_in_order_of_date"),
        (SortKey::PatientName, "study_in_order_of_name"),
        (SortKey::PatientId, "study_in_order_of_patient"),
        (SortKey::AccessionNumber, "study_in_order_of_accession"),
    ] {
        for descending in [false, true] {
            let asked = Query {
                limit: Some(20),
                ..ordered(by, descending)
            };
            let rows = search(index, &asked).await.rows;
            let place = rows.last().map(MatchedRow::place);
            for before in [None, place.as_ref()] {
                let plans = index.plan(&scope, &asked, &[], before).await.unwrap();
                for plan in plans {
                    assert!(plan.contains(name), "{by:?}: {plan}");
                    // Sorted is the page and not the table: behind a place the index begins there.
                    assert!(!plan.contains("Seq Scan on study"), "{plan}");
                    let begins = plan.contains("_order<?")
                        || plan.contains("_order>?")
                        || plan.contains("ROW(");
                    assert!(before.is_none() || begins, "{by:?}: {plan}");
                }
            }
        }
    }
}
