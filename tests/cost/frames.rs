//! What a frame costs: its own bytes and its own decoding, once, however large the object is.

use stowage::dicom::codec::{self, DecodedFrame, EncodeOptions, FrameShape, Photometric};

use super::*;

const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
const SIDE: u16 = 96;
const FRAMES: u32 = 2000;
/// Frames that are asked for of the large object, and small objects.
const ROUNDS: u32 = 5;
const NATIVE: &str = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";

fn samples() -> Vec<u8> {
    let place = 0..u32::from(SIDE) * u32::from(SIDE);
    place
        .map(|at| u8::try_from(at * 7 / 5 % 251).expect("a byte"))
        .collect()
}

/// A codestream of a ramp.
fn codestream() -> Vec<u8> {
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
    let frame = DecodedFrame::new(shape, samples()).expect("a frame of its shape");
    let made = codec::encode(JPEG_LS, &frame, &EncodeOptions::default());
    made.expect("JPEG-LS takes 8 bits").bytes
}

fn file(name: &Name, frames: u32) -> Vec<u8> {
    let stream = codestream();
    let fragments = vec![stream.as_slice(); usize::try_from(frames).expect("few")];
    let data_set = name.image(SIDE, SIDE, 8, frames).fragments(&[], &fragments);
    name.file(&data_set, Syntax::Other(JPEG_LS)).bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_thousand_frames_costs_as_much_as_the_only_one() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let router = router(folder.path()).await;
    // The object of the last round is the large one: what is open still is another instance.
    let large = Name::new(700, 1, 1);
    let small: Vec<Name> = (0..=ROUNDS).map(|n| Name::new(700, 2, n + 1)).collect();
    let mut files: Vec<Vec<u8>> = small.iter().map(|name| file(name, 1)).collect();
    files.push(file(&large, FRAMES));
    let store = request("POST", "/dicom-web/studies").header("Content-Type", MULTIPART);
    let store = store.body(Body::from(body(&files)));
    assert_eq!(ask(&router, store.unwrap()).await.status, 200);
    let cost = |name: &Name, number: u32| {
        let target = format!("/dicom-web{}/frames/{number}", name.path());
        let asked = request("GET", &target).header("Accept", NATIVE);
        let asked = asked.body(Body::empty()).unwrap();
        let router = &router;
        async move {
            let cost = ask(router, asked).await;
            assert_eq!((cost.status, cost.sent), (200, samples().len()), "{target}");
            cost
        }
    };
    // The first one of each pays for what is made once.
    cost(&small[0], 1).await;
    cost(&large, FRAMES).await;
    for (round, name) in (1..).zip(&small[1..]) {
        let one = cost(name, 1).await;
        let of_many = cost(&large, FRAMES - round * 47).await;
        println!("{one:?} {of_many:?}");
        // The places of all frames are read, a few numbers each: together less than seven more frames.
        let spare = 32 * usize::try_from(FRAMES).unwrap();
        assert!(spare < 7 * samples().len());
        assert!(of_many.bytes <= one.bytes + spare, "{of_many:?} {one:?}");
        assert!(of_many.memory <= one.memory + spare, "{of_many:?} {one:?}");
        assert!(of_many.calls <= one.calls + 100, "{of_many:?} {one:?}");
    }
}
