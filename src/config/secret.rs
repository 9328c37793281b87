//! Secrets: given as a value or, better, in a file; never shown.
//!
//! Invariant: no message and no `Debug` output holds any part of a secret.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest file of a secret, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Value and file are both set.
    #[error("{0} and {1} are both set: set one of them")]
    Both(&'static str, &'static str),
    /// The file cannot be read.
    #[error("{setting}: the file {path} cannot be read")]
    Unreadable {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no secret.
    #[error("{setting}: the file {path} must hold one line of text, 64 KiB at most")]
    Unusable {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A password without a URL it belongs into.
    #[error(
        "STOWAGE_DATABASE_PASSWORD_FILE needs a database URL with a user and without a password: postgres://user@host/database"
    )]
    NoPlace,
}

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is a URL with a password in it.
    #[must_use]
    pub fn holds_password(&self) -> bool {
        let authority = self.0.split_once("://").map(|(_, rest)| rest);
        let authority = authority.and_then(|rest| rest.split(['/', '?']).next());
        let user = authority.and_then(|authority| authority.rsplit_once('@'));
        user.is_some_and(|(user, _)| user.contains(':')) || self.0.contains("password=")
    }

    /// Reads the one line of a file; line ends behind it do not count.
    ///
    /// # Errors
    /// [`SecretError`] when there is no such line.
    pub fn from_file(setting: &'static str, path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable {
            setting,
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() as u64 <= MAX_FILE);
        let line = text
            .as_deref()
            .map(|text| text.trim_end_matches(['\r', '\n']));
        match line {
            Some(line) if !line.is_empty() && !line.contains(['\r', '\n']) => {
                Ok(Self(line.to_owned()))
            }
            _ => Err(SecretError::Unusable {
                setting,
                path: path.to_owned(),
            }),
        }
    }
}

/// The secret of a setting that may be given as a value or as a file, by the names of the two.
pub(super) fn either(
    names: (&'static str, &'static str),
    value: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, SecretError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(SecretError::Both(names.0, names.1)),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(path)) => Secret::from_file(names.1, path).map(Some),
        (None, None) => Ok(None),
    }
}

/// A database URL with a password put behind its user; none when there is no user or a password already.
pub(super) fn with_password(url: &Secret, password: &Secret) -> Option<Secret> {
    let (scheme, rest) = url.expose().split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@')?;
    if user.is_empty() || user.contains(':') {
        return None;
    }
    let all = percent_encoding::NON_ALPHANUMERIC;
    let password = percent_encoding::utf8_percent_encode(password.expose(), all);
    Some(Secret(format!("{scheme}://{user}:{password}@{host}{tail}")))
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_file_holds_one_line_and_is_never_shown() {
        for (text, expected) in [
            (&b"hush"[..], Some("hush")),
            (b"hush\n", Some("hush")),
            (b"hush\r\n\n", Some("hush")),
            (b" hu sh \n", Some(" hu sh ")),
            (b"", None),
            (b"\n", None),
            (b"hush\nhush", None),
            (b"\xFF", None),
        ] {
            let read = Secret::from_file("STOWAGE_JWT_SECRET_FILE", file(text).path());
            assert_eq!(read.as_ref().ok().map(Secret::expose), expected, "{text:?}");
            assert!(!format!("{read:?}").contains("hush"));
        }
        let long = vec![b'a'; 64 * 1024 + 1];
        assert!(Secret::from_file("STOWAGE_JWT_SECRET_FILE", file(&long).path()).is_err());
        let missing = Secret::from_file("STOWAGE_JWT_SECRET_FILE", Path::new("/does/not/exist"));
        assert!(missing.unwrap_err().to_string().contains("/does/not/exist"));
    }

    #[test]
    fn a_url_with_a_password_is_a_secret() {
        let holds = |url: &str| Secret::from(url).holds_password();
        assert!(holds("postgres://u:p@h/d") && holds("postgres://h/d?user=u&password=p"));
        assert!(!holds("postgres://u@h:5432/d") && !holds("sqlite:///a:b@c") && !holds("ftp://x"));
    }

    #[test]
    fn value_and_file_exclude_each_other() {
        let (secret, file) = (Secret::from("a"), file(b"b"));
        let both = either(("ONE", "OTHER"), Some(&secret), Some(file.path()));
        assert_eq!(
            both.unwrap_err().to_string(),
            "ONE and OTHER are both set: set one of them"
        );
        let one = either(("ONE", "OTHER"), None, Some(file.path())).unwrap();
        assert_eq!(one, Some(Secret::from("b")));
    }

    #[test]
    fn a_password_goes_behind_the_user_only() {
        for (url, expected) in [
            (
                "postgres://u@h:5432/d?x=@",
                Some("postgres://u:p%40%3A%2F@h:5432/d?x=@"),
            ),
            ("postgres://u@h", Some("postgres://u:p%40%3A%2F@h")),
            ("postgres://u:q@h/d", None),
            ("postgres://h/d", None),
            ("postgres://@h/d", None),
            ("sqlite:///a@b", None),
        ] {
            let made = with_password(&Secret::from(url), &Secret::from("p@:/"));
            assert_eq!(made.as_ref().map(Secret::expose), expected, "{url}");
        }
    }
}
