//! The modality worklist: scheduled procedure steps of workitems (PS3.4 Annex K).
//!
//! Invariants: what matches is decided by the same matching as every search; a portion of workitems is in memory at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::super::Archive;
use super::super::error::{ArchiveError, Result};
use super::super::lanes::Lane;
use super::super::services::search::paging::{Remaining, too_many};
use super::super::texts::{TextPart, corrupt, unpacked_text};
use super::search::{COUNTED, WorkitemAnswer, portions};
use crate::dicom::data_set::JsonDataSet;
use crate::dicom::matcher::Matcher;
use crate::dicom::members::Malformed;
use crate::dicom::modality_worklist::{complete, entries};
use crate::dicom::normalize;
use crate::dicom::pieces::Pieces;
use crate::dicom::query::{Matching, Query};
use crate::dicom::workitem::{self, State};
use crate::index::{FoundWorkitem, IndexError, WorkitemFilter};
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

/// Rows read at a time.
const ROWS: u32 = 256;
/// Most memory for the first piece of an entry, in bytes, unless the entry is longer.
const PIECES: usize = 256 << 10;
/// Memory for a workitem while its entries are made, in multiples of what reading it takes.
const COPIES: usize = 4;

/// An entry of the worklist as its writer wrote it, with its memory.
#[derive(Debug)]
pub struct ScheduledStep {
    /// It.
    pub data: Vec<u8>,
    _held: Arc<Reservation>,
}

/// Writes an entry that was found.
pub type WriteStep = Arc<dyn Fn(&JsonDataSet) -> Vec<u8> + Send + Sync>;

/// Writes the DICOM JSON of an entry: its URL, and its text in pieces.
pub type WriteEntry = Arc<dyn Fn(String) -> (String, Box<dyn Pieces>) + Send + Sync>;

/// A text that is sent, with the memory of the portion it was made of.
struct HeldPieces {
    pieces: Box<dyn Pieces>,
    _held: Arc<Reservation>,
}

impl Pieces for HeldPieces {
    fn next(&mut self, least: usize) -> std::result::Result<Option<Vec<u8>>, Malformed> {
        self.pieces.next(least)
    }
}

/// Where a search is.
struct Listing {
    before: i64,
    portions: VecDeque<Vec<FoundWorkitem>>,
    ready: VecDeque<ScheduledStep>,
    looked: u64,
    found: u64,
}

impl Archive {
    /// A page of the entries that match, each with every return key (PS3.18 §14.4); those of the newest workitems first.
    ///
    /// They are looked for twice: what cannot be answered, and how much lies behind the page, is known before the answer begins.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when too many workitems would have to be looked at, or found.
    pub async fn search_scheduled_steps(
        &self,
        scope: &Scope,
        query: &Query,
        write: WriteEntry,
    ) -> Result<WorkitemAnswer> {
        let end = match query.limit {
            Some(limit) => query.offset.saturating_add(limit),
            None => u64::MAX,
        };
        let counted = COUNTED as u64;
        let mut counting = self.scheduled_steps(scope, query, Arc::new(|_| Vec::new()));
        let (mut found, mut behind, mut more) = (0_u64, 0_u64, false);
        while behind <= counted {
            match counting.next().await {
                None => break,
                Some(Ok(_)) => found += 1,
                Some(Err(ArchiveError::TooLarge { .. })) if behind > 0 => {
                    more = true;
                    break;
                }
                Some(Err(error)) => return Err(error),
            }
            behind = found.saturating_sub(end);
        }
        drop(counting);
        let remaining = match behind {
            0 => Remaining::Nothing,
            behind if more || behind > counted => Remaining::MoreThan(behind.min(counted)),
            behind => Remaining::Exactly(behind),
        };
        let page = found.min(end).saturating_sub(query.offset);
        let whole: WriteStep = Arc::new(|entry| {
            let mut entry = entry.clone();
            complete(&mut entry);
            serde_json::to_vec(&entry).unwrap_or_default()
        });
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let archive = self.clone();
        let parts = self
            .scheduled_steps(scope, query, whole)
            .skip(size(query.offset))
            .take(size(page))
            .and_then(move |step| {
                let (archive, write) = (archive.clone(), write.clone());
                async move { archive.step_part(step, write).await }
            });
        Ok(WorkitemAnswer {
            parts: parts.boxed(),
            empty: page == 0,
            remaining,
        })
    }

