//! Where each frame lies: by arithmetic, or by the lengths of its fragments.

/// Tag, length: what stands before each fragment (PS3.5 §A.4).
pub(super) const ITEM_HEADER: u64 = 8;

/// Place of every frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameTable(pub(super) FrameTableKind);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum FrameTableKind {
    #[default]
    None,
    Native(Native),
    Encapsulated(Encapsulated),
}

/// Frames by arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Native {
    pub(super) offset: u64,
    /// Bytes of all pixel data.
    pub(super) length: u64,
    pub(super) frame_bits: u64,
    pub(super) count: u32,
    /// 1, 2, 4 or 8.
    pub(super) swap: u8,
}

/// Frames of one or more fragments each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encapsulated {
    /// First byte of the first fragment's value.
    pub(super) offset: u64,
    /// Length of each fragment.
    pub(super) lengths: Vec<u32>,
    /// First byte of every 64th fragment's value.
    pub(super) places: Vec<u64>,
    /// Index of the first fragment of each frame and, last, of the first fragment behind; none when each frame has one.
    pub(super) starts: Option<Vec<u32>>,
}

/// Bytes of the source that make up one frame, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSlices {
    /// Where they lie; more than one range when the frame has several fragments.
    pub ranges: Vec<ByteRange>,
    /// Bytes that change places for little endian (1: none do), see [`crate::dicom::endian::swap`]; done before the bits are cut.
    pub swap: u8,
    /// Set when the frame does not fill its range: which bits of it are the frame's.
    pub bits: Option<BitRange>,
}

impl FrameSlices {
    /// Bytes in all ranges.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .fold(0, |sum: u64, range| sum.saturating_add(range.length))
    }

    /// Whether the frame has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A run of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

/// A run of bits in a byte range, the least significant bit of a byte first (PS3.5 §8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitRange {
    /// Bits at the start that belong to the frame before; less than 64.
    pub skip: u8,
    /// Bits of the frame.
    pub length: u64,
}

impl FrameTable {
    /// No frames.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Frames of `frame_bits` bits that follow each other without gaps in the pixel data.
    ///
    /// `swap` is 1 in little endian, else the width from [`crate::dicom::endian`]. Frames the bytes do not hold are left out.
    #[must_use]
    pub fn native(pixels: ByteRange, frame_bits: u64, count: u32, swap: u8) -> Self {
        let ByteRange { offset, length } = pixels;
        let complete = u128::from(length)
            .saturating_mul(8)
            .checked_div(frame_bits.into())
            .unwrap_or(0);
        let count = count.min(u32::try_from(complete).unwrap_or(u32::MAX));
        if count == 0 || !matches!(swap, 1 | 2 | 4 | 8) {
            return Self::none();
        }
        Self(FrameTableKind::Native(Native {
            offset,
            length,
            frame_bits,
            count,
            swap,
        }))
    }

    /// How many frames there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        match &self.0 {
            FrameTableKind::None => 0,
            FrameTableKind::Native(native) => native.count,
            FrameTableKind::Encapsulated(table) => narrow(table.frame_count()),
        }
    }

    /// Whether the frames are encapsulated (compressed, usually).
    #[must_use]
    pub fn is_encapsulated(&self) -> bool {
        matches!(self.0, FrameTableKind::Encapsulated(_))
    }

    /// The place of frame `number`, counted from 1.
    #[must_use]
    pub fn frame(&self, number: u32) -> Option<FrameSlices> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        match &self.0 {
            FrameTableKind::None => None,
            FrameTableKind::Native(native) => native.frame(number),
            FrameTableKind::Encapsulated(table) => {
                let fragments = match &table.starts {
                    None => index..index.checked_add(1)?,
                    Some(starts) => {
                        let end = starts.get(index.checked_add(1)?)?;
                        usize::try_from(*starts.get(index)?).ok()?..usize::try_from(*end).ok()?
                    }
                };
                slices(
                    fragments,
                    |i| table.lengths.get(i).copied(),
                    |i| table.places.get(i).copied(),
                )
            }
        }
    }
}

impl Native {
    pub(super) fn frame(self, number: u32) -> Option<FrameSlices> {
        if number == 0 || number > self.count {
            return None;
        }
        let first_bit = u128::from(number.checked_sub(1)?).checked_mul(self.frame_bits.into())?;
        let end_bit = first_bit.checked_add(self.frame_bits.into())?;
        // A word that has to be swapped is read whole.
        let unit = u64::from(self.swap);
        let first = u64::try_from(first_bit >> 3).ok()?;
        let first = first.checked_sub(first.checked_rem(unit)?)?;
        let end = u64::try_from(end_bit.checked_add(7)? >> 3).ok()?;
        let end = end.checked_next_multiple_of(unit)?.min(self.length);
        let length = end.checked_sub(first)?;
        let skip = first_bit.checked_sub(u128::from(first).checked_mul(8)?)?;
        let skip = u8::try_from(skip).ok()?;
        let whole = skip == 0 && u128::from(length).checked_mul(8)? == u128::from(self.frame_bits);
        Some(FrameSlices {
            ranges: vec![ByteRange {
                offset: self.offset.checked_add(first)?,
                length,
            }],
            swap: self.swap,
            bits: (!whole).then_some(BitRange {
                skip,
                length: self.frame_bits,
            }),
        })
    }
}

/// Fragments between two noted places.
pub(super) const STRIDE: usize = 64;

impl Encapsulated {
    pub(super) fn new(offset: u64, lengths: Vec<u32>, starts: Option<Vec<u32>>) -> Self {
        let mut places = Vec::with_capacity(lengths.len().div_ceil(STRIDE));
        let mut at = offset;
        for (index, length) in lengths.iter().enumerate() {
            if index.is_multiple_of(STRIDE) {
                places.push(at);
            }
            at = at
                .saturating_add(u64::from(*length))
                .saturating_add(ITEM_HEADER);
        }
        Self {
            offset,
            lengths,
            places,
            starts,
        }
    }

    fn frame_count(&self) -> usize {
        match &self.starts {
            None => self.lengths.len(),
            Some(starts) => starts.len().saturating_sub(1),
        }
    }
}

/// The ranges of some fragments, found from the last noted place before them.
pub(super) fn slices(
    fragments: std::ops::Range<usize>,
    length: impl Fn(usize) -> Option<u32>,
    place: impl Fn(usize) -> Option<u64>,
) -> Option<FrameSlices> {
    let noted = fragments.start.checked_div(STRIDE)?;
    let mut at = place(noted)?;
    for index in noted.checked_mul(STRIDE)?..fragments.start {
        at = at
            .checked_add(u64::from(length(index)?))?
            .checked_add(ITEM_HEADER)?;
    }
    let mut ranges = Vec::with_capacity(fragments.len().min(1024));
    for index in fragments {
        let bytes = u64::from(length(index)?);
        ranges.push(ByteRange {
            offset: at,
            length: bytes,
        });
        at = at.checked_add(bytes)?.checked_add(ITEM_HEADER)?;
    }
    Some(FrameSlices {
        ranges,
        swap: 1,
        bits: None,
    })
}

/// Fragments and frames are counted in 32 bits; the parser's limit is far below.
pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
