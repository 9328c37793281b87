//! The one search builder: the statement of a page.
//!
//! Invariant: whatever the way, the statement finds the same rows in the same order.

use super::conditions::{Conjunct, push_check, push_entries};
use super::model::{MAX_ROW_BYTES, Position};
use super::predicate::{ColumnTest, NormalizedCondition, Predicate, Selectivity, TermSource};
use super::scoping::{push_scope, push_visible};
use super::sql::{Dialect, Statement};
use super::tags_model::TagRow;
use super::terms::terms;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Order, Query};
use crate::scope::{Scope, Visible};

/// How the rows of a page are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessPath {
    /// Along the order of results, testing each row.
    Order,
    /// Like [`AccessPath::Order`], but no further than so many rows.
    Window(i64),
    /// Through indexes: that of one broad term, or those of the narrow terms and of the path. The matches are sorted.
    Index(Option<usize>),
}

/// One search, ready to be written as SQL.
pub(super) struct Lookup<'q> {
    /// Who asks.
    pub(super) scope: &'q Scope,
    /// What is asked.
    pub(super) query: &'q Query,
    /// Its conditions that have an index or a column.
    pub(super) terms: Vec<NormalizedCondition>,
    before: Option<&'q Position>,
    trigrams: bool,
}

impl<'q> Lookup<'q> {
    /// Takes a query apart.
    pub(super) fn new(
        scope: &'q Scope,
        query: &'q Query,
        tags: &[TagRow],
        before: Option<&'q Position>,
        trigrams: bool,
    ) -> Self {
        Self {
            scope,
            query,
            terms: terms(&query.conditions, query.level, tags),
            before,
            trigrams,
        }
    }

    /// Whether a check may use the trigram index of names.
    pub(super) fn may_use_trigrams(&self, check: &Predicate) -> bool {
        self.trigrams && matches!(check.source, TermSource::Name(_))
    }

    /// Appends the statement for a page.
    pub(super) fn push_statement<D: Dialect>(
        &self,
        sql: &mut Statement<D>,
        way: AccessPath,
        most_bytes: usize,
    ) {
        let by_name = self.by_name_alone(way).is_some();
        if by_name {
            sql.push("with page as (select study_row as id");
        } else {
            push_page(sql, self.query.level, self.query.order);
        }
        self.push_rows(sql, way);
        if by_name {
            sql.push(" order by study_row + 0 desc");
        } else if let Some(order) = self.query.order {
            let along = self.keeps_order(way);
            sql.push(" order by ").push(D::sort_key(order.by));
            // Not the bare expression and column: see below.
            sql.push(if along { "" } else { " || ''" });
            sql.push(direction(order)).push(", study.id");
            sql.push(if along { "" } else { " + 0" });
            sql.push(direction(order));
        } else {
            sql.push(self.arrival(way));
        }
        let limit = self.query.limit.unwrap_or(u64::MAX).saturating_add(1);
        sql.limit(clamp(limit));
        sql.push(" offset ").int(clamp(self.query.offset)).push(")");
        push_answer(sql, (self.query.level, self.query.order), most_bytes);
    }

