//! Pictures of everyday formats as native pixels: PNG, GIF, BMP and TIFF, without loss (PS3.18 §10.5.2).
//!
//! Colors come out as they are stored: nothing is scaled but gray of less than eight bits, which is spread over eight. A palette
//! becomes RGB. Alpha and transparent colors are left out; the pixels below them stay. Invariant: sizes are known from the first
//! bytes (of TIFF from the whole file), and decoding gives exactly as many or an error.

use std::io::Cursor;

mod info;
mod tiff;

use info::PictureFormat;
pub use info::PictureInfo;
use tiff::is_tiff;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Largest side of a picture: Rows and Columns have 16 bits.
const MOST_SIDE: u32 = 65_535;

impl PictureInfo {
    /// Whether the first bytes do not say enough: of TIFF the whole file must be looked at.
    #[must_use]
    pub fn needs_whole(head: &[u8]) -> bool {
        is_tiff(head)
    }

    /// Reads the first bytes of a picture; nothing when they are of no such format.
    ///
    /// # Errors
    /// Why the picture cannot become pixel data.
    pub fn look(head: &[u8]) -> Option<Result<Self, &'static str>> {
        let found = if head.starts_with(PNG) {
            png_header(head)
        } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
            gif_header(head)
        } else if head.starts_with(b"BM") {
            bmp_header(head).map(|bmp| bmp.picture)
        } else if is_tiff(head) {
            let work = || tiff::look(head);
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            match found.unwrap_or(Err("has a TIFF file that is damaged")) {
                Ok(picture) => Some(picture),
                Err(reason) => return Some(Err(reason)),
            }
        } else {
            return None;
        };
        let sides = |picture: &Self| {
            (1..=MOST_SIDE).contains(&picture.rows) && (1..=MOST_SIDE).contains(&picture.columns)
        };
        Some(match found {
            Some(picture) if sides(&picture) => Ok(picture),
            Some(_) => Err("has a picture with more than 65535 rows or columns, or none"),
            None => Err("has a picture whose header cannot be read or is not supported"),
        })
    }

    /// The pixels: little endian, interleaved.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn pixels(&self, bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        const DAMAGED: &str = "has a picture that is damaged or holds several frames";
        let work = || match self.format {
            PictureFormat::Png => png_pixels(bytes).ok_or(DAMAGED),
            PictureFormat::Gif => self.gif_pixels(bytes).ok_or(DAMAGED),
            PictureFormat::Bmp => bmp_pixels(bytes).ok_or(DAMAGED),
            PictureFormat::Tiff => {
                let length = usize::try_from(self.length()).map_err(|_| DAMAGED)?;
                tiff::pixels(bytes, length)
            }
        };
        let pixels = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let pixels = pixels.unwrap_or(Err(DAMAGED))?;
        if pixels.len() as u64 == self.length() {
            Ok(pixels)
        } else {
            Err("has a picture that is not as large as its header says")
        }
    }

    fn gif_pixels(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        options.set_memory_limit(gif::MemoryLimit::Bytes(std::num::NonZeroU64::new(
            self.cost(),
        )?));
        let mut decoder = options.read_info(Cursor::new(bytes)).ok()?;
        let width = usize::try_from(self.columns).ok()?;
        let mut canvas = vec![0; usize::try_from(self.length()).ok()?];
        let frame = decoder.read_next_frame().ok()??;
        let (left, top) = (usize::from(frame.left), usize::from(frame.top));
        let frame_width = usize::from(frame.width).max(1);
        for (row, line) in frame.buffer.chunks_exact(frame_width * 4).enumerate() {
            for (column, pixel) in line.as_chunks::<4>().0.iter().enumerate() {
                if left + column >= width {
                    continue;
                }
                let at = ((top + row) * width + left + column) * 3;
                if let (Some(target), [red, green, blue, _]) = (canvas.get_mut(at..at + 3), pixel) {
                    target.copy_from_slice(&[*red, *green, *blue]);
                }
            }
        }
        let second = decoder.read_next_frame().ok()?;
        second.is_none().then_some(canvas)
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn png_header(head: &[u8]) -> Option<PictureInfo> {
    let (depth, color) = (*head.get(24)?, *head.get(25)?);
    if head.get(12..16)? != b"IHDR" {
        return None;
    }
    let sides = (be32(head, 20)?, be32(head, 16)?);
    let samples = if matches!(color, 0 | 4) { 1 } else { 3 };
    let bits = if depth == 16 { 16 } else { 8 };
    Some(PictureInfo::one(PictureFormat::Png, sides, samples, bits))
}

fn png_pixels(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().ok()?;
    let mut buffer = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut buffer).ok()?;
    buffer.truncate(info.buffer_size());
    let width = if info.bit_depth == png::BitDepth::Sixteen {
        2
    } else {
        1
    };
    let (channels, kept) = match info.color_type {
        png::ColorType::Grayscale => (1, 1),
        png::ColorType::GrayscaleAlpha => (2, 1),
        png::ColorType::Rgb => (3, 3),
        png::ColorType::Rgba => (4, 3),
        png::ColorType::Indexed => return None,
    };
    if width == 2 {
        // PNG has the high byte first.
        for sample in buffer.as_chunks_mut::<2>().0 {
            sample.reverse();
        }
    }
    if channels == kept {
        return Some(buffer);
    }
    // In place: what is kept is never longer than what was read.
    let mut at = 0;
    for start in (0..buffer.len()).step_by(channels * width) {
        buffer.copy_within(start..start + kept * width, at);
        at += kept * width;
    }
    buffer.truncate(at);
    Some(buffer)
}

