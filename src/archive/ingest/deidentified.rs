//! Parts that are de-identified before they are stored: of what came nothing gets a blob.
//!
//! Invariant: what came is in memory or in files of the spool without names, so nothing of it outlives the process.

use std::sync::Arc;
use std::time::Duration;

use super::checks::check;
use super::complete::CompletePart;
use super::options::StoreOptions;
use super::outcome::{Outcome, SopNames, refused, without_memory};
use super::parse_memory::{ParseMemory, SMALL};
use super::persist::{PersistOutcome, lost_task};
use super::reason;
use super::receive::{IncomingPart, PartBuffer};
use crate::archive::Archive;
use crate::archive::caches::sources::OpenedSource;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::services::deidentify::{Original, is_refused, refusal};
use crate::archive::spool::stored_failure;
use crate::dicom::deidentify::DeidentifyProfile;
use crate::dicom::parse::{ParseOptions, parse};
use crate::index::InstanceRow;
use crate::memory::{self, NoMemory, Purpose};

/// How long a part waits for memory before it fails.
const WAIT: Duration = Duration::from_secs(120);

/// An instance that came, with the memory of its frame table; or why it is none.
type Came = std::result::Result<(InstanceRow, Vec<u8>), Outcome>;

impl Archive {
    /// Makes what is stored of a part.
    pub(super) async fn prepare_as_asked(
        self,
        options: Arc<StoreOptions>,
        held: PartBuffer,
    ) -> PersistOutcome {
        match options.deidentify.clone() {
            None => self.prepare(options, held).await,
            Some(profile) => Box::pin(self.prepare_deidentified(&options, &profile, held)).await,
        }
    }

    async fn prepare_deidentified(
        self,
        options: &StoreOptions,
        profile: &Arc<DeidentifyProfile>,
        held: PartBuffer,
    ) -> PersistOutcome {
        let mut names = SopNames::default();
        match self
            .deidentified_part(options, profile, held, &mut names)
            .await
        {
            Ok(Ok(part)) => {
                let options = StoreOptions {
                    study: None,
                    named: None,
                    deidentify: None,
                    ..options.clone()
                };
                self.prepare(Arc::new(options), part.held).await
            }
            Ok(Err(outcome)) => PersistOutcome::Failed(outcome),
            Err(ArchiveError::Memory(error @ NoMemory::TooLarge { .. })) => {
                PersistOutcome::Failed(without_memory(names, error))
            }
            Err(error @ (ArchiveError::Memory(_) | ArchiveError::Busy { .. })) => {
                PersistOutcome::Unavailable(without_memory(names, NoMemory::Busy), error)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a part could not be de-identified"
                );
                lost_task()
            }
        }
    }

    /// What a part becomes.
    async fn deidentified_part(
        &self,
        options: &StoreOptions,
        profile: &Arc<DeidentifyProfile>,
        held: PartBuffer,
        names: &mut SopNames,
    ) -> Result<std::result::Result<IncomingPart, Outcome>> {
        let whole = move || {
            let lost = |_| ArchiveError::Lost { what: "a part" };
            CompletePart::new(held).map(Arc::new).map_err(lost)
        };
        let whole = self.lanes.run(Lane::Ingest, whole).await?;
        let (row, frames) = match self.parse_received(options, whole.clone()).await? {
            Ok(came) => came,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let instance = row.name.instance.to_string();
        *names = (Some(row.sop_class.clone()), Some(instance));
        // Of the frame table two copies are kept until the new file is complete.
        let tables = frames.len().saturating_mul(2);
        let _tables = self.reserve(Purpose::Rows, tables).await?;
        let source: OpenedSource = match row.layout.deflated {
            true => self.inflated_file(whole, &row.layout).await?,
            false => whole,
        };
        let original = Original::received(row, frames, source);
        let made = match Box::pin(self.deidentified_from(&original, profile)).await {
            Ok(made) => made.file.all().await,
            Err(error) => Err(error),
        };
        let part = match made {
            Ok(file) => self.part_of(file).await,
            Err(error) => Err(error),
        };
        match part {
            Ok(part) => Ok(Ok(part)),
            Err(error) if is_refused(&error) => Ok(Err(Outcome::Failed {
                sop_class: names.0.clone(),
                instance: names.1.clone(),
                reason: reason::PROCESSING,
                comments: vec![refusal(&error)],
            })),
            Err(error) => Err(error),
        }
    }

    /// Parses what came, when it is its turn.
    async fn parse_received(
        &self,
        options: &StoreOptions,
        whole: Arc<CompletePart>,
    ) -> Result<Came> {
        // It may wait for memory while it has some, as one large part at a time may.
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| ArchiveError::Lost { what: "a turn" })?;
        let memory = self.budget.reserve(Purpose::Instances, SMALL);
        let memory = memory::waiting(WAIT, memory).await?;
        let share = ParseMemory::new(memory, true);
        let (archive, options) = (self.clone(), options.clone());
        let work = move || {
            let grants = share.grants();
            let parse_options = ParseOptions {
                room: Some(&grants),
                ..archive.parse_options(options.rules)
            };
            let instance = match parse(whole.source(), &parse_options) {
                Ok(instance) => instance,
                Err(error) => {
                    return match (share.no_memory(), stored_failure(error)) {
                        (Some(none), _) => Err(none.into()),
                        (None, ArchiveError::Stored(error)) => {
                            Ok(Err(refused(options.rules, &error)))
                        }
                        (None, error) => Err(error),
                    };
                }
            };
            if let Some(outcome) = check(&options, &instance) {
                return Ok(Err(outcome));
            }
            let frames = instance.frames.to_bytes();
            let row = InstanceRow {
                watermark: 0,
                partition: options.partition,
                place: Original::no_place(whole.source().len()),
                digest: [0; 32],
                name: instance.name,
                sop_class: instance.sop_class,
                layout: instance.layout,
                pixel: instance.pixel,
            };
            Ok(Ok((row, frames)))
        };
        let came = self.lanes.run(Lane::Ingest, work).await;
        drop(turn);
        came
    }
}
