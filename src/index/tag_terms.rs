//! Conditions on extended query tags.

use dicom_core::VR;

use super::predicate::{
    Col, ColumnTest, NormalizedCondition, Predicate, Selectivity, TermSource, column_of,
    normalized_column,
};
use super::tag_values::is_number;
use super::tags_model::{TagRow, TagStatus};
use super::text_terms::{name_term, pattern_tests, whole_values};
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Condition, Matching};
use crate::dicom::temporal;

const TEXT: Col = column_of("query_tag_value", "text");
const NORMALIZED: Col = normalized_column(TEXT);
const NUMBER: Col = column_of("query_tag_value", "number");

/// The term of a condition on the attribute of a tag that is ready.
pub(super) fn tag_term(
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
