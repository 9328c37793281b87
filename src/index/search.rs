//! Search: which way leads to a page.
//!
//! Results come newest first. An index that narrows the rows to a page or so drives the search. When every term is broad,
//! the newest rows are looked at first, because they fill most pages; only then are all matches of the narrowest term
//! sorted. So the time of a page depends on what is asked, not on how much is stored. A search for a name and nothing else
//! sorts the entries of the index of names, which are short, so many more of them.
//!
//! A search with an order of its own (`orderby`) goes the same ways: each order has an index, which takes the place of that
//! of the row ids.
//!
//! Invariant: the order is total (row id, watermark; what is sorted by before it) and the same in each of these ways.

use async_trait::async_trait;
use tokio::sync::SemaphorePermit;

use super::conditions::{push_source, push_test};
use super::lookup::{AccessPath, Lookup, clamp, of_positions};
use super::model::{MatchedRow, Page, Position, Result};
use super::predicate::{NormalizedCondition, Predicate, Selectivity, TermSource};
use super::reader_pool::ReadConnection;
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_scopes;
use super::sql::{Dialect, SqlIndex, Statement, failed, failed_search, plan};
use super::tags_model::TagRow;
use super::timeouts::within;
use super::traits::Search;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Order, Query};
use crate::scope::{Scope, ScopeSet, Visible};

/// Up to this many rows are sorted without further thought.
const FEW: i64 = 1000;

/// So many of the newest rows are looked at before the matches of a broad term are sorted.
const NEWEST: i64 = 2000;

/// Up to this many rows are sorted rather than looking further than [`NEWEST`].
const MANY: i64 = 20_000;

/// So many of the newest rows are looked at when all terms are broader than [`MANY`].
const NEWER: i64 = 50_000;

/// A number of rows, none of which is below zero.
const fn clamped(rows: i64) -> u64 {
    rows.unsigned_abs()
}

#[async_trait]
impl<D: Dialect> Search for SqlIndex<D> {
    async fn search(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        before: Option<&Position>,
        most_bytes: usize,
    ) -> Result<Page> {
        let search = Lookup::new(scope, query, tags, before, self.trigrams);
        let found = async {
            match search.page(self, most_bytes).await {
                // Once more, as in `index::read_calls`.
                Err(error) if D::is_lost(&error) => {
                    self.close_idle();
                    search.page(self, most_bytes).await
                }
                found => found,
            }
        };
        let found = within(self.times.whole_search(), found).await;
        found.map_err(failed_search::<D>("a search"))
    }

    async fn found(
        &self,
        scope: &Scope,
        level: QueryLevel,
        order: Option<Order>,
        positions: &[i64],
        most_bytes: usize,
    ) -> Result<Page> {
        // Postgres refuses an empty list.
        if positions.is_empty() {
            return Ok(Page::default());
        }
        let sql = of_positions::<D>(scope, (level, order), positions, most_bytes);
        let rows = self.read_bounded("a search", sql).await?;
        page(&rows, (level, order), usize::MAX).map_err(failed::<D>("a search"))
    }

    async fn metadata_sizes(
        &self,
        scopes: &ScopeSet,
        watermarks: &[i64],
    ) -> Result<Vec<(i64, usize)>> {
        if watermarks.is_empty() {
            return Ok(Vec::new());
        }
        let sql = stored::<D>(
            (
                "select instance.watermark, cast(octet_length(instance_content.metadata) as bigint) as bytes",
                "select original.watermark, cast(octet_length(original.metadata) as bigint) as bytes",
            ),
            scopes,
            watermarks,
        );
        let rows = self.read_in_time("stored metadata", sql).await?;
        let size = |row: &D::Row| {
            let bytes = usize::try_from(row.int("bytes")?).unwrap_or(usize::MAX);
            Ok((row.int("watermark")?, bytes))
        };
        let sizes = rows.iter().map(size).collect::<Driver<_>>();
        sizes.map_err(failed::<D>("stored metadata"))
    }

