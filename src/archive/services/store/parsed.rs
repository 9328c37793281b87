//! One part from its last byte to its blob: parsed, packed for the index, made durable.
//!
//! Invariants: nobody waits for memory while he has a place in the lane or memory that others wait for. A parse has
//! [`FIRST`] bytes before it begins and may grow to [`SMALL`] as long as there is room at once; one that needs more gives
//! all back and walks again when it is its turn: then it alone waits with memory in its hands, and everybody else gets on.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::StoreOptions;
use super::outcome::{
    Outcome, check_named, check_study, check_visible, failed, lost_outcome, refused as refused_by,
    unreadable, without_memory,
};
use super::part::{GatheredBytes, PartBuffer, Spooling};
use super::reason;
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::jobs::commit::DurableBlob;
use crate::archive::lanes::{Lane, LanePlace};
use crate::archive::rules::{self, Rules, comment};
use crate::archive::spool::{NoSpace, SpoolRoom, is_no_space};
use crate::blob::{Payload, SpoolFile};
use crate::checksum::ContentSums;
use crate::dicom::error::NoParseMemory;
use crate::dicom::instance::Instance;
use crate::dicom::issue::ValidationIssue;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::parse_memory::GrantMemory;
use crate::dicom::source::{FileSource, Source};
use crate::dicom::uid::InstanceName;
use crate::index::{BlobPlace, NewInstance, PackedInstance, TagRow, invalid_values};
use crate::memory::{NoMemory, Purpose, Reservation};
use crate::trace;

/// Bytes reserved before a parse begins: more than most need.
const FIRST: usize = 192 << 10;
/// Most bytes of a parse that others need not wait for.
pub(super) const SMALL: usize = 4 << 20;
/// What an instance takes until it has its rows, in copies of what is packed: its own, the statement's, the driver's.
pub(super) const COPIES: usize = 3;
/// How long a large instance waits for its turn.
const TURN: Duration = Duration::from_secs(120);

/// A part that is worked on, or done with.
pub(super) enum PendingPart {
    /// Its blob is durable, its rows are packed.
    Ready {
        written: Box<DurableBlob>,
        sop_class: String,
        name: InstanceName,
        warning: Option<u16>,
        findings: Vec<ValidationIssue>,
    },
    /// It failed.
    Done(Outcome),
    /// It failed, and the whole request with it when nothing is stored.
    Unfinished(Outcome, ArchiveError),
}

pub(super) fn lost_task() -> PendingPart {
    PendingPart::Done(lost_outcome())
}

/// A part whose bytes are complete.
pub(super) struct WholePart {
    content: PartBytes,
    sums: ContentSums,
    /// Room in the spool of the payload.
    _room: Option<SpoolRoom>,
    /// Memory of the payload.
    _memory: Option<Reservation>,
}

enum PartBytes {
    Memory(Bytes),
    Spooled(SpoolFile, FileSource),
}

impl WholePart {
    pub(super) fn source(&self) -> &dyn Source {
        match &self.content {
            PartBytes::Memory(bytes) => bytes,
            PartBytes::Spooled(_, source) => source,
        }
    }

    /// Takes the bytes over; hashes what is in memory, so it takes a while.
    pub(super) fn new(held: PartBuffer) -> std::io::Result<Self> {
        match held {
            // It never gets here.
            PartBuffer::Refused(_) => Err(std::io::ErrorKind::PermissionDenied.into()),
            PartBuffer::Memory(GatheredBytes { bytes, room, .. }) => Ok(Self {
                sums: ContentSums::of(&bytes),
                content: PartBytes::Memory(Bytes::from(bytes)),
                _room: None,
                _memory: room,
            }),
            PartBuffer::Spool(spooling) => {
                let Spooling {
                    file, hasher, room, ..
                } = *spooling;
                let source = FileSource::new(file.file().and_then(File::try_clone)?)?;
                Ok(Self {
                    sums: hasher.finalize(),
                    content: PartBytes::Spooled(file, source),
                    _room: Some(room),
                    _memory: None,
                })
            }
        }
    }
}

impl Source for WholePart {
    fn len(&self) -> u64 {
        self.source().len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.source().read_at(offset, buf)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.source().as_slice()
    }
}

/// A part that will be stored, if it can be written.
struct ValidatedPart {
    new: NewInstance,
    findings: Vec<ValidationIssue>,
    sop_class: String,
    warning: Option<u16>,
    /// Memory of what is packed.
    held: Reservation,
}

/// The bytes of a part with what was reserved for them.
struct Load {
    payload: Payload,
    _room: Option<SpoolRoom>,
    _memory: Option<Reservation>,
}

