//! The headers of a JPEG 2000 codestream (ITU-T T.800 annex A), read before the decoder sees it.
//!
//! Gives size, components and precision, and an upper estimate of what decoding would allocate beyond
//! the samples: damaged or hostile headers ask for millions of tiny tiles and precincts.

use super::error::CodecError;
use super::shape::CodestreamShape;
use super::transfer_syntax::Coding;

const SOC: u16 = 0xff4f;
const CAP: u16 = 0xff50;
const SIZ: u16 = 0xff51;
const COD: u16 = 0xff52;
const COC: u16 = 0xff53;
const SOT: u16 = 0xff90;
const SOD: u16 = 0xff93;
const EOC: u16 = 0xffd9;
const JP2_SIGNATURE: &[u8] = b"\0\0\0\x0cjP  ";

/// Bytes the decoder keeps for each tile and component, whether or not it is decoded.
const TILE_BYTES: u64 = 8 << 10;
/// Bytes the decoder keeps for each precinct of a subband, its code-blocks not counted.
const PRECINCT_BYTES: u64 = 600;
/// Bytes for each code-block.
const CODE_BLOCK_BYTES: u64 = 200;

/// What the codestream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jpeg2000Header {
    pub rows: u32,
    pub columns: u32,
    pub components: u32,
    pub precision: u32,
    /// A component has fewer samples than the picture has pixels.
    pub subsampled: bool,
    /// Samples have a sign.
    pub signed: bool,
    /// The first three components went through a color transform.
    pub transformed: bool,
    /// Blocks are coded in the High-Throughput way (T.814).
    pub high_throughput: bool,
    /// A component uses the irreversible transform, so samples are approximations.
    pub irreversible: bool,
    /// Estimated bytes of bookkeeping, samples not counted.
    pub bookkeeping: u64,
}

/// The codestream inside a JP2 file, or the bytes themselves.
///
/// DICOM wants the bare codestream (PS3.5 §8.2.4), but files with the boxes around it exist.
pub(super) fn bare_codestream(bytes: &[u8]) -> &[u8] {
    let place = codestream_place(bytes, bytes.len() as u64);
    place
        .and_then(|(start, length)| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            bytes.get(start..end)
        })
        .unwrap_or(bytes)
}

/// Where the codestream of a JP2 file lies, which is `length` bytes long and begins with `head`; nothing when it is none.
pub(super) fn codestream_place(head: &[u8], length: u64) -> Option<(u64, u64)> {
    if !head.starts_with(JP2_SIGNATURE) {
        return None;
    }
    let mut at = 0_u64;
    while at < length {
        let start = usize::try_from(at).ok()?;
        let header = head.get(start..)?.first_chunk::<8>()?;
        let &[a, b, c, d, kind @ ..] = header;
        let rest = length - at;
        let (skip, size) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (8, rest),
            1 => {
                let wide = head.get(start + 8..)?.first_chunk::<8>()?;
                (16, u64::from_be_bytes(*wide))
            }
            size => (8, u64::from(size)),
        };
        // A box that is shorter than its header would never end the parser.
        let size = size.max(8).min(rest);
        if kind == *b"jp2c" {
            return Some((at + skip, size.checked_sub(skip)?));
        }
        at += size;
    }
    None
}

/// Reads big endian numbers off the front of a segment.
struct SegmentReader<'a>(&'a [u8]);

impl SegmentReader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (&value, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(value)
    }

    fn u16(&mut self) -> Option<u16> {
        let (&value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(value))
    }

    fn u32(&mut self) -> Option<u32> {
        let (&value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(value))
    }
}

/// Sizes of the SIZ segment.
#[derive(Clone, Copy)]
struct Size {
    columns: u32,
    rows: u32,
    tile_columns: u32,
    tile_rows: u32,
    tiles: u64,
    components: u32,
    precision: u32,
    subsampled: bool,
    signed: bool,
}

impl Jpeg2000Header {
    /// What the stream says of the picture.
    pub(super) fn declared(&self) -> CodestreamShape {
        CodestreamShape {
            rows: self.rows,
            columns: self.columns,
            components: self.components,
            precision: self.precision,
        }
    }

