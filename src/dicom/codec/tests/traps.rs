//! Known pitfalls of real files, each built in code.

use super::*;
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

mod color;

/// A red, green and blue patch that no color transform leaves alone.
fn patches() -> DecodedFrame {
    let shape = rgb(16, 24, 8);
    let colors = [[200, 30, 30], [30, 200, 30], [30, 30, 200]];
    let data = (0..16 * 24).flat_map(|i| colors[i % 24 / 8]).collect();
    DecodedFrame::new(shape, data).unwrap()
}

#[test]
fn subsampled_and_progressive_jpeg_decode() {
    let frame = picture(rgb(35, 33, 8), TestContent::Smooth);
    for subsampling in [Subsampling::S422, Subsampling::S420] {
        for progressive in [false, true] {
            let bytes = Encoder::new(&frame.data, 33, 35, PixelFormat::Rgb)
                .quality(95)
                .subsampling(subsampling)
                .progressive(progressive)
                .encode()
                .unwrap();
            let shape = FrameShape {
                photometric: Photometric::YbrFull422,
                ..frame.shape
            };
            assert!(largest_difference(&decoded(BASELINE, &bytes, &shape), &frame) <= 8);
        }
    }
}

#[test]
fn signed_or_wide_samples_are_never_offered_as_baseline_jpeg() {
    assert!(!can_encode(BASELINE, &gray(8, 8, 16, 16, true)));
    assert!(!can_encode(BASELINE, &gray(8, 8, 16, 12, false)));
    assert!(!can_encode(BASELINE, &gray(8, 8, 8, 8, true)));
    assert!(!can_encode(EXTENDED, &gray(8, 8, 16, 16, false)));
    assert!(can_encode(BASELINE, &gray(8, 8, 8, 8, false)));
    let ct = picture(gray(8, 8, 16, 16, true), TestContent::Smooth);
    let refused = encode(BASELINE, &ct, &EncodeOptions::default());
    assert!(matches!(refused, Err(CodecError::CannotEncode { .. })));
}

#[test]
fn the_sign_of_the_header_rules_over_that_of_the_codestream() {
    // The same 13-bit patterns, once called signed and once unsigned by the codestream.
    let signed = picture(gray(9, 7, 16, 13, true), TestContent::Noise);
    let patterns = samples::patterns(&signed, 13);
    let unsigned = DecodedFrame::new(
        gray(9, 7, 16, 13, false),
        patterns.iter().flat_map(|p| p.to_le_bytes()).collect(),
    )
    .unwrap();
    for syntax in [JPEG_2000, HT_LOSSLESS, JPEG_LS, FIRST_ORDER] {
        let of_unsigned = encoded(syntax, &unsigned).bytes;
        assert_eq!(
            decoded(syntax, &of_unsigned, &signed.shape),
            signed,
            "{syntax}"
        );
        let of_signed = encoded(syntax, &signed).bytes;
        assert_eq!(
            decoded(syntax, &of_signed, &unsigned.shape),
            unsigned,
            "{syntax}"
        );
    }
}

#[test]
fn padding_after_the_codestream_is_ignored() {
    let frame = picture(gray(9, 7, 8, 8, false), TestContent::Noise);
    for syntax in [
        RLE,
        DEFLATED,
        BASELINE,
        FIRST_ORDER,
        JPEG_LS,
        JPEG_LS_NEAR,
        JPEG_2000,
        JPEG_2000_LOSSY,
        HT_LOSSLESS,
        HT_RPCL,
        JPEG_XL,
    ] {
        let encoded = encoded(syntax, &frame);
        let exact = decoded(syntax, &encoded.bytes, &encoded.shape);
        for padding in 1..=2 {
            let padded = [encoded.bytes.as_slice(), &vec![0; padding]].concat();
            assert_eq!(decoded(syntax, &padded, &encoded.shape), exact, "{syntax}");
        }
    }
}

