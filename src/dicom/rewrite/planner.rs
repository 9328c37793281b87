//! Goes through the elements of a stored file once and lists the segments of the new one.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use dicom_core::{Tag, VR};

use super::edits::{Edit, PixelEdit};
use super::open_level::OpenLevel;
use super::segment::FileSegment;
use crate::dicom::endian::{pixel_swap_width, swap, swap_width};
use crate::dicom::error::{Limit, ParseError};
use crate::dicom::explicit_vr::{self, padding};
use crate::dicom::header::{ITEM, ITEM_END, SEQUENCE_END, UNDEFINED};
use crate::dicom::identifiers::Identifiers;
use crate::dicom::limits::ParseLimits;
use crate::dicom::scan::{Element, ScanEvent, Scanner};

/// Values up to this size are read while planning; larger ones become runs of the source.
const SMALL: u32 = 4096;

/// A file that is being planned.
pub(super) struct Planner<'a, 'e> {
    pub(super) scanner: Scanner<'a>,
    pub(super) limits: ParseLimits,
    pub(super) pending: std::iter::Peekable<std::vec::IntoIter<&'e Edit>>,
    pub(super) pixels: &'e PixelEdit,
    pub(super) segments: Vec<FileSegment>,
    /// Bytes not yet made a segment.
    pub(super) small: Vec<u8>,
    pub(super) kept: u64,
    pub(super) open: usize,
    pub(super) identifiers: Identifiers,
    pub(super) bits_allocated: u16,
    /// Sequences and items around the element at hand.
    pub(super) levels: Vec<OpenLevel>,
    /// The stored transfer syntax, when its codestreams cannot stay.
    pub(super) foreign: Option<String>,
    pub(super) notes: Option<String>,
}

impl Planner<'_, '_> {
    pub(super) fn run(&mut self) -> Result<(), ParseError> {
        loop {
            match self.scanner.next()? {
                ScanEvent::Element(element) => {
                    if self.stays(element.tag) {
                        self.element(&element)?;
                    }
                }
                ScanEvent::SequenceStart(element) => {
                    if self.stays(element.tag) {
                        let mark = self.mark();
                        self.levels.push(OpenLevel::Sequence(element.tag, mark));
                        self.head(element.tag, VR::SQ, UNDEFINED);
                        self.open = self.open.saturating_add(1);
                    } else {
                        self.scanner.skip_sequence()?;
                    }
                }
                ScanEvent::ItemStart => {
                    self.item(ITEM, UNDEFINED);
                    self.open_item();
                }
                ScanEvent::ItemEnd => {
                    self.item(ITEM_END, 0);
                    self.levels.pop();
                }
                ScanEvent::SequenceEnd => {
                    self.item(SEQUENCE_END, 0);
                    self.levels.pop();
                    self.open = self.open.saturating_sub(1);
                }
                ScanEvent::FragmentsStart(element) => self.fragments(&element)?,
                ScanEvent::Fragment { .. } | ScanEvent::FragmentsEnd { .. } => {}
                ScanEvent::End { .. } => break,
            }
            let length = self.small.len() as u64;
            if self.kept.saturating_add(length) > self.limits.kept {
                let at = self.scanner.position();
                return Err(ParseError::limit(None, at, Limit::Kept, self.limits.kept));
            }
        }
        self.insert_before(None);
        self.flush();
        Ok(())
    }

    /// Writes the edits due before an element; tells whether the element itself stays.
    fn stays(&mut self, tag: Tag) -> bool {
        if self.open > 0 {
            return true;
        }
        self.insert_before(Some(tag));
        if tag == Tag(0xFFFC, 0xFFFC) {
            // Data Set Trailing Padding means nothing (PS3.10 §7.2).
            return false;
        }
        let replaces = !matches!(self.pixels, PixelEdit::Keep);
        // Offset tables of the old fragments.
        if replaces && matches!(tag, Tag(0x7FE0, 0x0001..=0x0003)) {
            return false;
        }
        match self.pending.peek() {
            Some(edit) if edit.tag == tag => {
                if let Some(edit) = self.pending.next() {
                    self.insert(edit);
                }
                false
            }
            _ => true,
        }
    }

    fn insert_before(&mut self, tag: Option<Tag>) {
        while let Some(edit) = self
            .pending
            .next_if(|edit| tag.is_none_or(|tag| edit.tag < tag))
        {
            self.insert(edit);
        }
    }

    fn insert(&mut self, edit: &Edit) {
        if let Some((vr, value)) = &edit.value {
            self.identifiers.note(edit.tag, *vr, value);
            self.small_value(edit.tag, *vr, value);
        }
    }

    fn element(&mut self, element: &Element) -> Result<(), ParseError> {
        let Element {
            tag,
            vr,
            big,
            value_at,
            length,
        } = *element;
        if self.open == 0 && tag == Tag(0x7FE0, 0x0010) && self.new_pixels()? {
            return Ok(());
        }
        let width = if big { self.width(element)? } else { 1 };
        if length <= SMALL {
            let mut value = self.scanner.value(element)?.into_owned();
            if self.open == 0 {
                self.identifiers.note(tag, vr, &value);
            }
            swap(&mut value, width);
            if self.open == 0
                && tag == Tag(0x0028, 0x0100)
                && let Some(bits) = value.first_chunk()
            {
                self.bits_allocated = u16::from_le_bytes(*bits);
            }
            let start = self.small.len();
            self.small_value(tag, vr, &value);
            self.note_pixels(tag, start, &value);
            return Ok(());
        }
        let odd = length & 1;
        self.head(tag, vr, length.saturating_add(odd));
        self.flush();
        let length = u64::from(length);
        self.segments.push(if width > 1 {
            FileSegment::Swap {
                offset: value_at,
                length,
                width,
            }
        } else {
            FileSegment::Copy {
                offset: value_at,
                length,
            }
        });
        if odd == 1 {
            self.small.push(padding(vr));
        }
        Ok(())
    }

