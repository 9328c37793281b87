use proptest::prelude::*;

use super::*;

fn spans(found: Option<TimeSpan>) -> Option<(String, String)> {
    found.map(|span| (span.first, span.last))
}

fn pair(first: &str, last: &str) -> Option<(String, String)> {
    Some((first.to_owned(), last.to_owned()))
}

#[test]
fn dates_take_their_normal_form() {
    for (text, expected) in [
        ("20200229", Some("20200229")),
        ("2020.02.29", Some("20200229")),
        (" 20200229 \0", Some("20200229")),
        ("20210229", None),
        ("20201301", None),
        ("20200100", None),
        ("00000101", None),
        ("2020-01-01", None),
        ("2020", None),
        ("202001011", None),
        ("+0200101", None),
        ("２0200101", None),
        ("", None),
    ] {
        assert_eq!(date(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn times_mean_all_their_moments() {
    for (text, expected) in [
        ("10", pair("100000.000000", "105959.999999")),
        ("1030", pair("103000.000000", "103059.999999")),
        ("103015", pair("103015.000000", "103015.999999")),
        ("103015.5", pair("103015.500000", "103015.599999")),
        ("103015.123456", pair("103015.123456", "103015.123456")),
        ("10:30:15.25", pair("103015.250000", "103015.259999")),
        ("10:30", pair("103000.000000", "103059.999999")),
        ("235960", pair("235960.000000", "235960.999999")),
        ("0000 ", pair("000000.000000", "000059.999999")),
        ("24", None),
        ("1060", None),
        ("103061", None),
        ("1", None),
        ("103", None),
        ("10.5", None),
        ("103015.", None),
        ("103015.1234567", None),
        ("1:030", None),
        ("10:3015", None),
        ("10+1", None),
        ("é0", None),
        ("", None),
    ] {
        assert_eq!(spans(time(text)), expected, "{text}");
    }
}

#[test]
fn date_times_are_widened_and_shifted_to_utc() {
    for (text, expected) in [
        (
            "2020",
            pair("20200101000000.000000", "20201231235959.999999"),
        ),
        (
            "202002",
            pair("20200201000000.000000", "20200229235959.999999"),
        ),
        (
            "20200215",
            pair("20200215000000.000000", "20200215235959.999999"),
        ),
        (
            "2020021510",
            pair("20200215100000.000000", "20200215105959.999999"),
        ),
        (
            "20200215103015.5",
            pair("20200215103015.500000", "20200215103015.599999"),
        ),
        (
            "20200215103015+0100",
            pair("20200215093015.000000", "20200215093015.999999"),
        ),
        (
            "20200215103015 0100",
            pair("20200215093015.000000", "20200215093015.999999"),
        ),
        (
            "20200101-0530",
            pair("20200101053000.000000", "20200102052959.999999"),
        ),
        (
            "2020+1400",
            pair("20191231100000.000000", "20201231095959.999999"),
        ),
        (
            "20200101235960+0000",
            pair("20200101235959.000000", "20200101235959.999999"),
        ),
        ("00010101+0100", None),
        ("99991231-0100", None),
        ("2020-1300", None),
        ("2020+1430", None),
        ("2020+0160", None),
        ("20201", None),
        ("20200230", None),
        ("202013", None),
        ("20200101.5", None),
        ("+0100", None),
        ("", None),
    ] {
        assert_eq!(spans(date_time(text)), expected, "{text}");
    }
}

#[test]
fn ranges_have_inclusive_bounds() {
    for (vr, text, from, to) in [
        (
            VR::DA,
            "20200101-20201231",
            Some("20200101"),
            Some("20201231"),
        ),
        (VR::DA, "20200101-", Some("20200101"), None),
        (VR::DA, "-20200101", None, Some("20200101")),
        (
            VR::DA,
            "20200101-20200101",
            Some("20200101"),
            Some("20200101"),
        ),
        (
            VR::DA,
            "2020.01.01 - 2020.01.02",
            Some("20200101"),
            Some("20200102"),
        ),
        (
            VR::TM,
            "10-1130",
            Some("100000.000000"),
            Some("113059.999999"),
        ),
        (VR::TM, "-10:15", None, Some("101559.999999")),
        (
            VR::DT,
            "2019-2020",
            Some("20190101000000.000000"),
            Some("20201231235959.999999"),
        ),
        (
            VR::DT,
            "20200101-0500-20200102-0500",
            Some("20200101050000.000000"),
            Some("20200103045959.999999"),
        ),
        (
            VR::DT,
            "20200101-0500-",
            Some("20200101050000.000000"),
            None,
        ),
        (
            VR::DT,
            "-20200101-0500",
            None,
            Some("20200102045959.999999"),
        ),
        (
            VR::DT,
            "2019-2020-0500",
            Some("20190101000000.000000"),
            Some("20210101045959.999999"),
        ),
    ] {
        let bounds = range(vr, text).unwrap().unwrap();
        assert_eq!(
            (bounds.from.as_deref(), bounds.to.as_deref()),
            (from, to),
            "{text}"
        );
    }
    assert_eq!(range(VR::DA, "20200101"), Ok(None));
    assert_eq!(range(VR::TM, "10"), Ok(None));
    assert_eq!(range(VR::DT, "20200101-0500"), Ok(None));
    assert_eq!(
        date_range("20200101-").unwrap().from.as_deref(),
        Some("20200101")
    );
    assert_eq!(date_range("20200101"), Err(TemporalError::Date));
}

#[test]
fn wrong_ranges_are_refused() {
    for (vr, text, problem) in [
        (VR::DA, "-", TemporalError::Date),
        (VR::DA, "", TemporalError::Date),
        (VR::DA, "--", TemporalError::Date),
        (VR::DA, "20200101--20200102", TemporalError::Date),
        (VR::DA, "20200101-20200102-20200103", TemporalError::Date),
        (VR::DA, "20201301-", TemporalError::Date),
        (VR::DA, "2020-01-01", TemporalError::Date),
        (VR::DA, "20200102-20200101", TemporalError::Reversed),
        (VR::TM, "12-11", TemporalError::Reversed),
        (VR::TM, "x-", TemporalError::Time),
        (VR::DT, "2021-2020", TemporalError::Reversed),
        (VR::DT, "-", TemporalError::DateTime),
    ] {
        assert_eq!(range(vr, text), Err(problem), "{text}");
    }
}

#[test]
fn stored_values_take_the_form_of_their_column() {
    assert_eq!(stored(VR::DA, "2020.01.02").as_deref(), Some("20200102"));
    assert_eq!(stored(VR::TM, "1030").as_deref(), Some("103000.000000"));
    assert_eq!(
        stored(VR::DT, "2020+0100").as_deref(),
        Some("20191231230000.000000")
    );
    assert_eq!(stored(VR::LO, "20200101"), None);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[0-9.:+ -]{0,40}|.{0,20}") {
        for vr in [VR::DA, VR::TM, VR::DT] {
            let length = match vr { VR::DA => 8, VR::TM => 13, _ => 21 };
            if let Some(span) = span(vr, &text) {
                prop_assert!(span.first <= span.last);
                prop_assert_eq!(span.first.len(), length);
                prop_assert_eq!(span.last.len(), length);
            }
            if let Ok(Some(bounds)) = range(vr, &text) {
                prop_assert!(bounds.from.is_some() || bounds.to.is_some());
            }
        }
    }
}
