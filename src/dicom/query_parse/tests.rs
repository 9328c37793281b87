use proptest::prelude::*;

use dicom_core::Tag;

use super::*;
use crate::dicom::query::PathStep;
use crate::dicom::temporal::TemporalError;

fn resource(level: QueryLevel) -> QueryResource {
    QueryResource {
        level,
        study: None,
        series: None,
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn standard(level: QueryLevel, text: &str) -> Result<ParsedQuery, QueryProblem> {
    parse(&pairs(text), resource(level), QueryDialect::Standard, &[])
}

fn service(level: QueryLevel, text: &str) -> Result<ParsedQuery, QueryProblem> {
    parse(&pairs(text), resource(level), QueryDialect::Service, &[])
}

/// The only matching of a standard search of instances.
fn matched(text: &str) -> Matching {
    let parsed = standard(QueryLevel::Instance, text).unwrap();
    assert_eq!(parsed.query.conditions.len(), 1, "{text}");
    parsed.query.conditions[0].matching.clone()
}

fn refused(dialect: QueryDialect, level: QueryLevel, text: &str) -> Reason {
    parse(&pairs(text), resource(level), dialect, &[])
        .expect_err(text)
        .reason
}

fn single(text: &str) -> Matching {
    Matching::Single(text.to_owned())
}

fn any_of(values: &[&str]) -> Matching {
    Matching::AnyOf(values.iter().map(|v| (*v).to_owned()).collect())
}

fn span(from: &str, to: &str) -> Matching {
    let side = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Matching::Range {
        from: side(from),
        to: side(to),
    }
}

#[test]
fn every_representation_matches_as_documented() {
    let wild = |text: &str| Matching::Wildcard(text.to_owned());
    let cases: Vec<(&str, Matching)> = vec![
        // PN
        ("PatientName=Müller^Jürgen", single("Müller^Jürgen")),
        ("PatientName=*ü?*", wild("*ü?*")),
        ("PatientName=山田*=Yama*", wild("山田*=Yama*")),
        ("PatientName=A\\B", any_of(&["A", "B"])),
        (
            "PatientName=A\\B*",
            Matching::AnyWildcard(vec!["A".into(), "B*".into()]),
        ),
        ("PatientName=Doe, John", single("Doe, John")),
        // LO SH AE UC
        ("PatientID= ID1 \0", single("ID1")),
        ("PatientID=a,b", single("a,b")),
        ("AccessionNumber=a\\b\\a\\\\", any_of(&["a", "b"])),
        ("PatientID=*", Matching::Universal),
        ("PatientID=***", Matching::Universal),
        ("PatientID=", Matching::Universal),
        ("PatientID=\"\"", Matching::Empty),
        ("PatientID=\"\"&emptyvaluematching=TRUE", Matching::Empty),
        ("PatientID=\"\"&emptyvaluematching=false", single("\"\"")),
        (
            "AccessionNumber=a\\b&multiplevaluematching=false",
            single("a\\b"),
        ),
        ("RetrieveAETitle=", Matching::Universal),
        ("StationAETitle=STORE*", wild("STORE*")),
        // CS
        ("Modality=CT", single("CT")),
        ("Modality=CT,MR", any_of(&["CT", "MR"])),
        ("ModalitiesInStudy=CT\\MR", any_of(&["CT", "MR"])),
        ("ModalitiesInStudy=CT,", single("CT")),
        ("ModalitiesInStudy=,", Matching::Universal),
        (
            "ModalitiesInStudy=C*,MR",
            Matching::AnyWildcard(vec!["C*".into(), "MR".into()]),
        ),
        ("Modality=CT,*", Matching::Universal),
        // long texts
        ("00204000=a\\b,c\r\nd", single("a\\b,c\r\nd")),
        ("ImageComments=*a*", wild("*a*")),
        // UR
        ("00080120=http://a/?q=*", single("http://a/?q=*")),
        // UI
        ("StudyInstanceUID=1.2.3", single("1.2.3")),
        (
            "StudyInstanceUID=1.2.3,1.2.4\\1.2.5 ",
            any_of(&["1.2.3", "1.2.4", "1.2.5"]),
        ),
        (
            "StudyInstanceUID=1.2,1.3&multiplevaluematching=false",
            any_of(&["1.2", "1.3"]),
        ),
        ("StudyInstanceUID=1.2.*", wild("1.2.*")),
        ("StudyInstanceUID=1.2&StudyInstanceUID=1.2", single("1.2")),
        (
            "StudyInstanceUID=1.2&0020000d=1.3,1.2",
            any_of(&["1.2", "1.3"]),
        ),
        // DA TM DT
        ("StudyDate=20200131", single("20200131")),
        ("StudyDate=2020.01.31", single("20200131")),
        ("StudyDate=20200101-20200131", span("20200101", "20200131")),
        ("StudyDate=20200101-", span("20200101", "")),
        ("StudyDate=-20200131", span("", "20200131")),
        (
            "StudyDate=20200101,20200103",
            any_of(&["20200101", "20200103"]),
        ),
        ("StudyTime=10", span("100000.000000", "105959.999999")),
        (
            "StudyTime=101530.25",
            span("101530.250000", "101530.259999"),
        ),
        ("StudyTime=10-1130", span("100000.000000", "113059.999999")),
        (
            "StudyTime=10\\12",
            any_of(&["100000.000000", "120000.000000"]),
        ),
        (
            "AcquisitionDateTime=2020",
            span("20200101000000.000000", "20201231235959.999999"),
        ),
        (
            "AcquisitionDateTime=20200101100000+0100-",
            span("20200101090000.000000", ""),
        ),
        // numbers
        ("SeriesNumber=+07", Matching::Number(7.0)),
        ("InstanceNumber=1\\2", any_of(&["1", "2"])),
        ("Rows=512", Matching::Number(512.0)),
        ("PatientWeight=70.5", Matching::Number(70.5)),
        ("PatientWeight=7.05e1", Matching::Number(70.5)),
        // others
        ("PatientAge=012Y", single("012Y")),
        ("FrameIncrementPointer=FrameTime", single("00181063")),
        ("00280009=0018,1063", single("00181063")),
        ("RequestAttributesSequence=", Matching::Universal),
        (
            "RequestAttributesSequence.ScheduledProcedureStepID=S1",
            single("S1"),
        ),
        ("PixelData=", Matching::Universal),
        ("00191008=x*", wild("x*")),
    ];
    for (text, expected) in cases {
        if text.starts_with("RetrieveAETitle") {
            assert!(
                standard(QueryLevel::Instance, text)
                    .unwrap()
                    .query
                    .conditions
                    .is_empty()
            );
            continue;
        }
        assert_eq!(matched(text), expected, "{text}");
    }
}

#[test]
fn a_key_without_a_value_is_refused_by_the_service_and_universal_by_the_standard() {
    for text in ["PatientID=", "StudyDate= ", "ModalitiesInStudy"] {
        let reason = refused(QueryDialect::Service, QueryLevel::Study, text);
        assert_eq!(reason, Reason::NoValue, "{text}");
        let parsed = standard(QueryLevel::Study, text).unwrap();
        assert_eq!(parsed.query.conditions[0].matching, Matching::Universal);
    }
    let parsed = service(QueryLevel::Study, "PatientID=*").unwrap();
    assert_eq!(parsed.query.conditions[0].matching, Matching::Universal);
}

#[test]
fn values_that_fit_no_representation_are_refused() {
    let malformed = Reason::Temporal(TemporalError::Date);
    for (text, reason) in [
        ("StudyDate=2020", malformed),
        ("StudyDate=-", malformed),
        ("StudyDate=20200101-x", malformed),
        ("StudyDate=2020*", malformed),
        ("StudyDate=20200230", malformed),
        (
            "StudyDate=20200102-20200101",
            Reason::Temporal(TemporalError::Reversed),
        ),
        ("StudyDate=20200101,20200102-", Reason::RangeInList),
        ("StudyTime=25", Reason::Temporal(TemporalError::Time)),
        (
            "AcquisitionDateTime=x",
            Reason::Temporal(TemporalError::DateTime),
        ),
        ("StudyInstanceUID=abc", Reason::Uid),
        ("StudyInstanceUID=1.2,a", Reason::Uid),
        ("StudyInstanceUID=1.2' or 1=1 --", Reason::Uid),
        ("SeriesNumber=x", Reason::Integer),
        ("SeriesNumber=1.5", Reason::Integer),
        ("SeriesNumber=1*", Reason::Integer),
        ("PatientWeight=NaN", Reason::Number),
        ("PatientWeight=1e999", Reason::Number),
        ("FrameIncrementPointer=Foo", Reason::Tag),
        ("RequestAttributesSequence=x", Reason::Sequence),
        ("PixelData=x", Reason::Binary),
        ("PatientID=a\0b", Reason::Control),
        ("PatientID=a\nb", Reason::Control),
        ("limit=-1", Reason::NotCount),
        ("limit=", Reason::NotCount),
        ("limit=1.5", Reason::NotCount),
        ("offset=-1", Reason::NotCount),
        ("offset=٣", Reason::NotCount),
        ("limit=1&limit=2", Reason::Twice),
        ("fuzzymatching=true&FuzzyMatching=false", Reason::Twice),
    ] {
        assert_eq!(
            refused(QueryDialect::Standard, QueryLevel::Instance, text),
            reason,
            "{text}"
        );
    }
    let pattern = format!("PatientID={}*", "a".repeat(MAX_PATTERN));
    assert_eq!(
        refused(QueryDialect::Standard, QueryLevel::Study, &pattern),
        Reason::LongPattern
    );
}

#[test]
fn fuzzy_names_become_words() {
    let words = |list: &[&str]| Matching::Words(list.iter().map(|w| (*w).to_owned()).collect());
    for (text, expected) in [
        (
            "fuzzymatching=true&PatientName=Müller^Jür",
            words(&["muller", "jur"]),
        ),
        ("PatientName=jo do&FuzzyMatching=True", words(&["jo", "do"])),
        ("fuzzymatching=true&PatientName=^^", Matching::Universal),
        (
            "fuzzymatching=true&PatientName=*smi*",
            Matching::Wildcard("*smi*".into()),
        ),
        (
            "fuzzymatching=true&PatientName=\"Doe\" x",
            words(&["doe", "x"]),
        ),
        ("fuzzymatching=true&PatientID=jo do", single("jo do")),
        ("fuzzymatching=false&PatientName=jo", single("jo")),
    ] {
        assert_eq!(matched(text), expected, "{text}");
    }
    let reason = refused(
        QueryDialect::Service,
        QueryLevel::Study,
        "fuzzymatching=true&PatientName=\"Doe\" x",
    );
    assert_eq!(reason, Reason::Quote);
}

#[test]
fn ids_in_every_spelling_give_the_same_search() {
    let expected = standard(QueryLevel::Study, "StudyDate=20200101").unwrap();
    for text in [
        "00080020=20200101",
        "0008,0020=20200101",
        " StudyDate =20200101",
    ] {
        assert_eq!(
            standard(QueryLevel::Study, text).unwrap(),
            expected,
            "{text}"
        );
    }
    let dotted = standard(QueryLevel::Series, "00400275.00400009=x").unwrap();
    let named = standard(
        QueryLevel::Series,
        "RequestAttributesSequence.ScheduledProcedureStepID=x",
    )
    .unwrap();
    assert_eq!(dotted.query, named.query);
}

#[test]
fn limits_follow_the_dialect() {
    for (text, limit, offset) in [
        ("", None, 0),
        ("limit=101&offset=50", Some(101), 50),
        ("LIMIT=0", Some(0), 0),
        (
            "limit=9223372036854775808&offset=99999999999999999999999",
            Some(MAX_COUNT),
            MAX_COUNT,
        ),
        ("limit=10&limit=10", Some(10), 0),
    ] {
        let query = standard(QueryLevel::Study, text).unwrap().query;
        assert_eq!((query.limit, query.offset), (limit, offset), "{text}");
    }
    let query = service(QueryLevel::Study, "").unwrap().query;
    assert_eq!((query.limit, query.offset), (Some(100), 0));
    assert_eq!(
        service(QueryLevel::Study, "Limit=200&Offset=7")
            .unwrap()
            .query
            .limit,
        Some(200)
    );
    for text in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=a",
        "limit=9223372036854775808",
        "limit=",
    ] {
        assert_eq!(
            refused(QueryDialect::Service, QueryLevel::Study, text),
            Reason::Limit(MAX_LIMIT),
            "{text}"
        );
    }
    for text in ["offset=-1", "offset=a", "offset=9223372036854775808"] {
        assert_eq!(
            refused(QueryDialect::Service, QueryLevel::Study, text),
            Reason::NotCount,
            "{text}"
        );
    }
}

#[test]
fn a_warning_names_what_was_probably_meant() {
    for (text, expected) in [
        (
            "PatientId=x",
            "The parameter PatientId is not supported and was ignored. Did you mean PatientID?",
        ),
        (
            "foo=x",
            "The parameter foo is not supported and was ignored.",
        ),
        (
            "includefield=PatientsName",
            "The includefield PatientsName is not a known attribute and was ignored. Did you mean PatientName?",
        ),
        (
            "includefield=00091001,StudyID,nothing at all",
            "The includefield nothing at all is not a known attribute and was ignored.",
        ),
    ] {
        let parsed = standard(QueryLevel::Study, text).unwrap();
        let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [expected], "{text}");
    }
    let many: Vec<String> = (0..5000).map(|at| format!("PatientNam{at}=x")).collect();
    let parsed = standard(QueryLevel::Study, &many.join("&")).unwrap();
    assert_eq!(parsed.warnings.len(), MAX_WARNINGS);
}

