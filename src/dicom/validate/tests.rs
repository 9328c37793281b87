use proptest::prelude::*;

use super::*;

fn one(vr: VR, value: &str) -> Option<ValueProblem> {
    element(Tag(0x0009, 0x1010), vr, &[], &[value.to_owned()])
}

fn v1(vr: VR, value: &str) -> Option<ValueProblem> {
    indexed(vr, vr, &[], &[value.to_owned()])
}

#[test]
fn every_representation_has_its_rules() {
    use ValueProblem as P;
    let long = |n: usize| "é".repeat(n);
    let cases: Vec<(VR, String, Option<P>, Option<P>)> = vec![
        (VR::AE, "STORE SCP".into(), None, None),
        (
            VR::AE,
            "A".repeat(17),
            Some(P::TooLong(16)),
            Some(P::TooLong(16)),
        ),
        (VR::AE, "A\tB".into(), None, Some(P::Character)),
        (VR::AS, "012Y".into(), None, None),
        (VR::AS, "12Y".into(), Some(P::Length(4)), Some(P::Age)),
        (VR::AS, "012y".into(), None, Some(P::Age)),
        (VR::CS, "ORIGINAL_1 A".into(), None, None),
        (VR::CS, "original".into(), None, Some(P::Character)),
        (
            VR::CS,
            "A".repeat(17),
            Some(P::TooLong(16)),
            Some(P::TooLong(16)),
        ),
        (VR::DA, "20200229".into(), None, None),
        (VR::DA, "20200230".into(), Some(P::Date), Some(P::Date)),
        (VR::DA, "2020.02.28".into(), Some(P::Date), Some(P::Date)),
        (VR::DA, "20200229\0".into(), None, None),
        (VR::DS, "-1.5E+3".into(), None, None),
        (VR::DS, " 1.5 ".into(), None, None),
        (VR::DS, "1,5".into(), None, Some(P::Decimal)),
        (VR::DS, "inf".into(), None, Some(P::Decimal)),
        (VR::DS, "1e999".into(), None, Some(P::Decimal)),
        (
            VR::DS,
            "1.0000000000000000".into(),
            None,
            Some(P::TooLong(16)),
        ),
        (VR::DT, "20200101+0100".into(), None, None),
        (
            VR::DT,
            "2020-01".into(),
            Some(P::DateTime),
            Some(P::DateTime),
        ),
        (VR::IS, "+12".into(), None, None),
        (VR::IS, " -12 ".into(), None, None),
        (VR::IS, "1.5".into(), Some(P::Integer), Some(P::Integer)),
        (
            VR::IS,
            "2147483648".into(),
            Some(P::Integer),
            Some(P::Integer),
        ),
        (VR::IS, "0000000000012".into(), None, Some(P::TooLong(12))),
        (VR::LO, long(64), None, None),
        (VR::LO, long(65), Some(P::TooLong(64)), Some(P::TooLong(64))),
        (
            VR::LO,
            "a\nb".into(),
            Some(P::Character),
            Some(P::Character),
        ),
        (
            VR::LO,
            "a\0b".into(),
            Some(P::Character),
            Some(P::Character),
        ),
        (VR::LO, "ab\0".into(), None, None),
        (VR::LO, "a\u{1b}b".into(), None, None),
        (VR::LT, "a\r\nb".into(), None, None),
        (VR::LT, long(10_241), None, Some(P::TooLong(10_240))),
        (VR::PN, "A^B^C^D^E=F=G".into(), None, None),
        (VR::PN, "A=B=C=D".into(), Some(P::Groups), Some(P::Groups)),
        (
            VR::PN,
            "A^B^C^D^E^F".into(),
            Some(P::Components),
            Some(P::Components),
        ),
        (VR::PN, format!("{}={}", long(64), long(64)), None, None),
        (VR::PN, long(65), Some(P::TooLong(64)), Some(P::TooLong(64))),
        (VR::SH, long(16), None, None),
        (VR::SH, "a\u{7}".into(), None, Some(P::Character)),
        (VR::ST, long(1025), None, Some(P::TooLong(1024))),
        (VR::TM, "101530.5".into(), None, None),
        (VR::TM, "25".into(), Some(P::Time), Some(P::Time)),
        (VR::UI, "1.2.840\0".into(), None, None),
        (VR::UI, "1.2.840.".into(), Some(P::Uid), Some(P::Uid)),
        (VR::UI, "1".repeat(65), Some(P::Uid), Some(P::Uid)),
        (VR::UR, "http://a/b?c".into(), None, None),
        (VR::UR, "http://a b".into(), None, Some(P::Character)),
        (VR::UT, long(100_000), None, None),
        (VR::UC, "a\nb".into(), None, None),
        (VR::CS, String::new(), None, None),
        (VR::AS, "    ".into(), None, None),
    ];
    for (vr, value, in_v1, in_v2) in cases {
        assert_eq!(v1(vr, &value), in_v1, "v1 {vr:?} {value:.20}");
        assert_eq!(one(vr, &value), in_v2, "v2 {vr:?} {value:.20}");
    }
}

