//! What a search finds, by way of matching, and in which order.

use dicom_core::{Tag, VR};
use stowage::dicom::attributes::QueryLevel;
use stowage::dicom::query::{Case, Condition, Matching, PathStep, Query, TagPath};
use stowage::dicom::uid::{SeriesUid, StudyUid};
use stowage::index::{Decision, MatchedRow, decision, indexed};
use stowage::scope::Scope;

use super::on_each_back_end;
use crate::support::index::{Sample, TestIndex, store, target};
use crate::support::queries::{condition, query, search};

on_each_back_end!(
    each_way_of_matching_finds_what_it_should,
    names_match_in_every_group,
    words_stand_side_by_side,
    series_and_instances_are_found_by_all_levels,
    paths_narrow_the_search,
    results_come_newest_first_in_pages,
    a_cursor_is_stable_under_inserts,
    counts_stop_at_the_ceiling,
    rows_carry_what_answers_need,
    a_page_ends_when_its_rows_are_long,
    broad_terms_find_the_same_as_narrow_ones,
    hostile_values_match_literally,
);

fn single(value: &str) -> Matching {
    Matching::Single(value.to_owned())
}

fn any_of(values: &[&str]) -> Matching {
    Matching::AnyOf(values.iter().map(|v| (*v).to_owned()).collect())
}

fn wildcard(value: &str) -> Matching {
    Matching::Wildcard(value.to_owned())
}

fn range(from: &str, to: &str) -> Matching {
    let bound = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Matching::Range {
        from: bound(from),
        to: bound(to),
    }
}

fn moment(from: &str, to: &str) -> Matching {
    let bound = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Matching::DateTime {
        time: Tag(0x0008, 0x0030),
        from: bound(from),
        to: bound(to),
    }
}

fn words(words: &[&str]) -> Matching {
    Matching::Words(words.iter().map(|w| (*w).to_owned()).collect())
}

/// Numbers of the studies found, ascending.
async fn found(index: &TestIndex, level: QueryLevel, conditions: Vec<Condition>) -> Vec<u32> {
    let mut query = query(level);
    // Of names whose groups are asked for in their place the index finds all that have them in any.
    let decided = |c: &Condition| decision(c, level, &[]) != Decision::Open;
    assert!(conditions.iter().all(decided), "{conditions:?}");
    query.conditions = conditions;
    let page = search(index, &query).await;
    let number = |uid: &str| uid.rsplit('.').next().unwrap().parse().unwrap();
    let mut studies: Vec<u32> = page.rows.iter().map(|row| number(&row.study_uid)).collect();
    studies.reverse();
    let counted = index
        .count(&Scope::everything(), &query, &[], None, 1000)
        .await
        .unwrap();
    assert_eq!(counted, studies.len() as u64);
    studies
}

async fn expect(index: &TestIndex, cases: &[(u32, Matching, &[u32])]) {
    for (tag, matching, expected) in cases {
        let studies = found(
            index,
            QueryLevel::Study,
            vec![condition(*tag, matching.clone())],
        )
        .await;
        assert_eq!(studies, *expected, "{tag:08X} {matching:?}");
    }
}

async fn expect_folded(index: &TestIndex, cases: &[(u32, Matching, &[u32])]) {
    for (tag, matching, expected) in cases {
        let mut condition = condition(*tag, matching.clone());
        condition.case = Case::Folded;
        let studies = found(index, QueryLevel::Study, vec![condition]).await;
        assert_eq!(studies, *expected, "{tag:08X} {matching:?}");
    }
}