    /// An entry as a part of an answer.
    async fn step_part(&self, step: ScheduledStep, write: WriteEntry) -> Result<TextPart> {
        // As much as the first piece takes, in XML too; not waited for, as the memory of the portion is held.
        let length = step.data.len();
        let bytes = length.saturating_mul(16).min(PIECES).max(length);
        let mut own = self.budget.nothing(Purpose::Text);
        own.try_grow_to(bytes)?;
        let part = self.lanes().run(Lane::Text, move || {
            let corrupt = |_| IndexError::Corrupt { what: "a workitem" };
            let entry = String::from_utf8(step.data).map_err(|_| corrupt(()))?;
            let (url, pieces) = write(entry);
            let pieces = Box::new(HeldPieces {
                pieces,
                _held: step._held,
            });
            Self::begin_part(url, pieces, own).map_err(|_| corrupt(()).into())
        });
        part.await
    }

    /// Entries that match, those of the newest workitems first.
    #[must_use]
    pub fn scheduled_steps(
        &self,
        scope: &Scope,
        query: &Query,
        write: WriteStep,
    ) -> BoxStream<'static, Result<ScheduledStep>> {
        const PATIENT: dicom_core::Tag = dicom_core::Tag(0x0010, 0x0020);
        let mut filter = WorkitemFilter {
            states: Some(vec![State::Scheduled, State::InProgress]),
            ..WorkitemFilter::default()
        };
        for condition in &query.conditions {
            if let (Some(PATIENT), Matching::Single(id)) =
                (condition.path.single(), &condition.matching)
            {
                filter.patients = Some(vec![normalize::text(id)]);
            }
        }
        let (archive, scope) = (self.clone(), scope.clone());
        let matcher = Arc::new(Matcher::new(&query.conditions));
        let begun = Instant::now();
        let listing = Listing {
            before: i64::MAX,
            portions: VecDeque::new(),
            ready: VecDeque::new(),
            looked: 0,
            found: 0,
        };
        let next = move |mut listing: Listing| {
            let (archive, scope, filter) = (archive.clone(), scope.clone(), filter.clone());
            let (matcher, write) = (matcher.clone(), write.clone());
            async move {
                loop {
                    if let Some(step) = listing.ready.pop_front() {
                        listing.found += 1;
                        if listing.found > archive.limits.max_results {
                            return Err(too_many(archive.limits.max_results));
                        }
                        return Ok(Some((step, listing)));
                    }
                    if let Some(portion) = listing.portions.pop_front() {
                        listing.ready = archive
                            .matching_entries(portion, &matcher, &write)
                            .await?
                            .into();
                        continue;
                    }
                    let rows = archive
                        .index
                        .find_workitems(&scope, &filter, listing.before, ROWS);
                    let rows = rows.await?;
                    let Some(last) = rows.last() else {
                        return Ok(None);
                    };
                    listing.before = last.id;
                    listing.looked += rows.len() as u64;
                    let late = begun.elapsed() >= archive.limits.search_time();
                    if listing.looked > archive.limits.max_scan.max(1) || late {
                        return Err(ArchiveError::TooLarge {
                            reason: "the worklist is too long: ask for one Patient ID".to_owned(),
                        });
                    }
                    listing.portions = portions(rows).collect();
                }
            }
        };
        stream::try_unfold(listing, next).boxed()
    }

    /// Entries of a portion that match.
    async fn matching_entries(
        &self,
        portion: Vec<FoundWorkitem>,
        matcher: &Arc<Matcher>,
        write: &WriteStep,
    ) -> Result<Vec<ScheduledStep>> {
        let bytes = portion.iter().map(|row| row.weight.saturating_mul(COPIES));
        let bytes = bytes.fold(0_usize, usize::saturating_add);
        let held = Arc::new(self.budget.reserve(Purpose::Text, bytes).await?);
        let mut read = self.read_workitems(&portion).await?;
        let (matcher, write) = (matcher.clone(), write.clone());
        let made = self.lanes().run(Lane::Text, move || {
            let mut steps = Vec::new();
            for row in portion {
                let Some((_, packed)) = read.versions.remove(&row.id) else {
                    continue;
                };
                let item = workitem::parse(&unpacked_text(&packed)?);
                let item = item.map_err(|_| IndexError::Corrupt { what: "a workitem" })?;
                for entry in entries(&item) {
                    let text = workitem::write(&entry);
                    let text = text.map_err(|_| IndexError::Corrupt { what: "a workitem" })?;
                    if matcher.matches(&text).map_err(corrupt)? {
                        steps.push(ScheduledStep {
                            data: write(&entry),
                            _held: held.clone(),
                        });
                    }
                }
            }
            Ok(steps)
        });
        made.await
    }
}
