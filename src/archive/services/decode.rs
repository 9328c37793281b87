//! Frames decoded to samples, and samples encoded in another transfer syntax: made once for all who ask at the same moment.
//!
//! Invariant: a frame is made from its own bytes only, never from the object.

use std::sync::Arc;

use bytes::Bytes;

use super::render::output::{FrameOutput, FrameSamples, Made, MadeKey};
use crate::archive::Archive;
use crate::archive::buffer::reserved;
use crate::archive::content::{Representation, collect};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::frame_shape::{sample_shape, stored_shape};
use crate::archive::open_instance::OpenInstance;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::codec::{self, ByteOrder, CodecError, EncodeOptions, FrameShape};
use crate::dicom::frames::FrameSlices;
use crate::memory::Purpose;

/// Turns a codec's refusal into an answer: what cannot be decoded cannot be had in this form.
fn refused(error: CodecError) -> ArchiveError {
    ArchiveError::Codec(error)
}

fn samples_key(instance: &OpenInstance, number: u32) -> MadeKey {
    MadeKey {
        watermark: instance.row.watermark,
        frame: number,
        what: FrameOutput::Samples,
    }
}

/// Samples of one frame, as the header says.
pub(super) fn samples_of(instance: &OpenInstance) -> u64 {
    let pixel = instance.row.pixel.as_ref();
    pixel.map_or(0, |pixel| stored_shape(pixel).sample_count())
}

fn too_large(number: u32) -> ArchiveError {
    ArchiveError::TooLarge {
        reason: format!("frame {number} is too large to be decoded; ask for it as stored"),
    }
}

impl Archive {
    /// One frame as samples; `number` counts from 1.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] past the last frame, [`ArchiveError::Codec`] when it cannot be decoded.
    pub async fn samples(&self, instance: &OpenInstance, number: u32) -> Result<Arc<FrameSamples>> {
        let key = samples_key(instance, number);
        if let Some(made) = self.maker.kept(&key).await {
            return made.samples();
        }
        let _turn = self.maker.turn(samples_of(instance)).await?;
        self.samples_in_turn(instance, number).await
    }

    /// As [`Self::samples`], for those whose turn it is.
    pub(in crate::archive) async fn samples_in_turn(
        &self,
        instance: &OpenInstance,
        number: u32,
    ) -> Result<Arc<FrameSamples>> {
        let made = self.maker.get(samples_key(instance, number), async {
            Ok(Made::Samples(Arc::new(
                self.decode(instance, number).await?,
            )))
        });
        made.await?.samples()
    }

    async fn decode(&self, instance: &OpenInstance, number: u32) -> Result<FrameSamples> {
        let read = |slices: &FrameSlices, native: bool| match native {
            true => self.native_slices(instance, slices),
            false => self.slices(instance, slices),
        };
        let (samples, disagreement) = self.decode_from(instance, number, read).await?;
        if let Some(text) = disagreement {
            let watermark = instance.row.watermark;
            self.maker.reported.note(watermark, text).await;
        }
        Ok(samples)
    }

