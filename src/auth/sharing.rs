//! Share links: a code that stands in a link, and the tokens it is exchanged for, each good for reading one study.
//!
//! Invariants: a code is signed with a key of its own, made of the secret, so it is no token and opens no route; a token
//! that it is exchanged for lives for minutes and never longer than its code.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use serde::{Deserialize, Serialize};

use super::config::AuthConfig;
use super::token::{MakeTokenError, make_token};
use crate::config::TokenArgs;
use crate::dicom::uid::StudyUid;
use crate::scope::PartitionName;

/// Seconds that a token of a link is good for; whoever holds the link gets another one then.
const TOKEN_SECONDS: u64 = 600;
/// Longest code in bytes.
const MAX_CODE: usize = 2048;
/// Longest name of who shares, in characters.
const MAX_NAME: usize = 128;
/// What the key of codes is made for.
const PURPOSE: &str = "stowage 2026-11 codes of share links";

/// What a code says.
#[derive(Debug, Serialize, Deserialize)]
struct Code {
    /// The study.
    study: String,
    /// Its partition; codes of a default one say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    /// Who shares it.
    by: String,
    exp: u64,
}

/// Why a code is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It was not made by this server, or is not whole.
    #[error("The link is not whole, or it is not one of this server")]
    Unknown,
    /// Its time is over.
    #[error("The link has expired; ask for another one")]
    Expired,
}

/// What a link is exchanged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// A token that reads the study.
    pub token: String,
    /// Seconds until the token expires.
    pub seconds: u64,
    /// Until when the link is good, in seconds since 1970.
    pub expires: u64,
    /// The study.
    pub study: String,
    /// Its partition.
    pub partition: PartitionName,
}

/// Makes and opens codes.
#[derive(Clone)]
pub struct Sharing {
    config: AuthConfig,
    key: [u8; 32],
}

impl std::fmt::Debug for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing").finish_non_exhaustive()
    }
}

impl Sharing {
    /// None where this server could not make a token that it accepts itself.
    pub(super) fn new(config: &AuthConfig) -> Option<Self> {
        let secret = config.secret.as_ref()?;
        let plain = config.token_type.as_deref();
        let plain = plain.is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"));
        let reading = config.roles.reading_role().is_some();
        (plain && reading).then(|| Self {
            key: blake3::derive_key(PURPOSE, secret.expose().as_bytes()),
            config: config.clone(),
        })
    }

    /// A code for a study, and when it expires in seconds since 1970.
    ///
    /// # Errors
    /// [`MakeTokenError::Signing`] when it cannot be signed.
    pub fn make(
        &self,
        (partition, study): (&PartitionName, &StudyUid),
        by: Option<&str>,
        seconds: u64,
    ) -> Result<(String, u64), MakeTokenError> {
        let exp = get_current_timestamp().saturating_add(seconds);
        let code = Code {
            study: study.as_str().to_owned(),
            partition: (!partition.is_default()).then(|| partition.to_string()),
            by: by.unwrap_or_default().chars().take(MAX_NAME).collect(),
            exp,
        };
        let key = EncodingKey::from_secret(&self.key);
        let code = encode(&Header::new(Algorithm::HS256), &code, &key);
        Ok((code.map_err(MakeTokenError::Signing)?, exp))
    }

