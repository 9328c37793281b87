//! A TIFF or `BigTIFF` file: its byte order, its entries and their values.

pub(super) struct TiffFile<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) big: bool,
    /// `BigTIFF`: offsets and counts have eight bytes.
    pub(super) wide: bool,
}

/// One entry of a directory: the values of a tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) tag: u16,
    pub(super) kind: u16,
    pub(super) count: u64,
    /// Where its values begin.
    pub(super) at: usize,
}

impl<'a> TiffFile<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let big = bytes.starts_with(b"MM");
        let magic = bytes.get(2..4).ok_or(DAMAGED)?;
        let wide = magic.contains(&b'+');
        is_tiff(bytes)
            .then_some(Self { bytes, big, wide })
            .ok_or(DAMAGED)
    }

    pub(super) fn number(&self, at: usize, width: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        let push = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, push)
        } else {
            bytes.iter().rev().fold(0, push)
        })
    }

    /// A value of an entry; none past its last one and for other kinds than whole numbers.
    pub(super) fn value(&self, entry: &Entry, number: u64) -> Option<u64> {
        let width = usize::try_from(width_of(entry.kind)).ok()?;
        if number >= entry.count || !matches!(entry.kind, 1 | 3 | 4 | 16) {
            return None;
        }
        let at = usize::try_from(number).ok()?.checked_mul(width)?;
        self.number(entry.at.checked_add(at)?, width)
    }
}

/// Bytes of a value of a kind.
pub(super) fn width_of(kind: u16) -> u64 {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 1,
    }
}

/// Most entries of a directory.
pub(super) const MOST_ENTRIES: u64 = 4096;

pub(super) const DAMAGED: &str = "has a TIFF file that is damaged";

/// Whether bytes begin like a TIFF file of either byte order and size.
pub(in crate::dicom::picture) fn is_tiff(head: &[u8]) -> bool {
    let magic: [&[u8]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
    magic.iter().any(|magic| head.starts_with(magic))
}