async fn each_way_of_matching_finds_what_it_should(index: &TestIndex) {
    let rows: [(u32, &[(u32, &str)]); 4] = [
        (
            1,
            &[
                (0x0008_0020, "20240115"),
                (0x0008_0030, "101500.25"),
                (0x0008_0050, "Acc-1"),
                (0x0008_0060, "CT"),
                (0x0008_1030, "Thorax Übersicht"),
                (0x0010_0020, "P*1"),
                (0x0010_0030, "1970.02.03"),
                (0x0010_0040, "F"),
                (0x0020_0010, "1"),
            ],
        ),
        (
            2,
            &[
                (0x0008_0020, "20240116"),
                (0x0008_0030, "10"),
                (0x0008_0050, "acc-1"),
                (0x0008_0060, "MR"),
                (0x0008_1030, "thorax ubersicht"),
                (0x0010_0020, "P21"),
                (0x0010_0040, "m"),
            ],
        ),
        (
            3,
            &[
                (0x0008_0020, "20240117"),
                (0x0008_1030, ""),
                (0x0010_0020, "p%1"),
            ],
        ),
        (
            4,
            &[
                (0x0008_0020, "not a date"),
                (0x0008_0030, "235959.999999"),
                (0x0010_0020, "P_1_2"),
            ],
        ),
    ];
    for (study, attributes) in rows {
        let sample = attributes
            .iter()
            .fold(Sample::new(study, 1, 1), |sample, (tag, value)| {
                sample.with(*tag, value)
            });
        store(index, &[sample]).await;
    }
    expect(
        index,
        &[
            (0x0020_000D, single("1.2.2"), &[2]),
            (0x0020_000D, single("1.2.9"), &[]),
            (0x0020_000D, any_of(&["1.2.3", "1.2.1", "1.2.9"]), &[1, 3]),
            (0x0020_000D, any_of(&[]), &[]),
            (0x0008_0050, single("Acc-1"), &[1]),
            (0x0008_0050, single("Acc"), &[]),
            (0x0008_0050, any_of(&["Acc-1", "acc-1", "x"]), &[1, 2]),
            (0x0008_0050, wildcard("A*"), &[1]),
            (0x0008_0050, wildcard("?cc-1"), &[1, 2]),
            (0x0008_0050, wildcard("*"), &[1, 2, 3, 4]),
            (0x0008_0050, Matching::Universal, &[1, 2, 3, 4]),
            (0x0008_0050, Matching::Empty, &[3, 4]),
            (0x0008_1030, Matching::Empty, &[3, 4]),
            (0x0008_1030, wildcard("*bersicht"), &[1, 2]),
            (0x0008_1030, wildcard("Thorax*"), &[1]),
            (0x0010_0020, single("P*1"), &[1]),
            (0x0010_0020, wildcard("P*1"), &[1, 2]),
            (0x0010_0020, wildcard("P?1"), &[1, 2]),
            (0x0010_0020, wildcard("p%?"), &[3]),
            (0x0010_0020, wildcard("P_*"), &[4]),
            (
                0x0010_0020,
                Matching::AnyWildcard(vec!["p*".into(), "P_1_2".into()]),
                &[3, 4],
            ),
            (0x0010_0040, single("F"), &[1]),
            (0x0010_0040, single("M"), &[]),
            (0x0010_0030, single("19700203"), &[1]),
            (0x0008_0020, single("20240116"), &[2]),
            (0x0008_0020, single("2024.01.16"), &[2]),
            (0x0008_0020, single("nonsense"), &[]),
            (0x0008_0020, any_of(&["20240116", "20240117"]), &[2, 3]),
            (0x0008_0020, range("20240116", "20240117"), &[2, 3]),
            (0x0008_0020, range("20240116", ""), &[2, 3]),
            (0x0008_0020, range("", "20240116"), &[1, 2]),
            (0x0008_0020, Matching::Empty, &[4]),
            (0x0008_0030, range("100000.000000", "101459.999999"), &[2]),
            (0x0008_0030, range("101500.250000", ""), &[1, 4]),
            (0x0008_0030, single("101500.25"), &[1]),
            (0x0008_0030, single("10"), &[2]),
            (
                0x0008_0020,
                moment("20240115101500.250000", "20240116100000.000000"),
                &[1, 2],
            ),
            (
                0x0008_0020,
                moment("20240115101500.250001", "20240116095959.000000"),
                &[],
            ),
            (0x0008_0020, moment("20240116090000.000000", ""), &[2, 3]),
            (0x0008_0020, moment("", "20240115235959.999999"), &[1]),
            (0x0008_0061, single("CT"), &[1]),
            (0x0008_0061, any_of(&["CT", "MR"]), &[1, 2]),
            (0x0008_0061, single("ct"), &[]),
            (0x0008_0061, wildcard("?R"), &[2]),
            (0x0008_0061, Matching::Empty, &[3, 4]),
            (0x0020_1206, single("1"), &[1, 2, 3, 4]),
            (0x0020_1208, Matching::Number(2.0), &[]),
            (0x0020_1208, Matching::Number(1.5), &[]),
        ],
    )
    .await;
    expect_folded(
        index,
        &[
            (0x0008_0050, single("ACC-1"), &[1, 2]),
            (0x0008_1030, single("THORAX ÜBERSICHT"), &[1, 2]),
            (0x0008_1030, single("Thorax U\u{308}bersicht "), &[1, 2]),
            (0x0008_1030, wildcard("thorax Ü*"), &[1, 2]),
            (0x0008_0061, single("ct"), &[1]),
            (0x0010_0040, single("M"), &[2]),
        ],
    )
    .await;
    let both = vec![
        condition(0x0008_0020, range("20240101", "20241231")),
        condition(0x0008_0061, single("MR")),
        condition(0x0010_0020, wildcard("P*")),
    ];
    assert_eq!(found(index, QueryLevel::Study, both).await, [2]);
}

