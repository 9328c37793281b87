//! The pieces of a planned file, and how they are written.
//!
//! Invariant: writing needs 64 KiB whatever the length of the file.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use crate::dicom::endian::swap;
use crate::dicom::source::{Source, read_full};

/// A piece of the new file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSegment {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A run of the source.
    Copy {
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// A run of the source, the bytes of each `width` reversed; a rest shorter than `width` stays as it is.
    Swap {
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
        /// 2, 4 or 8.
        width: u8,
    },
    /// Frames the caller makes.
    Frames {
        /// Their numbers, from 1.
        numbers: RangeInclusive<u32>,
        /// Bytes of all of them.
        length: u64,
    },
}

impl FileSegment {
    /// Bytes of the piece.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Copy { length, .. } | Self::Swap { length, .. } | Self::Frames { length, .. } => {
                *length
            }
        }
    }

    /// Whether the piece holds no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes of the planned file.
#[must_use]
pub fn total_length(segments: &[FileSegment]) -> u64 {
    segments
        .iter()
        .fold(0, |sum: u64, segment| sum.saturating_add(segment.len()))
}

/// Makes the bytes of some frames, numbers from 1.
pub type FrameWriter<'a> = &'a mut dyn FnMut(RangeInclusive<u32>, &mut dyn Write) -> io::Result<()>;

/// Writes a planned file with 64 KiB of memory; gives the number of bytes written.
///
/// # Errors
/// When source, frames or output fail; `UnexpectedEof` when the source is shorter than it was.
pub fn write(
    source: &dyn Source,
    segments: &[FileSegment],
    frames: FrameWriter<'_>,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    for segment in segments {
        match segment {
            FileSegment::Bytes(bytes) => out.write_all(bytes)?,
            FileSegment::Copy { offset, length } => {
                copy(source, *offset, *length, 1, &mut buffer, out)?
            }
            FileSegment::Swap {
                offset,
                length,
                width,
            } => {
                copy(source, *offset, *length, *width, &mut buffer, out)?;
            }
            FileSegment::Frames { numbers, .. } => frames(numbers.clone(), out)?,
        }
    }
    Ok(total_length(segments))
}

/// The buffer's length is a multiple of 8, so no number is cut between two rounds.
fn copy(
    source: &dyn Source,
    mut offset: u64,
    mut length: u64,
    width: u8,
    buffer: &mut [u8],
    out: &mut dyn Write,
) -> io::Result<()> {
    while length > 0 {
        let count = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let part = buffer.get_mut(..count).unwrap_or_default();
        if read_full(source, offset, part)? < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        swap(part, width);
        out.write_all(part)?;
        offset = offset.saturating_add(count as u64);
        length = length.saturating_sub(count as u64);
    }
    Ok(())
}
