//! What clients may keep of answers.

use std::fmt;
use std::str::FromStr;

use super::units::{self, UnitError};

/// Whether browsers keep what they were answered, and use it again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCache {
    /// They keep nothing.
    Off,
    /// They keep what has an `ETag`, and ask before each use whether it is still right and still theirs.
    #[default]
    Ask,
    /// Pixels, values and files of instances are used again for so many seconds without a question.
    Seconds(u64),
}

impl FromStr for ClientCache {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text.trim() {
            "off" => Ok(Self::Off),
            "ask" => Ok(Self::Ask),
            time => units::seconds(time).map(|seconds| match seconds {
                0 => Self::Ask,
                seconds => Self::Seconds(seconds),
            }),
        }
    }
}

impl fmt::Display for ClientCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Ask => f.write_str("ask"),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_or_a_time_is_read() {
        for (text, wanted) in [
            ("off", ClientCache::Off),
            ("ask", ClientCache::Ask),
            ("0", ClientCache::Ask),
            ("10m", ClientCache::Seconds(600)),
            (" 90 ", ClientCache::Seconds(90)),
        ] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
            assert_eq!(wanted.to_string().parse(), Ok(wanted), "{text}");
        }
        assert!("always".parse::<ClientCache>().is_err());
    }
}