async fn names_match_in_every_group(index: &TestIndex) {
    let names = [
        "Müller^Jürgen^^Dr.",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "Smith^John=\u{FF33}mith",
        "Иванов^Иван",
        "Παπαδόπουλος^Γιώργος",
        "Hong^Gildong=洪^吉洞=\u{1112}\u{1169}\u{11BC}^길동",
        "Blacksmith^Anna",
        "",
    ];
    for (study, name) in (1..).zip(names) {
        let sample = Sample::new(study, 1, 1).with(0x0010_0010, name);
        store(index, &[sample.with(0x0008_0090, "Referrer^Ann")]).await;
    }
    expect(
        index,
        &[
            (0x0010_0010, single("muller^jurgen^^dr."), &[1]),
            (0x0010_0010, single("MU\u{308}LLER^JÜRGEN^^DR.^"), &[1]),
            (0x0010_0010, single("Müller"), &[]),
            (0x0010_0010, single("山田^太郎"), &[2]),
            (0x0010_0010, single("Yamada^Tarou=山田^太郎"), &[2]),
            (0x0010_0010, single("Yamada^Tarou=洪^吉洞"), &[]),
            (0x0010_0010, single("=洪^吉洞"), &[6]),
            (0x0010_0010, any_of(&["山田^太郎", "smith^john"]), &[2, 3]),
            (0x0010_0010, wildcard("smith*"), &[3]),
            (0x0010_0010, wildcard("*smith*"), &[3, 7]),
            (0x0010_0010, wildcard("*mith^j?hn"), &[3]),
            (0x0010_0010, wildcard("*^*an*"), &[7]),
            (0x0010_0010, wildcard("山*"), &[2]),
            (0x0010_0010, wildcard("*郎"), &[2]),
            (0x0010_0010, wildcard("やまだ*"), &[2]),
            (0x0010_0010, wildcard("홍*"), &[6]),
            (0x0010_0010, wildcard("*ИВАН*"), &[4]),
            (0x0010_0010, wildcard("παπαδοπουλ*"), &[5]),
            (0x0010_0010, wildcard("Yamada*=山田*"), &[2]),
            (0x0010_0010, wildcard("Yamada*=*"), &[2]),
            (0x0010_0010, wildcard("Smith*=山田*"), &[]),
            (
                0x0010_0010,
                Matching::AnyWildcard(vec!["smi*".into(), "*muller*".into()]),
                &[1, 3],
            ),
            (0x0010_0010, Matching::Empty, &[8]),
            (0x0008_0090, Matching::Empty, &[]),
            (
                0x0008_0090,
                single("referrer^ann"),
                &[1, 2, 3, 4, 5, 6, 7, 8],
            ),
            (0x0010_0010, single("referrer^ann"), &[]),
        ],
    )
    .await;
}

