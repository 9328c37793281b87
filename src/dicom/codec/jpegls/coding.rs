//! What a scan's headers fix for its coding: presets, derived numbers, error arithmetic.
//!
//! Invariant: 1 ≤ MAXVAL < 2¹⁶, NEAR ≤ min(255, MAXVAL / 2), NEAR < T1 ≤ T2 ≤ T3 ≤ MAXVAL and
//! 3 ≤ RESET; hence 2 ≤ RANGE ≤ 2¹⁶, and the escape of every code has at least one zero.

use super::run_index::RunIndex;

/// LSE parameters as they stand in a stream; 0 asks for the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RawPresets {
    pub(super) maximum: u16,
    pub(super) thresholds: [u16; 3],
    pub(super) reset: u16,
}

impl RawPresets {
    /// Fills in defaults and checks the ranges of T.87 Table C.1; the error says what is wrong.
    pub(super) fn resolve(&self, precision: u8, near: u8) -> Result<Presets, &'static str> {
        let or = |value: u16, default: u16| if value == 0 { default } else { value };
        let largest = maximum_for(precision);
        let maximum = or(self.maximum, largest);
        if maximum > largest {
            return Err("MAXVAL in force exceeds the precision");
        }
        if u16::from(near) > largest_near(maximum) {
            return Err("NEAR is too large");
        }
        let mut presets = Presets::default_for(maximum, near);
        let mut low = u16::from(near) + 1;
        for (threshold, raw) in presets.thresholds.iter_mut().zip(self.thresholds) {
            *threshold = or(raw, *threshold);
            if *threshold < low || *threshold > maximum {
                return Err("a threshold in force is out of range");
            }
            low = *threshold;
        }
        presets.reset = or(self.reset, presets.reset);
        if presets.reset < 3 || presets.reset > maximum.max(255) {
            return Err("RESET in force is out of range");
        }
        Ok(presets)
    }
}

/// Largest sample of a precision of 2 to 16 bits.
pub(super) const fn maximum_for(precision: u8) -> u16 {
    u16::MAX >> (16 - precision)
}

/// Largest NEAR for a largest sample (T.87 §C.2.3).
pub(super) const fn largest_near(maximum: u16) -> u16 {
    if maximum / 2 < 255 { maximum / 2 } else { 255 }
}

/// MAXVAL, T1, T2, T3 and RESET in force for a scan (T.87 §C.2.4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presets {
    pub(super) maximum: u16,
    pub(super) thresholds: [u16; 3],
    pub(super) reset: u16,
}

impl Presets {
    /// The defaults for a largest sample `maximum` and a tolerance `near` (T.87 §C.2.4.1.1.1).
    pub(super) fn default_for(maximum: u16, near: u8) -> Self {
        let near = u32::from(near);
        let max = u32::from(maximum);
        let clamp = |value: u32, low: u32| {
            if value > max || value < low {
                low
            } else {
                value
            }
        };
        let [t1, t2, t3] = if max >= 128 {
            let factor = (max.min(4095) + 128) / 256;
            [
                factor + 2 + 3 * near,
                factor * 4 + 3 + 5 * near,
                factor * 17 + 4 + 7 * near,
            ]
        } else {
            let factor = 256 / (max + 1);
            [
                (3 / factor + 3 * near).max(2),
                (7 / factor + 5 * near).max(3),
                (21 / factor + 7 * near).max(4),
            ]
        };
        let t1 = clamp(t1, near + 1);
        let t2 = clamp(t2, t1);
        let t3 = clamp(t3, t2);
        // Clamped to `maximum` or to near + 1, both within u16.
        let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        Self {
            maximum,
            thresholds: [narrow(t1), narrow(t2), narrow(t3)],
            reset: 64,
        }
    }
}

/// The numbers of a scan that follow from its presets and tolerance (T.87 §A.2.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct CodingParameters {
    pub(super) near: i32,
    pub(super) maximum: i32,
    pub(super) range: i32,
    pub(super) reset: i32,
    pub(super) thresholds: [i32; 3],
    /// qbpp: bits of a mapped error.
    pub(super) error_bits: u32,
    /// Zeros that announce an escaped error in regular mode: LIMIT − qbpp − 1.
    pub(super) escape: u32,
}

