//! The reversible 5/3 wavelet transform (T.800 annex F), a row at a time: columns first, then rows.

/// The coefficients of one subband, row by row.
#[derive(Default)]
pub(super) struct Band {
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) samples: Vec<i32>,
}

impl Band {
    fn new(columns: usize, rows: usize) -> Self {
        Self {
            columns,
            rows,
            samples: Vec::with_capacity(columns * rows),
        }
    }
}

/// The three subbands of one decomposition beside the smaller picture, in the order of packets: HL, LH, HH.
pub(super) type Details = [Band; 3];

/// A component after all decompositions.
pub(super) struct Decomposed {
    /// LL of the last decomposition.
    pub(super) base: Band,
    /// Those of the last decomposition first.
    pub(super) details: Vec<Details>,
}

/// Decomposes a component; `next_row` fills its rows, from the first to the last.
pub(super) fn decompose(
    columns: usize,
    rows: usize,
    levels: u32,
    mut next_row: impl FnMut(&mut [i32]),
) -> Decomposed {
    if levels == 0 {
        let mut samples = vec![0; columns * rows];
        samples.chunks_exact_mut(columns.max(1)).for_each(next_row);
        let base = Band {
            columns,
            rows,
            samples,
        };
        let details = Vec::new();
        return Decomposed { base, details };
    }
    let mut details = Vec::new();
    let (mut base, detail) = split(columns, rows, &mut next_row);
    details.push(detail);
    for _ in 1..levels {
        let mut left = base.samples.chunks_exact(base.columns.max(1));
        let (smaller, detail) = split(base.columns, base.rows, &mut |row| {
            row.copy_from_slice(left.next().unwrap_or_default());
        });
        base = smaller;
        details.push(detail);
    }
    details.reverse();
    Decomposed { base, details }
}

/// One decomposition.
fn split(columns: usize, rows: usize, next_row: &mut impl FnMut(&mut [i32])) -> (Band, Details) {
    let (low, high) = (columns.div_ceil(2), columns / 2);
    let mut out = Split {
        ll: Band::new(low, rows.div_ceil(2)),
        hl: Band::new(high, rows.div_ceil(2)),
        lh: Band::new(low, rows / 2),
        hh: Band::new(high, rows / 2),
        even: vec![0; low],
        odd: vec![0; high],
        high: vec![0; high],
    };
    let line = || vec![0; columns];
    let (mut upper, mut middle, mut lower) = (line(), line(), line());
    let (mut before, mut smooth) = (line(), line());
    next_row(&mut upper);
    for pair in 0..rows / 2 {
        next_row(&mut middle);
        let last = 2 * pair + 2 >= rows;
        if !last {
            next_row(&mut lower);
        }
        // Past the last row the picture is mirrored.
        let below = if last { &upper } else { &lower };
        for ((odd, up), down) in middle.iter_mut().zip(&upper).zip(below) {
            *odd -= (up + down) >> 1;
        }
        let above = if pair == 0 { &middle } else { &before };
        update(&mut smooth, &upper, above, &middle);
        out.low_row(&smooth);
        out.high_row(&middle);
        std::mem::swap(&mut before, &mut middle);
        std::mem::swap(&mut upper, &mut lower);
    }
    if rows == 1 {
        out.low_row(&upper);
    } else if rows % 2 == 1 {
        update(&mut smooth, &upper, &before, &before);
        out.low_row(&smooth);
    }
    (out.ll, [out.hl, out.lh, out.hh])
}

/// The low-pass step: even samples and a quarter of their high-pass neighbors.
fn update(low: &mut [i32], even: &[i32], before: &[i32], behind: &[i32]) {
    for (((low, even), before), behind) in low.iter_mut().zip(even).zip(before).zip(behind) {
        *low = even + ((before + behind + 2) >> 2);
    }
}

/// The subbands of a decomposition while their rows are made.
struct Split {
    ll: Band,
    hl: Band,
    lh: Band,
    hh: Band,
    even: Vec<i32>,
    odd: Vec<i32>,
    high: Vec<i32>,
}

impl Split {
    /// A row that is low-pass between rows.
    fn low_row(&mut self, row: &[i32]) {
        self.between_columns(row);
        low_columns(&self.even, &self.high, &mut self.ll.samples);
        self.hl.samples.extend_from_slice(&self.high);
    }

    /// A row that is high-pass between rows.
    fn high_row(&mut self, row: &[i32]) {
        self.between_columns(row);
        low_columns(&self.even, &self.high, &mut self.lh.samples);
        self.hh.samples.extend_from_slice(&self.high);
    }

    /// Splits a row in even and odd columns and makes the high-pass half.
    fn between_columns(&mut self, row: &[i32]) {
        let (pairs, rest) = row.as_chunks::<2>();
        for ((even, odd), pair) in self.even.iter_mut().zip(&mut self.odd).zip(pairs) {
            (*even, *odd) = (pair[0], pair[1]);
        }
        if let (Some(even), Some(&sample)) = (self.even.last_mut(), rest.first()) {
            *even = sample;
        }
        let behind = self.even.get(1..).unwrap_or_default();
        for (((high, odd), before), behind) in self
            .high
            .iter_mut()
            .zip(&self.odd)
            .zip(&self.even)
            .zip(behind)
        {
            *high = odd - ((before + behind) >> 1);
        }
        // In a row of even length the last odd column has the same neighbor on both sides.
        if self.even.len() == self.odd.len()
            && let (Some(high), Some(odd), Some(even)) =
                (self.high.last_mut(), self.odd.last(), self.even.last())
        {
            *high = odd - even;
        }
    }
}

/// Appends the low-pass half of a row.
fn low_columns(even: &[i32], high: &[i32], low: &mut Vec<i32>) {
    let (Some((&first, inner)), Some(&start)) = (even.split_first(), high.first()) else {
        // A single column is kept as it is.
        low.extend_from_slice(even);
        return;
    };
    low.push(first + ((start + start + 2) >> 2));
    let behind = high.get(1..).unwrap_or_default();
    let neighbors = high.iter().zip(behind);
    low.extend(
        inner
            .iter()
            .zip(neighbors)
            .map(|(even, (before, behind))| even + ((before + behind + 2) >> 2)),
    );
    if even.len() > high.len()
        && let (Some(last), Some(end)) = (inner.last(), high.last())
    {
        low.push(last + ((end + end + 2) >> 2));
    }
}
