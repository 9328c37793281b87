//! Many who ask for one frame at the same time. What a frame costs is counted by `tests/cost`.

use std::thread;

use stowage::dicom::codec::{self, DecodedFrame, EncodeOptions, FrameShape, Photometric};
use stowage::dicom::testing::{BuiltFile, Syntax};

use crate::support::prelude::*;

const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
const SIDE: u16 = 96;
const NATIVE: &str = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";

/// A codestream of a ramp that begins at `first`.
fn codestream(first: u8) -> Vec<u8> {
    let shape = FrameShape {
        rows: u32::from(SIDE),
        columns: u32::from(SIDE),
        samples: 1,
        bits_allocated: 8,
        bits_stored: 8,
        low_bit: 0,
        overlay_bits: false,
        signed: false,
        planar: false,
        photometric: Photometric::Monochrome2,
    };
    let made = codec::encode(
        JPEG_LS,
        &DecodedFrame::new(shape, samples(first)).expect("a frame of its shape"),
        &EncodeOptions::default(),
    );
    made.expect("JPEG-LS takes 8 bits").bytes
}

fn samples(first: u8) -> Vec<u8> {
    let place = 0..u32::from(SIDE) * u32::from(SIDE);
    place
        .map(|at| first.wrapping_add(u8::try_from(at * 7 / 5 % 251).expect("a byte")))
        .collect()
}

fn file(name: &Name, stream: &[u8]) -> BuiltFile {
    let data_set = name.image(SIDE, SIDE, 8, 1).fragments(&[], &[stream]);
    name.file(&data_set, Syntax::Other(JPEG_LS))
}

#[test]
fn fifty_who_ask_for_one_frame_get_the_same_picture() {
    let server = TestApp::start(None);
    let name = Name::new(701, 1, 1);
    server
        .store("/dicom-web", [&file(&name, &codestream(9))])
        .expect(200);
    let target = format!("/dicom-web{}/frames/1", name.path());
    thread::scope(|scope| {
        let asked: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| server.get_as(&target, NATIVE).expect(200).body))
            .collect();
        for answer in asked {
            assert!(answer.join().expect("an answer") == samples(9));
        }
    });
}
