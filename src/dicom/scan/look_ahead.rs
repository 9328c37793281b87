//! What only the bytes ahead can tell: whether items are explicit, a value is a sequence, the rest can be left out.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::Scanner;
use super::level::{Element, LevelKind, ScanLevel};
use crate::dicom::error::ParseError;
use crate::dicom::header::Encoding;

impl<'a> Scanner<'a> {
    /// Items of a UN or implicit sequence hold explicit elements in the files of some writers.
    pub(super) fn sniff_item(&mut self, encoding: Encoding) -> Result<Encoding, ParseError> {
        if encoding != Encoding::ImplicitLittle {
            return Ok(encoding);
        }
        let bytes = self.window.peek(self.position, 8)?;
        let item = bytes.starts_with(&[0xFE, 0xFF]);
        let vr = bytes.get(4..).and_then(<[u8]>::first_chunk);
        let explicit = !item && vr.is_some_and(|vr| VR::from_binary(*vr).is_some());
        Ok(if explicit {
            Encoding::ExplicitLittle
        } else {
            encoding
        })
    }

    /// Whether all that is left at top level can be left out; then the data set is closed here.
    ///
    /// Zeros are no element, and nothing that belongs to the data set can follow the pixel data with a lower tag.
    pub(super) fn ignorable(&mut self) -> Result<bool, ParseError> {
        const LONGEST: u64 = 1 << 20;
        let left = self.end.saturating_sub(self.position);
        if left > LONGEST {
            return Ok(false);
        }
        let first = self
            .window
            .peek(self.position, 2)?
            .first_chunk::<2>()
            .copied();
        let behind_pixels = self.highest >= tags::FLOAT_PIXEL_DATA
            && first.is_some_and(|group| (1..0x7FE0).contains(&u16::from_le_bytes(group)));
        let ignorable = behind_pixels || self.only_zeros(left)?;
        if ignorable {
            self.stack.clear();
        }
        Ok(ignorable)
    }

    fn only_zeros(&mut self, left: u64) -> Result<bool, ParseError> {
        let big = self
            .stack
            .first()
            .is_some_and(|root| root.encoding == Encoding::ExplicitBig);
        // In big endian the cut header of a common element starts with a zero.
        if big && left < 8 {
            return Ok(false);
        }
        let mut at = self.position;
        // What was found not to be zero is not looked for again.
        if self.nonzero.is_some_and(|seen| seen >= at) {
            return Ok(false);
        }
        while at < self.end {
            let bytes = self.window.peek(at, 4096)?;
            if let Some(index) = bytes.iter().position(|&b| b != 0) {
                self.nonzero = Some(at.saturating_add(index as u64));
                return Ok(false);
            }
            if bytes.is_empty() {
                return Ok(false);
            }
            at = at.saturating_add(bytes.len() as u64);
        }
        Ok(true)
    }

    /// A private dictionary may give the tag another VR: a value that does not start with an item is no sequence.
    pub(super) fn starts_with_item(&mut self, element: &Element) -> Result<bool, ParseError> {
        let item: &[u8] = if element.big {
            &[0xFF, 0xFE, 0xE0]
        } else {
            &[0xFE, 0xFF]
        };
        Ok(self.window.peek(element.value_at, 4)?.starts_with(item))
    }

    /// Whether a value of VR UN reads as a sequence to its very end.
    pub(super) fn is_sequence(&mut self, start: u64, end: u64) -> Result<bool, ParseError> {
        if self.trial || self.depth >= self.limits.depth {
            return Ok(false);
        }
        let saved = (self.position, std::mem::take(&mut self.stack), self.depth);
        let counters = (self.structure, self.fragments);
        self.trial = true;
        let tag = Tag(0, 0);
        let kind = LevelKind::Sequence { tag, sniff: true };
        let level = ScanLevel {
            kind,
            end,
            defined: true,
            encoding: Encoding::ImplicitLittle,
        };
        let mut good = self.open_sequence(tag, start, level).is_ok();
        while good && !self.stack.is_empty() {
            match self.next() {
                Ok(_) => {}
                Err(ParseError::Read(error)) => return Err(error.into()),
                Err(_) => good = false,
            }
        }
        self.trial = false;
        (self.position, self.stack, self.depth) = saved;
        (self.structure, self.fragments) = counters;
        Ok(good)
    }

    /// The letters of an explicit header when they are no VR: its length may be anywhere then.
    pub(super) fn unknown_vr(&mut self, level: ScanLevel) -> Result<Option<[u8; 2]>, ParseError> {
        if level.encoding == Encoding::ImplicitLittle {
            return Ok(None);
        }
        let bytes = self.window.peek(self.position, 6)?;
        let letters = bytes.get(4..).and_then(<[u8]>::first_chunk::<2>);
        let unknown = |vr: &&[u8; 2]| {
            vr.iter().all(u8::is_ascii_uppercase) && VR::from_binary(**vr).is_none()
        };
        Ok(letters.filter(unknown).copied())
    }
}