#[test]
fn a_missing_end_marker_is_forgiven_and_missing_data_are_not() {
    let frame = picture(gray(16, 16, 16, 12, false), TestContent::Noise);
    for syntax in [JPEG_2000, FIRST_ORDER] {
        let bytes = encoded(syntax, &frame).bytes;
        assert!(bytes.ends_with(&[0xff, 0xd9]));
        let open = &bytes[..bytes.len() - 2];
        assert_eq!(decoded(syntax, open, &frame.shape), frame, "{syntax}");
        let cut = &bytes[..bytes.len() - 60];
        let result = decode(syntax, cut, &frame.shape, &FrameLimits::default());
        assert!(
            matches!(result, Err(CodecError::Codestream { .. })),
            "{syntax}"
        );
    }
}

/// A sequence delimitation item, as it would end a sequence of fragments.
const DELIMITER: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];

#[test]
fn a_sequence_delimiter_inside_a_codestream_is_only_data() {
    let frame = DecodedFrame::new(gray(5, 8, 8, 8, false), DELIMITER.repeat(5)).unwrap();
    let rle = encoded(RLE, &frame);
    assert!(rle.bytes.windows(4).any(|w| w == &DELIMITER[..4]));
    assert_eq!(decoded(RLE, &rle.bytes, &rle.shape), frame);
    // A comment segment goes behind the frame header of JPEG and the main header of JPEG 2000.
    let comment = |marker: u8| [&[0xff, marker, 0, 10][..], &DELIMITER].concat();
    for (syntax, marker, place) in [(FIRST_ORDER, 0xfe, 2), (JPEG_2000, 0x64, 0)] {
        let mut bytes = encoded(syntax, &frame).bytes;
        let place = match place {
            0 => bytes.windows(2).position(|w| w == [0xff, 0x90]).unwrap(),
            place => place,
        };
        bytes.splice(place..place, comment(marker));
        assert_eq!(decoded(syntax, &bytes, &frame.shape), frame, "{syntax}");
    }
}

#[test]
fn samples_narrower_than_bits_allocated_are_widened() {
    let narrow = picture(gray(6, 5, 8, 8, false), TestContent::Noise);
    let wide = gray(6, 5, 16, 8, false);
    for syntax in [FIRST_ORDER, JPEG_LS, JPEG_2000, HT_RPCL] {
        let bytes = encoded(syntax, &narrow).bytes;
        let frame = decoded(syntax, &bytes, &wide);
        let expected: Vec<u8> = narrow.data.iter().flat_map(|&byte| [byte, 0]).collect();
        assert_eq!(frame.data, expected, "{syntax}");
    }
}

#[test]
fn a_codestream_that_contradicts_its_syntax_is_decoded_and_tells() {
    let frame = picture(gray(16, 16, 8, 8, false), TestContent::Smooth);
    let jpeg = encoded(BASELINE, &frame).bytes;
    let near = encoded(JPEG_LS_NEAR, &frame).bytes;
    let irreversible = encoded(JPEG_2000_LOSSY, &frame).bytes;
    for (syntax, bytes) in [
        (FIRST_ORDER, jpeg),
        (JPEG_LS, near),
        (JPEG_2000, irreversible),
    ] {
        assert!(largest_difference(&decoded(syntax, &bytes, &frame.shape), &frame) <= 4);
        assert_eq!(stream_is_lossy(syntax, &bytes), Some(true), "{syntax}");
    }
    let lossless = encoded(FIRST_ORDER, &frame).bytes;
    assert_eq!(decoded(BASELINE, &lossless, &frame.shape), frame);
    assert_eq!(stream_is_lossy(BASELINE, &lossless), Some(false));
    assert_eq!(
        stream_is_lossy(JPEG_LS, &encoded(JPEG_LS, &frame).bytes),
        Some(false)
    );
    assert_eq!(
        stream_is_lossy(JPEG_2000, &encoded(JPEG_2000, &frame).bytes),
        None
    );
    assert_eq!(stream_is_lossy(JPEG_2000, &[]), None);
}