fn gif_header(head: &[u8]) -> Option<PictureInfo> {
    let sides = (le16(head, 8)?.into(), le16(head, 6)?.into());
    Some(PictureInfo::one(PictureFormat::Gif, sides, 3, 8))
}

/// What the headers of a BMP file say.
struct Bmp {
    picture: PictureInfo,
    /// Where the pixels begin.
    start: usize,
    /// Where the palette begins.
    palette: usize,
    depth: u16,
    top_down: bool,
}

fn bmp_header(head: &[u8]) -> Option<Bmp> {
    let header = le32(head, 14)?;
    let height = le32(head, 22)?.cast_signed();
    let (depth, compression) = (le16(head, 28)?, le32(head, 30)?);
    // Uncompressed, or with masks that say the usual: blue, green, red.
    let usual = compression == 3
        && depth == 32
        && le32(head, 54)? == 0x00ff_0000
        && le32(head, 58)? == 0x0000_ff00
        && le32(head, 62)? == 0x0000_00ff;
    if header < 40 || !(compression == 0 || usual) || !matches!(depth, 1 | 4 | 8 | 24 | 32) {
        return None;
    }
    let columns = u32::try_from(le32(head, 18)?.cast_signed()).ok()?;
    let sides = (height.unsigned_abs(), columns);
    Some(Bmp {
        picture: PictureInfo::one(PictureFormat::Bmp, sides, 3, 8),
        start: usize::try_from(le32(head, 10)?).ok()?,
        palette: usize::try_from(header).ok()?.checked_add(14)?,
        depth,
        top_down: height < 0,
    })
}

