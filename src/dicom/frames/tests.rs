use proptest::prelude::*;

use super::*;
use crate::dicom::instance::Instance;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::testing::{BuiltFile, DataSet, Syntax};
use dicom_core::{Tag, VR};

const JPEG: Syntax = Syntax::Other("1.2.840.10008.1.2.4.50");

fn parsed(built: &BuiltFile) -> Instance {
    parse(&built.bytes, &ParseOptions::default()).unwrap()
}

/// The bytes of each frame, checked to be the same through the packed form.
fn frames(built: &BuiltFile, table: &FrameTable) -> Vec<Vec<u8>> {
    let bytes = table.to_bytes();
    assert_eq!(FrameTable::from_bytes(&bytes).as_ref(), Some(table));
    let packed = PackedFrames::new(&bytes).unwrap();
    assert_eq!(packed.count(), table.count());
    assert_eq!((packed.frame(0), table.frame(0)), (None, None));
    assert_eq!(packed.frame(table.count() + 1), None);
    assert_eq!(table.frame(table.count() + 1), None);
    let of = |slices: FrameSlices| -> Vec<u8> {
        let part = |range: &ByteRange| {
            let start = usize::try_from(range.offset).unwrap();
            built.bytes[start..start + usize::try_from(range.length).unwrap()].to_vec()
        };
        slices.ranges.iter().flat_map(part).collect()
    };
    let all = (1..=table.count()).map(|number| {
        let slices = table.frame(number).unwrap();
        assert_eq!(packed.frame(number).as_ref(), Some(&slices));
        of(slices)
    });
    all.collect()
}

/// Three JPEG-like frames, cut into fragments of at most `size` bytes.
fn cut(size: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<u32>) {
    let frames: Vec<Vec<u8>> = (1..=3_u8)
        .map(|n| [&[0xFF, 0xD8, 0xFF, 0xC0][..], &vec![n; 10 * usize::from(n)]].concat())
        .collect();
    let mut fragments = Vec::new();
    let (mut offsets, mut at) = (Vec::new(), 0);
    for frame in &frames {
        offsets.push(at);
        for fragment in frame.chunks(size) {
            at += 8 + u32::try_from(fragment.len()).unwrap();
            fragments.push(fragment.to_vec());
        }
    }
    (frames, fragments, offsets)
}

fn file(
    declared: u32,
    table: &[u32],
    fragments: &[Vec<u8>],
    extended: Option<(Vec<u64>, Vec<u64>)>,
) -> BuiltFile {
    let parts: Vec<&[u8]> = fragments.iter().map(Vec::as_slice).collect();
    let mut data = DataSet::image(8, 8, 8, declared);
    if let Some((offsets, lengths)) = extended {
        let bytes = |values: Vec<u64>| -> Vec<u8> {
            values.into_iter().flat_map(u64::to_le_bytes).collect()
        };
        data = data
            .bytes(Tag(0x7FE0, 0x0001), VR::OV, bytes(offsets))
            .bytes(Tag(0x7FE0, 0x0002), VR::OV, bytes(lengths));
    }
    data.fragments(table, &parts).file(JPEG)
}

#[test]
fn four_layouts_give_the_same_frames() {
    let (want, whole, offsets) = cut(1000);
    let (_, pieces, piece_offsets) = cut(6);
    let extended = (
        offsets.iter().map(|o| u64::from(*o)).collect(),
        whole.iter().map(|f| f.len() as u64).collect(),
    );
    let layouts = [
        (file(3, &offsets, &whole, None), 0),
        (file(3, &[], &whole, Some(extended)), 0),
        (file(3, &[], &whole, None), 0),
        (file(3, &piece_offsets, &pieces, None), 0),
        // Here the first bytes of the fragments must do, and that is said.
        (file(3, &[], &pieces, None), 1),
    ];
    for (case, (built, findings)) in layouts.iter().enumerate() {
        let instance = parsed(built);
        assert_eq!(frames(built, &instance.frames), want, "{case}");
        assert_eq!(
            instance.findings.len(),
            *findings,
            "{case}: {:?}",
            instance.findings
        );
    }
}

#[test]
fn one_frame_may_have_many_fragments() {
    let (want, _, _) = cut(1000);
    let pieces: Vec<Vec<u8>> = want[2].chunks(4).map(<[u8]>::to_vec).collect();
    for table in [&[][..], &[0]] {
        let built = file(1, table, &pieces, None);
        let instance = parsed(&built);
        assert_eq!(frames(&built, &instance.frames), [want[2].clone()]);
        assert!(instance.findings.is_empty());
    }
}