#[test]
fn the_codestream_decides_over_rows_columns_components_and_bits() {
    let frame = picture(gray(9, 7, 16, 12, false), TestContent::Noise);
    for syntax in [FIRST_ORDER, JPEG_LS, JPEG_2000, JPEG_XL, EXTENDED] {
        let bytes = encoded(syntax, &frame).bytes;
        let right = decoded(syntax, &bytes, &frame.shape);
        let wrong = [
            FrameShape {
                rows: 10,
                ..frame.shape
            },
            FrameShape {
                columns: 8,
                ..frame.shape
            },
            FrameShape {
                samples: 3,
                photometric: Photometric::Rgb,
                ..frame.shape
            },
            FrameShape {
                bits_allocated: 8,
                bits_stored: 8,
                ..frame.shape
            },
            FrameShape {
                bits_stored: 16,
                ..frame.shape
            },
            FrameShape {
                bits_stored: 10,
                ..frame.shape
            },
        ];
        for shape in wrong {
            assert_eq!(decoded(syntax, &bytes, &shape), right, "{syntax} {shape:?}");
            let declared = codestream_shape(syntax, &bytes, &shape).unwrap();
            assert_eq!(
                declared.frame_bytes(),
                right.shape.frame_bytes(),
                "{syntax} {shape:?}"
            );
        }
        let limits = FrameLimits {
            max_frame_bytes: 125,
        };
        let small = gray(1, 1, 16, 12, false);
        let refused = decode(syntax, &bytes, &small, &limits);
        assert!(
            matches!(refused, Err(CodecError::TooLarge { .. })),
            "{syntax}"
        );
    }
}

/// A reversible codestream of three planes, each with its own steps.
#[expect(
    clippy::field_reassign_with_default,
    reason = "the type has a destructor, so struct update syntax is not allowed"
)]
fn subsampled_jpeg_2000(rows: u32, columns: u32, planes: &[(Vec<i32>, u32, u32)]) -> Vec<u8> {
    use openjp2::openjpeg::opj_cparameters_t;
    use openjp2::{Codec, OPJ_CLRSPC_SYCC, OPJ_CODEC_J2K, opj_image, opj_image_comptparm};
    let component = |&(_, dx, dy): &(Vec<i32>, u32, u32)| opj_image_comptparm {
        dx,
        dy,
        w: columns.div_ceil(dx),
        h: rows.div_ceil(dy),
        prec: 8,
        bpp: 8,
        ..Default::default()
    };
    let components: Vec<_> = planes.iter().map(component).collect();
    let mut image = opj_image::create(&components, OPJ_CLRSPC_SYCC).unwrap();
    (image.x1, image.y1) = (columns, rows);
    for (target, (plane, ..)) in image.comps_mut().unwrap().iter_mut().zip(planes) {
        target.data_mut().unwrap().copy_from_slice(plane);
    }
    let mut parameters = opj_cparameters_t::default();
    parameters.tcp_numlayers = 1;
    parameters.cp_disto_alloc = 1;
    parameters.numresolution = 2;
    let mut codec = Codec::new_encoder(OPJ_CODEC_J2K).unwrap();
    let mut writer = jpeg2000_stream::StreamWriter::new();
    assert!(
        codec.setup_encoder(&mut parameters, &mut image) != 0
            && codec.start_compress(&mut image, writer.stream()) != 0
            && codec.encode(writer.stream()) != 0
            && codec.end_compress(writer.stream()) != 0
    );
    writer.into_bytes().unwrap()
}

