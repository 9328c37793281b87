//! Conditions of a query as terms over the columns of the index.
//!
//! Invariant: a condition either becomes a term that decides it exactly, or [`indexed`] says no and the caller matches
//! it in the JSON.

use dicom_core::VR;

use super::model::{TagRow, TagStatus};
use super::pattern::Pattern;
use super::rows::{self, has_norm, name_kind};
use super::tag_values::is_number;
use super::words;
use crate::dicom::attributes::{AttributeKey, ColumnSearch, QueryLevel, key};
use crate::dicom::query::{Case, Condition, Matching};
use crate::dicom::{normalize, temporal};

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Col {
    /// Name or alias of its table.
    pub(super) table: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// `_norm` for the folded twin.
    pub(super) suffix: &'static str,
    /// Its index must not be used.
    pub(super) hidden: bool,
}

/// A column of a table.
const fn column_of(table: &'static str, name: &'static str) -> Col {
    Col {
        table,
        name,
        suffix: "",
        hidden: false,
    }
}

/// The folded twin of a column.
const fn normalized_column(col: Col) -> Col {
    Col {
        suffix: "_norm",
        ..col
    }
}

/// What a column must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ColumnTest {
    /// One of these texts; none of them: never.
    OneOf(Vec<String>),
    /// One of these numbers.
    Numbers(Vec<i64>),
    /// One of these numbers.
    Reals(Vec<f64>),
    /// Within inclusive bounds.
    Range(Option<String>, Option<String>),
    /// Matching a pattern.
    Matches(Pattern),
    /// Null: an empty value is stored as null.
    Empty,
    /// A date that together with the time column lies within inclusive bounds.
    Moment {
        /// The column of the time.
        time: Col,
        /// Date and time.
        from: Option<(String, String)>,
        /// Date and time.
        to: Option<(String, String)>,
    },
}

/// How many rows a term is likely to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Selectivity {
    /// A page or so: its index drives the search.
    Narrow,
    /// Any number: worth asking before its index drives the search.
    Broad,
    /// No index.
    Unindexed,
}

/// Where a term looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TermSource {
    /// In the row of this level itself.
    Row(QueryLevel),
    /// In the rows of `study_name` of this kind.
    Name(i64),
    /// In the rows of `study_name_word` of this kind.
    Word(i64),
    /// In the series of the study.
    SeriesOfStudy,
    /// In the values of a query tag.
    Tag {
        /// Its id.
        id: i64,
        /// Whose attribute it is.
        level: QueryLevel,
        /// In the word suffixes of its names instead of the values.
        words: bool,
    },
}

/// One test in one place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Predicate {
    /// Where.
    pub(super) source: TermSource,
    /// Columns and what they must be, joined by AND.
    pub(super) tests: Vec<(Col, ColumnTest)>,
}

/// A condition in normal form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NormalizedCondition {
    /// How many rows it leaves.
    pub(super) breadth: Selectivity,
    /// Alternatives, joined by OR, each a list of checks joined by AND.
    pub(super) any: Vec<Vec<Predicate>>,
}

/// How far a search decides a condition by itself, without a look into the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Rows that are found fulfil it.
    Exact,
    /// All rows that fulfil it are found, and few others: the attribute in the row decides.
    Narrowed,
    /// Not at all: the metadata decides.
    Open,
}

/// How far a search at `level` decides this condition by itself, with these query tags.
#[must_use]
pub fn decision(condition: &Condition, level: QueryLevel, tags: &[TagRow]) -> Decision {
    if term(condition, level, tags).is_none() {
        return Decision::Open;
    }
    // The rows of names do not say which group each is.
    let by_column = searched_key(condition, level).is_some_and(|key| {
        let name = matches!(key.column, Some(ColumnSearch::Name(_)));
        name && tag_term(condition, level, tags).is_none()
    });
    let in_place = match &condition.matching {
        Matching::Single(value) | Matching::Wildcard(value) => value.contains('='),
        Matching::AnyOf(values) | Matching::AnyWildcard(values) => {
            values.iter().any(|value| value.contains('='))
        }
        _ => false,
    };
    if by_column && in_place {
        Decision::Narrowed
    } else {
        Decision::Exact
    }
}

