//! JPEG 2000 and HTJ2K through the codec of the server, under AddressSanitizer.
//!
//! The first byte chooses how the frame is described, the others are its codestream, as in `../corpus/jpeg_2000` and
//! `../corpus/htj2k`. A panic is no finding: the server catches it. What the sanitizer says is one.

#![no_main]

use std::sync::Once;

#[path = "../../../src/dicom/codec/mod.rs"]
#[allow(dead_code, unused_imports, reason = "only the decoder of one family is driven")]
mod codec;

use codec::{FrameLimits, FrameShape, Photometric};

/// Syntaxes that `openjp2` decodes.
const SYNTAXES: [&str; 2] = ["1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"];

const SHAPES: [(u32, u32, u16, u16, u16, bool, Photometric); 8] = [
    (8, 9, 1, 8, 8, false, Photometric::Monochrome2),
    (8, 9, 1, 16, 12, false, Photometric::Monochrome2),
    (8, 9, 1, 16, 16, true, Photometric::Monochrome2),
    (8, 9, 3, 8, 8, false, Photometric::Rgb),
    (8, 9, 3, 8, 8, false, Photometric::YbrFull),
    (8, 9, 3, 8, 8, false, Photometric::YbrFull422),
    (8, 9, 3, 8, 8, false, Photometric::YbrRct),
    (8, 9, 1, 8, 8, false, Photometric::PaletteColor),
];

fn shape(choice: u8) -> FrameShape {
    let (rows, columns, samples, bits_allocated, bits_stored, signed, photometric) =
        SHAPES[usize::from(choice) % SHAPES.len()];
    FrameShape {
        rows,
        columns,
        samples,
        bits_allocated,
        bits_stored,
        low_bit: 0,
        overlay_bits: false,
        signed,
        planar: choice >= 128,
        photometric,
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static QUIET: Once = Once::new();
    // The hook of libfuzzer ends the process at each panic, also at one that is caught.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let Some((choice, codestream)) = data.split_first() else {
        return;
    };
    let limits = FrameLimits {
        max_frame_bytes: 1 << 20,
    };
    let shape = shape(*choice);
    for syntax in SYNTAXES {
        let _ = codec::stream_is_lossy(syntax, codestream);
        if let Ok(frame) = codec::decode(syntax, codestream, &shape, &limits) {
            let s = &frame.shape;
            let samples = u64::from(s.rows) * u64::from(s.columns) * u64::from(s.samples);
            assert_eq!(frame.data.len() as u64, samples * u64::from(s.bits_allocated) / 8);
        }
    }
});
