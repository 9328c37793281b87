//! Marker segments: what is passed over, what is honored, what is refused.

use super::*;

fn gray() -> (Vec<u8>, Vec<u8>) {
    let params = image(13, 11, 1, 8, 0, Interleave::None);
    let original = pattern(&params);
    (encode(&original, &params).unwrap(), original)
}

/// The gray stream with other bytes before its SOS.
fn with_segment(segment: &str) -> Vec<u8> {
    let (stream, _) = gray();
    let (head, scan, data) = split(&stream);
    [head, &hex(segment), scan, data, &EOI].concat()
}

/// The gray stream with `bytes` at `offset` of its first segment of kind `marker`.
fn with_bytes(marker: u8, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let (mut stream, _) = gray();
    let start = stream
        .windows(2)
        .position(|pair| pair == [0xFF, marker])
        .unwrap()
        + 4
        + offset;
    stream[start..start + bytes.len()].copy_from_slice(bytes);
    stream
}

#[track_caller]
fn assert_unsupported(stream: &[u8], feature: &'static str) {
    assert_eq!(decode(stream, 1000), Err(Error::Unsupported { feature }));
}

#[track_caller]
fn assert_bad_segment(stream: &[u8], marker: u8) {
    match decode(stream, 1000) {
        Err(Error::Segment { marker: found, .. }) => assert_eq!(found, marker),
        other => panic!("{other:?}"),
    }
    assert!(read_info(stream).is_err());
}

#[test]
fn application_data_comments_and_fill_bytes_are_passed_over() {
    let (_, original) = gray();
    for segment in [
        "ffe00004ffd9",
        "ffff fffe0002",
        "ffe8 0007 6d72667800",
        "ffe8 0004 0001 ffef 0003 da ffffff",
    ] {
        assert_eq!(
            decode(&with_segment(segment), 1000).unwrap().samples,
            original,
            "{segment}"
        );
    }
}

#[test]
fn bytes_behind_the_end_are_ignored() {
    let (mut stream, original) = gray();
    stream.extend_from_slice(&[0, 0xFF, 0xDA]);
    assert_eq!(decode(&stream, 1000).unwrap().samples, original);
}

#[test]
fn a_few_spare_bytes_behind_the_data_are_tolerated_but_not_many() {
    let (stream, original) = gray();
    let (head, scan, data) = split(&stream);
    let spare = [head, scan, data, &[0, 0, 0], &[0xFF], &EOI].concat();
    assert_eq!(decode(&spare, 1000).unwrap().samples, original);
    let many = [head, scan, data, &[0; 20], &EOI].concat();
    assert!(matches!(decode(&many, 1000), Err(Error::Damaged { .. })));
}

#[test]
fn segments_between_scans_are_read() {
    let params = image(9, 8, 3, 8, 0, Interleave::None);
    let original = pattern(&params);
    let stream = encode(&original, &params).unwrap();
    let scans: Vec<usize> = stream
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| *pair == [0xFF, 0xDA])
        .map(|(at, _)| at)
        .collect();
    let [_, second, third] = scans[..] else {
        panic!("{scans:?}")
    };
    let comment = hex("fffe0005414243 ffe10002");
    // Default parameters, spelled out: nothing may change.
    let presets = hex("fff8000d01 00ff 0003 0007 0015 0040");
    let long = [
        &stream[..second],
        &comment,
        &stream[second..third],
        &presets,
        &stream[third..],
    ]
    .concat();
    assert_eq!(decode(&long, 1000).unwrap().samples, original);
}

#[test]
fn scans_may_hold_any_part_of_the_components() {
    let four = image(9, 8, 4, 8, 0, Interleave::None);
    let original = pattern(&four);
    let pick = |components: &[usize]| -> Vec<u8> {
        original
            .chunks(4)
            .flat_map(|pixel| components.iter().map(|&c| pixel[c]))
            .collect()
    };
    let head = encode(&original, &four).unwrap();
    let color = encode(
        &pick(&[3, 0, 2]),
        &EncodeParams {
            components: 3,
            near: 2,
            interleave: Interleave::Sample,
            ..four
        },
    )
    .unwrap();
    let single = encode(
        &pick(&[1]),
        &EncodeParams {
            components: 1,
            ..four
        },
    )
    .unwrap();
    let (color_data, single_data) = (split(&color).2, split(&single).2);
    let stream = [
        split(&head).0,
        &hex("ffda0008 01 0200 000000"),
        single_data,
        &hex("ffda000c 03 0400 0100 0300 020200"),
        color_data,
        &EOI,
    ]
    .concat();
    let decoded = decode(&stream, 1000).unwrap();
    assert_eq!(
        decoded.info,
        Info {
            near: 2,
            ..info(&four)
        }
    );
    assert_eq!(read_info(&stream), Ok(info(&four)));
    assert!(largest_difference(&decoded.samples, &original, &four) <= 2);
    let second: Vec<u8> = decoded.samples.chunks(4).map(|pixel| pixel[1]).collect();
    assert_eq!(second, pick(&[1]));
}

