//! De-identified instances: made as they are read, of the stored bytes, in the stored transfer syntax.
//!
//! Invariants: nothing that is stored changes; a file whose bytes are not what was stored is never made a new one; an instance
//! of which something cannot be taken away is refused as a whole.

use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::bulk_update::plan_failure;
use super::frames::collect;
use super::retrieve::{OpenInstance, lost_bytes};
use super::spooled_frames::SpooledFrames;
use super::transcode::described;
use crate::archive::Archive;
use crate::archive::buffer::{granting, reserved};
use crate::archive::caches::frames::{samples_of, stored_shape};
use crate::archive::content::{Base, FrameMaker, Frames, Representation};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::dicom::codec::{self, Coding, DecodedFrame, EncodeOptions, transfer_syntax};
use crate::dicom::deidentify::{
    BlankLayout, Blanks, Deidentified, DeidentifyError, DeidentifyOptions, DeidentifyProfile,
    DeidentifyRefusal, DeidentifySubject, InstanceFacts, PixelData, plan,
};
use crate::dicom::instance::PixelElement;
use crate::dicom::limits::ParseLimits;
use crate::dicom::rewrite::{FileSegment, total_length};
use crate::dicom::source::Source;
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use crate::index::InstanceRow;
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

/// A de-identified instance.
#[derive(Debug)]
pub struct DeidentifiedInstance {
    /// Its new UIDs.
    pub name: InstanceName,
    /// The file.
    pub file: Representation,
}

/// Pixels that take the place of the stored ones.
enum NewPixels {
    Native { frames: u32, length: u64 },
    Encapsulated(Vec<u32>),
}

