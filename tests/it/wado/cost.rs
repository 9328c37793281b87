//! What a frame costs: its own bytes and its own decoding, once, however large the object is.

use std::thread;
use std::time::{Duration, Instant};

use stowage::dicom::codec::{self, DecodedFrame, EncodeOptions, FrameShape, Photometric};
use stowage::dicom::testing::{BuiltFile, Syntax};

use crate::support::dicom::Name;
use crate::support::server::Server;

const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
const SIDE: u16 = 96;
const FRAMES: u32 = 2000;
/// Requests to each of the two objects.
const ROUNDS: u32 = 41;
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

fn file(name: &Name, frames: u32, stream: &[u8]) -> BuiltFile {
    let fragments = vec![stream; usize::try_from(frames).expect("few")];
    let data_set = name.image(SIDE, SIDE, 8, frames).fragments(&[], &fragments);
    name.file(&data_set, Syntax::Other(JPEG_LS))
}

#[test]
fn one_of_two_thousand_frames_costs_as_much_as_the_only_one() {
    let server = Server::start(None);
    let stream = codestream(3);
    let large = Name::new(700, 1, 1);
    server
        .store("/dicom-web", [&file(&large, FRAMES, &stream)])
        .expect(200);
    // What was made is kept, so each request asks for a frame nobody asked for.
    let small: Vec<Name> = (0..ROUNDS)
        .map(|round| Name::new(700, 2, round + 1))
        .collect();
    let files: Vec<BuiltFile> = small.iter().map(|name| file(name, 1, &stream)).collect();
    server.store("/dicom-web", &files).expect(200);
    let wanted = samples(3);
    let ask = |name: &Name, number: u32| {
        let target = format!("/dicom-web{}/frames/{number}", name.path());
        let begin = Instant::now();
        let answer = server.get_as(&target, NATIVE).expect(200);
        let took = begin.elapsed();
        assert!(answer.body == wanted, "{target}");
        took
    };
    let (mut of_many, mut of_one) = (Vec::new(), Vec::new());
    for (round, name) in (0..).zip(&small) {
        // The two kinds take turns, so that whatever else the machine does hits both.
        of_many.push(ask(&large, FRAMES - round * 47));
        of_one.push(ask(name, 1));
    }
    let (many, one) = (quartile(of_many), quartile(of_one));
    println!("a frame of {FRAMES}: {many:?}; the only frame: {one:?}");
    assert!(
        many <= one * 3 / 2,
        "{many:?} for one of many, {one:?} for the only one"
    );
}

/// The lower quartile: robust against whatever delays single requests on a busy machine.
fn quartile(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 4]
}

#[test]
fn fifty_who_ask_for_one_frame_get_the_same_picture() {
    let server = Server::start(None);
    let name = Name::new(701, 1, 1);
    server
        .store("/dicom-web", [&file(&name, 1, &codestream(9))])
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
