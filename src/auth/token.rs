//! Making tokens for the configured secret: `stowage token`, for trying things out and for scripts.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::Value;

use super::keys::of_secret;
use super::{AuthConfig, Claims};
use crate::config::TokenArgs;

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeTokenError {
    /// Without a secret only the issuer makes tokens.
    #[error("no secret is configured; tokens of an issuer are made by that issuer")]
    NoSecret,
    /// The server would not accept the secret.
    #[error("the secret for tokens must have 32 bytes or more (RFC 7518 §3.2)")]
    ShortSecret,
    /// A role nobody knows would grant nothing.
    #[error("there is no role {0}")]
    UnknownRole(String),
    /// Signing failed.
    #[error("the token cannot be signed")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// Makes an HS256 token that this configuration accepts.
///
/// # Errors
/// [`MakeTokenError`] without a secret and for unknown roles.
pub fn make_token(config: &AuthConfig, arguments: &TokenArgs) -> Result<String, MakeTokenError> {
    let secret = config.secret.as_ref().ok_or(MakeTokenError::NoSecret)?;
    if let Some(unknown) = arguments
        .roles
        .iter()
        .find(|role| !config.roles.knows(role))
    {
        return Err(MakeTokenError::UnknownRole(unknown.clone()));
    }
    let now = get_current_timestamp();
    let mut claims = Claims::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("sub", arguments.subject.clone().into());
    set("iat", now.into());
    set("exp", now.saturating_add(arguments.seconds).into());
    if let Some(issuer) = &config.issuer {
        set("iss", issuer.clone().into());
    }
    if let Some(audience) = config.audiences.first().filter(|audience| *audience != "*") {
        set("aud", audience.clone().into());
    }
    set(&config.roles.roles_claim, arguments.roles.clone().into());
    let key = of_secret(secret).map(|_| EncodingKey::from_secret(secret.expose().as_bytes()));
    let key = key.ok_or(MakeTokenError::ShortSecret)?;
    encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(MakeTokenError::Signing)
}
