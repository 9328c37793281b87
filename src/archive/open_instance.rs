//! An instance that is open for frames and bulk data: its row and its tables.

use super::error::Result;
use crate::dicom::frames::{ByteRange, FrameSlices, PackedFrames};
use crate::dicom::instance::BulkItem;
use crate::index::{ContentRow, IndexError, InstanceRow};

/// A piece of the data set of one instance: bytes, or values as bulk data.
#[derive(Debug)]
pub struct OpenInstance {
    /// Its row.
    pub row: InstanceRow,
    frames: Vec<u8>,
    /// Values served by URI.
    pub bulk: Vec<BulkItem>,
}

impl OpenInstance {
    /// Reads one from what the index holds of it.
    pub(super) fn of_content(content: ContentRow) -> Result<Self> {
        let ContentRow { row, frames, bulk } = content;
        let bulk = serde_json::from_slice(&bulk).map_err(|_| IndexError::Corrupt {
            what: "the bulk table of an instance",
        })?;
        Ok(Self { row, frames, bulk })
    }

    /// One that has come and is not stored; `frames` is its packed frame table.
    pub(super) fn received(row: InstanceRow, frames: Vec<u8>) -> Self {
        Self {
            row,
            frames,
            bulk: Vec::new(),
        }
    }

    /// Number of frames; 0 without pixel data.
    #[must_use]
    pub fn frame_count(&self) -> u32 {
        PackedFrames::new(&self.frames).map_or(0, |f| f.count())
    }

    /// Bytes of the tables, about.
    pub(super) fn table_bytes(&self) -> usize {
        let of_item = |item: &BulkItem| size_of::<BulkItem>() + item.path.len() + item.vr.len();
        self.frames.len() + self.bulk.iter().map(of_item).sum::<usize>()
    }

    /// Where all frames lie, one after the other, and their bytes in all.
    pub(super) fn all_frames(&self) -> (impl Iterator<Item = ByteRange> + Send + use<>, u64) {
        let count = self.frame_count();
        let lengths = (1..=count).filter_map(|number| self.frame(number));
        let length = lengths.fold(0_u64, |sum, frame| sum.saturating_add(frame.len()));
        let table = self.frames.clone();
        let frame = move |number| PackedFrames::new(&table).and_then(|f| f.frame(number));
        let ranges = (1..=count).filter_map(frame).flat_map(|frame| frame.ranges);
        (ranges, length)
    }

    /// Where a frame lies; `number` counts from 1.
    #[must_use]
    pub fn frame(&self, number: u32) -> Option<FrameSlices> {
        PackedFrames::new(&self.frames).and_then(|f| f.frame(number))
    }
}