impl CodingParameters {
    pub(super) fn new(presets: &Presets, near: u8) -> Self {
        let near = i32::from(near);
        let maximum = i32::from(presets.maximum);
        let range = (maximum + 2 * near) / (2 * near + 1) + 1;
        let error_bits = bit_width(range - 1);
        let sample_bits = bit_width(maximum).max(2);
        let limit = 2 * (sample_bits + sample_bits.max(8));
        Self {
            near,
            maximum,
            range,
            reset: i32::from(presets.reset),
            thresholds: presets.thresholds.map(i32::from),
            error_bits,
            escape: limit - error_bits - 1,
        }
    }

    /// Zeros that announce an escaped error at the end of a run (T.87 §A.7.2).
    pub(super) fn run_escape(&self, run_index: RunIndex) -> u32 {
        self.escape - run_index.bits() - 1
    }

    /// The arithmetic of a lossless scan over all values of its precision, if it is one.
    pub(super) fn exact(&self) -> Option<Exact> {
        let whole = self.near == 0 && self.maximum & (self.maximum + 1) == 0;
        whole.then(|| Exact {
            mask: self.maximum,
            unused_bits: 32 - bit_width(self.maximum),
        })
    }

    /// The arithmetic of any scan.
    pub(super) fn bounded(&self) -> Bounded {
        let step = 2 * self.near + 1;
        Bounded {
            near: self.near,
            step,
            maximum: self.maximum,
            range: self.range,
            reciprocal: (1_u64 << 32) / u64::from(step.unsigned_abs()) + 1,
        }
    }
}

/// Bits needed for `value`, which is not negative.
const fn bit_width(value: i32) -> u32 {
    32 - value.leading_zeros()
}

/// How prediction errors are quantized and undone; chosen once per scan, so loops specialize.
pub(super) trait Arithmetic: Copy {
    fn near(self) -> i32;
    /// 2 × NEAR + 1.
    fn step(self) -> i32;
    /// Limits a prediction to the sample range.
    fn clamp(self, value: i32) -> i32;
    /// Quantizes a difference and reduces it modulo RANGE (T.87 §A.4.4, §A.4.5).
    fn quantize(self, difference: i32) -> i32;
    /// The sample that prediction and quantized error stand for.
    fn reconstruct(self, prediction: i32, error: i32) -> i32;
}

/// Lossless, MAXVAL + 1 a power of two: modular arithmetic is a mask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exact {
    mask: i32,
    unused_bits: u32,
}

impl Arithmetic for Exact {
    #[inline(always)]
    fn near(self) -> i32 {
        0
    }

    #[inline(always)]
    fn step(self) -> i32 {
        1
    }

    #[inline(always)]
    fn clamp(self, value: i32) -> i32 {
        value.clamp(0, self.mask)
    }

    #[inline(always)]
    fn quantize(self, difference: i32) -> i32 {
        (difference << self.unused_bits) >> self.unused_bits
    }

    #[inline(always)]
    fn reconstruct(self, prediction: i32, error: i32) -> i32 {
        (prediction + error) & self.mask
    }
}

/// Near-lossless, or lossless with any MAXVAL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded {
    near: i32,
    step: i32,
    maximum: i32,
    range: i32,
    /// ⌊2³² / step⌋ + 1: exact division for the values that occur (below 2¹⁷, step below 2⁹).
    reciprocal: u64,
}

impl Arithmetic for Bounded {
    #[inline(always)]
    fn near(self) -> i32 {
        self.near
    }

    #[inline(always)]
    fn step(self) -> i32 {
        self.step
    }

    #[inline(always)]
    fn clamp(self, value: i32) -> i32 {
        value.clamp(0, self.maximum)
    }

    #[inline(always)]
    fn quantize(self, difference: i32) -> i32 {
        let distance = u64::from(difference.unsigned_abs() + self.near.unsigned_abs());
        let steps = ((distance * self.reciprocal) >> 32) as i32;
        let error = if difference < 0 {
            self.range - steps
        } else {
            steps
        };
        // −0 becomes RANGE, which the reduction brings back to 0.
        if error >= (self.range + 1) / 2 {
            error - self.range
        } else {
            error
        }
    }

    #[inline(always)]
    fn reconstruct(self, prediction: i32, error: i32) -> i32 {
        let mut value = prediction + error * self.step;
        if value < -self.near {
            value += self.range * self.step;
        } else if value > self.maximum + self.near {
            value -= self.range * self.step;
        }
        value.clamp(0, self.maximum)
    }
}
