//! The context model of T.87 Annex A, the same for both directions.
//!
//! Invariant: in every context 1 ≤ N ≤ 65,536, A ≤ 32,769 × N, −N < B ≤ 0 and −128 ≤ C ≤ 127, whatever
//! was decoded, because callers pass only errors within the range of [`CodingParameters`]. Hence k ≤ 16.

use super::coding::CodingParameters;

/// The median edge detector (T.87 §A.4.1).
#[inline(always)]
pub(super) fn predict(ra: i32, rb: i32, rc: i32) -> i32 {
    (ra + rb - rc).max(ra.min(rb)).min(ra.max(rb))
}

/// `value` if `sign` is 0, its negative if `sign` is −1.
#[inline(always)]
pub(super) const fn apply_sign(value: i32, sign: i32) -> i32 {
    (value ^ sign) - sign
}

/// The smallest k with `count` × 2ᵏ ≥ `total` (T.87 §A.5.1).
#[inline(always)]
fn golomb_parameter(total: u32, count: i32) -> u32 {
    let k = count.leading_zeros().saturating_sub(total.leading_zeros());
    k + u32::from(count.cast_unsigned() << k < total)
}

/// Statistics of one of the 365 regular contexts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regular {
    a: u32,
    b: i32,
    c: i32,
    n: i32,
}

impl Regular {
    #[inline(always)]
    pub(super) fn k(&self) -> u32 {
        golomb_parameter(self.a, self.n)
    }

    /// C: what to add to the prediction, before the sign.
    #[inline(always)]
    pub(super) const fn correction(&self) -> i32 {
        self.c
    }

    /// −1 where the error mapping is inverted, else 0 (T.87 §A.5.2); for lossless scans only.
    #[inline(always)]
    pub(super) const fn inversion(&self, k: u32) -> i32 {
        if k == 0 && 2 * self.b <= -self.n {
            -1
        } else {
            0
        }
    }

    /// Counts an error (T.87 §A.6).
    #[inline(always)]
    pub(super) fn update(&mut self, error: i32, step: i32, reset: i32) {
        let mut b = self.b + error * step;
        let mut n = self.n;
        self.a += error.unsigned_abs();
        if n == reset {
            self.a >>= 1;
            b >>= 1;
            n >>= 1;
        }
        n += 1;
        let above = i32::from(b > 0);
        let below = i32::from(b <= -n);
        self.n = n;
        self.b = (b + (below - above) * n).clamp(1 - n, 0);
        self.c = (self.c + above - below).clamp(-128, 127);
    }
}

/// Statistics of one of the two run interruption contexts (T.87 §A.7.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Interruption {
    a: u32,
    n: i32,
    negatives: i32,
    /// `RItype`.
    kind: i32,
}

impl Interruption {
    #[inline]
    pub(super) fn k(&self) -> u32 {
        golomb_parameter(self.a + ((self.n >> 1) * self.kind).cast_unsigned(), self.n)
    }

    /// `EMErrval` of an error.
    #[inline]
    pub(super) fn map(&self, error: i32, k: u32) -> i32 {
        let map = error != 0 && (error < 0) == self.expects_negative(k);
        2 * error.abs() - self.kind - i32::from(map)
    }

    /// The error of an `EMErrval`.
    #[inline]
    pub(super) fn unmap(&self, mapped: i32, k: u32) -> i32 {
        let doubled = mapped + self.kind;
        let map = doubled & 1;
        let magnitude = (doubled + map) / 2;
        if (map == 1) == self.expects_negative(k) {
            -magnitude
        } else {
            magnitude
        }
    }

    #[inline]
    const fn expects_negative(&self, k: u32) -> bool {
        k != 0 || 2 * self.negatives >= self.n
    }

    /// Counts an error and its `EMErrval`.
    #[inline]
    pub(super) fn update(&mut self, error: i32, mapped: i32, reset: i32) {
        self.negatives += i32::from(error < 0);
        self.a += ((mapped + 1 - self.kind) >> 1).cast_unsigned();
        if self.n == reset {
            self.a >>= 1;
            self.n >>= 1;
            self.negatives >>= 1;
        }
        self.n += 1;
    }
}

/// Contexts rounded up to a power of two, so that a masked index needs no bounds check.
const CONTEXTS: usize = 512;
/// Every difference of two 16-bit samples, rounded up for the same reason.
const GRADIENTS: usize = 1 << 17;
const GRADIENT_ZERO: i32 = 1 << 16;