/// Whether a search at `level` decides this condition by itself, with these query tags and without a look into the JSON.
#[must_use]
pub fn indexed(condition: &Condition, level: QueryLevel, tags: &[TagRow]) -> bool {
    decision(condition, level, tags) == Decision::Exact
}

/// The terms of those conditions that have one; a condition that holds always has none to check.
pub(super) fn terms(
    conditions: &[Condition],
    level: QueryLevel,
    tags: &[TagRow],
) -> Vec<NormalizedCondition> {
    let terms = conditions
        .iter()
        .filter_map(|condition| term(condition, level, tags));
    terms.filter(|term| !term.any.is_empty()).collect()
}

const fn table(level: QueryLevel) -> &'static str {
    match level {
        QueryLevel::Study => "study",
        QueryLevel::Series => "series",
        QueryLevel::Instance => "instance",
    }
}

/// The key a condition names, when it is searchable at `level`.
fn searched_key(condition: &Condition, level: QueryLevel) -> Option<&'static AttributeKey> {
    match condition.path.0.as_slice() {
        [step] if step.creator.is_none() => key(step.tag).filter(|key| key.level <= level),
        _ => None,
    }
}

/// A term that holds always.
const fn always() -> NormalizedCondition {
    NormalizedCondition {
        breadth: Selectivity::Unindexed,
        any: Vec::new(),
    }
}

/// The term of a condition; one without alternatives holds always.
fn term(condition: &Condition, level: QueryLevel, tags: &[TagRow]) -> Option<NormalizedCondition> {
    // A universal key is no key, whatever it is of (PS3.4 §C.2.2.2.3).
    if condition.matching == Matching::Universal {
        return Some(always());
    }
    key_term(condition, level).or_else(|| tag_term(condition, level, tags))
}

fn key_term(condition: &Condition, level: QueryLevel) -> Option<NormalizedCondition> {
    let key = searched_key(condition, level)?;
    let column = key.column?;
    match (&condition.matching, column) {
        (Matching::Wildcard(text), _) if text.bytes().all(|b| b == b'*') => Some(always()),
        (matching, ColumnSearch::Exact(name) | ColumnSearch::Text(name)) => {
            text_term(key, name, matching, condition.case)
        }
        (matching, ColumnSearch::Name(name)) => {
            let kind = name_kind(name);
            name_term(
                (TermSource::Name(kind), NAME),
                (TermSource::Word(kind), WORD),
                matching,
            )
        }
        (matching, ColumnSearch::Date(name)) => date_term(key, name, matching),
        (matching, ColumnSearch::Time(name)) => time_term(key, name, matching),
        (matching, ColumnSearch::Number(name)) => {
            number_term(column_of(table(key.level), name), key.level, matching)
        }
        (matching, ColumnSearch::Computed("modalities")) => {
            modalities_term(matching, condition.case)
        }
        (matching, ColumnSearch::Computed(name)) => {
            number_term(column_of(table(key.level), name), key.level, matching)
        }
    }
}

fn row_term(
    breadth: Selectivity,
    level: QueryLevel,
    any: impl IntoIterator<Item = Vec<(Col, ColumnTest)>>,
) -> NormalizedCondition {
    let check = |tests| {
        vec![Predicate {
            source: TermSource::Row(level),
            tests,
        }]
    };
    NormalizedCondition {
        breadth,
        any: any.into_iter().map(check).collect(),
    }
}

/// Tests of a text column and its folded twin against whole values.
fn whole_values(col: Col, norm: bool, values: &[String], case: Case) -> Vec<(Col, ColumnTest)> {
    let mut tests = Vec::new();
    if norm {
        let normalized = values
            .iter()
            .map(|value| words::clean(&normalize::text(value)));
        tests.push((
            normalized_column(col),
            ColumnTest::OneOf(normalized.collect()),
        ));
    }
    if !norm || case == Case::Sensitive {
        let exact = values.iter().map(|value| words::clean(value));
        tests.push((col, ColumnTest::OneOf(exact.collect())));
    }
    tests
}

/// Tests of a text column and its folded twin against a pattern.
fn pattern_tests(col: Col, norm: bool, text: &str, case: Case) -> Vec<(Col, ColumnTest)> {
    let mut tests = Vec::new();
    if norm {
        let pattern = Pattern::parse(text, normalize::text);
        tests.push((normalized_column(col), ColumnTest::Matches(pattern)));
    }
    if !norm || case == Case::Sensitive {
        tests.push((
            col,
            ColumnTest::Matches(Pattern::parse(text, str::to_owned)),
        ));
    }
    tests
}

