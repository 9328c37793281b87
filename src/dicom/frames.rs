//! Where each frame of an instance lies: built once by the walk, looked up per request in constant time.
//!
//! Invariant: a slice never covers an item header, and every slice lies inside the pixel data the walk has seen. Fragments
//! follow each other with one item header between them, so lengths are enough to find them all.

use super::instance::Finding;

/// Tag, length: what stands before each fragment (PS3.5 §A.4).
const ITEM_HEADER: u64 = 8;

/// Place of every frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameTable(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    None,
    Native(Native),
    Encapsulated(Encapsulated),
}

/// Frames by arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Native {
    offset: u64,
    /// Bytes of all pixel data.
    length: u64,
    frame_bits: u64,
    count: u32,
    /// 1, 2, 4 or 8.
    swap: u8,
}

/// Frames of one or more fragments each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Encapsulated {
    /// First byte of the first fragment's value.
    offset: u64,
    /// Length of each fragment.
    lengths: Vec<u32>,
    /// First byte of every 64th fragment's value.
    places: Vec<u64>,
    /// Index of the first fragment of each frame and, last, of the first fragment behind; none when each frame has one.
    starts: Option<Vec<u32>>,
}

/// Bytes of the source that make up one frame, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSlices {
    /// Where they lie; more than one range when the frame has several fragments.
    pub ranges: Vec<ByteRange>,
    /// Bytes that change places for little endian (1: none do), see [`super::endian::swap`]; done before the bits are cut.
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
    /// `swap` is 1 in little endian, else the width from [`super::endian`]. Frames the bytes do not hold are left out.
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
        Self(Kind::Native(Native {
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
            Kind::None => 0,
            Kind::Native(native) => native.count,
            Kind::Encapsulated(table) => narrow(table.frame_count()),
        }
    }

    /// Whether the frames are encapsulated (compressed, usually).
    #[must_use]
    pub fn is_encapsulated(&self) -> bool {
        matches!(self.0, Kind::Encapsulated(_))
    }

    /// The place of frame `number`, counted from 1.
    #[must_use]
    pub fn frame(&self, number: u32) -> Option<FrameSlices> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        match &self.0 {
            Kind::None => None,
            Kind::Native(native) => native.frame(number),
            Kind::Encapsulated(table) => {
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

    /// Bytes for the index; read back by [`Self::from_bytes`] or, one frame at a time, by [`PackedFrames`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.0 {
            Kind::None => out.push(KIND_NONE),
            Kind::Native(native) => {
                out.push(KIND_NATIVE);
                out.push(native.swap);
                out.extend(native.offset.to_le_bytes());
                out.extend(native.length.to_le_bytes());
                out.extend(native.frame_bits.to_le_bytes());
                out.extend(native.count.to_le_bytes());
            }
            Kind::Encapsulated(table) => table.pack(&mut out),
        }
        out
    }

    /// Reads what [`Self::to_bytes`] wrote; none when the bytes are not that.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let packed = PackedFrames::new(bytes)?;
        Some(Self(match packed.0 {
            Packed::None => Kind::None,
            Packed::Native(native) => Kind::Native(native),
            Packed::Encapsulated(columns) => Kind::Encapsulated(columns.unpack()?),
        }))
    }
}

