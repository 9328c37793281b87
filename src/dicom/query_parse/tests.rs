use crate::dicom::uid::SeriesUid;
use crate::dicom::uid::StudyUid;
use proptest::prelude::*;

use dicom_core::Tag;

use super::*;
use crate::dicom::query::PathStep;
use crate::dicom::temporal::TemporalError;

mod keys;
mod values;

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
