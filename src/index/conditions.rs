//! Checks and tests of a search as SQL.
//!
//! Invariant: column names come from the key table and from here, values are bound.

use super::pattern::behind;
use super::predicate::{Col, ColumnTest, Predicate, TermSource};
use super::sql::{Dialect, Statement};
use super::tag_values::WORDS;
use crate::dicom::attributes::QueryLevel;

/// Appends one check.
pub(super) fn push_check<D: Dialect>(
    sql: &mut Statement<D>,
    check: &Predicate,
    part: Conjunct,
    partition: i64,
    trigrams: bool,
) {
    let Some((outer, inner, table, name)) = table_of(check.source) else {
        return push_row_tests(sql, check, part);
    };
    let absent = check
        .tests
        .iter()
        .any(|(_, test)| *test == ColumnTest::Empty);
    let drives = part == Conjunct::Drives && !absent;
    if absent {
        sql.push("not ");
    }
    if drives {
        sql.push(outer).push(" in (select ").push(inner);
        push_entries(sql, check, partition, trigrams);
        sql.push(")");
    } else {
        sql.push("exists (select 1 from ")
            .push(table)
            .push(" where ");
        sql.push(name).push(".").push(inner).push(" = ").push(outer);
        push_entry_tests(sql, check, name, false);
        // The offset keeps Postgres from turning a look per row into a join with everything.
        sql.push(" limit 1 offset 0)");
    }
}

/// Column of the row that is looked for, the column that names it, table with its alias, and alias of what a source looks in;
/// none for the row itself.
fn table_of(
    source: TermSource,
) -> Option<(&'static str, &'static str, &'static str, &'static str)> {
    Some(match source {
        TermSource::Row(_) => return None,
        TermSource::Name(_) => ("study.id", "study_row", "study_name", "study_name"),
        TermSource::Word(_) => (
            "study.id",
            "study_row",
            "study_name_word",
            "study_name_word",
        ),
        TermSource::SeriesOfStudy => ("study.id", "study_row", "series as of_study", "of_study"),
        TermSource::Tag { level, .. } => match level {
            QueryLevel::Study => (
                "study.id",
                "study_row",
                "query_tag_value",
                "query_tag_value",
            ),
            QueryLevel::Series => (
                "series.id",
                "series_row",
                "query_tag_value",
                "query_tag_value",
            ),
            QueryLevel::Instance => (
                "instance.watermark",
                "watermark",
                "query_tag_value",
                "query_tag_value",
            ),
        },
    })
}

/// Appends ` from … where …`: the rows of a source's table that a check finds by themselves, through its index.
pub(super) fn push_entries<D: Dialect>(
    sql: &mut Statement<D>,
    check: &Predicate,
    partition: i64,
    trigrams: bool,
) {
    let Some((_, _, table, name)) = table_of(check.source) else {
        return;
    };
    sql.push(" from ").push(table);
    sql.push(" where partition = ").int(partition);
    push_entry_tests(sql, check, name, trigrams);
}

/// Appends the tests of a check on the rows of its source's table.
fn push_entry_tests<D: Dialect>(
    sql: &mut Statement<D>,
    check: &Predicate,
    name: &'static str,
    trigrams: bool,
) {
    push_source(sql, check.source);
    for (col, test) in &check.tests {
        if *test != ColumnTest::Empty {
            sql.push(" and ");
            let col = Col {
                table: name,
                ..*col
            };
            push_test(sql, col, test, trigrams);
        }
    }
}

fn push_row_tests<D: Dialect>(sql: &mut Statement<D>, check: &Predicate, part: Conjunct) {
    for (i, (col, test)) in check.tests.iter().enumerate() {
        if i > 0 {
            sql.push(" and ");
        }
        let hidden = part == Conjunct::Tests
            && !matches!(test, ColumnTest::Numbers(_) | ColumnTest::Reals(_));
        push_test(sql, Col { hidden, ..*col }, test, false);
    }
}

/// Appends which rows of a source's table belong to it.
pub(super) fn push_source<D: Dialect>(sql: &mut Statement<D>, source: TermSource) {
    match source {
        TermSource::Name(kind) | TermSource::Word(kind) => {
            sql.push(" and kind = ").int(kind);
        }
        TermSource::Tag { id, words, .. } => {
            sql.push(" and tag = ").int(id);
            sql.push(if words {
                " and part >= "
            } else {
                " and part < "
            })
            .int(WORDS);
        }
        TermSource::Row(_) | TermSource::SeriesOfStudy => {}
    }
}

