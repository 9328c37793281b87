//! How long what a request stores is kept: `msdicom-expiry-…` (dicom-service-current §2).

use axum::http::HeaderMap;
use time::{Duration, OffsetDateTime};

use crate::http::error::{HttpError, ProblemType};

/// Milliseconds from the request on.
const TIME: &str = "msdicom-expiry-time-milliseconds";
/// What they are counted from.
const OPTION: &str = "msdicom-expiry-option";
/// What is deleted.
const LEVEL: &str = "msdicom-expiry-level";

/// When the studies of a request that came now are to be deleted; none when it does not say.
///
/// # Errors
/// 400 that names the header.
pub(super) fn of(
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, HttpError> {
    for (name, only) in [(OPTION, "RelativeToNow"), (LEVEL, "Study")] {
        let fits = |value: &str| value.eq_ignore_ascii_case(only);
        if let Some(value) = one(headers, name)?
            && !fits(value)
        {
            return Err(refused(name, &format!("can be {only} only")));
        }
    }
    let Some(text) = one(headers, TIME)? else {
        let given = [OPTION, LEVEL].into_iter();
        return match given.into_iter().find(|name| headers.contains_key(*name)) {
            None => Ok(None),
            Some(name) => Err(refused(TIME, &format!("must be given with {name}"))),
        };
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = digits.then(|| text.parse::<i64>().ok()).flatten();
    let time = time.filter(|time| *time > 0);
    let expires = time.and_then(|time| now.checked_add(Duration::milliseconds(time)));
    match expires {
        Some(expires) => Ok(Some(expires)),
        None => {
            let reason =
                "must be a whole number of milliseconds, at least 1 and not beyond the year 9999";
            Err(refused(TIME, reason))
        }
    }
}

/// The value of a header that may come once.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, HttpError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(refused(name, "is no text")),
        },
        _ => Err(refused(name, "may come once")),
    }
}

fn refused(name: &str, reason: &str) -> HttpError {
    HttpError::bad_request(
        ProblemType::InvalidRequest,
        format!("The header {name} {reason}."),
    )
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_time_is_counted_from_now_and_the_rest_may_be_left_out() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let after = |milliseconds| Some(now + Duration::milliseconds(milliseconds));
        for (all, expected) in [
            (&[][..], None),
            (&[(TIME, "1")], after(1)),
            (
                &[(TIME, " 86400000 "), (OPTION, "RelativeToNow")],
                after(86_400_000),
            ),
            (
                &[(TIME, "5"), (OPTION, "relativetonow"), (LEVEL, "Study")],
                after(5),
            ),
        ] {
            assert_eq!(of(&headers(all), now).unwrap(), expected, "{all:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (all, name) in [
            (&[(OPTION, "RelativeToNow")][..], TIME),
            (&[(LEVEL, "Study")], TIME),
            (&[(TIME, "0")], TIME),
            (&[(TIME, "-1")], TIME),
            (&[(TIME, "1.5")], TIME),
            (&[(TIME, "")], TIME),
            (&[(TIME, "9223372036854775807")], TIME),
            (&[(TIME, "99999999999999999999")], TIME),
            (&[(TIME, "1"), (TIME, "2")], TIME),
            (&[(TIME, "1"), (OPTION, "Absolute")], OPTION),
            (&[(TIME, "1"), (LEVEL, "Series")], LEVEL),
        ] {
            let error = of(&headers(all), OffsetDateTime::now_utc()).unwrap_err();
            assert!(error.to_string().contains(name), "{all:?}: {error}");
        }
    }
}
