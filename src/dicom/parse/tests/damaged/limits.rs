//! What is counted, and where it ends.

use std::cell::Cell;
use std::io;

use super::*;

#[test]
fn nesting_has_a_floor_and_no_recursion() {
    for syntax in [Syntax::ImplicitLittle, Syntax::ExplicitLittle] {
        let head: Vec<u8> = if syntax == Syntax::ExplicitLittle {
            [&[0x40, 0, 0x75, 0x02, b'S', b'Q', 0, 0][..], &[0xFF; 4]].concat()
        } else {
            [&[0x40, 0, 0x75, 0x02][..], &[0xFF; 4]].concat()
        };
        let nested = |depth: usize, closed: bool| {
            let mut built = DataSet::instance().file(syntax);
            for _ in 0..depth {
                built.bytes.extend(&head);
                built.bytes.extend(item_header(u32::MAX));
            }
            for _ in 0..if closed { depth } else { 0 } {
                built.bytes.extend([
                    0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0,
                ]);
            }
            built.bytes
        };
        assert_eq!(
            limit(&nested(10_000, false), &ParseOptions::default()),
            Limit::Depth
        );
        assert_eq!(
            limit(&nested(DEPTH + 1, true), &ParseOptions::default()),
            Limit::Depth
        );
        let deep = try_parse(&nested(DEPTH, true)).unwrap();
        assert!(deep.metadata.text.matches("00400275").count() == DEPTH);
        // What is stored can be read with the limits of serde_json.
        serde_json::from_str::<Value>(&deep.metadata.text).unwrap();
    }
}

#[test]
fn sequences_inside_unknown_values_cannot_go_deeper() {
    // Each level is UN with a tag of a sequence, so each level is tried.
    let mut value = Vec::new();
    for _ in 0..2000 {
        let length = u32::try_from(value.len()).unwrap();
        let mut element = vec![0x40, 0, 0x75, 0x02, b'U', b'N', 0, 0];
        element.extend(length.to_le_bytes());
        element.extend(&value);
        let mut item = item_header(u32::try_from(element.len()).unwrap());
        item.extend(element);
        value = item;
    }
    let data = DataSet::instance().bytes(Tag(0x0040, 0x0275), VR::UN, value);
    let instance = instance_of(&data.file(Syntax::ExplicitLittle));
    assert!(instance.metadata.text.matches("\"SQ\"").count() <= DEPTH);
}

#[test]
fn items_elements_and_fragments_are_counted() {
    let options = |change: fn(&mut ParseLimits)| {
        let mut options = ParseOptions::default();
        change(&mut options.limits);
        options
    };
    let million = vec![DataSet::new(); 1_000_000];
    let data = DataSet::instance().items(Tag(0x0040, 0x0275), Lengths::Defined, million);
    let built = data.file(Syntax::ExplicitLittle);
    // The items, the sequence, the elements of group 0008 and the two other UIDs.
    let few = options(|limits| limits.elements = 999_999);
    assert_eq!(limit(&built.bytes, &few), Limit::Elements);
    let instance = instance_of(&built);
    assert!(instance.metadata.text.len() < 4_000_000);
    assert_eq!(
        limit(&built.bytes, &options(|limits| limits.text = 1_000_000)),
        Limit::Text
    );

    let built = rich().file(Syntax::ExplicitLittle);
    assert_eq!(
        limit(&built.bytes, &options(|limits| limits.elements = 10)),
        Limit::Elements
    );
    assert_eq!(
        limit(&built.bytes, &options(|limits| limits.kept = 50)),
        Limit::Kept
    );
    assert_eq!(
        limit(&built.bytes, &options(|limits| limits.bulk = 1)),
        Limit::Bulk
    );
    let data = DataSet::image(8, 8, 8, 1).fragments(&[], &[&[1, 2], &[3, 4]]);
    let built = data.file(Syntax::Other("1.2.840.10008.1.2.5"));
    assert_eq!(
        limit(&built.bytes, &options(|limits| limits.fragments = 2)),
        Limit::Fragments
    );
}

#[test]
fn zero_elements_before_a_last_byte_take_no_time() {
    let mut built = DataSet::instance().file(Syntax::ExplicitLittle);
    built.bytes.extend(vec![0; 1_000_000]);
    built.bytes.push(1);
    let source = CountedReads(&built.bytes, Cell::new(0));
    assert!(parse(&source, &ParseOptions::default()).is_err());
    let (length, read) = (built.bytes.len(), source.1.get());
    assert!(read <= 3 * length, "{read} bytes read of {length}");
}

