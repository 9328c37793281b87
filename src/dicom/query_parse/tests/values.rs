//! How values match, by their representation.

use super::*;

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
