//! Pictures of every kind, through the encoder and the decoder of `openjp2`.

use openjp2::openjpeg::opj_dparameters_t;
use openjp2::{Codec, OPJ_CODEC_J2K};

use super::super::jpeg2000_stream::reader;
use super::super::transfer_syntax::Coding;
use super::super::{FrameLimits, FrameShape, Photometric, decode};
use super::*;

/// What a picture is made of.
#[derive(Debug, Clone, Copy)]
enum TestFill {
    Noise,
    Lowest,
    Highest,
    Zero,
    Gradient,
    /// Lowest and highest in turn, which makes the largest coefficients of the highest bands.
    Checkered,
    Stripes,
    /// A few samples other than zero.
    Sparse,
    /// Some bits of noise on a gradient.
    Grainy,
}

const CONTENTS: [TestFill; 9] = [
    TestFill::Noise,
    TestFill::Lowest,
    TestFill::Highest,
    TestFill::Zero,
    TestFill::Gradient,
    TestFill::Checkered,
    TestFill::Stripes,
    TestFill::Sparse,
    TestFill::Grainy,
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).cast_signed()
    }
}

fn shape(rows: u32, columns: u32, stored: u16, signed: bool, samples: u16) -> FrameShape {
    FrameShape {
        rows,
        columns,
        samples,
        bits_allocated: if stored > 8 { 16 } else { 8 },
        bits_stored: stored,
        low_bit: 0,
        overlay_bits: false,
        signed,
        planar: false,
        photometric: if samples == 3 {
            Photometric::Rgb
        } else {
            Photometric::Monochrome2
        },
    }
}

fn picture(shape: FrameShape, content: TestFill, random: &mut Random) -> DecodedFrame {
    let range = 1_i64 << shape.bits_stored;
    let low = if shape.signed { -range / 2 } else { 0 };
    let high = low + range - 1;
    let mut data = Vec::new();
    for row in 0..i64::from(shape.rows) {
        for column in 0..i64::from(shape.columns) {
            for sample in 0..i64::from(shape.samples) {
                let slope = low
                    + (row * 3 + column * 5 + sample * 7) * range
                        / (8 * i64::from(shape.rows + shape.columns) + 8);
                let value = match content {
                    TestFill::Noise => low + random.next() % range,
                    TestFill::Lowest => low,
                    TestFill::Highest => high,
                    TestFill::Zero => 0,
                    TestFill::Gradient => slope,
                    TestFill::Checkered if (row + column + sample) % 2 == 0 => high,
                    TestFill::Stripes if column / 3 % 2 == 0 => high,
                    TestFill::Checkered | TestFill::Stripes => low,
                    TestFill::Sparse if random.next() % 200 == 0 => low + random.next() % range,
                    TestFill::Sparse => low + range / 2,
                    TestFill::Grainy => slope + random.next() % (range / 16).max(1),
                };
                let bytes = value.to_le_bytes();
                data.extend_from_slice(&bytes[..usize::from(shape.bits_allocated / 8)]);
            }
        }
    }
    DecodedFrame::new(shape, data).unwrap()
}

fn round_trip(frame: &DecodedFrame, transform: bool, parts: TileParts) -> Vec<u8> {
    let bytes = encode(frame, transform, parts).unwrap();
    let mut header = frame.shape;
    if transform {
        header.photometric = Photometric::YbrRct;
    }
    let coding = Coding::Htj2kLosslessRpcl.uid();
    let again = decode(coding, &bytes, &header, &FrameLimits::default());
    let again = again.unwrap_or_else(|error| panic!("{:?}: {error:?}", frame.shape));
    assert!(again == *frame, "{:?} {transform} {parts:?}", frame.shape);
    bytes
}

const DEPTHS: [(u16, bool); 10] = [
    (8, false),
    (8, true),
    (10, false),
    (12, false),
    (12, true),
    (16, false),
    (16, true),
    (1, false),
    (9, true),
    (15, false),
];