#[test]
fn unknown_parameters_follow_the_dialect() {
    for text in [
        "foo=1",
        "patientname=x",
        "00100099=x",
        "PatientName.Foo=x",
        "PatientID.StudyID=x",
    ] {
        let parsed = standard(QueryLevel::Study, text).unwrap();
        assert!(parsed.query.conditions.is_empty(), "{text}");
        assert!(
            matches!(parsed.warnings.as_slice(), [QueryWarning::Unknown(..)]),
            "{text}"
        );
        assert!(
            matches!(
                refused(QueryDialect::Service, QueryLevel::Study, text),
                Reason::Unknown(_)
            ),
            "{text}"
        );
    }
    for dialect in [QueryDialect::Standard, QueryDialect::Service] {
        let parsed = parse(
            &pairs("accept=application/json&charset=utf-8"),
            resource(QueryLevel::Study),
            dialect,
            &[],
        )
        .unwrap();
        assert!(parsed.warnings.is_empty() && parsed.query.conditions.is_empty());
    }
    let parsed = standard(QueryLevel::Study, "fuzzymatching=1").unwrap();
    assert_eq!(parsed.warnings.len(), 1);
    assert_eq!(
        refused(QueryDialect::Service, QueryLevel::Study, "fuzzymatching=1"),
        Reason::NotBoolean
    );
}