    pub(super) fn read(codestream: &[u8], coding: Coding) -> Result<Self, CodecError> {
        let error = |reason| CodecError::codestream(coding, reason);
        let mut segments = Jpeg2000Segments::new(codestream);
        if SegmentReader(codestream).u16() != Some(SOC) {
            return Err(error("it does not start with a codestream"));
        }
        let Some((SIZ, content)) = segments.next() else {
            return Err(error("the size segment is missing"));
        };
        let size = size(content).map_err(error)?;
        let mut worst = 0;
        let mut irreversible = false;
        let (mut transformed, mut high_throughput) = (false, false);
        for (marker, content) in segments {
            // SGcod: progression, layers, transform.
            transformed |= marker == COD && content.get(4).is_some_and(|mct| *mct == 1);
            high_throughput |= marker == CAP;
            let style = match marker {
                COD => default_style(content),
                COC => component_style(content, size.components),
                _ => continue,
            };
            let style = style.ok_or_else(|| error("a coding style segment is cut short"))?;
            worst = worst.max(style.bookkeeping(&size));
            irreversible |= style.irreversible;
        }
        Ok(Self {
            rows: size.rows,
            columns: size.columns,
            components: size.components,
            precision: size.precision,
            subsampled: size.subsampled,
            signed: size.signed,
            transformed,
            high_throughput,
            irreversible,
            bookkeeping: size
                .tiles
                .saturating_mul(u64::from(size.components))
                .saturating_mul(TILE_BYTES)
                .saturating_add(worst),
        })
    }
}

fn size(content: &[u8]) -> Result<Size, &'static str> {
    let cut = "the size segment is cut short";
    let mut fields = SegmentReader(content);
    fields.u16().ok_or(cut)?;
    let mut next = || fields.u32().ok_or(cut);
    let (x1, y1, x0, y0) = (next()?, next()?, next()?, next()?);
    let (tile_columns, tile_rows, tile_x0, tile_y0) = (next()?, next()?, next()?, next()?);
    let components = u32::from(fields.u16().ok_or(cut)?);
    let (columns, rows) = (x1.saturating_sub(x0), y1.saturating_sub(y0));
    if columns == 0 || rows == 0 {
        return Err("the image is empty");
    }
    if tile_columns == 0 || tile_rows == 0 || tile_x0 > x0 || tile_y0 > y0 {
        return Err("the tile grid does not cover the image");
    }
    let (styles, _) = fields.0.as_chunks::<3>();
    let styles = styles.get(..length(components)).ok_or(cut)?;
    let [depth, ..] = *styles.first().ok_or("it holds no components")?;
    if styles.iter().any(|[other, ..]| *other != depth) {
        return Err("components of different depth are not supported");
    }
    if styles.iter().any(|[_, dx, dy]| *dx == 0 || *dy == 0) {
        return Err("a component has no samples");
    }
    let subsampled = styles.iter().any(|[_, dx, dy]| (*dx, *dy) != (1, 1));
    if subsampled && (styles.first() != Some(&[depth, 1, 1]) || components != 3) {
        return Err("only the color differences may be subsampled");
    }
    let tiles = u64::from((x1 - tile_x0).div_ceil(tile_columns))
        .saturating_mul(u64::from((y1 - tile_y0).div_ceil(tile_rows)));
    Ok(Size {
        columns,
        rows,
        tile_columns: tile_columns.min(columns),
        tile_rows: tile_rows.min(rows),
        tiles,
        components,
        precision: u32::from(depth & 0x7f) + 1,
        subsampled,
        signed: depth & 0x80 != 0,
    })
}

