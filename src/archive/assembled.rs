//! What is sent of an instance, assembled from stored bytes: ranges one after the other, bits moved to the start of a byte,
//! rewritten files with frames that are made as they are sent.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::Archive;
use super::buffer::reserved;
use super::content::{Content, Representation, collect, filled};
use super::cut::{cut, within};
use super::error::{ArchiveError, Result};
use super::lanes::Lane;
use super::source_read::read_piece;
use crate::dicom::frames::{BitRange, ByteRange};
use crate::dicom::rewrite::{FileSegment, total_length};
use crate::dicom::source::Source;
use crate::index::{BlobPlace, InstanceRow};
use crate::memory::Purpose;

/// What a rewritten file takes its bytes from.
#[derive(Clone)]
pub(super) enum Base {
    /// The stored file, at its place.
    Stored(Arc<BlobPlace>),
    /// What is open already: an inflated data set, a spool file.
    Open(Arc<dyn Source + Send + Sync>),
}

/// Makes one frame of a rewritten file.
pub(super) type FrameMaker = Arc<dyn Fn(u32) -> BoxFuture<'static, Result<Bytes>> + Send + Sync>;

/// The frames of a rewritten file.
#[derive(Clone)]
pub(super) struct Frames {
    /// Makes one of them.
    pub(super) make: FrameMaker,
    /// Whether all have as many bytes, so that one can be found without the others.
    pub(super) alike: bool,
}

impl Archive {
    /// Ranges of the data set, one after the other: each is opened when it is its turn.
    pub(super) fn ranges(
        &self,
        row: &InstanceRow,
        ranges: impl Iterator<Item = ByteRange> + Send + 'static,
        length: u64,
    ) -> Representation {
        let (archive, row) = (self.clone(), Arc::new(row.clone()));
        Representation::new(length, move |wanted| async move {
            let length = wanted.end - wanted.start;
            let opened = stream::iter(within(ranges, wanted)).then(move |range| {
                let (archive, row) = (archive.clone(), row.clone());
                async move {
                    let content = archive.dataset_range(&row, range.offset, range.length);
                    Ok::<_, ArchiveError>(content.await?.chunks)
                }
            });
            let chunks = opened.try_flatten().boxed();
            Content { length, chunks }.started().await
        })
    }

    /// As [`Self::ranges`], of a source that is open.
    pub(super) fn ranges_of(
        &self,
        source: &Arc<dyn Source + Send + Sync>,
        ranges: impl Iterator<Item = ByteRange> + Send + 'static,
        length: u64,
    ) -> Representation {
        let (archive, source) = (self.clone(), source.clone());
        Representation::new(length, move |wanted| async move {
            let length = wanted.end - wanted.start;
            let chunks = stream::iter(within(ranges, wanted)).flat_map(move |range| {
                let source = source.clone();
                archive
                    .read_open_source(source, range.offset, range.length)
                    .chunks
            });
            let chunks = chunks.boxed();
            Content { length, chunks }.started().await
        })
    }

    /// The bits of a frame that does not fill its bytes, moved to their start (PS3.5 §8.1.1); `packed` has them.
    pub(super) fn shifted(&self, packed: Representation, bits: BitRange) -> Representation {
        let archive = self.clone();
        let length = bits.length.div_ceil(8);
        Representation::new(length, move |range| async move {
            let wanted = range.end - range.start;
            if wanted > archive.limits.max_frame_bytes as u64 {
                return Err(ArchiveError::TooLarge {
                    reason: "the frame is too large: ask for its bytes in ranges".to_owned(),
                });
            }
            let memory = usize::try_from(wanted).unwrap_or(usize::MAX);
            let memory =
                archive.reserve(Purpose::Pixels, memory.saturating_mul(2).saturating_add(16));
            let memory = memory.await?;
            let first = u64::from(bits.skip / 8) + range.start;
            let content = packed.range(first..first + wanted + 1).await?;
            let packed = collect(content).await?;
            let here = BitRange {
                skip: bits.skip % 8,
                length: (bits.length - range.start * 8).min(wanted * 8),
            };
            let bytes = shift(&packed, here);
            Ok(Content::whole(reserved(bytes, memory)))
        })
    }

