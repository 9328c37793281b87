//! Why a request is turned away, and the challenge it is answered.

use jsonwebtoken::errors::ErrorKind;

/// Why a request is turned away before anything is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthRefusal {
    /// 401, with the value of `WWW-Authenticate`.
    Unauthenticated {
        /// The challenge (RFC 6750 §3).
        challenge: String,
        /// Why, for the log; no part of the token.
        reason: TokenError,
    },
    /// 503: the keys could not be fetched yet, so nothing can be said about the token.
    KeysUnavailable,
}

/// Why a token is not good; the text is sent to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("A bearer token is needed")]
    Missing,
    /// Another scheme than Bearer.
    #[error("The Authorization scheme must be Bearer")]
    OtherScheme,
    /// Not a signed JSON Web Token.
    #[error("The token cannot be read")]
    Malformed,
    /// Signed with an algorithm no key is good for.
    #[error("The algorithm of the token is not accepted")]
    Algorithm,
    /// Signed with a key that is not known.
    #[error("The key of the token is not known")]
    UnknownKey,
    /// The signature does not fit.
    #[error("The signature of the token is not valid")]
    Signature,
    /// Its time is over.
    #[error("The token expired")]
    Expired,
    /// Its time has not come.
    #[error("The token is not valid yet")]
    NotYetValid,
    /// Meant for somebody else.
    #[error("The audience of the token is not accepted")]
    Audience,
    /// From somebody else.
    #[error("The issuer of the token is not accepted")]
    Issuer,
    /// Another kind of token, such as an ID token.
    #[error("The type of the token is not accepted")]
    Type,
    /// An API key that is not in the file, or has another secret there.
    #[error("The API key is not known")]
    UnknownApiKey,
    /// An API key whose time is over.
    #[error("The API key expired")]
    ExpiredApiKey,
    /// An API key that was revoked.
    #[error("The API key was revoked")]
    RevokedApiKey,
    /// An API key in the query of a request.
    #[error("An API key is accepted in the Authorization header only, never in a URL")]
    ApiKeyInQuery,
    /// No expiry, or no issuer or audience where one is needed.
    #[error("The token lacks a claim it needs, such as exp, iss or aud")]
    MissingClaim,
}

impl TokenError {
    pub(super) fn of_library(error: &jsonwebtoken::errors::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::Signing(_) => Self::Signature,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
                Self::MissingClaim
            }
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => Self::Algorithm,
            _ => Self::Malformed,
        }
    }
}

/// 401 with the challenge of the contract and of RFC 6750 §3.
pub(super) fn refusal(
    issuer: Option<&str>,
    audience: Option<&str>,
    reason: TokenError,
) -> AuthRefusal {
    let mut parameters = Vec::new();
    let mut add =
        |name: &str, value: &str| parameters.push(format!("{name}=\"{}\"", quotable(value)));
    if let Some(issuer) = issuer {
        add("authorization_uri", issuer);
    }
    if let Some(audience) = audience {
        add("resource_id", audience);
    }
    add("realm", audience.unwrap_or("stowage"));
    if !matches!(reason, TokenError::Missing | TokenError::OtherScheme) {
        add("error", "invalid_token");
        add("error_description", &reason.to_string());
    }
    AuthRefusal::Unauthenticated {
        challenge: format!("Bearer {}", parameters.join(", ")),
        reason,
    }
}

/// The text without what would end a quoted string or a header line.
fn quotable(text: &str) -> String {
    let plain = |c: &char| *c == ' ' || (c.is_ascii_graphic() && !matches!(c, '"' | '\\'));
    text.chars().filter(plain).take(500).collect()
}
