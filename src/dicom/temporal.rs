//! Dates and times: DA, TM and DT to normal forms that compare as text, and the ranges a search asks for.
//!
//! Invariant: a normal form is DA `yyyymmdd`, TM `hhmmss.ffffff` or DT `yyyymmddhhmmss.ffffff`, always full length, so
//! that text order is time order. A DT with an offset is in UTC; one without is as written (PS3.5 §6.2).

use dicom_core::VR;
use time::{Date, Duration, Month, PrimitiveDateTime, Time};

/// Longest text that is looked at, in bytes; two full date-times with offsets and padding have 60.
const MAX_LENGTH: usize = 80;

/// The first and the last moment a value can mean, in normal form; equal when nothing was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// First moment.
    pub first: String,
    /// Last moment, to the microsecond.
    pub last: String,
}

/// Inclusive bounds in normal form; at least one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Lower bound.
    pub from: Option<String>,
    /// Upper bound.
    pub to: Option<String>,
}

/// Why a text is no date, time or range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemporalError {
    /// Not a date, or none of the calendar.
    #[error(
        "A date is written yyyyMMdd, a range of dates yyyyMMdd-yyyyMMdd with one side left out at most."
    )]
    Date,
    /// Not a time of day.
    #[error(
        "A time is written HHmmss.FFFFFF, from the right as short as HH, a range with a hyphen."
    )]
    Time,
    /// Not a date and time.
    #[error(
        "A date and time is written yyyyMMddHHmmss.FFFFFF&ZZXX, from the right as short as yyyy, a range with a hyphen."
    )]
    DateTime,
    /// The first part is later than the second.
    #[error("The first part of a range must not be later than the second.")]
    Reversed,
}

/// The normal form of a DA value as files have it: `yyyymmdd`, also in the old form `yyyy.mm.dd`.
#[must_use]
pub fn date(text: &str) -> Option<String> {
    let digits = match unpadded(text).as_bytes() {
        [y1, y2, y3, y4, b'.', m1, m2, b'.', d1, d2] => [*y1, *y2, *y3, *y4, *m1, *m2, *d1, *d2],
        bytes => <[u8; 8]>::try_from(bytes).ok()?,
    };
    let text = std::str::from_utf8(&digits).ok()?;
    calendar(text)?;
    Some(text.to_owned())
}

/// What a TM value can mean: `hh[mm[ss[.f…]]]`, also in the old form `hh:mm[:ss[.f…]]`; second 60 is a leap second.
#[must_use]
pub fn time(text: &str) -> Option<Span> {
    let text = unpadded(text);
    let clock = Clock::parse(&without_colons(text)?)?;
    Some(Span {
        first: clock.text(Side::First),
        last: clock.text(Side::Last),
    })
}

/// What a DT value can mean: `yyyy[mm[dd[hh[mm[ss[.f…]]]]]][&zzxx]`; shifted to UTC when it has an offset.
#[must_use]
pub fn date_time(text: &str) -> Option<Span> {
    let text = unpadded(text);
    let (local, offset) = split_offset(text);
    let offset = match offset {
        None => None,
        Some(text) => Some(parse_offset(text)?),
    };
    let (days, clock) = local.split_at_checked(8).unwrap_or((local, ""));
    if !days.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let clock = match clock {
        "" => None,
        text => Some(Clock::parse(text)?),
    };
    let (first_day, last_day) = match days.len() {
        4 => (format!("{days}0101"), format!("{days}1231")),
        6 => (format!("{days}01"), last_of_month(days)?),
        8 => (days.to_owned(), days.to_owned()),
        _ => return None,
    };
    let first = moment(&first_day, clock.as_ref(), Side::First, offset)?;
    let last = moment(&last_day, clock.as_ref(), Side::Last, offset)?;
    Some(Span { first, last })
}

