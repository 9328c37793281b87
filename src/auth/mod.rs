//! Who asks and what they may do: from a bearer token to a [`Caller`].
//!
//! [`Authenticator`] is what the HTTP layer asks, once per request. Invariants: with access control off the Authorization header
//! is not even looked at; with it on, what cannot be understood grants nothing; no token is ever logged.

mod action;
pub mod api_keys;
mod caller;
mod claims;
mod config;
mod config_error;
mod grants;
mod jwks;
mod jwt;
mod keys;
mod refusal;
pub mod roles;
pub mod sharing;
mod smart_scope;
pub mod token;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;

use crate::config::{AuthMode, QueryToken};
use api_keys::{ApiKeys, KeyEntry, KeyFileError, KeyRefusal};
use claims::{Claims, READ_ONLY_CLAIM};
use refusal::refusal;
use roles::RoleTable;
use sharing::Sharing;

pub use action::Action;
pub use caller::Caller;
pub use config::AuthConfig;
pub use config_error::AuthConfigError;
pub use grants::Grant;
pub use jwks::RefreshPace;
pub use keys::KeyError;
pub use refusal::{AuthRefusal, TokenError};

/// `iss` of a caller with an API key: its name is one among keys, not among the users of an issuer.
pub const KEY_ISSUER: &str = "urn:stowage:api-key";

/// What is asked for credentials with access control on: one of the two, or both.
#[derive(Debug)]
struct Gate {
    verifier: Option<jwt::Verifier>,
    api_keys: Option<Arc<ApiKeys<Caller>>>,
    issuer: Option<String>,
    /// Named in challenges.
    audience: Option<String>,
}

impl Gate {
    fn new(config: &AuthConfig) -> Result<Self, AuthConfigError> {
        let path = config.api_keys.as_deref();
        let open = |path| {
            let roles = config.roles.clone();
            ApiKeys::open(path, move |entry| {
                Caller::of_claims(&claims_of_key(entry, &roles), &roles)
            })
        };
        let api_keys = path.map(open);
        let api_keys = api_keys.transpose()?.map(Arc::new);
        let verifier = if config.takes_tokens() || api_keys.is_none() {
            Some(jwt::Verifier::new(config.clone())?)
        } else {
            None
        };
        let any = config.audiences.iter().any(|audience| audience == "*");
        Ok(Self {
            verifier,
            api_keys,
            issuer: config.issuer.clone(),
            audience: config.audiences.first().filter(|_| !any).cloned(),
        })
    }

    fn refuse(&self, reason: TokenError) -> AuthRefusal {
        refusal(self.issuer.as_deref(), self.audience.as_deref(), reason)
    }

    async fn admit(&self, token: &str) -> Result<Arc<Caller>, AuthRefusal> {
        match (&self.api_keys, &self.verifier) {
            (Some(keys), _) if token.starts_with(api_keys::PREFIX) => {
                keys.admit(token).map_err(|reason| {
                    self.refuse(match reason {
                        KeyRefusal::Unknown => TokenError::UnknownApiKey,
                        KeyRefusal::Expired => TokenError::ExpiredApiKey,
                        KeyRefusal::Revoked => TokenError::RevokedApiKey,
                    })
                })
            }
            (_, Some(verifier)) => verifier.admit(token).await,
            (_, None) if token.is_empty() => Err(self.refuse(TokenError::Missing)),
            (_, None) => Err(self.refuse(TokenError::UnknownApiKey)),
        }
    }
}

/// The claims that a token with the rights of a key would have, so that the same code reads them.
fn claims_of_key(entry: &KeyEntry, roles: &RoleTable) -> Claims {
    let mut claims = Claims::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("sub", entry.name.clone().into());
    set("iss", KEY_ISSUER.into());
    set(&roles.roles_claim, entry.roles.clone().into());
    for (claim, limit) in [
        (&roles.patients_claim, &entry.patients),
        (&roles.studies_claim, &entry.studies),
        (&roles.partitions_claim, &entry.partitions),
    ] {
        if let Some(limit) = limit {
            set(claim, limit.clone().into());
        }
    }
    if entry.read_only {
        set(READ_ONLY_CLAIM, true.into());
    }
    claims
}

