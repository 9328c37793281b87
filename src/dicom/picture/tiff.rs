//! TIFF 6.0 and `BigTIFF` as native pixels: gray, RGB and palettes in strips or tiles, one frame for each page.
//!
//! Written by hand for what no crate does: palettes, separate planes and white-is-zero as they are stored, in memory that is known
//! before. Invariants: nothing is set aside by what the file says before it was checked against the file or a limit; every loop
//! consumes bytes or is bounded by the size of the picture.

mod file;
mod packing;

use super::info::{PictureFormat, PictureInfo};
pub(super) use file::is_tiff;
use file::{DAMAGED, Entry, MOST_ENTRIES, TiffFile, width_of};
use packing::{deflated, lzw, packbits};

/// Most pages; each is a frame.
const MOST_PAGES: u32 = 10_000;

const PAGES: &str =
    "has a TIFF file whose pages differ, are too many, or are copies of reduced size";
const KIND: &str =
    "has a TIFF file that is neither gray, RGB nor a palette of unsigned samples of 8 or 16 bits";
const COMPRESSION: &str = "has a TIFF file that is compressed otherwise than by LZW, Deflate or PackBits; send the JPEG frames themselves";

/// What a whole file holds.
pub(super) fn look(bytes: &[u8]) -> Result<PictureInfo, &'static str> {
    let file = TiffFile::open(bytes)?;
    let mut pages = file.pages();
    let first = pages.next().ok_or(DAMAGED)??;
    let mut frames = 1;
    for page in pages {
        if page?.shape() != first.shape() {
            return Err(PAGES);
        }
        frames += 1;
    }
    let (samples, bits) = first.kept(&file)?;
    Ok(PictureInfo {
        format: PictureFormat::Tiff,
        rows: first.rows,
        columns: first.columns,
        samples,
        bits,
        frames,
        inverted: first.photometric == 0,
        extra: first.unit_bytes()?,
    })
}

/// The samples of all pages, as [`look`] says.
pub(super) fn pixels(bytes: &[u8], length: usize) -> Result<Vec<u8>, &'static str> {
    let file = TiffFile::open(bytes)?;
    let mut out = Vec::with_capacity(length);
    for page in file.pages() {
        let page = page?;
        let frame = page.frame_bytes(&file)?;
        let end = out.len().checked_add(frame).ok_or(DAMAGED)?;
        if end > length {
            return Err(PAGES);
        }
        let start = out.len();
        out.resize(end, 0);
        page.decode(&file, out.get_mut(start..).ok_or(DAMAGED)?)?;
    }
    Ok(out)
}

impl<'a> TiffFile<'a> {
    /// The pages, up to the first that cannot be read.
    fn pages(&self) -> impl Iterator<Item = Result<TiffPage, &'static str>> + '_ {
        let width = if self.wide { 8 } else { 4 };
        let mut next = self.number(if self.wide { 8 } else { 4 }, width);
        let mut left = MOST_PAGES;
        std::iter::from_fn(move || {
            let at = match next.take() {
                Some(0) => return None,
                Some(at) => at,
                None => return Some(Err(DAMAGED)),
            };
            if left == 0 {
                next = Some(0);
                return Some(Err(PAGES));
            }
            left -= 1;
            let read = self.page(at);
            next = Some(read.as_ref().map_or(0, |(_, next)| *next));
            Some(read.map(|(page, _)| page))
        })
    }

    /// A page and where the next one is.
    fn page(&self, at: u64) -> Result<(TiffPage, u64), &'static str> {
        let (head, size, inline) = if self.wide { (8, 20, 12) } else { (2, 12, 8) };
        let width = if self.wide { 8 } else { 4 };
        let at = usize::try_from(at).map_err(|_| DAMAGED)?;
        let count = self.number(at, head).ok_or(DAMAGED)?;
        if count > MOST_ENTRIES {
            return Err(DAMAGED);
        }
        let count = usize::try_from(count).map_err(|_| DAMAGED)?;
        let first = at.checked_add(head).ok_or(DAMAGED)?;
        let mut entries = Vec::with_capacity(count);
        for number in 0..count {
            let at = first.checked_add(number * size).ok_or(DAMAGED)?;
            let tag = self.number(at, 2).ok_or(DAMAGED)?;
            let kind = self.number(at.saturating_add(2), 2).ok_or(DAMAGED)?;
            let count = self.number(at.saturating_add(4), width).ok_or(DAMAGED)?;
            let kind = u16::try_from(kind).unwrap_or(0);
            let bytes = count.checked_mul(width_of(kind)).ok_or(DAMAGED)?;
            let value = at.saturating_add(inline);
            let place = if bytes <= width as u64 {
                Some(value)
            } else {
                let offset = self.number(value, width).ok_or(DAMAGED)?;
                usize::try_from(offset).ok()
            };
            entries.push(Entry {
                tag: u16::try_from(tag).unwrap_or(0),
                kind,
                count,
                at: place.ok_or(DAMAGED)?,
            });
        }
        let next = first.checked_add(count * size).ok_or(DAMAGED)?;
        let next = self.number(next, width).ok_or(DAMAGED)?;
        Ok((TiffPage::read(self, &entries)?, next))
    }
}