fn text_term(
    key: &AttributeKey,
    name: &'static str,
    matching: &Matching,
    case: Case,
) -> Option<NormalizedCondition> {
    let col = column_of(table(key.level), name);
    let norm = has_norm(key);
    let whole = whole_breadth(name);
    let patterned = |text: &str| match text.find(['*', '?']) {
        Some(0) => Selectivity::Unindexed,
        _ => whole.max(Selectivity::Broad),
    };
    match matching {
        Matching::Single(value) => {
            let tests = whole_values(col, norm, std::slice::from_ref(value), case);
            Some(row_term(whole, key.level, [tests]))
        }
        Matching::AnyOf(values) => Some(row_term(
            whole,
            key.level,
            [whole_values(col, norm, values, case)],
        )),
        Matching::Wildcard(text) => Some(row_term(
            patterned(text),
            key.level,
            [pattern_tests(col, norm, text, case)],
        )),
        Matching::AnyWildcard(texts) => {
            let breadth = texts.iter().map(|text| patterned(text)).max()?;
            let any = texts
                .iter()
                .map(|text| pattern_tests(col, norm, text, case));
            Some(row_term(breadth, key.level, any))
        }
        Matching::Empty => Some(row_term(
            Selectivity::Unindexed,
            key.level,
            [vec![(col, ColumnTest::Empty)]],
        )),
        _ => None,
    }
}

/// How many rows one value of a text column is likely to have; columns without an index included.
fn whole_breadth(column: &str) -> Selectivity {
    match column {
        "study_uid" | "series_uid" | "sop_instance_uid" | "patient_id" | "accession_number"
        | "study_id" => Selectivity::Narrow,
        "study_description" | "modality" | "model_name" => Selectivity::Broad,
        _ => Selectivity::Unindexed,
    }
}

fn date_term(
    key: &AttributeKey,
    name: &'static str,
    matching: &Matching,
) -> Option<NormalizedCondition> {
    let col = column_of(table(key.level), name);
    let whole = if matches!(name, "study_date" | "patient_birth_date" | "pps_start_date") {
        Selectivity::Narrow
    } else {
        Selectivity::Unindexed
    };
    let (breadth, test) = match matching {
        Matching::Single(value) => (whole, stored_values(key, std::slice::from_ref(value))),
        Matching::AnyOf(values) => (whole, stored_values(key, values)),
        Matching::Range { from, to } => (
            whole.max(Selectivity::Broad),
            ColumnTest::Range(from.clone(), to.clone()),
        ),
        Matching::DateTime { time, from, to } => {
            let time = crate::dicom::attributes::key(*time).filter(|k| k.level == key.level)?;
            let Some(ColumnSearch::Time(time)) = time.column else {
                return None;
            };
            let test = ColumnTest::Moment {
                time: column_of(table(key.level), time),
                from: split_moment(from.as_deref())?,
                to: split_moment(to.as_deref())?,
            };
            (whole.max(Selectivity::Broad), test)
        }
        Matching::Empty => (Selectivity::Unindexed, ColumnTest::Empty),
        _ => return None,
    };
    Some(row_term(breadth, key.level, [vec![(col, test)]]))
}

/// Dates or times in the form of their column; what is none equals nothing.
fn stored_values(key: &AttributeKey, values: &[String]) -> ColumnTest {
    let stored = values
        .iter()
        .filter_map(|value| temporal::stored(key.vr, value));
    ColumnTest::OneOf(stored.collect())
}

/// Date and time of a bound, `yyyymmddhhmmss.ffffff`; none when it is something else.
#[expect(
    clippy::option_option,
    reason = "no bound, and a bound that cannot be used, are different"
)]
fn split_moment(bound: Option<&str>) -> Option<Option<(String, String)>> {
    match bound {
        None => Some(None),
        Some(text) => {
            let (date, time) = text.split_at_checked(8)?;
            Some(Some((date.to_owned(), time.to_owned())))
        }
    }
}