/// Appends a column.
pub(super) fn push_col<D: Dialect>(sql: &mut Statement<D>, col: Col) {
    sql.push(if col.hidden { "(" } else { "" });
    sql.push(col.table)
        .push(".")
        .push(col.name)
        .push(col.suffix);
    // An expression has no index.
    sql.push(if col.hidden { " || '')" } else { "" });
}

/// Appends a test of a column; `trigrams` allows the trigram index of names.
pub(super) fn push_test<D: Dialect>(
    sql: &mut Statement<D>,
    col: Col,
    test: &ColumnTest,
    trigrams: bool,
) {
    match test {
        ColumnTest::OneOf(values) if values.is_empty() => {
            sql.push("1 = 0");
        }
        ColumnTest::Numbers(values) if values.is_empty() => {
            sql.push("1 = 0");
        }
        ColumnTest::Reals(values) if values.is_empty() => {
            sql.push("1 = 0");
        }
        ColumnTest::OneOf(values) => {
            push_col(sql, col);
            match values.as_slice() {
                [value] => sql.push(" = ").text(value),
                values => sql.push(" in ").texts(values.iter().map(String::as_str)),
            };
        }
        ColumnTest::Numbers(values) => {
            push_col(sql, col);
            match values.as_slice() {
                [value] => sql.push(" = ").int(*value),
                values => sql.push(" in ").ints(values.iter().copied()),
            };
        }
        ColumnTest::Reals(values) => {
            push_col(sql, col);
            sql.push(" in ").list(values, |sql, value| {
                sql.opt_float(Some(*value));
            });
        }
        ColumnTest::Range(from, to) => push_range(sql, col, from.as_deref(), to.as_deref()),
        ColumnTest::Matches(pattern) => {
            let prefix = pattern.prefix();
            if prefix.is_empty() {
                return D::push_contains(sql, col, pattern, trigrams);
            }
            sql.push("(");
            push_col(sql, col);
            sql.push(" >= ").text(prefix);
            if let Some(end) = behind(prefix) {
                sql.push(" and ");
                push_col(sql, col);
                sql.push(" < ").text(&end);
            }
            if !pattern.is_prefix() {
                sql.push(" and ");
                push_col(sql, col);
                D::push_matches(sql, pattern);
            }
            sql.push(")");
        }
        ColumnTest::Empty => {
            push_col(sql, col);
            sql.push(" is null");
        }
        ColumnTest::Moment { time, from, to } => {
            push_moment(sql, col, *time, from.as_ref(), to.as_ref())
        }
    }
}

fn push_range<D: Dialect>(sql: &mut Statement<D>, col: Col, from: Option<&str>, to: Option<&str>) {
    push_col(sql, col);
    match (from, to) {
        (Some(from), Some(to)) => sql.push(" between ").text(from).push(" and ").text(to),
        (Some(from), None) => sql.push(" >= ").text(from),
        (None, Some(to)) => sql.push(" <= ").text(to),
        (None, None) => sql.push(" is not null"),
    };
}

/// Appends the test of date and time as one moment; on the first and last day a missing time is as good as any.
fn push_moment<D: Dialect>(
    sql: &mut Statement<D>,
    date: Col,
    time: Col,
    from: Option<&(String, String)>,
    to: Option<&(String, String)>,
) {
    sql.push("(");
    push_range(
        sql,
        date,
        from.map(|f| f.0.as_str()),
        to.map(|t| t.0.as_str()),
    );
    for (bound, beyond, within) in [(from, " > ", " >= "), (to, " < ", " <= ")] {
        if let Some((bound_date, bound_time)) = bound {
            sql.push(" and (");
            push_col(sql, date);
            sql.push(beyond).text(bound_date).push(" or ");
            push_col(sql, time);
            sql.push(" is null or ");
            push_col(sql, time);
            sql.push(within).text(bound_time).push(")");
        }
    }
    sql.push(")");
}

/// How a term takes part in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conjunct {
    /// Its index finds the rows.
    Drives,
    /// It is tested on rows found otherwise, and its index must not tempt the planner.
    Tests,
}