/// One page, as far as it is needed.
struct TiffPage {
    rows: u32,
    columns: u32,
    /// Bits of each stored sample.
    bits: u16,
    /// Stored samples of a pixel, those that are left out among them.
    samples: u16,
    /// 0 white is zero, 1 black is zero, 2 RGB, 3 palette.
    photometric: u16,
    compression: u16,
    /// Samples are differences to their neighbour.
    differences: bool,
    /// Each sample has strips of its own.
    separate: bool,
    /// Columns and rows of a strip or tile.
    unit: (u32, u32),
    offsets: Entry,
    lengths: Entry,
    palette: Option<Entry>,
}

impl TiffPage {
    fn read(file: &TiffFile<'_>, entries: &[Entry]) -> Result<Self, &'static str> {
        let find = |tag: u16| entries.iter().find(|entry| entry.tag == tag).copied();
        let one = |tag: u16, default: u64| match find(tag) {
            Some(entry) => file.value(&entry, 0).ok_or(DAMAGED),
            None => Ok(default),
        };
        let small = |tag: u16, default: u64| {
            let value = one(tag, default)?;
            u16::try_from(value).map_err(|_| KIND)
        };
        let side = |tag: u16, default: u64| {
            let value = one(tag, default)?;
            u32::try_from(value).map_err(|_| DAMAGED)
        };
        // A reduced copy of another page is no frame.
        if one(254, 0)? & 1 == 1 {
            return Err(PAGES);
        }
        let (columns, rows) = (side(256, 0)?, side(257, 0)?);
        let samples = small(277, 1)?;
        let photometric = small(262, 99)?;
        let bits = small(258, 1)?;
        if let Some(all) = find(258) {
            let alike = |number| file.value(&all, number) == Some(bits.into());
            if !(0..all.count.min(8)).all(alike) {
                return Err(KIND);
            }
        }
        // One sample, or three, and alpha.
        let known = match photometric {
            0 | 1 => matches!((bits, samples), (1 | 2 | 4, 1) | (8 | 16, 1 | 2)),
            2 => matches!((bits, samples), (8 | 16, 3 | 4)),
            3 => matches!((bits, samples), (1 | 2 | 4 | 8, 1)),
            _ => false,
        };
        let unsigned = small(339, 1)? == 1;
        let plain = small(266, 1)? == 1 && matches!(small(317, 1)?, 1 | 2);
        if !(known && unsigned && plain) {
            return Err(KIND);
        }
        let compression = small(259, 1)?;
        if !matches!(compression, 1 | 5 | 8 | 32773 | 32946) {
            return Err(COMPRESSION);
        }
        let tiled = find(322).is_some();
        let unit = if tiled {
            (side(322, 0)?, side(323, 0)?)
        } else {
            (columns, side(278, u32::MAX.into())?.min(rows))
        };
        if columns == 0 || rows == 0 || unit.0 == 0 || unit.1 == 0 {
            return Err(DAMAGED);
        }
        let (offsets, lengths) = if tiled { (324, 325) } else { (273, 279) };
        Ok(Self {
            rows,
            columns,
            bits,
            samples,
            photometric,
            compression,
            differences: small(317, 1)? == 2 && bits >= 8,
            separate: small(284, 1)? == 2 && samples > 1,
            unit,
            offsets: find(offsets).ok_or(DAMAGED)?,
            lengths: find(lengths).ok_or(DAMAGED)?,
            palette: find(320),
        })
    }

    fn shape(&self) -> (u32, u32, u16, u16, u16) {
        let Self {
            rows,
            columns,
            bits,
            samples,
            photometric,
            ..
        } = *self;
        (rows, columns, bits, samples, photometric)
    }

    /// Samples of a pixel that are kept, and bits of each.
    fn kept(&self, file: &TiffFile<'_>) -> Result<(u16, u16), &'static str> {
        Ok(match self.photometric {
            3 => (3, self.colors(file)?.1),
            2 => (3, self.bits),
            _ => (1, self.bits.max(8)),
        })
    }

    fn frame_bytes(&self, file: &TiffFile<'_>) -> Result<usize, &'static str> {
        let (samples, bits) = self.kept(file)?;
        let bytes = u64::from(self.rows)
            .checked_mul(self.columns.into())
            .and_then(|pixels| pixels.checked_mul((samples * (bits / 8)).into()));
        bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or(DAMAGED)
    }

    /// Bytes of a line of a strip or tile.
    fn line_bytes(&self) -> Result<usize, &'static str> {
        let stored = if self.separate { 1 } else { self.samples };
        let bits = u64::from(self.unit.0) * u64::from(stored) * u64::from(self.bits);
        usize::try_from(bits.div_ceil(8)).map_err(|_| DAMAGED)
    }

    /// Bytes of a strip or tile.
    fn unit_bytes(&self) -> Result<u64, &'static str> {
        let line = self.line_bytes()? as u64;
        line.checked_mul(self.unit.1.into()).ok_or(DAMAGED)
    }

    /// Red, green and blue of each index, and their bits: eight where nothing is lost by that.
    fn colors(&self, file: &TiffFile<'_>) -> Result<(Vec<[u16; 3]>, u16), &'static str> {
        let entry = self.palette.ok_or(DAMAGED)?;
        let count = 1_u64 << self.bits.min(8);
        let sample = |number| {
            let value = file.value(&entry, number).ok_or(DAMAGED)?;
            u16::try_from(value).map_err(|_| DAMAGED)
        };
        let mut colors = Vec::new();
        for index in 0..count {
            colors.push([
                sample(index)?,
                sample(count + index)?,
                sample(2 * count + index)?,
            ]);
        }
        let narrow = |value: &u16| {
            let [low, high] = value.to_le_bytes();
            low == 0 || low == high
        };
        let bits = if colors.iter().flatten().all(narrow) {
            8
        } else {
            16
        };
        Ok((colors, bits))
    }

    /// Writes the samples that are kept into a frame of zeros.
    fn decode(&self, file: &TiffFile<'_>, frame: &mut [u8]) -> Result<(), &'static str> {
        let colors = match self.photometric {
            3 => Some(self.colors(file)?),
            _ => None,
        };
        let (kept, bits) = self.kept(file)?;
        let line_bytes = self.line_bytes()?;
        let mut unit = vec![0; usize::try_from(self.unit_bytes()?).map_err(|_| DAMAGED)?];
        let across = self.columns.div_ceil(self.unit.0);
        let down = self.rows.div_ceil(self.unit.1);
        let planes = if self.separate { self.samples } else { 1 };
        for plane in 0..planes.min(kept) {
            for number in 0..u64::from(across) * u64::from(down) {
                let left = u32::try_from(number % u64::from(across)).unwrap_or(0) * self.unit.0;
                let top = u32::try_from(number / u64::from(across)).unwrap_or(0) * self.unit.1;
                let rows = self.unit.1.min(self.rows - top);
                let columns = self.unit.0.min(self.columns - left);
                // Tiles are whole, the last strip has the lines that are left.
                let lines = if self.unit.0 == self.columns {
                    rows
                } else {
                    self.unit.1
                };
                let number = u64::from(plane) * u64::from(across) * u64::from(down) + number;
                let needed = line_bytes * usize::try_from(lines).map_err(|_| DAMAGED)?;
                self.unpack(file, number, unit.get_mut(..needed).ok_or(DAMAGED)?)?;
                for row in 0..rows {
                    let start = line_bytes * usize::try_from(row).map_err(|_| DAMAGED)?;
                    let line = unit.get_mut(start..start + line_bytes).ok_or(DAMAGED)?;
                    self.settle(file.big, line);
                    let at = u64::from(top + row) * u64::from(self.columns) + u64::from(left);
                    let at = usize::try_from(at).map_err(|_| DAMAGED)?;
                    let placed = Placed {
                        at,
                        columns,
                        plane,
                        kept,
                        bits,
                    };
                    self.place(line, placed, colors.as_ref(), frame)
                        .ok_or(DAMAGED)?;
                }
            }
        }
        Ok(())
    }

    /// Decompresses a strip or tile.
    fn unpack(&self, file: &TiffFile<'_>, number: u64, out: &mut [u8]) -> Result<(), &'static str> {
        let offset = file.value(&self.offsets, number).ok_or(DAMAGED)?;
        let length = file.value(&self.lengths, number).ok_or(DAMAGED)?;
        let start = usize::try_from(offset).map_err(|_| DAMAGED)?;
        let length = usize::try_from(length).map_err(|_| DAMAGED)?;
        let end = start.checked_add(length).ok_or(DAMAGED)?;
        let packed = file.bytes.get(start..end).ok_or(DAMAGED)?;
        let whole = match self.compression {
            1 => packed
                .get(..out.len())
                .map(|bytes| out.copy_from_slice(bytes))
                .is_some(),
            5 => lzw(packed, out),
            32773 => packbits(packed, out),
            _ => deflated(packed, out),
        };
        whole.then_some(()).ok_or(DAMAGED)
    }

    /// Makes the samples of a line little endian, and values of differences.
    fn settle(&self, big: bool, line: &mut [u8]) {
        if self.bits == 16 && big {
            for sample in line.as_chunks_mut::<2>().0 {
                sample.reverse();
            }
        }
        if !self.differences {
            return;
        }
        let step = usize::from(if self.separate { 1 } else { self.samples });
        if self.bits == 8 {
            for at in step..line.len() {
                let before = line.get(at - step).copied().unwrap_or(0);
                if let Some(sample) = line.get_mut(at) {
                    *sample = sample.wrapping_add(before);
                }
            }
        } else {
            let samples = line.as_chunks_mut::<2>().0;
            for at in step..samples.len() {
                let before = samples.get(at - step).copied().unwrap_or_default();
                if let Some(sample) = samples.get_mut(at) {
                    let sum = u16::from_le_bytes(*sample).wrapping_add(u16::from_le_bytes(before));
                    *sample = sum.to_le_bytes();
                }
            }
        }
    }

    /// Writes a line into the frame.
    fn place(
        &self,
        line: &[u8],
        placed: Placed,
        colors: Option<&(Vec<[u16; 3]>, u16)>,
        frame: &mut [u8],
    ) -> Option<()> {
        let width = usize::from(placed.bits / 8);
        let pixel = usize::from(placed.kept) * width;
        let start = placed.at.checked_mul(pixel)?;
        let target = frame.get_mut(start..)?;
        let columns = usize::try_from(placed.columns).ok()?;
        let mut pixels = target.chunks_exact_mut(pixel).take(columns);
        if self.bits < 8 || colors.is_some() {
            let (bits, max) = (usize::from(self.bits), (1_u16 << self.bits) - 1);
            for (column, pixel) in pixels.enumerate() {
                let at = column * bits;
                let byte = u16::from(*line.get(at / 8)?);
                let value = (byte >> (8 - bits - at % 8)) & max;
                match colors {
                    None => *pixel.first_mut()? = u8::try_from(value * 255 / max).ok()?,
                    Some((colors, depth)) => {
                        let color = colors.get(usize::from(value))?;
                        for (sample, value) in pixel.chunks_exact_mut(width).zip(color) {
                            let bytes = value.to_le_bytes();
                            let bytes = if *depth == 8 { &bytes[1..] } else { &bytes[..] };
                            sample.copy_from_slice(bytes);
                        }
                    }
                }
            }
            return Some(());
        }
        if self.separate {
            let at = usize::from(placed.plane) * width;
            for sample in line.chunks_exact(width).take(columns) {
                pixels
                    .next()?
                    .get_mut(at..at + width)?
                    .copy_from_slice(sample);
            }
        } else {
            for stored in line
                .chunks_exact(usize::from(self.samples) * width)
                .take(columns)
            {
                let target = pixels.next()?;
                target.copy_from_slice(stored.get(..target.len())?);
            }
        }
        Some(())
    }
}

/// Where a line goes.
#[derive(Clone, Copy)]
struct Placed {
    /// Its first pixel in the frame.
    at: usize,
    columns: u32,
    plane: u16,
    kept: u16,
    bits: u16,
}

#[cfg(test)]
#[path = "tiff_tests.rs"]
mod tests;