#[test]
fn tables_that_contradict_the_fragments_are_overruled() {
    let (want, whole, offsets) = cut(1000);
    let off_by_two: Vec<u32> = offsets.iter().map(|offset| offset + 2).collect();
    let absolute: Vec<u32> = offsets.iter().map(|offset| offset + 1000).collect();
    let repeated = vec![0, 0, 0];
    let only_first = vec![0];
    let backwards: Vec<u32> = offsets.iter().rev().copied().collect();
    for table in [off_by_two, absolute, repeated, only_first, backwards] {
        let built = file(3, &table, &whole, None);
        let instance = parsed(&built);
        assert_eq!(frames(&built, &instance.frames), want, "{table:?}");
        assert_eq!(instance.findings.len(), 1, "{table:?}");
        assert_eq!(instance.findings[0].tag, Tag(0x7FE0, 0x0010));
    }
    let (_, pieces, _) = cut(6);
    let built = file(3, &[0], &pieces, None);
    assert_eq!(frames(&built, &parsed(&built).frames), want);
    let wrong_lengths = (
        offsets.iter().map(|o| u64::from(*o)).collect(),
        vec![1, 2, 3],
    );
    let built = file(3, &[], &whole, Some(wrong_lengths));
    let instance = parsed(&built);
    assert_eq!(frames(&built, &instance.frames), want);
    assert_eq!(instance.findings.len(), 1);
}

#[test]
fn an_extended_table_may_leave_out_the_pad_byte() {
    let fragments = vec![vec![0xFF, 0xD8, 1, 0], vec![0xFF, 0xD8, 2, 2]];
    let built = file(2, &[], &fragments, Some((vec![0, 12], vec![3, 4])));
    let instance = parsed(&built);
    assert!(instance.findings.is_empty());
    assert_eq!(frames(&built, &instance.frames), fragments);
}

#[test]
fn a_wrong_number_of_frames_gives_way_to_the_pixel_data() {
    let (want, whole, offsets) = cut(1000);
    for declared in [1, 2, 5] {
        for table in [&[][..], &offsets] {
            let built = file(declared, table, &whole, None);
            let instance = parsed(&built);
            assert_eq!(
                frames(&built, &instance.frames),
                want,
                "{declared} {table:?}"
            );
            assert!(
                instance
                    .findings
                    .iter()
                    .any(|f| f.tag == Tag(0x0028, 0x0008))
            );
        }
    }
}

#[test]
fn the_fragments_of_a_video_are_one_stream() {
    let (_, pieces, _) = cut(6);
    let parts: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let data = DataSet::image(8, 8, 8, 300).fragments(&[], &parts);
    let built = data.file(Syntax::Other("1.2.840.10008.1.2.4.102"));
    let instance = parsed(&built);
    assert_eq!(frames(&built, &instance.frames), [pieces.concat()]);
    assert!(instance.findings.is_empty());
}

#[test]
fn pixel_data_without_fragments_has_no_frames() {
    let built = file(1, &[], &[], None);
    let instance = parsed(&built);
    assert_eq!(instance.frames, FrameTable::none());
    assert_eq!(instance.findings.len(), 1);
}

#[test]
fn native_frames_follow_by_arithmetic() {
    let data = DataSet::image(2, 3, 16, 4).bytes(
        Tag(0x7FE0, 0x0010),
        VR::OW,
        (0..48).collect::<Vec<u8>>(),
    );
    for syntax in [Syntax::ImplicitLittle, Syntax::ExplicitLittle] {
        let built = data.file(syntax);
        let table = parsed(&built).frames;
        let want: Vec<Vec<u8>> = (0..48)
            .collect::<Vec<u8>>()
            .chunks(12)
            .map(<[u8]>::to_vec)
            .collect();
        assert_eq!(frames(&built, &table), want);
        assert!(!table.is_encapsulated());
    }
}

#[test]
fn only_complete_native_frames_count() {
    let pixels = |bytes: usize| vec![1_u8; bytes];
    for (declared, bytes, count, findings) in [
        (4, 48, 4, 0),
        (4, 36, 3, 1),
        (4, 40, 3, 1),
        (2, 48, 2, 0),
        (1, 10, 0, 1),
        (1, 0, 0, 1),
    ] {
        let data =
            DataSet::image(2, 3, 16, declared).bytes(Tag(0x7FE0, 0x0010), VR::OW, pixels(bytes));
        let instance = parsed(&data.file(Syntax::ExplicitLittle));
        assert_eq!(instance.frames.count(), count, "{declared} {bytes}");
        assert_eq!(instance.findings.len(), findings, "{declared} {bytes}");
    }
    // A number that cannot be read: as many as there are.
    let data = DataSet::image(2, 3, 16, 1)
        .set(DataSet::new().text(Tag(0x0028, 0x0008), VR::IS, "1A"))
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, pixels(36));
    assert_eq!(parsed(&data.file(Syntax::ExplicitLittle)).frames.count(), 3);
}

