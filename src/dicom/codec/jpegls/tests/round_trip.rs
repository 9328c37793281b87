//! Every combination of mode, depth, size and content comes back as it went in.

use super::*;

use super::super::coding::RawPresets;
use super::super::encode::encode_with;

const MODES: [(u8, Interleave); 10] = [
    (1, Interleave::None),
    (2, Interleave::None),
    (2, Interleave::Line),
    (2, Interleave::Sample),
    (3, Interleave::None),
    (3, Interleave::Line),
    (3, Interleave::Sample),
    (4, Interleave::None),
    (4, Interleave::Line),
    (4, Interleave::Sample),
];

fn contents(params: &EncodeParams) -> Vec<Vec<u8>> {
    let mut numbers = TestNumbers(1);
    let mut impulses = TestNumbers(2);
    vec![
        pattern(params),
        samples(params, |_, _, _, _| numbers.next()),
        samples(params, |_, _, c, largest| largest / 2 + c),
        samples(params, |x, y, _, largest| (x + y) % 2 * largest),
        samples(params, |x, y, c, _| {
            u32::from(x * 3 / 40 + y / 5 + c > 3) + u32::from(impulses.below(50) == 0)
        }),
    ]
}

fn assert_round_trips(params: &EncodeParams) {
    for (index, original) in contents(params).iter().enumerate() {
        let stream = encode(original, params).unwrap();
        let decoded = decode(&stream, original.len()).unwrap();
        assert_eq!(decoded.info, info(params));
        if params.near == 0 {
            assert!(decoded.samples == *original, "{params:?}, content {index}");
        } else {
            let difference = largest_difference(&decoded.samples, original, params);
            assert!(
                difference <= params.near.into(),
                "{params:?}, content {index}: {difference}"
            );
        }
    }
}

#[test]
fn every_mode_and_size_round_trips() {
    for (components, interleave) in MODES {
        for (columns, rows) in [(1, 1), (3, 3), (7, 1), (1, 9), (5, 40), (41, 13)] {
            for precision in [8, 12, 16] {
                for near in [0, 3, 10] {
                    assert_round_trips(&image(
                        columns, rows, components, precision, near, interleave,
                    ));
                }
            }
        }
    }
}

#[test]
fn every_precision_round_trips_up_to_its_largest_tolerance() {
    for precision in 2..=16 {
        let largest = coding::largest_near(coding::maximum_for(precision));
        for near in [0, 1, largest / 2, u8::try_from(largest).unwrap().into()] {
            let near = u8::try_from(near).unwrap();
            assert_round_trips(&image(29, 23, 1, precision, near, Interleave::None));
            assert_round_trips(&image(29, 23, 3, precision, near, Interleave::Sample));
        }
    }
}

#[test]
fn lines_wider_than_the_longest_run_code_round_trip() {
    let params = image(65_535, 8, 1, 8, 0, Interleave::None);
    let flat = samples(&params, |x, y, _, _| u32::from((x, y) == (40_000, 7)));
    let stream = encode(&flat, &params).unwrap();
    assert!(stream.len() < 100, "{}", stream.len());
    assert!(decode(&stream, flat.len()).unwrap().samples == flat);
}

#[test]
fn other_coding_parameters_round_trip() {
    // Precision, NEAR, MAXVAL, thresholds, RESET; 0 for a default.
    for (precision, near, maximum, thresholds, reset) in [
        (8, 0, 200, [0; 3], 0),
        (8, 2, 129, [3, 3, 90], 3),
        (8, 0, 0, [1, 255, 255], 255),
        (12, 0, 2500, [0, 0, 400], 31),
        (16, 0, 40_000, [20, 90, 300], 40_000),
        (16, 7, 1000, [20, 90, 300], 0),
        (4, 0, 1, [0; 3], 5),
    ] {
        let presets = RawPresets {
            maximum,
            thresholds,
            reset,
        };
        let bound = u32::from(if maximum == 0 { 255 } else { maximum }) + 1;
        for (components, interleave) in MODES {
            let params = image(31, 19, components, precision, near, interleave);
            let mut numbers = TestNumbers(7);
            let original = samples(&params, |x, y, _, _| {
                let value = if x % 9 > 5 {
                    x / 9 + y / 4
                } else {
                    numbers.next()
                };
                value % bound
            });
            let stream = encode_with(&original, &params, presets).unwrap();
            let decoded = decode(&stream, original.len()).unwrap();
            let difference = largest_difference(&decoded.samples, &original, &params);
            assert!(
                difference <= near.into(),
                "{params:?} {presets:?}: {difference}"
            );
        }
    }
}

#[test]
fn encoder_refuses_what_it_cannot_code() {
    let good = image(4, 2, 1, 12, 0, Interleave::None);
    let bytes = [0; 16];
    assert!(encode(&bytes, &good).is_ok());
    for params in [
        EncodeParams { columns: 0, ..good },
        EncodeParams {
            rows: 65_536,
            ..good
        },
        EncodeParams {
            components: 0,
            ..good
        },
        EncodeParams {
            components: 5,
            ..good
        },
        EncodeParams {
            precision: 1,
            ..good
        },
        EncodeParams {
            precision: 17,
            ..good
        },
        EncodeParams {
            precision: 2,
            near: 2,
            ..good
        },
    ] {
        assert!(
            matches!(encode(&bytes, &params), Err(Error::Parameters { .. })),
            "{params:?}"
        );
    }
    assert_eq!(
        encode(&bytes[1..], &good),
        Err(Error::SampleLength {
            expected: 16,
            actual: 15
        })
    );
    let mut large = bytes;
    large[11] = 0x10;
    assert_eq!(
        encode(&large, &good),
        Err(Error::SampleRange {
            row: 1,
            maximum: 4095
        })
    );
}
