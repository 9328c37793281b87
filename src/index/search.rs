//! The one search builder.
//!
//! Results come newest first. An index that narrows the rows to a page or so drives the search; when every term is
//! broad, the newest rows are looked at first, because they fill most pages; only then are all matches sorted. So the
//! time of a page depends on what is asked, not on how much is stored.
//!
//! Invariant: the order is total (row id, watermark) and the same in each of these ways.

use async_trait::async_trait;

use super::instances::push_scope;
use super::pattern::behind;
use super::sql::{Columns, Dialect, Driver, SqlIndex, Statement, failed};
use super::tag_values::WORDS;
use super::terms::{Breadth, Check, Col, Source, Term, Test, terms};
use super::{Found, Page, Result, Search, TagRow, WithMetadata};
use crate::dicom::keys::Level;
use crate::dicom::query::Query;
use crate::scope::{Scope, Visible};

/// Up to this many rows are sorted without further thought.
const FEW: i64 = 1000;

/// So many of the newest rows are looked at before all matches of broad terms are sorted.
const NEWEST: i64 = 2000;

#[async_trait]
impl<D: Dialect> Search for SqlIndex<D> {
    async fn search(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        with_metadata: WithMetadata,
        before: Option<i64>,
    ) -> Result<Page> {
        let search = Lookup::new(scope, query, tags, before, self.trigrams);
        let found = search.page(self, with_metadata).await;
        found.map_err(failed::<D>("a search"))
    }

    async fn count(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        ceiling: u64,
    ) -> Result<u64> {
        let search = Lookup::new(scope, query, tags, None, self.trigrams);
        let mut sql = Statement::<D>::new("select count(*) as counted from (select 1");
        search.push_rows(&mut sql, Way::Index);
        sql.push(" limit ")
            .int(clamp(ceiling))
            .push(") as matching");
        let rows = self.read("a search", sql).await?;
        let counted = rows.first().map_or(Ok(0), |row| row.int("counted"));
        let counted = counted.map_err(failed::<D>("a search"))?;
        Ok(u64::try_from(counted).unwrap_or(0))
    }

    async fn plan(&self, scope: &Scope, query: &Query, tags: &[TagRow]) -> Result<Vec<String>> {
        let search = Lookup::new(scope, query, tags, None, self.trigrams);
        let plans = search.plans(self).await;
        plans.map_err(failed::<D>("a plan"))
    }
}

/// How the rows of a page are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Along the order of results, testing each row.
    Order,
    /// Like [`Way::Order`], but no further than [`NEWEST`] rows.
    Window,
    /// Through the indexes of the terms; the matches are sorted.
    Index,
}

/// One search, ready to be written as SQL.
pub(super) struct Lookup<'q> {
    scope: &'q Scope,
    query: &'q Query,
    terms: Vec<Term>,
    before: Option<i64>,
    trigrams: bool,
}

