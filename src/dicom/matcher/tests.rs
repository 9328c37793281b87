use std::collections::BTreeMap;

use dicom_core::Tag;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Include, QueryDialect, QueryResource, TagPath};
use crate::dicom::query_parse::parse;
use crate::dicom::tag;

fn data_set() -> Value {
    json!({
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", null]},
        "00080020": {"vr": "DA", "Value": ["20200131"]},
        "00080030": {"vr": "TM", "Value": ["1015"]},
        "0008002A": {"vr": "DT", "Value": ["20200131101530+0100"]},
        "00080050": {"vr": "SH"},
        "00080080": {"vr": "LO", "Value": ["Städtisches Klinikum "]},
        "00081140": {"vr": "SQ", "Value": [
            {"00081155": {"vr": "UI", "Value": ["1.2.1"]}, "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}]}},
            {},
            {"00081155": {"vr": "UI", "Value": ["1.2.2"]}, "00081150": {"vr": "UI", "Value": ["1.3"]}},
        ]},
        "00100010": {"vr": "PN", "Value": [
            {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"},
            {"Alphabetic": "Mu\u{308}ller^Jürgen^^Dr."},
        ]},
        "00100020": {"vr": "LO", "Value": ["ID1\u{0}"]},
        "00101030": {"vr": "DS", "Value": [70.5]},
        "00190010": {"vr": "LO", "Value": ["OTHER"]},
        "00190011": {"vr": "LO", "Value": ["SIEMENS MR HEADER"]},
        "00191008": {"vr": "CS", "Value": ["WRONG"]},
        "00191108": {"vr": "CS", "Value": ["IMAGE NUM 4"]},
        "00200013": {"vr": "IS", "Value": [7, "08"]},
        "00204000": {"vr": "LT", "Value": ["first\r\nsecond"]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [512]},
        "00660016": {"vr": "OF", "BulkDataURI": "bulkdata/00660016"},
    })
}

fn found(text: &str) -> bool {
    let parameters: Vec<_> = text
        .split('&')
        .map(|part| part.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let resource = QueryResource {
        level: QueryLevel::Instance,
        study: None,
        series: None,
    };
    let parsed = parse(&parameters, resource, QueryDialect::Standard, &[]).unwrap();
    assert!(!parsed.query.conditions.is_empty(), "{text}");
    Matcher::new(&parsed.query.conditions)
        .matches(&data_set().to_string())
        .unwrap()
}

fn matches(condition: &Condition, data_set: &Value) -> bool {
    let matcher = Matcher::new([condition]);
    matcher.matches(&data_set.to_string()).unwrap_or(false)
}

#[test]
fn each_way_to_match_holds_or_not() {
    for (text, expected) in [
        ("PatientName=müller^jurgen^^DR.", true),
        ("PatientName=MULLER^JÜRGEN^^dr.^", true),
        ("PatientName=muller", false),
        ("PatientName=mul*", true),
        ("PatientName=*田*", true),
        ("PatientName=山田^太郎", true),
        ("PatientName=yamada^tarou=山田*", true),
        ("PatientName=yamada^tarou=佐藤*", false),
        ("PatientName=?amada^*", true),
        ("PatientName=x\\yamada^tarou", true),
        ("PatientName=\"\"", false),
        ("fuzzymatching=true&PatientName=jur", true),
        ("fuzzymatching=true&PatientName=yam tar", true),
        ("fuzzymatching=true&PatientName=tar yam", false),
        ("fuzzymatching=true&PatientName=mull dr", false),
        ("fuzzymatching=true&PatientName=urgen", false),
        ("fuzzymatching=true&PatientName=やま", true),
        ("PatientID=ID1", true),
        ("PatientID=id1", false),
        ("InstitutionName=Städtisches Klinikum", true),
        ("InstitutionName=Stadt*", false),
        ("InstitutionName=*Klin?kum", true),
        ("ImageType=PRIMARY", true),
        ("ImageType=SECONDARY,ORIGINAL", true),
        ("ImageType=SEC*,ORI*", true),
        ("ImageType=primary", false),
        ("AccessionNumber=\"\"", true),
        ("AccessionNumber=*", true),
        ("AccessionNumber=?*", false),
        ("PatientAge=\"\"", true),
        ("PatientAge=012Y", false),
        ("00660016=\"\"", false),
        ("StudyDate=20200131", true),
        ("StudyDate=2020.01.31", true),
        ("StudyDate=20200130,20200131", true),
        ("StudyDate=20200101-20200131", true),
        ("StudyDate=20200201-", false),
        ("StudyDate=-20200131", true),
        ("StudyTime=10", true),
        ("StudyTime=1015", true),
        ("StudyTime=101501", false),
        ("StudyTime=0900-1014", false),
        ("StudyDate=20200130-20200131&StudyTime=1100-1015", true),
        ("StudyDate=20200131-20200201&StudyTime=1016-0900", false),
        ("AcquisitionDateTime=20200131091530", true),
        ("AcquisitionDateTime=20200131101530+0100", true),
        ("AcquisitionDateTime=2020-", true),
        ("AcquisitionDateTime=20200131100000-", false),
        ("InstanceNumber=7", true),
        ("InstanceNumber=8", true),
        ("InstanceNumber=9\\8", true),
        ("InstanceNumber=9", false),
        ("PatientWeight=70.50", true),
        ("PatientWeight=7.05e1\\1", true),
        ("PatientWeight=70", false),
        ("Rows=512", true),
        ("Rows=256,512", true),
        ("FrameIncrementPointer=FrameTime", true),
        ("ImageComments=*second", true),
        ("ImageComments=first\r\nsecond", true),
        ("00081140.00081155=1.2.2", true),
        (
            "ReferencedImageSequence.ReferencedSOPInstanceUID=1.2.1,9",
            true,
        ),
        ("00081140.00081155=1.2.3", false),
        ("00081140.00081150=\"\"", true),
        ("00081140.00400275.00400009=S1", true),
        ("00081140.00400275.00400009=S2", false),
        ("00400275.00400009=\"\"", true),
        ("00081140=", true),
        ("00191008=WRONG", true),
        ("00190010=SIEMENS MR HEADER&00191008=IMAGE*", true),
        ("00190010=SIEMENS MR HEADER&00191008=WRONG", false),
        ("00190010=NOBODY&00191008=WRONG", false),
        ("00190010=OTHER", true),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn a_day_without_a_time_counts_as_a_whole() {
    let condition = |from: &str, to: &str| Condition {
        path: TagPath::from(Tag(0x0008, 0x0020)),
        vr: VR::DA,
        matching: Matching::DateTime {
            time: Tag(0x0008, 0x0030),
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
        },
        case: Case::Sensitive,
    };
    let day = json!({"00080020": {"vr": "DA", "Value": ["20200131"]}});
    let last = "20200131090000.000000";
    assert!(matches(&condition("20200130100000.000000", last), &day));
    assert!(matches(
        &condition("20200131100000.000000", "20200202090000.000000"),
        &day
    ));
    assert!(!matches(
        &condition("20200130100000.000000", last),
        &data_set()
    ));
    assert!(!matches(
        &condition("20200130100000.000000", last),
        &json!({})
    ));
}

#[test]
fn case_is_folded_where_it_does_not_count() {
    let condition = Condition {
        path: TagPath::from(Tag(0x0008, 0x0080)),
        vr: VR::LO,
        matching: Matching::Wildcard("STADT*".to_owned()),
        case: Case::Folded,
    };
    assert!(matches(&condition, &data_set()));
    let sensitive = Condition {
        case: Case::Sensitive,
        ..condition
    };
    assert!(!matches(&sensitive, &data_set()));
}

fn projected(fields: &str, before: Value) -> Value {
    let parameters: Vec<_> = fields
        .split('&')
        .map(|field| field.split_once('=').unwrap_or(("includefield", field)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let resource = QueryResource {
        level: QueryLevel::Instance,
        study: None,
        series: None,
    };
    let parsed = parse(&parameters, resource, QueryDialect::Standard, &[]).unwrap();
    let Include::Fields(paths) = parsed.query.include else {
        panic!("fields")
    };
    let Value::Object(before) = before else {
        panic!("object")
    };
    let mut out: BTreeMap<Tag, String> = before
        .into_iter()
        .map(|(name, value)| (tag::from_hex(&name).unwrap(), value.to_string()))
        .collect();
    Projection::new(&paths)
        .copy(&data_set().to_string(), &mut out)
        .unwrap();
    out.into_iter()
        .map(|(tag, text)| (tag::hex(tag), serde_json::from_str::<Value>(&text).unwrap()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn included_attributes_are_copied_in_order() {
    let out = projected(
        "Rows,PatientID,PatientAge,00080050",
        json!({"00200013": {"vr": "IS", "Value": [1]}}),
    );
    let expected = json!({
        "00080050": {"vr": "SH"},
        "00100020": {"vr": "LO", "Value": ["ID1\u{0}"]},
        "00200013": {"vr": "IS", "Value": [1]},
        "00280010": {"vr": "US", "Value": [512]},
    });
    assert_eq!(
        serde_json::to_string(&out).unwrap(),
        serde_json::to_string(&expected).unwrap()
    );
}

#[test]
fn dotted_fields_reduce_sequences_to_what_was_asked() {
    let out = projected(
        "00081140.00081155&00081140.00400275.00400009&00400275.00400009&PatientID.x",
        json!({}),
    );
    let expected = json!({"00081140": {"vr": "SQ", "Value": [
        {"00081155": {"vr": "UI", "Value": ["1.2.1"]}, "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}]}},
        {},
        {"00081155": {"vr": "UI", "Value": ["1.2.2"]}},
    ]}});
    assert_eq!(out, expected);
    // The whole sequence outranks parts of it.
    let out = projected("00081140.00081155&00081140", json!({}));
    assert_eq!(out["00081140"], data_set()["00081140"]);
    let before = json!({"00081140": {"vr": "SQ"}});
    assert_eq!(projected("00081140.00081155", before.clone()), before);
}

#[test]
fn private_fields_bring_their_creator() {
    let out = projected(
        "00190010=SIEMENS MR HEADER&includefield=00191008",
        json!({}),
    );
    let expected = json!({
        "00190011": {"vr": "LO", "Value": ["SIEMENS MR HEADER"]},
        "00191108": {"vr": "CS", "Value": ["IMAGE NUM 4"]},
    });
    assert_eq!(out, expected);
    assert_eq!(
        projected("00190010=NOBODY&includefield=00191008", json!({})),
        json!({})
    );
}

#[test]
fn what_is_no_dicom_json_matches_nothing() {
    let condition = |matching| Condition {
        path: TagPath::from(Tag(0x0010, 0x0020)),
        vr: VR::LO,
        matching,
        case: Case::Folded,
    };
    for data_set in [
        json!(null),
        json!([]),
        json!({"00100020": 1}),
        json!({"00100020": {"vr": 1, "Value": "x"}}),
        json!({"00100020": {"vr": "LO", "Value": [[], {}, null, true]}}),
    ] {
        assert!(
            !matches(&condition(Matching::Single("x".to_owned())), &data_set),
            "{data_set}"
        );
        assert!(matches(&condition(Matching::Universal), &data_set));
        let mut out = BTreeMap::new();
        let _ = Projection::new(&[TagPath(Vec::new())]).copy(&data_set.to_string(), &mut out);
        assert!(out.is_empty());
    }
    let nothing = Condition {
        path: TagPath(Vec::new()),
        ..condition(Matching::Number(1.0))
    };
    assert!(!matches(&nothing, &data_set()));
}

#[test]
fn keys_of_one_sequence_match_in_one_item() {
    let code = |value: &str, scheme: &str| json!({"00080100": {"vr": "SH", "Value": [value]}, "00080102": {"vr": "SH", "Value": [scheme]}});
    let data_set = json!({"00400275": {"vr": "SQ", "Value": [
        {"00400009": {"vr": "SH", "Value": ["1"]}, "00401001": {"vr": "SH", "Value": ["A"]},
         "00400008": {"vr": "SQ", "Value": [code("c1", "s1"), code("c2", "s2")]}},
        {"00400009": {"vr": "SH", "Value": ["2"]}, "00401001": {"vr": "SH", "Value": ["B"]},
         "00400008": {"vr": "SQ", "Value": [code("c1", "s2")]}},
        {"00400009": {"vr": "SH", "Value": ["3"]}},
    ]}});
    let found = |text: &str| {
        let parameters: Vec<_> = text
            .split('&')
            .map(|part| part.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let resource = QueryResource {
            level: QueryLevel::Instance,
            study: None,
            series: None,
        };
        let parsed = parse(&parameters, resource, QueryDialect::Standard, &[]).unwrap();
        let matcher = Matcher::new(&parsed.query.conditions);
        matcher.matches(&data_set.to_string()).unwrap()
    };
    for (text, expected) in [
        ("00400275.00401001=A&00400275.00400009=1", true),
        ("00400275.00401001=A&00400275.00400009=2", false),
        ("00400275.00401001=\"\"&00400275.00400009=3", true),
        ("00400275.00401001=\"\"&00400275.00400009=1", false),
        // At every depth, and through both.
        (
            "00400275.00400008.00080100=c1&00400275.00400008.00080102=s1",
            true,
        ),
        (
            "00400275.00400008.00080100=c2&00400275.00400008.00080102=s1",
            false,
        ),
        (
            "00400275.00400008.00080100=c1&00400275.00400008.00080102=s2",
            true,
        ),
        ("00400275.00400009=1&00400275.00400008.00080102=s2", true),
        (
            "00400275.00400009=1&00400275.00400008.00080100=c1&00400275.00400008.00080102=s2",
            false,
        ),
        ("00400275.00400009=3&00400275.00400008.00080100=\"\"", true),
        ("00400275.00400009=3&00400275.00400008.00080100=c1", false),
        ("00400275.00400008=&00400275.00400009=2", true),
        ("00401001=\"\"&00400275.00400009=2", true),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn groups_of_a_name_match_where_they_stand_when_an_equals_sign_is_written() {
    for (text, expected) in [
        ("PatientName==山田*", true),
        ("PatientName==yamada*", false),
        ("PatientName=山田*", true),
        ("PatientName===やまだ^たろう", true),
        ("PatientName===山田^太郎", false),
        ("PatientName=yamada^tarou=", true),
        ("PatientName=山田^太郎=", false),
        ("PatientName=山田*=yamada*", false),
        ("PatientName=yamada*=*=やまだ*", true),
        ("PatientName==", true),
        ("PatientName=x\\=山田^太郎", true),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn structure_costs_no_more_than_its_text() {
    // Many items, deep items, wide items: looked through once for each step that is asked for.
    let many = format!(
        r#"{{"00081140":{{"vr":"SQ","Value":[{}]}}}}"#,
        vec!["{}"; 200_000].join(",")
    );
    let deep =
        "{\"00081140\":{\"vr\":\"SQ\",\"Value\":[".repeat(10_000) + "{}" + &"]}}".repeat(10_000);
    let wide: Vec<String> = (0..100_000)
        .map(|at| format!(r#""{:08X}":{{"vr":"LO"}}"#, 0x0009_1000 + at * 2))
        .collect();
    let wide = format!("{{{}}}", wide.join(","));
    let path = |text: &str| tag::parse_path(text).unwrap();
    let condition = Condition {
        path: path("00081140.00081140.00081155"),
        vr: VR::UI,
        matching: Matching::Single("1.2".to_owned()),
        case: Case::Sensitive,
    };
    let projection = Projection::new(&[path("00081140.00081155"), path("00091000")]);
    for text in [many, deep, wide] {
        assert_eq!(Matcher::new([&condition]).matches(&text), Ok(false));
        let mut out = BTreeMap::new();
        projection.copy(&text, &mut out).unwrap();
        let copied: usize = out.values().map(String::len).sum();
        assert!(copied <= text.len());
    }
}

proptest! {
    #[test]
    fn any_value_is_compared(
        stored in "\\PC{0,12}|[0-9.:^=]{0,12}",
        wanted in "\\PC{0,12}|[0-9.:^=*?]{0,12}",
        vr in proptest::sample::select(vec![VR::PN, VR::LO, VR::DA, VR::TM, VR::DT, VR::IS, VR::UI, VR::UN]),
        normalized in any::<bool>(),
    ) {
        let data_set = json!({"00100020": {"vr": vr.to_string(), "Value": [stored.clone(), {"Alphabetic": stored.clone()}, 1.5]}});
        let case = if normalized { Case::Folded } else { Case::Sensitive };
        for matching in [
            Matching::Single(wanted.clone()),
            Matching::AnyWildcard(vec![wanted.clone(), "*".to_owned()]),
            Matching::Words(crate::dicom::normalize::words(&wanted)),
            Matching::Range { from: Some(wanted.clone()), to: None },
            Matching::Empty,
        ] {
            let condition = Condition { path: TagPath::from(Tag(0x0010, 0x0020)), vr, matching, case };
            let holds = matches(&condition, &data_set);
            if let Matching::AnyWildcard(_) = condition.matching {
                prop_assert!(holds);
            }
        }
        let itself = Condition { path: TagPath::from(Tag(0x0010, 0x0020)), vr, matching: Matching::Single(stored), case };
        prop_assert!(matches(&itself, &data_set));
    }
}
