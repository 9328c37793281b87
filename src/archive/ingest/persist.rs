//! The third stage of a store: the blob of a validated part is made durable.
//!
//! Invariant: nobody waits for memory while he has a place in the lane or memory that others wait for: a parse that needs
//! more than may be granted at once gives all back, and is done again when there is room, or when it is its turn.

use std::sync::Arc;
use std::time::Duration;

use super::complete::{CompletePart, Load};
use super::options::StoreOptions;
use super::outcome::{Outcome, SopNames, lost_outcome, without_memory};
use super::parse_memory::{FIRST, ParseMemory, RetryReason, SMALL};
use super::reason;
use super::receive::PartBuffer;
use super::validate::{ParseOutcome, Refusal, ValidatedPart};
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::jobs::commit::DurableBlob;
use crate::archive::lanes::{Lane, LanePlace};
use crate::archive::rules::Rules;
use crate::dicom::issue::ValidationIssue;
use crate::dicom::uid::InstanceName;
use crate::index::TagRow;
use crate::memory::{NoMemory, Purpose};
use crate::trace;

/// How long a large instance waits for its turn.
const TURN: Duration = Duration::from_secs(120);

/// A part whose blob is durable and whose rows are packed.
pub(super) struct PersistedPart {
    pub(super) blob: DurableBlob,
    pub(super) sop_class: String,
    pub(super) name: InstanceName,
    pub(super) warning: Option<u16>,
    pub(super) findings: Vec<ValidationIssue>,
}

/// What became of a part before it is committed.
pub(super) enum PersistOutcome {
    Persisted(Box<PersistedPart>),
    /// It failed.
    Failed(Outcome),
    /// It failed, and the whole request with it when nothing is stored.
    Unavailable(Outcome, ArchiveError),
}

/// The task of a part is gone.
pub(super) fn lost_task() -> PersistOutcome {
    PersistOutcome::Failed(lost_outcome())
}

/// Why there is neither an instance nor a reason against it.
struct Refused {
    names: SopNames,
    error: ArchiveError,
}

/// How a try to walk and write ended.
enum ParseAttempt {
    Prepared(Box<PersistOutcome>),
    /// Others write: it has to wait for the disk.
    Unwritten(Box<(ValidatedPart, Load)>),
    Again(Box<CompletePart>, RetryReason, Box<SopNames>),
}

impl Archive {
    /// Makes an instance with rows and a durable blob of a part.
    pub(super) async fn prepare(
        self,
        options: Arc<StoreOptions>,
        held: PartBuffer,
    ) -> PersistOutcome {
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
                PersistOutcome::Unavailable(without_memory(names, reason), error)
            }
            ArchiveError::Busy { .. } => {
                PersistOutcome::Unavailable(without_memory(names, NoMemory::Busy), error)
            }
            _ => lost_task(),
        }
    }

    async fn try_prepare(
        &self,
        options: &Arc<StoreOptions>,
        tagged: &Arc<Vec<TagRow>>,
        held: PartBuffer,
    ) -> Result<PersistOutcome, Box<Refused>> {
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
                    return Ok(PersistOutcome::Failed(without_memory(names, error)));
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
        part: Result<Box<CompletePart>, PartBuffer>,
        share: ParseMemory,
        place: LanePlace,
    ) -> ParseAttempt {
        let timed = self.meters.parse.timed();
        let Ok(whole) = part.or_else(|held| CompletePart::new(held).map(Box::new)) else {
            return ParseAttempt::Prepared(Box::new(lost_task()));
        };
        let parse = self.validate(options, whole, share);
        drop(timed);
        drop(place);
        match parse {
            ParseOutcome::Fit(fit) => {
                let (fit, load) = *fit;
                // Often there is no need to change threads again.
                let _timed = self.meters.write.timed();
                let Load { payload, held } = load;
                match self.blobs.store_at_once(&fit.new.place.key, payload) {
                    Ok(stored) => ParseAttempt::Prepared(Box::new(self.written(fit, stored))),
                    Err(payload) => {
                        ParseAttempt::Unwritten(Box::new((fit, Load { payload, held })))
                    }
                }
            }
            ParseOutcome::Failed(refusal) => {
                let Refusal { outcome, error } = *refusal;
                ParseAttempt::Prepared(Box::new(match error {
                    None => PersistOutcome::Failed(outcome),
                    Some(error) => PersistOutcome::Unavailable(outcome, error),
                }))
            }
            ParseOutcome::Again(whole, again, names) => ParseAttempt::Again(whole, again, names),
        }
    }

    /// Makes the blob of a part.
    async fn write(&self, (fit, load): (ValidatedPart, Load)) -> PersistOutcome {
        let timed = self.meters.write.timed();
        let stored = self.blobs.store(&fit.new.place.key, load.payload).await;
        drop(timed);
        self.written(fit, stored)
    }

    fn written(&self, fit: ValidatedPart, stored: crate::blob::Result<()>) -> PersistOutcome {
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
            return PersistOutcome::Unavailable(outcome, error.into());
        }
        PersistOutcome::Persisted(Box::new(PersistedPart {
            sop_class: fit.sop_class,
            name,
            findings: fit.findings,
            warning: fit.warning,
            blob: DurableBlob::new(self.blobs.clone(), fit.new).holding(fit.held),
        }))
    }
}
