//! De-identified instances: made as they are read, of the stored bytes, in the stored transfer syntax.
//!
//! Invariants: nothing that is stored changes; a file whose bytes are not what was stored is never made a new one; an instance
//! of which something cannot be taken away is refused as a whole.

mod blanking;
mod original;
mod problem;

use std::io::Write;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;

use crate::archive::Archive;
use crate::archive::assembled::{Base, Frames};
use crate::archive::buffer::granting;
use crate::archive::content::Representation;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::source_read::lost_bytes;
use crate::dicom::deidentify::{
    Blanks, Deidentified, DeidentifyOptions, DeidentifyProfile, DeidentifySubject, InstanceFacts,
    PixelData, plan,
};
use crate::dicom::limits::ParseLimits;
use crate::dicom::rewrite::{FileSegment, total_length};
use crate::dicom::source::Source;
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use crate::index::InstanceRow;
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;
use blanking::NewPixels;
use problem::failure;

pub(in crate::archive) use original::Original;
pub(in crate::archive) use problem::{is_refused, refusal};

/// A de-identified instance.
#[derive(Debug)]
pub struct DeidentifiedInstance {
    /// Its new UIDs.
    pub name: InstanceName,
    /// The file.
    pub file: Representation,
}

/// An instance de-identified, or why it cannot be.
#[derive(Debug)]
pub enum Deidentifiable {
    /// It is.
    Made(DeidentifiedInstance),
    /// Something of it cannot be taken away, or it cannot be read; without patient data.
    Refused(String),
}

/// What a look at an instance found.
enum InspectedInstance {
    /// Its pixels stay: this is the new file.
    Planned(Deidentified),
    /// Rectangles of its pixels are to be blanked first.
    Blanks(Blanks),
}

impl Archive {
    /// Says how instances can be de-identified; without it they cannot.
    #[must_use]
    pub fn with_deidentification(mut self, profile: Option<DeidentifyProfile>) -> Self {
        self.deidentification = profile.map(Arc::new);
        self
    }

    /// How instances are de-identified with some options.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when the server has no key for it.
    pub fn deidentification(&self, options: DeidentifyOptions) -> Result<Arc<DeidentifyProfile>> {
        let profile = self.deidentification.as_deref().ok_or_else(|| {
            ArchiveError::invalid(
                "nothing can be de-identified without a key: name a file with a secret of at least 16 bytes in STOWAGE_DEIDENTIFY_KEY_FILE",
            )
        })?;
        Ok(Arc::new(DeidentifyProfile {
            options,
            ..profile.clone()
        }))
    }

    /// An instance de-identified.
    ///
    /// # Errors
    /// [`ArchiveError::NotAcceptable`] when something cannot be taken away; when its bytes cannot be read.
    pub async fn deidentified(
        &self,
        scope: &Scope,
        row: &InstanceRow,
        profile: &Arc<DeidentifyProfile>,
    ) -> Result<DeidentifiedInstance> {
        self.require_whole(row).await?;
        let original = Original::stored(scope, row);
        self.deidentified_from(&original, profile).await
    }

    /// As [`Self::deidentified`], of what is stored or not.
    ///
    /// # Errors
    /// As [`Self::deidentified`].
    pub(in crate::archive) async fn deidentified_from(
        &self,
        original: &Original,
        profile: &Arc<DeidentifyProfile>,
    ) -> Result<DeidentifiedInstance> {
        let row = &original.row;
        let (seen, base, held) = self.look_and_plan(original, profile, None).await?;
        let (made, base, frames, held) = match seen {
            InspectedInstance::Planned(made) => (made, base, None, held),
            InspectedInstance::Blanks(blanks) => {
                let (pixels, frames) = self.blanked_frames(original, blanks).await?;
                let seen = self.look_and_plan(original, profile, Some(pixels)).await?;
                let (InspectedInstance::Planned(made), base, held) = seen else {
                    return Err(ArchiveError::Lost {
                        what: "de-identification",
                    });
                };
                (made, base, Some(frames), held)
            }
        };
        let name = new_name(&made)?;
        let segments = made.segments;
        let file = match (row.layout.deflated, frames) {
            (false, frames) => self.rewritten(base, segments, frames),
            (true, None) => self.deflated(row, segments, base).await?,
            (true, Some(frames)) => {
                // Deflating needs all of it at hand.
                let whole = self.spooled_file(base, segments, frames).await?;
                let (base, segments) = whole;
                self.deflated(row, segments, base).await?
            }
        };
        Ok(DeidentifiedInstance {
            name,
            file: file.holding(held),
        })
    }

