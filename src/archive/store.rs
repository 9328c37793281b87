//! Store: parts in, a report out (PS3.18 §10.5).
//!
//! A part is kept in memory while it is small and there is room, else it flows to the spool; one walk tells all about
//! it; its blob is made durable; a batch of instances gets its rows in one transaction. Instances are independent: one
//! that fails does not touch the others, and what was acknowledged is durable.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use dicom_dictionary_std::tags;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::commit::{Coming, Written};
use super::error::{ArchiveError, Result};
use super::heal::Kept;
use super::rules::{self, Rules, comment};
use super::{Archive, MEMORY_UNIT, SPOOL_UNIT};
use crate::blob::{BlobError, Payload, SpoolFile, instance_key};
use crate::dicom::error::WalkError;
use crate::dicom::instance::{Finding, Instance};
use crate::dicom::source::{FileSource, Source};
use crate::dicom::uid::{InstanceName, StudyUid};
use crate::dicom::walk::{WalkOptions, walk};
use crate::fault;
use crate::index::{NewInstance, Place, TagRow, unfit};
use crate::scope::{Partition, Visible};
use crate::shares::{MakeWay, Share, Subject};
use crate::trace;

pub use described::Shelf;

mod described;

/// Instances committed together at most by one request before it goes on reading.
const FLUSH: usize = 256;
/// Bytes gathered for one write to the spool.
const SPOOL_WRITE: usize = 1 << 20;
/// Said of every instance outside of the sender's limits, whether its study exists or not.
const NOT_YOURS: &str =
    "the token allows storing for certain patients or studies only, and this is none of them";

/// What a store request asks for.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where the instances go.
    pub partition: Partition,
    /// Which studies the sender may store into.
    pub visible: Visible,
    /// Study of the URL: instances of another study fail.
    pub study: Option<StudyUid>,
    /// Rules of the face the request came through.
    pub rules: Rules,
}

/// What became of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored and durable.
    Stored {
        /// Its UIDs.
        name: InstanceName,
        /// SOP Class UID.
        sop_class: String,
        /// Warning reason (0008,1196), if any.
        warning: Option<u16>,
        /// What was wrong with single attributes.
        findings: Vec<Finding>,
    },
    /// It is not stored.
    Failed {
        /// SOP Class UID as far as it could be read.
        sop_class: Option<String>,
        /// SOP Instance UID as far as it could be read.
        instance: Option<String>,
        /// Failure reason (0008,1197).
        reason: u16,
        /// One sentence each; the first says why.
        comments: Vec<String>,
    },
}

/// Failure and warning reasons (PS3.18 §I.2.2, dicom-service §3).
pub mod reason {
    /// Processing failure.
    pub const PROCESSING: u16 = 0x0110;
    /// Duplicate SOP instance.
    pub const DUPLICATE: u16 = 0x0111;
    /// Not authorized: the study is not one the sender may store into.
    pub const NOT_AUTHORIZED: u16 = 0x0124;
    /// Out of resources.
    pub const OUT_OF_RESOURCES: u16 = 0xA700;
    /// Data set does not match the rules.
    pub const INVALID: u16 = 0xA900;
    /// Cannot understand.
    pub const CANNOT_UNDERSTAND: u16 = 0xC000;
    /// The same instance is stored already (DICOM service).
    pub const EXISTS: u16 = 0xB00E;
    /// Warning: the data set has attributes that do not keep the rules (DICOM service v2).
    pub const ATTRIBUTE_WARNING: u16 = 1;
    /// Warning: data set does not match SOP class.
    pub const NOT_MATCHING_CLASS: u16 = 0xB007;
}

