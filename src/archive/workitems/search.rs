//! Searches for workitems and non-patient instances: columns narrow, the data set decides by the same matching as every search.
//!
//! Invariants: no further than the limits allow; what matches is remembered by its number and read again when it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::super::Archive;
use super::super::error::{ArchiveError, Result};
use super::super::lanes::Lane;
use super::super::services::search::WrittenRow;
use super::super::services::search::paging::Remaining;
use super::super::texts::{TextPart, corrupt, unpacked_text};
use super::WorkitemResult;
use crate::dicom::matcher::{Matcher, Projection};
use crate::dicom::members::Malformed;
use crate::dicom::merge::MergedJson;
use crate::dicom::nonpatient::NonPatientKind;
use crate::dicom::query::{Condition, Include, Matching, PathStep, Query, TagPath};
use crate::dicom::workitem::{DEFAULTS, State};
use crate::dicom::{normalize, query::Case};
use crate::index::{FoundWorkitem, Index, WorkitemFilter};
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

/// Rows read at a time.
const ROWS: u32 = 256;
/// Bytes of data sets that are in memory at a time, unless one has more.
const PORTION: usize = 2 << 20;
/// Results behind the page that are counted.
pub(super) const COUNTED: usize = 1000;
/// Bytes that a match takes while the list of them grows.
const MATCH_BYTES: usize = 64;

/// What a search for workitems answers.
pub struct WorkitemAnswer {
    /// Matching workitems, newest first; the first one was read.
    pub parts: BoxStream<'static, Result<TextPart>>,
    /// Whether there are none.
    pub empty: bool,
    /// Results behind the last one.
    pub remaining: Remaining,
}

impl std::fmt::Debug for WorkitemAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkitemAnswer")
            .field("empty", &self.empty)
            .finish_non_exhaustive()
    }
}

/// Writes a workitem that was found.
pub type WriteWorkitem =
    Arc<dyn Fn(MergedJson) -> std::result::Result<WrittenRow, Malformed> + Send + Sync>;

impl Archive {
    /// Runs a search; `write` says how a workitem is written.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when too many workitems would have to be looked at, or found.
    pub async fn search_workitems(
        &self,
        scope: &Scope,
        query: &Query,
        write: WriteWorkitem,
    ) -> WorkitemResult<WorkitemAnswer> {
        let (rows, open) = match narrowed(&query.conditions) {
            Some((filter, open)) => (SearchedRows::Workitems(Some(filter)), open),
            None => (SearchedRows::Workitems(None), Vec::new()),
        };
        Ok(self.search_rows(scope, rows, &open, query, write).await?)
    }