    /// The token that a code is exchanged for.
    ///
    /// # Errors
    /// [`CodeError`] when it is none of this server, or too old.
    pub fn open(&self, code: &str) -> Result<Shared, CodeError> {
        if code.len() > MAX_CODE {
            return Err(CodeError::Unknown);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp"]);
        validation.validate_aud = false;
        validation.leeway = 0;
        let key = DecodingKey::from_secret(&self.key);
        let found =
            decode::<Code>(code, &key, &validation).map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => CodeError::Expired,
                _ => CodeError::Unknown,
            })?;
        let Code {
            study,
            partition,
            by,
            exp,
        } = found.claims;
        let partition = partition.map_or_else(
            || Ok(PartitionName::default()),
            |name| PartitionName::parse(&name),
        );
        let partition = partition.map_err(|_| CodeError::Unknown)?;
        let left = exp.saturating_sub(get_current_timestamp());
        let seconds = left.min(TOKEN_SECONDS);
        if seconds == 0 {
            return Err(CodeError::Expired);
        }
        let arguments = TokenArgs {
            subject: format!("link of {by}"),
            seconds,
            studies: vec![study.clone()],
            partitions: vec![partition.clone()],
            read_only: true,
            ..TokenArgs::default()
        };
        let token = make_token(&self.config, &arguments).map_err(|_| CodeError::Unknown)?;
        Ok(Shared {
            token,
            seconds,
            expires: exp,
            study,
            partition,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Action, Authenticator};
    use crate::config::{AuthMode, Secret};
    use crate::scope::Visible;

    fn config(secret: &str) -> AuthConfig {
        AuthConfig {
            secret: Some(Secret::from(secret)),
            ..AuthConfig::default()
        }
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn a_code_is_no_token_and_its_token_reads_one_study() {
        let sharing = Sharing::new(&config(SECRET)).unwrap();
        let study = StudyUid::parse("1.2.3").unwrap();
        let (code, expires) = sharing
            .make((&PartitionName::default(), &study), Some("ann"), 3600)
            .unwrap();
        let shared = sharing.open(&code).unwrap();
        assert_eq!((shared.study.as_str(), shared.expires), ("1.2.3", expires));
        assert!(shared.seconds <= TOKEN_SECONDS);
        let gate = Authenticator::new(&config(SECRET), AuthMode::Jwt).unwrap();
        let admit = async |token: &str| {
            let mut headers = http::HeaderMap::new();
            let value = format!("Bearer {token}").parse().unwrap();
            headers.insert(http::header::AUTHORIZATION, value);
            gate.admit(&headers).await
        };
        assert!(admit(&code).await.is_err());
        let caller = admit(&shared.token).await.unwrap();
        let scope = caller.scope(Action::Read).unwrap();
        let only = Visible::Only {
            patients: Vec::new(),
            studies: vec!["1.2.3".to_owned()],
        };
        assert_eq!(scope.visible, only);
        let north = PartitionName::parse("north").unwrap();
        let reading = caller.grant(Action::Read).unwrap();
        assert_eq!(
            reading.visible_in(&north),
            None,
            "the default partition alone"
        );
        let (code, _) = sharing.make((&north, &study), None, 60).unwrap();
        let shared = sharing.open(&code).unwrap();
        assert_eq!(shared.partition, north);
        let other = admit(&shared.token).await.unwrap();
        let reading = other.grant(Action::Read).unwrap();
        assert_eq!(reading.visible_in(&north).as_ref(), Some(&only));
        assert_eq!(reading.visible_in(&PartitionName::default()), None);
        assert_eq!(caller.subject.as_deref(), Some("link of ann"));
        for action in [Action::Write, Action::Delete, Action::Export] {
            assert!(!caller.may(action), "{action:?}");
        }
    }

    #[test]
    fn what_is_no_code_of_this_server_or_too_old_opens_nothing() {
        let sharing = Sharing::new(&config(SECRET)).unwrap();
        let study = StudyUid::parse("1.2.3").unwrap();
        let default = PartitionName::default();
        let (old, _) = sharing.make((&default, &study), None, 0).unwrap();
        assert_eq!(sharing.open(&old), Err(CodeError::Expired));
        let other = Sharing::new(&config("another secret of thirty-two bytes")).unwrap();
        let (foreign, _) = other.make((&default, &study), None, 60).unwrap();
        let (good, _) = sharing.make((&default, &study), None, 60).unwrap();
        let token = sharing.open(&good).unwrap().token;
        let cut = &good[..good.len() - 2];
        for code in ["", "a.b.c", &foreign, &token, cut, &"x".repeat(10_000)] {
            assert_eq!(sharing.open(code), Err(CodeError::Unknown), "{code}");
        }
    }

    #[test]
    fn a_server_that_would_refuse_its_own_tokens_shares_nothing() {
        assert!(Sharing::new(&AuthConfig::default()).is_none());
        let typed = AuthConfig {
            token_type: Some("at+jwt".to_owned()),
            ..config(SECRET)
        };
        assert!(Sharing::new(&typed).is_none());
    }
}
