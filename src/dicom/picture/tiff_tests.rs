//! TIFF files of every kind that is read, built byte by byte.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write as _;

use super::*;

/// What a test file is to be.
#[derive(Clone, Copy)]
struct TiffKind {
    big: bool,
    wide: bool,
    bits: u16,
    samples: u16,
    photometric: u16,
    compression: u16,
    differences: bool,
    separate: bool,
    /// Columns and rows of a tile; strips of two lines without.
    tile: Option<(usize, usize)>,
}

const PLAIN: TiffKind = TiffKind {
    big: false,
    wide: false,
    bits: 8,
    samples: 1,
    photometric: 1,
    compression: 1,
    differences: false,
    separate: false,
    tile: None,
};
const ROWS: usize = 5;
const COLUMNS: usize = 7;

/// A sample of a page: row, column and which one.
fn sample(page: usize, row: usize, column: usize, number: usize, bits: u16) -> u16 {
    let value = page * 31 + row * 1000 + column * 77 + number * 5003 + 3;
    u16::try_from(value % (1 << bits)).unwrap()
}

impl TiffKind {
    fn put(self, out: &mut Vec<u8>, value: u64, width: usize) {
        let bytes = value.to_le_bytes();
        if self.big {
            out.extend(bytes[..width].iter().rev());
        } else {
            out.extend(&bytes[..width]);
        }
    }

    /// The samples of a strip or tile, as they are stored.
    fn unit(self, page: usize, plane: Option<usize>, rows: &[usize], columns: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            let numbers: Vec<usize> = match plane {
                Some(plane) => vec![plane],
                None => (0..usize::from(self.samples)).collect(),
            };
            let mut line = Vec::new();
            for column in columns {
                for number in &numbers {
                    let inside = *row < ROWS && *column < COLUMNS;
                    let value = sample(page, *row, *column, *number, self.bits);
                    line.push(if inside { value } else { 0 });
                }
            }
            if self.differences {
                let step = numbers.len();
                for at in (step..line.len()).rev() {
                    line[at] = line[at].wrapping_sub(line[at - step]);
                }
            }
            if self.bits < 8 {
                let mut bits = vec![0_u8; (line.len() * usize::from(self.bits)).div_ceil(8)];
                for (at, value) in line.iter().enumerate() {
                    let bit = at * usize::from(self.bits);
                    let shift = 8 - usize::from(self.bits) - bit % 8;
                    bits[bit / 8] |= u8::try_from(*value).unwrap() << shift;
                }
                out.extend(bits);
            } else {
                for value in line {
                    let width = usize::from(self.bits / 8);
                    let value = if width == 1 { value & 0xFF } else { value };
                    self.put(&mut out, value.into(), width);
                }
            }
        }
        match self.compression {
            1 => out,
            5 => weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
                .encode(&out)
                .unwrap(),
            32773 => packed(&out),
            _ => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&out).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn file(self, pages: usize, palette: &[u16]) -> Vec<u8> {
        let mut out = if self.big {
            b"MM".to_vec()
        } else {
            b"II".to_vec()
        };
        let width = if self.wide { 8 } else { 4 };
        self.put(&mut out, if self.wide { 43 } else { 42 }, 2);
        if self.wide {
            self.put(&mut out, 8, 2);
            self.put(&mut out, 0, 2);
        }
        // Filled in when the place is known.
        let mut link = out.len();
        out.extend(vec![0; width]);
        for page in 0..pages {
            let planes: Vec<Option<usize>> = if self.separate {
                (0..usize::from(self.samples)).map(Some).collect()
            } else {
                vec![None]
            };
            let (wide, high) = self.tile.unwrap_or((COLUMNS, 2));
            let (mut offsets, mut lengths) = (Vec::new(), Vec::new());
            for plane in planes {
                for top in (0..ROWS).step_by(high) {
                    for left in (0..COLUMNS).step_by(wide) {
                        let bottom = if self.tile.is_some() {
                            top + high
                        } else {
                            (top + high).min(ROWS)
                        };
                        let rows: Vec<usize> = (top..bottom).collect();
                        let columns: Vec<usize> = (left..left + wide).collect();
                        let unit = self.unit(page, plane, &rows, &columns);
                        offsets.push(out.len() as u64);
                        lengths.push(unit.len() as u64);
                        out.extend(unit);
                    }
                }
            }
            let bits = vec![u64::from(self.bits); usize::from(self.samples)];
            let colors = palette.iter().copied().map(u64::from).collect::<Vec<u64>>();
            let mut tags: Vec<(u16, u16, Vec<u64>)> = vec![
                (256, 4, vec![COLUMNS as u64]),
                (257, 3, vec![ROWS as u64]),
                (258, 3, bits),
                (259, 3, vec![self.compression.into()]),
                (262, 3, vec![self.photometric.into()]),
                (277, 3, vec![self.samples.into()]),
                (284, 3, vec![if self.separate { 2 } else { 1 }]),
                (317, 3, vec![if self.differences { 2 } else { 1 }]),
            ];
            match self.tile {
                None => {
                    tags.push((273, 4, offsets));
                    tags.push((278, 3, vec![2]));
                    tags.push((279, 4, lengths));
                }
                Some((wide, high)) => {
                    tags.push((322, 3, vec![wide as u64]));
                    tags.push((323, 3, vec![high as u64]));
                    tags.push((324, 4, offsets));
                    tags.push((325, 4, lengths));
                }
            }
            if !palette.is_empty() {
                tags.push((320, 3, colors));
            }
            tags.sort_by_key(|(tag, ..)| *tag);
            // Values that do not fit into their entry lie before the directory.
            let mut entries = Vec::new();
            for (tag, kind, values) in &tags {
                let size = usize::try_from(width_of(*kind)).unwrap();
                self.put(&mut entries, (*tag).into(), 2);
                self.put(&mut entries, (*kind).into(), 2);
                self.put(&mut entries, values.len() as u64, width);
                let mut bytes = Vec::new();
                for value in values {
                    self.put(&mut bytes, *value, size);
                }
                if bytes.len() <= width {
                    bytes.resize(width, 0);
                    entries.extend(bytes);
                } else {
                    self.put(&mut entries, out.len() as u64, width);
                    out.extend(bytes);
                }
            }
            let mut place = Vec::new();
            self.put(&mut place, out.len() as u64, width);
            out[link..link + width].copy_from_slice(&place);
            self.put(&mut out, tags.len() as u64, if self.wide { 8 } else { 2 });
            out.extend(entries);
            link = out.len();
            out.extend(vec![0; width]);
        }
        out
    }

