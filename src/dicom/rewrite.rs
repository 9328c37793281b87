//! Plans how a stored file is turned into Explicit VR Little Endian without loading it.
//!
//! Invariant: only values up to 4 KiB pass through memory, all others are copied or swapped from the source by the caller; the
//! planned length is the length written. Reads through the scanner of the parser, so both agree what the file holds.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use dicom_core::{Tag, VR};

use super::endian::{pixel_swap_width, swap, swap_width};
use super::error::{Limit, ParseError};
use super::explicit_vr::{self, padding};
use super::header::{self, ITEM, ITEM_END, SEQUENCE_END, UNDEFINED};
use super::identifiers::Identifiers;
use super::instance::FileLayout;
use super::limits::ParseLimits;
use super::scan::{Element, ScanEvent, Scanner};
use super::source::{Source, SourceWindow};

pub use meta::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION, named_group};
pub use segment::{FileSegment, FrameWriter, total_length, write};

mod icon;
mod meta;
mod segment;

/// What the new file is to have that the stored one has not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// Transfer Syntax UID of the new file; all of them but Implicit VR and Big Endian can be written.
    pub transfer_syntax: String,
    /// Changes of top-level elements other than the pixel data, each tag at most once, in any order.
    pub elements: Vec<Edit>,
    /// What becomes of Pixel Data (7FE0,0010).
    pub pixels: PixelEdit,
}

impl Edits {
    /// No change but the encoding.
    #[must_use]
    pub fn none(transfer_syntax: &str) -> Self {
        Self {
            transfer_syntax: transfer_syntax.to_owned(),
            ..Self::default()
        }
    }
}

/// One change of a top-level element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Which one.
    pub tag: Tag,
    /// Its new VR and value in little endian order, padded here; none removes it.
    pub value: Option<(VR, Vec<u8>)>,
}

/// What becomes of the pixel data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PixelEdit {
    /// It stays; native data is put in little endian order.
    #[default]
    Keep,
    /// Native frames one after another, `length` bytes in all.
    Native {
        /// OB or OW.
        vr: VR,
        /// How many frames the caller will write.
        frames: u32,
        /// Bytes of all frames, without padding.
        length: u64,
    },
    /// Encapsulated frames of these lengths, one fragment each.
    Encapsulated {
        /// Bytes of each frame's codestream, without padding.
        lengths: Vec<u32>,
    },
}

/// Values up to this size are read while planning; larger ones become runs of the source.
const SMALL: u32 = 4096;

/// A planned file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its pieces, in order.
    pub segments: Vec<FileSegment>,
    /// What of the stored file it has not, and why; without patient data.
    pub notes: Option<String>,
}

/// Plans the new file; `source` is the stored file, or its inflated data set when the layout says deflated.
///
/// # Errors
/// As the parser: the source has to be the file that was parsed. [`ParseError::Limit`] when native pixel data would be longer
/// than an element can be.
pub fn plan(
    source: &dyn Source,
    layout: &FileLayout,
    edits: &Edits,
    limits: ParseLimits,
) -> Result<Planned, ParseError> {
    let mut window = SourceWindow::new(source);
    let start = if layout.deflated {
        0
    } else {
        layout.dataset_offset
    };
    let recognized = header::recognize(&mut window, start, Some(&layout.transfer_syntax))?;
    let mut elements: Vec<&Edit> = edits.elements.iter().collect();
    elements.sort_by_key(|edit| edit.tag);
    let mut planner = Planner {
        scanner: Scanner::new(window, start, recognized.encoding, limits),
        limits,
        pending: elements.into_iter().peekable(),
        pixels: &edits.pixels,
        segments: Vec::new(),
        small: Vec::new(),
        kept: 0,
        open: 0,
        identifiers: Identifiers::default(),
        bits_allocated: 0,
        levels: Vec::new(),
        foreign: icon::foreign(layout, edits),
        notes: None,
    };
    planner.run()?;
    let mut segments = vec![FileSegment::Bytes(meta::meta_group(
        &planner.identifiers,
        &edits.transfer_syntax,
    )?)];
    segments.append(&mut planner.segments);
    Ok(Planned {
        segments,
        notes: planner.notes,
    })
}

struct Planner<'a, 'e> {
    scanner: Scanner<'a>,
    limits: ParseLimits,
    pending: std::iter::Peekable<std::vec::IntoIter<&'e Edit>>,
    pixels: &'e PixelEdit,
    segments: Vec<FileSegment>,
    /// Bytes not yet made a segment.
    small: Vec<u8>,
    kept: u64,
    open: usize,
    identifiers: Identifiers,
    bits_allocated: u16,
    /// Sequences and items around the element at hand.
    levels: Vec<icon::OpenLevel>,
    /// The stored transfer syntax, when its codestreams cannot stay.
    foreign: Option<String>,
    notes: Option<String>,
}

impl Planner<'_, '_> {
    fn run(&mut self) -> Result<(), ParseError> {
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
                        self.levels
                            .push(icon::OpenLevel::Sequence(element.tag, mark));
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

    fn small_value(&mut self, tag: Tag, vr: VR, value: &[u8]) {
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

#[cfg(test)]
mod icon_tests;
#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;
