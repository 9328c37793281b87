//! Store: parts in, a report out (PS3.18 §10.5).
//!
//! A part is kept in memory while it is small and there is room, else it flows to the spool; one pass tells all about
//! it; its blob is made durable; a batch of instances gets its rows in one transaction. Instances are independent: one
//! that fails does not touch the others, and what was acknowledged is durable.
//!
//! Memory: everything that grows is reserved first. A part that gets none in time fails with A700, and the whole request
//! with 503 when none of its parts is stored, exactly as a part that cannot be written; what is received in vain, because
//! not even a buffer for the spool was to be had, fails the request.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::task::JoinHandle;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::jobs::commit::{CommitTicket, DurableBlob};
use crate::archive::jobs::heal::Kept;
use crate::archive::rules::Rules;
use crate::dicom::parse::ParseOptions;
use crate::index::StudyCondition;
use crate::memory::{Purpose, Reservation};
use crate::scope::Visible;
use crate::shares::{MakeWay, Share, ShareHolder};
use crate::trace;
use outcome::{meet_limit, meet_stored, meet_unknown, reason_for_unreadable};
use parsed::{PendingPart, lost_task};
use part::PartBuffer;

pub use described::BulkDataBuffer;
pub use options::{StoreOptions, SubmittedInstance};
pub use outcome::Outcome;
pub use part::IncomingPart;

mod again;
mod deidentified;
mod described;
mod made;
mod options;
mod outcome;
mod parsed;
mod part;
pub mod reason;

/// Instances committed together at most by one request before it goes on reading.
const FLUSH: usize = 256;
/// Bytes of instances that are packed and wait for that.
const FLUSH_BYTES: usize = 2 << 20;
/// Parts in a row that could not be stored, after which a request is not read on.
const HOPELESS: usize = 1000;
/// Bytes by which the memory of the report grows.
const REPORT: usize = 64 << 10;

/// A store request under way.
pub struct StoreRequest {
    archive: Archive,
    options: Arc<StoreOptions>,
    pending: FuturesOrdered<JoinHandle<PendingPart>>,
    ready: VecDeque<PendingPart>,
    /// Bytes that those who are ready hold.
    ready_bytes: usize,
    outcomes: Vec<Outcome>,
    /// Memory of the outcomes.
    report: Reservation,
    /// Bytes the outcomes take.
    report_bytes: usize,
    /// Why the first part that could not be finished could not.
    unfinished: Option<ArchiveError>,
    /// Parts that failed since the last one that did not.
    failed_in_a_row: usize,
    received: u64,
    /// Bytes of files that were composed here.
    composed: u64,
    parts: u64,
    /// What must hold of the study, until something is stored.
    condition: Option<Arc<StudyCondition>>,
    /// Set when only the last instances are left.
    expected: Option<CommitTicket>,
    sender: ShareHolder,
    make_way: Box<MakeWay>,
    slot: Option<Share>,
}

/// What became of the parts of a request, in their order.
#[derive(Debug)]
pub struct Report {
    /// One for each part.
    pub outcomes: Vec<Outcome>,
    /// Memory of the outcomes and of what is written of them.
    pub held: Reservation,
}

impl std::fmt::Debug for StoreRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreRequest")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Begins a store request.
    ///
    /// # Errors
    /// [`ArchiveError::Lost`] when nobody here has asked for the partition by its name. A slot is taken with the first bytes,
    /// see [`StoreRequest::take_slot`].
    pub fn begin_store(&self, options: StoreOptions) -> Result<StoreRequest> {
        self.knows_partition(options.partition)?;
        Ok(StoreRequest {
            archive: self.clone(),
            condition: options.condition.clone(),
            options: Arc::new(options),
            pending: FuturesOrdered::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            outcomes: Vec::new(),
            report: self.budget.nothing(Purpose::Reports),
            report_bytes: 0,
            unfinished: None,
            failed_in_a_row: 0,
            received: 0,
            composed: 0,
            parts: 0,
            expected: None,
            sender: ShareHolder::named("import"),
            make_way: Box::new(|_| false),
            slot: None,
        })
    }
}

impl StoreRequest {
    /// Says who sends it, for slots are shared among senders, and who could make way for it.
    pub fn sent_by(&mut self, sender: ShareHolder, make_way: Box<MakeWay>) {
        self.sender = sender;
        self.make_way = make_way;
    }

    /// Takes one of the slots for store requests, once: whoever has sent nothing yet holds none.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`] when too many run already, or too many of this sender.
    pub async fn take_slot(&mut self) -> Result<()> {
        if self.slot.is_some() {
            return Ok(());
        }
        let stores = self.archive.stores.clone();
        let slot = stores.take(&self.sender, None, &*self.make_way);
        self.slot = Some(slot.await.map_err(|_| ArchiveError::Busy {
            what: "store requests",
        })?);
        Ok(())
    }

    /// Begins the next part.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when the request has too many parts.
    pub fn begin_part(&mut self) -> Result<IncomingPart> {
        self.count_part()?;
        let mut part = IncomingPart::empty();
        part.passing = self.options.deidentify.is_some();
        Ok(part)
    }