fn bmp_pixels(bytes: &[u8]) -> Option<Vec<u8>> {
    let bmp = bmp_header(bytes)?;
    let columns = usize::try_from(bmp.picture.columns).ok()?;
    let rows = usize::try_from(bmp.picture.rows).ok()?;
    // Lines are filled up to 32 bits.
    let line = (columns.checked_mul(usize::from(bmp.depth))?)
        .div_ceil(32)
        .checked_mul(4)?;
    // Before anything is set aside: all lines are there.
    bytes.get(bmp.start..bmp.start.checked_add(line.checked_mul(rows)?)?)?;
    let mut pixels = Vec::with_capacity(usize::try_from(bmp.picture.length()).ok()?);
    for row in 0..rows {
        let stored = if bmp.top_down { row } else { rows - 1 - row };
        let start = bmp.start + stored * line;
        let line = bytes.get(start..start + line)?;
        for column in 0..columns {
            let color = if bmp.depth >= 24 {
                let width = usize::from(bmp.depth / 8);
                line.get(column * width..column * width + 3)?
            } else {
                let per_byte = 8 / usize::from(bmp.depth);
                let shift = (per_byte - 1 - column % per_byte) * usize::from(bmp.depth);
                let mask = u8::MAX >> (8 - bmp.depth);
                let index = usize::from(*line.get(column / per_byte)? >> shift & mask);
                let place = bmp.palette.checked_add(index * 4)?;
                bytes.get(place..place.checked_add(3)?)?
            };
            // Blue comes first.
            pixels.extend(color.iter().rev());
        }
    }
    Some(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(color: png::ColorType, depth: png::BitDepth, data: &[u8], palette: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, 2, 2);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if !palette.is_empty() {
            encoder.set_palette(palette.to_vec());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        out
    }

    fn decoded(bytes: &[u8]) -> (u16, u16, Vec<u8>) {
        let picture = PictureInfo::look(bytes).unwrap().unwrap();
        assert_eq!((picture.rows, picture.columns), (2, 2));
        let pixels = picture.pixels(bytes).unwrap();
        (picture.samples, picture.bits, pixels)
    }

    #[test]
    fn every_kind_of_png_becomes_its_samples() {
        use png::{BitDepth, ColorType};
        let eight: Vec<u8> = (1..=16).collect();
        let gray = png(ColorType::Grayscale, BitDepth::Eight, &eight[..4], &[]);
        assert_eq!(decoded(&gray), (1, 8, vec![1, 2, 3, 4]));
        let alpha = png(ColorType::GrayscaleAlpha, BitDepth::Eight, &eight[..8], &[]);
        assert_eq!(decoded(&alpha), (1, 8, vec![1, 3, 5, 7]));
        let rgb = png(ColorType::Rgb, BitDepth::Eight, &eight[..12], &[]);
        assert_eq!(decoded(&rgb), (3, 8, eight[..12].to_vec()));
        let rgba = png(ColorType::Rgba, BitDepth::Eight, &eight, &[]);
        let kept = vec![1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15];
        assert_eq!(decoded(&rgba), (3, 8, kept));
        // The high byte comes first in PNG and last in DICOM.
        let gray = png(ColorType::Grayscale, BitDepth::Sixteen, &eight[..8], &[]);
        assert_eq!(decoded(&gray), (1, 16, vec![2, 1, 4, 3, 6, 5, 8, 7]));
        let alpha = png(ColorType::GrayscaleAlpha, BitDepth::Sixteen, &eight, &[]);
        assert_eq!(decoded(&alpha), (1, 16, vec![2, 1, 6, 5, 10, 9, 14, 13]));
        let bits = png(ColorType::Grayscale, BitDepth::One, &[0x80, 0x40], &[]);
        assert_eq!(decoded(&bits), (1, 8, vec![255, 0, 0, 255]));
        let palette = png(
            ColorType::Indexed,
            BitDepth::Eight,
            &[0, 1, 1, 0],
            &[1, 2, 3, 9, 8, 7],
        );
        assert_eq!(
            decoded(&palette),
            (3, 8, vec![1, 2, 3, 9, 8, 7, 9, 8, 7, 1, 2, 3])
        );
    }

    fn gif(frames: u8) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = gif::Encoder::new(&mut out, 2, 2, &[1, 2, 3, 9, 8, 7]).unwrap();
        for _ in 0..frames {
            let frame = gif::Frame::from_indexed_pixels(2, 2, vec![0, 1, 1, 0], Some(1));
            encoder.write_frame(&frame).unwrap();
        }
        drop(encoder);
        out
    }

    #[test]
    fn a_gif_becomes_rgb_and_an_animation_is_refused() {
        let pixels = vec![1, 2, 3, 9, 8, 7, 9, 8, 7, 1, 2, 3];
        assert_eq!(decoded(&gif(1)), (3, 8, pixels));
        let animated = gif(2);
        let picture = PictureInfo::look(&animated).unwrap().unwrap();
        assert!(picture.pixels(&animated).is_err());
    }

    /// A BMP file of 2×2 pixels.
    fn bmp(depth: u16, height: i32, palette: &[u8], lines: &[u8]) -> Vec<u8> {
        let start = u32::try_from(54 + palette.len()).unwrap();
        let mut out = b"BM\0\0\0\0\0\0\0\0".to_vec();
        out.extend(start.to_le_bytes());
        out.extend(40_u32.to_le_bytes());
        out.extend(2_u32.to_le_bytes());
        out.extend(height.to_le_bytes());
        out.extend([1, 0]);
        out.extend(depth.to_le_bytes());
        out.extend([0; 24]);
        out.extend(palette);
        out.extend(lines);
        out
    }

    #[test]
    fn every_depth_of_bmp_becomes_rgb() {
        let wanted = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        // Bottom up, blue first, lines of four bytes.
        let lines = [9, 8, 7, 12, 11, 10, 0, 0, 3, 2, 1, 6, 5, 4, 0, 0];
        assert_eq!(decoded(&bmp(24, 2, &[], &lines)), (3, 8, wanted.clone()));
        let down = [3, 2, 1, 6, 5, 4, 0, 0, 9, 8, 7, 12, 11, 10, 0, 0];
        assert_eq!(decoded(&bmp(24, -2, &[], &down)), (3, 8, wanted.clone()));
        let wide = [9, 8, 7, 255, 12, 11, 10, 0, 3, 2, 1, 9, 6, 5, 4, 9];
        assert_eq!(decoded(&bmp(32, 2, &[], &wide)), (3, 8, wanted));
        let palette = [3, 2, 1, 0, 7, 8, 9, 0];
        let wanted = vec![1, 2, 3, 9, 8, 7, 9, 8, 7, 1, 2, 3];
        let eight = [1, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(
            decoded(&bmp(8, 2, &palette, &eight)),
            (3, 8, wanted.clone())
        );
        let four = [0x10, 0, 0, 0, 0x01, 0, 0, 0];
        assert_eq!(decoded(&bmp(4, 2, &palette, &four)), (3, 8, wanted.clone()));
        let one = [0x80, 0, 0, 0, 0x40, 0, 0, 0];
        assert_eq!(decoded(&bmp(1, 2, &palette, &one)), (3, 8, wanted));
    }

    #[test]
    fn damaged_pictures_are_errors() {
        use png::{BitDepth, ColorType};
        let whole = [
            png(ColorType::Rgb, BitDepth::Eight, &[7; 12], &[]),
            gif(1),
            bmp(24, 2, &[], &[5; 16]),
        ];
        for bytes in whole {
            for length in 0..bytes.len() {
                let cut = &bytes[..length];
                if let Some(Ok(picture)) = PictureInfo::look(cut) {
                    let pixels = picture.pixels(cut);
                    assert!(pixels.is_err() || length + 16 > bytes.len(), "{length}");
                }
            }
        }
        assert!(PictureInfo::look(b"plain text").is_none());
    }
}
