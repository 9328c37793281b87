//! Damage inside of an instance: no byte of a damaged block leaves, whichever way it is asked for; what lies elsewhere does.

use std::fs;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, Syntax};

use super::{STORED, blob_of, expect_honest_500};
use crate::support::dicom::noise;
use crate::support::prelude::*;
use crate::support::server::on_each_index_process;
use crate::support::sql::execute;

/// Frames of 320 × 320 samples of 16 bits: more than three blocks each.
const FRAME: usize = 320 * 320 * 2;
const FRAMES: u32 = 8;

const EXPLICIT: &str = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1";
const OCTETS: &str = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";

fn frames_of(name: &Name, syntax: Syntax) -> (BuiltFile, Vec<u8>) {
    let pixels = noise(&name.instance, FRAME * FRAMES as usize);
    let data_set =
        name.image(320, 320, 16, FRAMES)
            .bytes(Tag(0x7FE0, 0x0010), VR::OW, pixels.clone());
    (name.file(&data_set, syntax), pixels)
}

/// Fails unless the answer is an error, or its body ends before it is whole.
#[track_caller]
fn expect_no_whole_answer(answer: std::io::Result<Response>) {
    if let Ok(answer) = answer {
        expect_honest_500(answer);
    }
}

fn flip(blob: &std::path::Path, at: usize) {
    let mut bytes = fs::read(blob).unwrap();
    bytes[at] ^= 0x10;
    fs::write(blob, bytes).unwrap();
}

fn ask(
    server: &Deployment,
    target: &str,
    accept: &str,
    range: Option<&str>,
) -> std::io::Result<Response> {
    let request = server.request("GET", target).accept(accept);
    match range {
        Some(range) => request.header("Range", range).try_send(),
        None => request.try_send(),
    }
}

#[test]
fn no_frame_range_or_conversion_has_a_byte_of_a_damaged_block() {
    on_each_index(|server| {
        let name = Name::new(9810, 1, 1);
        let (file, pixels) = frames_of(&name, Syntax::ImplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
        let path = format!("/dicom-web{}", name.path());
        let head = file.bytes.len() - pixels.len();
        let blob = blob_of(server, &name);
        // The middle of the fifth frame.
        let at = head + 4 * FRAME + FRAME / 2;
        flip(&blob, at);
        for (target, accept) in [
            (path.clone(), STORED),
            (path.clone(), EXPLICIT),
            (format!("{path}/frames/5"), OCTETS),
            (
                format!("{path}/frames/1,5"),
                "multipart/related; type=\"application/octet-stream\"",
            ),
            (
                format!("{path}/pixeldata"),
                "multipart/related; type=\"application/octet-stream\"",
            ),
            (format!("{path}/bulkdata/7FE00010"), OCTETS),
            (format!("{path}/frames/5/rendered"), "image/png"),
            (
                format!("/dicom-web{}", name.study_path()),
                "application/zip",
            ),
        ] {
            println!("{target} as {accept}");
            expect_no_whole_answer(ask(server, &target, accept, None));
        }
        let damaged = format!("bytes={}-{}", at - 10, at + 10);
        expect_no_whole_answer(ask(server, &path, STORED, Some(&damaged)));
        // All that lies in other blocks is as it was.
        for (number, frame) in (1..).zip(pixels.chunks(FRAME)).filter(|(n, _)| *n != 5) {
            let answer = server.get_as(&format!("{path}/frames/{number}"), OCTETS);
            assert!(answer.expect(200).body == frame, "frame {number}");
        }
        for (start, end) in [(0, 100), (65_530, 65_540), (at + 200_000, at + 200_001)] {
            let range = format!("bytes={start}-{end}");
            let answer = ask(server, &path, STORED, Some(&range))
                .unwrap()
                .expect(206);
            assert!(answer.body == file.bytes[start..=end], "{range}");
        }
        let rendered = server.get_as(&format!("{path}/frames/1/rendered"), "image/png");
        rendered.expect(200);
        flip(&blob, at);
        let whole = server
            .get_as(&format!("{path}/frames/5"), OCTETS)
            .expect(200);
        assert!(whole.body == pixels[4 * FRAME..5 * FRAME]);
        assert!(server.stored(&name).as_ref() == Some(&file.bytes));
    });
}

#[test]
fn what_is_read_to_convert_or_inflate_is_checked_too() {
    let server = TestApp::start(None);
    for (number, syntax, at) in [
        // A value of the data set that is copied into the converted file.
        (1, Syntax::ImplicitLittle, 600),
        (2, Syntax::Deflated, 900),
    ] {
        let name = Name::new(9811, 1, number);
        let (file, _) = frames_of(&name, syntax);
        server.store("/dicom-web", [&file]).expect(200);
        let path = format!("/dicom-web{}", name.path());
        let blob = blob_of(&server, &name);
        flip(&blob, at);
        expect_no_whole_answer(ask(&server, &path, EXPLICIT, None));
        expect_no_whole_answer(ask(&server, &format!("{path}/frames/1"), OCTETS, None));
        flip(&blob, at);
        server.get_as(&path, EXPLICIT).expect(200);
    }
}

#[test]
fn rows_that_are_older_than_checksums_get_theirs_from_the_scrub() {
    on_each_index_process(&[("STOWAGE_SCRUB_HOURS", "0.0001")], |server| {
        let name = Name::new(9812, 1, 1);
        let (file, pixels) = frames_of(&name, Syntax::ExplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
        execute(server, "update instance set blocks = null");
        let rounds = |server: &Server| server.log().matches("instances=1").count();
        let before = rounds(server);
        wait_until("two rounds are done", || rounds(server) >= before + 2);
        let blob = blob_of(server, &name);
        flip(&blob, file.bytes.len() - pixels.len() + 70_000);
        let target = format!("/dicom-web{}/frames/1", name.path());
        expect_no_whole_answer(ask(server, &target, OCTETS, None));
        flip(&blob, file.bytes.len() - pixels.len() + 70_000);
        assert!(server.get_as(&target, OCTETS).expect(200).body == pixels[..FRAME]);
    });
}