    /// Runs a search for non-patient instances.
    ///
    /// # Errors
    /// As [`Self::search_workitems`].
    pub async fn search_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        query: &Query,
        write: WriteWorkitem,
    ) -> Result<WorkitemAnswer> {
        let open = query.conditions.iter();
        let open = open.filter(|condition| condition.matching != Matching::Universal);
        let open: Vec<Condition> = open.cloned().collect();
        let rows = SearchedRows::NonPatient(kind);
        self.search_rows(scope, rows, &open, query, write).await
    }

    async fn search_rows(
        &self,
        scope: &Scope,
        rows: SearchedRows,
        open: &[Condition],
        query: &Query,
        write: WriteWorkitem,
    ) -> Result<WorkitemAnswer> {
        let most = usize::try_from(self.limits.max_results).unwrap_or(usize::MAX);
        let limit = query
            .limit
            .map(|limit| usize::try_from(limit).unwrap_or(most));
        let wanted = limit.unwrap_or(most).min(most);
        let skip = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let mut scan = Scan {
            skip,
            wanted,
            found: Vec::new(),
            behind: 0,
        };
        self.scan_rows(scope, &rows, open, &mut scan).await?;
        if scan.behind > 0 && limit.is_none() {
            return Err(super::super::services::search::paging::too_many(
                self.limits.max_results,
            ));
        }
        let remaining = match scan.behind {
            0 => Remaining::Nothing,
            behind if behind > COUNTED => Remaining::MoreThan(COUNTED as u64),
            behind => Remaining::Exactly(behind as u64),
        };
        let shown = Shown::of(query, rows.defaults());
        let mut parts = self.row_parts(rows, scan.found, shown, write);
        let first = parts.try_next().await?;
        let empty = first.is_none();
        let first = stream::iter(first.map(Ok));
        Ok(WorkitemAnswer {
            parts: first.chain(parts).boxed(),
            empty,
            remaining,
        })
    }

    async fn scan_rows(
        &self,
        scope: &Scope,
        searched: &SearchedRows,
        open: &[Condition],
        scan: &mut Scan,
    ) -> Result<()> {
        let matcher = Arc::new(Matcher::new(open));
        let begun = Instant::now();
        let mut held = self.budget.nothing(Purpose::Rows);
        let (mut before, mut scanned) = (i64::MAX, 0_u64);
        loop {
            let rows = searched.find(&*self.index, scope, before).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            before = last.id;
            let rows = if open.is_empty() {
                rows
            } else {
                scanned += rows.len() as u64;
                if scanned > self.limits.max_scan.max(1)
                    || begun.elapsed() >= self.limits.search_time()
                {
                    if scan.is_full() {
                        return Ok(());
                    }
                    return Err(searched.too_far(scanned));
                }
                self.matching(searched, rows, &matcher).await?
            };
            for row in rows {
                scan.take(row);
            }
            if scan.behind > COUNTED {
                return Ok(());
            }
            held.grow_to(scan.found.len().saturating_mul(MATCH_BYTES))
                .await?;
        }
    }

    /// Those of the rows whose data set matches.
    async fn matching(
        &self,
        searched: &SearchedRows,
        rows: Vec<FoundWorkitem>,
        matcher: &Arc<Matcher>,
    ) -> Result<Vec<FoundWorkitem>> {
        let mut found = Vec::new();
        for portion in portions(rows) {
            let read = self.read_rows(searched, &portion).await?;
            let matcher = Arc::clone(matcher);
            let matching = self.lanes().run(Lane::Text, move || {
                let RowTexts { packed, _held } = read;
                let matches = |row: &FoundWorkitem| {
                    let Some(packed) = packed.get(&row.id) else {
                        return Ok(false);
                    };
                    let text = unpacked_text(packed)?;
                    matcher.matches(&text).map_err(corrupt)
                };
                let mut matching = Vec::new();
                for row in portion {
                    if matches(&row)? {
                        matching.push(row);
                    }
                }
                Ok(matching)
            });
            found.extend(matching.await?);
        }
        Ok(found)
    }

    /// Reads packed data sets, with memory for what is made of them.
    pub(super) async fn read_workitems(&self, portion: &[FoundWorkitem]) -> Result<WorkitemTexts> {
        let (ids, held) = self.room_for(portion).await?;
        let contents = self.index.workitem_contents(&ids).await?;
        let versions = contents
            .into_iter()
            .map(|(id, version, content)| (id, (version, content)));
        Ok(WorkitemTexts {
            versions: versions.collect(),
            _held: held,
        })
    }

    /// Memory for what is read of rows, with their ids.
    async fn room_for(&self, portion: &[FoundWorkitem]) -> Result<(Vec<i64>, Reservation)> {
        let bytes = portion
            .iter()
            .map(needed)
            .fold(0_usize, usize::saturating_add);
        let held = self.budget.reserve(Purpose::Rows, bytes).await?;
        Ok((portion.iter().map(|row| row.id).collect(), held))
    }

    async fn read_rows(
        &self,
        searched: &SearchedRows,
        portion: &[FoundWorkitem],
    ) -> Result<RowTexts> {
        let (ids, held) = self.room_for(portion).await?;
        let packed = searched.contents(&*self.index, &ids).await?;
        Ok(RowTexts {
            packed: packed.into_iter().collect(),
            _held: held,
        })
    }

    /// What was found as parts of an answer; one that is gone by now is left out.
    fn row_parts(
        &self,
        searched: SearchedRows,
        found: Vec<FoundWorkitem>,
        shown: Shown,
        write: WriteWorkitem,
    ) -> BoxStream<'static, Result<TextPart>> {
        let archive = self.clone();
        let (shown, searched) = (Arc::new(shown), Arc::new(searched));
        let parts =
            stream::iter(portions(found).map(Ok::<_, ArchiveError>)).and_then(move |portion| {
                let (archive, shown, write) = (archive.clone(), shown.clone(), write.clone());
                let searched = searched.clone();
                async move {
                    let mut read = archive.read_rows(&searched, &portion).await?;
                    let made = archive.lanes().run(Lane::Text, move || {
                        let mut parts = Vec::new();
                        for row in portion {
                            let Some(packed) = read.packed.remove(&row.id) else {
                                continue;
                            };
                            let held = read._held.split(needed(&row));
                            let item = shown.pick(unpacked_text(&packed)?).map_err(corrupt)?;
                            let (url, pieces) = write(item).map_err(corrupt)?;
                            parts.push(Self::begin_part(url, pieces, held).map_err(corrupt)?);
                        }
                        Ok(parts)
                    });
                    Ok(stream::iter(
                        made.await?.into_iter().map(Ok::<_, ArchiveError>),
                    ))
                }
            });
        parts.try_flatten().boxed()
    }
}