#[test]
fn the_service_searches_keys_of_the_resource() {
    let study = StudyUid::parse("1.2").unwrap();
    let series = SeriesUid::parse("1.3").unwrap();
    let at = |level, study: Option<&StudyUid>, series: Option<&SeriesUid>, text: &str| {
        let resource = QueryResource {
            level,
            study: study.cloned(),
            series: series.cloned(),
        };
        parse(&pairs(text), resource, QueryDialect::Service, &[]).map_err(|p| p.reason)
    };
    let refused = Err(Reason::NotSearchable);
    for text in [
        "PatientName=x",
        "StudyInstanceUID=1.2",
        "ModalitiesInStudy=CT",
        "StudyTime=10",
        "StudyID=x",
        "PatientBirthDate=20200101",
    ] {
        for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
            assert!(at(level, None, None, text).is_ok(), "{text}");
        }
        assert_eq!(
            at(QueryLevel::Series, Some(&study), None, text),
            refused,
            "{text}"
        );
        assert_eq!(
            at(QueryLevel::Instance, Some(&study), None, text),
            refused,
            "{text}"
        );
    }
    for text in [
        "Modality=CT",
        "SeriesInstanceUID=1.3",
        "ManufacturerModelName=x",
        "SeriesNumber=1",
        "RequestAttributesSequence.RequestedProcedureID=x",
    ] {
        assert_eq!(at(QueryLevel::Study, None, None, text), refused, "{text}");
        assert!(at(QueryLevel::Series, None, None, text).is_ok(), "{text}");
        assert!(
            at(QueryLevel::Series, Some(&study), None, text).is_ok(),
            "{text}"
        );
        assert!(
            at(QueryLevel::Instance, Some(&study), None, text).is_ok(),
            "{text}"
        );
        assert_eq!(
            at(QueryLevel::Instance, Some(&study), Some(&series), text),
            refused,
            "{text}"
        );
    }
    for text in ["SOPInstanceUID=1.4", "SOPClassUID=1.4", "InstanceNumber=1"] {
        assert_eq!(at(QueryLevel::Series, None, None, text), refused, "{text}");
        assert!(
            at(QueryLevel::Instance, Some(&study), Some(&series), text).is_ok(),
            "{text}"
        );
    }
    for text in [
        "Columns=512",
        "InstitutionName=x",
        "00191008=x",
        "RequestAttributesSequence=",
        "OtherPatientIDsSequence.PatientID=x",
    ] {
        assert_eq!(
            at(QueryLevel::Instance, None, None, text),
            refused,
            "{text}"
        );
    }
}