async fn words_stand_side_by_side(index: &TestIndex) {
    let names = [
        "Doe^John",
        "Doe^John Quincy",
        "van der Berg^Jo^Anna",
        "John^X^Doe",
        "Do*^Jo%",
    ];
    for (study, name) in (1..).zip(names) {
        store(index, &[Sample::new(study, 1, 1).with(0x0010_0010, name)]).await;
    }
    expect(
        index,
        &[
            (0x0010_0010, words(&["joh"]), &[1, 2, 4]),
            (0x0010_0010, words(&["do"]), &[1, 2, 4, 5]),
            (0x0010_0010, words(&["do", "jo"]), &[1, 2, 5]),
            (0x0010_0010, words(&["jo", "do"]), &[]),
            (0x0010_0010, words(&["john", "doe"]), &[]),
            (0x0010_0010, words(&["ohn"]), &[]),
            (0x0010_0010, words(&["doe", "john", "q"]), &[2]),
            (0x0010_0010, words(&["doe", "quincy"]), &[]),
            (0x0010_0010, words(&["der", "b", "j"]), &[3]),
            (
                0x0010_0010,
                words(&["van", "der", "berg", "jo", "anna", "x"]),
                &[],
            ),
            (0x0010_0010, words(&["do*"]), &[5]),
            (0x0010_0010, words(&["do*", "jo%"]), &[5]),
            (0x0010_0010, words(&["do_"]), &[]),
        ],
    )
    .await;
}

async fn series_and_instances_are_found_by_all_levels(index: &TestIndex) {
    for study in 1..=3 {
        let sample = |series, instance: u32, modality| {
            Sample::new(study, series, instance)
                .with(0x0010_0020, &format!("P{study}"))
                .with(0x0010_0010, &format!("Name{study}^X"))
                .with(0x0008_0060, modality)
                .with(0x0008_1090, "Scanner \u{E9}")
                .with(0x0020_0011, &series.to_string())
                .with(0x0020_0013, &instance.to_string())
                .with(0x0040_0244, "20240102")
        };
        store(
            index,
            &[sample(1, 1, "CT"), sample(1, 2, "CT"), sample(2, 1, "MR")],
        )
        .await;
    }
    let cases: Vec<(QueryLevel, Vec<Condition>, Vec<u32>)> = vec![
        (QueryLevel::Series, vec![], vec![1, 1, 2, 2, 3, 3]),
        (
            QueryLevel::Series,
            vec![condition(0x0010_0020, single("P2"))],
            vec![2, 2],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0010_0010, wildcard("name2*"))],
            vec![2, 2],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0010_0010, wildcard("*ame2*"))],
            vec![2, 2],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0008_0060, single("CT"))],
            vec![1, 2, 3],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0008_0061, single("CT"))],
            vec![1, 1, 2, 2, 3, 3],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0020_000E, single("1.2.2.1"))],
            vec![2],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0020_0011, single("2"))],
            vec![1, 2, 3],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0020_0011, Matching::Number(2.0))],
            vec![1, 2, 3],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0020_0011, any_of(&["7", "x"]))],
            vec![],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0020_0011, Matching::Empty)],
            vec![],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0040_0244, range("20240101", ""))],
            vec![1, 1, 2, 2, 3, 3],
        ),
        (
            QueryLevel::Series,
            vec![condition(0x0008_1090, wildcard("Scanner ?"))],
            vec![1, 1, 2, 2, 3, 3],
        ),
        (
            QueryLevel::Instance,
            vec![condition(0x0010_0020, single("P2"))],
            vec![2, 2, 2],
        ),
        (
            QueryLevel::Instance,
            vec![condition(0x0008_0018, single("1.2.3.1.2"))],
            vec![3],
        ),
        (
            QueryLevel::Instance,
            vec![condition(0x0008_0018, any_of(&["1.2.3.1.2", "1.2.1.2.1"]))],
            vec![1, 3],
        ),
        (
            QueryLevel::Instance,
            vec![condition(0x0008_0016, single("1.2.840.10008.5.1.4.1.1.2"))],
            vec![1, 1, 1, 2, 2, 2, 3, 3, 3],
        ),
        (
            QueryLevel::Instance,
            vec![condition(0x0020_0013, single("2"))],
            vec![1, 2, 3],
        ),
        (
            QueryLevel::Instance,
            vec![
                condition(0x0008_0060, single("CT")),
                condition(0x0010_0020, any_of(&["P1", "P3"])),
                condition(0x0020_0013, single("1")),
                condition(0x0008_0020, Matching::Empty),
            ],
            vec![1, 3],
        ),
    ];
    for (level, conditions, expected) in cases {
        let studies = found(index, level, conditions.clone()).await;
        assert_eq!(studies, expected, "{level:?} {conditions:?}");
    }
    assert!(
        !indexed(
            &condition(0x0008_0060, single("CT")),
            QueryLevel::Study,
            &[]
        ),
        "a series key does not select studies"
    );
    assert!(
        !indexed(&condition(0x0008_1080, single("x")), QueryLevel::Study, &[]),
        "there is no column"
    );
    assert!(
        !indexed(
            &condition(0x0008_0020, wildcard("2024*")),
            QueryLevel::Study,
            &[]
        ),
        "dates have no wildcards"
    );
    let private = Condition {
        path: TagPath(vec![PathStep {
            tag: Tag(0x0010, 0x0020),
            creator: Some("X".to_owned()),
        }]),
        vr: VR::LO,
        matching: single("P1"),
        case: Case::Sensitive,
    };
    assert!(!indexed(&private, QueryLevel::Study, &[]));
}