/// What is searched.
#[derive(Debug)]
enum SearchedRows {
    /// Workitems; none where no column can match.
    Workitems(Option<WorkitemFilter>),
    /// Non-patient instances of a resource.
    NonPatient(NonPatientKind),
}

impl SearchedRows {
    async fn find(
        &self,
        index: &dyn Index,
        scope: &Scope,
        before: i64,
    ) -> Result<Vec<FoundWorkitem>> {
        Ok(match self {
            Self::Workitems(None) => Vec::new(),
            Self::Workitems(Some(filter)) => {
                index.find_workitems(scope, filter, before, ROWS).await?
            }
            Self::NonPatient(kind) => index.find_nonpatient(scope, *kind, before, ROWS).await?,
        })
    }

    async fn contents(&self, index: &dyn Index, ids: &[i64]) -> Result<Vec<(i64, Vec<u8>)>> {
        Ok(match self {
            Self::Workitems(_) => {
                let contents = index.workitem_contents(ids).await?;
                let without = |(id, _, content)| (id, content);
                contents.into_iter().map(without).collect()
            }
            Self::NonPatient(_) => index.nonpatient_metadata(ids).await?,
        })
    }

    fn defaults(&self) -> &'static [Tag] {
        match self {
            Self::Workitems(_) => DEFAULTS,
            Self::NonPatient(kind) => kind.defaults(),
        }
    }

    fn too_far(&self, scanned: u64) -> ArchiveError {
        match self {
            Self::Workitems(_) => looked_too_far(scanned),
            Self::NonPatient(kind) => ArchiveError::TooLarge {
                reason: format!(
                    "the search would have to look at more than {scanned} {}: ask for fewer results",
                    kind.as_str()
                ),
            },
        }
    }
}

/// Packed data sets by their number, with the memory that reading them takes.
struct RowTexts {
    packed: BTreeMap<i64, Vec<u8>>,
    _held: crate::memory::Reservation,
}

/// Packed workitems by their number, with the memory that reading them takes.
pub(super) struct WorkitemTexts {
    pub(super) versions: BTreeMap<i64, (i64, Vec<u8>)>,
    _held: crate::memory::Reservation,
}

/// Memory for reading a workitem and writing what is told of it.
fn needed(row: &FoundWorkitem) -> usize {
    row.packed.saturating_add(row.weight.saturating_mul(2))
}

