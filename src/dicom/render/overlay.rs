//! Overlay planes, 60xx (PS3.3 §C.9.2), burned in when a presentation state asks.

/// One overlay plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Group of its attributes, 6000 to 60FE hexadecimal, even.
    pub(super) group: u16,
    rows: u32,
    columns: u32,
    /// First row and column of the plane in the image, counted from 1.
    origin: (i32, i32),
    bits: Vec<u8>,
}

impl Overlay {
    /// A plane of `rows` × `columns` bits, least significant bit first.
    ///
    /// `None` when the bits are fewer than that.
    pub fn new(
        group: u16,
        (rows, columns): (u32, u32),
        origin: (i32, i32),
        bits: Vec<u8>,
    ) -> Option<Self> {
        let needed = (u64::from(rows) * u64::from(columns)).div_ceil(8);
        let enough = u64::try_from(bits.len()).is_ok_and(|len| len >= needed);
        (needed > 0 && enough).then_some(Self {
            group,
            rows,
            columns,
            origin,
            bits,
        })
    }

    /// Paints the set bits of row `row` white; `row` and `first` count from 0.
    pub(super) fn apply(&self, row: u32, first: u32, pixels: &mut [u8], channels: usize) {
        let plane_row = i64::from(row) + 1 - i64::from(self.origin.0);
        let Some(plane_row) = u32::try_from(plane_row).ok().filter(|&row| row < self.rows) else {
            return;
        };
        let start = u64::from(plane_row) * u64::from(self.columns);
        for (pixel, column) in pixels.chunks_exact_mut(channels).zip(i64::from(first)..) {
            let column = u64::try_from(column + 1 - i64::from(self.origin.1)).ok();
            let Some(column) = column.filter(|&column| column < u64::from(self.columns)) else {
                continue;
            };
            let bit = start + column;
            let byte = usize::try_from(bit / 8)
                .ok()
                .and_then(|index| self.bits.get(index));
            if byte.is_some_and(|byte| (byte >> (bit % 8)) & 1 == 1) {
                pixel.fill(255);
            }
        }
    }
}