#[test]
fn the_service_refuses_an_attribute_twice() {
    for text in ["PatientID=a&PatientID=b", "PatientID=a&00100020=a"] {
        assert_eq!(
            refused(QueryDialect::Service, QueryLevel::Study, text),
            Reason::Duplicate,
            "{text}"
        );
    }
    // In the standard's dialect all must hold.
    let both = standard(
        QueryLevel::Study,
        "ModalitiesInStudy=CT&ModalitiesInStudy=MR&ModalitiesInStudy=CT",
    )
    .unwrap();
    let found: Vec<_> = both
        .query
        .conditions
        .iter()
        .map(|c| c.matching.clone())
        .collect();
    assert_eq!(found, [single("CT"), single("MR")]);
}

#[test]
fn case_counts_only_in_the_standard_and_not_in_names() {
    let case = |parsed: ParsedQuery| parsed.query.conditions[0].case;
    assert_eq!(
        case(standard(QueryLevel::Study, "PatientID=x").unwrap()),
        Case::Sensitive
    );
    assert_eq!(
        case(standard(QueryLevel::Study, "PatientName=x").unwrap()),
        Case::Folded
    );
    assert_eq!(
        case(service(QueryLevel::Study, "PatientID=x").unwrap()),
        Case::Folded
    );
}