async fn paths_narrow_the_search(index: &TestIndex) {
    let mut samples = Vec::new();
    for study in 1..=3 {
        for series in 1..=2 {
            for instance in 1..=2 {
                samples.push(
                    Sample::new(study, series, instance).with(0x0020_0013, &instance.to_string()),
                );
            }
        }
    }
    store(index, &samples).await;
    let with_path = |level, series: Option<&str>| Query {
        study: Some(StudyUid::parse("1.2.2").unwrap()),
        series: series.map(|uid| SeriesUid::parse(uid).unwrap()),
        ..query(level)
    };
    let uids = async |query: &Query| -> Vec<String> {
        let page = search(index, query).await;
        page.rows
            .iter()
            .map(|r| r.instance_uid.clone().or(r.series_uid.clone()).unwrap())
            .collect()
    };
    assert_eq!(
        uids(&with_path(QueryLevel::Series, None)).await,
        ["1.2.2.2", "1.2.2.1"]
    );
    assert_eq!(
        uids(&with_path(QueryLevel::Instance, None)).await,
        ["1.2.2.2.2", "1.2.2.2.1", "1.2.2.1.2", "1.2.2.1.1"]
    );
    let mut query = with_path(QueryLevel::Instance, Some("1.2.2.1"));
    assert_eq!(uids(&query).await, ["1.2.2.1.2", "1.2.2.1.1"]);
    query.conditions.push(condition(0x0020_0013, single("1")));
    assert_eq!(uids(&query).await, ["1.2.2.1.1"]);
    assert!(
        uids(&with_path(QueryLevel::Instance, Some("1.2.3.1")))
            .await
            .is_empty()
    );
}