impl Native {
    fn frame(self, number: u32) -> Option<FrameSlices> {
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
const STRIDE: usize = 64;

impl Encapsulated {
    fn new(offset: u64, lengths: Vec<u32>, starts: Option<Vec<u32>>) -> Self {
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

    fn pack(&self, out: &mut Vec<u8>) {
        let width = bytes_for(self.lengths.iter().copied().max().unwrap_or(0));
        out.push(KIND_ENCAPSULATED);
        out.push(width);
        out.extend(narrow(self.lengths.len()).to_le_bytes());
        // Zero: each frame has one fragment.
        let frames = self
            .starts
            .as_ref()
            .map_or(0, |starts| narrow(starts.len()));
        out.extend(frames.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        for place in &self.places {
            out.extend(place.to_le_bytes());
        }
        for length in &self.lengths {
            out.extend(length.to_le_bytes().iter().take(usize::from(width)));
        }
        for start in self.starts.iter().flatten() {
            out.extend(start.to_le_bytes());
        }
    }
}

/// The ranges of some fragments, neighbors joined when nothing lies between them (never, with item headers).
fn slices(
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

const KIND_NONE: u8 = 0;
const KIND_NATIVE: u8 = 1;
const KIND_ENCAPSULATED: u8 = 2;

/// A frame table in its packed form: finds a frame without unpacking the others.
#[derive(Debug, Clone, Copy)]
pub struct PackedFrames<'a>(Packed<'a>);

#[derive(Debug, Clone, Copy)]
enum Packed<'a> {
    None,
    Native(Native),
    Encapsulated(Columns<'a>),
}

#[derive(Debug, Clone, Copy)]
struct Columns<'a> {
    width: usize,
    offset: u64,
    fragments: usize,
    places: &'a [u8],
    lengths: &'a [u8],
    /// Empty when each frame has one fragment.
    starts: &'a [u8],
}

impl<'a> PackedFrames<'a> {
    /// Looks at packed bytes; none when they are not a packed frame table.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        Some(Self(match kind {
            KIND_NONE if rest.is_empty() => Packed::None,
            KIND_NATIVE => {
                let (&swap, rest) = rest.split_first()?;
                let (offset, rest) = take_u64(rest)?;
                let (length, rest) = take_u64(rest)?;
                let (frame_bits, rest) = take_u64(rest)?;
                let (count, rest) = take_u32(rest)?;
                let table =
                    FrameTable::native(ByteRange { offset, length }, frame_bits, count, swap);
                match table.0 {
                    Kind::Native(native) if native.count == count && rest.is_empty() => {
                        Packed::Native(native)
                    }
                    _ => return None,
                }
            }
            KIND_ENCAPSULATED => {
                let (&width, rest) = rest
                    .split_first()
                    .filter(|(width, _)| (1..=4).contains(*width))?;
                let (fragments, rest) = take_u32(rest)?;
                let (starts, rest) = take_u32(rest)?;
                let (offset, rest) = take_u64(rest)?;
                let (width, fragments) = (usize::from(width), usize::try_from(fragments).ok()?);
                let (places, rest) =
                    rest.split_at_checked(fragments.div_ceil(STRIDE).checked_mul(8)?)?;
                let (lengths, rest) = rest.split_at_checked(fragments.checked_mul(width)?)?;
                if rest.len() != usize::try_from(starts).ok()?.checked_mul(4)? {
                    return None;
                }
                Packed::Encapsulated(Columns {
                    width,
                    offset,
                    fragments,
                    places,
                    lengths,
                    starts: rest,
                })
            }
            _ => return None,
        }))
    }

    /// How many frames there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        match &self.0 {
            Packed::None => 0,
            Packed::Native(native) => native.count,
            Packed::Encapsulated(columns) if columns.starts.is_empty() => narrow(columns.fragments),
            Packed::Encapsulated(columns) => narrow((columns.starts.len() / 4).saturating_sub(1)),
        }
    }

    /// The place of frame `number`, counted from 1.
    #[must_use]
    pub fn frame(&self, number: u32) -> Option<FrameSlices> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        match &self.0 {
            Packed::None => None,
            Packed::Native(native) => native.frame(number),
            Packed::Encapsulated(columns) => {
                let next = index.checked_add(1)?;
                let fragments = if columns.starts.is_empty() {
                    index..next
                } else {
                    columns.start(index)?..columns.start(next)?
                };
                slices(fragments, |i| columns.length(i), |i| columns.place(i))
            }
        }
    }
}

impl Columns<'_> {
    fn length(&self, index: usize) -> Option<u32> {
        let at = index.checked_mul(self.width)?;
        let bytes = self.lengths.get(at..at.checked_add(self.width)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
        )
    }

    fn place(&self, index: usize) -> Option<u64> {
        let at = index.checked_mul(8)?;
        take_u64(self.places.get(at..)?).map(|(place, _)| place)
    }

    fn start(&self, index: usize) -> Option<usize> {
        let at = index.checked_mul(4)?;
        take_u32(self.starts.get(at..)?).and_then(|(start, _)| usize::try_from(start).ok())
    }

    fn unpack(&self) -> Option<Encapsulated> {
        let lengths = (0..self.fragments)
            .map(|i| self.length(i))
            .collect::<Option<Vec<_>>>()?;
        let starts = self
            .starts
            .chunks_exact(4)
            .map(|c| take_u32(c).map(|(start, _)| start));
        let starts = starts.collect::<Option<Vec<_>>>()?;
        Some(Encapsulated::new(
            self.offset,
            lengths,
            (!starts.is_empty()).then_some(starts),
        ))
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes
        .split_first_chunk()
        .map(|(chunk, rest)| (u32::from_le_bytes(*chunk), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes
        .split_first_chunk()
        .map(|(chunk, rest)| (u64::from_le_bytes(*chunk), rest))
}

/// Fragments and frames are counted in 32 bits; the walk's limit is far below.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn bytes_for(value: u32) -> u8 {
    match value {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFF_FFFF => 3,
        _ => 4,
    }
}

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

/// What the walk knows of encapsulated pixel data when it is through.
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
    pub(crate) fn into_table(mut self, findings: &mut Vec<Finding>) -> FrameTable {
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
            findings.push(Finding {
                tag: dicom_core::Tag(0x0028, 0x0008),
                comment: "DICOM100: (0028,0008) - does not agree with the number of frames in the pixel data".to_owned(),
            });
        }
        let fragments = narrow(self.lengths.len());
        let starts = starts.map(|mut starts| {
            starts.push(fragments);
            starts
        });
        FrameTable(Kind::Encapsulated(Encapsulated::new(
            self.offset,
            self.lengths,
            starts,
        )))
    }

    /// Index of the first fragment of each frame; none when each fragment is a frame.
    fn frame_starts(&self, declared: usize, findings: &mut Vec<Finding>) -> Option<Vec<u32>> {
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
            && lengths.iter().zip(&self.lengths).all(|(told, real)| {
                *told == u64::from(*real) || told.checked_add(1) == Some(u64::from(*real))
            })
    }
}

/// One fragment per frame needs no list.
fn shorten(starts: Vec<u32>, fragments: usize) -> Option<Vec<u32>> {
    (starts.len() != fragments).then_some(starts)
}

fn finding(reason: &str) -> Finding {
    Finding {
        tag: dicom_core::Tag(0x7FE0, 0x0010),
        comment: format!("DICOM100: (7FE0,0010) - {reason}"),
    }
}

#[cfg(test)]
mod tests;