    /// The samples that are wanted of it, when they are kept as they are.
    fn wanted(self, pages: usize) -> Vec<u8> {
        let kept = if self.samples > 2 { 3 } else { 1 };
        let mut out = Vec::new();
        for page in 0..pages {
            for (row, column) in (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |c| (row, c))) {
                for number in 0..kept {
                    let value = sample(page, row, column, number, self.bits).to_le_bytes();
                    out.extend(&value[..usize::from(self.bits / 8)]);
                }
            }
        }
        out
    }
}

/// Literal runs and repetitions.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(3) {
        out.push(128);
        if chunk.iter().all(|byte| byte == &chunk[0]) && chunk.len() > 1 {
            out.push(0xFF - u8::try_from(chunk.len()).unwrap() + 2);
            out.push(chunk[0]);
        } else {
            out.push(u8::try_from(chunk.len()).unwrap() - 1);
            out.extend(chunk);
        }
    }
    out
}

fn decoded(bytes: &[u8]) -> (PictureInfo, Vec<u8>) {
    let picture = PictureInfo::look(bytes).unwrap().unwrap();
    let pixels = picture.pixels(bytes).unwrap();
    (picture, pixels)
}

#[test]
fn every_kind_of_tiff_becomes_its_samples() {
    let mut count = 0;
    for (big, wide) in [(false, false), (true, false), (false, true), (true, true)] {
        for (bits, samples, photometric) in [
            (8, 1, 1),
            (8, 1, 0),
            (8, 2, 1),
            (8, 3, 2),
            (8, 4, 2),
            (16, 1, 1),
            (16, 3, 2),
            (16, 4, 2),
        ] {
            for compression in [1, 5, 8, 32773, 32946] {
                for (differences, separate, tile) in [
                    (false, false, None),
                    (true, false, None),
                    (false, true, None),
                    (true, true, Some((4, 3))),
                    (false, false, Some((16, 16))),
                    (false, false, Some((7, 4))),
                ] {
                    let kind = TiffKind {
                        big,
                        wide,
                        bits,
                        samples,
                        photometric,
                        compression,
                        differences,
                        separate: separate && samples > 1,
                        tile,
                    };
                    let (picture, pixels) = decoded(&kind.file(2, &[]));
                    let about = format!(
                        "{big} {wide} {bits} {samples} {compression} {differences} {separate} {tile:?}"
                    );
                    assert_eq!((picture.rows, picture.columns), (5, 7), "{about}");
                    assert_eq!((picture.bits, picture.frames), (bits, 2), "{about}");
                    assert_eq!(picture.samples, if samples > 2 { 3 } else { 1 }, "{about}");
                    assert_eq!(picture.inverted, photometric == 0);
                    assert!(pixels == kind.wanted(2), "{about}");
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 960);
}

#[test]
fn gray_of_few_bits_is_spread_and_palettes_become_rgb() {
    for bits in [1, 2, 4] {
        let kind = TiffKind { bits, ..PLAIN };
        let (picture, pixels) = decoded(&kind.file(1, &[]));
        assert_eq!((picture.samples, picture.bits), (1, 8));
        let max = (1 << bits) - 1;
        let place = |at: usize| sample(0, at / COLUMNS, at % COLUMNS, 0, bits);
        let wanted = (0..ROWS * COLUMNS).map(|at| u8::try_from(place(at) * 255 / max).unwrap());
        assert!(pixels == wanted.collect::<Vec<u8>>(), "{bits}");
    }
    for bits in [1, 4, 8] {
        let kind = TiffKind {
            bits,
            photometric: 3,
            ..PLAIN
        };
        let count = 1_u16 << bits;
        let narrow: Vec<u16> = (0..3 * count).map(|i| i % 256 * 257).collect();
        let wide: Vec<u16> = (0..3 * count).map(|i| i * 80 + 7).collect();
        for (palette, depth) in [(narrow, 8), (wide, 16)] {
            let (picture, pixels) = decoded(&kind.file(1, &palette));
            assert_eq!((picture.samples, picture.bits), (3, depth));
            let mut wanted: Vec<u8> = Vec::new();
            for at in 0..ROWS * COLUMNS {
                let index = sample(0, at / COLUMNS, at % COLUMNS, 0, bits);
                for color in 0..3 {
                    let value = palette[usize::from(color * count + index)].to_le_bytes();
                    wanted.extend(if depth == 8 { &value[1..] } else { &value[..] });
                }
            }
            assert!(pixels == wanted, "{bits} {depth}");
        }
    }
}

#[test]
fn what_is_not_read_is_refused_with_its_reason() {
    let why = |kind: TiffKind| PictureInfo::look(&kind.file(1, &[])).unwrap().unwrap_err();
    let jpeg = TiffKind {
        compression: 7,
        ..PLAIN
    };
    assert_eq!(why(jpeg), COMPRESSION);
    for (bits, samples, photometric) in [(8, 4, 5), (8, 3, 6), (8, 1, 3), (16, 1, 3), (8, 3, 1)] {
        let kind = TiffKind {
            bits,
            samples,
            photometric,
            ..PLAIN
        };
        let reason = why(kind);
        let palette = (bits, photometric) == (8, 3);
        assert_eq!(
            reason,
            if palette { DAMAGED } else { KIND },
            "{photometric}"
        );
    }
    // Pages that differ, and a chain that bites its own tail.
    let mut two = PLAIN.file(2, &[]);
    let place = two
        .windows(2)
        .rposition(|pair| pair == [0x01, 0x01])
        .unwrap();
    two[place + 8] = 4;
    assert_eq!(PictureInfo::look(&two).unwrap().unwrap_err(), PAGES);
    let mut ring = PLAIN.file(1, &[]);
    let first = ring[4..8].to_vec();
    let end = ring.len();
    ring[end - 4..].copy_from_slice(&first);
    assert_eq!(PictureInfo::look(&ring).unwrap().unwrap_err(), PAGES);
}

#[test]
fn damaged_files_are_errors() {
    for kind in [
        PLAIN,
        TiffKind {
            compression: 5,
            ..PLAIN
        },
        TiffKind {
            compression: 8,
            bits: 16,
            tile: Some((16, 16)),
            ..PLAIN
        },
        TiffKind {
            compression: 32773,
            wide: true,
            ..PLAIN
        },
    ] {
        let whole = kind.file(2, &[]);
        for length in 0..whole.len() {
            let cut = &whole[..length];
            if let Some(Ok(picture)) = PictureInfo::look(cut) {
                assert!(picture.pixels(cut).is_err(), "{length}");
            }
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[at] = value;
                if let Some(Ok(picture)) = PictureInfo::look(&changed)
                    && picture.cost() < 64 << 20
                {
                    drop(picture.pixels(&changed));
                }
            }
        }
    }
}