impl NewPixels {
    fn as_data(&self) -> PixelData<'_> {
        match self {
            Self::Native { frames, length } => PixelData::Native {
                frames: *frames,
                length: *length,
            },
            Self::Encapsulated(lengths) => PixelData::Encapsulated(lengths),
        }
    }
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
        let (seen, base, held) = self.look_and_plan(row, profile, None).await?;
        let (made, base, frames, held) = match seen {
            InspectedInstance::Planned(made) => (made, base, None, held),
            InspectedInstance::Blanks(blanks) => {
                let (pixels, frames) = self.blanked_frames(scope, row, blanks).await?;
                let seen = self.look_and_plan(row, profile, Some(pixels)).await?;
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

    /// Inspects an instance and plans its new file, unless pixels are to be blanked that were not yet made.
    async fn look_and_plan(
        &self,
        row: &InstanceRow,
        profile: &Arc<DeidentifyProfile>,
        pixels: Option<NewPixels>,
    ) -> Result<(InspectedInstance, Base, Arc<Mutex<Reservation>>)> {
        let held = Arc::new(Mutex::new(self.budget.nothing(Purpose::Answers)));
        let (planned, profile, of) = (held.clone(), profile.clone(), row.clone());
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
        let (seen, base) = self.looked_through(row, look).await?;
        Ok((seen, base, held))
    }

    /// The frames of an instance with rectangles blanked, in its transfer syntax.
    async fn blanked_frames(
        &self,
        scope: &Scope,
        row: &InstanceRow,
        blanks: Blanks,
    ) -> Result<(NewPixels, Frames)> {
        let instance = self.open_version(scope, row).await?;
        let pixel = row.pixel.as_ref();
        let pixel = pixel.filter(|pixel| pixel.element == PixelElement::Integer);
        let pixel = pixel.ok_or_else(|| refused(DeidentifyRefusal::PixelLayout))?;
        let shape = stored_shape(pixel);
        if transfer_syntax::is_native(&row.layout.transfer_syntax) {
            let layout =
                BlankLayout::of(&shape).ok_or_else(|| refused(DeidentifyRefusal::PixelLayout))?;
            let frames = instance.frame_count();
            let length = layout.frame_bytes();
            let lengths = (1..=frames).filter_map(|number| instance.frame(number));
            if frames == 0 || lengths.map(|slices| slices.len()).any(|len| len != length) {
                return Err(refused(DeidentifyRefusal::PixelLayout));
            }
            let make = self.native_blanker(instance, layout, blanks);
            let frames_made = Frames { make, alike: true };
            return Ok((NewPixels::Native { frames, length }, frames_made));
        }
        let syntax = &row.layout.transfer_syntax;
        let lossless = Coding::from_uid(syntax).is_some_and(|coding| !coding.is_lossy_syntax());
        if !lossless || !codec::can_encode(syntax, &shape) {
            return Err(refused(DeidentifyRefusal::TransferSyntax));
        }
        self.encoded_blanks(instance, blanks).await
    }

    /// Makes native frames with rectangles blanked, as they are sent.
    fn native_blanker(
        &self,
        instance: Arc<OpenInstance>,
        layout: BlankLayout,
        blanks: Blanks,
    ) -> FrameMaker {
        let (archive, blanks) = (self.clone(), Arc::new(blanks));
        Arc::new(move |number| {
            let (archive, instance, blanks) = (archive.clone(), instance.clone(), blanks.clone());
            async move {
                let slices = instance
                    .frame(number)
                    .ok_or_else(|| ArchiveError::not_found(format!("frame {number}")))?;
                if slices.len() > archive.limits.max_frame_bytes as u64 {
                    return Err(ArchiveError::TooLarge {
                        reason: format!("frame {number} is too large to be blanked"),
                    });
                }
                let length = usize::try_from(slices.len()).unwrap_or(usize::MAX);
                let memory = archive.reserve(Purpose::Pixels, length.saturating_mul(2));
                let memory = memory.await?;
                let content = archive.slices(&instance, &slices).all().await?;
                let mut frame = collect(content).await?.to_vec();
                layout.blank(&mut frame, &blanks);
                Ok(reserved(frame, memory))
            }
            .boxed()
        })
    }

    /// Frames decoded, blanked and encoded as they were; they wait in the spool until all lengths are known.
    async fn encoded_blanks(
        &self,
        instance: Arc<OpenInstance>,
        blanks: Blanks,
    ) -> Result<(NewPixels, Frames)> {
        let count = instance.frame_count();
        let mut spooled = SpooledFrames::begin(self, count).await?;
        for number in 1..=count {
            let bytes = self.encoded_blank(&instance, number, &blanks).await?;
            spooled.push(bytes).await?;
        }
        let lengths = spooled.lengths().to_vec();
        Ok((NewPixels::Encapsulated(lengths), spooled.into_frames()))
    }

    /// One frame decoded, blanked and encoded without loss; refused when its header would have to change.
    async fn encoded_blank(
        &self,
        instance: &OpenInstance,
        number: u32,
        blanks: &Blanks,
    ) -> Result<Bytes> {
        let _turn = self.maker.turn(samples_of(instance)).await?;
        let samples = self.samples_in_turn(instance, number).await?;
        let layout = BlankLayout::of(&samples.shape);
        let layout = layout.ok_or_else(|| refused(DeidentifyRefusal::PixelLayout))?;
        // A copy of the frame, coefficients of the encoder, and what it writes, in memory that doubles when it is full.
        let work = samples.shape.sample_count().saturating_mul(8);
        let cost = usize::try_from(work).unwrap_or(usize::MAX);
        let cost = cost.saturating_add(samples.data.len().saturating_mul(3));
        let mut memory = self.reserve(Purpose::Pixels, cost).await?;
        let syntax = instance.row.layout.transfer_syntax.clone();
        let (pixel, blanks) = (instance.row.pixel.clone(), blanks.clone());
        let frames = instance.frame_count();
        let encode = move || {
            let mut data = samples.data.clone();
            layout.blank(&mut data, &blanks);
            let frame = DecodedFrame::new(samples.shape, data).map_err(ArchiveError::Codec)?;
            let made = codec::encode(&syntax, &frame, &EncodeOptions::default());
            let made = made.map_err(ArchiveError::Codec)?;
            let as_it_was = pixel.is_some_and(|pixel| {
                let edits = described(&pixel, &made.shape, frames);
                let planes = u16::from(made.shape.planar) == pixel.planar;
                let only_planes =
                    |tag| planes && tag == dicom_dictionary_std::tags::PLANAR_CONFIGURATION;
                edits
                    .iter()
                    .all(|edit| edit.value.is_some() && only_planes(edit.tag))
            });
            if made.lossy.is_some() || !as_it_was {
                return Err(refused(DeidentifyRefusal::TransferSyntax));
            }
            memory.try_grow_to(made.bytes.capacity())?;
            Ok(reserved(made.bytes, memory))
        };
        self.lanes().run(Lane::Codec, encode).await
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

fn refused(refusal: DeidentifyRefusal) -> ArchiveError {
    failure(DeidentifyError::Refused(refusal))
}

fn failure(error: DeidentifyError) -> ArchiveError {
    match error {
        DeidentifyError::Parse(error) => plan_failure(error),
        refused @ DeidentifyError::Refused(_) => ArchiveError::NotAcceptable {
            reason: refused.to_string(),
            available: Vec::new(),
        },
    }
}