#[test]
fn the_standard_searches_any_attribute() {
    let parsed = standard(QueryLevel::Study, "InstitutionName=x&StudyDate=20200101").unwrap();
    assert_eq!(parsed.query.conditions.len(), 2);
    assert_eq!(
        parsed.warnings[0].to_string(),
        "The attribute InstitutionName is not indexed, so the search is slow; an extended query tag makes it fast."
    );
    // Asking for everything costs nothing.
    assert!(
        standard(QueryLevel::Study, "InstitutionName=")
            .unwrap()
            .warnings
            .is_empty()
    );
    let parsed = standard(QueryLevel::Study, "Modality=CT,MR").unwrap();
    assert_eq!(
        parsed.query.conditions[0].path,
        TagPath::from(Tag(0x0008, 0x0061))
    );
    assert!(parsed.warnings.is_empty());
    let parsed = standard(QueryLevel::Study, "SeriesNumber=1&SOPInstanceUID=1.2").unwrap();
    assert!(parsed.query.conditions.is_empty());
    assert!(
        parsed
            .warnings
            .iter()
            .all(|w| matches!(w, QueryWarning::LowerLevel(_)))
    );
    let parsed = standard(
        QueryLevel::Study,
        "SpecificCharacterSet=x&TimezoneOffsetFromUTC=+0100",
    )
    .unwrap();
    assert!(parsed.query.conditions.is_empty());
    assert!(
        parsed
            .warnings
            .iter()
            .all(|w| matches!(w, QueryWarning::NotMatched(_)))
    );
}

fn query_tag(path: &str, vr: VR, creator: Option<&str>, level: QueryLevel) -> QueryTag {
    QueryTag {
        path: path.to_owned(),
        tag: tag::parse(path).unwrap(),
        vr,
        private_creator: creator.map(str::to_owned),
        level,
    }
}