#[test]
fn single_bit_frames_start_between_bytes() {
    let data = DataSet::image(3, 3, 1, 5).bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![0xA5; 6]);
    let built = data.file(Syntax::ExplicitLittle);
    let base = built.place("7FE00010").unwrap().offset;
    let table = parsed(&built).frames;
    assert_eq!(table.count(), 5);
    let packed = table.to_bytes();
    for (number, first, length, skip) in [
        (1, 0, 2, 0),
        (2, 1, 2, 1),
        (3, 2, 2, 2),
        (4, 3, 2, 3),
        (5, 4, 2, 4),
    ] {
        let want = FrameSlices {
            ranges: vec![ByteRange {
                offset: base + first,
                length,
            }],
            swap: 1,
            bits: Some(BitRange { skip, length: 9 }),
        };
        assert_eq!(table.frame(number).as_ref(), Some(&want));
        assert_eq!(
            PackedFrames::new(&packed).unwrap().frame(number),
            Some(want)
        );
    }
    let aligned = DataSet::image(4, 4, 1, 2).bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![0xA5; 4]);
    let table = parsed(&aligned.file(Syntax::ExplicitLittle)).frames;
    assert_eq!(table.frame(2).unwrap().bits, None);
}

/// Swaps a frame's range and cuts its bits out, as a server does.
fn read_native(built: &BuiltFile, slices: &FrameSlices) -> Vec<u8> {
    let [range] = slices.ranges[..] else {
        panic!("{slices:?}")
    };
    let start = usize::try_from(range.offset).unwrap();
    let mut bytes = built.bytes[start..start + usize::try_from(range.length).unwrap()].to_vec();
    crate::dicom::endian::swap(&mut bytes, slices.swap);
    if let Some(BitRange { skip, length }) = slices.bits {
        assert_eq!((skip % 8, length % 8), (0, 0));
        let skip = usize::from(skip / 8);
        bytes = bytes[skip..skip + usize::try_from(length / 8).unwrap()].to_vec();
    }
    bytes
}

#[test]
fn big_endian_frames_are_read_in_whole_words() {
    let pixels: Vec<u8> = (0..46).collect();
    // 8-bit cells in OW, three to a frame: every other frame starts inside a word. The last byte has no partner.
    for (rows, bits, frames, bytes) in [(3, 8, 15, 45), (3, 16, 7, 42), (1, 32, 11, 44)] {
        let data = DataSet::image(rows, 1, bits, frames).bytes(
            Tag(0x7FE0, 0x0010),
            VR::OW,
            pixels[..bytes].to_vec(),
        );
        let built = data.file(Syntax::ExplicitBig);
        let table = parsed(&built).frames;
        assert_eq!(table.count(), frames);
        let size = usize::from(rows * bits / 8);
        for (number, want) in (1..).zip(pixels[..bytes].chunks_exact(size)) {
            let slices = table.frame(number).unwrap();
            assert_eq!(slices.swap, 2);
            assert_eq!(read_native(&built, &slices), want, "{bits} {number}");
            assert_eq!(
                PackedFrames::new(&table.to_bytes()).unwrap().frame(number),
                Some(slices)
            );
        }
    }
    let bytes =
        DataSet::image(3, 1, 8, 15).bytes(Tag(0x7FE0, 0x0010), VR::OB, pixels[..45].to_vec());
    assert_eq!(
        parsed(&bytes.file(Syntax::ExplicitBig))
            .frames
            .frame(2)
            .unwrap()
            .swap,
        1
    );
    let single_bits = DataSet::image(3, 3, 1, 5).bytes(Tag(0x7FE0, 0x0010), VR::OW, vec![0xA5; 6]);
    let slices = parsed(&single_bits.file(Syntax::ExplicitBig))
        .frames
        .frame(3)
        .unwrap();
    assert_eq!(
        (slices.ranges[0].length, slices.bits),
        (2, Some(BitRange { skip: 2, length: 9 }))
    );
    let slices = parsed(&single_bits.file(Syntax::ExplicitBig))
        .frames
        .frame(2)
        .unwrap();
    assert_eq!(
        (slices.ranges[0].length, slices.bits),
        (4, Some(BitRange { skip: 9, length: 9 }))
    );
    let doubles = DataSet::image(2, 2, 16, 1).bytes(Tag(0x7FE0, 0x0009), VR::OD, vec![0; 32]);
    assert_eq!(
        parsed(&doubles.file(Syntax::ExplicitBig))
            .frames
            .frame(1)
            .unwrap()
            .swap,
        8
    );
}

