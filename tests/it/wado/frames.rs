//! Frames: each frame alone, whatever its layout in the file.

use bytes::Bytes;
use dicom_core::{Tag, VR};
use stowage::archive::ingest::{Outcome, StoreOptions};
use stowage::archive::rules::Rules;
use stowage::archive::{Archive, ArchiveError};
use stowage::blob::Blobs;
use stowage::config::Config;
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};
use stowage::index::IndexOptions;
use stowage::scope::{Scope, Visible};

use crate::support::dicom::noise;
use crate::support::multipart::parameter;
use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];
const PIXELS: Tag = Tag(0x7FE0, 0x0010);
const JPEG: Syntax = Syntax::Other("1.2.840.10008.1.2.4.50");

/// Ways to ask for the stored bytes of a frame, single part first.
const STORED: [&str; 4] = [
    "application/octet-stream; transfer-syntax=*",
    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
    "multipart/related; type=application/octet-stream; transfer-syntax=*",
    "*/*",
];

/// Asks for one frame in each way and checks what comes back.
#[track_caller]
fn check_frame(server: &Deployment, name: &Name, number: usize, wanted: &[u8], syntax: &str) {
    for root in ROOTS {
        let target = format!("{root}{}/frames/{number}", name.path());
        for accept in STORED {
            let answer = server.get_as(&target, accept).expect(200);
            let (content_type, body) = if answer.content_type().starts_with("multipart/") {
                let mut parts = answer.parts();
                assert_eq!(parts.len(), 1, "{target} {accept}");
                let part = parts.remove(0);
                (part.content_type().to_owned(), part.body)
            } else {
                (answer.content_type().to_owned(), answer.body)
            };
            assert!(
                body == wanted,
                "{target} {accept}: {} bytes, not {}",
                body.len(),
                wanted.len()
            );
            assert_eq!(
                parameter(&content_type, "transfer-syntax").as_deref(),
                Some(syntax),
                "{target} {accept}: {content_type}"
            );
        }
    }
}

fn native(name: &Name, syntax: Syntax, pixels: &[u8], frames: u32) -> BuiltFile {
    let data_set = name
        .image(4, 5, 16, frames)
        .bytes(PIXELS, VR::OW, pixels.to_vec());
    name.file(&data_set, syntax)
}

#[test]
fn native_frames_are_slices_of_the_pixel_data() {
    on_each_index(|server| {
        let pixels = noise("native", 3 * 40);
        for (number, syntax) in (1..).zip([
            Syntax::ExplicitLittle,
            Syntax::ImplicitLittle,
            Syntax::Deflated,
        ]) {
            let name = Name::new(300, 1, number);
            let file = native(&name, syntax, &pixels, 3);
            server.store("/dicom-web", [&file]).expect(200);
            for (number, frame) in (1..).zip(pixels.chunks(40)) {
                let target = format!("/v2{}/frames/{number}", name.path());
                for accept in [
                    "application/octet-stream",
                    "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
                    "application/octet-stream; transfer-syntax=*",
                ] {
                    let answer = server.get_as(&target, accept).expect(200);
                    assert_eq!(answer.body, frame, "{syntax:?} {accept}");
                }
            }
            // How the data set around them is written is nothing of the samples (PS3.18 §8.7.3.5.2).
            check_frame(server, &name, 2, &pixels[40..80], "1.2.840.10008.1.2.1");
            let target = format!("/v2{}/frames/1", name.path());
            let deflated = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1.99";
            let refused = server.get_as(&target, deflated).expect(406).text();
            assert!(
                refused.contains("transfer-syntax=1.2.840.10008.1.2.1,")
                    || refused.contains("transfer-syntax=1.2.840.10008.1.2.1\""),
                "{refused}"
            );
            assert!(!refused.contains("1.2.1.99"), "{refused}");
        }
    });
}

