//! Pages of search results: where one ends, where the next one begins, how many results lie behind it.
//!
//! The order of results is total: studies and series by when their first instance was stored, instances by when they were
//! stored, the newest first; or studies by what was asked for, and then by when they were stored. Invariant: a place in that order means the same for ever, whatever is stored later, so
//! pages that follow each other's [`PageCursor`](super::cursor::PageCursor) neither repeat nor skip a row that was there when the first one was read.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use std::sync::Arc;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Order, Query};
use crate::index::{MatchedRow, Page, Position, TagRow};
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;
use crate::trace::Stage;

/// Rows asked of the index at a time; each time it may have to look at all that match, so they are many.
const PAGE: u64 = 5_000;
/// Bytes of attributes asked of the index at first, about.
const FIRST_BYTES: usize = 256 << 10;
/// Bytes of attributes asked of the index at a time later, about.
const PAGE_BYTES: usize = 2 << 20;
/// Rows read by their positions at a time.
const AT: usize = 200;
/// Results behind a page are counted so far, unless the exact number is asked for.
const COUNTED: u64 = 1_000;

/// How the results behind a page are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CountMode {
    /// Up to a number that costs little.
    #[default]
    Bounded,
    /// All of them, and all results of the search beside.
    Exact,
}

/// Which page of a search is wanted, beside limit and offset.
#[derive(Debug, Clone, Default)]
pub struct Paging {
    /// Behind this position.
    pub before: Option<Position>,
    /// How results are counted.
    pub counting: CountMode,
}

/// Results behind a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// None.
    Nothing,
    /// So many.
    Exactly(u64),
    /// More than so many.
    MoreThan(u64),
}

/// A page while it is being read.
pub(in crate::archive) struct Pages {
    /// Rows that were read.
    pub(in crate::archive) first: Vec<FoundRow>,
    /// Rows that follow.
    pub(in crate::archive) rest: BoxStream<'static, Result<FoundRow>>,
    /// Rows behind the page.
    pub(in crate::archive) remaining: Remaining,
    /// Position of the last row of the page, when there are rows behind it.
    pub(in crate::archive) end: Option<Position>,
    /// All results of the search, when they were counted.
    pub(in crate::archive) total: Option<u64>,
}

/// A row that was read.
pub(in crate::archive) struct FoundRow {
    pub(in crate::archive) found: MatchedRow,
    /// Memory of all rows that were read with it.
    _held: Arc<Reservation>,
}

/// What a page is read with.
#[derive(Clone)]
pub(in crate::archive) struct Reading<'a> {
    /// Who asks.
    pub(in crate::archive) scope: &'a Scope,
    /// What is asked.
    pub(in crate::archive) query: &'a Query,
    /// Tags that may be used.
    pub(in crate::archive) tags: &'a [TagRow],
    /// Which page.
    pub(in crate::archive) paging: Paging,
}

impl Archive {
    /// Reads the page of a search that the index decides alone.
    pub(in crate::archive) async fn read_pages(&self, reading: &Reading<'_>) -> Result<Pages> {
        let Reading { query, paging, .. } = reading;
        let before = paging.before.as_ref();
        let most = self.limits.max_results;
        let limit = query.limit.unwrap_or(most).min(most);
        let total = match paging.counting {
            CountMode::Exact => Some(self.count(reading, None, u64::MAX).await?),
            CountMode::Bounded => None,
        };
        if query.offset > most && self.count(reading, before, most + 1).await? > most {
            let reason = format!(
                "an offset of more than {most} is not served: follow the Link header (rel=\"next\") of each page instead, or narrow the search"
            );
            return Err(ArchiveError::TooLarge { reason });
        }
        let mut asked = (*query).clone();
        asked.limit = Some(limit.min(PAGE));
        let page = Reading {
            query: &asked,
            ..reading.clone()
        };
        let page = self.read_page(&page, before, FIRST_BYTES).await?;
        let mut pages = Pages {
            first: page.rows,
            rest: stream::empty().boxed(),
            remaining: Remaining::Nothing,
            end: None,
            total,
        };
        if !page.more {
            return Ok(pages);
        }
        let Some(read) = pages.first.last().map(|row| row.found.place()) else {
            pages.remaining = self.remaining(reading, before).await?;
            return Ok(pages);
        };
        let left = limit.saturating_sub(pages.first.len() as u64);
        let end = self.end_of_page(reading, &read, left).await?;
        if let Some(end) = &end {
            if query.limit.is_none() {
                return Err(too_many(most));
            }
            pages.remaining = self.remaining(reading, Some(end)).await?;
            pages.end = Some(end.clone());
        }
        pages.rest = self.following(reading, (Some(read), left, PAGE_BYTES), end);
        Ok(pages)
    }