impl<'q> Lookup<'q> {
    pub(super) fn new(
        scope: &'q Scope,
        query: &'q Query,
        tags: &[TagRow],
        before: Option<i64>,
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

    async fn page<D: Dialect>(
        &self,
        index: &SqlIndex<D>,
        with_metadata: WithMetadata,
    ) -> Driver<Page> {
        let mut connection = index.readers.acquire().await?;
        let way = self.way::<D>(&mut connection).await?;
        let wanted =
            usize::try_from(clamp(self.query.limit.unwrap_or(u64::MAX))).unwrap_or(usize::MAX);
        let mut rows = self
            .statement::<D>(way, with_metadata)
            .rows(&mut connection)
            .await?;
        if way == Way::Window && rows.len() <= wanted {
            rows = self
                .statement::<D>(Way::Index, with_metadata)
                .rows(&mut connection)
                .await?;
        }
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        let rows = rows
            .iter()
            .map(|row| self.found(row))
            .collect::<Driver<_>>()?;
        Ok(Page { rows, more })
    }

    async fn plans<D: Dialect>(&self, index: &SqlIndex<D>) -> Driver<Vec<String>> {
        let mut connection = index.readers.acquire().await?;
        let ways = match self.way::<D>(&mut connection).await? {
            Way::Window => vec![Way::Window, Way::Index],
            way => vec![way],
        };
        let mut plans = Vec::new();
        for way in ways {
            let mut sql = Statement::<D>::new(D::EXPLAIN.0);
            self.push_statement(&mut sql, way, WithMetadata::No);
            let rows = sql.rows(&mut connection).await?;
            let lines = rows.iter().map(|row| row.text(D::EXPLAIN.1));
            plans.push(lines.collect::<Driver<Vec<String>>>()?.join("\n"));
        }
        Ok(plans)
    }

    /// Chooses the way by what the terms leave over.
    async fn way<D: Dialect>(&self, connection: &mut D::Connection) -> Driver<Way> {
        let indexed = |term: &&Term| term.breadth != Breadth::Unindexed;
        let narrow = self
            .terms
            .iter()
            .any(|term| term.breadth == Breadth::Narrow);
        if narrow || self.query.study.is_some() || !matches!(self.scope.visible, Visible::All) {
            return Ok(Way::Index);
        }
        let mut broad = self.terms.iter().filter(indexed).peekable();
        if broad.peek().is_none() {
            return Ok(Way::Order);
        }
        for term in broad {
            if self.rows_of::<D>(term, connection).await? < FEW {
                return Ok(Way::Index);
            }
        }
        Ok(Way::Window)
    }

    /// How many index entries a term has, counted no further than [`FEW`].
    async fn rows_of<D: Dialect>(
        &self,
        term: &Term,
        connection: &mut D::Connection,
    ) -> Driver<i64> {
        let mut most = 0;
        for alternative in &term.any {
            let mut least = FEW;
            for check in alternative {
                let mut sql =
                    Statement::<D>::new("select count(*) as counted from (select 1 from ");
                sql.push(match check.source {
                    Source::Row(Level::Study) => "study",
                    Source::Row(Level::Series) | Source::SeriesOfStudy => "series",
                    Source::Row(Level::Instance) => "instance",
                    Source::Name(_) => "study_name",
                    Source::Word(_) => "study_name_word",
                    Source::Tag { .. } => "query_tag_value",
                });
                sql.push(" where partition = ").int(self.scope.partition.0);
                push_source(&mut sql, check.source);
                // The folded twin alone: only it is in the index.
                for (col, test) in check.tests.iter().take(1) {
                    sql.push(" and ");
                    push_test(&mut sql, *col, test, self.may_use_trigrams(check));
                }
                sql.push(" limit ").int(FEW).push(") as matching");
                let row = sql.row(connection).await?;
                let counted = row.map_or(Ok(0), |row| row.int("counted"))?;
                least = least.min(counted);
            }
            most += least;
        }
        Ok(most)
    }

    /// The statement for a page.
    pub(super) fn statement<D: Dialect>(
        &self,
        way: Way,
        with_metadata: WithMetadata,
    ) -> Statement<D> {
        let mut sql = Statement::<D>::new("");
        self.push_statement(&mut sql, way, with_metadata);
        sql
    }

    fn push_statement<D: Dialect>(
        &self,
        sql: &mut Statement<D>,
        way: Way,
        with_metadata: WithMetadata,
    ) {
        sql.push(match self.query.level {
            Level::Study => "with page as (select study.id as id",
            Level::Series => "with page as (select series.id as id",
            Level::Instance => "with page as (select instance.watermark as id",
        });
        self.push_rows(sql, way);
        sql.push(match (self.query.level, self.keeps_order(way)) {
            (Level::Study, true) => " order by study.id desc",
            (Level::Series, true) => " order by series.id desc",
            (Level::Instance, true) => " order by instance.watermark desc",
            // Not the bare column: the database would walk along the order in the hope of meeting matches early.
            (Level::Study, false) => " order by study.id + 0 desc",
            (Level::Series, false) => " order by series.id + 0 desc",
            (Level::Instance, false) => " order by instance.watermark + 0 desc",
        });
        let limit = self.query.limit.unwrap_or(u64::MAX).saturating_add(1);
        sql.push(" limit ").int(clamp(limit));
        sql.push(" offset ").int(clamp(self.query.offset)).push(")");
        self.push_answer(sql, with_metadata);
    }

    /// Whether the index that serves the terms yields the order of results by itself.
    fn keeps_order(&self, way: Way) -> bool {
        let equality = |term: &Term| {
            let checks = term.any.iter().flatten();
            let mut tests = checks.flat_map(|check| {
                let own = check.source == Source::Row(self.query.level);
                check
                    .tests
                    .iter()
                    .map(move |(_, test)| own && one_value(test))
            });
            term.breadth == Breadth::Narrow && tests.all(|one| one)
        };
        let path = self.query.study.is_some() && self.query.level != Level::Study;
        match way {
            Way::Order | Way::Window => true,
            Way::Index if self.terms.is_empty() => path,
            Way::Index => {
                !path
                    && matches!(self.scope.visible, Visible::All)
                    && self.terms.iter().any(equality)
            }
        }
    }

    /// Appends `from … where …`: the rows that match.
    fn push_rows<D: Dialect>(&self, sql: &mut Statement<D>, way: Way) {
        if way == Way::Window {
            self.push_window(sql);
        } else {
            sql.push(match self.query.level {
                Level::Study => " from study",
                Level::Series => " from series join study on study.id = series.study_row",
                Level::Instance => {
                    " from instance join series on series.id = instance.series_row \
                     join study on study.id = instance.study_row"
                }
            });
        }
        sql.push(" where 1 = 1");
        push_scope(sql, self.scope);
        if self.query.level != Level::Study && way == Way::Order {
            // The joined study says the same; this one is in the row at hand.
            sql.push(match self.query.level {
                Level::Series => " and series.partition = ",
                Level::Study | Level::Instance => " and instance.partition = ",
            });
            sql.int(self.scope.partition.0);
        }
        if let Some(study) = &self.query.study {
            sql.push(" and study.study_uid = ").text(study.as_str());
        }
        if let (Some(series), true) = (&self.query.series, self.query.level != Level::Study) {
            sql.push(" and series.series_uid = ").text(series.as_str());
        }
        if let Some(before) = self.before.filter(|_| way != Way::Window) {
            self.push_before(sql, before);
        }
        for term in &self.terms {
            sql.push(" and ");
            self.push_term(sql, term, way);
        }
    }

    fn may_use_trigrams(&self, check: &Check) -> bool {
        self.trigrams && matches!(check.source, Source::Name(_))
    }

    fn push_before<D: Dialect>(&self, sql: &mut Statement<D>, before: i64) {
        sql.push(match self.query.level {
            Level::Study => " and study.id < ",
            Level::Series => " and series.id < ",
            Level::Instance => " and instance.watermark < ",
        });
        sql.int(before);
    }

    /// Appends `from` with the newest rows under the name of their table.
    fn push_window<D: Dialect>(&self, sql: &mut Statement<D>) {
        let (open, order, close) = match self.query.level {
            Level::Study => (
                " from (select * from study where study.partition = ",
                " order by study.id desc limit ",
                ") as study",
            ),
            Level::Series => (
                " from (select * from series where series.partition = ",
                " order by series.id desc limit ",
                ") as series join study on study.id = series.study_row",
            ),
            Level::Instance => (
                " from (select * from instance where instance.partition = ",
                " order by instance.watermark desc limit ",
                ") as instance join series on series.id = instance.series_row \
                 join study on study.id = instance.study_row",
            ),
        };
        sql.push(open).int(self.scope.partition.0);
        if let Some(before) = self.before {
            self.push_before(sql, before);
        }
        sql.push(order).int(NEWEST).push(close);
    }

    fn push_term<D: Dialect>(&self, sql: &mut Statement<D>, term: &Term, way: Way) {
        sql.push("(");
        for (i, alternative) in term.any.iter().enumerate() {
            sql.push(if i > 0 { " or (" } else { "(" });
            for (j, check) in alternative.iter().enumerate() {
                if j > 0 {
                    sql.push(" and ");
                }
                self.push_check(sql, check, way);
            }
            sql.push(")");
        }
        sql.push(")");
    }

    fn push_check<D: Dialect>(&self, sql: &mut Statement<D>, check: &Check, way: Way) {
        let (outer, inner, table) = match check.source {
            Source::Row(_) => return self.push_tests(sql, &check.tests),
            Source::Name(_) => ("study.id", "study_row", "study_name"),
            Source::Word(_) => ("study.id", "study_row", "study_name_word"),
            Source::SeriesOfStudy => ("study.id", "study_row", "series as of_study"),
            Source::Tag { level, .. } => match level {
                Level::Study => ("study.id", "study_row", "query_tag_value"),
                Level::Series => ("series.id", "series_row", "query_tag_value"),
                Level::Instance => ("instance.watermark", "watermark", "query_tag_value"),
            },
        };
        let absent = check.tests.iter().any(|(_, test)| *test == Test::Empty);
        if absent {
            sql.push("not ");
        }
        if way == Way::Index && !absent {
            sql.push(outer)
                .push(" in (select ")
                .push(inner)
                .push(" from ")
                .push(table);
            sql.push(" where partition = ").int(self.scope.partition.0);
        } else {
            let inner_table = match check.source {
                Source::SeriesOfStudy => "of_study",
                _ => table,
            };
            sql.push("exists (select 1 from ")
                .push(table)
                .push(" where ");
            sql.push(inner_table)
                .push(".")
                .push(inner)
                .push(" = ")
                .push(outer);
        }
        push_source(sql, check.source);
        let tests = check.tests.iter().filter(|(_, test)| *test != Test::Empty);
        for (col, test) in tests {
            let col = match check.source {
                Source::SeriesOfStudy => Col("of_study", col.1, col.2),
                _ => *col,
            };
            sql.push(" and ");
            push_test(
                sql,
                col,
                test,
                way == Way::Index && self.may_use_trigrams(check),
            );
        }
        sql.push(")");
    }

    fn push_tests<D: Dialect>(&self, sql: &mut Statement<D>, tests: &[(Col, Test)]) {
        for (i, (col, test)) in tests.iter().enumerate() {
            if i > 0 {
                sql.push(" and ");
            }
            push_test(sql, *col, test, false);
        }
    }

    /// Appends what is read of each row of `page`.
    fn push_answer<D: Dialect>(&self, sql: &mut Statement<D>, with_metadata: WithMetadata) {
        sql.push(
            " select page.id as position, study.study_uid, study.attributes as study_attributes, study.modalities, \
             study.series_count, study.instance_count",
        );
        if self.query.level >= Level::Series {
            sql.push(
                ", series.series_uid, series.attributes as series_attributes, \
                 series.instance_count as series_instances",
            );
        }
        if self.query.level == Level::Instance {
            sql.push(", instance.sop_instance_uid, instance.attributes as instance_attributes");
        }
        if with_metadata == WithMetadata::Yes {
            sql.push(", instance_content.metadata");
        }
        sql.push(match self.query.level {
            Level::Study => " from page join study on study.id = page.id",
            Level::Series => {
                " from page join series on series.id = page.id join study on study.id = series.study_row"
            }
            Level::Instance => {
                " from page join instance on instance.watermark = page.id \
                 join series on series.id = instance.series_row join study on study.id = instance.study_row"
            }
        });
        if with_metadata == WithMetadata::Yes {
            sql.push(match self.query.level {
                Level::Study => {
                    " left join instance_content on instance_content.watermark = study.newest"
                }
                Level::Series => {
                    " left join instance_content on instance_content.watermark = series.newest"
                }
                Level::Instance => {
                    " left join instance_content on instance_content.watermark = instance.watermark"
                }
            });
        }
        sql.push(" order by page.id desc");
    }

    fn found<R: Columns>(&self, row: &R) -> Driver<Found> {
        let level = self.query.level;
        let at_series = level >= Level::Series;
        let at_instance = level == Level::Instance;
        let text = |wanted: bool, column| wanted.then(|| row.text(column)).transpose();
        let modalities = row.text("modalities")?;
        Ok(Found {
            study_uid: row.text("study_uid")?,
            series_uid: text(at_series, "series_uid")?,
            instance_uid: text(at_instance, "sop_instance_uid")?,
            study: row.text("study_attributes")?,
            series: text(at_series, "series_attributes")?,
            instance: text(at_instance, "instance_attributes")?,
            modalities: modalities
                .split('\\')
                .filter(|modality| !modality.is_empty())
                .map(str::to_owned)
                .collect(),
            study_series: row.int("series_count")?,
            study_instances: row.int("instance_count")?,
            series_instances: at_series.then(|| row.int("series_instances")).transpose()?,
            // Left out of the statement when it was not asked for.
            metadata: row.opt_blob("metadata").unwrap_or(None),
            position: row.int("position")?,
        })
    }
}

/// Appends which rows of a source's table belong to it.
fn push_source<D: Dialect>(sql: &mut Statement<D>, source: Source) {
    match source {
        Source::Name(kind) | Source::Word(kind) => {
            sql.push(" and kind = ").int(kind);
        }
        Source::Tag { id, words, .. } => {
            sql.push(" and tag = ").int(id);
            sql.push(if words {
                " and part >= "
            } else {
                " and part < "
            })
            .int(WORDS);
        }
        Source::Row(_) | Source::SeriesOfStudy => {}
    }
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn one_value(test: &Test) -> bool {
    match test {
        Test::OneOf(values) => values.len() == 1,
        Test::Numbers(values) => values.len() == 1,
        Test::Reals(_) | Test::Range(..) | Test::Matches(_) | Test::Empty | Test::Moment { .. } => {
            false
        }
    }
}

fn push_col<D: Dialect>(sql: &mut Statement<D>, col: Col) {
    sql.push(col.0).push(".").push(col.1).push(col.2);
}

/// Appends a test of a column; `trigrams` allows the trigram index of names.
fn push_test<D: Dialect>(sql: &mut Statement<D>, col: Col, test: &Test, trigrams: bool) {
    match test {
        Test::OneOf(values) if values.is_empty() => {
            sql.push("1 = 0");
        }
        Test::Numbers(values) if values.is_empty() => {
            sql.push("1 = 0");
        }
        Test::Reals(values) if values.is_empty() => {
            sql.push("1 = 0");
        }
        Test::OneOf(values) => {
            push_col(sql, col);
            match values.as_slice() {
                [value] => sql.push(" = ").text(value),
                values => sql.push(" in ").texts(values.iter().map(String::as_str)),
            };
        }
        Test::Numbers(values) => {
            push_col(sql, col);
            match values.as_slice() {
                [value] => sql.push(" = ").int(*value),
                values => sql.push(" in ").ints(values.iter().copied()),
            };
        }
        Test::Reals(values) => {
            push_col(sql, col);
            sql.push(" in ").list(values, |sql, value| {
                sql.opt_float(Some(*value));
            });
        }
        Test::Range(from, to) => push_range(sql, col, from.as_deref(), to.as_deref()),
        Test::Matches(pattern) => {
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
        Test::Empty => {
            push_col(sql, col);
            sql.push(" is null");
        }
        Test::Moment { time, from, to } => push_moment(sql, col, *time, from.as_ref(), to.as_ref()),
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