#[test]
fn frames_of_big_endian_files_come_in_little_endian() {
    let server = TestApp::start(None);
    let pixels = noise("big", 2 * 40);
    let name = Name::new(301, 1, 1);
    let file = native(&name, Syntax::ExplicitBig, &pixels, 2);
    server.store("/dicom-web", [&file]).expect(200);
    for (number, frame) in (1..).zip(pixels.chunks(40)) {
        for root in ROOTS {
            let target = format!("{root}{}/frames/{number}", name.path());
            // Whatever is asked: the web has little endian only.
            for accept in [
                "application/octet-stream",
                "application/octet-stream; transfer-syntax=*",
                "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
            ] {
                let answer = server.get_as(&target, accept).expect(200);
                assert_eq!(
                    answer.content_type(),
                    "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
                );
                assert_eq!(answer.body, frame);
            }
            for accept in [
                "*/*",
                "multipart/related; type=\"*/*\"; transfer-syntax=*",
                "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
            ] {
                let part = server.get_as(&target, accept).expect(200).parts().remove(0);
                assert!(part.content_type().ends_with("=1.2.840.10008.1.2.1"));
                assert_eq!(part.body, frame, "{accept}");
            }
        }
    }
    for root in ROOTS {
        let target = format!("{root}{}/bulkdata/7FE00010", name.path());
        for accept in [
            "application/octet-stream",
            "application/octet-stream; transfer-syntax=*",
        ] {
            let answer = server.get_as(&target, accept).expect(200);
            assert_eq!(answer.body, pixels, "{accept}");
            assert!(answer.content_type().ends_with("=1.2.840.10008.1.2.1"));
        }
        // The file as it was received stays available, where that is what `*` means.
        let answer = server.get_as(
            &format!("{root}{}", name.path()),
            "application/dicom; transfer-syntax=*",
        );
        assert_eq!(answer.expect(200).body, file.bytes);
    }
}

#[test]
fn encapsulated_frames_are_whole_in_every_layout() {
    on_each_index(|server| {
        // Frames begin and end as JPEG does, so that a missing table can be made up for.
        let frame = |seed: &str, length: usize| {
            let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE0];
            bytes.extend(noise(seed, length).iter().map(|byte| byte & 0x7F));
            bytes.extend([0xFF, 0xD9]);
            bytes
        };
        let (one, two, three) = (frame("1", 100), frame("2", 202), frame("3", 50));
        let frames = [one.as_slice(), &two, &three];
        let even = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short");
        let offsets = [0, even(&one) + 8, even(&one) + even(&two) + 16];
        let split: Vec<&[u8]> = [one.split_at(40), two.split_at(60), three.split_at(20)]
            .into_iter()
            .flat_map(|(first, second)| [first, second])
            .collect();
        let split_offsets = [0, even(&one) + 16, even(&one) + even(&two) + 32];
        let extended = |data_set: DataSet| {
            let offsets = offsets.iter().flat_map(|o| u64::from(*o).to_le_bytes());
            let lengths = frames.iter().flat_map(|f| u64::from(even(f)).to_le_bytes());
            data_set
                .bytes(Tag(0x7FE0, 0x0001), VR::OV, offsets.collect::<Vec<_>>())
                .bytes(Tag(0x7FE0, 0x0002), VR::OV, lengths.collect::<Vec<_>>())
        };
        let name = |number| Name::new(302, 1, number);
        let image = |number| name(number).image(8, 8, 8, 3);
        let layouts = [
            (
                "a basic offset table",
                image(1).fragments(&offsets, &frames),
            ),
            ("no table", image(2).fragments(&[], &frames)),
            (
                "an extended offset table",
                extended(image(3)).fragments(&[], &frames),
            ),
            (
                "a table and several fragments",
                image(4).fragments(&split_offsets, &split),
            ),
            (
                "no table and several fragments",
                image(5).fragments(&[], &split),
            ),
        ];
        for (number, (layout, data_set)) in (1..).zip(layouts) {
            println!("{layout}");
            let name = name(number);
            let file = name.file(&data_set, JPEG);
            server.store("/dicom-web", [&file]).expect(200);
            for (number, frame) in (1..).zip(frames) {
                check_frame(server, &name, number, frame, JPEG.uid());
            }
            let beyond = format!("/v2{}/frames/4", name.path());
            server.get(&beyond).expect(404);
        }
        // One frame of many fragments, without a table.
        let name = Name::new(302, 1, 9);
        let data_set = name.image(8, 8, 8, 1).fragments(&[], &split);
        let file = name.file(&data_set, JPEG);
        server.store("/dicom-web", [&file]).expect(200);
        check_frame(server, &name, 1, &frames.concat(), JPEG.uid());
    });
}

#[test]
fn frames_of_one_bit_start_at_a_byte_of_their_own() {
    let server = TestApp::start(None);
    // Five frames of 3 by 3 bits: 45 bits in a row.
    let name = Name::new(303, 1, 1);
    let pixels = noise("bits", 6);
    let data_set = name.image(3, 3, 1, 5).bytes(PIXELS, VR::OB, pixels.clone());
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    let bit = |at: usize| (pixels[at / 8] >> (at % 8)) & 1;
    for frame in 0..5 {
        let mut wanted = [0; 2];
        for at in 0..9 {
            wanted[at / 8] |= bit(frame * 9 + at) << (at % 8);
        }
        check_frame(&server, &name, frame + 1, &wanted, "1.2.840.10008.1.2.1");
    }
    // Frames that fill their bytes are plain slices.
    let name = Name::new(303, 1, 2);
    let pixels = noise("bytes", 3 * 32);
    let data_set = name
        .image(16, 16, 1, 3)
        .bytes(PIXELS, VR::OB, pixels.clone());
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    for (number, frame) in (1..).zip(pixels.chunks(32)) {
        check_frame(&server, &name, number, frame, "1.2.840.10008.1.2.1");
    }
}