#[test]
fn components_with_one_identifier_are_taken_in_order() {
    let params = image(9, 8, 3, 8, 0, Interleave::Line);
    let original = pattern(&params);
    let mut stream = encode(&original, &params).unwrap();
    for component in 0..3 {
        stream[12 + 3 * component] = 0;
        stream[26 + 2 * component] = 0;
    }
    assert_eq!(decode(&stream, 1000).unwrap().samples, original);
}

#[test]
fn single_components_are_read_whatever_their_interleave_mode() {
    let (_, original) = gray();
    for mode in 0..3 {
        assert_eq!(
            decode(&with_bytes(0xDA, 4, &[mode]), 1000).unwrap().samples,
            original
        );
    }
    assert_bad_segment(&with_bytes(0xDA, 4, &[3]), 0xDA);
}

#[test]
fn missing_and_repeated_scans_are_refused() {
    let params = image(9, 8, 2, 8, 0, Interleave::None);
    let stream = encode(&pattern(&params), &params).unwrap();
    let second = stream
        .windows(2)
        .rposition(|pair| pair == [0xFF, 0xDA])
        .unwrap();
    let first = [&stream[..second], &EOI].concat();
    assert_eq!(
        decode(&first, 1000),
        Err(Error::MissingComponent { component: 1 })
    );
    let twice = [&stream[..stream.len() - 2], &stream[second..]].concat();
    assert!(matches!(
        decode(&twice, 1000),
        Err(Error::Segment { marker: 0xDA, .. })
    ));
    assert_eq!(
        decode(&hex("ffd8ffd9"), 1000),
        Err(Error::MissingComponent { component: 0 })
    );
}

#[test]
fn features_that_would_change_the_samples_are_refused() {
    assert_unsupported(&with_bytes(0xDA, 5, &[1]), "a point transform");
    assert_unsupported(&with_bytes(0xDA, 2, &[1]), "mapping tables");
    assert_unsupported(&with_segment("fff80006 02010100"), "mapping tables");
    assert_unsupported(&with_segment("fff80006 03010100"), "mapping tables");
    assert_unsupported(
        &with_segment("fff80008 040200010001"),
        "dimensions outside the frame header",
    );
    assert_unsupported(
        &with_bytes(0xF7, 1, &[0, 0]),
        "dimensions outside the frame header",
    );
    assert_unsupported(
        &with_bytes(0xF7, 3, &[0, 0]),
        "dimensions outside the frame header",
    );
    assert_unsupported(&with_segment("ffdc0004 000b"), "a height given by DNL");
    assert_unsupported(&with_segment("ffe80007 6d72667801"), "a color transform");
    assert_unsupported(
        &hex("ffd8fff70017 08 0001 0001 05 011100 021100 031100 041100 051100"),
        "more than 4 components",
    );
    assert_unsupported(
        &hex("ffd8fff7000e 08 0002 0002 02 012200 021100"),
        "subsampled components",
    );
    assert_unsupported(
        &hex("ffd8fff7000e 08 0002 0002 02 012200 022200 ffda000a 02 0100 0200 000100 00"),
        "sampling factors in an interleaved scan",
    );
}