    /// The order of arrival.
    fn arrival(&self, way: AccessPath) -> &'static str {
        match (self.query.level, self.keeps_order(way)) {
            (QueryLevel::Study, true) => " order by study.id desc",
            (QueryLevel::Series, true) => " order by series.id desc",
            (QueryLevel::Instance, true) => " order by instance.watermark desc",
            // Not the bare column: the database would walk along the order in the hope of meeting matches early.
            (QueryLevel::Study, false) => " order by study.id + 0 desc",
            (QueryLevel::Series, false) => " order by series.id + 0 desc",
            (QueryLevel::Instance, false) => " order by instance.watermark + 0 desc",
        }
    }

    /// Whether keys that are equal to one value find the rows, or the order of arrival, so that one way is right for all
    /// values.
    pub(super) fn is_by_key(&self) -> bool {
        let equals = |term: &NormalizedCondition| {
            let mut checks = term.any.iter().flatten();
            term.breadth == Selectivity::Narrow
                && checks.all(|check| check.tests.iter().all(|(_, test)| one_value(test)))
        };
        self.scope.visible == Visible::All
            && self.query.order.is_none()
            && self.terms.iter().all(equals)
    }

    /// Whether the index that serves the terms yields the order of results by itself.
    fn keeps_order(&self, way: AccessPath) -> bool {
        let one_value_of_own = |term: &NormalizedCondition| {
            let checks = term.any.iter().flatten();
            let mut tests = checks.flat_map(|check| {
                let own = check.source == TermSource::Row(self.query.level);
                check
                    .tests
                    .iter()
                    .map(move |(_, test)| own && one_value(test))
            });
            term.breadth == Selectivity::Narrow && tests.all(|one| one)
        };
        let path = self.query.study.is_some() && self.query.level != QueryLevel::Study;
        match way {
            AccessPath::Order | AccessPath::Window(_) => true,
            AccessPath::Index(_) if self.query.order.is_some() => false,
            AccessPath::Index(_) if self.terms.is_empty() => path,
            AccessPath::Index(_) => {
                !path
                    && self.scope.visible == Visible::All
                    && self.terms.iter().any(one_value_of_own)
            }
        }
    }

    /// The one test of a search for names and nothing else: their index has the ids of the studies, so no study has to be
    /// read to sort the matches.
    pub(super) fn lone_name(&self) -> Option<&Predicate> {
        let query = self.query;
        let [term] = self.terms.as_slice() else {
            return None;
        };
        let [alternative] = term.any.as_slice() else {
            return None;
        };
        let [check] = alternative.as_slice() else {
            return None;
        };
        let is_named = matches!(check.source, TermSource::Name(_) | TermSource::Word(_))
            && term.breadth == Selectivity::Broad
            && !check
                .tests
                .iter()
                .any(|(_, test)| *test == ColumnTest::Empty);
        let is_plain = query.level == QueryLevel::Study
            && query.study.is_none()
            && query.order.is_none()
            && self.scope.visible == Visible::All;
        (is_named && is_plain).then_some(check)
    }

    /// The test of [`Self::lone_name`] when its index finds the rows.
    fn by_name_alone(&self, way: AccessPath) -> Option<&Predicate> {
        let by_index = matches!(way, AccessPath::Index(Some(_)));
        self.lone_name().filter(|_| by_index)
    }

    /// Appends `from … where …`: the rows that match.
    pub(super) fn push_rows<D: Dialect>(&self, sql: &mut Statement<D>, way: AccessPath) {
        if let Some(check) = self.by_name_alone(way) {
            let trigrams = self.may_use_trigrams(check);
            push_entries(sql, check, self.scope.partition.0, trigrams);
            if let Some(before) = self.before {
                sql.push(" and study_row < ").int(before.id);
            }
            // A study has several names.
            sql.push(" group by study_row");
            return;
        }
        if let AccessPath::Window(size) = way {
            self.push_window(sql, size);
        } else {
            sql.push(match self.query.level {
                QueryLevel::Study => " from study",
                QueryLevel::Series => " from series join study on study.id = series.study_row",
                QueryLevel::Instance => {
                    " from instance join series on series.id = instance.series_row \
                     join study on study.id = instance.study_row"
                }
            });
        }
        sql.push(" where 1 = 1 and ");
        let along = way == AccessPath::Order && self.query.order.is_some();
        if !along && !self.enters_by_row(way) {
            sql.push(D::PLAIN);
        }
        sql.push("study.partition = ").int(self.scope.partition.0);
        push_visible(sql, &self.scope.visible);
        if self.query.level != QueryLevel::Study && way == AccessPath::Order {
            // The joined study says the same; this one is in the row at hand.
            sql.push(" and ").push(D::PLAIN);
            sql.push(match self.query.level {
                QueryLevel::Series => "series.partition = ",
                QueryLevel::Study | QueryLevel::Instance => "instance.partition = ",
            });
            sql.int(self.scope.partition.0);
        }
        if let Some(study) = &self.query.study {
            sql.push(" and study.study_uid = ").text(study.as_str());
        }
        if let (Some(series), true) = (&self.query.series, self.query.level != QueryLevel::Study) {
            sql.push(" and series.series_uid = ").text(series.as_str());
        }
        if let Some(before) = self
            .before
            .filter(|_| !matches!(way, AccessPath::Window(_)))
        {
            self.push_before(sql, before, way == AccessPath::Order);
        }
        for (at, term) in self.terms.iter().enumerate() {
            let part = match way {
                AccessPath::Index(Some(driver)) if driver == at => Conjunct::Drives,
                AccessPath::Index(None) if term.breadth == Selectivity::Narrow => Conjunct::Drives,
                AccessPath::Order | AccessPath::Window(_) | AccessPath::Index(_) => Conjunct::Tests,
            };
            sql.push(" and ");
            self.push_term(sql, term, part);
        }
    }

    /// Whether rows are found through an index of study, series or instance, which begins with the partition.
    fn enters_by_row(&self, way: AccessPath) -> bool {
        let by_row = |term: &NormalizedCondition| {
            let mut checks = term.any.iter().flatten();
            checks.any(|check| matches!(check.source, TermSource::Row(_)))
        };
        match way {
            AccessPath::Order | AccessPath::Window(_) => false,
            AccessPath::Index(Some(driver)) => self.terms.get(driver).is_some_and(by_row),
            AccessPath::Index(None) => {
                let narrow = |term: &&NormalizedCondition| term.breadth == Selectivity::Narrow;
                self.terms.iter().filter(narrow).any(by_row)
            }
        }
    }

    fn push_term<D: Dialect>(
        &self,
        sql: &mut Statement<D>,
        term: &NormalizedCondition,
        part: Conjunct,
    ) {
        sql.push("(");
        for (i, alternative) in term.any.iter().enumerate() {
            sql.push(if i > 0 { " or (" } else { "(" });
            for (j, check) in alternative.iter().enumerate() {
                if j > 0 {
                    sql.push(" and ");
                }
                let partition = self.scope.partition.0;
                push_check(sql, check, part, partition, self.may_use_trigrams(check));
            }
            sql.push(")");
        }
        sql.push(")");
    }

    /// Appends what holds of the rows behind a place; `along` when the index of the order finds them.
    fn push_before<D: Dialect>(&self, sql: &mut Statement<D>, before: &Position, along: bool) {
        if let Some(order) = self.query.order {
            sql.push(" and (").push(D::sort_key(order.by));
            sql.push(if along { "" } else { " || ''" });
            sql.push(if along {
                ", study.id) "
            } else {
                ", study.id + 0) "
            });
            sql.push(if order.descending { "< (" } else { "> (" });
            sql.text(before.key.as_deref().unwrap_or_default());
            sql.push(", ").int(before.id).push(")");
            return;
        }
        sql.push(match self.query.level {
            QueryLevel::Study => " and study.id < ",
            QueryLevel::Series => " and series.id < ",
            QueryLevel::Instance => " and instance.watermark < ",
        });
        sql.int(before.id);
    }

    /// Appends `from` with the newest rows under the name of their table.
    fn push_window<D: Dialect>(&self, sql: &mut Statement<D>, size: i64) {
        let (open, order, close) = match self.query.level {
            QueryLevel::Study => (
                (" from (select * from study where ", "study.partition = "),
                " order by study.id desc",
                ") as study",
            ),
            QueryLevel::Series => (
                (" from (select * from series where ", "series.partition = "),
                " order by series.id desc",
                ") as series join study on study.id = series.study_row",
            ),
            QueryLevel::Instance => (
                (
                    " from (select * from instance where ",
                    "instance.partition = ",
                ),
                " order by instance.watermark desc",
                ") as instance join series on series.id = instance.series_row \
                 join study on study.id = instance.study_row",
            ),
        };
        let (open, partition) = open;
        sql.push(open);
        if self.query.order.is_none() {
            sql.push(D::PLAIN);
        }
        sql.push(partition);
        sql.int(self.scope.partition.0);
        if let Some(before) = self.before {
            self.push_before(sql, before, true);
        }
        match self.query.order {
            Some(own) => {
                sql.push(" order by ").push(D::sort_key(own.by));
                sql.push(direction(own)).push(", study.id");
                sql.push(direction(own))
            }
            None => sql.push(order),
        };
        sql.limit(size).push(close);
    }
}

