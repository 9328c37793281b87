//! Data sets from Explicit into Implicit VR Little Endian while they are sent (PS3.5 §7.1.3), for peers that take nothing else.
//!
//! Invariants: values are copied as they come, and none is held; lengths of sequences and items become undefined, as they
//! change; what is not well formed ends the conversion, so that no peer takes it for whole.

use dicom_core::VR;

use crate::dicom::explicit_vr::has_short_length;

const UNDEFINED: u32 = u32::MAX;
/// Deepest nesting of items and sequences.
const MAX_DEPTH: usize = 512;
/// Longest header of an element, in bytes.
const HEADER: usize = 12;
const ITEM: (u16, u16) = (0xFFFE, 0xE000);
const ITEM_END: (u16, u16) = (0xFFFE, 0xE00D);
const SEQUENCE_END: (u16, u16) = (0xFFFE, 0xE0DD);

/// A data set is not in Explicit VR Little Endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data set is not well formed: {0}")]
pub(super) struct NotExplicit(&'static str);

/// A sequence or an item that is not closed yet.
#[derive(Debug, Clone, Copy)]
struct Nested {
    item: bool,
    /// First byte behind it; none when a delimiter ends it.
    end: Option<u64>,
    /// Its elements have no VR: it lies in a value of unknown VR (PS3.5 §6.2.2).
    implicit: bool,
}

/// Converts one data set, piece by piece.
#[derive(Debug, Default)]
pub(super) struct ImplicitWriter {
    /// Bytes of a header that is not complete.
    header: Vec<u8>,
    /// Bytes of a value that are still to come.
    value: u64,
    /// They are left out.
    skip: bool,
    /// Bytes read.
    at: u64,
    nested: Vec<Nested>,
}

/// Whether the length of a VR has 16 bits; of one that is not known it has 32 (PS3.5 §7.1.2).
fn is_short(vr: &[u8]) -> bool {
    let known = vr.first_chunk().and_then(|vr| VR::from_binary(*vr));
    known.is_some_and(has_short_length)
}

fn word(bytes: &[u8], at: usize) -> u16 {
    let two = bytes.get(at..).and_then(<[u8]>::first_chunk);
    two.map_or(0, |two| u16::from_le_bytes(*two))
}

fn double(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk);
    four.map_or(0, |four| u32::from_le_bytes(*four))
}