fn length(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// What a COD or COC segment means for memory.
struct Style {
    layers: u64,
    levels: u8,
    irreversible: bool,
    /// Exponents of the code-block size.
    code_block: (u32, u32),
    /// Exponents of the precinct size at each resolution, lowest first; empty for the largest.
    precincts: Vec<u8>,
}

fn default_style(content: &[u8]) -> Option<Style> {
    let mut fields = SegmentReader(content);
    let style = fields.u8()?;
    fields.u8()?;
    let layers = u64::from(fields.u16()?);
    fields.u8()?;
    decomposition(fields, style, layers)
}

fn component_style(content: &[u8], components: u32) -> Option<Style> {
    let mut fields = SegmentReader(content);
    fields.u8()?;
    if components > 256 {
        fields.u8()?;
    }
    let style = fields.u8()?;
    decomposition(fields, style, 1)
}

fn decomposition(mut fields: SegmentReader<'_>, style: u8, layers: u64) -> Option<Style> {
    let levels = fields.u8()?;
    let width = u32::from(fields.u8()? & 0xf) + 2;
    let height = u32::from(fields.u8()? & 0xf) + 2;
    fields.u8()?;
    let irreversible = fields.u8()? == 0;
    let precincts = if style & 1 == 0 {
        Vec::new()
    } else {
        fields.0.get(..usize::from(levels) + 1)?.to_vec()
    };
    Some(Style {
        layers,
        levels,
        irreversible,
        code_block: (width, height),
        precincts,
    })
}

impl Style {
    /// Bytes of bookkeeping for one tile; the decoder holds one at a time.
    fn bookkeeping(&self, size: &Size) -> u64 {
        let mut bytes: u64 = 0;
        let mut packets: u64 = 0;
        for resolution in 0..=self.levels {
            let shift = u32::from(self.levels - resolution);
            let reduced = |side: u32| {
                let side = u64::from(side);
                side.div_ceil(1_u64.checked_shl(shift).unwrap_or(u64::MAX))
            };
            let (columns, rows) = (reduced(size.tile_columns), reduced(size.tile_rows));
            let exponents = self.precincts.get(usize::from(resolution));
            let (px, py) = exponents.map_or((15, 15), |e| (u32::from(e & 0xf), u32::from(e >> 4)));
            let precincts = columns
                .div_ceil(1 << px)
                .saturating_mul(rows.div_ceil(1 << py));
            let (bx, by) = (self.code_block.0.min(px), self.code_block.1.min(py));
            let blocks = columns
                .div_ceil(1 << bx)
                .saturating_mul(rows.div_ceil(1 << by));
            let bands = if resolution == 0 { 1 } else { 3 };
            bytes = bytes
                .saturating_add(precincts.saturating_mul(bands * PRECINCT_BYTES))
                .saturating_add(blocks.saturating_mul(CODE_BLOCK_BYTES));
            packets = packets.max(precincts);
        }
        // The packet iterator keeps two bytes for each layer, resolution and precinct.
        let included = packets
            .saturating_mul(u64::from(self.levels) + 1)
            .saturating_mul(self.layers)
            .saturating_mul(2);
        bytes
            .saturating_add(included)
            .saturating_mul(u64::from(size.components))
    }
}

/// The marker segments of the main header and of every tile-part header.
struct Jpeg2000Segments<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the tile-part being read ends.
    part_end: Option<usize>,
}

impl<'a> Jpeg2000Segments<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 2,
            part_end: None,
        }
    }
}

