//! The items of an encapsulated value, found by their headers (PS3.5 §A.4).
//!
//! Invariant: no item outside the value, and no more of them than asked for.

use std::io;

use super::frames::ByteRange;
use super::source::{Source, read_full};

/// Tag and length.
const HEADER: u64 = 8;

/// The values of the items between `start` and `end`, the offset table first; at most `most`.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when something else lies there, or more of them.
pub fn item_values(
    source: &dyn Source,
    start: u64,
    end: u64,
    most: usize,
) -> io::Result<Vec<ByteRange>> {
    let mut items = Vec::new();
    let mut at = start;
    while at < end {
        let mut header = [0; 8];
        if read_full(source, at, &mut header)? < header.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let [0xFE, 0xFF, 0x00, 0xE0, length @ ..] = header else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let length = u64::from(u32::from_le_bytes(length));
        let offset = at.saturating_add(HEADER);
        at = offset.saturating_add(length);
        if at > end || items.len() >= most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        items.push(ByteRange { offset, length });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [u8; 22] = [
        0xFE, 0xFF, 0, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0, 0xE0, 4, 0, 0, 0, 1, 2, 3, 4, 9, 9,
    ];

    #[test]
    fn items_are_found_and_nothing_else_is() {
        let source = TWO.as_slice();
        let items = item_values(&source, 0, 20, 2).unwrap();
        let places: Vec<(u64, u64)> = items.iter().map(|i| (i.offset, i.length)).collect();
        assert_eq!(places, [(8, 0), (16, 4)]);
        for (end, most) in [(19, 2), (22, 9), (20, 1)] {
            assert!(item_values(&source, 0, end, most).is_err());
        }
    }
}
