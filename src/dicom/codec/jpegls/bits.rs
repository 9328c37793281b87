//! The entropy-coded segment as bits: reading, writing, the stuffed bit after FF (T.87 §A.1, §C.1).
//!
//! Invariant: the reader never passes a marker or the end of its bytes. Past the end it yields
//! zero bits and remembers how many were taken, so that every caller can ask [`BitReader::overrun`]
//! and no loop depends on data that is not there.

use super::error::Error;

/// Whole bytes an encoder may leave between the last code and the next marker.
///
/// Encoders that flush their register as one 32-bit word do; more means the scan lost its place.
const MAX_SPARE_BYTES: usize = 4;

/// Codes longer than this take the slow path; the cache holds as many bits after a refill.
const FAST_BITS: i32 = 32;

/// Reads bits, most significant first, and removes the bit stuffed after each FF.
///
/// Rare paths take and return it by value, so that loops keep a copy in registers.
#[derive(Clone, Copy)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Unread bits, left-aligned; those past `valid` are zero or already true data.
    cache: u64,
    /// How many bits of `cache` may be taken; negative once zeros past the end were taken.
    valid: i32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            position,
            cache: 0,
            valid: 0,
        }
    }

    /// Whether more bits were taken than the segment holds.
    pub(super) const fn overrun(&self) -> bool {
        self.valid < 0
    }

    /// Offset of the next byte that was not loaded, for error messages.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// Makes at least 49 bits available, fewer only at the end of the segment.
    ///
    /// To be called with fewer: a full cache cannot be shifted into.
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(Ok(next)) = self
            .bytes
            .get(self.position..self.position + 8)
            .map(<[u8; 8]>::try_from)
        {
            let word = u64::from_be_bytes(next);
            // Bit 7 of some byte remains exactly when some byte of `word` is FF.
            let all_ones =
                (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if all_ones == 0 {
                self.cache |= word >> self.valid;
                let taken = (64 - self.valid) >> 3;
                self.position += taken.unsigned_abs() as usize;
                self.valid += taken * 8;
                return;
            }
        }
        *self = self.refilled_slowly();
    }

    #[cold]
    #[inline(never)]
    fn refilled_slowly(mut self) -> Self {
        while self.valid <= 48 {
            let Some(&byte) = self.bytes.get(self.position) else {
                break;
            };
            if byte == 0xFF {
                match self.bytes.get(self.position + 1) {
                    // FF and the seven bits after the stuffed one, together: no state between calls.
                    Some(&next) if next < 0x80 => {
                        self.cache |= ((0xFF_u64 << 7) | u64::from(next)) << (49 - self.valid);
                        self.position += 2;
                        self.valid += 15;
                    }
                    _ => break,
                }
            } else {
                self.cache |= u64::from(byte) << (56 - self.valid);
                self.position += 1;
                self.valid += 8;
            }
        }
        self
    }

    #[inline(always)]
    fn ensure_fast(&mut self) {
        if self.valid < FAST_BITS {
            self.refill();
        }
    }

    /// Takes `count` bits, at most 24.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        self.ensure_fast();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 24 bits remain after the shift"
        )]
        let value = ((self.cache >> 1) >> (63 - count)) as u32;
        self.skip(count);
        value
    }

    /// Takes one bit.
    #[inline(always)]
    pub(super) fn take_bit(&mut self) -> bool {
        self.ensure_fast();
        let bit = self.cache >> 63 != 0;
        self.skip(1);
        bit
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.cache <<= count;
        self.valid -= count.cast_signed();
    }

    /// Takes one limited-length Golomb code LG(k, limit) (T.87 §A.5.3).
    ///
    /// `escape` is limit − qbpp − 1, at most 61. `None` when no encoder writes this code.
    #[inline(always)]
    pub(super) fn golomb(&mut self, k: u32, escape: u32, escape_bits: u32) -> Option<u32> {
        self.ensure_fast();
        let zeros = self.cache.leading_zeros();
        if zeros + k < FAST_BITS.unsigned_abs() && zeros < escape {
            let rest = self.cache << zeros << 1;
            #[expect(clippy::cast_possible_truncation, reason = "k is below 32")]
            let low = ((rest >> 1) >> (63 - k)) as u32;
            self.cache = rest << k;
            self.valid -= (zeros + k + 1).cast_signed();
            return Some((zeros << k) | low);
        }
        let (rest, value) = self.golomb_slowly(k, escape, escape_bits);
        *self = rest;
        value
    }

    #[cold]
    #[inline(never)]
    fn golomb_slowly(mut self, k: u32, escape: u32, escape_bits: u32) -> (Self, Option<u32>) {
        if self.valid <= 48 {
            self.refill();
        }
        let mut taken = 0;
        let mut zeros = self.cache.leading_zeros();
        // The longest codes begin with more zeros than the cache is sure to hold: take 32 first.
        if zeros >= 32 {
            self.skip(32);
            self.ensure_fast();
            taken = 32;
            zeros = self.cache.leading_zeros();
        }
        if taken + zeros > escape {
            // Takes the zeros that are too many, so that zeros past the end count as overrun.
            self.skip((escape + 1).saturating_sub(taken));
            return (self, None);
        }
        self.skip(zeros + 1);
        zeros += taken;
        let value = if zeros == escape {
            self.take(escape_bits) + 1
        } else {
            (zeros << k) | self.take(k)
        };
        (self, Some(value))
    }

    /// Ends the segment: the offset of the marker behind it.
    pub(super) fn finish(&self) -> Result<usize, Error> {
        if self.overrun() {
            return Err(Error::Truncated {
                offset: self.position,
            });
        }
        let mut spare = usize::try_from(self.valid).unwrap_or(0) / 8;
        let mut position = self.position;
        loop {
            match self.bytes.get(position..) {
                Some([0xFF, marker, ..]) if *marker >= 0x80 && spare <= MAX_SPARE_BYTES => {
                    return Ok(position);
                }
                Some([0xFF] | []) | None => return Err(Error::Truncated { offset: position }),
                Some(_) if spare > MAX_SPARE_BYTES => {
                    return Err(Error::Damaged { offset: position });
                }
                Some(_) => {}
            }
            spare += 1;
            position += 1;
        }
    }

    /// Ends the segment, passes restart marker `index` modulo 8 and begins the next one.
    pub(super) fn restart(&mut self, index: u32) -> Result<(), Error> {
        let mut position = self.finish()?;
        while self.bytes.get(position + 1) == Some(&0xFF) {
            position += 1;
        }
        match self.bytes.get(position + 1) {
            Some(&marker) if u32::from(marker) == 0xD0 + index % 8 => {
                *self = Self::new(self.bytes, position + 2);
                Ok(())
            }
            Some(&marker) => Err(Error::UnexpectedMarker {
                marker,
                offset: position,
            }),
            None => Err(Error::Truncated {
                offset: position + 1,
            }),
        }
    }
}

