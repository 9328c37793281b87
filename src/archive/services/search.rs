//! Search: which rows match, and what goes into the answer (PS3.18 §10.6).
//!
//! Conditions on attributes that have a place in the index are the index's; the rest is matched in the stored metadata
//! of the newest instance of each row, slowly and bounded, and a warning says so.
//!
//! Invariant: of rows that were found and not sent yet, a portion is in memory, counted in bytes; what has been matched by a
//! scan is remembered by its position and read again when it is sent.

pub mod cursor;
pub mod paging;
pub(in crate::archive) mod scan;
pub(in crate::archive) mod selection;

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream};

use super::search::cursor::{PageCursor, cursor};
use super::search::paging::{FoundRow, Paging, Reading, Remaining};
use super::search::scan::ResidualConditions;
use super::search::selection::RowSelection;
pub use super::search::selection::{FieldSelection, ResultRow, keys_of};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::left_out::LeftOut;
use crate::archive::texts::{StoredText, TextPart};
use crate::dicom::members::Malformed;
use crate::dicom::pieces::Pieces;
use crate::dicom::query::Query;
use crate::index::TagRow;
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

/// Rows whose answers are made at a time, and their bytes, about.
const ROWS: usize = 128;
const ROW_BYTES: usize = 256 << 10;

/// What a search answers.
pub struct SearchResult {
    /// Matching rows in the order that was asked for, else newest first, as the caller wrote them; the first ones were read.
    pub parts: BoxStream<'static, Result<TextPart>>,
    /// Whether there are none.
    pub empty: bool,
    /// Rows that matched or might have, and were left out because they cannot be read.
    pub left_out: LeftOut,
    /// Results behind the last row.
    pub remaining: Remaining,
    /// Where the next page begins, when there is one.
    pub next: Option<PageCursor>,
    /// All results of the search, when they were to be counted.
    pub total: Option<u64>,
    /// What the client should know, as texts for `Warning: 299`.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for SearchResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("empty", &self.empty)
            .field("remaining", &self.remaining)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// What a row is, written: its URL, and the text of it.
pub type WrittenRow = (String, Box<dyn Pieces>);

/// Writes a row; called where it keeps no request waiting.
pub type Write = Arc<dyn Fn(ResultRow) -> std::result::Result<WrittenRow, Malformed> + Send + Sync>;

impl Archive {
    /// Runs a search; `write` says how a row is written.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when more rows match than one answer may hold and no limit was asked for, when too many
    /// rows would have to be skipped or scanned, or when the index gave up after a while.
    pub async fn search(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        fields: FieldSelection<'_>,
        paging: Paging,
        write: Write,
    ) -> Result<SearchResult> {
        let undecided = ResidualConditions::of(query, tags);
        let wanted = RowSelection::new(query, fields);
        let mut warnings = Vec::new();
        let reading = Reading {
            scope,
            query,
            tags,
            paging,
        };
        let left_out = LeftOut::default();
        if undecided.needs_metadata() {
            warnings.push("Attributes without an index were matched by a slow scan; an extended query tag makes them fast".to_owned());
        }
        let pages = if undecided.is_empty() {
            self.read_pages(&reading).await?
        } else {
            self.scan_pages(&reading, &undecided, &left_out).await?
        };
        let empty = pages.first.is_empty();
        let rows = stream::iter(pages.first.into_iter().map(Ok)).chain(pages.rest);
        Ok(SearchResult {
            parts: self.parts(scope, rows.boxed(), wanted, write, &left_out),
            empty,
            left_out,
            remaining: pages.remaining,
            next: pages.end.map(|end| cursor(query, end)),
            total: pages.total,
            warnings,
        })
    }

    /// Rows as parts of the answer.
    fn parts(
        &self,
        scope: &Scope,
        rows: BoxStream<'static, Result<FoundRow>>,
        wanted: RowSelection,
        write: Write,
        left_out: &LeftOut,
    ) -> BoxStream<'static, Result<TextPart>> {
        let wanted = Arc::new(wanted);
        if !wanted.metadata {
            let maker = ResultBuilder {
                archive: self.clone(),
                wanted,
                write,
                left_out: left_out.clone(),
            };
            return maker.parts(rows);
        }
        let copies = wanted.clone();
        let more = Arc::new(move |metadata| copies.copied(metadata));
        let maker = ResultBuilder {
            archive: self.clone(),
            wanted,
            write,
            left_out: left_out.clone(),
        };
        let work = move |row: FoundRow, stored, held: &mut Reservation| {
            let whole = held.bytes();
            let held = held.split(whole);
            Ok(match stored {
                StoredText::There(metadata) => maker.part(&row, Some(metadata.text), held),
                StoredText::Gone => maker.part(&row, None, held),
                StoredText::Damaged | StoredText::TooLarge(_) => {
                    maker.left_out(&row);
                    None
                }
            })
        };
        let asked = rows.map_ok(|row| (row.found.newest, row)).boxed();
        let parts = self.with_metadata(&scope.into(), asked, more, Arc::new(work));
        parts.try_filter_map(|part| async { Ok(part) }).boxed()
    }
}

/// Makes parts of rows.
struct ResultBuilder {
    archive: Archive,
    wanted: Arc<RowSelection>,
    write: Write,
    left_out: LeftOut,
}

impl ResultBuilder {
    fn left_out(&self, row: &FoundRow) {
        let unreadable = &self.archive.meters.unreadable;
        unreadable.note(row.found.newest, &self.left_out);
    }

    /// None when the row cannot be read.
    fn part(&self, row: &FoundRow, stored: Option<String>, held: Reservation) -> Option<TextPart> {
        let picked = self.wanted.pick(&row.found, stored);
        let written = picked.and_then(|row| (self.write)(row));
        let part = written.and_then(|(url, pieces)| Archive::begin_part(url, pieces, held));
        if part.is_err() {
            self.left_out(row);
        }
        part.ok()
    }

    /// Parts of rows that need no metadata.
    fn parts(
        self,
        rows: BoxStream<'static, Result<FoundRow>>,
    ) -> BoxStream<'static, Result<TextPart>> {
        let maker = Arc::new(self);
        let jobs = stream::try_unfold((rows, maker), |(mut rows, maker)| async move {
            let mut job: Vec<FoundRow> = Vec::new();
            let mut bytes = 0_usize;
            while job.len() < ROWS && bytes < ROW_BYTES {
                let Some(row) = rows.try_next().await? else {
                    break;
                };
                bytes = bytes.saturating_add(needed(&row));
                job.push(row);
            }
            if job.is_empty() {
                return Ok::<_, ArchiveError>(None);
            }
            let mut held = maker.archive.budget.reserve(Purpose::Text, bytes).await?;
            let work = maker.clone();
            let made = maker.archive.lanes().run(Lane::Text, move || {
                let parts = job.into_iter().filter_map(|row| {
                    let held = held.split(needed(&row));
                    work.part(&row, None, held)
                });
                Ok(parts.collect::<Vec<TextPart>>())
            });
            let parts = stream::iter(made.await?.into_iter().map(Ok));
            Ok(Some((parts, (rows, maker))))
        });
        jobs.try_flatten().boxed()
    }
}

/// Bytes that what is made of a row may need.
fn needed(row: &FoundRow) -> usize {
    row.found.bytes().saturating_mul(2).saturating_add(1024)
}
