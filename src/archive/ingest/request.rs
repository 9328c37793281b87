//! A store request from its first part to its report.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::task::JoinHandle;

use super::commit::{BatchLevel, CommitBatch};
use super::options::StoreOptions;
use super::outcome::{Outcome, SopNames, reason_for_unreadable};
use super::persist::{PersistOutcome, lost_task};
use super::receive::{IncomingPart, PartBuffer};
use super::report::{Report, ReportBuilder};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::scope::Visible;
use crate::shares::{MakeWay, Share, ShareHolder};
use crate::trace;

/// Parts in a row that could not be stored, after which a request is not read on.
const HOPELESS: usize = 1000;
/// A store request under way.
pub struct StoreRequest {
    pub(super) archive: Archive,
    pub(super) options: Arc<StoreOptions>,
    /// Parts that are validated and persisted, in their order.
    pending: FuturesOrdered<JoinHandle<PersistOutcome>>,
    batch: CommitBatch,
    report: ReportBuilder,
    /// Parts that failed since the last one that did not.
    failed_in_a_row: usize,
    /// Bytes that were sent.
    pub(super) received: u64,
    /// Bytes of files that were composed here.
    composed: u64,
    parts: u64,
    sender: ShareHolder,
    make_way: Box<MakeWay>,
    slot: Option<Share>,
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
            batch: CommitBatch::new(&options),
            options: Arc::new(options),
            pending: FuturesOrdered::new(),
            report: ReportBuilder::new(&self.budget),
            failed_in_a_row: 0,
            received: 0,
            composed: 0,
            parts: 0,
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
    pub(super) async fn hold(&mut self, part: &mut IncomingPart, bytes: Bytes) -> Result<()> {
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
                    self.take(PersistOutcome::Failed(*outcome)).await?;
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
    pub(super) async fn fail_named(
        &mut self,
        (sop_class, instance): SopNames,
        reason: u16,
        comment: String,
    ) -> Result<()> {
        self.take_all().await?;
        self.take(PersistOutcome::Failed(Outcome::Failed {
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
        self.batch.announce(&self.archive);
        self.take_all().await?;
        self.flush().await?;
        match self.batch.into_unavailable() {
            Some(error) if !self.report.has_stored() => Err(error),
            _ => Ok(self.report.finish()),
        }
    }

    /// Waits for all parts under way.
    pub(super) async fn take_all(&mut self) -> Result<()> {
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

    /// Takes a part that is persisted, or failed; commits when there is enough.
    pub(super) async fn take(&mut self, part: PersistOutcome) -> Result<()> {
        match &part {
            PersistOutcome::Persisted(_) => self.failed_in_a_row = 0,
            PersistOutcome::Failed(_) | PersistOutcome::Unavailable(..) => {
                self.failed_in_a_row += 1
            }
        }
        match self.batch.push(part) {
            BatchLevel::Full => self.flush().await,
            BatchLevel::Open => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let batch = self
            .batch
            .flush(&self.archive, &self.options, &mut self.report);
        batch.await
    }
}
