//! The compressions of TIFF 6.0 that lose nothing.

use flate2::{Decompress, FlushDecompress};
use weezl::BitOrder;
use weezl::decode::Decoder as Lzw;

/// Fills `out`; whether there was enough.
pub(super) fn lzw(packed: &[u8], out: &mut [u8]) -> bool {
    let mut decoder = Lzw::with_tiff_size_switch(BitOrder::Msb, 8);
    let (mut read, mut made) = (0, 0);
    while made < out.len() {
        let (Some(input), Some(room)) = (packed.get(read..), out.get_mut(made..)) else {
            return false;
        };
        let step = decoder.decode_bytes(input, room);
        read += step.consumed_in;
        made += step.consumed_out;
        if step.status.is_err() || (step.consumed_in == 0 && step.consumed_out == 0) {
            return made == out.len();
        }
    }
    true
}

pub(super) fn deflated(packed: &[u8], out: &mut [u8]) -> bool {
    let mut stream = Decompress::new(true);
    // One call is enough: input and output are there whole.
    let status = stream.decompress(packed, out, FlushDecompress::Finish);
    status.is_ok() && stream.total_out() == out.len() as u64
}

pub(super) fn packbits(packed: &[u8], out: &mut [u8]) -> bool {
    let (mut read, mut made) = (0, 0);
    while made < out.len() {
        let Some(&head) = packed.get(read) else {
            return false;
        };
        read += 1;
        let count = usize::from(if head < 128 {
            head + 1
        } else {
            (head ^ 0xFF).wrapping_add(2)
        });
        if head == 128 {
            continue;
        }
        let room = count.min(out.len() - made);
        let Some(target) = out.get_mut(made..made + room) else {
            return false;
        };
        if head < 128 {
            let Some(source) = packed.get(read..read + room) else {
                return false;
            };
            target.copy_from_slice(source);
            read += count;
        } else {
            let Some(&byte) = packed.get(read) else {
                return false;
            };
            target.fill(byte);
            read += 1;
        }
        made += room;
    }
    true
}