/// All adaptive state of a scan.
pub(super) struct ContextModel {
    pub(super) coding: CodingParameters,
    regular: Box<[Regular; CONTEXTS]>,
    interruptions: [Interruption; 2],
    /// Gradient + 2¹⁶ to its region, −4 to 4.
    regions: Box<[i8; GRADIENTS]>,
}

impl ContextModel {
    pub(super) fn new(coding: CodingParameters) -> Self {
        let regular = Regular {
            a: 0,
            b: 0,
            c: 0,
            n: 1,
        };
        let interruption = |kind| Interruption {
            a: 0,
            n: 1,
            negatives: 0,
            kind,
        };
        let mut model = Self {
            coding,
            regular: Box::new([regular; CONTEXTS]),
            interruptions: [interruption(0), interruption(1)],
            regions: regions(&coding),
        };
        model.reset();
        model
    }

    /// Forgets everything learned, as at the start of a scan or restart interval (T.87 §A.2.1).
    pub(super) fn reset(&mut self) {
        let a = ((self.coding.range + 32) / 64).max(2).cast_unsigned();
        self.regular.fill(Regular {
            a,
            b: 0,
            c: 0,
            n: 1,
        });
        for context in &mut self.interruptions {
            *context = Interruption {
                a,
                n: 1,
                negatives: 0,
                kind: context.kind,
            };
        }
    }

    /// Merges three gradients into 81 Q1 + 9 Q2 + Q3; 0 asks for run mode (T.87 §A.3.3, §A.3.4).
    #[inline(always)]
    pub(super) fn context(&self, [ra, rb, rc, rd]: [i32; 4]) -> i32 {
        (self.region(rd - rb) * 9 + self.region(rb - rc)) * 9 + self.region(rc - ra)
    }

    #[inline(always)]
    fn region(&self, gradient: i32) -> i32 {
        let index = (gradient + GRADIENT_ZERO).unsigned_abs() as usize & (GRADIENTS - 1);
        // In bounds by construction: the table has GRADIENTS entries.
        i32::from(self.regions[index])
    }

    /// The context of a merged gradient and the sign to apply, 0 or −1.
    #[inline(always)]
    pub(super) fn regular(&mut self, merged: i32) -> (&mut Regular, i32) {
        let sign = merged >> 31;
        // In bounds by construction: the array has CONTEXTS entries.
        (
            &mut self.regular[merged.unsigned_abs() as usize & (CONTEXTS - 1)],
            sign,
        )
    }

    /// Context and prediction of the sample that ends a run (T.87 §A.7.2).
    ///
    /// `N` components that are coded together always use the general context.
    #[inline]
    pub(super) fn run_end<const N: usize>(&mut self, ra: i32, rb: i32) -> RunEnd<'_> {
        let [general, alike] = &mut self.interruptions;
        if N == 1 && (ra - rb).abs() <= self.coding.near {
            RunEnd {
                context: alike,
                prediction: ra,
                sign: 0,
            }
        } else {
            RunEnd {
                context: general,
                prediction: rb,
                sign: (rb - ra) >> 31,
            }
        }
    }
}

/// How the sample that ends a run is coded.
pub(super) struct RunEnd<'a> {
    pub(super) context: &'a mut Interruption,
    pub(super) prediction: i32,
    /// 0 or −1, for [`apply_sign`].
    pub(super) sign: i32,
}

fn regions(coding: &CodingParameters) -> Box<[i8; GRADIENTS]> {
    // Made on the heap; 128 KiB are too much for a caller's stack.
    let mut table: Box<[i8; GRADIENTS]> = vec![0_i8; GRADIENTS]
        .into_boxed_slice()
        .try_into()
        .expect("the vector has GRADIENTS entries");
    let [t1, t2, t3] = coding.thresholds;
    let end = coding.maximum + 1;
    // Each region of positive gradients as a half-open range; the negative ones mirror it.
    for (region, from, to) in [
        (1, coding.near + 1, t1),
        (2, t1, t2),
        (3, t2, t3),
        (4, t3, end),
    ] {
        let mut fill = |from: i32, to: i32, region: i8| {
            let at = |gradient: i32| usize::try_from(gradient + GRADIENT_ZERO).unwrap_or(0);
            if let Some(part) = table.get_mut(at(from)..at(to)) {
                part.fill(region);
            }
        };
        fill(from, to, region);
        fill(1 - to, 1 - from, -region);
    }
    table
}
