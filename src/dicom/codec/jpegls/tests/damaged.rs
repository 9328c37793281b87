//! Hostile bytes: an error or an image of the announced size, never a panic.

use super::super::context::ContextModel;
use super::*;

const IMAGES: [EncodeParams; 8] = [
    image(23, 17, 1, 8, 0, Interleave::None),
    image(23, 17, 1, 16, 0, Interleave::None),
    image(23, 17, 1, 12, 3, Interleave::None),
    image(11, 9, 3, 8, 0, Interleave::None),
    image(11, 9, 3, 8, 0, Interleave::Line),
    image(11, 9, 3, 8, 0, Interleave::Sample),
    image(11, 9, 3, 16, 2, Interleave::Sample),
    image(11, 9, 4, 10, 2, Interleave::Line),
];

#[test]
fn every_shortened_stream_is_an_error() {
    for params in &IMAGES {
        let stream = encode(&pattern(params), params).unwrap();
        for length in 0..stream.len() {
            assert!(
                decode(&stream[..length], 10_000).is_err(),
                "{params:?} cut to {length}"
            );
        }
    }
}

#[test]
fn data_that_ends_before_the_image_is_reported_as_truncated() {
    for params in [&IMAGES[0], &IMAGES[1], &IMAGES[2], &IMAGES[5], &IMAGES[7]] {
        let stream = encode(&pattern(params), params).unwrap();
        let (head, scan, data) = split(&stream);
        for length in 0..data.len() - 2 {
            let short = [head, scan, &data[..length], &EOI].concat();
            let outcome = decode(&short, 10_000);
            assert!(
                matches!(outcome, Err(Error::Truncated { .. })),
                "{params:?} {length}: {outcome:?}"
            );
        }
    }
}

/// One to four changes: bits, bytes of interest, cuts, insertions, repeated parts.
fn mutate(stream: &[u8], numbers: &mut TestNumbers) -> Vec<u8> {
    let mut bytes = stream.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(7) {
            0 | 1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes[at] = [0, 0xFF, 0x7F, 0x80][numbers.below(4)],
            3 => bytes[at] = numbers.byte(),
            4 => bytes.truncate(at.max(2)),
            5 => bytes.insert(at, numbers.byte()),
            _ => {
                let part = bytes[at..]
                    .iter()
                    .copied()
                    .take(numbers.below(20))
                    .collect::<Vec<_>>();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[test]
fn mutated_streams_never_panic() {
    let mut numbers = TestNumbers(0x2545_F491);
    let mut refused = 0;
    for params in &IMAGES {
        let stream = encode(&pattern(params), params).unwrap();
        for _ in 0..1000 {
            let bytes = mutate(&stream, &mut numbers);
            match decode(&bytes, 100_000) {
                Ok(image) => assert_eq!(image.samples.len() as u64, image.info.samples_bytes()),
                Err(_) => refused += 1,
            }
            let _ = read_info(&bytes);
        }
    }
    assert!(refused > 4000, "{refused}");
}

#[test]
fn random_data_behind_good_headers_never_panics() {
    let mut numbers = TestNumbers(99);
    for params in &IMAGES {
        let stream = encode(&pattern(params), params).unwrap();
        let (head, scan, data) = split(&stream);
        for _ in 0..200 {
            let noise: Vec<u8> = data.iter().map(|_| numbers.byte() & 0x7F).collect();
            let _ = decode(&[head, scan, &noise, &EOI].concat(), 10_000);
        }
    }
}

#[test]
fn images_beyond_the_limit_are_refused_before_allocation() {
    let params = image(40, 30, 3, 12, 0, Interleave::Sample);
    let stream = encode(&pattern(&params), &params).unwrap();
    assert!(decode(&stream, 7200).is_ok());
    assert_eq!(
        decode(&stream, 7199),
        Err(Error::TooLarge {
            needed: 7200,
            limit: 7199
        })
    );
    let bomb = hex(
        "ffd8fff70014 10 ffff ffff 04 011100 021100 031100 041100 ffda000e 04 0100 0200 0300 0400 000200",
    );
    assert_eq!(read_info(&bomb).unwrap().samples_bytes(), 34_358_689_800);
    assert!(matches!(
        decode(&bomb, 1 << 30),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn a_tall_image_without_data_is_refused_before_allocation() {
    let stream = hex("ffd8fff7000b 08 ffff 0001 01 011100 ffda0008 01 0100 000000 ffd9");
    assert!(matches!(
        decode(&stream, usize::MAX),
        Err(Error::Truncated { .. })
    ));
}

#[test]
fn contexts_keep_their_bounds_under_the_largest_errors() {
    let presets = coding::RawPresets {
        maximum: 0,
        thresholds: [0; 3],
        reset: u16::MAX,
    };
    let coding = coding::CodingParameters::new(&presets.resolve(16, 0).unwrap(), 0);
    let mut model = ContextModel::new(coding);
    for round in 0..300_000 {
        let error = if round % 3 == 0 { 32_768 } else { -32_768 };
        let (context, _) = model.regular(1);
        assert!(context.k() <= 16);
        context.update(error, 1, coding.reset);
        let end = model.run_end::<1>(0, 0);
        assert!(end.context.k() <= 16);
        end.context.update(error, coding.range, coding.reset);
    }
}