    /// A rewritten file.
    pub(super) fn rewritten(
        &self,
        base: Base,
        segments: Vec<FileSegment>,
        frames: Option<Frames>,
    ) -> Representation {
        let length = total_length(&segments);
        let archive = self.clone();
        Representation::new(length, move |range| async move {
            let alike = frames.as_ref().is_none_or(|frames| frames.alike);
            let (segments, skip) = cut(segments, &range, alike);
            let length = total_length(&segments);
            let chunks = stream::iter(segments).flat_map(move |segment| {
                let made = |numbers| match frames.clone() {
                    Some(frames) => stream::iter(numbers)
                        .then(move |n| (frames.make)(n))
                        .boxed(),
                    None => stream::empty().boxed(),
                };
                match segment {
                    FileSegment::Bytes(bytes) => {
                        stream::once(async move { Ok(Bytes::from(bytes)) }).boxed()
                    }
                    FileSegment::Copy { offset, length } => archive.run(&base, offset, length, 1),
                    FileSegment::Swap {
                        offset,
                        length,
                        width,
                    } => archive.run(&base, offset, length, width),
                    FileSegment::Frames { numbers, .. } => made(numbers),
                }
            });
            let chunks = filled(chunks.boxed());
            let content = Content { length, chunks }.trimmed(skip, range.end - range.start);
            content.started().await
        })
    }

    /// A run of bytes, opened when it is its turn.
    fn run(
        &self,
        base: &Base,
        offset: u64,
        length: u64,
        width: u8,
    ) -> BoxStream<'static, Result<Bytes>> {
        let (archive, base) = (self.clone(), base.clone());
        let opened = async move {
            let content = match base {
                Base::Stored(place) => archive.range(&place, offset, length).await?,
                Base::Open(source) => archive.read_open_source(source, offset, length),
            };
            Ok::<_, ArchiveError>(content.swapped(width).chunks)
        };
        stream::once(opened).try_flatten().boxed()
    }

    /// A run of an open source, read in chunks.
    pub(super) fn read_open_source(
        &self,
        source: Arc<dyn Source + Send + Sync>,
        offset: u64,
        length: u64,
    ) -> Content {
        let archive = self.clone();
        let range = offset..offset.saturating_add(length);
        let chunks = stream::try_unfold(range, move |left| {
            let (archive, source) = (archive.clone(), source.clone());
            async move {
                if left.is_empty() {
                    return Ok(None);
                }
                let end = left.end.min(left.start + crate::blob::CHUNK as u64);
                let piece = left.start..end;
                let read = archive
                    .lanes()
                    .run(Lane::Retrieve, move || read_piece(&*source, piece));
                Ok(Some((read.await?, end..left.end)))
            }
        });
        Content {
            length,
            chunks: chunks.boxed(),
        }
    }
}

/// Moves bits down so that the frame starts at the first bit, and clears what is not its own (PS3.5 §8.1.1).
fn shift(packed: &[u8], bits: BitRange) -> Vec<u8> {
    let length = usize::try_from(bits.length.div_ceil(8)).unwrap_or(0);
    let packed = packed.get(usize::from(bits.skip / 8)..).unwrap_or_default();
    let skip = u32::from(bits.skip % 8);
    let byte = |at: usize| u16::from(packed.get(at).copied().unwrap_or(0));
    let mut out: Vec<u8> = (0..length)
        .map(|i| {
            let both = byte(i) | (byte(i + 1) << 8);
            u8::try_from((both >> skip) & 0xFF).unwrap_or(0)
        })
        .collect();
    let used = u32::try_from(bits.length % 8).unwrap_or(0);
    if let Some(last) = out.last_mut().filter(|_| used > 0) {
        *last &= (1_u8 << used) - 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_moved_to_the_start_of_a_byte() {
        // Frame of 10 bits behind one of 6: bits 6..16 of the stream.
        let packed = [0b1100_0000, 0b1010_1011];
        assert_eq!(
            shift(
                &packed,
                BitRange {
                    skip: 6,
                    length: 10
                }
            ),
            [0b1010_1111, 0b0000_0010]
        );
        assert_eq!(
            shift(&packed, BitRange { skip: 0, length: 9 }),
            [0b1100_0000, 0b0000_0001]
        );
    }
}
