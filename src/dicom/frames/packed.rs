//! Frame tables as bytes for the index: a frame is found without unpacking the others.
//!
//! Invariant: a [`PackedFrames`] has columns of exactly the announced lengths, so that a look-up cannot leave them.

use super::table::{
    ByteRange, Encapsulated, FrameSlices, FrameTable, FrameTableKind, Native, STRIDE, narrow,
    slices,
};

const KIND_NONE: u8 = 0;
const KIND_NATIVE: u8 = 1;
const KIND_ENCAPSULATED: u8 = 2;

/// A frame table in its packed form: finds a frame without unpacking the others.
#[derive(Debug, Clone, Copy)]
pub struct PackedFrames<'a>(FramePacking<'a>);

#[derive(Debug, Clone, Copy)]
enum FramePacking<'a> {
    None,
    Native(Native),
    Encapsulated(PackedColumns<'a>),
}

#[derive(Debug, Clone, Copy)]
struct PackedColumns<'a> {
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
            KIND_NONE if rest.is_empty() => FramePacking::None,
            KIND_NATIVE => {
                let (&swap, rest) = rest.split_first()?;
                let (offset, rest) = take_u64(rest)?;
                let (length, rest) = take_u64(rest)?;
                let (frame_bits, rest) = take_u64(rest)?;
                let (count, rest) = take_u32(rest)?;
                let table =
                    FrameTable::native(ByteRange { offset, length }, frame_bits, count, swap);
                match table.0 {
                    FrameTableKind::Native(native) if native.count == count && rest.is_empty() => {
                        FramePacking::Native(native)
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
                FramePacking::Encapsulated(PackedColumns {
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
            FramePacking::None => 0,
            FramePacking::Native(native) => native.count,
            FramePacking::Encapsulated(columns) if columns.starts.is_empty() => {
                narrow(columns.fragments)
            }
            FramePacking::Encapsulated(columns) => {
                narrow((columns.starts.len() / 4).saturating_sub(1))
            }
        }
    }

    /// The place of frame `number`, counted from 1.
    #[must_use]
    pub fn frame(&self, number: u32) -> Option<FrameSlices> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        match &self.0 {
            FramePacking::None => None,
            FramePacking::Native(native) => native.frame(number),
            FramePacking::Encapsulated(columns) => {
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

impl PackedColumns<'_> {
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

impl FrameTable {
    /// Bytes for the index; read back by [`Self::from_bytes`] or, one frame at a time, by [`PackedFrames`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.0 {
            FrameTableKind::None => out.push(KIND_NONE),
            FrameTableKind::Native(native) => {
                out.push(KIND_NATIVE);
                out.push(native.swap);
                out.extend(native.offset.to_le_bytes());
                out.extend(native.length.to_le_bytes());
                out.extend(native.frame_bits.to_le_bytes());
                out.extend(native.count.to_le_bytes());
            }
            FrameTableKind::Encapsulated(table) => table.pack(&mut out),
        }
        out
    }

    /// Reads what [`Self::to_bytes`] wrote; none when the bytes are not that.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let packed = PackedFrames::new(bytes)?;
        Some(Self(match packed.0 {
            FramePacking::None => FrameTableKind::None,
            FramePacking::Native(native) => FrameTableKind::Native(native),
            FramePacking::Encapsulated(columns) => FrameTableKind::Encapsulated(columns.unpack()?),
        }))
    }
}

impl Encapsulated {
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

fn bytes_for(value: u32) -> u8 {
    match value {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFF_FFFF => 3,
        _ => 4,
    }
}