/// Rows in portions of bounded memory.
pub(super) fn portions(rows: Vec<FoundWorkitem>) -> impl Iterator<Item = Vec<FoundWorkitem>> {
    let mut rows = rows.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut portion = vec![rows.next()?];
        let mut bytes = portion.first().map_or(0, needed);
        while let Some(next) = rows.next_if(|next| bytes.saturating_add(needed(next)) <= PORTION) {
            bytes = bytes.saturating_add(needed(&next));
            portion.push(next);
        }
        Some(portion)
    })
}

/// A page that is being gathered.
struct Scan {
    skip: usize,
    wanted: usize,
    found: Vec<FoundWorkitem>,
    behind: usize,
}

impl Scan {
    fn take(&mut self, row: FoundWorkitem) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if self.found.len() < self.wanted {
            self.found.push(row);
        } else {
            self.behind += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.skip == 0 && self.found.len() >= self.wanted
    }
}

fn looked_too_far(scanned: u64) -> ArchiveError {
    ArchiveError::TooLarge {
        reason: format!(
            "the search would have to look at more than {scanned} workitems: narrow it by ProcedureStepState, PatientID, \
             StudyInstanceUID or ScheduledProcedureStepStartDateTime, or ask for fewer results"
        ),
    }
}

/// What columns can say of the conditions, and the conditions that the data set must decide; none when nothing can match.
fn narrowed(conditions: &[Condition]) -> Option<(WorkitemFilter, Vec<Condition>)> {
    const PATIENT: u32 = 0x0010_0020;
    const STUDY: u32 = 0x0020_000D;
    const START: u32 = 0x0040_4005;
    let mut filter = WorkitemFilter::default();
    let mut open = Vec::new();
    for condition in conditions {
        let tag = condition.path.single();
        let number = tag.map(|tag| u32::from(tag.group()) << 16 | u32::from(tag.element()));
        let list: Option<&[String]> = match &condition.matching {
            Matching::Single(value) => Some(std::slice::from_ref(value)),
            Matching::AnyOf(values) => Some(values),
            _ => None,
        };
        match (number, list, &condition.matching) {
            (_, _, Matching::Universal) => continue,
            (_, Some(list), _)
                if tag == Some(tags::PROCEDURE_STEP_STATE) && filter.states.is_none() =>
            {
                let state = |text: &String| match condition.case {
                    Case::Sensitive => State::parse(text),
                    Case::Folded => State::parse(&text.to_ascii_uppercase()),
                };
                let states: Vec<State> = list.iter().filter_map(state).collect();
                if states.is_empty() {
                    return None;
                }
                filter.states = Some(states);
                continue;
            }
            (Some(PATIENT), Some(list), _) => {
                filter.patients = Some(list.iter().map(|id| normalize::text(id)).collect());
            }
            (Some(STUDY), Some(list), _) => filter.studies = Some(list.to_vec()),
            (Some(START), _, Matching::Range { from, to }) => {
                filter.from.clone_from(from);
                filter.to.clone_from(to);
            }
            _ => {}
        }
        open.push(condition.clone());
    }
    Some((filter, open))
}

/// What is told of each workitem.
struct Shown {
    everything: bool,
    paths: Projection,
}

impl Shown {
    fn of(query: &Query, defaults: &[Tag]) -> Self {
        let step = |tag: &Tag| PathStep {
            tag: *tag,
            creator: None,
        };
        let defaults = defaults.iter().map(|tag| TagPath(vec![step(tag)]));
        let mut paths: Vec<TagPath> = defaults.collect();
        paths.extend(query.conditions.iter().map(|c| c.path.clone()));
        if let Include::Fields(named) = &query.include {
            paths.extend(named.iter().cloned());
        }
        Self {
            everything: query.include == Include::All,
            paths: Projection::new(&paths),
        }
    }

    fn pick(&self, text: String) -> std::result::Result<MergedJson, Malformed> {
        if self.everything {
            return MergedJson::new(BTreeMap::new(), Some(text));
        }
        let mut reported = BTreeMap::new();
        self.paths.copy(&text, &mut reported)?;
        MergedJson::new(reported, None)
    }
}