#[test]
fn extended_query_tags_are_keys() {
    let tags = [
        query_tag("00080080", VR::LO, None, QueryLevel::Series),
        query_tag(
            "00191008",
            VR::IS,
            Some("SIEMENS MR HEADER"),
            QueryLevel::Instance,
        ),
    ];
    for dialect in [QueryDialect::Service, QueryDialect::Standard] {
        let parsed = parse(
            &pairs("InstitutionName=x"),
            resource(QueryLevel::Series),
            dialect,
            &tags,
        )
        .unwrap();
        assert!(parsed.warnings.is_empty());
        let parsed = parse(
            &pairs("00191008=7"),
            resource(QueryLevel::Instance),
            dialect,
            &tags,
        )
        .unwrap();
        let condition = &parsed.query.conditions[0];
        assert_eq!(
            (condition.vr, &condition.matching),
            (VR::IS, &Matching::Number(7.0))
        );
        assert_eq!(condition.path, tags[1].tag_path());
        // By its creator, in any block.
        let text = "00190011=SIEMENS MR HEADER&00191108=7";
        let parsed = parse(&pairs(text), resource(QueryLevel::Instance), dialect, &tags).unwrap();
        assert_eq!(parsed.query.conditions[0].path, tags[1].tag_path());
        assert!(parsed.warnings.is_empty());
    }
    let at_study = parse(
        &pairs("00080080=x"),
        resource(QueryLevel::Study),
        QueryDialect::Service,
        &tags,
    );
    assert_eq!(at_study.unwrap_err().reason, Reason::NotSearchable);
    let at_study = parse(
        &pairs("00080080=x"),
        resource(QueryLevel::Study),
        QueryDialect::Standard,
        &tags,
    )
    .unwrap();
    assert!(matches!(
        at_study.warnings.as_slice(),
        [QueryWarning::LowerLevel(_)]
    ));
}

#[test]
fn private_attributes_are_named_with_their_creator() {
    let text = "00190010=SIEMENS MR HEADER&00191008=IMAGE&includefield=0019100C&00190012=OTHER";
    let parsed = standard(QueryLevel::Instance, text).unwrap();
    let step = |tag: Tag| PathStep {
        tag,
        creator: Some("SIEMENS MR HEADER".to_owned()),
    };
    let paths: Vec<_> = parsed
        .query
        .conditions
        .iter()
        .map(|c| c.path.0.clone())
        .collect();
    // A creator that names no block of the search is an attribute like any other.
    assert_eq!(
        paths,
        [
            vec![step(Tag(0x0019, 0x0008))],
            TagPath::from(Tag(0x0019, 0x0012)).0
        ]
    );
    assert_eq!(
        parsed.query.include,
        Include::Fields(vec![TagPath(vec![step(Tag(0x0019, 0x000C))])])
    );
    let nested = "00081140.00190010=ACME&00081140.00191008=1";
    let parsed = standard(QueryLevel::Instance, nested).unwrap();
    assert_eq!(
        parsed.query.conditions[0].path.0[1].creator.as_deref(),
        Some("ACME")
    );
    let elsewhere = "00190010=ACME&00081140.00191008=1";
    let parsed = standard(QueryLevel::Instance, elsewhere).unwrap();
    assert!(
        parsed
            .query
            .conditions
            .iter()
            .all(|c| c.path.0.iter().all(|s| s.creator.is_none()))
    );
}

#[test]
fn fields_are_included_in_every_form() {
    let fields = |text: &str| match standard(QueryLevel::Series, text).unwrap().query.include {
        Include::Fields(paths) => paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
        Include::All => vec!["all".to_owned()],
    };
    assert_eq!(
        fields(
            "includefield=00081030,PatientID, 00100010&IncludeField=00080060&includefield=PatientID,,foo,00100099"
        ),
        ["StudyDescription", "PatientID", "PatientName", "Modality"]
    );
    assert_eq!(
        fields("includefield=RequestAttributesSequence.00400009"),
        ["RequestAttributesSequence.ScheduledProcedureStepID"]
    );
    assert_eq!(fields("includefield=ALL"), ["all"]);
    assert_eq!(fields("includefield=all,PatientID"), ["all"]);
    assert!(fields("includefield=SOPInstanceUID,Rows").is_empty());
    assert!(fields("includefield=").is_empty());
    assert_eq!(
        fields("includefield=NumberOfStudyRelatedInstances"),
        ["NumberOfStudyRelatedInstances"]
    );
    assert!(matches!(
        refused(QueryDialect::Service, QueryLevel::Study, "includefield=foo"),
        Reason::UnknownInclude(_)
    ));
    assert!(service(QueryLevel::Study, "includefield=all,PatientID,Rows").is_ok());
}