/// The normal form of a stored value for a column of its VR; a partial value counts as its first moment.
#[must_use]
pub fn stored(vr: VR, text: &str) -> Option<String> {
    match vr {
        VR::DA => date(text),
        VR::TM => time(text).map(|span| span.first),
        VR::DT => date_time(text).map(|span| span.first),
        _ => None,
    }
}

/// What one DA, TM or DT value of a search can mean.
///
/// # Errors
/// [`TemporalError`] when the text is not a value of the VR.
pub fn value(vr: VR, text: &str) -> Result<Span, TemporalError> {
    span(vr, text).ok_or(malformed(vr))
}

/// The bounds of a range `a-b`, `a-` or `-b` of DA, TM or DT values (PS3.4 §C.2.2.2.5); none when the text is one value.
///
/// The hyphen before the offset of a DT is told from the one between two values: whatever reads as one value is one.
///
/// # Errors
/// [`TemporalError`] when the text is neither value nor range, and for a range from later to earlier.
pub fn range(vr: VR, text: &str) -> Result<Option<Bounds>, TemporalError> {
    let mut problem = malformed(vr);
    if text.len() > MAX_LENGTH {
        return Err(problem);
    }
    if span(vr, text).is_some() {
        return Ok(None);
    }
    for (at, _) in text.match_indices('-') {
        let (Some(left), Some(right)) = (text.get(..at), text.get(at + 1..)) else {
            continue;
        };
        let (Some(from), Some(to)) = (bound(vr, left), bound(vr, right)) else {
            continue;
        };
        let bounds = Bounds {
            from: from.map(|span| span.first),
            to: to.map(|span| span.last),
        };
        match (&bounds.from, &bounds.to) {
            (None, None) => {}
            (Some(from), Some(to)) if from > to => problem = TemporalError::Reversed,
            _ => return Ok(Some(bounds)),
        }
    }
    Err(problem)
}

/// The bounds of a range of dates.
///
/// # Errors
/// As [`range`]; a single date is no range.
pub fn date_range(text: &str) -> Result<Bounds, TemporalError> {
    range(VR::DA, text)?.ok_or(TemporalError::Date)
}

fn span(vr: VR, text: &str) -> Option<Span> {
    match vr {
        VR::TM => time(text),
        VR::DT => date_time(text),
        _ => date(text).map(|day| Span {
            first: day.clone(),
            last: day,
        }),
    }
}

fn malformed(vr: VR) -> TemporalError {
    match vr {
        VR::TM => TemporalError::Time,
        VR::DT => TemporalError::DateTime,
        _ => TemporalError::Date,
    }
}

/// One side of a range: `Some(None)` when it is left out.
#[expect(
    clippy::option_option,
    reason = "a side left out and a side that cannot be read are different"
)]
fn bound(vr: VR, text: &str) -> Option<Option<Span>> {
    if unpadded(text).is_empty() {
        return Some(None);
    }
    span(vr, text).map(Some)
}

/// Which end of what a partial value can mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Last,
}

/// A time of day with as many digits as were written.
struct Clock {
    /// `hh`, `hhmm` or `hhmmss`.
    digits: String,
    /// At most six digits.
    fraction: String,
}

impl Clock {
    fn parse(text: &str) -> Option<Self> {
        let (digits, fraction) = match text.split_once('.') {
            None => (text, ""),
            Some((digits, fraction)) if digits.len() == 6 && !fraction.is_empty() => {
                (digits, fraction)
            }
            Some(_) => return None,
        };
        let numeric = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !numeric(digits) || !numeric(fraction) || fraction.len() > 6 {
            return None;
        }
        let part = |at: usize| {
            digits
                .get(at..at + 2)
                .map(|two| two.parse::<u8>().unwrap_or(u8::MAX))
        };
        let fits = matches!(digits.len(), 2 | 4 | 6)
            && part(0).is_some_and(|hour| hour < 24)
            && part(2).is_none_or(|minute| minute < 60)
            && part(4).is_none_or(|second| second <= 60);
        fits.then(|| Self {
            digits: digits.to_owned(),
            fraction: fraction.to_owned(),
        })
    }

