//! One part from its last byte to its blob: walked, packed for the index, made durable.
//!
//! Invariants: nobody waits for memory while he has a place in the lane or memory that others wait for. A walk has
//! [`FIRST`] bytes before it begins and may grow to [`SMALL`] as long as there is room at once; one that needs more gives
//! all back and walks again when it is its turn: then it alone waits with memory in its hands, and everybody else gets on.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::StoreOptions;
use super::outcome::{
    Outcome, check_study, check_visible, failed, lost_outcome, reason, refused as refused_by,
    unreadable, without_memory,
};
use super::part::{Gathered, Held, Spooling};
use crate::archive::Archive;
use crate::archive::commit::Written;
use crate::archive::error::ArchiveError;
use crate::archive::lanes::{Lane, LanePlace};
use crate::archive::rules::{self, Rules, comment};
use crate::blob::{Payload, SpoolFile, instance_key};
use crate::dicom::instance::{Finding, Instance};
use crate::dicom::room::{NoRoom, Room};
use crate::dicom::source::{FileSource, Source};
use crate::dicom::uid::InstanceName;
use crate::dicom::walk::{WalkOptions, walk};
use crate::index::{NewInstance, PackedInstance, Place, TagRow, unfit};
use crate::memory::{NoMemory, Purpose, Reservation};
use crate::trace;

/// Bytes reserved before a walk begins: more than most need.
const FIRST: usize = 192 << 10;
/// Most bytes of a walk that others need not wait for.
const SMALL: usize = 4 << 20;
/// What an instance takes until it has its rows, in copies of what is packed: its own, the statement's, the driver's.
const COPIES: usize = 3;
/// How long a large instance waits for its turn.
const TURN: Duration = Duration::from_secs(120);

/// A part that is worked on, or done with.
pub(super) enum Prepared {
    /// Its blob is durable, its rows are packed.
    Ready {
        written: Written,
        sop_class: String,
        name: InstanceName,
        warning: Option<u16>,
        findings: Vec<Finding>,
    },
    /// It failed.
    Done(Outcome),
    /// It failed, and the whole request with it when nothing is stored.
    Unfinished(Outcome, ArchiveError),
}

pub(super) fn lost_task() -> Prepared {
    Prepared::Done(lost_outcome())
}

/// A part whose bytes are complete.
struct Whole {
    content: Content,
    digest: [u8; 32],
    /// Spool space of the payload.
    _permits: Vec<OwnedSemaphorePermit>,
    /// Memory of the payload.
    _room: Option<Reservation>,
}

enum Content {
    Memory(Bytes),
    Spooled(SpoolFile, FileSource),
}

impl Whole {
    fn source(&self) -> &dyn Source {
        match &self.content {
            Content::Memory(bytes) => bytes,
            Content::Spooled(_, source) => source,
        }
    }

    /// Takes the bytes over; hashes what is in memory, so it takes a while.
    fn new(held: Held) -> std::io::Result<Self> {
        match held {
            Held::Memory(Gathered { bytes, room }) => Ok(Self {
                digest: *blake3::hash(&bytes).as_bytes(),
                content: Content::Memory(Bytes::from(bytes)),
                _permits: Vec::new(),
                _room: room,
            }),
            Held::Spool(spooling) => {
                let Spooling {
                    file,
                    hasher,
                    permits,
                    ..
                } = *spooling;
                let source = FileSource::new(file.file().and_then(File::try_clone)?)?;
                Ok(Self {
                    digest: *hasher.finalize().as_bytes(),
                    content: Content::Spooled(file, source),
                    _permits: permits,
                    _room: None,
                })
            }
        }
    }
}

/// A part that will be stored, if it can be written.
struct Fit {
    new: NewInstance,
    findings: Vec<Finding>,
    sop_class: String,
    warning: Option<u16>,
    /// Memory of what is packed.
    held: Reservation,
}

/// The bytes of a part with what was reserved for them.
struct Load {
    payload: Payload,
    _permits: Vec<OwnedSemaphorePermit>,
    _room: Option<Reservation>,
}

/// How a walk ended.
enum Walk {
    Fit(Box<(Fit, Load)>),
    Failed(Box<Outcome>),
    /// It needs more memory than it may take now.
    Again(Box<Whole>, Again, Box<Names>),
}

/// SOP class and SOP instance, as far as they are known.
type Names = (Option<String>, Option<String>);

/// Why there is neither an instance nor a reason against it.
struct Refused {
    names: Names,
    error: ArchiveError,
}

/// How a try to walk and write ended.
enum Tried {
    Prepared(Box<Prepared>),
    /// Others write: it has to wait for the disk.
    Unwritten(Box<(Fit, Load)>),
    Again(Box<Whole>, Again, Box<Names>),
}

