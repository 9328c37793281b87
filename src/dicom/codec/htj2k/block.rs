//! The cleanup pass of a code-block (T.814 §7.3): quads of 2×2 samples, two at a time.
//!
//! All magnitude bits are coded in this one pass. A sample other than zero of magnitude m has the exponent of 2m − 1: its
//! number of bits. "Word" is 2m − 1, or 0 for a zero: the bits of words or-ed together are the largest exponent of them.

use super::bits::{MagSgnWriter, MelWriter, VlcWriter, append};
use super::vlc::{quad_code, residual_code};

/// Rows and columns of a code-block.
pub(super) const SIDE: usize = 64;
/// A column left of the block, and those right of it that a pair of quads looks at.
const PADDED: usize = SIDE + 8;

/// A row of a code-block, one column in.
struct CodeBlockRow {
    /// 2m − 1 of each sample, 0 for a zero.
    words: [u32; PADDED],
    /// What `MagSgn` says of each sample: 2 (m − 1), and the sign in the lowest bit.
    values: [u32; PADDED],
}

impl CodeBlockRow {
    const EMPTY: Self = Self {
        words: [0; PADDED],
        values: [0; PADDED],
    };

    /// Takes a row of coefficients; columns right of it become zero.
    fn fill(&mut self, row: &[i32]) {
        let (_, words) = self.words.split_at_mut(1);
        let (_, values) = self.values.split_at_mut(1);
        for ((word, value), &sample) in words.iter_mut().zip(values).zip(row) {
            let magnitude = sample.unsigned_abs();
            *word = (magnitude << 1).saturating_sub(1);
            *value = word.wrapping_sub(1).wrapping_add(u32::from(sample < 0));
        }
        if let Some(rest) = words.get_mut(row.len()..) {
            rest.fill(0);
        }
    }
}

/// The entries from a place on.
#[inline]
fn window<const N: usize>(entries: &[u32; PADDED], at: usize) -> [u32; N] {
    let rest = entries.get(at..).and_then(|rest| rest.first_chunk());
    rest.copied().unwrap_or([0; N])
}

/// What is written of a quad beside its samples.
#[derive(Clone, Copy, Default)]
struct Quad {
    /// Codeword and its length.
    code: (u64, u32),
    /// How far the exponent is above the predicted one.
    residual: u32,
}

/// Codes blocks one after the other; its memory is used again.
pub(super) struct BlockCoder {
    above: CodeBlockRow,
    upper: CodeBlockRow,
    lower: CodeBlockRow,
    mel: MelWriter,
    vlc: VlcWriter,
}

impl BlockCoder {
    pub(super) fn new() -> Self {
        Self {
            above: CodeBlockRow::EMPTY,
            upper: CodeBlockRow::EMPTY,
            lower: CodeBlockRow::EMPTY,
            mel: MelWriter::new(),
            vlc: VlcWriter::new(),
        }
    }