/// A store request under way.
pub struct StoreRequest {
    archive: Archive,
    options: Arc<StoreOptions>,
    pending: FuturesOrdered<JoinHandle<Prepared>>,
    ready: VecDeque<Prepared>,
    outcomes: Vec<Outcome>,
    /// Why the first part that could not be written could not.
    unwritten: Option<BlobError>,
    received: u64,
    /// Bytes of files that were composed here.
    composed: u64,
    parts: u64,
    /// Set when only the last instances are left.
    coming: Option<Coming>,
    sender: Subject,
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

/// One part while it arrives.
#[derive(Debug)]
pub struct Part {
    held: Held,
    length: u64,
    /// Made here of metadata and bulk data.
    composed: bool,
}

impl Part {
    /// Nothing has arrived yet.
    const fn empty() -> Self {
        Self {
            held: Held::Memory {
                bytes: Vec::new(),
                permits: Vec::new(),
            },
            length: 0,
            composed: false,
        }
    }
}

#[derive(Debug)]
enum Held {
    Memory {
        bytes: Vec<u8>,
        permits: Vec<OwnedSemaphorePermit>,
    },
    Spool(Box<Spooling>),
}

/// A write to the spool under way, which ends with the hasher and its emptied room.
type Writing = JoinHandle<Result<(blake3::Hasher, Vec<u8>)>>;

/// A spool file that is written and hashed while the next bytes arrive.
#[derive(Debug)]
struct Spooling {
    file: SpoolFile,
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
    /// Room in the spool, in [`SPOOL_UNIT`]s.
    permits: Vec<OwnedSemaphorePermit>,
    /// The room of the write before.
    spare: Vec<u8>,
    /// The write under way, which has hasher and room.
    writing: Option<Writing>,
}

enum Prepared {
    Ready {
        written: Written,
        sop_class: String,
        name: InstanceName,
        warning: Option<u16>,
        findings: Vec<Finding>,
    },
    Done(Outcome),
    /// The blob store could not take it.
    Unwritten(Outcome, BlobError),
}

/// A part that will be stored, if it can be written.
struct Fit {
    new: NewInstance,
    warning: Option<u16>,
    payload: Payload,
    /// Memory or spool space of the payload.
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Archive {
    /// Begins a store request.
    ///
    /// # Errors
    /// None now: a slot is taken with the first bytes, see [`StoreRequest::take_slot`].
    pub fn begin_store(&self, options: StoreOptions) -> Result<StoreRequest> {
        Ok(StoreRequest {
            archive: self.clone(),
            options: Arc::new(options),
            pending: FuturesOrdered::new(),
            ready: VecDeque::new(),
            outcomes: Vec::new(),
            unwritten: None,
            received: 0,
            composed: 0,
            parts: 0,
            coming: None,
            sender: Subject::named("import"),
            make_way: Box::new(|_| false),
            slot: None,
        })
    }
}

impl StoreRequest {
    /// Says who sends it, for slots are shared among senders, and who could make way for it.
    pub fn sent_by(&mut self, sender: Subject, make_way: Box<MakeWay>) {
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
    pub fn begin_part(&mut self) -> Result<Part> {
        self.count_part()?;
        Ok(Part::empty())
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
    pub async fn write(&mut self, part: &mut Part, bytes: Bytes) -> Result<()> {
        let most = self.archive.limits.max_instance_bytes;
        if part.length + bytes.len() as u64 > most {
            let reason = format!("an instance may have {most} bytes at most");
            return Err(ArchiveError::TooLarge { reason });
        }
        self.hold(part, bytes).await
    }

    /// Keeps the next bytes in memory or spool.
    async fn hold(&mut self, part: &mut Part, bytes: Bytes) -> Result<()> {
        self.take_slot().await?;
        let count = bytes.len() as u64;
        part.length += count;
        let sum = if part.composed {
            &mut self.composed
        } else {
            &mut self.received
        };
        *sum += count;
        let limits = &self.archive.limits;
        if *sum > limits.max_request_bytes {
            let most = limits.max_request_bytes;
            let reason = format!("a request may have {most} bytes at most");
            return Err(ArchiveError::TooLarge { reason });
        }
        if let Held::Memory {
            bytes: held,
            permits,
        } = &mut part.held
        {
            if held.len() + bytes.len() <= limits.part_memory_bytes
                && reserve(&self.archive.memory, held, bytes.len(), permits)
            {
                held.extend_from_slice(&bytes);
                return Ok(());
            }
            part.held = Held::Spool(Box::new(self.spill(std::mem::take(held)).await?));
        }
        if let Held::Spool(spooling) = &mut part.held {
            reserve_spool(&self.archive.spool, part.length, &mut spooling.permits)?;
            spooling.gathered.extend_from_slice(&bytes);
            if spooling.gathered.len() >= SPOOL_WRITE {
                let _timed = self.archive.meters.spool.timed();
                return spooling.write_gathered().await;
            }
        }
        Ok(())
    }

    /// Hands a complete part over: it is walked and made durable while the next one arrives.
    ///
    /// # Errors
    /// When a batch that was ready could not be committed, or the spool fails.
    pub async fn end_part(&mut self, mut part: Part) -> Result<()> {
        if let Held::Spool(spooling) = &mut part.held {
            spooling.finish().await?;
        }
        let most = self.archive.limits.store_concurrency.max(1) * self.archive.blobs.overlap();
        while self.pending.len() >= most {
            self.take_one().await?;
        }
        let (archive, options) = (self.archive.clone(), self.options.clone());
        let permit = archive
            .work
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| ArchiveError::Lost { what: "work" })?;
        let stored = trace::carried(async move {
            let walker = archive.clone();
            let Ok(tagged) = archive.tags_to_keep(options.rules).await else {
                return lost_task();
            };
            let walked = tokio::task::spawn_blocking(trace::carried_work(move || {
                let timed = walker.meters.walk.timed();
                let walked = walk_part(&walker, (&options, &tagged), part.held);
                drop(timed);
                drop(permit);
                // Often there is no need to change threads again.
                walked.map(|fit| write_at_once(&walker, fit))
            }));
            match walked.await {
                Ok(Ok(Ok(prepared))) => prepared,
                Ok(Ok(Err(fit))) => write(&archive, *fit).await,
                Ok(Err(outcome)) => Prepared::Done(*outcome),
                Err(_) => lost_task(),
            }
        });
        self.pending.push_back(tokio::spawn(stored));
        Ok(())
    }

    /// Notes a part that cannot be read at all.
    pub async fn fail_part(&mut self, comment: String) -> Result<()> {
        self.fail_named((None, None), comment).await
    }

    /// Notes an instance that cannot be read; `names` are its SOP class and SOP instance as far as they are known.
    async fn fail_named(
        &mut self,
        (sop_class, instance): (Option<String>, Option<String>),
        comment: String,
    ) -> Result<()> {
        while !self.pending.is_empty() {
            self.take_one().await?;
        }
        self.ready.push_back(Prepared::Done(Outcome::Failed {
            sop_class,
            instance,
            reason: reason_for_unreadable(self.options.rules),
            comments: vec![comment],
        }));
        Ok(())
    }

    /// Waits for everything under way and reports each part in its order.
    ///
    /// # Errors
    /// When the index could not take a batch: nothing of that batch is acknowledged. When nothing is stored and the blob
    /// store is the reason, for then the whole request is to be sent again.
    pub async fn finish(mut self) -> Result<Vec<Outcome>> {
        self.coming = Some(self.archive.committer.announce());
        while !self.pending.is_empty() {
            self.take_one().await?;
        }
        self.flush().await?;
        let stored = |outcome: &Outcome| matches!(outcome, Outcome::Stored { .. });
        match self.unwritten {
            Some(error) if !self.outcomes.iter().any(stored) => Err(error.into()),
            _ => Ok(self.outcomes),
        }
    }

    async fn take_one(&mut self) -> Result<()> {
        if let Some(prepared) = self.pending.next().await {
            self.ready
                .push_back(prepared.unwrap_or_else(|_| lost_task()));
        }
        if self.ready.len() >= FLUSH {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Makes the names of the ready blobs durable and gives the instances their rows.
    async fn flush(&mut self) -> Result<()> {
        let mut written = Vec::new();
        let mut waiting = Vec::new();
        for prepared in self.ready.drain(..) {
            match prepared {
                Prepared::Done(outcome) => waiting.push(outcome),
                Prepared::Unwritten(outcome, error) => {
                    self.unwritten.get_or_insert(error);
                    waiting.push(outcome);
                }
                Prepared::Ready {
                    written: blob,
                    sop_class,
                    name,
                    warning,
                    findings,
                } => {
                    written.push((blob, waiting.len()));
                    waiting.push(Outcome::Stored {
                        name,
                        sop_class,
                        warning,
                        findings,
                    });
                }
            }
        }
        let (blobs, places): (Vec<Written>, Vec<usize>) = written.into_iter().unzip();
        let digests: Vec<Option<[u8; 32]>> = blobs.iter().map(Written::digest).collect();
        let keys = blobs.iter().map(Written::key);
        let meters = &self.archive.meters;
        let timed = meters.settle.timed();
        self.archive.blobs.settle(keys).await?;
        drop(timed);
        meters
            .batch
            .saw(u32::try_from(blobs.len()).unwrap_or(u32::MAX));
        let timed = meters.commit.timed();
        let coming = self.coming.take();
        let kept = self.archive.commit(blobs, coming).await?;
        drop(timed);
        for ((kept, at), digest) in kept.into_iter().zip(places).zip(digests) {
            match (kept, waiting.get_mut(at)) {
                (Kept::Exists(stored), Some(outcome)) => {
                    meet_stored(self.options.rules, outcome, digest == Some(stored));
                }
                (Kept::Outside, Some(outcome)) => meet_limit(outcome),
                (Kept::Unknown(error), Some(outcome)) => {
                    meet_unknown(outcome);
                    self.unwritten.get_or_insert(error);
                }
                _ => {}
            }
        }
        self.archive.meters.outcomes(&waiting);
        self.outcomes.append(&mut waiting);
        Ok(())
    }

    /// Moves what is in memory to the spool.
    async fn spill(&self, held: Vec<u8>) -> Result<Spooling> {
        let blobs = self.archive.blobs.clone();
        let spooled = tokio::task::spawn_blocking(move || {
            Ok::<_, crate::blob::BlobError>(Spooling::new(blobs.spool()?, held))
        });
        let mut spooling = spooled.await.map_err(|_| lost_spool())??;
        spooling.write_gathered().await?;
        Ok(spooling)
    }
}

/// Reserves room in the spool for a part of `length` bytes.
fn reserve_spool(
    spool: &Arc<Semaphore>,
    length: u64,
    permits: &mut Vec<OwnedSemaphorePermit>,
) -> Result<()> {
    let have: usize = permits.iter().map(OwnedSemaphorePermit::num_permits).sum();
    let units = length.div_ceil(SPOOL_UNIT).saturating_sub(have as u64);
    if units == 0 {
        return Ok(());
    }
    let busy = || ArchiveError::Busy {
        what: "spooling of other requests",
    };
    let units = u32::try_from(units).map_err(|_| busy())?;
    let permit = spool.clone().try_acquire_many_owned(units);
    let permit = permit.map_err(|_| busy())?;
    match permits.first_mut() {
        Some(first) => first.merge(permit),
        None => permits.push(permit),
    }
    Ok(())
}

/// Reserves room for `more` bytes; false when there is none.
fn reserve(
    memory: &Arc<Semaphore>,
    held: &mut Vec<u8>,
    more: usize,
    permits: &mut Vec<OwnedSemaphorePermit>,
) -> bool {
    if held.capacity() - held.len() >= more {
        return true;
    }
    let capacity = (held.len() + more).next_power_of_two().max(MEMORY_UNIT);
    let have: usize = permits.iter().map(OwnedSemaphorePermit::num_permits).sum();
    let units = capacity.div_ceil(MEMORY_UNIT).saturating_sub(have);
    let Ok(units) = u32::try_from(units) else {
        return false;
    };
    let Ok(permit) = memory.clone().try_acquire_many_owned(units) else {
        return false;
    };
    permits.push(permit);
    held.reserve_exact(capacity - held.len());
    true
}

impl Spooling {
    fn new(file: SpoolFile, held: Vec<u8>) -> Self {
        Self {
            file,
            hasher: blake3::Hasher::new(),
            gathered: held,
            permits: Vec::new(),
            spare: Vec::new(),
            writing: None,
        }
    }

    /// Begins to write what was gathered, once the write before is done.
    async fn write_gathered(&mut self) -> Result<()> {
        self.written().await?;
        let file = self.file.file().and_then(File::try_clone);
        let file = file.map_err(spool_failure)?;
        let room = std::mem::take(&mut self.spare);
        let mut gathered = std::mem::replace(&mut self.gathered, room);
        let mut hasher = std::mem::take(&mut self.hasher);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let mut file = file;
            file.write_all(&gathered).map_err(spool_failure)?;
            fault::point("store.spooled");
            hasher.update(&gathered);
            gathered.clear();
            gathered.shrink_to(2 * SPOOL_WRITE);
            Ok((hasher, gathered))
        }));
        Ok(())
    }

