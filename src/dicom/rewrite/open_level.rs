//! The sequences and items around the element at hand, and what an item says of its pixels.

use std::ops::Range;

use dicom_core::Tag;

use crate::dicom::codec::{FrameShape, Photometric};

pub(super) const SAMPLES: Tag = Tag(0x0028, 0x0002);
pub(super) const PHOTOMETRIC: Tag = Tag(0x0028, 0x0004);

pub(super) const PLANAR: Tag = Tag(0x0028, 0x0006);
pub(super) const FRAMES: Tag = Tag(0x0028, 0x0008);

pub(super) const ROWS: Tag = Tag(0x0028, 0x0010);
pub(super) const COLUMNS: Tag = Tag(0x0028, 0x0011);

pub(super) const ALLOCATED: Tag = Tag(0x0028, 0x0100);
pub(super) const STORED: Tag = Tag(0x0028, 0x0101);

pub(super) const HIGH_BIT: Tag = Tag(0x0028, 0x0102);
pub(super) const REPRESENTATION: Tag = Tag(0x0028, 0x0103);

/// A place in the planned file to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) segments: usize,
    pub(super) small: usize,
}

/// A level around the element at hand.
#[derive(Debug)]
pub(super) enum OpenLevel {
    /// A sequence, and where its header begins.
    Sequence(Tag, Mark),
    /// An item with what it says of its pixels.
    Item(IconItem),
}

/// What an item says of its pixels.
#[derive(Debug)]
pub(super) struct IconItem {
    /// Segments there were when the item began: as long as there are no more, the places hold.
    pub(super) segments: usize,
    pub(super) elements: Vec<(Tag, Range<usize>, Vec<u8>)>,
}

impl IconItem {
    pub(super) fn text(&self, wanted: Tag) -> Option<&str> {
        let (.., value) = self.elements.iter().find(|(tag, ..)| *tag == wanted)?;
        std::str::from_utf8(value).ok().map(str::trim)
    }

    fn number(&self, wanted: Tag) -> Option<u16> {
        let (.., value) = self.elements.iter().find(|(tag, ..)| *tag == wanted)?;
        Some(u16::from_le_bytes(*value.first_chunk()?))
    }

    pub(super) fn shape(&self) -> Option<FrameShape> {
        let bits_allocated = self.number(ALLOCATED)?;
        let bits_stored = self.number(STORED).unwrap_or(bits_allocated);
        let high = self
            .number(HIGH_BIT)
            .unwrap_or(bits_stored.saturating_sub(1));
        let samples = self.number(SAMPLES).unwrap_or(1);
        let photometric = match self.text(PHOTOMETRIC).unwrap_or_default() {
            "" if samples == 1 => Photometric::Monochrome2,
            term => Photometric::parse(term),
        };
        Some(FrameShape {
            rows: self.number(ROWS)?.into(),
            columns: self.number(COLUMNS)?.into(),
            samples,
            bits_allocated,
            bits_stored,
            low_bit: (high.checked_add(1)?)
                .checked_sub(bits_stored)
                .filter(|_| high < bits_allocated)
                .unwrap_or(0),
            overlay_bits: false,
            signed: self.number(REPRESENTATION) == Some(1),
            planar: self.number(PLANAR) == Some(1),
            photometric,
        })
    }
}