    fn text(&self, side: Side) -> String {
        let filler = match side {
            Side::First => "000000.000000",
            Side::Last => "235959.999999",
        };
        let mut text = self.digits.clone();
        if !self.fraction.is_empty() {
            text.push('.');
            text.push_str(&self.fraction);
        }
        text.push_str(filler.get(text.len()..).unwrap_or_default());
        text
    }
}

fn unpadded(text: &str) -> &str {
    text.trim_matches([' ', '\0'])
}

/// A time without the colons of the old form; none when they stand in wrong places.
fn without_colons(text: &str) -> Option<String> {
    let placed = text
        .char_indices()
        .all(|(at, c)| c != ':' || matches!(at, 2 | 5));
    let complete = matches!(
        (text.as_bytes().get(2), text.as_bytes().get(5)),
        (Some(b':'), None | Some(b':'))
    );
    match (text.contains(':'), placed && complete) {
        (false, _) => Some(text.to_owned()),
        (true, true) => Some(text.replace(':', "")),
        (true, false) => None,
    }
}

fn calendar(days: &str) -> Option<Date> {
    if !days.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year: i32 = days.get(..4)?.parse().ok()?;
    let month: u8 = days.get(4..6)?.parse().ok()?;
    let day: u8 = days.get(6..8)?.parse().ok()?;
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    (year > 0).then_some(date)
}

fn last_of_month(year_and_month: &str) -> Option<String> {
    let first = calendar(&format!("{year_and_month}01"))?;
    let length = first.month().length(first.year());
    Some(format!("{year_and_month}{length:02}"))
}

/// The local part and the offset with its sign; a `+` that a form decoder turned into a blank counts.
fn split_offset(text: &str) -> (&str, Option<&str>) {
    match text
        .len()
        .checked_sub(5)
        .and_then(|at| text.split_at_checked(at))
    {
        Some((local, offset)) if local.len() >= 4 && offset.starts_with(['+', '-', ' ']) => {
            (local, Some(offset))
        }
        _ => (text, None),
    }
}

/// An offset of at most fourteen hours east and twelve west.
fn parse_offset(text: &str) -> Option<Duration> {
    let digits = text
        .get(1..5)
        .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..)?.parse().ok()?;
    let total = hours * 60 + minutes;
    if minutes > 59 || text.starts_with('-') && total > 12 * 60 || total > 14 * 60 {
        return None;
    }
    Some(Duration::minutes(if text.starts_with('-') {
        -total
    } else {
        total
    }))
}

fn moment(
    day: &str,
    clock: Option<&Clock>,
    side: Side,
    offset: Option<Duration>,
) -> Option<String> {
    let date = calendar(day)?;
    let time = match (clock, side) {
        (Some(clock), side) => clock.text(side),
        (None, Side::First) => "000000.000000".to_owned(),
        (None, Side::Last) => "235959.999999".to_owned(),
    };
    let Some(offset) = offset else {
        return Some(format!("{day}{time}"));
    };
    // The calendar knows no second 60; the second before it keeps the order.
    let second: u8 = time.get(4..6)?.parse().ok()?;
    let clock = Time::from_hms_micro(
        time.get(..2)?.parse().ok()?,
        time.get(2..4)?.parse().ok()?,
        second.min(59),
        time.get(7..)?.parse().ok()?,
    )
    .ok()?;
    let utc = PrimitiveDateTime::new(date, clock).checked_sub(offset)?;
    if utc.year() < 1 {
        return None;
    }
    let (hour, minute, second, micro) = utc.time().as_hms_micro();
    Some(format!(
        "{:04}{:02}{:02}{hour:02}{minute:02}{second:02}.{micro:06}",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(found: Option<Span>) -> Option<(String, String)> {
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
}