    /// One frame as samples, whose bytes are read by `read`: native ones in little endian. Says besides where the codestream
    /// disagrees with the header.
    pub(in crate::archive) async fn decode_from(
        &self,
        instance: &OpenInstance,
        number: u32,
        read: impl FnOnce(&FrameSlices, bool) -> Representation,
    ) -> Result<(FrameSamples, Option<String>)> {
        let slices = instance
            .frame(number)
            .ok_or_else(|| ArchiveError::not_found(format!("frame {number}")))?;
        let pixel = instance
            .row
            .pixel
            .as_ref()
            .ok_or_else(|| ArchiveError::not_found("pixel data"))?;
        let shape = stored_shape(pixel);
        let syntax = instance.row.layout.transfer_syntax.clone();
        let limits = codec::FrameLimits {
            max_frame_bytes: self.limits.max_frame_bytes as u64,
        };
        if slices.len() > limits.max_frame_bytes {
            return Err(too_large(number));
        }
        let native = transfer_syntax::is_native(&syntax);
        let decoded = sample_shape(&syntax, pixel).unwrap_or(shape);
        if decoded.frame_bytes() > limits.max_frame_bytes {
            return Err(too_large(number));
        }
        let cost = slices
            .len()
            .saturating_add(decoded.frame_bytes())
            // Coefficients and lines of the decoders.
            .saturating_add(
                decoded
                    .sample_count()
                    .saturating_mul(if native { 1 } else { 8 }),
            );
        let cost = usize::try_from(cost).unwrap_or(usize::MAX);
        let mut memory = self.reserve(Purpose::Pixels, cost).await?;
        let content = read(&slices, native);
        let bytes = collect(content.all().await?).await?;
        let promised = codec::decoded_shape(&syntax, &shape).filter(|_| !native);
        let samples = self
            .maker
            .work(move || {
                if !native {
                    // The codestream decides how large its picture is, not the header.
                    let reported =
                        codec::codestream_shape(&syntax, &bytes, &shape).map_err(refused)?;
                    if reported.frame_bytes() > limits.max_frame_bytes {
                        return Err(too_large(number));
                    }
                    let samples = usize::try_from(reported.sample_count()).unwrap_or(usize::MAX);
                    let bytes = usize::try_from(reported.frame_bytes()).unwrap_or(usize::MAX);
                    let needed = bytes.saturating_add(samples.saturating_mul(8));
                    memory.try_grow_to(needed)?;
                }
                let frame = if native {
                    codec::native_to_canonical(&bytes, &shape, ByteOrder::Little)
                } else {
                    codec::decode(&syntax, &bytes, &shape, &limits)
                };
                drop(bytes);
                let frame = frame.map_err(refused)?;
                memory.try_grow_to(frame.data.capacity())?;
                memory.shrink_to(frame.data.capacity());
                Ok(FrameSamples::new(frame, memory))
            })
            .await?;
        let disagreement = promised.and_then(|shape| shape.disagreement(&samples.shape));
        Ok((samples, disagreement))
    }

    /// One frame encoded in a transfer syntax.
    ///
    /// # Errors
    /// As [`Self::samples`].
    pub async fn encoded(
        &self,
        instance: &OpenInstance,
        number: u32,
        syntax: &str,
    ) -> Result<(Bytes, FrameShape, Option<f64>)> {
        let key = MadeKey {
            watermark: instance.row.watermark,
            frame: number,
            what: FrameOutput::Encoded(syntax.to_owned()),
        };
        let kept = self.maker.kept(&key).await;
        let _turn = match kept {
            Some(_) => None,
            None => Some(self.maker.turn(samples_of(instance)).await?),
        };
        let made = self.maker.get(key, async {
            let samples = self.samples_in_turn(instance, number).await?;
            let syntax = syntax.to_owned();
            // Coefficients of the encoder, and what it writes, in memory that doubles when it is full.
            let work = samples.shape.sample_count().saturating_mul(8);
            let cost = usize::try_from(work).unwrap_or(usize::MAX);
            let cost = cost.saturating_add(samples.data.len().saturating_mul(2));
            let mut memory = self.reserve(Purpose::Pixels, cost).await?;
            self.maker
                .work(move || {
                    let made = codec::encode(&syntax, &samples, &EncodeOptions::default())
                        .map_err(refused)?;
                    memory.try_grow_to(made.bytes.capacity())?;
                    Ok(Made::Encoded {
                        bytes: reserved(made.bytes, memory),
                        shape: made.shape,
                        ratio: made.lossy,
                    })
                })
                .await
        });
        match made.await? {
            Made::Encoded {
                bytes,
                shape,
                ratio,
            } => Ok((bytes, shape, ratio)),
            Made::Samples(_) | Made::Picture(_) => Err(ArchiveError::Lost {
                what: "an encoded frame",
            }),
        }
    }
}