/// How a parse ended.
enum ParseOutcome {
    Fit(Box<(ValidatedPart, Load)>),
    Failed(Box<Refusal>),
    /// It needs more memory than it may take now.
    Again(Box<WholePart>, RetryReason, Box<SopNames>),
}

/// Why a part is not stored, and what is wrong with the server, if it is that.
struct Refusal {
    outcome: Outcome,
    error: Option<ArchiveError>,
}

impl From<Outcome> for Box<Refusal> {
    fn from(outcome: Outcome) -> Self {
        Self::new(Refusal {
            outcome,
            error: None,
        })
    }
}

/// SOP class and SOP instance, as far as they are known.
pub(super) type SopNames = (Option<String>, Option<String>);

/// Why there is neither an instance nor a reason against it.
struct Refused {
    names: SopNames,
    error: ArchiveError,
}

/// How a try to walk and write ended.
enum ParseAttempt {
    Prepared(Box<PendingPart>),
    /// Others write: it has to wait for the disk.
    Unwritten(Box<(ValidatedPart, Load)>),
    Again(Box<WholePart>, RetryReason, Box<SopNames>),
}

/// What a part waits for before it is parsed again.
#[derive(Clone, Copy)]
enum RetryReason {
    /// Room for [`SMALL`] bytes.
    Room,
    /// Its turn.
    Turn,
    /// Nothing: there is no memory for it.
    Never(NoMemory),
}

/// The memory of one pass.
pub(super) struct ParseMemory {
    held: Mutex<Reservation>,
    /// Its turn: it may grow beyond [`SMALL`], and waits for it.
    turn: bool,
    refused: Mutex<Option<RetryReason>>,
}

impl ParseMemory {
    pub(super) fn new(held: Reservation, turn: bool) -> Self {
        Self {
            held: Mutex::new(held),
            turn,
            refused: Mutex::new(None),
        }
    }

