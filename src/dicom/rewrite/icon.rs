//! Compressed pixel data below the top level: icons, when the file around them changes its transfer syntax.
//!
//! Invariant: codestreams of one transfer syntax never stand in a file of another: an icon is decoded to native pixel data, which
//! every syntax may hold there (PS3.5 §A.4), or its sequence is left out and a note says why.

use dicom_core::{Tag, VR};

use super::edits::Edits;
use super::open_level::{
    ALLOCATED, COLUMNS, FRAMES, HIGH_BIT, IconItem, Mark, OpenLevel, PHOTOMETRIC, PLANAR,
    REPRESENTATION, ROWS, SAMPLES, STORED,
};
use super::planner::Planner;
use super::segment::FileSegment;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::codec::{self, FrameShape};
use crate::dicom::error::ParseError;
use crate::dicom::explicit_vr;
use crate::dicom::header::UNDEFINED;
use crate::dicom::instance::FileLayout;
use crate::dicom::scan::{Element, ScanEvent};
use crate::dicom::tag;

const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
/// What is needed to decode an icon.
const WANTED: [Tag; 10] = [
    SAMPLES,
    PHOTOMETRIC,
    PLANAR,
    FRAMES,
    ROWS,
    COLUMNS,
    ALLOCATED,
    STORED,
    HIGH_BIT,
    REPRESENTATION,
];
/// Largest icon, coded and decoded; real ones have some kilobytes.
const MOST_BYTES: u64 = 4 << 20;

/// The transfer syntax of codestreams that cannot stay; none when they can.
pub(super) fn foreign(layout: &FileLayout, edits: &Edits) -> Option<String> {
    let stored = &layout.transfer_syntax;
    (!transfer_syntax::is_native(stored) && *stored != edits.transfer_syntax)
        .then(|| stored.clone())
}

