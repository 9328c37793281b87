//! Scanning: conditions that the index does not decide, matched row after row.
//!
//! Invariants: no further than the limits allow; what matches is remembered by its position, so a scan holds one portion of
//! rows whatever it finds.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::paging::{CountMode, FoundRow, Pages, Reading, Remaining, too_many};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::left_out::LeftOut;
use crate::archive::texts::StoredText;
use crate::dicom::matcher::Matcher;
use crate::dicom::members::Malformed;
use crate::dicom::query::{Condition, Order, Query};
use crate::index::{Decision, Position, TagRow, decision};
use crate::memory::Purpose;

/// Rows whose attributes are matched at a time.
const ROWS: usize = 256;
/// Matches that memory is reserved for at a time, and bytes each takes while the list grows.
const MATCHES: usize = 4096;
const MATCH_BYTES: usize = 24;

/// Conditions that the index does not decide.
pub(in crate::archive) struct ResidualConditions {
    /// Decided by the attributes of the row.
    by_row: Vec<Condition>,
    /// Decided by the metadata of the row's newest instance.
    by_metadata: Vec<Condition>,
}

impl ResidualConditions {
    /// Those of a query.
    pub(in crate::archive) fn of(query: &Query, tags: &[TagRow]) -> Self {
        let of = |wanted| {
            let conditions = query.conditions.iter();
            let found = conditions.filter(|c| decision(c, query.level, tags) == wanted);
            found.cloned().collect()
        };
        Self {
            by_row: of(Decision::Narrowed),
            by_metadata: of(Decision::Open),
        }
    }

    pub(in crate::archive) fn is_empty(&self) -> bool {
        self.by_row.is_empty() && self.by_metadata.is_empty()
    }

    pub(in crate::archive) fn needs_metadata(&self) -> bool {
        !self.by_metadata.is_empty()
    }
}

/// A row that was looked at: where it is, and whether it matches.
type Looked = (Position, bool);

impl Archive {
    /// Reads the page of a search some of whose conditions the index does not decide.
    pub(in crate::archive) async fn scan_pages(
        &self,
        reading: &Reading<'_>,
        undecided: &ResidualConditions,
        left_out: &LeftOut,
    ) -> Result<Pages> {
        let Reading {
            scope,
            query,
            tags,
            paging,
        } = reading;
        let mut asked = (*query).clone();
        let decided = |c: &Condition| decision(c, query.level, tags) != Decision::Open;
        asked.conditions.retain(decided);
        asked.offset = 0;
        asked.limit = None;
        let exact = paging.counting == CountMode::Exact;
        let most = self.limits.max_results;
        let page = query.limit.unwrap_or(most).min(most);
        let mut scan = PageScan::new(query.order, query.offset, page);
        // An exact count is one of the whole search, wherever the page begins.
        let before = if exact { None } else { paging.before.clone() };
        let reading_all = Reading {
            query: &asked,
            ..reading.clone()
        };
        let rows = self.all_rows(&reading_all, before);
        let mut looked = self.look(reading, rows, undecided, left_out);
        let (begun, mut scanned) = (Instant::now(), 0_u64);
        let mut held = self.budget.nothing(Purpose::Rows);
        let complete = loop {
            let Some((position, matches)) = looked.try_next().await? else {
                break true;
            };
            if !exact && scan.is_done() {
                break false;
            }
            if scanned >= self.limits.max_scan.max(1)
                || begun.elapsed() >= self.limits.search_time()
            {
                if !exact && scan.is_full() {
                    break false;
                }
                return Err(scanned_too_far(scanned));
            }
            scanned += 1;
            self.meters.scanned.one();
            if matches {
                scan.take(position, paging.before.as_ref());
                let room = scan.positions.len().next_multiple_of(MATCHES);
                held.grow_to(room.saturating_mul(MATCH_BYTES)).await?;
            }
        };
        if scan.behind > 0 && query.limit.is_none() {
            return Err(too_many(most));
        }
        let mut pages = scan.pages(complete, exact);
        let positions = std::mem::take(&mut pages.positions);
        let mut rows = self.rows_at(scope, (query.level, query.order), positions, held);
        // Read before anything is said, so that a failure is an answer and not a broken one.
        let first = rows.try_next().await?;
        Ok(Pages {
            first: first.into_iter().collect(),
            rest: rows,
            ..pages.pages
        })
    }

