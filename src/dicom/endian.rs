//! Which bytes change places between big endian and little endian.
//!
//! Invariant: a width is 1, 2, 4 or 8, and swapping twice gives the same bytes.

use dicom_core::VR;

/// Bytes that change places between big and little endian (PS3.5 §7.3).
///
/// OW is swapped within each 16-bit word (PS3.5 §6.2); a tag is two 16-bit numbers.
#[must_use]
pub fn swap_width(vr: VR) -> u8 {
    match vr {
        VR::US | VR::SS | VR::OW | VR::AT => 2,
        VR::UL | VR::SL | VR::FL | VR::OL | VR::OF => 4,
        VR::FD | VR::OD | VR::SV | VR::UV | VR::OV => 8,
        _ => 1,
    }
}

/// Reverses the bytes of each `width`; a shorter rest stays.
pub fn swap(bytes: &mut [u8], width: u8) {
    if width > 1 {
        for chunk in bytes.chunks_exact_mut(usize::from(width)) {
            chunk.reverse();
        }
    }
}

/// Places to look at, bytes at each place.
const PROBES: u64 = 32;
const PROBE: u64 = 256;

/// Bytes that change places in native pixel data stored in big endian.
///
/// By PS3.5 §8.1.1 a 32-bit cell in OW is two words, the low one first, whatever the byte order; so swapping within the
/// words does. But files with the high word first are about (pydicom's 32-bit samples, as its reader expects them). The
/// pixels tell: neighbors differ less in their high words. `read` gives bytes of the value by offset and count.
pub(crate) fn pixel_swap_width<E>(
    vr: VR,
    bits_allocated: u16,
    length: u64,
    mut read: impl FnMut(u64, u64) -> Result<Vec<u8>, E>,
) -> Result<u8, E> {
    let width = swap_width(vr);
    if vr != VR::OW || bits_allocated != 32 {
        return Ok(width);
    }
    let step = (length / PROBES).next_multiple_of(4).max(PROBE);
    let (mut first_words, mut second_words) = (0_u64, 0_u64);
    for probe in 0..PROBES {
        let at = probe.saturating_mul(step);
        let count = PROBE.min(length.saturating_sub(at));
        if count < 8 {
            break;
        }
        let bytes = read(at, count)?;
        let cells = bytes.as_chunks::<4>().0;
        for ([a, b, c, d], [e, f, g, h]) in cells.iter().zip(cells.iter().skip(1)) {
            let apart = |x: [u8; 2], y: [u8; 2]| {
                u64::from(u16::from_be_bytes(x).abs_diff(u16::from_be_bytes(y)))
            };
            first_words = first_words.saturating_add(apart([*a, *b], [*e, *f]));
            second_words = second_words.saturating_add(apart([*c, *d], [*g, *h]));
        }
    }
    Ok(if first_words < second_words { 4 } else { width })
}

/// Bytes per value of a representation of fixed width, else 1.
#[must_use]
pub(crate) fn width(vr: VR) -> u64 {
    match vr {
        VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OL | VR::OF => 4,
        VR::FD | VR::OD | VR::SV | VR::UV | VR::OV => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width_of(bytes: &[u8], bits: u16) -> u8 {
        let read = |at: u64, count: u64| {
            let at = usize::try_from(at).unwrap();
            Ok::<_, ()>(bytes[at..at + usize::try_from(count).unwrap()].to_vec())
        };
        pixel_swap_width(VR::OW, bits, bytes.len() as u64, read).unwrap()
    }

    #[test]
    fn both_orders_of_the_words_of_a_32_bit_cell_are_told_apart() {
        let cells: Vec<u32> = (0..40_000_u32).map(|i| 1_249_000 + i * 37 % 5000).collect();
        let high_first: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        let mut low_first: Vec<u8> = cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
        swap(&mut low_first, 2);
        assert_eq!(width_of(&high_first, 32), 4);
        assert_eq!(width_of(&low_first, 32), 2);
        assert_eq!(
            (
                width_of(&high_first, 16),
                width_of(&[0; 400], 32),
                width_of(&[], 32)
            ),
            (2, 2, 2)
        );
    }

    #[test]
    fn a_rest_shorter_than_the_width_stays() {
        let mut bytes = [1, 2, 3, 4, 5];
        swap(&mut bytes, 2);
        assert_eq!(bytes, [2, 1, 4, 3, 5]);
        swap(&mut bytes, 1);
        assert_eq!(bytes, [2, 1, 4, 3, 5]);
    }
}
