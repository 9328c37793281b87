//! Checksums of the blocks of a blob: CRC-32 of each 64 KiB, so that any range of it can be checked as it is sent.
//!
//! BLAKE3 says what an instance is; these only say that bytes that are read are those that were stored, at a tenth of the
//! price. Invariant: what is kept of them is small, 16 KiB for up to a GiB, as the blocks of large blobs are larger.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes of a block of all blobs but large ones.
pub const BLOCK: u64 = 64 << 10;
/// Bytes of the largest blocks.
const MOST: u64 = 1 << 20;
/// Sums kept before blocks become larger.
const MANY: usize = 4096;
/// Blocks that become one.
const JOINED: usize = 4;

/// The checksums of all blocks of a blob.
///
/// ```
/// use stowage::checksum::BlockHasher;
///
/// let mut hasher = BlockHasher::default();
/// hasher.update(&[7; 100_000]);
/// let sums = hasher.finalize();
/// // What a range lies in: two blocks of 64 KiB, the second of which is not full.
/// assert_eq!(sums.around(65_000..66_000, 100_000), 0..100_000);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BlockChecksums {
    /// Bytes of each block but the last one: a power of two.
    block: u64,
    sums: Arc<[u32]>,
}

impl std::fmt::Debug for BlockChecksums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockChecksums({} × {})", self.sums.len(), self.block)
    }
}

impl BlockChecksums {
    /// As bytes: the power of two that a block is, then four bytes for each sum, little endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let power = u8::try_from(self.block.trailing_zeros()).unwrap_or(u8::MAX);
        let sums = self.sums.iter().flat_map(|sum| sum.to_le_bytes());
        std::iter::once(power).chain(sums).collect()
    }

    /// Reads [`Self::to_bytes`] of a blob of `length` bytes; none of anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], length: u64) -> Option<Self> {
        let (power, sums) = bytes.split_first()?;
        let block = 1_u64.checked_shl(u32::from(*power))?;
        let (sums, rest) = sums.as_chunks::<4>();
        let all = sums.len() as u64 == length.div_ceil(block) && rest.is_empty();
        (all && (BLOCK..=MOST).contains(&block)).then(|| Self {
            block,
            sums: sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect(),
        })
    }

    /// The whole blocks that a range lies in, of a blob of `length` bytes.
    #[must_use]
    pub fn around(&self, range: Range<u64>, length: u64) -> Range<u64> {
        let end = range.end.min(length);
        let start = range.start.min(end);
        start - start % self.block..end.next_multiple_of(self.block).min(length)
    }

    /// Checks the blocks of a range that [`Self::around`] gave.
    #[must_use]
    pub fn check(&self, range: Range<u64>) -> BlockCheck {
        BlockCheck {
            sums: self.clone(),
            at: range.start,
            end: range.end,
            hasher: crc32fast::Hasher::new(),
            held: Vec::new(),
        }
    }

    fn sum(&self, start: u64) -> Option<u32> {
        let number = usize::try_from(start / self.block).ok()?;
        self.sums.get(number).copied()
    }
}

/// Takes the checksums of bytes that come one after the other.
#[derive(Debug, Clone)]
pub struct BlockHasher {
    block: u64,
    sums: Vec<u32>,
    hasher: crc32fast::Hasher,
    /// Bytes of the block that is not full.
    filled: u64,
}

impl Default for BlockHasher {
    fn default() -> Self {
        Self {
            block: BLOCK,
            sums: Vec::new(),
            hasher: crc32fast::Hasher::new(),
            filled: 0,
        }
    }
}

impl BlockHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == self.block {
                self.end_block();
            }
            let room = usize::try_from(self.block - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.filled += now.len() as u64;
            bytes = later;
        }
    }

    /// Ends a block behind which more bytes come.
    fn end_block(&mut self) {
        let hasher = std::mem::take(&mut self.hasher);
        self.sums.push(hasher.finalize());
        self.filled = 0;
        if self.sums.len() >= MANY && self.block < MOST {
            let larger = self.sums.chunks(JOINED).map(|sums| join(sums, self.block));
            self.sums = larger.collect();
            self.block *= JOINED as u64;
        }
    }

    /// The checksums of all bytes.
    #[must_use]
    pub fn finalize(mut self) -> BlockChecksums {
        if self.filled > 0 {
            self.sums.push(self.hasher.finalize());
        }
        BlockChecksums {
            block: self.block,
            sums: self.sums.into(),
        }
    }
}

/// The sum of blocks of `block` bytes that lie one behind the other.
fn join(sums: &[u32], block: u64) -> u32 {
    let mut all = crc32fast::Hasher::new();
    for sum in sums {
        all.combine(&crc32fast::Hasher::new_with_initial_len(*sum, block));
    }
    all.finalize()
}

/// BLAKE3 and the checksums of the blocks of the same bytes.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher {
    digest: blake3::Hasher,
    blocks: BlockHasher,
}

impl ContentHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        // A piece at a time: the second look finds it in the cache of the processor.
        for piece in bytes.chunks(64 << 10) {
            self.digest.update(piece);
            self.blocks.update(piece);
        }
    }

    /// Both of all bytes.
    #[must_use]
    pub fn finalize(self) -> ContentSums {
        ContentSums {
            digest: *self.digest.finalize().as_bytes(),
            blocks: self.blocks.finalize(),
        }
    }
}