/// Writes bits, most significant first, and stuffs a zero bit after each FF.
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// The last `pending` bits are not written yet.
    register: u64,
    /// Below 32 between calls.
    pending: u32,
    after_ff: bool,
}

impl BitWriter {
    /// Continues behind `bytes`, which must not end in half a marker.
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            register: 0,
            pending: 0,
            after_ff: false,
        }
    }

    /// Appends the low `count` bits of `value`, at most 32; higher bits must be zero.
    #[inline(always)]
    pub(super) fn put(&mut self, value: u32, count: u32) {
        self.register = (self.register << count) | u64::from(value);
        self.pending += count;
        if self.pending >= 32 {
            self.flush_word();
        }
    }

    #[inline(always)]
    fn flush_word(&mut self) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the bits above are written already"
        )]
        let word = (self.register >> (self.pending - 32)) as u32;
        let all_ones = (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080;
        if all_ones == 0 && !self.after_ff {
            self.bytes.extend_from_slice(&word.to_be_bytes());
            self.pending -= 32;
        } else {
            self.flush_bytes();
        }
    }

    #[cold]
    #[inline(never)]
    fn flush_bytes(&mut self) {
        while self.pending >= 8 {
            self.flush_byte();
        }
    }

    fn flush_byte(&mut self) {
        let width = if self.after_ff { 7 } else { 8 };
        self.pending -= width;
        let [.., byte] = (self.register >> self.pending).to_be_bytes();
        let byte = if self.after_ff { byte & 0x7F } else { byte };
        self.bytes.push(byte);
        self.after_ff = byte == 0xFF;
    }

    /// Appends one limited-length Golomb code LG(k, limit) for `value` (T.87 §A.5.3).
    ///
    /// `escape` is limit − qbpp − 1.
    #[inline(always)]
    pub(super) fn put_golomb(&mut self, value: u32, k: u32, escape: u32, escape_bits: u32) {
        let high = value >> k;
        if high < escape && high + k < 32 {
            self.put((1 << k) | (value & ((1 << k) - 1)), high + k + 1);
        } else {
            self.put_golomb_slowly(value, k, escape, escape_bits);
        }
    }

    #[cold]
    #[inline(never)]
    fn put_golomb_slowly(&mut self, value: u32, k: u32, escape: u32, escape_bits: u32) {
        let high = value >> k;
        let zeros = high.min(escape);
        // At most 61 zeros: two puts of at most 32.
        self.put(0, zeros / 2);
        self.put(0, zeros - zeros / 2);
        if high < escape {
            self.put((1 << k) | (value & ((1 << k) - 1)), k + 1);
        } else {
            self.put((1 << escape_bits) | (value - 1), escape_bits + 1);
        }
    }

    /// Fills the last byte with zeros and returns everything written.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.flush_bytes();
        let room = if self.after_ff { 7 } else { 8 };
        // After FF a byte follows in any case, so that no marker can be read into it.
        if self.pending > 0 || self.after_ff {
            let fill = room - self.pending;
            self.register <<= fill;
            self.pending += fill;
            self.flush_byte();
            if self.after_ff {
                self.bytes.push(0);
            }
        }
        self.bytes
    }
}
