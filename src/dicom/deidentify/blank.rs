//! Rectangles of a frame are blanked: black, white or the first color of the palette, by what zero means.

use super::pixels::Rectangle;
use crate::dicom::codec::{FrameShape, Photometric};

/// How the samples of a frame lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlankLayout {
    rows: usize,
    columns: usize,
    samples: usize,
    /// Bytes of a sample.
    width: usize,
    planar: bool,
    /// The second and third sample are color differences, of which 128 is none.
    differences: bool,
}

impl BlankLayout {
    /// The layout of a frame that is not compressed; none when pixels do not lie in whole samples, each by itself.
    #[must_use]
    pub fn of(shape: &FrameShape) -> Option<Self> {
        let differences = match shape.photometric {
            Photometric::Monochrome1
            | Photometric::Monochrome2
            | Photometric::Rgb
            | Photometric::PaletteColor => false,
            Photometric::YbrFull => true,
            _ => return None,
        };
        let width = match shape.bits_allocated {
            8 => 1,
            16 if !differences => 2,
            32 if !differences => 4,
            _ => return None,
        };
        Some(Self {
            rows: usize::try_from(shape.rows).ok()?,
            columns: usize::try_from(shape.columns).ok()?,
            samples: usize::from(shape.samples),
            width,
            planar: shape.planar && shape.samples > 1,
            differences,
        })
    }

    /// Bytes of a frame.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        let pixels = (self.rows as u64).saturating_mul(self.columns as u64);
        pixels.saturating_mul((self.samples * self.width) as u64)
    }

    /// Blanks rectangles of a frame; what of them lies outside of it does not count.
    pub fn blank(&self, frame: &mut [u8], rectangles: &[Rectangle]) {
        for rectangle in rectangles {
            let start = |at: u32, end: usize| usize::try_from(at).map_or(end, |at| at.min(end));
            let end = |at: u32, length: u32, end: usize| start(at.saturating_add(length), end);
            let rows = start(rectangle.y, self.rows)..end(rectangle.y, rectangle.height, self.rows);
            let (first, past) = (
                start(rectangle.x, self.columns),
                end(rectangle.x, rectangle.width, self.columns),
            );
            for row in rows {
                for sample in 0..self.samples {
                    self.blank_run(frame, row, first, past, sample);
                }
            }
        }
    }

    /// Blanks one sample of some pixels of a row.
    fn blank_run(&self, frame: &mut [u8], row: usize, first: usize, past: usize, sample: usize) {
        let blank = if self.differences && sample > 0 {
            128
        } else {
            0
        };
        let before = row.saturating_mul(self.columns);
        for column in first..past {
            let pixel = before.saturating_add(column);
            let at = if self.planar {
                let plane = self.rows.saturating_mul(self.columns);
                sample.saturating_mul(plane).saturating_add(pixel)
            } else {
                pixel.saturating_mul(self.samples).saturating_add(sample)
            };
            let at = at.saturating_mul(self.width);
            let past = at.saturating_add(self.width);
            if let Some(cell) = frame.get_mut(at..past) {
                cell.fill(blank);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(photometric: Photometric, samples: u16, bits: u16, planar: bool) -> FrameShape {
        FrameShape {
            rows: 3,
            columns: 4,
            samples,
            bits_allocated: bits,
            bits_stored: bits,
            low_bit: 0,
            overlay_bits: false,
            signed: false,
            planar,
            photometric,
        }
    }

    fn blanked(shape: &FrameShape) -> Vec<u8> {
        let layout = BlankLayout::of(shape).unwrap();
        let mut frame = vec![7; usize::try_from(layout.frame_bytes()).unwrap()];
        let (x, y, width, height) = (1, 2, 2, 9);
        layout.blank(
            &mut frame,
            &[Rectangle {
                x,
                y,
                width,
                height,
            }],
        );
        frame
    }

    #[test]
    fn only_the_rectangle_is_blanked_in_every_layout() {
        let gray = blanked(&shape(Photometric::Monochrome2, 1, 8, false));
        assert_eq!(gray, [[7; 8].as_slice(), &[7, 0, 0, 7]].concat());
        let deep = blanked(&shape(Photometric::Monochrome2, 1, 16, false));
        assert_eq!(
            deep,
            [[7; 16].as_slice(), &[7, 7, 0, 0, 0, 0, 7, 7]].concat()
        );
        let color = blanked(&shape(Photometric::Rgb, 3, 8, false));
        let row = [7, 7, 7, 0, 0, 0, 0, 0, 0, 7, 7, 7];
        assert_eq!(color, [[7; 24].as_slice(), &row].concat());
        let planes = blanked(&shape(Photometric::YbrFull, 3, 8, true));
        let plane = |blank| [[7; 8].as_slice(), &[7, blank, blank, 7]].concat();
        assert_eq!(planes, [plane(0), plane(128), plane(128)].concat());
    }

    #[test]
    fn pixels_that_share_bytes_cannot_be_blanked() {
        for shape in [
            shape(Photometric::Monochrome2, 1, 1, false),
            shape(Photometric::YbrFull422, 3, 8, false),
            shape(Photometric::YbrFull, 3, 16, false),
            shape(Photometric::Other, 1, 8, false),
        ] {
            assert_eq!(BlankLayout::of(&shape), None, "{shape:?}");
        }
    }
}
