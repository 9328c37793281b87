//! Metadata of all instances of a study, series or instance, as parts of an answer.
//!
//! Invariants: an instance that is replaced between the look at its row and the read of its metadata is told as it is then.
//! A target that is deleted, and perhaps stored again, before anything of it is told is looked at anew: its instances are
//! told of one moment, as far as they are read at once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream};

use super::search::WrittenRow;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::left_out::LeftOut;
use crate::archive::texts::{StoredText, TextPart, Work, corrupt};
use crate::archive::{Archive, describe};
use crate::dicom::instance::Metadata;
use crate::dicom::members::Malformed;
use crate::dicom::uid::Target;
use crate::index::{IndexError, InstanceRow};
use crate::memory::Reservation;
use crate::scope::Scope;

/// Writes the metadata of an instance; called where it keeps no request waiting.
pub type WriteInstance =
    Arc<dyn Fn(&InstanceRow, Metadata) -> std::result::Result<WrittenRow, Malformed> + Send + Sync>;

/// Which versions of instances are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Those that are stored now.
    Stored,
    /// Of those that bulk updates changed, the ones that were stored.
    First,
}

/// How often an instance that others replace at the same time is looked at again.
const TRIES: u32 = 8;

/// What was made of an instance.
enum MadePart {
    /// A part, of the version of this watermark.
    Part(i64, TextPart),
    /// Nothing: it cannot be read.
    LeftOut,
    /// Nothing: the version of this row is gone.
    Gone(Box<InstanceRow>),
}

impl Archive {
    /// Metadata of all instances of a target, oldest first, the first of which were read.
    ///
    /// An instance of a study or series whose metadata cannot be read is left out.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when the target does not exist in the scope.
    pub async fn metadata(
        &self,
        scope: &Scope,
        target: &Target,
        versions: Versions,
        write: WriteInstance,
    ) -> Result<(BoxStream<'static, Result<TextPart>>, LeftOut)> {
        let left_out = LeftOut::default();
        let (archive, counted) = (self.clone(), left_out.clone());
        let alone = matches!(target, Target::Instance(_));
        let work = move |row: InstanceRow, stored, held: &mut Reservation| {
            let whole = held.bytes();
            let held = held.split(whole);
            let made = match stored {
                StoredText::There(metadata) => write(&row, metadata)
                    .and_then(|(url, pieces)| Self::begin_part(url, pieces, held))
                    .map_err(corrupt),
                StoredText::Gone => return Ok(MadePart::Gone(Box::new(row))),
                StoredText::Damaged => Err(ArchiveError::Index(IndexError::Corrupt {
                    what: "the metadata of an instance",
                })),
                StoredText::TooLarge(error) => Err(error.into()),
            };
            match made {
                Ok(part) => Ok(MadePart::Part(row.watermark, part)),
                Err(error) => {
                    archive.meters.unreadable.note(row.watermark, &counted);
                    if alone {
                        Err(error)
                    } else {
                        Ok(MadePart::LeftOut)
                    }
                }
            }
        };
        let work: Work<InstanceRow, MadePart> = Arc::new(work);
        let mut tries = 0..TRIES;
        let made = loop {
            let rows = match versions {
                Versions::Stored => self.instances(scope, target).await?,
                Versions::First => self.first_versions(scope, target).await?,
            };
            let asked = rows.map_ok(|row| (row.watermark, row)).boxed();
            let mut made = self.with_metadata(&scope.into(), asked, Arc::new(|_| 0), work.clone());
            let first = made.try_next().await?;
            if matches!(first, Some(MadePart::Gone(_))) && tries.next().is_some() {
                continue;
            }
            break stream::iter(first.map(Ok)).chain(made);
        };
        let (archive, scope) = (self.clone(), Arc::new(scope.clone()));
        // Versions that were told in the place of others: they come again behind them.
        let told: Arc<Mutex<HashSet<i64>>> = Arc::default();
        let parts = made.try_filter_map(move |made| {
            let (archive, scope) = (archive.clone(), scope.clone());
            let (work, told) = (work.clone(), told.clone());
            async move {
                let told = || told.lock().unwrap_or_else(PoisonError::into_inner);
                match made {
                    MadePart::Part(watermark, _) if told().contains(&watermark) => Ok(None),
                    MadePart::Part(_, part) => Ok(Some(part)),
                    MadePart::LeftOut => Ok(None),
                    MadePart::Gone(row) => {
                        let now = archive.replacement(&scope, &row, &work).await?;
                        Ok(now
                            .filter(|(watermark, _)| told().insert(*watermark))
                            .map(|(_, part)| part))
                    }
                }
            }
        });
        let mut parts = parts.boxed();
        // What is deleted between the look at its rows and the read of its metadata was not there.
        let first = parts.try_next().await?;
        if first.is_none() && left_out.count() == 0 {
            return Err(ArchiveError::not_found(describe(target)));
        }
        let first = stream::iter(first.map(Ok));
        Ok((first.chain(parts).boxed(), left_out))
    }

    /// What is made of the version that took the place of one that is gone, with its watermark.
    async fn replacement(
        &self,
        scope: &Scope,
        gone: &InstanceRow,
        work: &Work<InstanceRow, MadePart>,
    ) -> Result<Option<(i64, TextPart)>> {
        let target = Target::Instance(gone.name.clone());
        for _ in 0..TRIES {
            let rows = self.index.first_versions(scope, &target, gone.watermark, 1);
            let Some((now, row)) = rows.await?.into_iter().next() else {
                return Ok(None);
            };
            if row.watermark != now {
                // The rest of its study was told as it was before the update: the two do not belong together.
                return Err(ArchiveError::Busy {
                    what: "an update of what is being read",
                });
            }
            let asked = stream::iter([Ok((row.watermark, row))]).boxed();
            let mut made = self.with_metadata(&scope.into(), asked, Arc::new(|_| 0), work.clone());
            match made.try_next().await? {
                Some(MadePart::Part(watermark, part)) => return Ok(Some((watermark, part))),
                Some(MadePart::Gone(_)) => {}
                Some(MadePart::LeftOut) | None => return Ok(None),
            }
        }
        Err(ArchiveError::Busy {
            what: "requests that replace the same instance",
        })
    }
}
