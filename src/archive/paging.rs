//! Pages of search results: where one ends, where the next one begins, how many results lie behind it.
//!
//! The order of results is total: studies and series by when their first instance was stored, instances by when they were
//! stored, the newest first. Invariant: a place in that order means the same for ever, whatever is stored later, so
//! pages that follow each other's [`Cursor`] neither repeat nor skip a row that was there when the first one was read.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use std::sync::Arc;

use super::Archive;
use super::error::{ArchiveError, Result};
use crate::dicom::keys::Level;
use crate::dicom::query::Query;
use crate::index::{Found, Page, TagRow};
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

/// A place in the order of results, as a text that clients hand back and do not look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    level: Level,
    position: i64,
}

impl Cursor {
    /// Reads what its `Display` wrote; none when it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut chars = text.chars();
        let level = match chars.next()? {
            's' => Level::Study,
            'e' => Level::Series,
            'i' => Level::Instance,
            _ => return None,
        };
        let digits = chars.as_str();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let position = i64::from_str_radix(digits, 16).ok()?;
        Some(Self { level, position })
    }

    /// The position, when the cursor is one of results of this level.
    #[must_use]
    pub fn position(&self, level: Level) -> Option<i64> {
        (self.level == level).then_some(self.position)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Study => 's',
            Level::Series => 'e',
            Level::Instance => 'i',
        };
        write!(f, "{level}{:x}", self.position)
    }
}

/// How the results behind a page are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counting {
    /// Up to a number that costs little.
    #[default]
    Bounded,
    /// All of them, and all results of the search beside.
    Exact,
}

/// Which page of a search is wanted, beside limit and offset.
#[derive(Debug, Clone, Copy, Default)]
pub struct Paging {
    /// Behind this position.
    pub before: Option<i64>,
    /// How results are counted.
    pub counting: Counting,
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
pub(super) struct Pages {
    /// Rows that were read.
    pub(super) first: Vec<FoundRow>,
    /// Rows that follow.
    pub(super) rest: BoxStream<'static, Result<FoundRow>>,
    /// Rows behind the page.
    pub(super) remaining: Remaining,
    /// Position of the last row of the page, when there are rows behind it.
    pub(super) end: Option<i64>,
    /// All results of the search, when they were counted.
    pub(super) total: Option<u64>,
}

/// A row that was read.
pub(super) struct FoundRow {
    pub(super) found: Found,
    /// Memory of all rows that were read with it.
    _held: Arc<Reservation>,
}

/// What a page is read with.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// Who asks.
    pub(super) scope: &'a Scope,
    /// What is asked.
    pub(super) query: &'a Query,
    /// Tags that may be used.
    pub(super) tags: &'a [TagRow],
    /// Which page.
    pub(super) paging: Paging,
}

impl Archive {
    /// Reads the page of a search that the index decides alone.
    pub(super) async fn read_pages(&self, reading: &Reading<'_>) -> Result<Pages> {
        let Reading { query, paging, .. } = reading;
        let most = self.limits.max_results;
        let limit = query.limit.unwrap_or(most).min(most);
        let total = match paging.counting {
            Counting::Exact => Some(self.count(reading, None, u64::MAX).await?),
            Counting::Bounded => None,
        };
        if query.offset > most && self.count(reading, paging.before, most + 1).await? > most {
            let reason = format!(
                "an offset of more than {most} is not served: follow the Link header (rel=\"next\") of each page instead, or narrow the search"
            );
            return Err(ArchiveError::TooLarge { reason });
        }
        let mut asked = (*query).clone();
        asked.limit = Some(limit.min(PAGE));
        let page = Reading {
            query: &asked,
            ..*reading
        };
        let page = self.read_page(&page, paging.before, FIRST_BYTES).await?;
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
        let Some(read) = pages.first.last().map(|row| row.found.position) else {
            pages.remaining = self.remaining(reading, paging.before).await?;
            return Ok(pages);
        };
        let left = limit.saturating_sub(pages.first.len() as u64);
        let end = self.end_of_page(reading, read, left).await?;
        if let Some(end) = end {
            if query.limit.is_none() {
                return Err(too_many(most));
            }
            pages.remaining = self.remaining(reading, Some(end)).await?;
            pages.end = Some(end);
        }
        pages.rest = self.following(reading, (Some(read), left, PAGE_BYTES), end);
        Ok(pages)
    }

