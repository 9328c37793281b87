//! Where in the table of run lengths a line is (T.87 §A.2.1).

/// J: the run lengths a one bit stands for, as powers of two (T.87 §A.2.1).
#[rustfmt::skip]
pub(super) const RUN_BITS: [u8; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3,
    4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15,
];

/// `RUNindex` of one component or pixel line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RunIndex(usize);

impl RunIndex {
    #[inline]
    pub(super) fn bits(self) -> u32 {
        RUN_BITS.get(self.0).copied().map_or(0, u32::from)
    }

    #[inline]
    pub(super) fn increment(&mut self) {
        self.0 = (self.0 + 1).min(31);
    }

    #[inline]
    pub(super) fn decrement(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}
