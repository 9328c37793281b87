//! The modality worklist: scheduled procedure steps of workitems (PS3.4 Annex K).
//!
//! Invariants: what matches is decided by the same matching as every search; a portion of workitems is in memory at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::super::Archive;
use super::super::error::{ArchiveError, Result};
use super::super::lanes::Lane;
use super::super::services::search::paging::too_many;
use super::super::texts::{corrupt, unpacked_text};
use super::search::portions;
use crate::dicom::data_set::JsonDataSet;
use crate::dicom::matcher::Matcher;
use crate::dicom::modality_worklist::entries;
use crate::dicom::normalize;
use crate::dicom::query::{Matching, Query};
use crate::dicom::workitem::{self, State};
use crate::index::{FoundWorkitem, IndexError, WorkitemFilter};
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

/// Rows read at a time.
const ROWS: u32 = 256;
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

/// Where a search is.
struct Listing {
    before: i64,
    portions: VecDeque<Vec<FoundWorkitem>>,
    ready: VecDeque<ScheduledStep>,
    looked: u64,
    found: u64,
}

impl Archive {
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
