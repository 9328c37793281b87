//! Where a codestream and the header around it disagree, and what the answers made of them have to say.
//!
//! Invariant: the codestream decides (PS3.5 §8.2); what it decided is told in a `Warning` and in transcoded headers.

use std::sync::Arc;

use crate::archive::Archive;
use crate::archive::content::collect;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::frame_shape::stored_shape;
use crate::archive::open_instance::OpenInstance;
use crate::dicom::codec::{self, CodecError, Coding, FrameShape};
use crate::memory::Purpose;

impl Archive {
    /// What the answers made of an instance have to say, as far as it was decoded or transcoded lately.
    pub async fn disagreement(&self, watermark: i64) -> Option<Arc<str>> {
        self.maker.reported.of(watermark).await
    }

    /// The shape of the first frame with all bits that samples of the frames behind it may need.
    pub(in crate::archive) async fn widest(
        &self,
        instance: &OpenInstance,
        first: FrameShape,
    ) -> Result<FrameShape> {
        let Some(pixel) = instance
            .row
            .pixel
            .as_ref()
            .filter(|_| instance.frame_count() > 1 && first.bits_stored < first.bits_allocated)
        else {
            return Ok(first);
        };
        let syntax = &instance.row.layout.transfer_syntax;
        let header = stored_shape(pixel);
        let whole_cells = header.low_bit > 0 || header.overlay_bits || codes_cells(syntax);
        if whole_cells || first.bits_allocated == 1 {
            return Ok(first);
        }
        let Some(slices) = instance.frame(1) else {
            return Ok(first);
        };
        let length = usize::try_from(slices.len()).unwrap_or(usize::MAX);
        let memory = self.reserve(Purpose::Pixels, length).await?;
        let bytes = collect(self.slices(instance, &slices).all().await?).await?;
        let held = syntax.clone();
        // Asked for all bits there are, a stream tells its own precision.
        let wide = FrameShape {
            bits_stored: first.bits_allocated,
            bits_allocated: first.bits_allocated,
            ..header
        };
        let reported = self.maker.work(move || {
            let _held = memory;
            Ok(codec::codestream_shape(&held, &bytes, &wide).ok())
        });
        let most = reported.await?.map_or(first.bits_stored, |reported| {
            reported.bits_stored.min(first.bits_allocated)
        });
        let mut bits_stored = first.bits_stored;
        // Only the samples tell whether they need more than the header says.
        for number in 2..=instance.frame_count() {
            if bits_stored >= most {
                break;
            }
            let samples = self.samples(instance, number).await?;
            bits_stored = bits_stored.max(samples.shape.bits_stored);
        }
        Ok(FrameShape {
            bits_stored,
            ..first
        })
    }
}

/// Bits Stored of the frames before, which must have the size of this one: one header describes them all.
pub(in crate::archive) fn widest_before(before: &FrameShape, frame: &FrameShape) -> Result<u16> {
    let same = (
        before.rows,
        before.columns,
        before.samples,
        before.bits_allocated,
    ) == (
        frame.rows,
        frame.columns,
        frame.samples,
        frame.bits_allocated,
    );
    if !same {
        return Err(ArchiveError::Codec(CodecError::FrameLength {
            expected: before.frame_bytes(),
            found: frame.frame_bytes(),
        }));
    }
    Ok(before.bits_stored)
}

/// Whether a syntax codes cells of native pixel data, so that Bits Stored is the header's alone.
fn codes_cells(transfer_syntax: &str) -> bool {
    let coding = Coding::from_uid(transfer_syntax);
    coding.is_none_or(|coding| {
        coding.is_native() || matches!(coding, Coding::Rle | Coding::DeflatedFrame)
    })
}
