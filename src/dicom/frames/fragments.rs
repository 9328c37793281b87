//! Encapsulated pixel data to frames: from whichever of the tables agrees with the fragments, else by looking at them.
//!
//! Invariant: a frame starts at a fragment and ends before another one or at the end; no fragment is in two frames.

use dicom_dictionary_std::tags;

use super::table::{Encapsulated, FrameTable, FrameTableKind, ITEM_HEADER, narrow};
use crate::dicom::issue::ValidationIssue;

/// Whether bytes are the start of a codestream that can be told from the middle of one.
///
/// JPEG and JPEG-LS (SOI and a marker), JPEG 2000 (SOC and SIZ, or a JP2 box), JPEG XL (codestream or container) and the
/// RLE header of PS3.5 §G.5. Looks at 12 bytes.
#[must_use]
pub(crate) fn starts_codestream(bytes: &[u8]) -> bool {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] | [0xFF, 0x0A, ..] => true,
        [0, 0, 0, 0x0C, b'j', b'P', ..] | [0, 0, 0, 0x0C, b'J', b'X', b'L', b' ', ..] => true,
        [segments @ 1..=15, 0, 0, 0, 64, 0, 0, 0, ..] => *segments > 0,
        _ => false,
    }
}

/// What the parser knows of encapsulated pixel data when it is through.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// First byte of the first fragment's value.
    pub(crate) offset: u64,
    pub(crate) lengths: Vec<u32>,
    /// Indexes of the fragments that start a codestream.
    pub(crate) codestreams: Vec<u32>,
    pub(crate) basic_offsets: Vec<u32>,
    /// Extended Offset Table (7FE0,0001) and its lengths (7FE0,0002).
    pub(crate) extended: Option<(Vec<u64>, Vec<u64>)>,
    /// Number of Frames, when it is there and can be read.
    pub(crate) declared: Option<u32>,
    /// All fragments are one stream of bytes (MPEG, HEVC).
    pub(crate) video: bool,
}

impl Fragments {
    /// Builds the table, and says what had to be overruled or guessed.
    pub(crate) fn into_table(mut self, findings: &mut Vec<ValidationIssue>) -> FrameTable {
        let declared = usize::try_from(self.declared.unwrap_or(1)).unwrap_or(usize::MAX);
        while self.lengths.len() > declared && self.lengths.last() == Some(&0) {
            self.lengths.pop();
        }
        if self.lengths.is_empty() {
            findings.push(finding("encapsulated pixel data has no fragments"));
            return FrameTable::none();
        }
        let starts = self.frame_starts(declared, findings);
        let count = starts.as_ref().map_or(self.lengths.len(), Vec::len);
        if count != declared && !self.video {
            findings.push(ValidationIssue::new(
                tags::NUMBER_OF_FRAMES,
                "does not agree with the number of frames in the pixel data",
            ));
        }
        let fragments = narrow(self.lengths.len());
        let starts = starts.map(|mut starts| {
            starts.push(fragments);
            starts
        });
        FrameTable(FrameTableKind::Encapsulated(Encapsulated::new(
            self.offset,
            self.lengths,
            starts,
        )))
    }

    /// Index of the first fragment of each frame; none when each fragment is a frame.
    fn frame_starts(
        &self,
        declared: usize,
        findings: &mut Vec<ValidationIssue>,
    ) -> Option<Vec<u32>> {
        let count = self.lengths.len();
        if self.video || count == 1 {
            return (count > 1).then(|| vec![0]);
        }
        if let Some((offsets, lengths)) = &self.extended {
            match self.by_offsets(offsets.iter().copied()) {
                Some(starts) if self.lengths_agree(&starts, lengths) => {
                    return shorten(starts, count);
                }
                _ => findings.push(finding(
                    "the extended offset table contradicts the fragments",
                )),
            }
        }
        let known = self.codestreams.first() == Some(&0);
        if !self.basic_offsets.is_empty() {
            match self.by_offsets(self.basic_offsets.iter().map(|o| u64::from(*o))) {
                // Some writers note only the first frame; then other signs that agree with the declared number tell more.
                Some(starts)
                    if starts.len() == declared
                        || (count != declared
                            && !(known && self.codestreams.len() == declared)) =>
                {
                    return shorten(starts, count);
                }
                _ => findings.push(finding("the basic offset table contradicts the fragments")),
            }
        }
        if count == declared {
            return None;
        }
        if declared == 1 && !(known && self.codestreams.len() == count) {
            return Some(vec![0]);
        }
        findings.push(finding("frames had to be told apart by their first bytes"));
        if known {
            shorten(self.codestreams.clone(), count)
        } else {
            None
        }
    }

    /// Fragment indexes of offsets from the first item header; none unless they ascend and each meets an item.
    fn by_offsets(&self, offsets: impl Iterator<Item = u64>) -> Option<Vec<u32>> {
        let mut starts = Vec::new();
        let mut items = self.lengths.iter().zip(0_u32..);
        let mut at = 0_u64;
        for offset in offsets {
            loop {
                let (length, index) = items.next()?;
                let here = at;
                at = at
                    .saturating_add(ITEM_HEADER)
                    .saturating_add(u64::from(*length));
                if here == offset {
                    starts.push(index);
                    break;
                }
                if here > offset {
                    return None;
                }
            }
        }
        (starts.first() == Some(&0)).then_some(starts)
    }

    /// One fragment per frame is demanded of the extended table; its lengths leave out a pad byte (PS3.3 §C.7.6.3.1.8).
    fn lengths_agree(&self, starts: &[u32], lengths: &[u64]) -> bool {
        lengths.len() == starts.len()
            && starts.len() == self.lengths.len()
            && lengths.iter().zip(&self.lengths).all(|(reported, real)| {
                *reported == u64::from(*real) || reported.checked_add(1) == Some(u64::from(*real))
            })
    }
}

/// One fragment per frame needs no list.
fn shorten(starts: Vec<u32>, fragments: usize) -> Option<Vec<u32>> {
    (starts.len() != fragments).then_some(starts)
}

fn finding(reason: &str) -> ValidationIssue {
    ValidationIssue::new(tags::PIXEL_DATA, reason)
}