    /// Reads rows with memory for them: as many as `most_bytes` hold, and one more.
    async fn read_page(
        &self,
        reading: &Reading<'_>,
        before: Option<i64>,
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

    /// All rows of a search behind a position, newest first.
    pub(super) fn all_rows(
        &self,
        reading: &Reading<'_>,
        before: Option<i64>,
    ) -> BoxStream<'static, Result<FoundRow>> {
        self.following(reading, (before, u64::MAX, FIRST_BYTES), None)
    }

    /// Rows by their positions, which descend.
    pub(super) fn rows_at(
        &self,
        scope: &Scope,
        level: Level,
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
                let found = archive.index.found(&scope, level, wanted, FIRST_BYTES);
                let page = held_page(Stage::Search.of(found).await?, &mut held).await?;
                let last = page.rows.last().map(|row| row.found.position);
                let next = match last.filter(|_| page.more) {
                    // Those up to the last one that was read.
                    Some(last) => at + wanted.partition_point(|position| *position >= last),
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
        read: i64,
        left: u64,
    ) -> Result<Option<i64>> {
        if left == 0 {
            return Ok(Some(read));
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
            .map(|row| row.position))
    }

    async fn count(&self, reading: &Reading<'_>, before: Option<i64>, ceiling: u64) -> Result<u64> {
        let Reading {
            scope, query, tags, ..
        } = reading;
        let count = self.index.count(scope, query, tags, before, ceiling);
        Ok(Stage::Count.of(count).await?)
    }

    async fn remaining(&self, reading: &Reading<'_>, end: Option<i64>) -> Result<Remaining> {
        let ceiling = match reading.paging.counting {
            Counting::Bounded => COUNTED + 1,
            Counting::Exact => u64::MAX,
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
        (before, left, bytes): (Option<i64>, u64, usize),
        end: Option<i64>,
    ) -> BoxStream<'static, Result<FoundRow>> {
        let (archive, scope) = (self.clone(), reading.scope.clone());
        let (query, tags): (Query, Arc<[TagRow]>) = (reading.query.clone(), reading.tags.into());
        let paging = reading.paging;
        let state = (before, left, bytes);
        let pages = stream::try_unfold(state, move |(before, left, bytes)| {
            let (archive, scope, tags) = (archive.clone(), scope.clone(), tags.clone());
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
                let mut page = archive.read_page(&reading, before, bytes).await?;
                // Rows may have been deleted since the end was found; those behind it belong to the next page.
                page.rows
                    .retain(|row| end.is_none_or(|end| row.found.position >= end));
                let Some(last) = page.rows.last().map(|row| row.found.position) else {
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
    let bytes = page.rows.iter().map(Found::bytes);
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
pub(super) fn too_many(most: u64) -> ArchiveError {
    let reason = format!(
        "more than {most} results: narrow the search, or page with limit and the Link header (rel=\"next\") of each page"
    );
    ArchiveError::TooLarge { reason }
}

/// The cursor behind a position.
pub(super) const fn cursor(level: Level, position: i64) -> Cursor {
    Cursor { level, position }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_wrote_and_nothing_else() {
        for level in [Level::Study, Level::Series, Level::Instance] {
            for position in [0, 1, 4711, i64::MAX] {
                let cursor = cursor(level, position);
                assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
            }
        }
        for text in [
            "",
            "s",
            "x1",
            "s-1",
            "s+1",
            "sg",
            "s 1",
            "s8000000000000000",
            "1",
            "sé",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_cursor_belongs_to_one_level() {
        let cursor = cursor(Level::Series, 7);
        assert_eq!(cursor.position(Level::Series), Some(7));
        assert_eq!(cursor.position(Level::Study), None);
    }
}
