//! Lossless High-Throughput JPEG 2000 (ISO/IEC 15444-15, Rec. T.814), encoding only, from the standards.
//!
//! A picture goes through [`wavelet`] a row at a time; the code-blocks of each subband go through [`block`], [`packet`] puts
//! them together, [`markers`] says what they are. One tile, one layer, one precinct for each resolution, one pass for each
//! code-block. Packets are in the order RPCL, so the first bytes are a small picture of the whole.

mod bits;
mod block;
mod markers;
mod packet;
mod samples;
#[cfg(test)]
mod tests;
mod vlc;
mod wavelet;

use block::BlockCoder;
use markers::{END, MainHeader, PART_HEADER};
use samples::Rows;
use wavelet::decompose;

use super::shape::DecodedFrame;

/// Largest side: above it a resolution would have several precincts.
pub(super) const MAX_SIDE: u32 = 1 << 15;
/// Widest samples; the exponents of wider ones would need an extension of their code.
const MAX_BITS: u16 = 16;
/// The usual number of decompositions.
const USUAL_LEVELS: u32 = 5;
/// Largest side of the smallest resolution, as a power of two (PS3.5 §10.18).
const BASE_SIDE_BITS: u32 = 6;

/// How a codestream is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TileParts {
    /// As one tile-part.
    Whole,
    /// A tile-part for each resolution, their lengths in the main header (PS3.5 §10.18).
    Resolutions,
}

/// Encodes a canonical frame; `transform` turns red, green and blue into what compresses better (RCT).
///
/// # Errors
/// What the frame has that a codestream made here cannot hold.
pub(super) fn encode(
    frame: &DecodedFrame,
    transform: bool,
    parts: TileParts,
) -> Result<Vec<u8>, &'static str> {
    let shape = &frame.shape;
    if shape.rows.max(shape.columns) > MAX_SIDE {
        return Err("Rows or Columns is above 32768");
    }
    if shape.bits_stored > MAX_BITS || !matches!(shape.samples, 1 | 3) {
        return Err("samples are wider than 16 bits, or neither one nor three for each pixel");
    }
    let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    let levels = levels(shape.rows, shape.columns);
    let header = MainHeader {
        columns: shape.columns,
        rows: shape.rows,
        precision: byte(shape.bits_stored.into()).max(1),
        signed: shape.signed,
        components: byte(shape.samples.into()),
        transform: transform && shape.samples == 3,
        levels: byte(levels),
    };
    let resolutions = resolutions(frame, &header);
    assemble(&header, &resolutions, parts).ok_or("the codestream is longer than 4 GiB")
}

/// Decompositions: the usual ones, fewer when less is left than a pixel, more until the smallest resolution is small.
fn levels(rows: u32, columns: u32) -> u32 {
    let side_bits = rows.max(columns).max(1).next_power_of_two().ilog2();
    USUAL_LEVELS
        .min(side_bits)
        .max(side_bits.saturating_sub(BASE_SIDE_BITS))
}

/// The packets of each resolution, the smallest first.
fn resolutions(frame: &DecodedFrame, header: &MainHeader) -> Vec<Vec<u8>> {
    let side = |side: u32| usize::try_from(side).unwrap_or_default();
    let (columns, rows) = (side(header.columns), side(header.rows));
    let levels = header.levels.into();
    let mut coder = BlockCoder::new();
    let mut resolutions = vec![Vec::new(); usize::from(header.levels) + 1];
    for component in 0..usize::from(header.components) {
        let mut source = Rows::new(frame, component, header.transform);
        let decomposed = decompose(columns, rows, levels, |row| source.fill(row));
        let base = [(&decomposed.base, header.magnitude_bits(0))];
        if let Some(packets) = resolutions.first_mut() {
            packet::append(&base, &mut coder, packets);
        }
        for (details, packets) in decomposed
            .details
            .iter()
            .zip(resolutions.iter_mut().skip(1))
        {
            let [hl, lh, hh] = details;
            let bits = |gain| header.magnitude_bits(gain);
            packet::append(
                &[(hl, bits(1)), (lh, bits(1)), (hh, bits(2))],
                &mut coder,
                packets,
            );
        }
    }
    resolutions
}

/// The whole codestream; nothing when a tile-part is too long.
fn assemble(header: &MainHeader, resolutions: &[Vec<u8>], parts: TileParts) -> Option<Vec<u8>> {
    let tile_parts: Vec<&[Vec<u8>]> = match parts {
        TileParts::Whole => vec![resolutions],
        TileParts::Resolutions => resolutions.chunks(1).collect(),
    };
    let length = |packets: &&[Vec<u8>]| {
        let bytes = packets.iter().map(Vec::len).sum::<usize>();
        u32::try_from(bytes).ok()?.checked_add(PART_HEADER)
    };
    let lengths: Vec<u32> = tile_parts.iter().map(length).collect::<Option<_>>()?;
    let count = u8::try_from(tile_parts.len()).ok()?;
    let mut bytes = Vec::new();
    header.append(
        (parts == TileParts::Resolutions).then_some(&lengths),
        &mut bytes,
    );
    let rest = lengths.iter().map(|&length| usize::try_from(length));
    let rest = rest.sum::<Result<usize, _>>().ok()?;
    bytes.reserve_exact(rest.checked_add(END.len())?);
    for ((number, packets), length) in (0..count).zip(tile_parts).zip(lengths) {
        markers::append_part_header(number, count, length, &mut bytes);
        packets
            .iter()
            .for_each(|packets| bytes.extend_from_slice(packets));
    }
    bytes.extend(END);
    Some(bytes)
}