/// Checks the credentials of requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct Authenticator {
    /// None with access control off.
    gate: Option<Arc<Gate>>,
    open: Arc<Caller>,
    token_in_query: QueryToken,
    sharing: Option<Arc<Sharing>>,
}

impl Authenticator {
    /// Reads keys from files and prepares fetching; nothing is fetched yet.
    ///
    /// # Errors
    /// [`AuthConfigError`] when the configuration cannot tell good tokens from bad ones.
    pub fn new(config: &AuthConfig, mode: AuthMode) -> Result<Self, AuthConfigError> {
        let gate = match mode {
            AuthMode::Off => None,
            AuthMode::Jwt => Some(Arc::new(Gate::new(config)?)),
        };
        Ok(Self {
            gate,
            open: Arc::new(Caller::unrestricted()),
            token_in_query: config.token_in_query,
            sharing: match mode {
                AuthMode::Off => None,
                AuthMode::Jwt => Sharing::new(config).map(Arc::new),
            },
        })
    }

    /// Who makes share links; none where there is no access control or no secret to sign with.
    #[must_use]
    pub fn sharing(&self) -> Option<Arc<Sharing>> {
        self.sharing.clone()
    }

    /// Fetches the keys of an issuer again and again, so that a key that was withdrawn is forgotten without a request.
    ///
    /// `told` hears how each fetch ended. Ends at once where no keys are fetched.
    pub async fn follow_keys(&self, reported: jwks::ReportedFailure<'_>) {
        let verifier = self.gate.as_ref().and_then(|gate| gate.verifier.as_ref());
        if let Some(verifier) = verifier {
            verifier.follow_keys(reported).await;
        }
    }

    /// How many API keys there are; none where no file of keys is named.
    #[must_use]
    pub fn api_keys(&self) -> Option<usize> {
        let gate = self.gate.as_ref()?;
        gate.api_keys.as_ref().map(|keys| keys.len())
    }

    /// Reads the file of API keys again whenever it changes; `reported` hears of each change.
    ///
    /// Ends at once where there is no such file.
    pub async fn follow_api_keys(
        &self,
        reported: &(dyn Fn(Result<usize, &KeyFileError>) + Send + Sync),
    ) {
        let keys = self.gate.as_ref().and_then(|gate| gate.api_keys.clone());
        if let Some(keys) = keys {
            keys.follow(reported).await;
        }
    }

    /// Whether tokens are checked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.gate.is_some()
    }

    /// Whether a token may stand in the query of a request that reads.
    #[must_use]
    pub fn takes_query_token(&self) -> bool {
        self.is_on() && self.token_in_query == QueryToken::On
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// [`AuthRefusal`] when there is no good bearer token.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<Arc<Caller>, AuthRefusal> {
        let Some(gate) = &self.gate else {
            return Ok(Arc::clone(&self.open));
        };
        match bearer(headers) {
            Ok(token) => gate.admit(token).await,
            Err(reason) => Err(gate.refuse(reason)),
        }
    }

    /// Who a token of a query stands for: its bearer may read, whatever else the token allows.
    ///
    /// # Errors
    /// [`AuthRefusal`] when the token is not good.
    pub async fn admit_query_token(&self, token: &str) -> Result<Arc<Caller>, AuthRefusal> {
        match &self.gate {
            None => Ok(Arc::clone(&self.open)),
            // A key lives for long, and URLs are kept in histories and logs.
            Some(gate) if gate.api_keys.is_some() && token.starts_with(api_keys::PREFIX) => {
                Err(gate.refuse(TokenError::ApiKeyInQuery))
            }
            Some(gate) => {
                let caller = gate.admit(token).await?;
                Ok(Arc::new(caller.reading_only()))
            }
        }
    }
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    if values.next().is_some() {
        return Err(TokenError::Malformed);
    }
    let text = value.to_str().map_err(|_| TokenError::Malformed)?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(TokenError::OtherScheme)
    }
}

#[cfg(test)]
mod tests;