    /// Writes what is left and waits until all is written and hashed.
    async fn finish(&mut self) -> Result<()> {
        self.write_gathered().await?;
        self.written().await
    }

    async fn written(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            (self.hasher, self.spare) = writing.await.map_err(|_| lost_spool())??;
        }
        Ok(())
    }
}

fn lost_spool() -> ArchiveError {
    ArchiveError::Lost { what: "spool" }
}

fn spool_failure(source: std::io::Error) -> ArchiveError {
    ArchiveError::Blob(crate::blob::BlobError::at("the spool", source))
}

fn lost_task() -> Prepared {
    Prepared::Done(lost_outcome())
}

fn lost_outcome() -> Outcome {
    Outcome::Failed {
        sop_class: None,
        instance: None,
        reason: reason::PROCESSING,
        comments: vec!["the server failed on this part; its log says why".to_owned()],
    }
}

fn reason_for_unreadable(rules: Rules) -> u16 {
    match rules {
        Rules::Standard => reason::CANNOT_UNDERSTAND,
        Rules::V1 | Rules::V2 => reason::INVALID,
    }
}

/// Turns a success into what it means that the instance was there before.
fn meet_stored(rules: Rules, outcome: &mut Outcome, identical: bool) {
    let Outcome::Stored {
        name, sop_class, ..
    } = &*outcome
    else {
        return;
    };
    if rules == Rules::Standard && identical {
        return;
    }
    let (reason, comment) = match rules {
        Rules::Standard => (
            reason::DUPLICATE,
            "an instance with this SOP Instance UID but other bytes is stored already: delete it first, or send the new one under a new UID",
        ),
        Rules::V1 | Rules::V2 => (
            reason::EXISTS,
            "an instance with these Study, Series and SOP Instance UIDs is stored already",
        ),
    };
    *outcome = Outcome::Failed {
        sop_class: Some(sop_class.clone()),
        instance: Some(name.instance.to_string()),
        reason,
        comments: vec![comment.to_owned()],
    };
}

/// Turns a success into a failure: the bytes that are stored already cannot be looked at now.
fn meet_unknown(outcome: &mut Outcome) {
    if let Outcome::Stored {
        name, sop_class, ..
    } = &*outcome
    {
        *outcome = Outcome::Failed {
            sop_class: Some(sop_class.clone()),
            instance: Some(name.instance.to_string()),
            reason: reason::OUT_OF_RESOURCES,
            comments: vec![
                "the instance is stored already, but whether it is whole cannot be told now; send it again later"
                    .to_owned(),
            ],
        };
    }
}

/// Turns a success into a refusal that does not tell whether the study exists.
fn meet_limit(outcome: &mut Outcome) {
    if let Outcome::Stored {
        name, sop_class, ..
    } = &*outcome
    {
        *outcome = Outcome::Failed {
            sop_class: Some(sop_class.clone()),
            instance: Some(name.instance.to_string()),
            reason: reason::NOT_AUTHORIZED,
            comments: vec![NOT_YOURS.to_owned()],
        };
    }
}

/// An instance of a study that is not the sender's to store into fails before anything is written.
fn check_visible(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let mut attributes = instance.attributes.iter();
    let patient = attributes.find(|attribute| attribute.tag == tags::PATIENT_ID);
    let patient = patient.and_then(|patient| patient.values.iter().find(|id| !id.is_empty()));
    let study = instance.name.study.as_str();
    let admitted = options.visible.admits(study, patient.map(String::as_str));
    (!admitted).then(|| failed(instance, reason::NOT_AUTHORIZED, vec![NOT_YOURS.to_owned()]))
}

/// Walks and checks one part; runs on the blocking pool.
fn walk_part(
    archive: &Archive,
    (options, tagged): (&StoreOptions, &[TagRow]),
    held: Held,
) -> std::result::Result<Box<Fit>, Box<Outcome>> {
    match held {
        Held::Memory { bytes, permits } => {
            let (instance, warning) = walk_source(archive, (options, tagged), &bytes.as_slice())?;
            Ok(Box::new(Fit {
                new: NewInstance {
                    partition: options.partition,
                    visible: options.visible.clone(),
                    place: place(archive, &instance, bytes.len() as u64),
                    digest: *blake3::hash(&bytes).as_bytes(),
                    instance: Arc::new(instance),
                },
                warning,
                payload: Payload::Memory(Bytes::from(bytes)),
                _permits: permits,
            }))
        }
        Held::Spool(spooling) => {
            let Spooling {
                file,
                hasher,
                permits,
                ..
            } = *spooling;
            let opened = file.file().and_then(File::try_clone);
            let source = opened.and_then(FileSource::new);
            let source = source.map_err(|_| Box::new(lost_outcome()))?;
            let (instance, warning) = walk_source(archive, (options, tagged), &source)?;
            Ok(Box::new(Fit {
                new: NewInstance {
                    partition: options.partition,
                    visible: options.visible.clone(),
                    place: place(archive, &instance, source.len()),
                    digest: *hasher.finalize().as_bytes(),
                    instance: Arc::new(instance),
                },
                warning,
                payload: Payload::Spooled(file),
                _permits: permits,
            }))
        }
    }
}

fn place(archive: &Archive, instance: &Instance, length: u64) -> Place {
    Place {
        key: instance_key(&instance.name, &archive.blobs.serial()),
        offset: 0,
        length,
    }
}

fn walk_source(
    archive: &Archive,
    (options, tagged): (&StoreOptions, &[TagRow]),
    source: &dyn Source,
) -> std::result::Result<(Instance, Option<u16>), Box<Outcome>> {
    if source.is_empty() {
        let outcome = unreadable(
            options.rules,
            "the part is empty: it must hold a DICOM file",
        );
        return Err(Box::new(outcome));
    }
    let mut instance = walk(source, &archive.walk_options(options.rules))
        .map_err(|error| Box::new(refused(options.rules, &error)))?;
    if let Some(outcome) = check_study(options, &instance) {
        return Err(Box::new(outcome));
    }
    if let Some(outcome) = check_visible(options, &instance) {
        return Err(Box::new(outcome));
    }
    let mut judgement = rules::judgement(options.rules, &instance);
    let unfit = unfit(&instance.metadata.text, tagged);
    judgement
        .refusals
        .extend(unfit.iter().map(|(tag, reason)| comment(*tag, reason)));
    if !judgement.refusals.is_empty() {
        let outcome = failed(&instance, reason::INVALID, judgement.refusals);
        return Err(Box::new(outcome));
    }
    instance.findings.extend(
        judgement
            .warnings
            .into_iter()
            .map(|(tag, comment)| Finding { tag, comment }),
    );
    let warning = rules::warning(options.rules, &instance);
    Ok((instance, warning))
}

/// Makes the blob of a part.
async fn write(archive: &Archive, fit: Fit) -> Prepared {
    let timed = archive.meters.write.timed();
    let stored = archive.blobs.store(&fit.new.place.key, fit.payload).await;
    drop(timed);
    written(archive, fit.new, fit.warning, stored)
}

/// Makes the blob of a part on this thread, which may block; gives the part back when others have to go first.
fn write_at_once(archive: &Archive, mut fit: Box<Fit>) -> std::result::Result<Prepared, Box<Fit>> {
    let _timed = archive.meters.write.timed();
    match archive.blobs.store_at_once(&fit.new.place.key, fit.payload) {
        Ok(stored) => Ok(written(archive, fit.new, fit.warning, stored)),
        Err(payload) => {
            fit.payload = payload;
            Err(fit)
        }
    }
}

fn written(
    archive: &Archive,
    new: NewInstance,
    warning: Option<u16>,
    stored: crate::blob::Result<()>,
) -> Prepared {
    if let Err(error) = stored {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a part could not be written"
        );
        let outcome = failed(
            &new.instance,
            reason::OUT_OF_RESOURCES,
            vec!["the server could not write the instance; send it again later".to_owned()],
        );
        return Prepared::Unwritten(outcome, error);
    }
    let instance = &new.instance;
    Prepared::Ready {
        sop_class: instance.sop_class.clone(),
        name: instance.name.clone(),
        findings: instance.findings.clone(),
        warning,
        written: Written::new(archive.blobs.clone(), new),
    }
}

