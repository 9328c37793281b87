//! Dates and times: DA, TM and DT to normal forms that compare as text, and the ranges a search asks for.
//!
//! Invariant: a normal form is DA `yyyymmdd`, TM `hhmmss.ffffff` or DT `yyyymmddhhmmss.ffffff`, always full length, so
//! that text order is time order. A DT with an offset is in UTC; one without is as written (PS3.5 §6.2).

use dicom_core::VR;
use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, Time};

#[cfg(test)]
mod tests;

/// Longest text that is looked at, in bytes; two full date-times with offsets and padding have 60.
const MAX_LENGTH: usize = 80;

/// The first and the last moment a value can mean, in normal form; equal when nothing was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSpan {
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
pub fn time(text: &str) -> Option<TimeSpan> {
    let text = unpadded(text);
    let clock = Clock::parse(&without_colons(text)?)?;
    Some(TimeSpan {
        first: clock.text(Side::First),
        last: clock.text(Side::Last),
    })
}

/// What a DT value can mean: `yyyy[mm[dd[hh[mm[ss[.f…]]]]]][&zzxx]`; shifted to UTC when it has an offset.
#[must_use]
pub fn date_time(text: &str) -> Option<TimeSpan> {
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
    Some(TimeSpan { first, last })
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
pub fn value(vr: VR, text: &str) -> Result<TimeSpan, TemporalError> {
    span(vr, text).ok_or(malformed(vr))
}

/// The bounds of a range `a-b`, `a-` or `-b` of DA, TM or DT values (PS3.4 §C.2.2.2.5); none when the text is one value.
///
/// The hyphen before the offset of a DT is told from the one between two values: whatever reads as one value is one.
///
/// # Errors
/// [`TemporalError`] when the text is neither value nor range, and for a range from later to earlier.
pub fn range(vr: VR, text: &str) -> Result<Option<Bounds>, TemporalError> {
    match ends(vr, text)? {
        Some(bounds) if bounds.is_reversed() => Err(TemporalError::Reversed),
        found => Ok(found),
    }
}

/// Like [`range`], but the ends may stand in any order: times that belong to different days do.
///
/// # Errors
/// [`TemporalError`] when the text is neither value nor range.
pub fn ends(vr: VR, text: &str) -> Result<Option<Bounds>, TemporalError> {
    if text.len() > MAX_LENGTH {
        return Err(malformed(vr));
    }
    if span(vr, text).is_some() {
        return Ok(None);
    }
    let mut reversed = None;
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
        if bounds.is_reversed() {
            reversed = Some(bounds);
        } else if bounds.from.is_some() || bounds.to.is_some() {
            return Ok(Some(bounds));
        }
    }
    reversed.map(Some).ok_or(malformed(vr))
}

impl Bounds {
    fn is_reversed(&self) -> bool {
        matches!((&self.from, &self.to), (Some(from), Some(to)) if from > to)
    }
}

/// The bounds of a range of dates.
///
/// # Errors
/// As [`range`]; a single date is no range.
pub fn date_range(text: &str) -> Result<Bounds, TemporalError> {
    range(VR::DA, text)?.ok_or(TemporalError::Date)
}

fn span(vr: VR, text: &str) -> Option<TimeSpan> {
    match vr {
        VR::TM => time(text),
        VR::DT => date_time(text),
        _ => date(text).map(|day| TimeSpan {
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
fn bound(vr: VR, text: &str) -> Option<Option<TimeSpan>> {
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

/// A moment as a DT value, in UTC.
#[must_use]
pub fn moment_of(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}.{:06}+0000",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}
