//! Encode, decode, compare: bit-exact where the syntax promises it, close where it does not.

use super::*;

/// The shapes of the issue: gray 8, 12, 16 bit, both signs, and color, in awkward sizes.
fn shapes() -> Vec<FrameShape> {
    let sizes = [(1, 1), (3, 3), (1, 9), (7, 1), (17, 19)];
    let mut shapes = Vec::new();
    for (rows, columns) in sizes {
        for signed in [false, true] {
            for (allocated, stored) in [(8, 8), (16, 12), (16, 16)] {
                shapes.push(gray(rows, columns, allocated, stored, signed));
            }
        }
        shapes.push(rgb(rows, columns, 8));
        shapes.push(rgb(rows, columns, 16));
    }
    shapes
}

const LOSSLESS_SYNTAXES: [&str; 9] = [
    RLE,
    DEFLATED,
    LOSSLESS,
    FIRST_ORDER,
    JPEG_LS,
    JPEG_2000,
    HT_LOSSLESS,
    HT_RPCL,
    JPEG_XL,
];

#[test]
fn lossless_syntaxes_give_back_every_bit() {
    for syntax in LOSSLESS_SYNTAXES {
        for shape in shapes() {
            // JPEG XL refuses pictures one pixel wide or high, and says so beforehand.
            if syntax == JPEG_XL && (shape.rows < 2 || shape.columns < 2) {
                assert!(!can_encode(syntax, &shape));
                continue;
            }
            assert!(can_encode(syntax, &shape), "{syntax} {shape:?}");
            for content in [
                TestContent::Smooth,
                TestContent::Noise,
                TestContent::Extreme,
            ] {
                let frame = picture(shape, content);
                let encoded = encoded(syntax, &frame);
                assert_eq!(encoded.lossy, None);
                let again = decoded(syntax, &encoded.bytes, &encoded.shape);
                assert!(again == frame, "{syntax} {shape:?}");
            }
        }
    }
}

#[test]
fn wide_samples_and_single_bits_have_lossless_syntaxes() {
    for bits in [32, 64] {
        let frame = DecodedFrame::new(
            gray(3, 5, bits, bits, true),
            (0..15 * u8::try_from(bits / 8).unwrap()).collect(),
        );
        let frame = frame.unwrap();
        for syntax in [RLE, DEFLATED] {
            let encoded = encoded(syntax, &frame);
            assert_eq!(decoded(syntax, &encoded.bytes, &encoded.shape), frame);
        }
        assert!(!can_encode(JPEG_2000, &frame.shape) && !can_encode(HT_LOSSLESS, &frame.shape));
    }
    let bits = DecodedFrame::new(gray(3, 5, 1, 1, false), vec![0b1010_0110, 0b0101_1001]).unwrap();
    let deflated = encoded(DEFLATED, &bits);
    assert_eq!(decoded(DEFLATED, &deflated.bytes, &bits.shape), bits);
    assert!(!can_encode(JPEG_LS, &bits.shape));
}

#[test]
fn lossy_syntaxes_come_close_and_say_their_ratio() {
    let cases = [
        (BASELINE, gray(33, 40, 8, 8, false), 6),
        (BASELINE, rgb(33, 40, 8), 8),
        (EXTENDED, gray(33, 40, 16, 12, false), 40),
        (JPEG_LS_NEAR, gray(33, 40, 8, 8, false), 2),
        (JPEG_LS_NEAR, gray(33, 40, 16, 16, false), 2),
        (JPEG_LS_NEAR, rgb(33, 40, 8), 2),
        (JPEG_2000_LOSSY, gray(33, 40, 8, 8, false), 4),
        (JPEG_2000_LOSSY, gray(33, 40, 16, 12, true), 40),
        (JPEG_2000_LOSSY, rgb(33, 40, 8), 8),
    ];
    for (syntax, shape, limit) in cases {
        let frame = picture(shape, TestContent::Smooth);
        let encoded = encoded(syntax, &frame);
        let ratio = encoded.lossy.unwrap();
        assert!(ratio > 1.0, "{syntax} {ratio}");
        let again = decoded(syntax, &encoded.bytes, &encoded.shape);
        assert_eq!(again.shape, shape);
        let difference = largest_difference(&again, &frame);
        assert!(difference <= limit, "{syntax} {shape:?}: {difference}");
    }
}

#[test]
fn options_steer_the_lossy_encoders() {
    let frame = picture(rgb(64, 64, 8), TestContent::Noise);
    let size =
        |syntax, options: EncodeOptions| encode(syntax, &frame, &options).unwrap().bytes.len();
    let default = EncodeOptions::default();
    let poor = EncodeOptions {
        jpeg_quality: 20,
        ..default
    };
    assert!(size(BASELINE, poor) < size(BASELINE, default));
    let full = EncodeOptions {
        jpeg_color: JpegColor::Full,
        ..default
    };
    assert!(size(BASELINE, full) > size(BASELINE, default));
    let strong = EncodeOptions {
        jpeg2000_ratio: 30.0,
        ..default
    };
    let (strong, usual) = (
        size(JPEG_2000_LOSSY, strong),
        size(JPEG_2000_LOSSY, default),
    );
    assert!(strong < frame.data.len() / 25 && usual < frame.data.len() / 9);
    assert!(strong < usual);
    let near = EncodeOptions {
        jpeg_ls_near: 9,
        ..default
    };
    assert!(size(JPEG_LS_NEAR, near) < size(JPEG_LS_NEAR, default));
}