#[test]
fn ranges_of_dates_and_times_are_one_range_of_moments() {
    let moments = |text: &str| {
        let conditions = standard(QueryLevel::Study, text).unwrap().query.conditions;
        match conditions.as_slice() {
            [
                Condition {
                    matching: Matching::DateTime { time, from, to },
                    path,
                    ..
                },
            ] => {
                assert_eq!(*time, Tag(0x0008, 0x0030));
                assert_eq!(path.single(), Some(Tag(0x0008, 0x0020)));
                Some((
                    from.clone().unwrap_or_default(),
                    to.clone().unwrap_or_default(),
                ))
            }
            _ => None,
        }
    };
    let some = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
    assert_eq!(
        moments("StudyTime=10-1130&StudyDate=20200101-20200103"),
        some("20200101100000.000000", "20200103113059.999999")
    );
    assert_eq!(
        moments("StudyDate=20200101-&StudyTime=10-12"),
        some("20200101100000.000000", "")
    );
    assert_eq!(
        moments("StudyDate=-20200103&StudyTime=10-"),
        some("", "20200103235959.999999")
    );
    // From the evening of one day to the morning of another.
    assert_eq!(
        moments("StudyDate=20200101-20200103&StudyTime=18-06"),
        some("20200101180000.000000", "20200103065959.999999")
    );
    let reversed = Reason::Temporal(TemporalError::Reversed);
    for text in [
        "StudyTime=18-06",
        "StudyTime=18-06&StudyDate=20200101",
        "StudyTime=18-06&SeriesDate=20200101-20200103",
    ] {
        assert_eq!(
            refused(QueryDialect::Standard, QueryLevel::Study, text),
            reversed,
            "{text}"
        );
    }
    // One day, one time of day, or a list: two conditions.
    assert_eq!(moments("StudyDate=20200101&StudyTime=10-12"), None);
    assert_eq!(moments("StudyDate=20200101-20200101&StudyTime=10-12"), None);
    assert_eq!(moments("StudyDate=20200101-20200103&StudyTime=10"), None);
    assert_eq!(moments("StudyDate=20200101-20200103"), None);
}

#[test]
fn problems_name_parameter_and_reason() {
    let problem = service(QueryLevel::Study, "limit=0").unwrap_err();
    assert_eq!(
        problem.to_string(),
        "The query parameter 'limit' is invalid. The value must be an integer between 1 and 200."
    );
    let name = format!("{}\r\nX: <é\"{}", "a".repeat(10), "b".repeat(5000));
    let parameters = [(name, "secret".to_owned())];
    let problem = parse(
        &parameters,
        resource(QueryLevel::Study),
        QueryDialect::Service,
        &[],
    )
    .unwrap_err();
    let text = problem.to_string();
    assert!(
        text.is_ascii()
            && text.len() < 400
            && !text.contains(['\r', '\n', '"'])
            && !text.contains("secret")
    );
    let parsed = parse(
        &parameters,
        resource(QueryLevel::Study),
        QueryDialect::Standard,
        &[],
    )
    .unwrap();
    let text = parsed.warnings[0].to_string();
    assert!(
        text.is_ascii()
            && text.len() < 400
            && !text.contains(['\r', '\n', '"'])
            && !text.contains("secret")
    );
}

