//! Frames with rectangles blanked: native ones as they are sent, compressed ones before, for their lengths.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use super::original::Original;
use super::problem::refused;
use crate::archive::Archive;
use crate::archive::assembled::{FrameMaker, Frames};
use crate::archive::buffer::reserved;
use crate::archive::content::collect;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::frame_shape::stored_shape;
use crate::archive::lanes::Lane;
use crate::archive::open_instance::OpenInstance;
use crate::archive::services::decode::samples_of;
use crate::archive::services::spooled_frames::SpooledFrames;
use crate::archive::services::transcode::described;
use crate::dicom::codec::{self, Coding, DecodedFrame, EncodeOptions, FrameShape, transfer_syntax};
use crate::dicom::deidentify::{BlankLayout, Blanks, DeidentifyRefusal, PixelData};
use crate::dicom::instance::PixelElement;
use crate::index::InstanceRow;
use crate::memory::Purpose;

/// Pixels that take the place of the stored ones.
pub(super) enum NewPixels {
    Native { frames: u32, length: u64 },
    Encapsulated(Vec<u32>),
}

impl NewPixels {
    pub(super) fn as_data(&self) -> PixelData<'_> {
        match self {
            Self::Native { frames, length } => PixelData::Native {
                frames: *frames,
                length: *length,
            },
            Self::Encapsulated(lengths) => PixelData::Encapsulated(lengths),
        }
    }
}

impl Archive {
    /// The frames of an instance with rectangles blanked, in its transfer syntax.
    pub(super) async fn blanked_frames(
        &self,
        original: &Original,
        blanks: Blanks,
    ) -> Result<(NewPixels, Frames)> {
        let row = &original.row;
        let shape = blank_shape(row)?;
        let instance = self.open_original(original).await?;
        if transfer_syntax::is_native(&row.layout.transfer_syntax) {
            let layout =
                BlankLayout::of(&shape).ok_or_else(|| refused(DeidentifyRefusal::PixelLayout))?;
            let frames = instance.frame_count();
            let length = layout.frame_bytes();
            let lengths = (1..=frames).filter_map(|number| instance.frame(number));
            if frames == 0 || lengths.map(|slices| slices.len()).any(|len| len != length) {
                return Err(refused(DeidentifyRefusal::PixelLayout));
            }
            let make = self.native_blanker(original, instance, layout, blanks);
            if length > self.limits.max_frame_bytes as u64 {
                return Err(ArchiveError::TooLarge {
                    reason: "its frames are too large to be blanked".to_owned(),
                });
            }
            let frames_made = Frames { make, alike: true };
            return Ok((NewPixels::Native { frames, length }, frames_made));
        }
        self.encoded_blanks(original, instance, blanks).await
    }

    /// Makes native frames with rectangles blanked, as they are sent.
    fn native_blanker(
        &self,
        original: &Original,
        instance: Arc<OpenInstance>,
        layout: BlankLayout,
        blanks: Blanks,
    ) -> FrameMaker {
        let (archive, blanks) = (self.clone(), Arc::new(blanks));
        let original = Arc::new(original.clone());
        Arc::new(move |number| {
            let (archive, instance, blanks) = (archive.clone(), instance.clone(), blanks.clone());
            let original = original.clone();
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
                let content = archive.original_slices(&original, &instance, &slices);
                let content = content.all().await?;
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
        original: &Original,
        instance: Arc<OpenInstance>,
        blanks: Blanks,
    ) -> Result<(NewPixels, Frames)> {
        let count = instance.frame_count();
        let mut spooled = SpooledFrames::begin(self, count).await?;
        for number in 1..=count {
            let bytes = self
                .encoded_blank(original, &instance, number, &blanks)
                .await?;
            spooled.push(bytes).await?;
        }
        let lengths = spooled.lengths().to_vec();
        Ok((NewPixels::Encapsulated(lengths), spooled.into_frames()))
    }

    /// One frame decoded, blanked and encoded without loss; refused when its header would have to change.
    async fn encoded_blank(
        &self,
        original: &Original,
        instance: &OpenInstance,
        number: u32,
        blanks: &Blanks,
    ) -> Result<Bytes> {
        let _turn = self.maker.turn(samples_of(instance)).await?;
        let samples = self.original_samples(original, instance, number).await?;
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
}

/// The shape of frames in which rectangles can be blanked.
fn blank_shape(row: &InstanceRow) -> Result<FrameShape> {
    let pixel = row.pixel.as_ref();
    let pixel = pixel.filter(|pixel| pixel.element == PixelElement::Integer);
    let pixel = pixel.ok_or_else(|| refused(DeidentifyRefusal::PixelLayout))?;
    let (shape, syntax) = (stored_shape(pixel), &row.layout.transfer_syntax);
    if transfer_syntax::is_native(syntax) {
        let layout = BlankLayout::of(&shape).map(|_| shape);
        return layout.ok_or_else(|| refused(DeidentifyRefusal::PixelLayout));
    }
    let lossless = Coding::from_uid(syntax).is_some_and(|coding| !coding.is_lossy_syntax());
    match lossless && codec::can_encode(syntax, &shape) {
        true => Ok(shape),
        false => Err(refused(DeidentifyRefusal::TransferSyntax)),
    }
}