async fn results_come_newest_first_in_pages(index: &TestIndex) {
    for study in 0..23 {
        store(
            index,
            &[Sample::new(study, 1, 1)
                .with(0x0008_0020, "20240101")
                .with(0x0010_0020, "P")],
        )
        .await;
    }
    // A later instance does not move its study.
    store(index, &[Sample::new(0, 1, 2)]).await;
    for conditions in [
        vec![],
        vec![condition(0x0008_0020, range("20240101", "20240201"))],
        vec![condition(0x0010_0020, single("P"))],
        vec![condition(0x0010_0020, wildcard("*P"))],
    ] {
        let mut seen = Vec::new();
        for page in 0.. {
            let query = Query {
                limit: Some(5),
                offset: page * 5,
                conditions: conditions.clone(),
                ..query(QueryLevel::Study)
            };
            let found = search(index, &query).await;
            assert_eq!(found.more, page < 4, "page {page}");
            seen.extend(found.rows.iter().map(|row| row.study_uid.clone()));
            if !found.more {
                break;
            }
        }
        let expected: Vec<String> = (0..23).rev().map(|study| format!("1.2.{study}")).collect();
        assert_eq!(seen, expected);
    }
    let beyond = Query {
        offset: u64::MAX,
        ..query(QueryLevel::Study)
    };
    assert!(search(index, &beyond).await.rows.is_empty());
    let unlimited = Query {
        limit: None,
        ..query(QueryLevel::Study)
    };
    assert_eq!(search(index, &unlimited).await.rows.len(), 23);
    let exactly = Query {
        limit: Some(23),
        ..query(QueryLevel::Study)
    };
    assert!(!search(index, &exactly).await.more);
    let none = Query {
        limit: Some(0),
        ..query(QueryLevel::Study)
    };
    let page = search(index, &none).await;
    assert!(page.rows.is_empty() && page.more);
}

async fn a_cursor_is_stable_under_inserts(index: &TestIndex) {
    for study in 0..20 {
        store(index, &[Sample::new(study, 1, 1)]).await;
    }
    for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
        let query = Query {
            limit: Some(6),
            ..query(level)
        };
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = index
                .search(
                    &Scope::everything(),
                    &query,
                    &[],
                    before.as_ref(),
                    usize::MAX,
                )
                .await
                .unwrap();
            seen.extend(page.rows.iter().map(|row| row.study_uid.clone()));
            before = page.rows.last().map(MatchedRow::place);
            let next = 100 + u32::try_from(seen.len()).unwrap() * 10 + level as u32;
            store(index, &[Sample::new(next, 1, 1)]).await;
            if !page.more {
                break;
            }
        }
        let old: Vec<&String> = seen
            .iter()
            .filter(|uid| uid.len() < "1.2.100".len())
            .collect();
        assert_eq!(old.len(), 20, "{level:?}");
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "{level:?}");
    }
}

async fn counts_stop_at_the_ceiling(index: &TestIndex) {
    let samples: Vec<Sample> = (0..30).map(|study| Sample::new(study, 1, 1)).collect();
    store(index, &samples).await;
    for (ceiling, expected) in [(0, 0), (10, 10), (30, 30), (31, 30), (u64::MAX, 30)] {
        let counted = index
            .count(
                &Scope::everything(),
                &query(QueryLevel::Study),
                &[],
                None,
                ceiling,
            )
            .await;
        assert_eq!(counted.unwrap(), expected);
    }
}