#[test]
fn impossible_values_are_refused() {
    for precision in [0, 1, 17, 255] {
        assert_bad_segment(&with_bytes(0xF7, 0, &[precision]), 0xF7);
    }
    assert_bad_segment(&with_bytes(0xF7, 5, &[2]), 0xF7);
    assert_bad_segment(&with_bytes(0xF7, 7, &[0x10]), 0xF7);
    assert_bad_segment(&with_bytes(0xDA, 0, &[0]), 0xDA);
    assert_bad_segment(&with_bytes(0xDA, 1, &[9]), 0xDA);
    assert_bad_segment(&with_bytes(0xDA, 3, &[128]), 0xDA);
    assert_bad_segment(&with_segment("fff7000b 08 000b 000d 01 011100"), 0xF7);
    assert_bad_segment(&with_segment("ffdd0003 01"), 0xDD);
    assert_bad_segment(&with_segment("fff8000c01 00ff 0003 0007 0015 00"), 0xF8);
    assert_bad_segment(&with_segment("fff8000305"), 0xF8);
    assert_bad_segment(&with_segment("fffe0001"), 0xFE);
    for presets in [
        "0100 0000 0000 0000 0000",
        "0000 0008 0007 0000 0000",
        "0000 0000 0000 0100 0000",
        "0000 0000 0000 0000 0002",
        "0000 0000 0000 0000 0100",
    ] {
        assert_bad_segment(&with_segment(&format!("fff8000d01 {presets}")), 0xDA);
    }
}

#[test]
fn markers_that_do_not_belong_are_refused() {
    for marker in [
        0x01, 0xC0, 0xC3, 0xC4, 0xD0, 0xD7, 0xD8, 0xDB, 0xDE, 0xF0, 0xF6, 0xF9, 0xFD,
    ] {
        let stream = with_segment(&format!("ff{marker:02x}0002"));
        assert_eq!(
            decode(&stream, 1000),
            Err(Error::UnexpectedMarker { marker, offset: 15 })
        );
    }
    assert_eq!(
        decode(&with_segment("00"), 1000),
        Err(Error::MissingMarker { offset: 15 })
    );
    assert_eq!(decode(b"\x89PNG", 1000), Err(Error::NotJpeg));
    // A scan before any frame.
    assert_bad_segment(&hex("ffd8ffda0008010100000000"), 0xDA);
}

/// Strips coded one by one, joined by restart markers.
fn restarted(params: &EncodeParams, lines: u8, first_marker: u8) -> (Vec<u8>, Vec<u8>) {
    let original = pattern(params);
    let row_bytes = original.len() / params.rows as usize;
    let whole = encode(&original, params).unwrap();
    let (head, scan, _) = split(&whole);
    let mut stream = [head, &[0xFF, 0xDD, 0, 5, 0, 0, lines], scan].concat();
    for (index, strip) in (0_u8..).zip(original.chunks(row_bytes * usize::from(lines))) {
        if index > 0 {
            stream.extend_from_slice(&[0xFF, 0xD0 + (first_marker + index - 1) % 8]);
        }
        let rows = u32::try_from(strip.len() / row_bytes).unwrap();
        let coded = encode(strip, &EncodeParams { rows, ..*params }).unwrap();
        stream.extend_from_slice(split(&coded).2);
    }
    stream.extend_from_slice(&EOI);
    (stream, original)
}

#[test]
fn restart_intervals_are_honored() {
    for (components, interleave) in [
        (1, Interleave::None),
        (3, Interleave::Line),
        (4, Interleave::Sample),
    ] {
        for near in [0, 3] {
            for lines in [1, 2, 5, 22, 23, 200] {
                let params = image(17, 23, components, 8, near, interleave);
                let (stream, original) = restarted(&params, lines, 0);
                let decoded = decode(&stream, 10_000).unwrap();
                assert!(largest_difference(&decoded.samples, &original, &params) <= near.into());
            }
        }
    }
}

#[test]
fn restart_markers_out_of_turn_are_refused() {
    let params = image(17, 23, 1, 8, 0, Interleave::None);
    let (stream, _) = restarted(&params, 4, 1);
    assert!(matches!(
        decode(&stream, 10_000),
        Err(Error::UnexpectedMarker { marker: 0xD1, .. })
    ));
    let (stream, _) = restarted(&params, 4, 0);
    // Without the interval the first restart marker comes before its time.
    let at = stream
        .windows(2)
        .position(|pair| pair == [0xFF, 0xDD])
        .unwrap();
    let without = [&stream[..at], &stream[at + 7..]].concat();
    assert!(matches!(
        decode(&without, 10_000),
        Err(Error::Truncated { .. } | Error::Damaged { .. })
    ));
}
