//! Making tokens for the configured secret: `stowage token`, for trying things out and for scripts.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::Value;

use super::{Claims, JwtConfig};

/// What a new token is to say.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// `sub`: who will use it.
    pub subject: String,
    /// Roles it holds.
    pub roles: Vec<String>,
    /// Patient IDs it is limited to; none given means no such limit.
    pub patients: Vec<String>,
    /// Study Instance UIDs it is limited to; none given means no such limit.
    pub studies: Vec<String>,
    /// How long it is good.
    pub lifetime: Duration,
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeTokenError {
    /// Without a secret only the issuer makes tokens.
    #[error("no secret is configured; tokens of an issuer are made by that issuer")]
    NoSecret,
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
pub fn make(config: &JwtConfig, request: &TokenRequest) -> Result<String, MakeTokenError> {
    let secret = config.secret.as_ref().ok_or(MakeTokenError::NoSecret)?;
    if let Some(unknown) = request.roles.iter().find(|role| !config.roles.knows(role)) {
        return Err(MakeTokenError::UnknownRole(unknown.clone()));
    }
    let now = get_current_timestamp();
    let mut claims = Claims::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("sub", request.subject.clone().into());
    set("iat", now.into());
    set("exp", now.saturating_add(request.lifetime.as_secs()).into());
    if let Some(issuer) = &config.issuer {
        set("iss", issuer.clone().into());
    }
    if let Some(audience) = config.audiences.first().filter(|audience| *audience != "*") {
        set("aud", audience.clone().into());
    }
    set(&config.roles.roles_claim, request.roles.clone().into());
    if !request.patients.is_empty() {
        set(
            &config.roles.patients_claim,
            request.patients.clone().into(),
        );
    }
    if !request.studies.is_empty() {
        set(&config.roles.studies_claim, request.studies.clone().into());
    }
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(MakeTokenError::Signing)
}
