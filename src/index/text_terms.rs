//! Tests of texts: whole values, patterns, and names by their parts.

use super::pattern::Pattern;
use super::predicate::{
    Col, ColumnTest, NormalizedCondition, Predicate, Selectivity, TermSource, column_of,
    normalized_column,
};
use super::words;
use crate::dicom::normalize;
use crate::dicom::query::{Case, Matching};

pub(super) const NAME: Col = column_of("study_name", "text");
/// Which component group of a name a value of an extended query tag is.
pub(super) const PART: Col = column_of("query_tag_value", "part");
pub(super) const WORD: Col = column_of("study_name_word", "text");

/// Tests of a text column and its folded twin against whole values.
pub(super) fn whole_values(
    col: Col,
    norm: bool,
    values: &[String],
    case: Case,
) -> Vec<(Col, ColumnTest)> {
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
pub(super) fn pattern_tests(
    col: Col,
    norm: bool,
    text: &str,
    case: Case,
) -> Vec<(Col, ColumnTest)> {
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

/// The term of a name, given where its groups and where its word suffixes are.
pub(super) fn name_term(
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
pub(super) fn name_pattern(group: &str) -> Pattern {
    let fold_components = |text: &str| {
        let parts: Vec<String> = text.split('^').map(normalize::text).collect();
        parts.join("^")
    };
    Pattern::parse(group.trim_end_matches('^'), fold_components)
}