#[test]
fn the_header_is_told_what_the_codestream_holds() {
    let frame = picture(rgb(8, 8, 8), TestContent::Smooth);
    let photometric = |syntax| encoded(syntax, &frame).shape.photometric;
    assert_eq!(photometric(BASELINE), Photometric::YbrFull422);
    for syntax in [JPEG_2000, HT_LOSSLESS, HT_RPCL] {
        assert_eq!(photometric(syntax), Photometric::YbrRct);
    }
    assert_eq!(photometric(JPEG_2000_LOSSY), Photometric::YbrIct);
    for syntax in [RLE, DEFLATED, FIRST_ORDER, JPEG_LS, JPEG_XL] {
        assert_eq!(photometric(syntax), Photometric::Rgb);
    }
    let full = EncodeOptions {
        jpeg_color: JpegColor::Full,
        ..EncodeOptions::default()
    };
    let full = encode(BASELINE, &frame, &full).unwrap();
    assert_eq!(full.shape.photometric, Photometric::YbrFull);
}

#[test]
fn the_decoded_shape_is_known_beforehand() {
    for syntax in LOSSLESS_SYNTAXES
        .into_iter()
        .chain([BASELINE, JPEG_2000_LOSSY])
    {
        let frame = picture(rgb(9, 10, 8), TestContent::Smooth);
        let encoded = encoded(syntax, &frame);
        let shape = decoded_shape(syntax, &encoded.shape).unwrap();
        assert_eq!(decoded(syntax, &encoded.bytes, &encoded.shape).shape, shape);
    }
    assert_eq!(
        decoded_shape("1.2.840.10008.1.2.4.100", &rgb(9, 9, 8)),
        None
    );
    assert_eq!(decoded_shape("1.2.3", &rgb(9, 9, 8)), None);
}

#[test]
fn ybr_stays_ybr_in_lossless_syntaxes() {
    let shape = FrameShape {
        photometric: Photometric::YbrFull,
        ..rgb(6, 5, 8)
    };
    let frame = picture(shape, TestContent::Noise);
    for syntax in [
        RLE,
        DEFLATED,
        LOSSLESS,
        FIRST_ORDER,
        JPEG_LS,
        JPEG_2000,
        HT_LOSSLESS,
        HT_RPCL,
    ] {
        let encoded = encoded(syntax, &frame);
        assert_eq!(encoded.shape.photometric, Photometric::YbrFull);
        assert_eq!(
            decoded(syntax, &encoded.bytes, &encoded.shape),
            frame,
            "{syntax}"
        );
    }
    let header = jpeg_header::JpegHeader::read(
        &encoded(FIRST_ORDER, &frame).bytes,
        Coding::JpegLosslessFirstOrder,
    );
    assert_eq!(header.unwrap().is_rgb(), None);
    assert!(!can_encode(JPEG_XL, &shape));
}

#[test]
fn native_syntaxes_decode_as_they_are_and_are_not_encoded() {
    let frame = picture(gray(3, 5, 16, 12, true), TestContent::Noise);
    for syntax in [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.98",
        "1.2.840.10008.1.2.1.99",
    ] {
        assert_eq!(decoded(syntax, &frame.data, &frame.shape), frame);
        assert!(!can_encode(syntax, &frame.shape));
    }
    let big: Vec<u8> = frame.data.chunks(2).flat_map(|c| [c[1], c[0]]).collect();
    assert_eq!(decoded("1.2.840.10008.1.2.2", &big, &frame.shape), frame);
}

#[test]
fn the_size_of_a_picture_is_told_whatever_it_is() {
    for shape in [
        gray(300, 300, 8, 8, false),
        gray(3000, 2, 8, 8, false),
        gray(2, 3000, 16, 12, false),
        rgb(300, 200, 8),
    ] {
        let frame = picture(shape, TestContent::Smooth);
        // A header that knows neither size nor color.
        let header = gray(1, 1, shape.bits_allocated, shape.bits_stored, false);
        for syntax in [RLE, LOSSLESS, JPEG_LS, JPEG_2000, HT_RPCL, JPEG_XL] {
            let made = encoded(syntax, &frame).bytes;
            let declared = codestream_shape(syntax, &made, &frame.shape).unwrap();
            assert_eq!(declared.frame_bytes(), shape.frame_bytes(), "{syntax}");
            if syntax == RLE {
                // It has no header of its own.
                continue;
            }
            let declared = codestream_shape(syntax, &made, &header).unwrap();
            assert_eq!(
                (declared.rows, declared.columns, declared.samples),
                (shape.rows, shape.columns, shape.samples),
                "{syntax}"
            );
            let seen = recognize(&made).unwrap();
            assert_eq!(
                (seen.shape.rows, seen.shape.columns, seen.shape.samples),
                (shape.rows, shape.columns, shape.samples),
                "{syntax}"
            );
        }
    }
}