    /// Bytes that change places in a big-endian value.
    fn width(&mut self, element: &Element) -> Result<u8, ParseError> {
        if self.open > 0 || element.tag != Tag(0x7FE0, 0x0010) {
            return Ok(swap_width(element.vr));
        }
        let length = u64::from(element.length);
        pixel_swap_width(element.vr, self.bits_allocated, length, |at, count| {
            let at = element.value_at.saturating_add(at);
            self.scanner.bytes(at, count).map(Cow::into_owned)
        })
    }

    /// Writes the replacement of the pixel data; false when it stays.
    fn new_pixels(&mut self) -> Result<bool, ParseError> {
        const TAG: Tag = Tag(0x7FE0, 0x0010);
        match self.pixels {
            PixelEdit::Keep => return Ok(false),
            PixelEdit::Native { vr, frames, length } => {
                let odd = length & 1;
                let padded = u32::try_from(length.saturating_add(odd))
                    .ok()
                    .filter(|l| *l != UNDEFINED);
                let Some(padded) = padded else {
                    let at = self.scanner.position();
                    return Err(ParseError::limit(
                        Some(TAG),
                        at,
                        Limit::Value,
                        u64::from(u32::MAX) - 1,
                    ));
                };
                self.head(TAG, *vr, padded);
                self.frames(1..=*frames, *length);
                if odd == 1 {
                    self.small.push(0);
                }
            }
            PixelEdit::Encapsulated { lengths } => {
                self.head(TAG, VR::OB, UNDEFINED);
                self.offset_table(lengths);
                for (number, length) in (1_u32..).zip(lengths) {
                    let odd = length & 1;
                    self.item(ITEM, length.saturating_add(odd));
                    self.frames(number..=number, u64::from(*length));
                    if odd == 1 {
                        self.small.push(0);
                    }
                }
                self.item(SEQUENCE_END, 0);
            }
        }
        Ok(true)
    }

    /// The basic offset table; empty when an offset does not fit into 32 bits.
    fn offset_table(&mut self, lengths: &[u32]) {
        let mut at = 0_u64;
        let mut table = Vec::with_capacity(lengths.len().saturating_mul(4));
        for length in lengths {
            let Ok(offset) = u32::try_from(at) else {
                table.clear();
                break;
            };
            table.extend(offset.to_le_bytes());
            at = at
                .saturating_add(8)
                .saturating_add(u64::from(*length).next_multiple_of(2));
        }
        self.item(ITEM, u32::try_from(table.len()).unwrap_or(0));
        self.small.extend(table);
    }

    fn frames(&mut self, numbers: RangeInclusive<u32>, length: u64) {
        self.flush();
        self.segments.push(FileSegment::Frames { numbers, length });
    }

    /// An encapsulated value: its items are the same in every encoding but big endian, so they are copied in one run.
    fn fragments(&mut self, element: &Element) -> Result<(), ParseError> {
        if let Some(syntax) = self.foreign_icon(element) {
            return self.icon(element, &syntax);
        }
        let stays = self.stays(element.tag);
        let pixels = self.open == 0 && element.tag == Tag(0x7FE0, 0x0010);
        let stays = stays && !(pixels && self.new_pixels()?);
        if stays {
            self.head(element.tag, element.vr, UNDEFINED);
            self.flush();
        }
        loop {
            match self.scanner.next()? {
                ScanEvent::Fragment { offset, length } if stays && element.big => {
                    self.item(ITEM, length);
                    self.flush();
                    self.segments.push(FileSegment::Copy {
                        offset,
                        length: length.into(),
                    });
                }
                ScanEvent::FragmentsEnd { end } => {
                    if stays && !element.big {
                        let length = end.saturating_sub(element.value_at);
                        self.segments.push(FileSegment::Copy {
                            offset: element.value_at,
                            length,
                        });
                    }
                    break;
                }
                ScanEvent::End { .. } => break,
                _ => {}
            }
        }
        if stays {
            self.item(SEQUENCE_END, 0);
        }
        Ok(())
    }

    pub(super) fn small_value(&mut self, tag: Tag, vr: VR, value: &[u8]) {
        let length = u32::try_from(value.len()).unwrap_or(UNDEFINED.saturating_sub(1));
        let odd = length & 1;
        self.head(tag, vr, length.saturating_add(odd));
        self.small.extend_from_slice(value);
        if odd == 1 {
            self.small.push(padding(vr));
        }
    }

    fn head(&mut self, tag: Tag, vr: VR, length: u32) {
        explicit_vr::head(&mut self.small, tag, vr, length);
    }

    fn item(&mut self, tag: Tag, length: u32) {
        explicit_vr::item(&mut self.small, tag, length);
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.kept = self.kept.saturating_add(self.small.len() as u64);
            self.segments
                .push(FileSegment::Bytes(std::mem::take(&mut self.small)));
        }
    }
}