    /// Looks at rows, in their order.
    fn look(
        &self,
        reading: &Reading<'_>,
        rows: BoxStream<'static, Result<FoundRow>>,
        undecided: &ResidualConditions,
        left_out: &LeftOut,
    ) -> BoxStream<'static, Result<Looked>> {
        let archive = self.clone();
        let left_out = left_out.clone();
        let needs_metadata = undecided.needs_metadata();
        let by_row = Matcher::new(&undecided.by_row);
        let by_metadata = Matcher::new(&undecided.by_metadata);
        let verdict = move |row: &FoundRow, metadata: Option<&str>| {
            let matches = || {
                let by_row = by_row.matches(&row.found.study)?;
                let text = metadata.filter(|_| by_row);
                let by_metadata = text.map(|text| by_metadata.matches(text)).transpose()?;
                Ok::<_, Malformed>(by_row && by_metadata.unwrap_or(!needs_metadata))
            };
            matches().unwrap_or_else(|_| {
                let unreadable = &archive.meters.unreadable;
                unreadable.note(row.found.newest, &left_out);
                false
            })
        };
        let position = |row: &FoundRow| row.found.place();
        if needs_metadata {
            let asked = rows.map_ok(|row| (row.found.newest, row)).boxed();
            let work = move |row: FoundRow, stored, _: &mut _| {
                let matches = match stored {
                    StoredText::There(metadata) => verdict(&row, Some(&metadata.text)),
                    StoredText::Gone => false,
                    // No text at all is as unreadable as a wrong one.
                    StoredText::Damaged | StoredText::TooLarge(_) => verdict(&row, Some("")),
                };
                Ok((position(&row), matches))
            };
            return self.with_metadata(
                &reading.scope.into(),
                asked,
                Arc::new(|_| 0),
                Arc::new(work),
            );
        }
        let (lanes, verdict) = (self.lanes().clone(), Arc::new(verdict));
        let chunks = rows.try_chunks(ROWS).map_err(|error| error.1);
        let looked = chunks.and_then(move |rows| {
            let (lanes, verdict) = (lanes.clone(), verdict.clone());
            async move {
                let looked = lanes.run(Lane::Text, move || {
                    let looked = rows.iter().map(|row| (position(row), verdict(row, None)));
                    Ok(looked.collect::<Vec<_>>())
                });
                Ok(stream::iter(looked.await?.into_iter().map(Ok)))
            }
        });
        looked.try_flatten().boxed()
    }
}

/// A page that is being gathered by a scan.
struct PageScan {
    order: Option<Order>,
    /// The place of the last row of the page.
    last: Option<Position>,
    /// Where the rows of the page are.
    positions: Vec<i64>,
    limit: u64,
    /// Matches still to be skipped.
    skip: u64,
    /// Matches behind the page.
    behind: u64,
    /// Matches.
    total: u64,
}

/// What a scan found.
struct Scanned {
    pages: Pages,
    positions: Vec<i64>,
}

impl PageScan {
    const fn new(order: Option<Order>, skip: u64, limit: u64) -> Self {
        Self {
            order,
            last: None,
            positions: Vec::new(),
            limit,
            skip,
            behind: 0,
            total: 0,
        }
    }

    /// Takes a row that matches; one before the position where the page begins is only counted.
    fn take(&mut self, position: Position, begin: Option<&Position>) {
        self.total += 1;
        if begin.is_some_and(|begin| begin.is_at_or_behind(&position, self.order)) {
        } else if self.skip > 0 {
            self.skip -= 1;
        } else if !self.is_full() {
            self.positions.push(position.id);
            self.last = Some(position);
        } else {
            self.behind += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.positions.len() as u64 >= self.limit
    }

    /// The page is full and something lies behind it.
    fn is_done(&self) -> bool {
        self.is_full() && self.behind > 0
    }

    fn pages(self, complete: bool, exact: bool) -> Scanned {
        let remaining = match (complete, self.behind) {
            (true, 0) => Remaining::Nothing,
            (true, behind) => Remaining::Exactly(behind),
            (false, behind) => Remaining::MoreThan(behind.saturating_sub(1)),
        };
        let pages = Pages {
            end: self.last.filter(|_| remaining != Remaining::Nothing),
            first: Vec::new(),
            rest: stream::empty().boxed(),
            remaining,
            total: (exact && complete).then_some(self.total),
        };
        Scanned {
            pages,
            positions: self.positions,
        }
    }
}

fn scanned_too_far(scanned: u64) -> ArchiveError {
    let reason = format!(
        "{scanned} rows were scanned for an attribute that has no index: add a condition on an indexed attribute, or make it an extended query tag"
    );
    ArchiveError::TooLarge { reason }
}