#[test]
fn binary_values_have_whole_numbers() {
    for (vr, width) in [
        (VR::US, 2),
        (VR::SS, 2),
        (VR::UL, 4),
        (VR::AT, 4),
        (VR::FD, 8),
        (VR::UV, 8),
        (VR::OW, 2),
    ] {
        let tag = Tag(0x0009, 0x1010);
        assert_eq!(element(tag, vr, &vec![0; width * 3], &[]), None);
        assert_eq!(element(tag, vr, &[], &[]), None);
        let problem = Some(ValueProblem::Length(width));
        assert_eq!(element(tag, vr, &vec![0; width + 1], &[]), problem);
        assert_eq!(indexed(vr, vr, &vec![0; width - 1], &[]), problem);
    }
    assert_eq!(element(Tag(0x0009, 0x1010), VR::OB, &[0; 3], &[]), None);
}

#[test]
fn an_indexed_attribute_has_the_representation_of_the_dictionary() {
    let problem = indexed(VR::LO, VR::UN, b"a", &[]).unwrap();
    assert_eq!(
        problem.to_string(),
        "Value representation is UN but must be LO."
    );
    let modality = Tag(0x0008, 0x0060);
    assert!(element(modality, VR::LO, b"CT", &["CT".to_owned()]).is_some());
    assert_eq!(element(modality, VR::CS, b"CT", &["CT".to_owned()]), None);
}

#[test]
fn multiplicity_of_indexed_attributes_is_checked() {
    let two = ["20200101".to_owned(), "20200102".to_owned()];
    assert_eq!(
        element(Tag(0x0008, 0x0020), VR::DA, &[], &two),
        Some(ValueProblem::Multiplicity)
    );
    assert_eq!(element(Tag(0x0008, 0x0008), VR::CS, &[], &two), None);
    assert!(!single_valued(Tag(0x0008, 0x0061)));
    // Only the first is indexed, so a second one is no matter for v1.
    assert_eq!(
        indexed(
            VR::DA,
            VR::DA,
            &[],
            &["20200101".to_owned(), "x".to_owned()]
        ),
        None
    );
}

#[test]
fn required_attributes_differ_by_rules() {
    use Severity::{Error, Warning};
    let judge = |rules, tag, found: Option<&[&str]>| {
        let found = found.map(|f| f.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        required(rules)
            .iter()
            .find(|r| r.tag == tag)
            .and_then(|r| r.check(found.as_deref()))
            .map(|f| f.0)
    };
    for rules in [Rules::V1, Rules::V2, Rules::Standard] {
        for tag in [
            tags::STUDY_INSTANCE_UID,
            tags::SERIES_INSTANCE_UID,
            tags::SOP_INSTANCE_UID,
            tags::SOP_CLASS_UID,
        ] {
            assert_eq!(judge(rules, tag, None), Some(Error));
            assert_eq!(judge(rules, tag, Some(&[])), Some(Error));
            assert_eq!(judge(rules, tag, Some(&[" "])), Some(Error));
            assert_eq!(judge(rules, tag, Some(&["1.2\0"])), None);
            assert_eq!(judge(rules, tag, Some(&["1.2a"])), Some(Error));
            assert_eq!(judge(rules, tag, Some(&["1.2", "1.3"])), Some(Error));
        }
    }
    for (found, in_v1, in_v2) in [
        (None, Some(Error), Some(Error)),
        (Some(&[][..]), Some(Error), Some(Warning)),
        (Some(&["", ""][..]), Some(Error), Some(Warning)),
        (Some(&["\0"][..]), Some(Error), Some(Warning)),
        (Some(&["ID1\0"][..]), None, None),
        (Some(&["\0ID1"][..]), Some(Error), Some(Error)),
        (Some(&["I\0D1"][..]), Some(Error), Some(Error)),
        (Some(&["I", "D1"][..]), Some(Error), Some(Error)),
        (Some(&["I\u{1b}D1"][..]), None, None),
    ] {
        assert_eq!(
            judge(Rules::V1, tags::PATIENT_ID, found),
            in_v1,
            "{found:?}"
        );
        assert_eq!(
            judge(Rules::V2, tags::PATIENT_ID, found),
            in_v2,
            "{found:?}"
        );
        assert_eq!(
            judge(Rules::Standard, tags::PATIENT_ID, found),
            None,
            "{found:?}"
        );
    }
    let missing = required(Rules::V1)[4].check(None).unwrap().1;
    assert_eq!(
        missing.to_string(),
        "The required tag '(0010,0020)' is missing."
    );
}

proptest! {
    #[test]
    fn no_reason_repeats_a_value(value in "[Q-Z\u{0}-\u{1f}]{3,80}") {
        for vr in [VR::AE, VR::AS, VR::CS, VR::DA, VR::DS, VR::DT, VR::IS, VR::LO, VR::PN, VR::SH, VR::TM, VR::UI, VR::UR] {
            for problem in [one(vr, &value), v1(vr, &value)].into_iter().flatten() {
                prop_assert!(!problem.to_string().contains(&value));
            }
        }
    }
}