    /// As [`Self::deidentified`], where an instance that can never be de-identified is no error.
    ///
    /// # Errors
    /// When its bytes cannot be read now, or there is no memory for it.
    pub async fn try_deidentify(
        &self,
        scope: &Scope,
        row: &InstanceRow,
        profile: &Arc<DeidentifyProfile>,
    ) -> Result<Deidentifiable> {
        match Box::pin(self.deidentified(scope, row, profile)).await {
            Ok(made) => Ok(Deidentifiable::Made(made)),
            Err(error) if is_refused(&error) => Ok(Deidentifiable::Refused(refusal(&error))),
            Err(error) => Err(error),
        }
    }

    /// Inspects an instance and plans its new file, unless pixels are to be blanked that were not yet made.
    async fn look_and_plan(
        &self,
        original: &Original,
        profile: &Arc<DeidentifyProfile>,
        pixels: Option<NewPixels>,
    ) -> Result<(InspectedInstance, Base, Arc<Mutex<Reservation>>)> {
        let held = Arc::new(Mutex::new(self.budget.nothing(Purpose::Answers)));
        let (planned, profile, of) = (held.clone(), profile.clone(), original.row.clone());
        let look = move |source: &(dyn Source + Send + Sync)| {
            let granted = granting(&planned);
            let (limits, layout) = (ParseLimits::of_stored(), &of.layout);
            let inspected = profile.inspect(source, layout, &of.sop_class, limits);
            let (facts, blanks): (InstanceFacts, Blanks) = inspected.map_err(failure)?;
            if pixels.is_none() && !blanks.is_empty() {
                return Ok(InspectedInstance::Blanks(blanks));
            }
            let subject = DeidentifySubject {
                sop_class: &of.sop_class,
                name: &of.name,
                facts: &facts,
            };
            let pixels = match &pixels {
                Some(pixels) => pixels.as_data(),
                None => PixelData::Kept,
            };
            let made = plan(source, layout, subject, &profile, pixels, limits, &granted);
            made.map(InspectedInstance::Planned).map_err(failure)
        };
        let (seen, base) = self.look_through(original, look).await?;
        Ok((seen, base, held))
    }

    /// A planned file with its frames, as a file in the spool; the meta group stays a piece of its own.
    async fn spooled_file(
        &self,
        base: Base,
        mut segments: Vec<FileSegment>,
        frames: Frames,
    ) -> Result<(Base, Vec<FileSegment>)> {
        let rest = segments.split_off(1.min(segments.len()));
        let length = total_length(&rest);
        let mut room = self.spool_room(length).await?;
        let spool = self.spool_file().await?;
        let mut content = self.rewritten(base, rest, Some(frames)).all().await?;
        while let Some(chunk) = content.chunks.next().await {
            let chunk = chunk?;
            let file = spool.try_clone().map_err(lost_bytes)?;
            let write = move || (&file).write_all(&chunk).map_err(lost_bytes);
            self.lanes().run(Lane::Retrieve, write).await?;
        }
        room.shrink_to(length);
        let source = crate::archive::caches::sources::SpooledSource::new(spool, room)?;
        segments.push(FileSegment::Copy { offset: 0, length });
        Ok((Base::Open(Arc::new(source)), segments))
    }
}

/// The new UIDs; what a key makes is always valid, what is retained was stored.
fn new_name(made: &Deidentified) -> Result<InstanceName> {
    let wrong = |_| ArchiveError::Lost {
        what: "de-identification",
    };
    Ok(InstanceName {
        study: StudyUid::parse(&made.study).map_err(wrong)?,
        series: SeriesUid::parse(&made.series).map_err(wrong)?,
        instance: InstanceUid::parse(&made.instance).map_err(wrong)?,
    })
}
