//! Conditions of a query as terms over the columns of the index.
//!
//! Invariant: a condition either becomes a term that decides it exactly, or [`indexed`] says no and the caller matches
//! it in the JSON.

use super::level_values;
use super::level_values::{has_norm, name_kind};
use super::predicate::{
    Col, ColumnTest, NormalizedCondition, Predicate, Selectivity, TermSource, column_of,
};
use super::tag_terms::tag_term;
use super::tags_model::TagRow;
use super::text_terms::{NAME, WORD, name_term, pattern_tests, whole_values};
use crate::dicom::attributes::{AttributeKey, ColumnSearch, QueryLevel, key};
use crate::dicom::query::{Case, Condition, Matching};
use crate::dicom::temporal;

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
        Matching::Single(value) => {
            ColumnTest::Numbers(level_values::number(value).into_iter().collect())
        }
        Matching::AnyOf(values) => ColumnTest::Numbers(
            values
                .iter()
                .filter_map(|v| level_values::number(v))
                .collect(),
        ),
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