    /// Grants memory piece by piece, as a parse asks for it.
    pub(super) fn grants(&self) -> impl Fn(usize) -> Result<(), NoParseMemory> + Sync + '_ {
        let taken = Mutex::new(0);
        move |bytes| {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            self.more(&mut taken, bytes)
        }
    }

    /// Grants `bytes` bytes more on top of `taken`.
    fn more(&self, taken: &mut usize, bytes: usize) -> Result<(), NoParseMemory> {
        let total = taken.saturating_add(bytes);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = if total <= held.bytes() {
            Ok(())
        } else if self.turn {
            held.grow_to_blocking(total).map_err(RetryReason::Never)
        } else if total > SMALL {
            Err(RetryReason::Turn)
        } else {
            // In steps that double, so that it is asked for seldom.
            let step = total.next_power_of_two().min(SMALL);
            held.try_grow_to(step).map_err(|error| match error {
                NoMemory::Busy => RetryReason::Room,
                NoMemory::TooLarge { .. } => RetryReason::Never(error),
            })
        };
        *taken = total;
        granted.map_err(|again| {
            let reason: NoParseMemory = match again {
                RetryReason::Never(error) => NoParseMemory(error.into()),
                RetryReason::Room | RetryReason::Turn => {
                    NoParseMemory("it has to wait for memory".into())
                }
            };
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
            reason
        })
    }

    fn refused(&self) -> Option<RetryReason> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there was no memory, for one whose turn it was.
    pub(super) fn no_memory(&self) -> Option<NoMemory> {
        match self.refused() {
            Some(RetryReason::Never(error)) => Some(error),
            _ => None,
        }
    }

    pub(super) fn into_held(self) -> Reservation {
        self.held
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archive {
    /// Makes an instance with rows and a durable blob of a part.
    pub(super) async fn prepare(self, options: Arc<StoreOptions>, held: PartBuffer) -> PendingPart {
        let tagged = match options.rules {
            Rules::V1 => self.query_tags().await,
            Rules::V2 | Rules::Standard => Ok(self.tags_at_hand().await),
        };
        let Ok(tagged) = tagged else {
            return lost_task();
        };
        let Refused { names, error } = match self.try_prepare(&options, &tagged, held).await {
            Ok(prepared) => return prepared,
            Err(refused) => *refused,
        };
        match error {
            ArchiveError::Memory(reason) => {
                PendingPart::Unfinished(without_memory(names, reason), error)
            }
            ArchiveError::Busy { .. } => {
                PendingPart::Unfinished(without_memory(names, NoMemory::Busy), error)
            }
            _ => lost_task(),
        }
    }

    async fn try_prepare(
        &self,
        options: &Arc<StoreOptions>,
        tagged: &Arc<Vec<TagRow>>,
        held: PartBuffer,
    ) -> Result<PendingPart, Box<Refused>> {
        let budget = &self.budget;
        let mut names = SopNames::default();
        let refused = |names: SopNames, error: ArchiveError| Box::new(Refused { names, error });
        let mut share = None;
        let mut part = Err(held);
        let mut turn = None;
        loop {
            let place = match self.lanes.enter(Lane::Ingest).await {
                Ok(place) => place,
                Err(error) => return Err(refused(names, error)),
            };
            // In this order: who waits for his place holds nothing.
            let first = || budget.try_reserve(Purpose::Instances, FIRST).ok();
            let Some(mine) = share
                .take()
                .or_else(|| first().map(|held| ParseMemory::new(held, false)))
            else {
                drop(place);
                match budget.reserve(Purpose::Instances, FIRST).await {
                    Ok(held) => share = Some(ParseMemory::new(held, false)),
                    Err(error) => return Err(refused(names, error.into())),
                }
                continue;
            };
            let (archive, options, tagged) = (self.clone(), options.clone(), tagged.clone());
            let tried = tokio::task::spawn_blocking(trace::carried_work(move || {
                archive.parse_and_write((&options, &tagged), part, mine, place)
            }));
            let tried = tried.await;
            // What is left of a large one is no longer in anybody's way.
            drop(turn.take());
            let (whole, again) = match tried {
                Ok(ParseAttempt::Prepared(prepared)) => return Ok(*prepared),
                Ok(ParseAttempt::Unwritten(unwritten)) => return Ok(self.write(*unwritten).await),
                Ok(ParseAttempt::Again(whole, again, known)) => {
                    names = *known;
                    (whole, again)
                }
                Err(_) => return Ok(lost_task()),
            };
            part = Ok(whole);
            match again {
                RetryReason::Never(error @ NoMemory::TooLarge { .. }) => {
                    return Ok(PendingPart::Done(without_memory(names, error)));
                }
                RetryReason::Never(error) => return Err(refused(names, error.into())),
                RetryReason::Room => {}
                RetryReason::Turn => {
                    let waited = tokio::time::timeout(TURN, self.turns.clone().acquire_owned());
                    let Ok(Ok(permit)) = waited.await else {
                        return Err(refused(names, NoMemory::Busy.into()));
                    };
                    turn = Some(permit);
                }
            }
            match budget.reserve(Purpose::Instances, SMALL).await {
                Ok(room) => share = Some(ParseMemory::new(room, turn.is_some())),
                Err(error) => return Err(refused(names, error.into())),
            }
        }
    }

    /// Walks a part in its place in the lane and writes its blob, where that need not wait, without.
    fn parse_and_write(
        &self,
        options: (&StoreOptions, &[TagRow]),
        part: Result<Box<WholePart>, PartBuffer>,
        share: ParseMemory,
        place: LanePlace,
    ) -> ParseAttempt {
        let timed = self.meters.parse.timed();
        let Ok(whole) = part.or_else(|held| WholePart::new(held).map(Box::new)) else {
            return ParseAttempt::Prepared(Box::new(lost_task()));
        };
        let parse = self.parse_whole(options, whole, share);
        drop(timed);
        drop(place);
        match parse {
            ParseOutcome::Fit(fit) => {
                let (fit, load) = *fit;
                // Often there is no need to change threads again.
                let _timed = self.meters.write.timed();
                match self.blobs.store_at_once(&fit.new.place.key, load.payload) {
                    Ok(stored) => ParseAttempt::Prepared(Box::new(self.written(fit, stored))),
                    Err(payload) => {
                        ParseAttempt::Unwritten(Box::new((fit, Load { payload, ..load })))
                    }
                }
            }
            ParseOutcome::Failed(refusal) => {
                let Refusal { outcome, error } = *refusal;
                ParseAttempt::Prepared(Box::new(match error {
                    None => PendingPart::Done(outcome),
                    Some(error) => PendingPart::Unfinished(outcome, error),
                }))
            }
            ParseOutcome::Again(whole, again, names) => ParseAttempt::Again(whole, again, names),
        }
    }

    /// Makes the blob of a part.
    async fn write(&self, (fit, load): (ValidatedPart, Load)) -> PendingPart {
        let timed = self.meters.write.timed();
        let stored = self.blobs.store(&fit.new.place.key, load.payload).await;
        drop(timed);
        self.written(fit, stored)
    }

    fn written(&self, fit: ValidatedPart, stored: crate::blob::Result<()>) -> PendingPart {
        let name = fit.new.packed.name().clone();
        if let Err(error) = stored {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a part could not be written"
            );
            let outcome = Outcome::Failed {
                sop_class: Some(fit.sop_class),
                instance: Some(name.instance.to_string()),
                reason: reason::OUT_OF_RESOURCES,
                comments: vec![
                    "the server could not write the instance; send it again later".to_owned(),
                ],
            };
            return PendingPart::Unfinished(outcome, error.into());
        }
        PendingPart::Ready {
            sop_class: fit.sop_class,
            name,
            findings: fit.findings,
            warning: fit.warning,
            written: Box::new(DurableBlob::new(self.blobs.clone(), fit.new).holding(fit.held)),
        }
    }

    /// parses and checks one part and packs its rows; runs in the lane.
    fn parse_whole(
        &self,
        (options, tagged): (&StoreOptions, &[TagRow]),
        whole: Box<WholePart>,
        share: ParseMemory,
    ) -> ParseOutcome {
        let found = self.found((options, tagged), whole.source(), &share.grants());
        if let Some(again) = share.refused() {
            let names = match found {
                Err(refusal) => refusal.outcome.names(),
                Ok(_) => SopNames::default(),
            };
            return ParseOutcome::Again(whole, again, Box::new(names));
        }
        let (instance, packed, warning) = match found {
            Ok(found) => found,
            Err(refusal) => return ParseOutcome::Failed(refusal),
        };
        let place = BlobPlace {
            key: self.new_key(
                options.partition,
                &instance.name,
                options.made_of.as_deref(),
            ),
            offset: 0,
            length: whole.source().len(),
            blocks: Some(whole.sums.blocks.clone()),
        };
        let mut held = share.into_held();
        held.must_cover(packed.bytes());
        held.shrink_to(packed.bytes().saturating_mul(COPIES));
        let WholePart {
            content,
            sums,
            _room,
            _memory,
        } = *whole;
        let fit = ValidatedPart {
            new: NewInstance {
                partition: options.partition,
                visible: options.visible.clone(),
                packed: Arc::new(packed),
                place,
                digest: sums.digest,
                replaces: options.replace.clone(),
                condition: None,
                expires: options.expires,
                restores: false,
            },
            findings: instance.findings,
            sop_class: instance.sop_class,
            warning,
            held,
        };
        let load = Load {
            payload: match content {
                PartBytes::Memory(bytes) => Payload::Memory(bytes),
                PartBytes::Spooled(file, _) => Payload::Spooled(file),
            },
            _room,
            _memory,
        };
        ParseOutcome::Fit(Box::new((fit, load)))
    }

    fn found(
        &self,
        (options, tagged): (&StoreOptions, &[TagRow]),
        source: &dyn Source,
        room: GrantMemory<'_>,
    ) -> Result<(Instance, PackedInstance, Option<u16>), Box<Refusal>> {
        if source.is_empty() {
            let outcome = unreadable(
                options.rules,
                "the part is empty: it must hold a DICOM file",
            );
            return Err(outcome.into());
        }
        let parse_options = ParseOptions {
            room: Some(room),
            ..self.parse_options(options.rules)
        };
        let mut instance = parse(source, &parse_options).map_err(|error| {
            Box::new(Refusal {
                outcome: refused_by(options.rules, &error),
                error: is_no_space(&error).then(|| NoSpace.into()),
            })
        })?;
        if let Some(outcome) = check_study(options, &instance) {
            return Err(outcome.into());
        }
        if let Some(outcome) = check_named(options, &instance) {
            return Err(outcome.into());
        }
        if let Some(outcome) = check_visible(options, &instance) {
            return Err(outcome.into());
        }
        let mut judgement = rules::validate(options.rules, &instance);
        if options.rules == Rules::V1 {
            let invalid = invalid_values(&instance.metadata.text, tagged);
            judgement
                .refusals
                .extend(invalid.iter().map(|(tag, reason)| comment(*tag, reason)));
        }
        if !judgement.refusals.is_empty() {
            let outcome = failed(&instance, reason::INVALID, judgement.refusals);
            return Err(outcome.into());
        }
        instance.findings.extend(
            judgement
                .warnings
                .into_iter()
                .map(|(tag, comment)| ValidationIssue { tag, comment }),
        );
        let warning = rules::warning(options.rules, &instance);
        let packed = PackedInstance::new(&instance, tagged, Some(room)).map_err(|error| {
            drop(error);
            let comments = vec!["there is no memory for it".to_owned()];
            Box::<Refusal>::from(failed(&instance, reason::OUT_OF_RESOURCES, comments))
        })?;
        // What is left of it is small; the text is no longer needed.
        instance.metadata = crate::dicom::instance::Metadata::default();
        Ok((instance, packed, warning))
    }
}