/// Appends the beginning of a statement whose page holds the ids of rows of a level, and what they are sorted by.
fn push_page<D: Dialect>(sql: &mut Statement<D>, level: QueryLevel, order: Option<Order>) {
    sql.push(match level {
        QueryLevel::Study => "with page as (select study.id as id",
        QueryLevel::Series => "with page as (select series.id as id",
        QueryLevel::Instance => "with page as (select instance.watermark as id",
    });
    if let Some(order) = order {
        let by = D::sort_key(order.by);
        sql.push(", ").push(by).push(" as sorted_by");
    }
}

const fn direction(order: Order) -> &'static str {
    if order.descending { " desc" } else { " asc" }
}

/// A statement for rows by their positions, as far as the scope has them.
pub(super) fn of_positions<D: Dialect>(
    scope: &Scope,
    (level, order): (QueryLevel, Option<Order>),
    positions: &[i64],
    most_bytes: usize,
) -> Statement<D> {
    let mut sql = Statement::<D>::new("");
    push_page(&mut sql, level, order);
    sql.push(match level {
        QueryLevel::Study => " from study where study.id in ",
        QueryLevel::Series => {
            " from series join study on study.id = series.study_row where series.id in "
        }
        QueryLevel::Instance => {
            " from instance join study on study.id = instance.study_row where instance.watermark in "
        }
    });
    sql.ints(positions.iter().copied());
    push_scope(&mut sql, scope);
    sql.push(")");
    push_answer(&mut sql, (level, order), most_bytes);
    sql
}

