//! Times as the index keeps them: microseconds since 1970.

use time::OffsetDateTime;

/// A length of time in microseconds; one that is too long to be added to a time becomes the longest that is not.
pub(super) fn length_micros(length: std::time::Duration) -> i64 {
    let most = i64::MAX / 4;
    i64::try_from(length.as_micros()).map_or(most, |micros| micros.min(most))
}

/// Now, as times are stored: microseconds since 1970, UTC.
pub(super) fn now_micros() -> i64 {
    to_micros(OffsetDateTime::now_utc())
}

/// A time as it is stored; one far outside of history becomes the nearest that fits.
pub(super) fn to_micros(time: OffsetDateTime) -> i64 {
    let micros = time.unix_timestamp_nanos().div_euclid(1000);
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// A stored time.
pub(super) fn from_micros(
    micros: i64,
) -> std::result::Result<OffsetDateTime, time::error::ComponentRange> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros).saturating_mul(1000))
}