impl Planner<'_, '_> {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            segments: self.segments.len(),
            small: self.small.len(),
        }
    }

    pub(super) fn open_item(&mut self) {
        self.levels.push(OpenLevel::Item(IconItem {
            segments: self.segments.len(),
            elements: Vec::new(),
        }));
    }

    /// Takes notice of an element whose bytes begin at `start` of those not yet made a segment.
    pub(super) fn note_pixels(&mut self, tag: Tag, start: usize, value: &[u8]) {
        let place = start..self.small.len();
        if let Some(OpenLevel::Item(item)) = self.levels.last_mut()
            && WANTED.contains(&tag)
        {
            item.elements.push((tag, place, value.to_vec()));
        }
    }

    /// Decodes the codestream of an icon in place of its fragments, or leaves its sequence out.
    pub(super) fn icon(&mut self, element: &Element, syntax: &str) -> Result<(), ParseError> {
        let mut codestream = Vec::new();
        let (mut table, mut fits) = (true, true);
        loop {
            match self.scanner.next()? {
                ScanEvent::Fragment { .. } if std::mem::take(&mut table) => {}
                ScanEvent::Fragment { offset, length } => {
                    let length = u64::from(length);
                    fits &= (codestream.len() as u64).saturating_add(length) <= MOST_BYTES;
                    if fits {
                        codestream.extend_from_slice(&self.scanner.bytes(offset, length)?);
                    }
                }
                ScanEvent::FragmentsEnd { .. } | ScanEvent::End { .. } => break,
                _ => {}
            }
        }
        let made = if fits {
            self.decoded(element, syntax, &codestream)
        } else {
            Err("its pixel data is too large")
        };
        match made {
            Ok(()) => Ok(()),
            Err(reason) => self.leave_out(reason),
        }
    }

    fn decoded(
        &mut self,
        element: &Element,
        syntax: &str,
        codestream: &[u8],
    ) -> Result<(), &'static str> {
        let Some(OpenLevel::Item(item)) = self.levels.pop() else {
            return Err("it is not in an item");
        };
        if item.segments != self.segments.len() {
            return Err("its attributes are too large");
        }
        if item.text(FRAMES).is_some_and(|frames| frames != "1") {
            return Err("it has several frames");
        }
        let shape = item.shape().ok_or("its attributes describe no picture")?;
        let limits = codec::FrameLimits {
            max_frame_bytes: MOST_BYTES,
        };
        let frame = codec::decode(syntax, codestream, &shape, &limits)
            .map_err(|_| "its pixel data cannot be decoded")?;
        self.describe(&item, &frame.shape);
        let vr = if frame.shape.bits_allocated > 8 {
            VR::OW
        } else {
            VR::OB
        };
        self.small_value(element.tag, vr, &frame.data);
        // What follows in the item are no pixels.
        self.open_item();
        Ok(())
    }

    /// Makes the attributes of an item say what its decoded pixels are; from the last one, so that places hold.
    fn describe(&mut self, item: &IconItem, shape: &FrameShape) {
        let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
        let colors = shape.samples > 1;
        let wanted = [
            (REPRESENTATION, Some(u16::from(shape.signed))),
            (HIGH_BIT, Some(shape.bits_stored.saturating_sub(1))),
            (STORED, Some(shape.bits_stored)),
            (ALLOCATED, Some(shape.bits_allocated)),
            (COLUMNS, Some(side(shape.columns))),
            (ROWS, Some(side(shape.rows))),
            (PLANAR, colors.then_some(0)),
        ];
        for (tag, value) in wanted {
            let value = value.map(|value| (VR::US, value.to_le_bytes().to_vec()));
            self.put(item, tag, value);
        }
        if let Some(term) = shape.photometric.term() {
            self.put(item, PHOTOMETRIC, Some((VR::CS, term.into())));
        }
        let samples = shape.samples.to_le_bytes().to_vec();
        self.put(item, SAMPLES, Some((VR::US, samples)));
    }

    fn put(&mut self, item: &IconItem, wanted: Tag, value: Option<(VR, Vec<u8>)>) {
        let place = item.elements.iter().find(|(tag, ..)| *tag == wanted);
        let place = match place {
            Some((_, place, _)) => place.clone(),
            None if value.is_none() => return,
            // Behind the last element that goes before it.
            None => {
                let before = item.elements.iter().rfind(|(tag, ..)| *tag < wanted);
                match before {
                    Some((_, place, _)) => place.end..place.end,
                    None => return,
                }
            }
        };
        let mut bytes = Vec::new();
        if let Some((vr, mut value)) = value {
            if !value.len().is_multiple_of(2) {
                value.push(explicit_vr::padding(vr));
            }
            let length = u32::try_from(value.len()).unwrap_or(UNDEFINED);
            explicit_vr::head(&mut bytes, wanted, vr, length);
            bytes.extend(value);
        }
        if place.end <= self.small.len() {
            self.small.splice(place, bytes);
        }
    }

    /// Goes back to before the innermost sequence and skips the rest of it.
    fn leave_out(&mut self, reason: &str) -> Result<(), ParseError> {
        while let Some(level) = self.levels.pop() {
            let OpenLevel::Sequence(sequence, mark) = level else {
                continue;
            };
            if self.segments.len() > mark.segments {
                self.segments.truncate(mark.segments.saturating_add(1));
                self.small = match self.segments.pop() {
                    Some(FileSegment::Bytes(bytes)) => bytes,
                    _ => Vec::new(),
                };
            }
            self.small.truncate(mark.small);
            self.open = self.open.saturating_sub(1);
            let name = tag::keyword(sequence).unwrap_or("a sequence");
            self.notes.get_or_insert_with(|| {
                let hex = tag::hex(sequence);
                format!("{name} ({hex}) was left out of this transfer syntax: {reason}")
            });
            return self.scanner.skip_sequence();
        }
        Ok(())
    }

    /// Whether the fragments of an element have to go.
    pub(super) fn foreign_icon(&self, element: &Element) -> Option<String> {
        let nested = self.open > 0 && element.tag == PIXEL_DATA;
        self.foreign.clone().filter(|_| nested)
    }
}