    /// Counts a part that is not an instance, or an instance that is not a part.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when the request has too many.
    pub fn count_part(&mut self) -> Result<()> {
        self.parts += 1;
        if self.parts <= self.archive.limits.max_parts {
            return Ok(());
        }
        let reason = format!(
            "a request may hold {} parts at most: send the rest in another one",
            self.archive.limits.max_parts
        );
        Err(ArchiveError::TooLarge { reason })
    }

    /// How many more parts or instances the request may have.
    #[must_use]
    pub fn parts_left(&self) -> u64 {
        self.archive.limits.max_parts.saturating_sub(self.parts)
    }

    /// Takes the next bytes of a part.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] past the limits of instance or request; [`ArchiveError::Blob`] when the spool fails.
    pub async fn write(&mut self, part: &mut IncomingPart, bytes: Bytes) -> Result<()> {
        let most = self.archive.limits.max_instance_bytes;
        if part.length + bytes.len() as u64 > most {
            let reason = format!("an instance may have {most} bytes at most");
            return Err(ArchiveError::TooLarge { reason });
        }
        self.hold(part, bytes).await
    }

    /// Whether so many parts in a row could not be stored that the rest is not worth reading.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.failed_in_a_row >= HOPELESS
    }

    /// Commits what is ready while the client is silent, so that nobody waits for the memory that it holds.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn complete(&mut self) -> Result<()> {
        self.take_all().await?;
        self.flush().await
    }

    /// Keeps the next bytes in memory or spool.
    async fn hold(&mut self, part: &mut IncomingPart, bytes: Bytes) -> Result<()> {
        self.take_slot().await?;
        let count = bytes.len() as u64;
        part.length += count;
        let sum = if part.composed {
            &mut self.composed
        } else {
            &mut self.received
        };
        *sum += count;
        let most = self.archive.limits.max_request_bytes;
        if *sum > most {
            let reason = format!("a request may have {most} bytes at most");
            return Err(ArchiveError::TooLarge { reason });
        }
        let visible = match part.composed {
            // Bulk data, of which the instances are made later.
            true => &Visible::All,
            false => &self.options.visible,
        };
        self.archive.keep_bytes(part, bytes, visible).await
    }

    /// Hands a complete part over: it is parsed and made durable while the next one arrives.
    ///
    /// # Errors
    /// When a batch that was ready could not be committed, or the spool fails.
    pub async fn end_part(&mut self, mut part: IncomingPart) -> Result<()> {
        match &mut part.held {
            PartBuffer::Memory(_) => {}
            PartBuffer::Spool(spooling) => spooling.finish().await?,
            PartBuffer::Refused(_) => {
                self.take_all().await?;
                if let PartBuffer::Refused(outcome) = part.held {
                    self.take(PendingPart::Done(*outcome)).await?;
                }
                return Ok(());
            }
        }
        let most = self.archive.limits.store_concurrency.max(1) * self.archive.blobs.overlap();
        while self.pending.len() >= most {
            self.take_one().await?;
        }
        let prepared = self
            .archive
            .clone()
            .prepare_as_asked(self.options.clone(), part.held);
        self.pending
            .push_back(tokio::spawn(trace::carried(prepared)));
        Ok(())
    }

    /// Notes a part that cannot be read at all.
    pub async fn fail_part(&mut self, comment: String) -> Result<()> {
        let reason = reason_for_unreadable(self.options.rules);
        self.fail_named((None, None), reason, comment).await
    }

    /// Notes an instance that is not stored; `names` are its SOP class and SOP instance as far as they are known.
    async fn fail_named(
        &mut self,
        (sop_class, instance): (Option<String>, Option<String>),
        reason: u16,
        comment: String,
    ) -> Result<()> {
        self.take_all().await?;
        self.take(PendingPart::Done(Outcome::Failed {
            sop_class,
            instance,
            reason,
            comments: vec![comment],
        }))
        .await
    }

    /// Waits for everything under way and reports each part in its order.
    ///
    /// # Errors
    /// When the index could not take a batch: nothing of that batch is acknowledged. When nothing is stored and there was no
    /// memory or the blob store is the reason, for then the whole request is to be sent again.
    pub async fn finish(mut self) -> Result<Report> {
        self.expected = Some(self.archive.committer.announce());
        self.take_all().await?;
        self.flush().await?;
        let stored = |outcome: &Outcome| matches!(outcome, Outcome::Stored { .. });
        match self.unfinished {
            Some(error) if !self.outcomes.iter().any(stored) => Err(error),
            _ => Ok(Report {
                outcomes: self.outcomes,
                held: self.report,
            }),
        }
    }

    async fn take_all(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            self.take_one().await?;
        }
        Ok(())
    }

    async fn take_one(&mut self) -> Result<()> {
        match self.pending.next().await {
            Some(prepared) => self.take(prepared.unwrap_or_else(|_| lost_task())).await,
            None => Ok(()),
        }
    }

    /// Takes what is ready; commits when it is much.
    async fn take(&mut self, prepared: PendingPart) -> Result<()> {
        match &prepared {
            PendingPart::Ready { written, .. } => {
                self.failed_in_a_row = 0;
                self.ready_bytes = self.ready_bytes.saturating_add(written.held());
            }
            PendingPart::Done(_) | PendingPart::Unfinished(..) => self.failed_in_a_row += 1,
        }
        self.ready.push_back(prepared);
        if self.ready.len() >= FLUSH || self.ready_bytes >= FLUSH_BYTES {
            return self.flush().await;
        }
        Ok(())
    }

    /// Makes the names of the ready blobs durable and gives the instances their rows.
    async fn flush(&mut self) -> Result<()> {
        let mut written = Vec::new();
        let mut waiting = Vec::new();
        self.ready_bytes = 0;
        for prepared in self.ready.drain(..) {
            match prepared {
                PendingPart::Done(outcome) => waiting.push(outcome),
                PendingPart::Unfinished(outcome, error) => {
                    self.unfinished.get_or_insert(error);
                    waiting.push(outcome);
                }
                PendingPart::Ready {
                    written: blob,
                    sop_class,
                    name,
                    warning,
                    findings,
                } => {
                    written.push((*blob, waiting.len()));
                    waiting.push(Outcome::Stored {
                        name,
                        sop_class,
                        warning,
                        findings,
                    });
                }
            }
        }
        let (blobs, places): (Vec<DurableBlob>, Vec<usize>) = written.into_iter().unzip();
        if !blobs.is_empty() {
            self.commit(blobs, &places, &mut waiting).await?;
        }
        self.archive.meters.outcomes(&waiting);
        for mut outcome in waiting {
            self.reserve_report(&mut outcome).await?;
            self.outcomes.push(outcome);
        }
        Ok(())
    }

    async fn commit(
        &mut self,
        mut blobs: Vec<DurableBlob>,
        places: &[usize],
        waiting: &mut [Outcome],
    ) -> Result<()> {
        if let Some(condition) = &self.condition {
            let each = blobs.iter_mut();
            each.for_each(|blob| blob.require(condition.clone()));
        }
        let digests: Vec<Option<[u8; 32]>> = blobs.iter().map(DurableBlob::digest).collect();
        let keys = blobs.iter().map(DurableBlob::key);
        let meters = &self.archive.meters;
        let timed = meters.settle.timed();
        self.archive.blobs.sync_dirs(keys).await?;
        drop(timed);
        meters
            .batch
            .saw(u32::try_from(blobs.len()).unwrap_or(u32::MAX));
        let timed = meters.commit.timed();
        let expected = self.expected.take();
        let kept = self.archive.commit(blobs, expected).await?;
        drop(timed);
        if kept.iter().any(|kept| matches!(kept, Kept::Unmatched)) {
            self.archive.blobs.discarded().await;
            return Err(ArchiveError::Unmatched);
        }
        if kept.iter().any(|kept| matches!(kept, Kept::Stored)) {
            self.condition = None;
        }
        let mut discarded = false;
        for ((kept, at), digest) in kept.into_iter().zip(places).zip(digests) {
            match (kept, waiting.get_mut(*at)) {
                (Kept::Exists(stored), Some(outcome)) => {
                    discarded = true;
                    let identical = digest == Some(stored);
                    // There is nothing to replace.
                    if self.options.replace.is_none() || !identical {
                        meet_stored(self.options.rules, outcome, identical);
                    }
                }
                (Kept::Outside, Some(outcome)) => {
                    discarded = true;
                    meet_limit(outcome);
                }
                (Kept::Unknown(error), Some(outcome)) => {
                    discarded = true;
                    meet_unknown(outcome);
                    self.unfinished.get_or_insert(error.into());
                }
                _ => {}
            }
        }
        if discarded {
            self.archive.blobs.discarded().await;
        }
        Ok(())
    }

    /// Reserves the memory of an outcome, several times over for what is written of it; where there is none, its comments
    /// but the first are left out.
    async fn reserve_report(&mut self, outcome: &mut Outcome) -> Result<()> {
        const WRITTEN: usize = 4;
        let most = self.archive.budget.bytes() / 16;
        let total = |outcome: &Outcome, before: usize| {
            before.saturating_add(outcome.bytes().saturating_mul(WRITTEN))
        };
        let mut bytes = total(outcome, self.report_bytes);
        let wanted = bytes.next_multiple_of(REPORT);
        if bytes > most || self.report.try_grow_to(wanted).is_err() {
            outcome.shorten();
            bytes = total(outcome, self.report_bytes);
            let wanted = bytes.next_multiple_of(REPORT);
            self.report.grow_to(wanted).await?;
        }
        self.report_bytes = bytes;
        Ok(())
    }
}

impl Archive {
    /// How files are parsed at the door of a face.
    pub(in crate::archive) fn parse_options(&self, rules: Rules) -> ParseOptions<'_> {
        ParseOptions {
            inflate_to: Some(&*self.inflate_to),
            ..crate::archive::rules::parse_options(rules, &self.limits)
        }
    }
}