    async fn packed_metadata(
        &self,
        scopes: &ScopeSet,
        watermarks: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>> {
        if watermarks.is_empty() {
            return Ok(Vec::new());
        }
        let columns = (
            "select instance.watermark, instance_content.metadata",
            "select original.watermark, original.metadata",
        );
        let sql = stored::<D>(columns, scopes, watermarks);
        let rows = self.read_in_time("stored metadata", sql).await?;
        let packed = |row: &D::Row| Ok((row.int("watermark")?, row.blob("metadata")?));
        let packed = rows.iter().map(packed).collect::<Driver<_>>();
        packed.map_err(failed::<D>("stored metadata"))
    }

    async fn count(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        before: Option<&Position>,
        ceiling: u64,
    ) -> Result<u64> {
        let search = Lookup::new(scope, query, tags, before, self.trigrams);
        let counted = async {
            match search.count(self, ceiling).await {
                Err(error) if D::is_lost(&error) => {
                    self.close_idle();
                    search.count(self, ceiling).await
                }
                counted => counted,
            }
        };
        let counted = within(self.times.whole_search(), counted).await;
        let counted = counted.map_err(failed_search::<D>("a search"))?;
        Ok(u64::try_from(counted).unwrap_or(0))
    }

    async fn plan(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        before: Option<&Position>,
    ) -> Result<Vec<String>> {
        let search = Lookup::new(scope, query, tags, before, self.trigrams);
        let plans = within(self.times.whole_search(), search.plans(self)).await;
        plans.map_err(failed_search::<D>("a plan"))
    }
}

impl Lookup<'_> {
    async fn page<D: Dialect>(&self, index: &SqlIndex<D>, most_bytes: usize) -> Driver<Page> {
        let (_turn, mut connection) = self.connection(index).await?;
        let wanted = clamp(self.query.limit.unwrap_or(u64::MAX));
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut way = self.first_way::<D>(&mut connection).await?;
        let mut long = way == AccessPath::Order && self.may_scan_far();
        let rows = loop {
            let mut sql = Statement::<D>::new("");
            self.push_statement(&mut sql, way, most_bytes);
            let rows = if long {
                sql.bounded_rows(&mut connection, index.times.search)
                    .await?
            } else {
                sql.rows(&mut connection).await?
            };
            match way {
                AccessPath::Window(size) if listed(&rows)? <= wanted => {
                    way = self.wider_way::<D>(size, &mut connection).await?;
                    long = matches!(way, AccessPath::Index(_));
                }
                AccessPath::Window(_) | AccessPath::Order | AccessPath::Index(_) => break rows,
            }
        };
        connection.give_back();
        page(&rows, (self.query.level, self.query.order), wanted)
    }

    async fn count<D: Dialect>(&self, index: &SqlIndex<D>, ceiling: u64) -> Driver<i64> {
        let (_turn, mut connection) = self.connection(index).await?;
        let (way, long) = match self.first_way::<D>(&mut connection).await? {
            AccessPath::Window(_) => {
                let (driver, _) = self.narrowest::<D>(MANY, &mut connection).await?;
                (AccessPath::Index(driver), true)
            }
            AccessPath::Order => (
                AccessPath::Order,
                ceiling > clamped(MANY) || self.may_scan_far(),
            ),
            way @ AccessPath::Index(_) => (way, ceiling > clamped(MANY)),
        };
        let mut sql = Statement::<D>::new("select count(*) as counted from (select 1");
        self.push_rows(&mut sql, way);
        sql.limit(clamp(ceiling)).push(") as matching");
        let rows = if long {
            sql.bounded_rows(&mut connection, index.times.search)
                .await?
        } else {
            sql.rows(&mut connection).await?
        };
        connection.give_back();
        rows.first().map_or(Ok(0), |row| row.int("counted"))
    }