#[test]
fn every_size_depth_and_content_comes_back() {
    let sizes = [
        (1, 1),
        (1, 2),
        (2, 1),
        (3, 3),
        (1, 70),
        (131, 1),
        (5, 64),
        (65, 7),
        (33, 128),
        (66, 67),
    ];
    let mut random = Random(1);
    for (size, (rows, columns)) in sizes.into_iter().enumerate() {
        for (depth, (stored, signed)) in DEPTHS.into_iter().enumerate() {
            for (content, what) in CONTENTS.into_iter().enumerate() {
                // Every pair of two, in a quarter of the pictures.
                if (size + depth * 2 + content) % 4 == 0 || rows * columns < 10 {
                    let samples = if (size + depth + content) % 3 == 0 {
                        3
                    } else {
                        1
                    };
                    let frame = picture(
                        shape(rows, columns, stored, signed, samples),
                        what,
                        &mut random,
                    );
                    let parts = if content % 2 == 0 {
                        TileParts::Whole
                    } else {
                        TileParts::Resolutions
                    };
                    round_trip(&frame, samples == 3 && depth % 2 == 0, parts);
                }
            }
        }
    }
}

#[test]
fn pictures_of_any_size_come_back() {
    let mut random = Random(7);
    for number in 0..60 {
        let side = |random: &mut Random| u32::try_from(1 + random.next() % 90).unwrap();
        let (rows, columns) = (side(&mut random), side(&mut random));
        let stored = u16::try_from(1 + random.next() % 16).unwrap();
        let content = CONTENTS[usize::try_from(random.next()).unwrap() % CONTENTS.len()];
        let samples = if number % 4 == 0 { 3 } else { 1 };
        let frame = picture(
            shape(rows, columns, stored, number % 2 == 0, samples),
            content,
            &mut random,
        );
        round_trip(&frame, number % 8 == 0, TileParts::Resolutions);
    }
}

#[test]
fn several_code_blocks_and_long_sides_come_back() {
    let mut random = Random(3);
    for (rows, columns, content) in [
        (1, 4100, TestFill::Noise),
        (4100, 1, TestFill::Grainy),
        (257, 300, TestFill::Sparse),
        (130, 270, TestFill::Grainy),
    ] {
        let frame = picture(shape(rows, columns, 12, false, 1), content, &mut random);
        round_trip(&frame, false, TileParts::Resolutions);
    }
    let frame = picture(shape(140, 150, 16, false, 3), TestFill::Noise, &mut random);
    round_trip(&frame, true, TileParts::Whole);
    let frame = picture(
        shape(140, 150, 16, true, 3),
        TestFill::Checkered,
        &mut random,
    );
    round_trip(&frame, true, TileParts::Whole);
}

#[test]
fn samples_beyond_bits_stored_are_read_as_their_stored_bits() {
    // Nobody makes such a frame, but nothing forbids it.
    let shape = shape(9, 9, 12, true, 1);
    let data = (0..162_u32)
        .map(|place| (place * 7 % 251).to_le_bytes()[0])
        .collect();
    let frame = DecodedFrame::new(shape, data).unwrap();
    let bytes = encode(&frame, false, TileParts::Whole).unwrap();
    let again = decode(
        Coding::Htj2kLossless.uid(),
        &bytes,
        &shape,
        &FrameLimits::default(),
    )
    .unwrap();
    let stored = |bytes: &[u8]| -> Vec<u16> {
        let (cells, _) = bytes.as_chunks::<2>();
        cells
            .iter()
            .map(|&cell| u16::from_le_bytes(cell) & 0xfff)
            .collect()
    };
    assert_eq!(stored(&again.data), stored(&frame.data));
}

#[test]
fn the_smallest_resolution_is_a_thumbnail() {
    for (rows, columns, expected) in [
        (1, 1, 0),
        (2, 1, 1),
        (17, 3, 5),
        (512, 512, 5),
        (2048, 100, 5),
        (2049, 100, 6),
        (3036, 3036, 6),
        (1, 32_768, 9),
    ] {
        let levels = levels(rows, columns);
        assert_eq!(levels, expected, "{rows}×{columns}");
        assert!(rows.max(columns).div_ceil(1 << levels) <= 64);
    }
}

/// Marker segments of a main header.
fn segments(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut at = 2;
    let mut found = Vec::new();
    while bytes[at + 1] != 0x90 {
        let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        found.push((bytes[at + 1], bytes[at + 4..at + 2 + length].to_vec()));
        at += 2 + length;
    }
    found
}