/// What a part waits for before it is walked again.
#[derive(Clone, Copy)]
enum Again {
    /// Room for [`SMALL`] bytes.
    Room,
    /// Its turn.
    Turn,
    /// Nothing: there is no memory for it.
    Never(NoMemory),
}

/// The memory of one walk.
struct Share {
    held: Mutex<Reservation>,
    /// Its turn: it may grow beyond [`SMALL`], and waits for it.
    turn: bool,
    refused: Mutex<Option<Again>>,
}

impl Share {
    fn new(held: Reservation, turn: bool) -> Self {
        Self {
            held: Mutex::new(held),
            turn,
            refused: Mutex::new(None),
        }
    }

    /// Grants `bytes` bytes more on top of `taken`.
    fn more(&self, taken: &mut usize, bytes: usize) -> Result<(), NoRoom> {
        let total = taken.saturating_add(bytes);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = if total <= held.bytes() {
            Ok(())
        } else if self.turn {
            held.grow_to_blocking(total).map_err(Again::Never)
        } else if total > SMALL {
            Err(Again::Turn)
        } else {
            // In steps that double, so that it is asked for seldom.
            let step = total.next_power_of_two().min(SMALL);
            held.try_grow_to(step).map_err(|error| match error {
                NoMemory::Busy => Again::Room,
                NoMemory::TooLarge { .. } => Again::Never(error),
            })
        };
        *taken = total;
        granted.map_err(|again| {
            let reason: NoRoom = match again {
                Again::Never(error) => NoRoom(error.into()),
                Again::Room | Again::Turn => NoRoom("it has to wait for memory".into()),
            };
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
            reason
        })
    }

    fn refused(&self) -> Option<Again> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_held(self) -> Reservation {
        self.held
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archive {
    /// Makes an instance with rows and a durable blob of a part.
    pub(super) async fn prepare(self, options: Arc<StoreOptions>, held: Held) -> Prepared {
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
                Prepared::Unfinished(without_memory(names, reason), error)
            }
            ArchiveError::Busy { .. } => {
                Prepared::Unfinished(without_memory(names, NoMemory::Busy), error)
            }
            _ => lost_task(),
        }
    }