#[test]
fn subsampled_jpeg_2000_is_spread_over_its_pixels() {
    for (rows, columns, dx, dy) in [(8_u32, 12_u32, 2_u32, 1_u32), (8, 12, 2, 2), (7, 9, 2, 2)] {
        let value = |x: u32, y: u32, sample: u32| (x * 17 + y * 29 + sample * 71) % 256;
        let plane = |sample: u32, dx: u32, dy: u32| {
            let (w, h) = (columns.div_ceil(dx), rows.div_ceil(dy));
            let samples = (0..h).flat_map(|y| (0..w).map(move |x| (x, y)));
            let plane = samples.map(|(x, y)| value(x, y, sample).cast_signed());
            (plane.collect::<Vec<i32>>(), dx, dy)
        };
        let bytes = subsampled_jpeg_2000(
            rows,
            columns,
            &[plane(0, 1, 1), plane(1, dx, dy), plane(2, dx, dy)],
        );
        let expected: Vec<u8> = (0..rows)
            .flat_map(|y| (0..columns).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                [
                    value(x, y, 0),
                    value(x / dx, y / dy, 1),
                    value(x / dx, y / dy, 2),
                ]
            })
            .map(|value| u8::try_from(value).unwrap())
            .collect();
        // Labels that real slides carry; nobody subsamples red and blue.
        for photometric in [
            Photometric::YbrFull422,
            Photometric::YbrFull,
            Photometric::Rgb,
        ] {
            let shape = FrameShape {
                photometric,
                ..rgb(rows, columns, 8)
            };
            let frame = decoded(JPEG_2000, &bytes, &shape);
            assert_eq!(frame.shape.photometric, Photometric::YbrFull);
            assert_eq!(frame.data, expected, "{rows}x{columns} {photometric:?}");
        }
    }
}

#[test]
fn frames_above_the_limit_are_refused_before_anything_else() {
    let frame = picture(gray(9, 7, 16, 12, false), TestContent::Noise);
    let limits = FrameLimits {
        max_frame_bytes: 125,
    };
    for syntax in [
        RLE,
        DEFLATED,
        FIRST_ORDER,
        JPEG_LS,
        JPEG_2000,
        JPEG_XL,
        "1.2.840.10008.1.2",
    ] {
        let result = decode(syntax, &[], &frame.shape, &limits);
        assert!(
            matches!(
                result,
                Err(CodecError::TooLarge {
                    bytes: 126,
                    limit: 125
                })
            ),
            "{syntax}"
        );
    }
    let huge = gray(u32::MAX, u32::MAX, 64, 64, false);
    let result = decode(RLE, &[0; 64], &huge, &FrameLimits::default());
    assert!(matches!(result, Err(CodecError::TooLarge { .. })));
}

#[test]
fn only_canonical_shapes_are_offered_for_encoding() {
    let stored = FrameShape {
        photometric: Photometric::YbrFull422,
        ..rgb(4, 4, 8)
    };
    assert!(!can_encode(RLE, &stored));
    let plan = decoded_shape(BASELINE, &stored).unwrap();
    assert!(can_encode(RLE, &plan));
    let planar = FrameShape {
        planar: true,
        ..rgb(4, 4, 8)
    };
    assert!(!can_encode(RLE, &planar));
    assert!(can_decode("1.2.840.10008.1.2.1", &planar));
}

#[test]
fn unknown_and_video_syntaxes_are_named() {
    let shape = gray(2, 2, 8, 8, false);
    let unknown = decode("1.2.3", &[], &shape, &FrameLimits::default());
    assert!(matches!(
        unknown,
        Err(CodecError::UnknownTransferSyntax { .. })
    ));
    let video = decode(
        "1.2.840.10008.1.2.4.102",
        &[],
        &shape,
        &FrameLimits::default(),
    );
    assert!(matches!(video, Err(CodecError::CannotDecode { .. })));
    let frame = picture(shape, TestContent::Noise);
    let lossy = encode(HT, &frame, &EncodeOptions::default());
    assert!(matches!(lossy, Err(CodecError::CannotEncode { .. })));
    let long = gray(1, 32_769, 8, 8, false);
    assert!(!can_encode(HT_LOSSLESS, &long) && can_encode(JPEG_2000, &long));
}

#[test]
fn a_panic_of_a_codec_becomes_an_error() {
    let result: Result<(), _> = guarded(Coding::Jpeg2000, || panic!("library bug"));
    assert!(matches!(
        result,
        Err(CodecError::Panicked {
            coding: Coding::Jpeg2000
        })
    ));
}