async fn rows_carry_what_answers_need(index: &TestIndex) {
    let sample = |series, instance: u32| {
        Sample::new(1, series, instance)
            .with(0x0010_0020, "P")
            .with(0x0008_0060, if series == 1 { "CT" } else { "MR" })
            .with(0x0020_0013, &instance.to_string())
    };
    store(index, &[sample(1, 1), sample(1, 2), sample(2, 3)]).await;
    let page = index
        .search(
            &Scope::everything(),
            &query(QueryLevel::Instance),
            &[],
            None,
            usize::MAX,
        )
        .await
        .unwrap();
    let row = &page.rows[0];
    assert_eq!(row.study, r#"{"00100020":{"vr":"LO","Value":["P"]}}"#);
    assert_eq!(
        row.series.as_deref(),
        Some(r#"{"00080060":{"vr":"CS","Value":["MR"]}}"#)
    );
    assert_eq!(
        row.instance.as_deref(),
        Some(r#"{"00200013":{"vr":"IS","Value":[3]}}"#)
    );
    assert_eq!(row.modalities, ["CT", "MR"]);
    assert_eq!(
        (row.study_series, row.study_instances, row.series_instances),
        (2, 3, Some(1))
    );
    assert_eq!(row.newest, row.position);
    let page = index
        .search(
            &Scope::everything(),
            &query(QueryLevel::Study),
            &[],
            None,
            usize::MAX,
        )
        .await
        .unwrap();
    let row = &page.rows[0];
    assert!(row.series.is_none() && row.instance.is_none() && row.series_uid.is_none());
    let before = row.newest;
    // The newest instance goes; another one stands for the study.
    index
        .delete(&Scope::everything(), &target(1, Some(2), None))
        .await
        .unwrap();
    let page = index
        .search(
            &Scope::everything(),
            &query(QueryLevel::Study),
            &[],
            None,
            usize::MAX,
        )
        .await
        .unwrap();
    let newest = page.rows[0].newest;
    assert!(newest < before);
    let scope = Scope::everything();
    // Metadata is read by watermark, with its size first; what is gone is left out.
    let asked = [newest, before];
    let sizes = index
        .metadata_sizes(&(&scope).into(), &asked)
        .await
        .unwrap();
    let packed = index
        .packed_metadata(&(&scope).into(), &asked)
        .await
        .unwrap();
    assert_eq!(packed.len(), 1);
    assert_eq!(sizes, [(newest, packed[0].1.len())]);
    assert_eq!(packed[0].0, newest);
    // Asked for nothing, both databases give nothing.
    let sizes = index.metadata_sizes(&(&scope).into(), &[]).await.unwrap();
    let packed = index.packed_metadata(&(&scope).into(), &[]).await.unwrap();
    let page = index
        .found(&scope, QueryLevel::Study, None, &[], 1000)
        .await
        .unwrap();
    assert!(sizes.is_empty() && packed.is_empty() && page.rows.is_empty());
}

async fn a_page_ends_when_its_rows_are_long(index: &TestIndex) {
    let long = "x".repeat(2000);
    let samples: Vec<Sample> = (1..=5)
        .map(|study| Sample::new(study, 1, 1).with(0x0008_1030, &long))
        .collect();
    store(index, &samples).await;
    let scope = Scope::everything();
    for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
        let mut asked = query(level);
        for (limit, bytes, rows, more) in [
            (None, 1, 1, true),
            (None, 5000, 3, true),
            (Some(2), 5000, 2, true),
            (Some(3), 5000, 3, true),
            (Some(5), 1 << 20, 5, false),
            (Some(4), 1 << 20, 4, true),
        ] {
            asked.limit = limit;
            let page = index
                .search(&scope, &asked, &[], None, bytes)
                .await
                .unwrap();
            assert_eq!(
                (page.rows.len(), page.more),
                (rows, more),
                "{limit:?} {bytes}"
            );
        }
        asked.limit = None;
        let page = index
            .search(&scope, &asked, &[], None, usize::MAX)
            .await
            .unwrap();
        let positions: Vec<i64> = page.rows.iter().map(|row| row.position).collect();
        // By their positions the same rows are found, as many as fit; what is not there is left out.
        let mut wanted = vec![positions[0] + 1000];
        wanted.extend(&positions[1..]);
        let found = index
            .found(&scope, level, None, &wanted, usize::MAX)
            .await
            .unwrap();
        let again: Vec<i64> = found.rows.iter().map(|row| row.position).collect();
        assert_eq!((again.as_slice(), found.more), (&positions[1..], false));
        let found = index
            .found(&scope, level, None, &positions, 5000)
            .await
            .unwrap();
        assert_eq!((found.rows.len(), found.more), (3, true));
    }
}

/// More rows than the search sorts without further thought, so that it takes its other ways too.
async fn broad_terms_find_the_same_as_narrow_ones(index: &TestIndex) {
    let samples: Vec<Sample> = (10_000..13_500_u32)
        .map(|study| {
            Sample::new(study, 1, 1)
                .with(
                    0x0008_0020,
                    if study < 11_200 {
                        "20230101"
                    } else {
                        "20240101"
                    },
                )
                .with(
                    0x0008_0060,
                    if study.is_multiple_of(2) { "CT" } else { "MR" },
                )
                .with(0x0010_0010, &format!("Name{}^A Bob", study % 3))
        })
        .collect();
    for chunk in samples.chunks(500) {
        store(index, chunk).await;
    }
    // UIDs of one length: a batch creates its studies in their order.
    let old = |study: &u32| *study < 11_200;
    let ct = |study: &u32| study.is_multiple_of(2);
    let all = 10_000..13_500_u32;
    for (conditions, expected) in [
        (
            vec![condition(0x0008_0020, range("20230101", "20230601"))],
            all.clone().filter(old).collect::<Vec<_>>(),
        ),
        (
            vec![condition(0x0008_0020, range("20220101", "20250601"))],
            all.clone().collect(),
        ),
        (
            vec![condition(0x0008_0061, single("CT"))],
            all.clone().filter(ct).collect(),
        ),
        (
            vec![
                condition(0x0008_0061, single("CT")),
                condition(0x0008_0020, range("", "20230601")),
            ],
            all.clone().filter(old).filter(ct).collect(),
        ),
        (
            vec![condition(0x0010_0010, wildcard("name1*"))],
            all.clone().filter(|s| s % 3 == 1).collect(),
        ),
        (
            vec![condition(0x0010_0010, wildcard("*ame1^*"))],
            all.clone().filter(|s| s % 3 == 1).collect(),
        ),
        (
            vec![
                condition(0x0010_0010, words(&["name2", "a", "b"])),
                condition(0x0008_0020, range("", "20230601")),
            ],
            all.clone().filter(old).filter(|s| s % 3 == 2).collect(),
        ),
    ] {
        for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
            for limit in [10, 700, 5000] {
                let query = Query {
                    limit: Some(limit),
                    conditions: conditions.clone(),
                    ..query(level)
                };
                let page = search(index, &query).await;
                let found: Vec<String> =
                    page.rows.iter().map(|row| row.study_uid.clone()).collect();
                let newest = expected.iter().rev().take(usize::try_from(limit).unwrap());
                let newest: Vec<String> = newest.map(|study| format!("1.2.{study}")).collect();
                assert!(
                    found == newest,
                    "{level:?} {limit} {conditions:?}: {} rows",
                    found.len()
                );
                assert_eq!(page.more, expected.len() > newest.len());
            }
        }
    }
}

async fn hostile_values_match_literally(index: &TestIndex) {
    let values = [
        "'; drop table study; --",
        "100%",
        "a_b",
        "back\\slash",
        "[a-z]",
        "\"quoted\"",
        "日本\u{10FFFF}",
    ];
    for (study, value) in (1..).zip(values) {
        // A backslash separates values of the sample.
        let value = value.replace('\\', "/");
        store(
            index,
            &[Sample::new(study, 1, 1)
                .with(0x0010_0020, &value)
                .with(0x0010_0010, &value)],
        )
        .await;
    }
    for (study, value) in (1..).zip(values) {
        let value = value.replace('\\', "/");
        for matching in [
            single(&value),
            wildcard(&format!("{value}*")),
            wildcard(&format!("*{value}")),
        ] {
            expect(
                index,
                &[
                    (0x0010_0020, matching.clone(), &[study]),
                    (0x0010_0010, matching, &[study]),
                ],
            )
            .await;
        }
    }
    let long = "x".repeat(100_000);
    for nothing in [
        "\0",
        "P\0",
        "\u{1}",
        long.as_str(),
        "_",
        "%",
        "[",
        "*[0-9]*",
        "?%?",
        "\\",
    ] {
        for tag in [
            0x0010_0020,
            0x0010_0010,
            0x0020_000D,
            0x0008_0020,
            0x0008_0061,
        ] {
            for matching in [
                single(nothing),
                wildcard(nothing),
                words(&[nothing, nothing]),
            ] {
                let condition = condition(tag, matching);
                if indexed(&condition, QueryLevel::Study, &[]) && tag != 0x0010_0010 {
                    assert!(
                        found(index, QueryLevel::Study, vec![condition])
                            .await
                            .is_empty(),
                        "{nothing:.20}"
                    );
                } else if indexed(&condition, QueryLevel::Study, &[]) {
                    // Nothing but delimiters asks for nothing; that it is answered is enough.
                    found(index, QueryLevel::Study, vec![condition]).await;
                }
            }
        }
    }
}
