//! Sizes and times as people write them: a number, with a unit if they like.
//!
//! A plain number keeps the meaning that the setting has: bytes, seconds or hours.

use std::str::FromStr;
use std::time::Duration;

/// The text is no size or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Of a size.
    #[error(
        "a size is a number of bytes, or a number with a unit: 512k, 64MiB, 2GiB, 1TiB (k, M, G, T and KiB, MiB, GiB, TiB count in 1024, \
         KB, MB, GB, TB in 1000)"
    )]
    Size,
    /// Of a time that is given in seconds.
    #[error("a time is a number of seconds, or a number with a unit: 90s, 5m, 12h, 3d, 2w")]
    Seconds,
    /// Of a time that is given in hours.
    #[error("a time is a number of hours, or a number with a unit: 90s, 5m, 12h, 3d, 2w")]
    Hours,
    /// Larger than anything.
    #[error("the number is too large")]
    TooLarge,
    /// Less than the server can work with.
    #[error("at least 64MiB is needed")]
    TooSmall,
}

/// Units of sizes, in lower case.
const SIZES: [(&str, u64); 15] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
    ("pib", 1 << 50),
];
/// Units of times, in seconds.
const TIMES: [(&str, u64); 11] = [
    ("s", 1),
    ("sec", 1),
    ("seconds", 1),
    ("m", 60),
    ("min", 60),
    ("minutes", 60),
    ("h", 3600),
    ("hours", 3600),
    ("d", 86_400),
    ("days", 86_400),
    ("w", 604_800),
];
/// Least memory that is worth a try.
const LEAST_MEMORY: u64 = 64 << 20;

/// A size in bytes.
///
/// # Errors
/// [`UnitError`] when the text is none.
pub fn bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = parts(text).ok_or(UnitError::Size)?;
    let unit = factor(&SIZES, unit).ok_or(UnitError::Size)?;
    times(number, unit)
        .ok_or(UnitError::Size)?
        .ok_or(UnitError::TooLarge)
}

/// A size in bytes of what is held in memory.
///
/// # Errors
/// [`UnitError`] when the text is none, or more than can be addressed.
pub fn memory(text: &str) -> Result<usize, UnitError> {
    usize::try_from(bytes(text)?).map_err(|_| UnitError::TooLarge)
}

/// The budget of memory: 64 MiB or more.
///
/// # Errors
/// [`UnitError`] when the text is no size, or one that is too small.
pub fn budget(text: &str) -> Result<u64, UnitError> {
    match bytes(text)? {
        least if least < LEAST_MEMORY => Err(UnitError::TooSmall),
        bytes => Ok(bytes),
    }
}

/// A time in whole seconds; what is left of a second counts as one.
///
/// # Errors
/// [`UnitError`] when the text is none.
pub fn seconds(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = parts(text).ok_or(UnitError::Seconds)?;
    let unit = if unit.is_empty() {
        1
    } else {
        factor(&TIMES, unit).ok_or(UnitError::Seconds)?
    };
    times(number, unit)
        .ok_or(UnitError::Seconds)?
        .ok_or(UnitError::TooLarge)
}

/// A time in hours.
///
/// # Errors
/// [`UnitError`] when the text is none.
pub fn hours(text: &str) -> Result<f64, UnitError> {
    let (number, unit) = parts(text).ok_or(UnitError::Hours)?;
    let number = f64::from_str(number).map_err(|_| UnitError::Hours)?;
    let per_hour: f64 = match unit {
        "" => 1.0,
        unit => {
            let seconds = factor(&TIMES, unit).ok_or(UnitError::Hours)?;
            f64::from(u32::try_from(seconds).map_err(|_| UnitError::Hours)?) / 3600.0
        }
    };
    let hours = number * per_hour;
    if hours.is_finite() {
        Ok(hours)
    } else {
        Err(UnitError::TooLarge)
    }
}

/// The number and the unit of a text.
fn parts(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let digits = number.bytes().any(|b| b.is_ascii_digit());
    let points = number.bytes().filter(|b| *b == b'.').count();
    (digits && points <= 1).then(|| (number, unit.trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    let known = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    known.map(|(_, factor)| *factor)
}

/// A decimal number times a unit, rounded up: none when it is no number, the inner none when it is too large.
fn times(number: &str, unit: u64) -> Option<Option<u64>> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() { "0" } else { whole };
    if whole.len() > 20 || part.len() > 15 {
        return Some(None);
    }
    let whole = whole.parse::<u128>().ok()?.checked_mul(unit.into());
    let digits = u32::try_from(part.len()).ok()?;
    let part = if part.is_empty() { "0" } else { part };
    let part = part.parse::<u128>().ok()?.checked_mul(unit.into())?;
    let part = part.div_ceil(10_u128.checked_pow(digits)?);
    let sum = whole.and_then(|whole| whole.checked_add(part));
    Some(sum.and_then(|sum| u64::try_from(sum).ok()))
}

/// So many hours; none for 0, which is for ever.
pub(super) fn some_hours(hours: f64) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(hours * 3600.0).ok();
    time.filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, expected) in [
            ("0", 0),
            ("512", 512),
            ("512k", 512 << 10),
            ("512 KiB", 512 << 10),
            ("1kb", 1000),
            ("64GiB", 64 << 30),
            ("64g", 64 << 30),
            ("1.5MiB", 3 << 19),
            ("2TB", 2_000_000_000_000),
            ("18446744073709551615", u64::MAX),
            (" 7B ", 7),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for wrong in [
            "", "k", "-1", "+1", "64XB", "1 000", "1.2.3", "0x10", "1e9", ".", "ten", "3d",
        ] {
            assert_eq!(bytes(wrong), Err(UnitError::Size), "{wrong}");
        }
        for large in [
            "18446744073709551616",
            "99999999TiB",
            "999999999999999999999",
        ] {
            assert_eq!(bytes(large), Err(UnitError::TooLarge), "{large}");
        }
        assert_eq!(budget("63MiB"), Err(UnitError::TooSmall));
        assert_eq!(budget("256MiB"), Ok(256 << 20));
    }

    #[test]
    fn times_are_read_with_and_without_units() {
        for (text, expected) in [
            ("90", 90),
            ("90s", 90),
            ("1.5m", 90),
            ("3d", 3 * 86_400),
            ("2w", 14 * 86_400),
            ("12 h", 12 * 3600),
            ("0.2s", 1),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "s", "3 fortnights", "-3d", "64k"] {
            assert_eq!(seconds(wrong), Err(UnitError::Seconds), "{wrong}");
        }
        for (text, expected) in [
            ("72", 72.0),
            ("3d", 72.0),
            ("90m", 1.5),
            ("0.5", 0.5),
            ("1800s", 0.5),
        ] {
            assert!((hours(text).unwrap() - expected).abs() < 1e-9, "{text}");
        }
        assert_eq!(hours("soon"), Err(UnitError::Hours));
    }
}