#[test]
fn float_pixels_are_frames_too() {
    let server = TestApp::start(None);
    for (instance, (tag, vr, bits, width)) in (1..).zip([
        (Tag(0x7FE0, 0x0008), VR::OF, 32, 4),
        (Tag(0x7FE0, 0x0009), VR::OD, 64, 8),
    ]) {
        let name = Name::new(304, 1, instance);
        let pixels = noise("floats", 2 * 4 * width);
        let data_set = name.image(2, 2, bits, 2).bytes(tag, vr, pixels.clone());
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
        for (number, frame) in (1..).zip(pixels.chunks(4 * width)) {
            check_frame(&server, &name, number, frame, "1.2.840.10008.1.2.1");
        }
    }
}

#[test]
fn a_list_of_frames_is_answered_in_the_order_asked() {
    on_each_index(|server| {
        let name = Name::new(305, 1, 1);
        let pixels = noise("list", 5 * 40);
        let file = native(&name, Syntax::ExplicitLittle, &pixels, 5);
        server.store("/v2", [&file]).expect(200);
        let frames: Vec<&[u8]> = pixels.chunks(40).collect();
        for root in ROOTS {
            for (list, numbers) in [
                ("1,2,3,4,5", vec![1, 2, 3, 4, 5]),
                ("3,1", vec![3, 1]),
                ("2,2", vec![2, 2]),
                ("5%2C4", vec![5, 4]),
                ("4%2c1,%201", vec![4, 1, 1]),
            ] {
                let target = format!("{root}{}/frames/{list}", name.path());
                for accept in [
                    "multipart/related; type=\"application/octet-stream\"",
                    "multipart/related; type=\"*/*\"",
                    "*/*",
                ] {
                    let parts = server.get_as(&target, accept).expect(200).parts();
                    let bodies: Vec<&[u8]> = parts.iter().map(|p| p.body.as_slice()).collect();
                    let wanted: Vec<&[u8]> = numbers.iter().map(|n| frames[n - 1]).collect();
                    assert_eq!(bodies, wanted, "{target}");
                    for (part, number) in parts.iter().zip(&numbers) {
                        assert_eq!(
                            part.content_type(),
                            "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
                        );
                        let location = part.header("Content-Location").expect("a location");
                        assert!(
                            location.ends_with(&format!("/frames/{number}")),
                            "{location}"
                        );
                    }
                }
                if numbers.len() > 1 {
                    let answer = server.get_as(&target, "application/octet-stream");
                    answer.expect(400);
                }
            }
        }
    });
}

#[test]
fn frame_numbers_that_are_none_are_400_and_those_beyond_404() {
    let server = TestApp::start(None);
    let (name, empty) = (Name::new(306, 1, 1), Name::new(306, 1, 2));
    let file = native(&name, Syntax::ExplicitLittle, &noise("x", 80), 2);
    server.store("/v2", [&file, &empty.small()]).expect(200);
    let unknown = Name::new(307, 1, 1);
    for root in ROOTS {
        for accept in ["*/*", "application/octet-stream"] {
            let status = |name: &Name, list: &str| {
                let target = format!("{root}{}/frames/{list}", name.path());
                server.get_as(&target, accept).status
            };
            for list in [
                "0",
                "-1",
                "a",
                "1,a",
                "1.5",
                "0x1",
                "99999999999999999999",
                "1,,2",
                ",",
                "%20",
            ] {
                assert_eq!(status(&name, list), 400, "{list}");
                // The number is looked at before the instance.
                assert_eq!(status(&unknown, list), 400, "{list}");
            }
            assert_eq!(status(&name, "3"), 404);
            assert_eq!(status(&name, "4294967295"), 404);
            assert_eq!(status(&unknown, "1"), 404);
            assert_eq!(status(&empty, "1"), 404);
        }
        let target = format!("{root}{}/frames/1,3", name.path());
        server.get(&target).expect(404);
    }
}

