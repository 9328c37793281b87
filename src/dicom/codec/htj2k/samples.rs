//! The rows of a component, as numbers around zero.

use super::super::samples::plane;
use super::super::shape::DecodedFrame;

/// Reads one component of a canonical frame row by row.
pub(super) struct Rows<'a> {
    /// Bytes not read yet; none for single bits.
    left: &'a [u8],
    /// Single bits not read yet.
    bits: Option<Box<dyn Iterator<Item = i32> + 'a>>,
    width: usize,
    samples: usize,
    reader: Reader,
    wanted: PixelComponent,
}

/// How a cell becomes a sample: its stored bits, extended by their sign, or moved to lie around zero.
#[derive(Clone, Copy)]
struct Reader {
    unused: u32,
    signed: bool,
    middle: i32,
}

impl Reader {
    #[inline]
    fn value(self, cell: u32) -> i32 {
        let top = cell << self.unused;
        if self.signed {
            top.cast_signed() >> self.unused
        } else {
            (top >> self.unused).cast_signed() - self.middle
        }
    }
}

/// What is made of a pixel.
#[derive(Clone, Copy)]
enum PixelComponent {
    /// The sample at this place.
    Sample(usize),
    /// The reversible transform of red, green and blue (T.800 §G.2): luminance.
    Luminance,
    /// Blue, less green.
    Blue,
    /// Red, less green.
    Red,
}

impl<'a> Rows<'a> {
    /// One component of a frame of at most 16 bits, or of its transformed form.
    pub(super) fn new(frame: &'a DecodedFrame, component: usize, transform: bool) -> Self {
        let shape = &frame.shape;
        let width = shape.sample_bytes();
        let stored = u32::from(shape.bits_stored.clamp(1, 16));
        let wanted = match (transform, component) {
            (false, place) => PixelComponent::Sample(place),
            (true, 0) => PixelComponent::Luminance,
            (true, 1) => PixelComponent::Blue,
            (true, _) => PixelComponent::Red,
        };
        Self {
            left: if width == 0 { &[] } else { &frame.data },
            bits: (width == 0).then(|| plane(frame, component)),
            width,
            samples: usize::from(shape.samples),
            reader: Reader {
                unused: 32 - stored,
                signed: shape.signed,
                middle: if shape.signed { 0 } else { 1 << (stored - 1) },
            },
            wanted,
        }
    }

    /// Fills the next row.
    pub(super) fn fill(&mut self, row: &mut [i32]) {
        let reader = self.reader;
        if let Some(bits) = &mut self.bits {
            for (sample, bit) in row.iter_mut().zip(bits) {
                *sample = reader.value(bit.cast_unsigned());
            }
            return;
        }
        let length = row.len() * self.samples * self.width;
        let Some((cells, left)) = self.left.split_at_checked(length) else {
            return;
        };
        self.left = left;
        if self.width == 1 {
            self.pick(row, cells, |cell: [u8; 1]| reader.value(u32::from(cell[0])));
        } else {
            self.pick(row, cells, |cell: [u8; 2]| {
                reader.value(u32::from(u16::from_le_bytes(cell)))
            });
        }
    }

    /// Makes a row of cells of `WIDTH` bytes.
    fn pick<const WIDTH: usize>(
        &self,
        row: &mut [i32],
        cells: &[u8],
        value: impl Fn([u8; WIDTH]) -> i32,
    ) {
        let (cells, _) = cells.as_chunks::<WIDTH>();
        match self.wanted {
            PixelComponent::Sample(_) if self.samples == 1 => fill(row, cells, |&cell| value(cell)),
            PixelComponent::Sample(place) => {
                let cells = cells.iter().skip(place).step_by(self.samples.max(1));
                row.iter_mut()
                    .zip(cells)
                    .for_each(|(sample, &cell)| *sample = value(cell));
            }
            PixelComponent::Luminance => fill(row, cells.as_chunks().0, |&[r, g, b]| {
                (value(r) + 2 * value(g) + value(b)) >> 2
            }),
            PixelComponent::Blue => {
                fill(row, cells.as_chunks().0, |&[_, g, b]| value(b) - value(g))
            }
            PixelComponent::Red => fill(row, cells.as_chunks().0, |&[r, g, _]| value(r) - value(g)),
        }
    }
}

#[inline]
fn fill<T>(row: &mut [i32], pixels: &[T], make: impl Fn(&T) -> i32) {
    row.iter_mut()
        .zip(pixels)
        .for_each(|(sample, pixel)| *sample = make(pixel));
}