/// Appends what is read of the rows of `page`: the first of them, as long as they are not too long together.
fn push_answer<D: Dialect>(
    sql: &mut Statement<D>,
    (level, order): (QueryLevel, Option<Order>),
    most_bytes: usize,
) {
    let push_order = |sql: &mut Statement<D>| match order {
        Some(order) => {
            sql.push(" order by page.sorted_by").push(direction(order));
            sql.push(", page.id").push(direction(order));
        }
        None => {
            sql.push(" order by page.id desc");
        }
    };
    let (bytes, tables) = match level {
        QueryLevel::Study => (
            "octet_length(study.attributes)",
            " join study on study.id = page.id",
        ),
        QueryLevel::Series => (
            "(octet_length(study.attributes) + octet_length(series.attributes))",
            " join series on series.id = page.id join study on study.id = series.study_row",
        ),
        QueryLevel::Instance => (
            "(octet_length(study.attributes) + octet_length(series.attributes) \
             + octet_length(instance.attributes))",
            " join instance on instance.watermark = page.id \
             join series on series.id = instance.series_row join study on study.id = instance.study_row",
        ),
    };
    // Lengths are known without the texts, so rows that are not read cost no memory.
    sql.push(", sized as (select page.id as id, count(*) over () as listed, ");
    sql.push(if order.is_some() {
        "page.sorted_by as sorted_by, "
    } else {
        ""
    });
    sql.push(bytes).push(" as bytes, sum(").push(bytes);
    sql.push(") over (");
    push_order(sql);
    sql.push(") - ")
        .push(bytes)
        .push(" as ahead from page")
        .push(tables);
    sql.push(") select page.id as position, page.listed, ");
    sql.push(if order.is_some() {
        "page.sorted_by, "
    } else {
        ""
    });
    sql.push("study.study_uid, study.modalities, study.series_count, study.instance_count");
    let most = bytes_of(MAX_ROW_BYTES);
    let attributes = |sql: &mut Statement<D>, column: &'static str, name: &'static str| {
        sql.push(", case when page.bytes <= ").int(most);
        sql.push(" then ").push(column).push(name);
    };
    attributes(sql, "study.attributes", " end as study_attributes");
    if level >= QueryLevel::Series {
        sql.push(", series.series_uid, series.instance_count as series_instances");
        attributes(sql, "series.attributes", " end as series_attributes");
    }
    if level == QueryLevel::Instance {
        sql.push(", instance.sop_instance_uid");
        attributes(sql, "instance.attributes", " end as instance_attributes");
    }
    sql.push(match level {
        QueryLevel::Study => ", study.newest",
        QueryLevel::Series => ", series.newest",
        QueryLevel::Instance => ", instance.watermark as newest",
    });
    sql.push(" from sized as page").push(tables);
    sql.push(" where page.ahead < ").int(bytes_of(most_bytes));
    push_order(sql);
}

/// A number of bytes in the type of the databases.
fn bytes_of(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A number from outside in the type of the databases.
pub(super) fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn one_value(test: &ColumnTest) -> bool {
    match test {
        ColumnTest::OneOf(values) => values.len() == 1,
        ColumnTest::Numbers(values) => values.len() == 1,
        ColumnTest::Reals(_)
        | ColumnTest::Range(..)
        | ColumnTest::Matches(_)
        | ColumnTest::Empty
        | ColumnTest::Moment { .. } => false,
    }
}