#[test]
fn other_media_types_than_the_frames_can_have_are_406() {
    let server = TestApp::start(None);
    let name = Name::new(308, 1, 1);
    let file = native(&name, Syntax::ExplicitLittle, &noise("x", 40), 1);
    server.store("/v2", [&file]).expect(200);
    for root in ROOTS {
        for accept in [
            "image/png",
            "application/dicom",
            "video/mp4",
            "multipart/related; type=\"video/mp4\"",
            "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2",
            "multipart/related; type=\"application/octet-stream\"; transfer-syntax=1.2.3",
        ] {
            let target = format!("{root}{}/frames/1", name.path());
            let answer = server.get_as(&target, accept);
            assert_eq!(answer.status, 406, "{accept}");
            assert!(
                answer.text().contains("application/octet-stream"),
                "{}",
                answer.text()
            );
        }
    }
}

#[test]
fn a_range_of_a_frame_is_206_and_outside_of_it_416() {
    let server = TestApp::start(None);
    let name = Name::new(309, 1, 1);
    let pixels = noise("range", 2 * 40);
    let file = native(&name, Syntax::ExplicitLittle, &pixels, 2);
    server.store("/v2", [&file]).expect(200);
    let target = format!("/dicom-web{}/frames/2", name.path());
    let ask = |range: &str| {
        server
            .request("GET", &target)
            .accept("application/octet-stream")
            .header("Range", range)
            .send()
    };
    let frame = &pixels[40..];
    for (range, bytes, reported) in [
        ("bytes=0-9", &frame[..10], "bytes 0-9/40"),
        ("bytes=30-", &frame[30..], "bytes 30-39/40"),
        ("bytes=-5", &frame[35..], "bytes 35-39/40"),
        ("bytes=39-1000", &frame[39..], "bytes 39-39/40"),
    ] {
        let answer = ask(range).expect(206);
        assert_eq!(answer.body, bytes, "{range}");
        assert_eq!(answer.header("content-range"), Some(reported));
    }
    let outside = ask("bytes=40-").expect(416);
    assert_eq!(outside.header("content-range"), Some("bytes */40"));
    assert_eq!(ask("bytes=5-1").expect(200).body, frame);
    let whole = server.get_as(&target, "application/octet-stream");
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
}

#[test]
fn frames_of_a_deleted_instance_are_gone_and_those_stored_anew_are_the_new_ones() {
    on_each_index(|server| {
        let name = Name::new(390, 1, 1);
        let target = format!("/dicom-web{}/frames/2", name.path());
        for round in ["first", "second", "third"] {
            let pixels = noise(round, 80);
            let file = native(&name, Syntax::ExplicitLittle, &pixels, 2);
            server.store("/dicom-web", [&file]).expect(200);
            for _ in 0..2 {
                let frame = server.get_as(&target, STORED[0]).expect(200);
                assert_eq!(frame.body, pixels[40..], "{round}");
            }
            let deleted = format!("/v2{}", name.study_path());
            server.request("DELETE", &deleted).send().expect(204);
            server.get_as(&target, STORED[0]).expect(404);
        }
    });
}

#[tokio::test]
async fn a_caller_who_may_see_little_does_not_get_what_another_one_opened() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("index.sqlite").display());
    let index = stowage::index::open(&url, &IndexOptions::default())
        .await
        .unwrap();
    let blobs = Blobs::open(&folder.path().join("blobs")).unwrap();
    let archive = Archive::new(index, blobs, Config::default().limits);
    let all = Scope::everything();
    let options = StoreOptions {
        partition: all.partition,
        visible: Visible::All,
        study: None,
        named: None,
        rules: Rules::Standard,
        replace: None,
        condition: None,
        made_of: None,
        deidentify: None,
        expires: None,
    };
    let name = Name::new(391, 1, 1);
    let mut request = archive.begin_store(options).unwrap();
    let mut part = request.begin_part().unwrap();
    let bytes = Bytes::from(name.small().bytes);
    request.write(&mut part, bytes).await.unwrap();
    request.end_part(part).await.unwrap();
    let stored = request.finish().await.unwrap();
    let [Outcome::Stored { name, .. }] = stored.outcomes.as_slice() else {
        panic!("{stored:?}");
    };
    archive.open(&all, name).await.unwrap();
    let only = |study: &str| Scope {
        visible: Visible::Only {
            patients: Vec::new(),
            studies: vec![study.to_owned()],
        },
        ..all.clone()
    };
    archive.open(&only("1.2.3.391"), name).await.unwrap();
    let refused = archive.open(&only("1.2.3.392"), name).await;
    assert!(matches!(refused, Err(ArchiveError::NotFound { .. })));
}
