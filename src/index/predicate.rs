//! What a statement tests: columns, tests of them, and how much they find.

use super::pattern::Pattern;
use crate::dicom::attributes::QueryLevel;

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
pub(super) const fn column_of(table: &'static str, name: &'static str) -> Col {
    Col {
        table,
        name,
        suffix: "",
        hidden: false,
    }
}

/// The folded twin of a column.
pub(super) const fn normalized_column(col: Col) -> Col {
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
