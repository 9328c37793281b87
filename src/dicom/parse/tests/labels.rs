//! Files whose labels are missing or wrong: preamble, meta group, transfer syntax.

use super::*;

#[test]
fn preamble_and_meta_group_may_be_missing_or_incomplete() {
    let data = rich();
    let meta = |elements: DataSet| elements.encode(Syntax::ExplicitLittle, 0).0;
    let uid = |syntax: Syntax| meta(DataSet::new().text(Tag(2, 0x10), VR::UI, syntax.uid()));
    for syntax in [
        Syntax::ImplicitLittle,
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
    ] {
        let no_name = meta(DataSet::new().text(Tag(2, 3), VR::UI, "1.2.3"));
        let heads = [
            Vec::new(),
            uid(syntax),
            [b"DICM", &uid(syntax)[..]].concat(),
            [&[0; 128], &b"DICM"[..], &no_name].concat(),
            [&[9; 128], &b"DICM"[..]].concat(),
        ];
        for (case, head) in heads.into_iter().enumerate() {
            let built = data.behind(head, syntax);
            let instance =
                try_parse(&built.bytes).unwrap_or_else(|e| panic!("{syntax:?} {case}: {e}"));
            assert_eq!(instance.layout.transfer_syntax, syntax.uid(), "{case}");
            assert_eq!(instance.layout.dataset_offset, built.dataset_offset);
            assert!(!instance.layout.part10);
            assert_eq!(instance.frames.count(), 2);
        }
    }
}

#[test]
fn a_meta_group_without_group_length_is_read() {
    for syntax in SYNTAXES {
        let meta = DataSet::new().text(Tag(2, 0x10), VR::UI, syntax.uid());
        let head = [
            &[0; 128],
            &b"DICM"[..],
            &meta.encode(Syntax::ExplicitLittle, 0).0,
        ]
        .concat();
        let instance = instance_of(&rich().behind(head, syntax));
        assert_eq!(instance.layout.transfer_syntax, syntax.uid());
        assert!(instance.layout.part10 && instance.frames.count() == 2);
    }
}

#[test]
fn the_bytes_are_believed_over_the_label() {
    for real in [
        Syntax::ImplicitLittle,
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
    ] {
        for label in SYNTAXES {
            // Nothing tells a deflated stream from an implicit header but the attempt.
            if real == label || (label == Syntax::Deflated && real != Syntax::ExplicitLittle) {
                continue;
            }
            let meta = DataSet::new().text(Tag(2, 0x10), VR::UI, label.uid());
            let head = [
                &[0; 128],
                &b"DICM"[..],
                &meta.encode(Syntax::ExplicitLittle, 0).0,
            ]
            .concat();
            let built = rich().behind(head, real);
            let instance =
                try_parse(&built.bytes).unwrap_or_else(|e| panic!("{real:?} as {label:?}: {e}"));
            assert_eq!(instance.name.instance.as_str(), testing::INSTANCE);
            assert_eq!(instance.layout.transfer_syntax, real.uid(), "{label:?}");
            assert!(!instance.layout.part10 && !instance.layout.deflated);
            assert_eq!(instance.findings[0].tag, Tag(0x0002, 0x0010));
        }
    }
}

#[test]
fn native_pixels_under_a_compressed_label_are_native() {
    let instance = instance_of(&rich().file(Syntax::Other("1.2.840.10008.1.2.4.70")));
    assert_eq!(
        instance.layout.transfer_syntax,
        Syntax::ExplicitLittle.uid()
    );
    assert!(!instance.layout.part10);
    assert_eq!(instance.frames.count(), 2);
    assert_eq!(instance.findings.len(), 1);
}

#[test]
fn encapsulated_pixels_are_found_under_any_syntax() {
    let data = DataSet::image(8, 8, 8, 2)
        .fragments(&[], &[&[0xFF, 0xD8, 0xFF, 1], &[0xFF, 0xD8, 0xFF, 2]]);
    for syntax in [
        Syntax::Other("1.2.840.10008.1.2.4.50"),
        Syntax::Other("1.2.999"),
        Syntax::ExplicitBig,
        Syntax::ImplicitLittle,
    ] {
        let built = data.file(syntax);
        let instance = instance_of(&built);
        assert_eq!(instance.frames.count(), 2);
        for frame in 1..=2 {
            let place = built.place(&format!("7FE00010#{frame}")).unwrap();
            let ranges = instance.frames.frame(frame).unwrap().ranges;
            assert_eq!(
                (ranges.len(), ranges[0].offset, ranges[0].length),
                (1, place.offset, place.length)
            );
        }
        let item = &instance.bulk[0];
        let table = built.place("7FE00010#0").unwrap();
        assert!(item.encapsulated);
        assert_eq!((item.offset, item.length), (table.offset - 8, 8 + 12 + 12));
        assert_eq!(
            instance.findings.is_empty(),
            matches!(syntax, Syntax::Other(_))
        );
        assert_eq!(
            parsed(&instance)["7FE00010"],
            json!({"vr": "OB", "BulkDataURI": "bulkdata/7FE00010"})
        );
    }
}