    /// A connection of those that have the right plans for this search.
    async fn connection<'i, D: Dialect>(
        &self,
        index: &'i SqlIndex<D>,
    ) -> Driver<(SemaphorePermit<'i>, ReadConnection<D>)> {
        match self.is_by_key() {
            true => index.key_searcher().await,
            false => index.searcher().await,
        }
    }

    /// Whether walking along the order of results may pass any number of rows.
    fn may_scan_far(&self) -> bool {
        !self.terms.is_empty() || self.query.offset > clamped(MANY)
    }

    async fn plans<D: Dialect>(&self, index: &SqlIndex<D>) -> Driver<Vec<String>> {
        let (_turn, mut connection) = index.searcher().await?;
        let mut ways = vec![self.first_way::<D>(&mut connection).await?];
        if let [AccessPath::Window(_)] = ways.as_slice() {
            ways.push(AccessPath::Index(
                self.narrowest::<D>(MANY, &mut connection).await?.0,
            ));
        }
        let mut plans = Vec::new();
        for way in ways {
            let mut sql = Statement::<D>::new(D::EXPLAIN.0);
            self.push_statement(&mut sql, way, usize::MAX);
            let rows = sql.rows(&mut connection).await?;
            plans.push(plan::<D>(&rows)?);
        }
        Ok(plans)
    }

    /// The way to try first.
    async fn first_way<D: Dialect>(&self, connection: &mut D::Connection) -> Driver<AccessPath> {
        let any = |breadth| self.terms.iter().any(|term| term.breadth == breadth);
        let within = self.query.study.is_some() || self.scope.visible != Visible::All;
        if any(Selectivity::Narrow) || within {
            return Ok(AccessPath::Index(None));
        }
        if !any(Selectivity::Broad) {
            return Ok(AccessPath::Order);
        }
        // Entries of an index are sorted sooner than rows are tested one by one.
        let few = if self.lone_name().is_some() {
            MANY
        } else {
            FEW
        };
        let (term, rows) = self.narrowest::<D>(few, connection).await?;
        Ok(if rows < few {
            AccessPath::Index(term)
        } else {
            AccessPath::Window(NEWEST)
        })
    }

    /// The way to try when a window of this size did not fill the page.
    async fn wider_way<D: Dialect>(
        &self,
        size: i64,
        connection: &mut D::Connection,
    ) -> Driver<AccessPath> {
        let (term, rows) = self.narrowest::<D>(MANY, connection).await?;
        Ok(if rows < MANY || size > NEWEST {
            AccessPath::Index(term)
        } else {
            AccessPath::Window(NEWER)
        })
    }

    /// The broad term that leaves the fewest rows, counted no further than `ceiling`, and their number.
    async fn narrowest<D: Dialect>(
        &self,
        ceiling: i64,
        connection: &mut D::Connection,
    ) -> Driver<(Option<usize>, i64)> {
        let mut narrowest = (None, i64::MAX);
        for (at, term) in self.terms.iter().enumerate() {
            if term.breadth == Selectivity::Broad && narrowest.1 > 0 {
                let rows = self.rows_of::<D>(term, ceiling, connection).await?;
                if rows < narrowest.1 {
                    narrowest = (Some(at), rows);
                }
            }
        }
        Ok(narrowest)
    }

    /// How many index entries a term has, counted no further than `ceiling`.
    async fn rows_of<D: Dialect>(
        &self,
        term: &NormalizedCondition,
        ceiling: i64,
        connection: &mut D::Connection,
    ) -> Driver<i64> {
        let mut sum = 0_i64;
        for alternative in &term.any {
            let mut least = ceiling;
            for check in alternative {
                let mut sql = self.count_statement::<D>(check);
                sql.limit(ceiling).push(") as matching");
                let row = sql.row(connection).await?;
                let counted = row.map_or(Ok(0), |row| row.int("counted"))?;
                least = least.min(counted);
            }
            sum = sum.saturating_add(least);
        }
        Ok(sum.min(ceiling))
    }

    fn count_statement<D: Dialect>(&self, check: &Predicate) -> Statement<D> {
        let mut sql = Statement::<D>::new("select count(*) as counted from (select 1 from ");
        sql.push(match check.source {
            TermSource::Row(QueryLevel::Study) => "study",
            TermSource::Row(QueryLevel::Series) | TermSource::SeriesOfStudy => "series",
            TermSource::Row(QueryLevel::Instance) => "instance",
            TermSource::Name(_) => "study_name",
            TermSource::Word(_) => "study_name_word",
            TermSource::Tag { .. } => "query_tag_value",
        });
        sql.push(" where partition = ").int(self.scope.partition.0);
        push_source(&mut sql, check.source);
        // The folded twin alone: only it is in the index.
        if let Some((col, test)) = check.tests.first() {
            sql.push(" and ");
            push_test(&mut sql, *col, test, self.may_use_trigrams(check));
        }
        sql
    }
}