#[test]
fn float_pixel_data_and_subsampled_color_have_frames_too() {
    for (tag, vr, bytes) in [(0x0008, VR::OF, 4), (0x0009, VR::OD, 8)] {
        let data = DataSet::image(2, 2, 16, 3)
            .without(Tag(0x0028, 0x0100))
            .bytes(Tag(0x7FE0, tag), vr, vec![0; 12 * bytes]);
        let instance = parsed(&data.file(Syntax::ExplicitLittle));
        assert_eq!(instance.frames.count(), 3);
        assert_eq!(instance.frames.frame(3).unwrap().len(), 4 * bytes as u64);
        assert_eq!(
            usize::from(instance.pixel.unwrap().bits_allocated),
            bytes * 8
        );
    }
    let color = DataSet::image(2, 2, 8, 2).set(DataSet::new().us(Tag(0x0028, 0x0002), &[3]).text(
        Tag(0x0028, 0x0004),
        VR::CS,
        "YBR_FULL_422",
    ));
    let halved = color
        .clone()
        .bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![0; 16]);
    assert_eq!(
        parsed(&halved.file(Syntax::ExplicitLittle))
            .frames
            .frame(2)
            .unwrap()
            .len(),
        8
    );
    let full = color.bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![0; 24]);
    assert_eq!(
        parsed(&full.file(Syntax::ExplicitLittle))
            .frames
            .frame(2)
            .unwrap()
            .len(),
        12
    );
}

#[test]
fn a_large_table_is_compact_and_quick_to_look_into() {
    let count = 190_000_u32;
    let fragments = Fragments {
        offset: 5000,
        lengths: (0..count).map(|i| 9000 + i % 3000).collect(),
        declared: Some(count),
        ..Fragments::default()
    };
    let lengths = fragments.lengths.clone();
    let table = fragments.into_table(&mut Vec::new());
    let bytes = table.to_bytes();
    assert!(bytes.len() < 420_000, "{}", bytes.len());
    let packed = PackedFrames::new(&bytes).unwrap();
    let mut at = 5000;
    for (number, length) in (1..).zip(lengths) {
        let want = ByteRange {
            offset: at,
            length: u64::from(length),
        };
        assert_eq!(packed.frame(number).unwrap().ranges, [want]);
        at += 8 + u64::from(length);
    }
}

#[test]
fn bytes_that_are_no_table_are_refused() {
    let (_, pieces, offsets) = cut(6);
    let table = parsed(&file(3, &offsets, &pieces, None)).frames;
    for table in [
        table,
        FrameTable::native(
            ByteRange {
                offset: 10,
                length: 6,
            },
            16,
            3,
            1,
        ),
        FrameTable::none(),
    ] {
        let bytes = table.to_bytes();
        for cut in 0..bytes.len() {
            assert!(PackedFrames::new(&bytes[..cut]).is_none(), "{cut}");
        }
        assert!(FrameTable::from_bytes(&[&bytes[..], &[0]].concat()).is_none());
    }
    assert_eq!(FrameTable::from_bytes(&[9]), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_packed_bytes_are_looked_into_without_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0..3_u8, number in any::<u32>()) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Some(packed) = PackedFrames::new(&bytes) {
            prop_assert!(packed.frame(number).is_none() || number <= packed.count());
            prop_assert_eq!(packed.frame(0), None);
        }
        let table = FrameTable::from_bytes(&bytes);
        prop_assert!(table.is_none() || PackedFrames::new(&bytes).is_some());
    }

    #[test]
    fn any_fragments_give_a_table(
        lengths in prop::collection::vec(0..50_u32, 0..40),
        starts in prop::collection::vec(any::<bool>(), 40),
        basic_offsets in prop::collection::vec(0..300_u32, 0..6),
        declared in prop::option::of(0..10_u32),
    ) {
        let codestreams = (0..).zip(&starts).take(lengths.len()).filter(|(_, start)| **start).map(|(i, _)| i).collect();
        let total: u64 = lengths.iter().map(|l| u64::from(*l)).sum();
        let fragments = Fragments { offset: 100, lengths, codestreams, basic_offsets, declared, ..Fragments::default() };
        let table = fragments.into_table(&mut Vec::new());
        let held: u64 = (1..=table.count()).map(|n| table.frame(n).unwrap().len()).sum();
        prop_assert!(held <= total);
        prop_assert_eq!(FrameTable::from_bytes(&table.to_bytes()), Some(table));
    }
}