/// An instance of another study than the one in the URL fails.
fn check_study(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let study = options.study.as_ref()?;
    let comment = comment(
        tags::STUDY_INSTANCE_UID,
        "the Study Instance UID is not the one of the URL",
    );
    (*study != instance.name.study).then(|| failed(instance, reason::INVALID, vec![comment]))
}

fn failed(instance: &Instance, reason: u16, comments: Vec<String>) -> Outcome {
    Outcome::Failed {
        sop_class: Some(instance.sop_class.clone()),
        instance: Some(instance.name.instance.to_string()),
        reason,
        comments,
    }
}

fn unreadable(rules: Rules, comment: &str) -> Outcome {
    Outcome::Failed {
        sop_class: None,
        instance: None,
        reason: reason_for_unreadable(rules),
        comments: vec![comment.to_owned()],
    }
}

fn refused(rules: Rules, error: &WalkError) -> Outcome {
    let known = error.identifiers().cloned().unwrap_or_default();
    let (reason, comment) = match error {
        WalkError::Missing { tag, .. } => (
            reason::INVALID,
            comment(*tag, "the required attribute is missing or empty"),
        ),
        WalkError::BadUid { tag, source, .. } => {
            (reason::INVALID, comment(*tag, &source.to_string()))
        }
        WalkError::NotDicom
        | WalkError::Preamble
        | WalkError::Damaged { .. }
        | WalkError::Limit { .. }
        | WalkError::Read(_) => (reason_for_unreadable(rules), error.to_string()),
    };
    Outcome::Failed {
        sop_class: known.sop_class,
        instance: known.instance,
        reason,
        comments: vec![comment],
    }
}

impl Archive {
    /// How files are walked at the door of a face.
    pub(super) fn walk_options(&self, rules: Rules) -> WalkOptions<'_> {
        WalkOptions {
            inflate_to: Some(&*self.inflate_to),
            ..super::rules::walk_options(rules, &self.limits)
        }
    }
}
