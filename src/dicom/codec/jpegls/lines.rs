//! Line buffers between interleaved samples and the context model, the same for both directions.
//!
//! Invariant: both lines of a [`Lines`] hold one pixel before and one behind the image, so that the
//! causal neighbors of every sample (T.87 Figure A.1) can be read without a special case.

use super::run_index::RunIndex;

/// How samples lie in a row of the interleaved image.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleLayout {
    /// Components of the frame.
    pub(super) components: usize,
    /// Whether a sample takes two bytes.
    pub(super) wide: bool,
}

/// Two lines of `N` components that are coded together, and where their run mode stands.
pub(super) struct Lines<const N: usize> {
    above: Vec<[u16; N]>,
    current: Vec<[u16; N]>,
    pub(super) run_index: RunIndex,
}

/// What the coder of a line works on: all slices have the same length, `width` + 2.
pub(super) struct LineView<'a, const N: usize> {
    pub(super) width: usize,
    pub(super) above: &'a [[u16; N]],
    pub(super) current: &'a mut [[u16; N]],
    pub(super) run_index: &'a mut RunIndex,
}

impl<const N: usize> Lines<N> {
    /// The state at the start of a scan or restart interval: zeros above the first line.
    pub(super) fn new(width: usize) -> Self {
        Self {
            above: vec![[0; N]; width + 2],
            current: vec![[0; N]; width + 2],
            run_index: RunIndex::default(),
        }
    }

    pub(super) fn view(&mut self) -> LineView<'_, N> {
        let length = self.current.len();
        LineView {
            // The buffers are made with two pixels more than the width.
            width: length - 2,
            above: &self.above[..length],
            current: &mut self.current,
            run_index: &mut self.run_index,
        }
    }

    /// Makes the current line the one above and sets the edges (T.87 §A.2.1).
    pub(super) fn advance(&mut self) {
        std::mem::swap(&mut self.above, &mut self.current);
        // Rd of the last sample is its Rb; Ra of the first one is its Rb.
        if let [.., last, beyond] = self.above.as_mut_slice() {
            *beyond = *last;
        }
        if let (Some(before), Some(first)) = (self.current.first_mut(), self.above.get(1)) {
            *before = *first;
        }
    }

    /// Copies the current line to the components `members` of a row.
    pub(super) fn store(&self, row: &mut [u8], layout: SampleLayout, members: &[usize]) {
        let line = self.current.get(1..).unwrap_or_default();
        if N == 1 && layout.components == 1 {
            if layout.wide {
                for (out, sample) in row
                    .as_chunks_mut::<2>()
                    .0
                    .iter_mut()
                    .zip(line.as_flattened())
                {
                    *out = sample.to_le_bytes();
                }
            } else {
                for (out, sample) in row.iter_mut().zip(line.as_flattened()) {
                    [*out, _] = sample.to_le_bytes();
                }
            }
            return;
        }
        let size = if layout.wide { 2 } else { 1 };
        for (pixel, values) in row.chunks_exact_mut(layout.components * size).zip(line) {
            for (value, &member) in values.iter().zip(members) {
                for (out, byte) in pixel
                    .iter_mut()
                    .skip(member * size)
                    .take(size)
                    .zip(value.to_le_bytes())
                {
                    *out = byte;
                }
            }
        }
    }

    /// Fills the current line from `N` components of a row, `first` on; returns the largest sample.
    pub(super) fn load(&mut self, row: &[u8], layout: SampleLayout, first: usize) -> u16 {
        let line = self.current.get_mut(1..).unwrap_or_default();
        let mut largest = 0;
        if layout.wide {
            for (out, pixel) in line
                .iter_mut()
                .zip(row.as_chunks::<2>().0.chunks_exact(layout.components))
            {
                for (out, &value) in out.iter_mut().zip(pixel.iter().skip(first)) {
                    *out = u16::from_le_bytes(value);
                    largest = largest.max(*out);
                }
            }
        } else {
            for (out, pixel) in line.iter_mut().zip(row.chunks_exact(layout.components)) {
                for (out, &value) in out.iter_mut().zip(pixel.iter().skip(first)) {
                    *out = u16::from(value);
                    largest = largest.max(*out);
                }
            }
        }
        largest
    }
}