impl<'a> Iterator for Jpeg2000Segments<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let marker = SegmentReader(self.bytes.get(self.at..)?).u16()?;
            match marker {
                EOC => return None,
                SOD => {
                    // Each tile-part starts behind the last one, so the parser always moves on.
                    self.at = self.part_end.take().filter(|&end| end > self.at)?;
                    continue;
                }
                _ => {}
            }
            let mut fields = SegmentReader(self.bytes.get(self.at + 2..)?);
            let length = usize::from(fields.u16()?);
            let content = self.bytes.get(self.at + 4..self.at + 2 + length)?;
            if marker == SOT {
                let part = SegmentReader(content.get(2..)?).u32()?;
                self.part_end = usize::try_from(part)
                    .ok()
                    .and_then(|part| self.at.checked_add(part));
            }
            self.at += 2 + length;
            return Some((marker, content));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn siz(columns: u32, rows: u32, tile: u32, components: &[[u8; 3]]) -> Vec<u8> {
        let count = u16::try_from(components.len()).unwrap();
        let mut bytes = vec![0xff, 0x4f, 0xff, 0x51];
        bytes.extend((38 + 3 * count).to_be_bytes());
        bytes.extend([0, 0]);
        for value in [columns, rows, 0, 0, tile, tile, 0, 0] {
            bytes.extend(value.to_be_bytes());
        }
        bytes.extend(count.to_be_bytes());
        bytes.extend(components.iter().flatten());
        bytes
    }

    fn cod(layers: u16, levels: u8, precincts: &[u8]) -> Vec<u8> {
        let length = u16::try_from(12 + precincts.len()).unwrap();
        let mut bytes = vec![0xff, 0x52];
        bytes.extend(length.to_be_bytes());
        bytes.extend([u8::from(!precincts.is_empty()), 0]);
        bytes.extend(layers.to_be_bytes());
        bytes.extend([0, levels, 4, 4, 0, 1]);
        bytes.extend(precincts);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Jpeg2000Header, CodecError> {
        Jpeg2000Header::read(bytes, Coding::Jpeg2000)
    }

    #[test]
    fn the_size_segment_is_read() {
        let header = read(&siz(7, 5, 64, &[[0x8b, 1, 1]])).unwrap();
        assert_eq!((header.rows, header.columns), (5, 7));
        assert_eq!((header.components, header.precision), (1, 12));
    }

    #[test]
    fn components_of_mixed_depth_or_odd_sampling_are_refused() {
        assert!(read(&siz(8, 8, 8, &[[7, 2, 2], [7, 1, 1], [7, 1, 1]])).is_err());
        assert!(read(&siz(8, 8, 8, &[[7, 1, 1], [7, 0, 1], [7, 1, 1]])).is_err());
        assert!(
            read(&siz(8, 8, 8, &[[7, 1, 1], [7, 2, 2], [7, 2, 2]]))
                .unwrap()
                .subsampled
        );
        assert!(read(&siz(8, 8, 8, &[[7, 1, 1], [8, 1, 1], [7, 1, 1]])).is_err());
        assert!(read(&siz(8, 8, 0, &[[7, 1, 1]])).is_err());
        assert!(read(&siz(8, 8, 8, &[])).is_err());
    }

    #[test]
    fn tiny_tiles_precincts_and_many_layers_are_counted() {
        let gray = [[7, 1, 1]];
        let usual = [siz(512, 512, 512, &gray), cod(1, 5, &[])].concat();
        assert!(read(&usual).unwrap().bookkeeping < 200_000);
        let tiles = read(&siz(512, 512, 1, &gray)).unwrap();
        assert!(tiles.bookkeeping > 1 << 30);
        let precincts = [siz(512, 512, 512, &gray), cod(1, 5, &[0; 6])].concat();
        assert!(read(&precincts).unwrap().bookkeeping > 1 << 28);
        let layers = [siz(512, 512, 512, &gray), cod(65_535, 5, &[0x44; 6])].concat();
        assert!(read(&layers).unwrap().bookkeeping > 1 << 28);
    }

    #[test]
    fn a_coding_style_inside_a_tile_part_counts() {
        let hidden = cod(1, 5, &[0; 6]);
        let part = u32::try_from(12 + hidden.len() + 2).unwrap().to_be_bytes();
        let mut bytes = [siz(512, 512, 512, &[[7, 1, 1]]), cod(1, 5, &[])].concat();
        bytes.extend([0xff, 0x90, 0, 10, 0, 0]);
        bytes.extend(part);
        bytes.extend([0, 1]);
        bytes.extend(&hidden);
        bytes.extend([0xff, 0x93]);
        assert!(read(&bytes).unwrap().bookkeeping > 1 << 28);
    }

    #[test]
    fn boxes_around_the_codestream_are_taken_off() {
        let stream = siz(8, 8, 8, &[[7, 1, 1]]);
        let mut file = b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a\0\0\0\x0bjp2habc".to_vec();
        file.extend(u32::try_from(stream.len() + 8).unwrap().to_be_bytes());
        file.extend(b"jp2c");
        file.extend(&stream);
        assert_eq!(bare_codestream(&file), stream);
        assert_eq!(bare_codestream(&stream), stream);
        let endless = b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a\0\0\0\x02jp2h";
        assert_eq!(bare_codestream(endless), endless);
    }

    #[test]
    fn cut_headers_are_errors() {
        let whole = [siz(8, 8, 8, &[[7, 1, 1]]), cod(1, 5, &[])].concat();
        for length in 0..siz(8, 8, 8, &[[7, 1, 1]]).len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }
}