#[test]
fn a_hostile_search_is_bounded() {
    for dialect in [QueryDialect::Service, QueryDialect::Standard] {
        let reason = |text: &str| refused(dialect, QueryLevel::Instance, text);
        assert_eq!(
            reason(&"includefield=00100020&".repeat(10_000)),
            Reason::TooManyIncludes
        );
        assert_eq!(
            reason(&format!("includefield={}", "00100020,".repeat(10_000))),
            Reason::TooManyIncludes
        );
        assert_eq!(
            reason(&format!("includefield={}", "00400275.00400009,".repeat(65))),
            Reason::TooManyIncludes
        );
        assert_eq!(
            reason(&format!("PatientID={}", "a".repeat(MAX_VALUE + 1))),
            Reason::TooLong
        );
        let uids: Vec<String> = (0..=MAX_LIST).map(|n| format!("1.{n}")).collect();
        assert_eq!(
            reason(&format!("StudyInstanceUID={}", uids.join(","))),
            Reason::TooManyValues
        );
        assert_eq!(
            reason(&format!("StudyInstanceUID={}", "1,".repeat(40_000))),
            Reason::TooLong
        );
        assert_eq!(reason("PatientID=a\0b"), Reason::Control);
    }
    let tags = (0x1000..0x1000 + MAX_CONDITIONS + 1)
        .map(|e| format!("0009{e:04X}=x"))
        .collect::<Vec<_>>();
    assert_eq!(
        refused(QueryDialect::Standard, QueryLevel::Study, &tags.join("&")),
        Reason::TooManyConditions
    );
    let unknown = (0..10_000).map(|n| format!("foo{n}=x")).collect::<Vec<_>>();
    assert_eq!(
        standard(QueryLevel::Study, &unknown.join("&"))
            .unwrap()
            .warnings
            .len(),
        MAX_WARNINGS
    );
    let listed = standard(
        QueryLevel::Study,
        &format!("StudyInstanceUID={}", vec!["1.2.3"; 10_000].join(",")),
    )
    .unwrap();
    assert_eq!(listed.query.conditions[0].matching, single("1.2.3"));
    let sql = "PatientID='; drop table study; --&PatientName=%' or '1'='1&StudyDescription=$1 \u{202e}\u{0301}";
    assert_eq!(
        standard(QueryLevel::Study, sql)
            .unwrap()
            .query
            .conditions
            .len(),
        3
    );
}

#[test]
fn what_viewers_send_is_understood() {
    // OHIF's study list, with everything filled in.
    let text = "limit=101&offset=0&fuzzymatching=true&includefield=00081030,00080060,00080090,00100030\
        &PatientName=*smith*&00100020=*12*&AccessionNumber=*7*&StudyDescription=*thorax*&ModalitiesInStudy=CT,MR\
        &StudyDate=19700102-20240131";
    let parsed = standard(QueryLevel::Study, text).unwrap();
    assert!(parsed.warnings.is_empty());
    assert_eq!(parsed.query.conditions.len(), 6);
    assert_eq!(parsed.query.limit, Some(101));
    let text = "StudyInstanceUID=1.2\\1.3&StudyInstanceUID=1.2\\1.3";
    assert_eq!(matched(text), any_of(&["1.2", "1.3"]));
    // The Python client repeats parameters.
    let text =
        "PatientID=*&includefield=all&includefield=00081030&limit=5&offset=5&fuzzymatching=false";
    assert_eq!(
        standard(QueryLevel::Study, text).unwrap().query.include,
        Include::All
    );
}

proptest! {
    #[test]
    fn any_parameters_are_read_or_refused(
        parameters in proptest::collection::vec((
            prop_oneof![
                proptest::sample::select(vec![
                    "PatientName", "PatientID", "StudyDate", "StudyTime", "StudyInstanceUID", "limit", "offset", "includefield",
                    "fuzzymatching", "emptyvaluematching", "multiplevaluematching", "00191008", "00190010", "Rows",
                    "RequestAttributesSequence.00400009", "ModalitiesInStudy", "AcquisitionDateTime", "00280009",
                ]).prop_map(str::to_owned),
                ".{0,12}",
            ],
            prop_oneof!["[0-9.,\\\\*?\"-]{0,20}", ".{0,30}", proptest::sample::select(vec!["true", "all", "20200101-", "1.2"]).prop_map(str::to_owned)],
        ), 0..8),
        service in any::<bool>(),
        level in proptest::sample::select(vec![QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance]),
    ) {
        let dialect = if service { QueryDialect::Service } else { QueryDialect::Standard };
        match parse(&parameters, resource(level), dialect, &[]) {
            Ok(parsed) => {
                prop_assert!(parsed.query.conditions.len() <= parameters.len());
                prop_assert!(parsed.query.conditions.iter().all(|c| !c.path.0.is_empty()));
            }
            Err(problem) => prop_assert!(problem.to_string().is_ascii()),
        }
    }
}