    /// Appends a block of at most 64×64 coefficients below 2^30, given as rows of the same length; nothing when all are zero.
    pub(super) fn encode<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a [i32]> + Clone,
        bytes: &mut Vec<u8>,
    ) {
        let any = |row: &[i32]| row.iter().fold(0, |all, sample| all | sample) != 0;
        if !rows.clone().any(any) {
            return;
        }
        let mut magsgn = MagSgnWriter::default();
        let mut rows = rows;
        let mut first = true;
        while let Some(upper) = rows.next() {
            self.upper.fill(upper);
            self.lower.fill(rows.next().unwrap_or_default());
            if first {
                self.row::<true>(upper.len(), &mut magsgn, bytes);
            } else {
                self.row::<false>(upper.len(), &mut magsgn, bytes);
            }
            std::mem::swap(&mut self.above, &mut self.lower);
            first = false;
        }
        magsgn.finish(bytes);
        append(&mut self.mel, &mut self.vlc, bytes);
    }

    /// A row of quads.
    fn row<const FIRST: bool>(
        &mut self,
        width: usize,
        magsgn: &mut MagSgnWriter,
        bytes: &mut Vec<u8>,
    ) {
        let mut left = [0; 4];
        for column in (1..=width.min(SIDE)).step_by(4) {
            let upper: [u32; 4] = window(&self.upper.words, column);
            let lower: [u32; 4] = window(&self.lower.words, column);
            let above: [u32; 6] = if FIRST {
                [0; 6]
            } else {
                window(&self.above.words, column - 1)
            };
            let upper_values: [u32; 4] = window(&self.upper.values, column);
            let lower_values: [u32; 4] = window(&self.lower.values, column);

            let words = [upper[0], lower[0], upper[1], lower[1]];
            let values = [
                upper_values[0],
                lower_values[0],
                upper_values[1],
                lower_values[1],
            ];
            let near = [above[0], above[1], above[2], above[3]];
            let one = self.quad::<FIRST>(words, values, left, near, magsgn, bytes);
            left = words;

            let other = if column + 2 <= width {
                let words = [upper[2], lower[2], upper[3], lower[3]];
                let values = [
                    upper_values[2],
                    lower_values[2],
                    upper_values[3],
                    lower_values[3],
                ];
                let near = [above[2], above[3], above[4], above[5]];
                let left = std::mem::replace(&mut left, words);
                self.quad::<FIRST>(words, values, left, near, magsgn, bytes)
            } else {
                Quad::default()
            };
            self.pair::<FIRST>(one, other);
        }
    }

    /// The samples of a quad; `left` is the quad before, `near` the lower row of those above from the column before the quad
    /// to the one behind it.
    #[inline]
    fn quad<const FIRST: bool>(
        &mut self,
        words: [u32; 4],
        values: [u32; 4],
        left: [u32; 4],
        near: [u32; 4],
        magsgn: &mut MagSgnWriter,
        bytes: &mut Vec<u8>,
    ) -> Quad {
        let flag = |word: u32| u32::from(word != 0);
        let pattern = |a: u32, b: u32, c: u32, d: u32| a | b << 1 | c << 2 | d << 3;
        let context = if FIRST {
            flag(left[0] | left[1]) | flag(left[2]) << 1 | flag(left[3]) << 2
        } else {
            flag(near[0] | near[1]) | flag(left[2] | left[3]) << 1 | flag(near[2] | near[3]) << 2
        };
        let [a, b, c, d] = words;
        let significant = pattern(flag(a), flag(b), flag(c), flag(d));
        if context == 0 {
            self.mel.put(significant != 0);
        }
        let exponent = bit_length(a | b | c | d);
        let predicted = if FIRST || significant & significant.wrapping_sub(1) == 0 {
            1
        } else {
            let [a, b, c, d] = near;
            bit_length(a | b | c | d).saturating_sub(1).max(1)
        };
        let bits = exponent.max(predicted);
        let residual = bits - predicted;
        let largest = if residual == 0 {
            0
        } else {
            let top = |word: u32| word >> (bits - 1) & 1;
            pattern(top(a), top(b), top(c), top(d))
        };
        let code = quad_code(FIRST, context, significant, largest);
        if significant != 0 {
            put_samples(words, values, bits, code.known(), magsgn, bytes);
        }
        Quad {
            code: (code.word(), code.length()),
            residual,
        }
    }

    /// Codewords and exponent residuals of a pair of quads (T.814 §7.3.6).
    #[inline]
    fn pair<const FIRST: bool>(&mut self, one: Quad, other: Quad) {
        let (word, mut length) = one.code;
        let mut bits = word | other.code.0 << length;
        length += other.code.1;
        let mut put = |value: u64, count: u32| {
            bits |= value << length;
            length += count;
        };
        let (mut first, mut second) = (one.residual, other.residual);
        if FIRST && first > 0 && second > 0 {
            let both = first > 2 && second > 2;
            self.mel.put(both);
            if both {
                (first, second) = (first - 2, second - 2);
            } else if first > 2 {
                // The other one is 1 or 2.
                let code = residual_code(first);
                put(code.prefix, code.prefix_length);
                put(u64::from(second - 1), 1);
                put(code.suffix, code.suffix_length);
                (first, second) = (0, 0);
            }
        }
        let (first, second) = (residual_code(first), residual_code(second));
        put(first.prefix, first.prefix_length);
        put(second.prefix, second.prefix_length);
        put(first.suffix, first.suffix_length);
        put(second.suffix, second.suffix_length);
        self.vlc.put(bits, length);
    }
}

/// The low bits of each sample other than zero, one bit less where the code of the quad says the highest.
#[inline]
fn put_samples(
    words: [u32; 4],
    values: [u32; 4],
    bits: u32,
    known: u32,
    magsgn: &mut MagSgnWriter,
    bytes: &mut Vec<u8>,
) {
    let mut all = 0_u64;
    let mut length = 0;
    for (place, (word, value)) in (0..).zip(words.into_iter().zip(values)) {
        let count = if word == 0 {
            0
        } else {
            bits - (known >> place & 1)
        };
        let value = value & !(u32::MAX << count);
        if bits > 16 {
            magsgn.put(value.into(), count, bytes);
        } else {
            all |= u64::from(value) << length;
            length += count;
        }
    }
    if length > 32 {
        magsgn.put(all & 0xffff_ffff, 32, bytes);
        (all, length) = (all >> 32, length - 32);
    }
    magsgn.put(all, length, bytes);
}

/// Bits of a number without leading zeros.
#[inline]
fn bit_length(number: u32) -> u32 {
    u32::BITS - number.leading_zeros()
}