/// Bytes, and how many of them were read.
struct CountedReads<'a>(&'a [u8], Cell<usize>);

impl Source for CountedReads<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read_at(offset, buf)?;
        self.1.set(self.1.get() + read);
        Ok(read)
    }
}

#[test]
fn findings_are_limited_but_what_they_are_about_is_left_out() {
    let mut data = DataSet::instance();
    for element in 0x1000..0x1800 {
        data = data.text(Tag(0x0009, element), VR::LO, "x");
    }
    let validate =
        |header: &ElementHeader<'_>, _: &[String], _: &[u8]| Some(format!("{}", header.vr));
    let options = ParseOptions {
        validate: Some(&validate),
        ..ParseOptions::default()
    };
    let instance = parse(&data.file(Syntax::ExplicitLittle).bytes, &options).unwrap();
    assert_eq!(instance.findings.len(), 1000);
    // The identifiers stay whatever a validator says of them.
    assert_eq!(parsed(&instance).as_object().unwrap().len(), 4);
}

#[test]
fn a_deflate_bomb_stops_at_the_cap() {
    let data = rich()
        .without(PIXELS)
        .bytes(PIXELS, VR::OW, vec![0; 200 << 20]);
    let built = data.file(Syntax::Deflated);
    assert!(built.bytes.len() < 1 << 20);
    // Beyond a few MiB a place to write to is needed.
    assert_eq!(
        limit(&built.bytes, &ParseOptions::default()),
        Limit::Inflated
    );
    let spool = || {
        let room: Box<dyn DiskRoom> = Box::new(Unbounded);
        Ok((tempfile::tempfile()?, room))
    };
    let limits = ParseLimits {
        inflated: 100 << 20,
        ..ParseLimits::default()
    };
    let capped = ParseOptions {
        inflate_to: Some(&spool),
        limits,
        ..ParseOptions::default()
    };
    assert_eq!(limit(&built.bytes, &capped), Limit::Inflated);
    let spooled = ParseOptions {
        inflate_to: Some(&spool),
        ..ParseOptions::default()
    };
    let instance = parse(&built.bytes, &spooled).unwrap();
    assert_eq!(instance.bulk.last().unwrap().length, 200 << 20);
}

#[test]
fn a_frame_for_each_bit_is_too_many() {
    let image = |frames: u32| {
        let bytes = usize::try_from(frames.div_ceil(8)).unwrap();
        let data =
            DataSet::image(1, 1, 1, frames).bytes(PIXELS, VR::OB, vec![0; bytes + bytes % 2]);
        data.file(Syntax::ExplicitLittle).bytes
    };
    let most = ParseLimits::default().frames;
    assert_eq!(
        limit(&image(most + 1), &ParseOptions::default()),
        Limit::Frames
    );
    assert_eq!(try_parse(&image(most)).unwrap().frames.count(), most);
    // What is only said takes no memory, and the bytes decide.
    let said = DataSet::image(8, 8, 8, i32::MAX.unsigned_abs()).bytes(PIXELS, VR::OW, vec![0; 64]);
    assert_eq!(
        instance_of(&said.file(Syntax::ExplicitLittle))
            .frames
            .count(),
        1
    );
}

#[test]
fn a_block_reserved_again_and_again_has_one_owner() {
    let mut data = DataSet::instance().file(Syntax::ExplicitLittle);
    let element = |element: u16, value: &[u8; 2]| {
        let mut bytes = [9, 0].to_vec();
        bytes.extend(element.to_le_bytes());
        bytes.extend(b"LO\x02\0");
        bytes.extend(value);
        bytes
    };
    for _ in 0..100_000 {
        data.bytes.extend(element(0x0010, b"A "));
    }
    data.bytes.extend(element(0x0010, b"B "));
    for _ in 0..100_000 {
        data.bytes.extend(element(0x1101, b"x "));
    }
    data.bytes.extend(element(0x1001, b"x "));
    let seen = std::cell::RefCell::new(Vec::new());
    let validate = |header: &ElementHeader<'_>, _: &[String], _: &[u8]| {
        if header.tag == Tag(0x0009, 0x1001) {
            seen.borrow_mut().push(header.creator.map(str::to_owned));
        }
        None
    };
    let options = ParseOptions {
        validate: Some(&validate),
        ..ParseOptions::default()
    };
    parse(&data.bytes, &options).unwrap();
    assert_eq!(seen.into_inner(), [Some("B".to_owned())]);
}