    /// Reads rows with memory for them: as many as `most_bytes` hold, and one more.
    async fn read_page(
        &self,
        reading: &Reading<'_>,
        before: Option<&Position>,
        most_bytes: usize,
    ) -> Result<HeldPage> {
        // The rows of the driver and ours are there at the same time.
        let room = most_bytes.saturating_mul(2);
        let mut held = self.budget.reserve(Purpose::Rows, room).await?;
        let Reading {
            scope, query, tags, ..
        } = reading;
        let search = self.index.search(scope, query, tags, before, most_bytes);
        let page = Stage::Search.of(search).await?;
        held_page(page, &mut held).await
    }

    /// All rows of a search behind a position, in its order.
    pub(in crate::archive) fn all_rows(
        &self,
        reading: &Reading<'_>,
        before: Option<Position>,
    ) -> BoxStream<'static, Result<FoundRow>> {
        self.following(reading, (before, u64::MAX, FIRST_BYTES), None)
    }

    /// Rows by their positions, which are in this order.
    pub(in crate::archive) fn rows_at(
        &self,
        scope: &Scope,
        (level, order): (QueryLevel, Option<Order>),
        positions: Vec<i64>,
        held: Reservation,
    ) -> BoxStream<'static, Result<FoundRow>> {
        let (archive, scope) = (self.clone(), scope.clone());
        let state = (Arc::new(positions), 0_usize, held);
        let pages = stream::try_unfold(state, move |(positions, at, list)| {
            let (archive, scope) = (archive.clone(), scope.clone());
            async move {
                let end = at.saturating_add(AT).min(positions.len());
                let wanted = positions.get(at..end).unwrap_or_default();
                if wanted.is_empty() {
                    return Ok(None);
                }
                let room = FIRST_BYTES.saturating_mul(2);
                let mut held = archive.budget.reserve(Purpose::Rows, room).await?;
                let found = archive
                    .index
                    .found(&scope, level, order, wanted, FIRST_BYTES);
                let page = held_page(Stage::Search.of(found).await?, &mut held).await?;
                let last = page.rows.last().map(|row| row.found.position);
                let next = match last.filter(|_| page.more) {
                    // Those up to the last one that was read.
                    Some(last) => {
                        let mut places = wanted.iter();
                        let read = places.position(|position| *position == last);
                        read.map_or(end, |read| at + read + 1)
                    }
                    None => end,
                };
                let rows = stream::iter(page.rows.into_iter().map(Ok));
                Ok::<_, ArchiveError>(Some((rows, (positions, next, list))))
            }
        });
        pages.try_flatten().boxed()
    }

    /// The position of the last row of a page of which `left` rows behind `read` are missing; none when nothing lies
    /// behind the page.
    async fn end_of_page(
        &self,
        reading: &Reading<'_>,
        read: &Position,
        left: u64,
    ) -> Result<Option<Position>> {
        if left == 0 {
            return Ok(Some(read.clone()));
        }
        let mut last = reading.query.clone();
        (last.offset, last.limit) = (left - 1, Some(1));
        let (scope, tags) = (reading.scope, reading.tags);
        let search = self
            .index
            .search(scope, &last, tags, Some(read), FIRST_BYTES);
        let page = Stage::Search.of(search).await?;
        Ok(page
            .rows
            .first()
            .filter(|_| page.more)
            .map(MatchedRow::place))
    }

    async fn count(
        &self,
        reading: &Reading<'_>,
        before: Option<&Position>,
        ceiling: u64,
    ) -> Result<u64> {
        let Reading {
            scope, query, tags, ..
        } = reading;
        let count = self.index.count(scope, query, tags, before, ceiling);
        Ok(Stage::Count.of(count).await?)
    }

    async fn remaining(&self, reading: &Reading<'_>, end: Option<&Position>) -> Result<Remaining> {
        let ceiling = match reading.paging.counting {
            CountMode::Bounded => COUNTED + 1,
            CountMode::Exact => u64::MAX,
        };
        let counted = self.count(reading, end, ceiling).await?;
        Ok(if counted >= ceiling {
            Remaining::MoreThan(COUNTED)
        } else if counted == 0 {
            Remaining::Nothing
        } else {
            Remaining::Exactly(counted)
        })
    }

    /// The rows of a page behind those that were read, portion after portion and no further than `end`.
    fn following(
        &self,
        reading: &Reading<'_>,
        (before, left, bytes): (Option<Position>, u64, usize),
        end: Option<Position>,
    ) -> BoxStream<'static, Result<FoundRow>> {
        let (archive, scope) = (self.clone(), reading.scope.clone());
        let (query, tags): (Query, Arc<[TagRow]>) = (reading.query.clone(), reading.tags.into());
        let (paging, end) = (reading.paging.clone(), end.map(Arc::new));
        let state = (before, left, bytes);
        let pages = stream::try_unfold(state, move |(before, left, bytes)| {
            let (archive, scope, tags) = (archive.clone(), scope.clone(), tags.clone());
            let (paging, end) = (paging.clone(), end.clone());
            let mut asked = query.clone();
            asked.offset = 0;
            asked.limit = Some(left.min(PAGE));
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let reading = Reading {
                    scope: &scope,
                    query: &asked,
                    tags: &tags,
                    paging,
                };
                let mut page = archive.read_page(&reading, before.as_ref(), bytes).await?;
                // Rows may have been deleted since the end was found; those behind it belong to the next page.
                page.rows.retain(|row| {
                    let place = row.found.place();
                    let end = end.as_deref();
                    end.is_none_or(|end| end.is_at_or_behind(&place, asked.order))
                });
                let Some(last) = page.rows.last().map(|row| row.found.place()) else {
                    return Ok(None);
                };
                let left = left.saturating_sub(page.rows.len() as u64);
                let next = (Some(last), if page.more { left } else { 0 }, PAGE_BYTES);
                let rows = stream::iter(page.rows.into_iter().map(Ok));
                Ok::<_, ArchiveError>(Some((rows, next)))
            }
        });
        pages.try_flatten().boxed()
    }
}

/// A page with memory for its rows.
struct HeldPage {
    rows: Vec<FoundRow>,
    more: bool,
}

/// Gives rows their share of what is held, which becomes what they take.
async fn held_page(page: Page, held: &mut Reservation) -> Result<HeldPage> {
    let bytes = page.rows.iter().map(MatchedRow::bytes);
    let bytes = bytes.fold(0_usize, usize::saturating_add);
    held.grow_to(bytes).await?;
    let held = Arc::new(held.split(bytes));
    let rows = page.rows.into_iter().map(|found| FoundRow {
        found,
        _held: held.clone(),
    });
    Ok(HeldPage {
        rows: rows.collect(),
        more: page.more,
    })
}

/// More results than one answer may hold.
pub(in crate::archive) fn too_many(most: u64) -> ArchiveError {
    let reason = format!(
        "more than {most} results: narrow the search, or page with limit and the Link header (rel=\"next\") of each page"
    );
    ArchiveError::TooLarge { reason }
}