fn write((group, element): (u16, u16), length: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

impl ImplicitWriter {
    /// What the next piece becomes.
    ///
    /// # Errors
    /// [`NotExplicit`] when the data set is not what it is said to be.
    pub(super) fn convert(&mut self, mut piece: &[u8]) -> Result<Vec<u8>, NotExplicit> {
        let mut out = Vec::with_capacity(piece.len());
        loop {
            if self.value > 0 {
                let now = usize::try_from(self.value).unwrap_or(usize::MAX);
                let (copied, rest) = piece.split_at(now.min(piece.len()));
                if !self.skip {
                    out.extend_from_slice(copied);
                }
                self.value -= copied.len() as u64;
                self.at += copied.len() as u64;
                piece = rest;
                if self.value > 0 {
                    return Ok(out);
                }
            }
            self.close(&mut out);
            let Some(wanted) = self.wanted(&mut piece) else {
                return Ok(out);
            };
            self.at += wanted as u64;
            let header = std::mem::take(&mut self.header);
            self.element(&header, &mut out)?;
        }
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// [`NotExplicit`] when something is missing.
    pub(super) fn finish(&self) -> Result<(), NotExplicit> {
        if self.value > 0 || !self.header.is_empty() || !self.nested.is_empty() {
            return Err(NotExplicit("it ends too early"));
        }
        Ok(())
    }

    /// Closes what ends here.
    fn close(&mut self, out: &mut Vec<u8>) {
        while let Some(nested) = self.nested.last() {
            if nested.end != Some(self.at) {
                break;
            }
            write(if nested.item { ITEM_END } else { SEQUENCE_END }, 0, out);
            self.nested.pop();
        }
    }

    /// Completes a header; its length, or none when bytes are missing.
    fn wanted(&mut self, piece: &mut &[u8]) -> Option<usize> {
        let implicit = self.nested.last().is_some_and(|nested| nested.implicit);
        loop {
            let long = self.header.len() >= 8
                && !implicit
                && word(&self.header, 0) != ITEM.0
                && !is_short(self.header.get(4..6).unwrap_or_default());
            let wanted = if long { HEADER } else { 8 };
            let missing = wanted - self.header.len().min(wanted);
            if missing == 0 {
                return Some(wanted);
            }
            let (taken, rest) = piece.split_at(missing.min(piece.len()));
            self.header.extend_from_slice(taken);
            *piece = rest;
            if taken.len() < missing {
                return None;
            }
        }
    }

    fn element(&mut self, header: &[u8], out: &mut Vec<u8>) -> Result<(), NotExplicit> {
        let tag = (word(header, 0), word(header, 2));
        let parent = self.nested.last().copied();
        let implicit = parent.is_some_and(|parent| parent.implicit);
        if tag.0 == ITEM.0 {
            return self.delimiter(tag, double(header, 4), parent, out);
        }
        if parent.is_some_and(|parent| !parent.item) {
            return Err(NotExplicit("an element lies between two items"));
        }
        let vr = header.get(4..6).unwrap_or_default();
        let length = match header.len() {
            HEADER => double(header, 8),
            _ if implicit => double(header, 4),
            _ => u32::from(word(header, 6)),
        };
        let sequence = !implicit && vr == b"SQ";
        if length == UNDEFINED && !implicit && !sequence && vr != b"UN" {
            return Err(NotExplicit("a value that is no sequence has no length"));
        }
        if sequence || length == UNDEFINED {
            write(tag, UNDEFINED, out);
            return self.open(false, length, implicit || !sequence);
        }
        self.fits(length)?;
        self.value = u64::from(length);
        // Lengths of groups are retired, and would be wrong (PS3.5 §7.2).
        self.skip = tag.1 == 0;
        if !self.skip {
            write(tag, length, out);
        }
        Ok(())
    }

    /// Begins an item, or ends what has no length.
    fn delimiter(
        &mut self,
        tag: (u16, u16),
        length: u32,
        parent: Option<Nested>,
        out: &mut Vec<u8>,
    ) -> Result<(), NotExplicit> {
        let parent = parent.ok_or(NotExplicit("an item lies in no sequence"))?;
        match tag {
            ITEM if !parent.item => {
                write(ITEM, UNDEFINED, out);
                self.open(true, length, parent.implicit)
            }
            ITEM_END | SEQUENCE_END if parent.end.is_none() && parent.item == (tag == ITEM_END) => {
                write(tag, 0, out);
                self.nested.pop();
                Ok(())
            }
            _ => Err(NotExplicit("a delimiter stands where it may not")),
        }
    }

    fn open(&mut self, item: bool, length: u32, implicit: bool) -> Result<(), NotExplicit> {
        if self.nested.len() >= MAX_DEPTH {
            return Err(NotExplicit("it is nested too deeply"));
        }
        let end = if length == UNDEFINED {
            None
        } else {
            self.fits(length)?;
            Some(self.at + u64::from(length))
        };
        self.nested.push(Nested {
            item,
            end,
            implicit,
        });
        Ok(())
    }

    /// Whether a value ends within what it lies in.
    fn fits(&self, length: u32) -> Result<(), NotExplicit> {
        let end = self.at + u64::from(length);
        let limit = self.nested.iter().rev().find_map(|nested| nested.end);
        match limit {
            Some(limit) if end > limit => Err(NotExplicit("a value is longer than its item")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(tag: (u16, u16), vr: &[u8], length: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write(tag, 0, &mut out);
        out.truncate(4);
        out.extend(vr);
        if is_short(vr) {
            out.extend(u16::try_from(length).unwrap().to_le_bytes());
        } else {
            out.extend([0, 0]);
            out.extend(length.to_le_bytes());
        }
        out
    }

    fn implicit(tag: (u16, u16), length: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write(tag, length, &mut out);
        out
    }

    fn converted(data: &[u8], step: usize) -> Result<Vec<u8>, NotExplicit> {
        let mut writer = ImplicitWriter::default();
        let mut out = Vec::new();
        for piece in data.chunks(step) {
            out.extend(writer.convert(piece)?);
        }
        writer.finish()?;
        Ok(out)
    }

    #[test]
    fn values_are_kept_and_sequences_lose_their_lengths() {
        let id = [explicit((0x10, 0x20), b"LO", 4), b"4711".to_vec()].concat();
        let plain = [implicit((0x10, 0x20), 4), b"4711".to_vec()].concat();
        let length = u32::try_from(id.len()).unwrap();
        let data = [
            explicit((8, 0), b"UL", 4),
            vec![9; 4],
            id.clone(),
            // Of defined lengths, with an empty item behind.
            explicit((8, 0x1140), b"SQ", 16 + length),
            implicit(ITEM, length),
            id.clone(),
            implicit(ITEM, 0),
            // Of undefined lengths.
            explicit((8, 0x1199), b"SQ", UNDEFINED),
            implicit(ITEM, UNDEFINED),
            id,
            implicit(ITEM_END, 0),
            implicit(SEQUENCE_END, 0),
            // A sequence of unknown VR, whose elements have no VR already.
            explicit((9, 0x1010), b"UN", UNDEFINED),
            implicit(ITEM, 12),
            plain.clone(),
            implicit(SEQUENCE_END, 0),
            explicit((0x7FE0, 0x10), b"OW", 6),
            vec![1, 2, 3, 4, 5, 6],
        ]
        .concat();
        let one = [
            implicit(ITEM, UNDEFINED),
            plain.clone(),
            implicit(ITEM_END, 0),
        ]
        .concat();
        let wanted = [
            plain,
            implicit((8, 0x1140), UNDEFINED),
            one.clone(),
            implicit(ITEM, UNDEFINED),
            implicit(ITEM_END, 0),
            implicit(SEQUENCE_END, 0),
            implicit((8, 0x1199), UNDEFINED),
            one.clone(),
            implicit(SEQUENCE_END, 0),
            implicit((9, 0x1010), UNDEFINED),
            one,
            implicit(SEQUENCE_END, 0),
            implicit((0x7FE0, 0x10), 6),
            vec![1, 2, 3, 4, 5, 6],
        ]
        .concat();
        for step in [1, 3, 7, data.len()] {
            assert_eq!(converted(&data, step).as_deref(), Ok(&wanted[..]), "{step}");
        }
        for end in 1..data.len() {
            // Whole elements may end it; whatever else is told.
            drop(converted(&data[..end], 5));
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for data in [
            implicit(ITEM, 0),
            explicit((0x10, 0x20), b"LO", 4),
            explicit((0x7FE0, 0x10), b"OB", UNDEFINED),
            [explicit((8, 0x1140), b"SQ", 8), implicit(ITEM, 1)].concat(),
            explicit((8, 0x1140), b"SQ", 8),
            [explicit((8, 0x1140), b"SQ", 8), implicit(ITEM_END, 0)].concat(),
            vec![1, 2, 3],
        ] {
            assert!(converted(&data, 4).is_err(), "{data:?}");
        }
        let deep = [
            explicit((8, 0x1140), b"SQ", UNDEFINED),
            implicit(ITEM, UNDEFINED),
        ]
        .concat();
        assert!(converted(&deep.repeat(100_000), 1000).is_err());
    }
}
