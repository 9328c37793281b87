//! Checked identifiers: a UID is parsed once at the edge and travels as its own type.
//!
//! Invariant: the text of every UID here is 1 to 64 characters of digits and dots, first and last a digit, with a digit
//! between two dots, so it is safe in a path, a URL and a header.

use std::fmt;
use std::sync::Arc;

/// Longest UID in characters (PS3.5 §9.1).
pub const MAX_UID_LENGTH: usize = 64;

/// Why a text is not a UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// Nothing is left after trimming the padding.
    #[error("the UID is empty")]
    Empty,
    /// Longer than 64 characters.
    #[error("the UID is longer than 64 characters")]
    TooLong,
    /// Something else than digits and dots, or a dot at either end.
    #[error("the UID may hold only digits and dots, and starts and ends with a digit")]
    Malformed,
    /// Two dots side by side.
    #[error("the UID has two dots side by side: each of its components has a digit")]
    EmptyComponent,
}

/// Checks and trims one UID; trailing spaces and NULs are padding (PS3.5 §9.1).
///
/// Leading zeros in a component are tolerated: real files have them. Empty components are not: no device is known that writes
/// them, and other software reads such a UID as it likes.
pub fn check_uid(text: &str) -> Result<&str, UidError> {
    let trimmed = text.trim_end_matches([' ', '\0']);
    if trimmed.is_empty() {
        return Err(UidError::Empty);
    }
    if trimmed.len() > MAX_UID_LENGTH {
        return Err(UidError::TooLong);
    }
    let digits_and_dots = trimmed.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let ends = trimmed.starts_with(|c: char| c.is_ascii_digit())
        && trimmed.ends_with(|c: char| c.is_ascii_digit());
    if trimmed.contains("..") && digits_and_dots && ends {
        Err(UidError::EmptyComponent)
    } else if digits_and_dots && ends {
        Ok(trimmed)
    } else {
        Err(UidError::Malformed)
    }
}

macro_rules! uid_type {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The ", $what, ", checked.")]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Parses the text of a ", $what, "; trailing padding is dropped.")]
            ///
            /// # Errors
            /// [`UidError`] when the text is not a UID.
            pub fn parse(text: &str) -> Result<Self, UidError> {
                check_uid(text).map(|uid| Self(Arc::from(uid)))
            }

            /// The text of the UID, without padding.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

uid_type!(StudyUid, "Study Instance UID (0020,000D)");
uid_type!(SeriesUid, "Series Instance UID (0020,000E)");
uid_type!(InstanceUid, "SOP Instance UID (0008,0018)");

/// The three UIDs that name one instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceName {
    /// The study it belongs to.
    pub study: StudyUid,
    /// The series it belongs to.
    pub series: SeriesUid,
    /// The instance itself.
    pub instance: InstanceUid,
}

/// A study, series or instance as a URL names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// All instances of a study.
    Study(StudyUid),
    /// All instances of a series of a study.
    Series(StudyUid, SeriesUid),
    /// One instance.
    Instance(InstanceName),
}

impl Target {
    /// The target of UIDs in their order: study, series, instance; takes no more than are needed.
    ///
    /// None without a study, or when one of them is no UID.
    pub fn of_uids<'t>(uids: &mut impl Iterator<Item = &'t str>) -> Option<Self> {
        let study = StudyUid::parse(uids.next()?).ok()?;
        let Some(series) = uids.next() else {
            return Some(Self::Study(study));
        };
        let series = SeriesUid::parse(series).ok()?;
        let Some(instance) = uids.next() else {
            return Some(Self::Series(study, series));
        };
        let instance = InstanceUid::parse(instance).ok()?;
        Some(Self::Instance(InstanceName {
            study,
            series,
            instance,
        }))
    }

    /// The study of the target.
    #[must_use]
    pub fn study(&self) -> &StudyUid {
        match self {
            Self::Study(study) | Self::Series(study, _) => study,
            Self::Instance(name) => &name.study,
        }
    }

    /// The series of the target, unless it is a whole study.
    #[must_use]
    pub fn series(&self) -> Option<&SeriesUid> {
        match self {
            Self::Study(_) => None,
            Self::Series(_, series) => Some(series),
            Self::Instance(name) => Some(&name.series),
        }
    }

    /// The instance of the target, when it is one.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceUid> {
        match self {
            Self::Study(_) | Self::Series(..) => None,
            Self::Instance(name) => Some(&name.instance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_trimmed_and_checked() {
        assert_eq!(StudyUid::parse("1.2.3 ").unwrap().as_str(), "1.2.3");
        assert_eq!(StudyUid::parse("1.2.3\0").unwrap().as_str(), "1.2.3");
        assert_eq!(StudyUid::parse("1.02.3").unwrap().as_str(), "1.02.3");
        assert_eq!(StudyUid::parse("1..2"), Err(UidError::EmptyComponent));
        assert_eq!(StudyUid::parse("  "), Err(UidError::Empty));
        assert_eq!(StudyUid::parse(&"1".repeat(65)), Err(UidError::TooLong));
        for bad in ["../1", "1.2.", ".1", "1/2", "1.2a", "..", "1.2%2e"] {
            assert_eq!(StudyUid::parse(bad), Err(UidError::Malformed), "{bad}");
        }
    }
}