/// What is kept of the bytes of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentSums {
    /// BLAKE3.
    pub digest: [u8; 32],
    /// Checksums of the blocks.
    pub blocks: BlockChecksums,
}

impl ContentSums {
    /// Of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = ContentHasher::default();
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// That a block holds other bytes than were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherBytes;

/// Checks bytes that come one after the other, a block at a time.
#[derive(Debug)]
pub struct BlockCheck {
    sums: BlockChecksums,
    at: u64,
    end: u64,
    hasher: crc32fast::Hasher,
    /// Bytes of the block that is not complete.
    held: Vec<Bytes>,
}

impl BlockCheck {
    /// Takes the next bytes; returns those of blocks that are complete, which are the bytes that were stored.
    ///
    /// # Errors
    /// When a block holds other bytes.
    pub fn push(&mut self, mut bytes: Bytes) -> Result<Vec<Bytes>, OtherBytes> {
        let mut checked = Vec::new();
        while !bytes.is_empty() {
            let start = self.at - self.at % self.sums.block;
            let block_end = start.saturating_add(self.sums.block).min(self.end);
            let left = usize::try_from(block_end.saturating_sub(self.at)).unwrap_or(usize::MAX);
            if left == 0 {
                return Err(OtherBytes);
            }
            let now = bytes.split_to(left.min(bytes.len()));
            self.hasher.update(&now);
            self.at += now.len() as u64;
            self.held.push(now);
            if self.at == block_end {
                let hasher = std::mem::take(&mut self.hasher);
                if self.sums.sum(start) != Some(hasher.finalize()) {
                    return Err(OtherBytes);
                }
                checked.append(&mut self.held);
            }
        }
        Ok(checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    fn sums(bytes: &[u8]) -> BlockChecksums {
        ContentSums::of(bytes).blocks
    }

    #[test]
    fn sums_do_not_depend_on_the_pieces_and_come_back_from_their_bytes() {
        for length in [0, 1, 65_535, 65_536, 65_537, 200_000] {
            let bytes = bytes(length);
            let whole = sums(&bytes);
            let mut hasher = BlockHasher::default();
            for piece in bytes.chunks(7777) {
                hasher.update(piece);
            }
            assert_eq!(hasher.finalize(), whole, "{length}");
            assert_eq!(whole.sums.len(), length.div_ceil(65_536));
            let read = BlockChecksums::from_bytes(&whole.to_bytes(), length as u64);
            assert_eq!(read, Some(whole.clone()));
            let longer = length as u64 + BLOCK;
            assert_eq!(BlockChecksums::from_bytes(&whole.to_bytes(), longer), None);
        }
        assert_eq!(BlockChecksums::from_bytes(&[], 0), None);
        assert_eq!(BlockChecksums::from_bytes(&[255, 0, 0, 0, 0], 1), None);
    }

    #[test]
    fn large_blobs_have_larger_blocks_with_the_sums_of_their_bytes() {
        let piece = bytes(1 << 20);
        let mut hasher = BlockHasher::default();
        // 257 MiB: one more than there is room for in blocks of 64 KiB.
        for _ in 0..257 {
            hasher.update(&piece);
        }
        let large = hasher.finalize();
        assert_eq!(large.block, 256 << 10);
        assert_eq!(large.sums.len(), 257 * 4);
        let of_quarter = crc32fast::hash(&piece[..256 << 10]);
        assert_eq!(large.sums.first(), Some(&of_quarter));
        assert_eq!(large.sums.get(1024), Some(&of_quarter));
    }

    #[test]
    fn whole_blocks_lie_around_a_range() {
        let sums = sums(&bytes(200_000));
        assert_eq!(sums.around(0..1, 200_000), 0..65_536);
        assert_eq!(sums.around(65_535..65_537, 200_000), 0..131_072);
        assert_eq!(sums.around(196_608..200_000, 200_000), 196_608..200_000);
        assert_eq!(sums.around(199_999..900_000, 200_000), 196_608..200_000);
        assert_eq!(sums.around(65_536..131_072, 200_000), 65_536..131_072);
    }

    #[test]
    fn what_is_checked_comes_out_whole_and_a_changed_block_does_not() {
        let stored = bytes(200_000);
        let sums = sums(&stored);
        for piece in [1000, 65_536, 70_000, 200_000] {
            for start in [0, 65_536] {
                let check = |bytes: &[u8]| {
                    let mut check = sums.check(start..200_000);
                    let from = usize::try_from(start).unwrap();
                    let mut out = Vec::new();
                    for piece in bytes[from..].chunks(piece) {
                        for checked in check.push(Bytes::copy_from_slice(piece))? {
                            out.extend_from_slice(&checked);
                        }
                    }
                    Ok::<_, OtherBytes>(out)
                };
                let from = usize::try_from(start).unwrap();
                assert_eq!(check(&stored).as_deref(), Ok(&stored[from..]));
                for at in [65_536, 131_071, 199_999] {
                    let mut other = stored.clone();
                    other[at] ^= 1;
                    assert_eq!(check(&other), Err(OtherBytes), "{piece} {at}");
                }
            }
        }
    }

    #[test]
    fn nothing_comes_behind_the_end() {
        let sums = sums(&bytes(10));
        let mut check = sums.check(0..10);
        assert_eq!(check.push(Bytes::from(bytes(11))), Err(OtherBytes));
    }
}