    async fn try_prepare(
        &self,
        options: &Arc<StoreOptions>,
        tagged: &Arc<Vec<TagRow>>,
        held: Held,
    ) -> Result<Prepared, Box<Refused>> {
        let budget = &self.budget;
        let mut names = Names::default();
        let refused = |names: Names, error: ArchiveError| Box::new(Refused { names, error });
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
                .or_else(|| first().map(|held| Share::new(held, false)))
            else {
                drop(place);
                match budget.reserve(Purpose::Instances, FIRST).await {
                    Ok(held) => share = Some(Share::new(held, false)),
                    Err(error) => return Err(refused(names, error.into())),
                }
                continue;
            };
            let (archive, options, tagged) = (self.clone(), options.clone(), tagged.clone());
            let tried = tokio::task::spawn_blocking(trace::carried_work(move || {
                archive.walk_and_write((&options, &tagged), part, mine, place)
            }));
            let tried = tried.await;
            // What is left of a large one is no longer in anybody's way.
            drop(turn.take());
            let (whole, again) = match tried {
                Ok(Tried::Prepared(prepared)) => return Ok(*prepared),
                Ok(Tried::Unwritten(unwritten)) => return Ok(self.write(*unwritten).await),
                Ok(Tried::Again(whole, again, known)) => {
                    names = *known;
                    (whole, again)
                }
                Err(_) => return Ok(lost_task()),
            };
            part = Ok(whole);
            match again {
                Again::Never(error @ NoMemory::TooLarge { .. }) => {
                    return Ok(Prepared::Done(without_memory(names, error)));
                }
                Again::Never(error) => return Err(refused(names, error.into())),
                Again::Room => {}
                Again::Turn => {
                    let waited = tokio::time::timeout(TURN, self.turns.clone().acquire_owned());
                    let Ok(Ok(permit)) = waited.await else {
                        return Err(refused(names, NoMemory::Busy.into()));
                    };
                    turn = Some(permit);
                }
            }
            match budget.reserve(Purpose::Instances, SMALL).await {
                Ok(room) => share = Some(Share::new(room, turn.is_some())),
                Err(error) => return Err(refused(names, error.into())),
            }
        }
    }

    /// Walks a part in its place in the lane and writes its blob, where that need not wait, without.
    fn walk_and_write(
        &self,
        options: (&StoreOptions, &[TagRow]),
        part: Result<Box<Whole>, Held>,
        share: Share,
        place: LanePlace,
    ) -> Tried {
        let timed = self.meters.walk.timed();
        let Ok(whole) = part.or_else(|held| Whole::new(held).map(Box::new)) else {
            return Tried::Prepared(Box::new(lost_task()));
        };
        let walk = self.walk_whole(options, whole, share);
        drop(timed);
        drop(place);
        match walk {
            Walk::Fit(fit) => {
                let (fit, load) = *fit;
                // Often there is no need to change threads again.
                let _timed = self.meters.write.timed();
                match self.blobs.store_at_once(&fit.new.place.key, load.payload) {
                    Ok(stored) => Tried::Prepared(Box::new(self.written(fit, stored))),
                    Err(payload) => Tried::Unwritten(Box::new((fit, Load { payload, ..load }))),
                }
            }
            Walk::Failed(outcome) => Tried::Prepared(Box::new(Prepared::Done(*outcome))),
            Walk::Again(whole, again, names) => Tried::Again(whole, again, names),
        }
    }

    /// Makes the blob of a part.
    async fn write(&self, (fit, load): (Fit, Load)) -> Prepared {
        let timed = self.meters.write.timed();
        let stored = self.blobs.store(&fit.new.place.key, load.payload).await;
        drop(timed);
        self.written(fit, stored)
    }

    fn written(&self, fit: Fit, stored: crate::blob::Result<()>) -> Prepared {
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
            return Prepared::Unfinished(outcome, error.into());
        }
        Prepared::Ready {
            sop_class: fit.sop_class,
            name,
            findings: fit.findings,
            warning: fit.warning,
            written: Written::new(self.blobs.clone(), fit.new).holding(fit.held),
        }
    }

    /// Walks and checks one part and packs its rows; runs in the lane.
    fn walk_whole(
        &self,
        (options, tagged): (&StoreOptions, &[TagRow]),
        whole: Box<Whole>,
        share: Share,
    ) -> Walk {
        let taken = Mutex::new(0);
        let room = |bytes: usize| {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            share.more(&mut taken, bytes)
        };
        let found = self.found((options, tagged), whole.source(), &room);
        if let Some(again) = share.refused() {
            let names = match found {
                Err(outcome) => outcome.names(),
                Ok(_) => Names::default(),
            };
            return Walk::Again(whole, again, Box::new(names));
        }
        let (instance, packed, warning) = match found {
            Ok(found) => found,
            Err(outcome) => return Walk::Failed(outcome),
        };
        let place = Place {
            key: instance_key(&instance.name, &self.blobs.serial()),
            offset: 0,
            length: whole.source().len(),
        };
        let mut held = share.into_held();
        held.shrink_to(packed.bytes().saturating_mul(COPIES));
        let Whole {
            content,
            digest,
            _permits,
            _room,
        } = *whole;
        let fit = Fit {
            new: NewInstance {
                partition: options.partition,
                visible: options.visible.clone(),
                packed: Arc::new(packed),
                place,
                digest,
            },
            findings: instance.findings,
            sop_class: instance.sop_class,
            warning,
            held,
        };
        let load = Load {
            payload: match content {
                Content::Memory(bytes) => Payload::Memory(bytes),
                Content::Spooled(file, _) => Payload::Spooled(file),
            },
            _permits,
            _room,
        };
        Walk::Fit(Box::new((fit, load)))
    }

    fn found(
        &self,
        (options, tagged): (&StoreOptions, &[TagRow]),
        source: &dyn Source,
        room: Room<'_>,
    ) -> Result<(Instance, PackedInstance, Option<u16>), Box<Outcome>> {
        if source.is_empty() {
            let outcome = unreadable(
                options.rules,
                "the part is empty: it must hold a DICOM file",
            );
            return Err(Box::new(outcome));
        }
        let walk_options = WalkOptions {
            room: Some(room),
            ..self.walk_options(options.rules)
        };
        let mut instance = walk(source, &walk_options)
            .map_err(|error| Box::new(refused_by(options.rules, &error)))?;
        if let Some(outcome) = check_study(options, &instance) {
            return Err(Box::new(outcome));
        }
        if let Some(outcome) = check_visible(options, &instance) {
            return Err(Box::new(outcome));
        }
        let mut judgement = rules::judgement(options.rules, &instance);
        if options.rules == Rules::V1 {
            let unfit = unfit(&instance.metadata.text, tagged);
            judgement
                .refusals
                .extend(unfit.iter().map(|(tag, reason)| comment(*tag, reason)));
        }
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
        let packed = PackedInstance::new(&instance, tagged, Some(room)).map_err(|error| {
            drop(error);
            let comments = vec!["there is no memory for it".to_owned()];
            Box::new(failed(&instance, reason::OUT_OF_RESOURCES, comments))
        })?;
        // What is left of it is small; the text is no longer needed.
        instance.metadata = crate::dicom::instance::Metadata::default();
        Ok((instance, packed, warning))
    }
}