/// A statement that reads columns of instances by their watermarks, as far as the scope has them.
fn stored<D: Dialect>(
    (columns, original): (&'static str, &'static str),
    scopes: &ScopeSet,
    watermarks: &[i64],
) -> Statement<D> {
    let mut sql = Statement::<D>::new(columns);
    sql.push(
        " from instance join instance_content on instance_content.watermark = instance.watermark \
         join study on study.id = instance.study_row where instance.watermark in ",
    );
    sql.ints(watermarks.iter().copied());
    push_scopes(&mut sql, scopes);
    sql.push(" union all ").push(original);
    sql.push(
        " from original join instance on instance.watermark = original.current \
         join study on study.id = instance.study_row where original.watermark in ",
    );
    sql.ints(watermarks.iter().copied());
    push_scopes(&mut sql, scopes);
    sql
}

/// How many rows the page of a statement had, those included that were not read.
fn listed<R: RowColumns>(rows: &[R]) -> Driver<usize> {
    let listed = rows.first().map_or(Ok(0), |row| row.int("listed"))?;
    Ok(usize::try_from(listed).unwrap_or(usize::MAX))
}

/// A page of at most `wanted` rows.
fn page<R: RowColumns>(
    rows: &[R],
    (level, order): (QueryLevel, Option<Order>),
    wanted: usize,
) -> Driver<Page> {
    let listed = listed(rows)?;
    let read = rows.iter().take(wanted).map(|row| {
        let sorted_by = order.map(|_| row.text("sorted_by")).transpose()?;
        found(row, level).map(|found| MatchedRow { sorted_by, ..found })
    });
    let rows = read.collect::<Driver<Vec<MatchedRow>>>()?;
    let more = listed > rows.len();
    Ok(Page { rows, more })
}

fn found<R: RowColumns>(row: &R, level: QueryLevel) -> Driver<MatchedRow> {
    let at_series = level >= QueryLevel::Series;
    let at_instance = level == QueryLevel::Instance;
    let text = |wanted: bool, column| wanted.then(|| row.text(column)).transpose();
    // Empty when they are too long to be read.
    let attributes = |column| Ok::<_, sqlx::Error>(row.opt_text(column)?.unwrap_or_default());
    let below = |wanted: bool, column| wanted.then(|| attributes(column)).transpose();
    let modalities = row.text("modalities")?;
    Ok(MatchedRow {
        study_uid: row.text("study_uid")?,
        series_uid: text(at_series, "series_uid")?,
        instance_uid: text(at_instance, "sop_instance_uid")?,
        study: attributes("study_attributes")?,
        series: below(at_series, "series_attributes")?,
        instance: below(at_instance, "instance_attributes")?,
        modalities: modalities
            .split('\\')
            .filter(|modality| !modality.is_empty())
            .map(str::to_owned)
            .collect(),
        study_series: row.int("series_count")?,
        study_instances: row.int("instance_count")?,
        series_instances: at_series.then(|| row.int("series_instances")).transpose()?,
        newest: row.int("newest")?,
        position: row.int("position")?,
        sorted_by: None,
    })
}