#[test]
fn lengths_of_tile_parts_lead_to_the_resolutions() {
    let mut random = Random(5);
    let frame = picture(shape(200, 130, 12, false, 1), TestFill::Grainy, &mut random);
    let bytes = round_trip(&frame, false, TileParts::Resolutions);
    let segments = segments(&bytes);
    let markers: Vec<u8> = segments.iter().map(|(marker, _)| *marker).collect();
    assert_eq!(markers, [0x51, 0x50, 0x52, 0x5c, 0x55]);
    let header: usize = 2 + segments
        .iter()
        .map(|(_, rest)| rest.len() + 4)
        .sum::<usize>();
    let (_, lengths) = segments.last().unwrap();
    assert_eq!(lengths.len(), 2 + 6 * 5);
    let mut at = header;
    for (number, entry) in lengths[2..].chunks(5).enumerate() {
        assert_eq!(bytes[at..at + 6], [0xff, 0x90, 0, 10, 0, 0]);
        assert_eq!(usize::from(bytes[at + 10]), number);
        assert_eq!(bytes[at + 11], 6);
        assert_eq!(bytes[at + 6..at + 10], entry[1..]);
        at += usize::try_from(u32::from_be_bytes(entry[1..].try_into().unwrap())).unwrap();
    }
    assert_eq!(bytes[at..], [0xff, 0xd9]);
    let whole = round_trip(&frame, false, TileParts::Whole);
    assert!(whole.len() < bytes.len());
    // A single pixel has a single resolution, and TLM all the same.
    let frame = picture(shape(1, 1, 8, false, 1), TestFill::Noise, &mut random);
    let bytes = round_trip(&frame, false, TileParts::Resolutions);
    assert_eq!(self::segments(&bytes).last().unwrap().0, 0x55);
}

/// What a viewer shows of the first bytes: a codestream that ends early, at a lower resolution.
fn at_resolution(bytes: &[u8], levels_left_out: u32) -> (u32, u32, Vec<i32>) {
    let mut bytes = bytes.to_vec();
    bytes.extend([0xff, 0xd9]);
    let mut stream = reader(bytes);
    let mut codec = Codec::new_decoder(OPJ_CODEC_J2K).unwrap();
    let mut parameters = opj_dparameters_t {
        cp_reduce: levels_left_out,
        ..Default::default()
    };
    assert_ne!(codec.setup_decoder(&mut parameters), 0);
    let mut image = codec.read_header(&mut stream).unwrap();
    assert_ne!(codec.decode(&mut stream, &mut image), 0);
    let component = &image.comps().unwrap()[0];
    let samples = component.data().unwrap().to_vec();
    (component.h, component.w, samples)
}

#[test]
fn the_first_tile_parts_are_a_smaller_picture() {
    let mut random = Random(13);
    let frame = picture(shape(200, 130, 12, true, 1), TestFill::Grainy, &mut random);
    let bytes = encode(&frame, false, TileParts::Resolutions).unwrap();
    let starts: Vec<usize> = bytes
        .windows(6)
        .enumerate()
        .filter(|(_, window)| *window == [0xff, 0x90, 0, 10, 0, 0])
        .map(|(place, _)| place)
        .collect();
    assert_eq!(starts.len(), 6);
    for left_out in 1..=4 {
        let end = starts[6 - left_out as usize];
        let mut rows = Rows::new(&frame, 0, false);
        let smaller = decompose(130, 200, left_out, |row| rows.fill(row)).base;
        let shown = at_resolution(&bytes[..end], left_out);
        assert_eq!(
            (shown.0 as usize, shown.1 as usize),
            (smaller.rows, smaller.columns)
        );
        assert!(shown.2 == smaller.samples, "{left_out}");
    }
}

#[test]
fn no_marker_appears_between_markers() {
    let mut random = Random(11);
    for content in CONTENTS {
        let frame = picture(shape(100, 99, 16, false, 1), content, &mut random);
        let bytes = encode(&frame, false, TileParts::Whole).unwrap();
        let start = bytes
            .windows(2)
            .position(|pair| pair == [0xff, 0x93])
            .unwrap()
            + 2;
        let body = &bytes[start..bytes.len() - 2];
        let markers = body
            .windows(2)
            .filter(|pair| pair[0] == 0xff && pair[1] > 0x8f);
        assert_eq!(markers.count(), 0, "{content:?}");
        assert_ne!(body.last(), Some(&0xff), "{content:?}");
    }
}

#[test]
fn what_cannot_be_held_is_refused() {
    let frame = picture(
        shape(1, 32_769, 8, false, 1),
        TestFill::Zero,
        &mut Random(0),
    );
    assert!(encode(&frame, false, TileParts::Whole).is_err());
    let wide = FrameShape {
        bits_allocated: 32,
        bits_stored: 17,
        ..shape(1, 1, 16, false, 1)
    };
    let frame = DecodedFrame::new(wide, vec![0; 4]).unwrap();
    assert!(encode(&frame, false, TileParts::Whole).is_err());
}
