//! New UIDs, identifiers and dates by a secret key: HMAC-SHA256, so that no table of what was what has to be kept.
//!
//! Invariant: what is made of a value depends on the key, the kind of value and the value alone. These are promises to those
//! who keep a key: data that is exported a year later has to fit to that of today.

use std::fmt;

use aws_lc_rs::hmac;
use dicom_core::VR;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration};

use crate::dicom::temporal;

/// Fewest bytes of a key.
const SHORTEST: usize = 16;
/// Dates of a patient are moved back by one of so many days.
const MOST_DAYS: u64 = 3650;
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]");

/// The key is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key of de-identification must have at least {SHORTEST} bytes: make one with `openssl rand -hex 32`"
)]
pub struct PseudonymKeyError;

/// The secret by which identities are replaced; whoever has it can tell which new one belongs to a known old one.
#[derive(Clone)]
pub struct PseudonymKey(hmac::Key);

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PseudonymKey {
    /// The key of a secret text.
    ///
    /// # Errors
    /// [`PseudonymKeyError`] when it is too short.
    pub fn new(secret: &str) -> Result<Self, PseudonymKeyError> {
        if secret.len() < SHORTEST {
            return Err(PseudonymKeyError);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// The first 16 bytes of the HMAC of a kind, a zero byte and a value.
    fn code(&self, kind: &str, value: &str) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind.as_bytes());
        context.update(&[0]);
        context.update(value.as_bytes());
        let tag = context.sign();
        let mut code = [0; 16];
        for (to, from) in code.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        code
    }

    /// The new UID of an old one: `2.25.` and a UUID of version 8 made of the code of kind `uid` (PS3.5 §B.2).
    #[must_use]
    pub fn uid(&self, old: &str) -> String {
        let code = u128::from_be_bytes(self.code("uid", old));
        let fixed = (0xF << 76) | (0b11 << 62);
        format!("2.25.{}", (code & !fixed) | (0x8 << 76) | (0b10 << 62))
    }

    /// The new Patient ID of an old one: 16 hexadecimal digits of the code of kind `patient`; none for an empty one.
    #[must_use]
    pub fn patient(&self, old: &str) -> String {
        if old.is_empty() {
            return String::new();
        }
        let code = self.code("patient", old);
        let digits = code.iter().take(8).map(|byte| format!("{byte:02X}"));
        digits.collect()
    }

    /// What tells this key from others, and nothing else of it: 16 hexadecimal digits of the code of kind `key`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let code = self.code("key", "");
        code.iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// By how many days the dates of a patient are moved back: 1 to 3650, of the code of kind `days`.
    #[must_use]
    pub fn days(&self, patient: &str) -> i64 {
        let code = self.code("days", patient);
        let number = code
            .iter()
            .take(8)
            .fold(0_u64, |n, b| (n << 8) | u64::from(*b));
        i64::try_from(number % MOST_DAYS).map_or(1, |days| days + 1)
    }
}

/// A DA, TM or DT value with its day so many days earlier; none when it is not one, or has no day to be moved.
///
/// Times of day stay: hours between two moments of a patient are as they were.
pub(super) fn moved(vr: VR, text: &str, days: i64) -> Option<String> {
    let text = text.trim_matches([' ', '\0']);
    if text.is_empty() {
        return Some(String::new());
    }
    let earlier = |day: &str| {
        let day = Date::parse(day, DAY).ok()?;
        let day = day.checked_sub(Duration::days(days))?;
        (day.year() > 0).then_some(())?;
        day.format(DAY).ok()
    };
    match vr {
        VR::DA => earlier(&temporal::date(text)?),
        VR::TM => temporal::time(text).map(|_| text.to_owned()),
        VR::DT => {
            temporal::date_time(text)?;
            // A year or a month alone cannot be moved by days.
            let (day, rest) = text.split_at_checked(8)?;
            Some(earlier(day)? + rest)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PseudonymKey {
        PseudonymKey::new("0123456789abcdef").unwrap()
    }

    /// Computed with Python's `hmac` and `hashlib`: what was exported with a key has to fit to what will be.
    #[test]
    fn what_a_key_makes_never_changes() {
        assert_eq!(
            key().uid("1.2.3"),
            "2.25.338326801801225506579552357228112123619"
        );
        assert_eq!(key().patient("P1"), "DB1A0B1C88780003");
        assert_eq!(key().days("P1"), 3155);
    }

    #[test]
    fn new_uids_are_valid_and_differ_by_key_and_value() {
        let other = PseudonymKey::new("0123456789abcdeg").unwrap();
        for old in ["1.2.3", "", "1.2.3.4.5.6.7.8.9", "ä"] {
            let new = key().uid(old);
            assert_eq!(crate::dicom::uid::check_uid(&new), Ok(new.as_str()));
            assert_ne!(new, other.uid(old));
        }
        assert_ne!(key().uid("1.2.3"), key().uid("1.2.4"));
        assert_eq!(key().patient(""), "");
        assert!(PseudonymKey::new("0123456789abcde").is_err());
        assert!(!format!("{:?}", key()).contains("0123"));
    }

    #[test]
    fn days_are_within_ten_years() {
        let mut all = (0..200).map(|n| key().days(&n.to_string()));
        assert!(all.all(|days| (1..=3650).contains(&days)));
    }

    #[test]
    fn dates_move_and_times_stay() {
        for (vr, text, expected) in [
            (VR::DA, "20240301", Some("20240229")),
            (VR::DA, "2024.03.01", Some("20240229")),
            (VR::DA, "20240101 ", Some("20231231")),
            (VR::DA, "202403", None),
            (VR::DA, "20240231", None),
            (VR::DA, "Doe", None),
            (VR::DA, "00010101", None),
            (VR::TM, "1200", Some("1200")),
            (VR::TM, "120000.5 ", Some("120000.5")),
            (VR::TM, "Doe", None),
            (VR::DT, "20240301", Some("20240229")),
            (
                VR::DT,
                "20240301120000.000000+0100",
                Some("20240229120000.000000+0100"),
            ),
            (VR::DT, "2024", None),
            (VR::DT, "2024+0100", None),
            (VR::DT, "20240301Doe", None),
            (VR::LO, "20240301", None),
            (VR::DA, "", Some("")),
        ] {
            assert_eq!(moved(vr, text, 1).as_deref(), expected, "{vr} {text}");
        }
    }
}