fn time_term(
    key: &AttributeKey,
    name: &'static str,
    matching: &Matching,
) -> Option<NormalizedCondition> {
    let test = match matching {
        Matching::Single(value) => stored_values(key, std::slice::from_ref(value)),
        Matching::AnyOf(values) => stored_values(key, values),
        Matching::Range { from, to } => ColumnTest::Range(from.clone(), to.clone()),
        Matching::Empty => ColumnTest::Empty,
        _ => return None,
    };
    let tests = vec![(column_of(table(key.level), name), test)];
    Some(row_term(Selectivity::Unindexed, key.level, [tests]))
}

fn number_term(col: Col, level: QueryLevel, matching: &Matching) -> Option<NormalizedCondition> {
    let test = match matching {
        Matching::Single(value) => ColumnTest::Numbers(rows::number(value).into_iter().collect()),
        Matching::AnyOf(values) => {
            ColumnTest::Numbers(values.iter().filter_map(|v| rows::number(v)).collect())
        }
        Matching::Number(value) => ColumnTest::Numbers(whole_number(*value).into_iter().collect()),
        Matching::Empty => ColumnTest::Empty,
        _ => return None,
    };
    Some(row_term(Selectivity::Unindexed, level, [vec![(col, test)]]))
}

/// The integer a number is; none when it has a fraction or is far outside of IS.
fn whole_number(value: f64) -> Option<i64> {
    let text = format!("{value}");
    text.parse().ok()
}

fn modalities_term(matching: &Matching, case: Case) -> Option<NormalizedCondition> {
    let col = column_of("series", "modality");
    let any = match matching {
        Matching::Single(value) => vec![whole_values(col, true, std::slice::from_ref(value), case)],
        Matching::AnyOf(values) => vec![whole_values(col, true, values, case)],
        Matching::Wildcard(text) => vec![pattern_tests(col, true, text, case)],
        Matching::AnyWildcard(texts) => texts
            .iter()
            .map(|text| pattern_tests(col, true, text, case))
            .collect(),
        Matching::Empty => {
            let none = ColumnTest::OneOf(vec![String::new()]);
            let tests = vec![(column_of("study", "modalities"), none)];
            return Some(row_term(Selectivity::Unindexed, QueryLevel::Study, [tests]));
        }
        _ => return None,
    };
    let check = |tests| {
        vec![Predicate {
            source: TermSource::SeriesOfStudy,
            tests,
        }]
    };
    Some(NormalizedCondition {
        breadth: Selectivity::Broad,
        any: any.into_iter().map(check).collect(),
    })
}

const NAME: Col = column_of("study_name", "text");
const WORD: Col = column_of("study_name_word", "text");

/// The term of a name, given where its groups and where its word suffixes are.
fn name_term(
    (source, name): (TermSource, Col),
    (word_source, word): (TermSource, Col),
    matching: &Matching,
) -> Option<NormalizedCondition> {
    let name_check = |test| Predicate {
        source,
        tests: vec![(name, test)],
    };
    // The values of a tag say which group each is, and groups are asked for in their place when a `=` is written.
    let placed = |value: &str, (place, test): (i64, ColumnTest)| {
        let mut check = name_check(test);
        if matches!(source, TermSource::Tag { .. }) && value.contains('=') {
            check.tests.push((PART, ColumnTest::Numbers(vec![place])));
        }
        check
    };
    let whole = |value: &String| -> Vec<Predicate> {
        let groups = (0..).zip(normalize::groups(value));
        let groups = groups.filter(|(_, group)| !group.is_empty());
        groups
            .map(|(place, group)| (place, ColumnTest::OneOf(vec![words::clean(&group)])))
            .map(|test| placed(value, test))
            .collect()
    };
    let patterned = |value: &String| -> Vec<Predicate> {
        let groups = (0..).zip(value.split('=').take(3).map(name_pattern));
        let groups = groups.filter(|(_, pattern)| !pattern.is_anything());
        groups
            .map(|(place, pattern)| (place, ColumnTest::Matches(pattern)))
            .map(|test| placed(value, test))
            .collect()
    };
    let (breadth, any) = match matching {
        Matching::Single(value) => (Selectivity::Narrow, vec![whole(value)]),
        Matching::AnyOf(values) => (Selectivity::Narrow, values.iter().map(whole).collect()),
        Matching::Wildcard(text) => (Selectivity::Broad, vec![patterned(text)]),
        Matching::AnyWildcard(texts) => (Selectivity::Broad, texts.iter().map(patterned).collect()),
        Matching::Words(words) => {
            let normalized: Vec<String> = words.iter().map(|word| normalize::text(word)).collect();
            let words = normalized
                .iter()
                .map(String::as_str)
                .filter(|word| !word.is_empty());
            let pattern = Pattern::words(words.take(words::MAX_WORDS));
            let asked = (!pattern.is_anything()).then(|| Predicate {
                source: word_source,
                tests: vec![(word, ColumnTest::Matches(pattern))],
            });
            (Selectivity::Broad, vec![asked.into_iter().collect()])
        }
        Matching::Empty => (
            Selectivity::Unindexed,
            vec![vec![name_check(ColumnTest::Empty)]],
        ),
        _ => return None,
    };
    if any.iter().any(Vec::is_empty) {
        // A value of nothing but delimiters asks for nothing.
        return Some(NormalizedCondition {
            breadth,
            any: Vec::new(),
        });
    }
    Some(NormalizedCondition { breadth, any })
}

