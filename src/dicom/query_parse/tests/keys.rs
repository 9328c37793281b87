//! Which attributes a resource is searched by.

use super::*;

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