/// A pattern over one folded group; delimiters at the end are not part of what is stored.
fn name_pattern(group: &str) -> Pattern {
    let fold_components = |text: &str| {
        let parts: Vec<String> = text.split('^').map(normalize::text).collect();
        parts.join("^")
    };
    Pattern::parse(group.trim_end_matches('^'), fold_components)
}

const TEXT: Col = column_of("query_tag_value", "text");
const NORMALIZED: Col = normalized_column(TEXT);
const NUMBER: Col = column_of("query_tag_value", "number");
const PART: Col = column_of("query_tag_value", "part");

/// The term of a condition on the attribute of a tag that is ready.
fn tag_term(
    condition: &Condition,
    level: QueryLevel,
    tags: &[TagRow],
) -> Option<NormalizedCondition> {
    let fits = |row: &&TagRow| {
        row.status == TagStatus::Ready
            && row.tag.level <= level
            && row.tag.tag_path() == condition.path
    };
    let row = tags.iter().find(fits)?;
    let place = |words| TermSource::Tag {
        id: row.id,
        level: row.tag.level,
        words,
    };
    let values = |values: &[String]| match row.tag.vr {
        vr if is_number(vr) => {
            let numbers = values.iter().filter_map(|value| value.trim().parse().ok());
            vec![(NUMBER, ColumnTest::Reals(numbers.collect()))]
        }
        VR::DA | VR::TM | VR::DT => {
            let stored = values
                .iter()
                .filter_map(|value| temporal::stored(row.tag.vr, value));
            vec![(NORMALIZED, ColumnTest::OneOf(stored.collect()))]
        }
        _ => whole_values(TEXT, true, values, condition.case),
    };
    let text = !is_number(row.tag.vr) && !matches!(row.tag.vr, VR::DA | VR::TM | VR::DT);
    let tests: Vec<Vec<(Col, ColumnTest)>> = match &condition.matching {
        matching if row.tag.vr == VR::PN => {
            return name_term(
                (place(false), NORMALIZED),
                (place(true), NORMALIZED),
                matching,
            );
        }
        Matching::Single(value) => vec![values(std::slice::from_ref(value))],
        Matching::AnyOf(list) => vec![values(list)],
        Matching::Number(number) if is_number(row.tag.vr) => {
            vec![vec![(NUMBER, ColumnTest::Reals(vec![*number]))]]
        }
        Matching::Range { from, to } if !text && !is_number(row.tag.vr) => {
            vec![vec![(
                NORMALIZED,
                ColumnTest::Range(from.clone(), to.clone()),
            )]]
        }
        Matching::Wildcard(pattern) if text => {
            vec![pattern_tests(TEXT, true, pattern, condition.case)]
        }
        Matching::AnyWildcard(patterns) if text => patterns
            .iter()
            .map(|pattern| pattern_tests(TEXT, true, pattern, condition.case))
            .collect(),
        Matching::Empty => vec![vec![(TEXT, ColumnTest::Empty)]],
        _ => return None,
    };
    let check = |tests| {
        vec![Predicate {
            source: place(false),
            tests,
        }]
    };
    let absent = condition.matching == Matching::Empty;
    Some(NormalizedCondition {
        breadth: if absent {
            Selectivity::Unindexed
        } else {
            Selectivity::Broad
        },
        any: tests.into_iter().map(check).collect(),
    })
}
