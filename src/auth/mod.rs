//! Who asks and what they may do: from a bearer token to a [`Caller`].
//!
//! [`Authenticator`] is what the HTTP layer asks, once per request. Invariants: with access control off the Authorization header
//! is not even looked at; with it on, what cannot be understood grants nothing; no token is ever logged.

pub mod api_keys;
mod jwks;
mod jwt;
mod keys;
pub mod roles;
pub mod sharing;
pub mod token;

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};

use crate::config::{AccessConfig, AuthMode, QueryToken, Secret, SecretError};
use crate::scope::{PartitionName, Scope, Visible};
use api_keys::{ApiKeys, KeyEntry, KeyFileError, KeyRefusal};
use roles::{Grants, READ_ONLY_CLAIM, RoleTable, RolesError};
use sharing::Sharing;

pub use jwks::RefreshPace;
pub use jwt::TokenError;
pub use keys::KeyError;
pub use roles::{Action, Grant};

/// `iss` of a caller with an API key: its name is one among keys, not among the users of an issuer.
pub const KEY_ISSUER: &str = "urn:stowage:api-key";

/// Claims of a verified token.
pub type Claims = Map<String, Value>;

/// Which tokens are good and what they allow.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// `iss` a token must have; also where keys are discovered when none are configured.
    pub issuer: Option<String>,
    /// `aud` values that are accepted; `*` alone accepts any. Needed with an issuer's keys, which sign for others too.
    pub audiences: Vec<String>,
    /// Secret of HS256, HS384 and HS512 tokens, 32 bytes or longer.
    pub secret: Option<Secret>,
    /// PEM file with public keys.
    pub key_file: Option<PathBuf>,
    /// URL or file of a JSON Web Key Set.
    pub jwks: Option<String>,
    /// File of API keys.
    pub api_keys: Option<PathBuf>,
    /// How often a key set is read again.
    pub pace: RefreshPace,
    /// Roles and what they allow, and in which claims they stand.
    pub roles: RoleTable,
    /// `typ` that a token must have, such as `at+jwt` (RFC 9068); none for any.
    pub token_type: Option<String>,
    /// Whether a token may stand in the query of a request that reads.
    pub token_in_query: QueryToken,
}

/// Why access control cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AuthConfigError {
    /// Nothing to check a signature with.
    #[error(
        "no key to check tokens with; set a secret, a key file, a JWKS URL, an issuer that publishes its keys, or a file of API keys"
    )]
    NoKey,
    /// A key set of an issuer without audience.
    #[error(
        "tokens of an issuer are meant for others too; set the audience of this server, or * to accept any"
    )]
    NoAudience,
    /// The secret is too short to be one.
    #[error("the secret for tokens must have 32 bytes or more (RFC 7518 §3.2)")]
    ShortSecret,
    /// The key file or key set cannot be used.
    #[error("the key file {path} cannot be used")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The file of API keys cannot be used.
    #[error(transparent)]
    ApiKeys(#[from] KeyFileError),
    /// The secret cannot be had.
    #[error("the secret for tokens cannot be used")]
    Secret(#[source] SecretError),
    /// The file of roles cannot be read.
    #[error("STOWAGE_JWT_ROLES_FILE: the file {path} cannot be read")]
    RolesFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file of roles cannot be used.
    #[error("STOWAGE_JWT_ROLES_FILE: the file {path} cannot be used")]
    Roles {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RolesError,
    },
    /// The default role is none.
    #[error("STOWAGE_JWT_DEFAULT_ROLE: there is no role {0}")]
    DefaultRole(String),
    /// The HTTP client for key sets cannot be made.
    #[error("keys cannot be fetched from {url}")]
    Client {
        /// Where from.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

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

/// A recognised caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who: `sub`, or the client's id; none with access control off.
    pub subject: Option<String>,
    /// Who says so: `iss`.
    pub issuer: Option<String>,
    grants: Grants,
}

impl Caller {
    /// Somebody who may do everything: access control is off.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            subject: None,
            issuer: None,
            grants: Grants::everything(),
        }
    }

    /// Reads a caller out of the claims of a verified token.
    #[must_use]
    pub fn of_claims(claims: &Claims, roles: &RoleTable) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            subject: text("sub")
                .or_else(|| text("azp"))
                .or_else(|| text("appid"))
                .or_else(|| text("client_id")),
            issuer: text("iss"),
            grants: roles.grants(claims),
        }
    }

    /// Whether the action is allowed on anything at all.
    #[must_use]
    pub fn may(&self, action: Action) -> bool {
        self.grants.of(action).is_some()
    }

    /// On what the action is allowed in the default partition, none when it is allowed nowhere: then the answer is 403 before
    /// any lookup.
    #[must_use]
    pub fn scope(&self, action: Action) -> Option<Scope> {
        let grant = self.grants.of(action)?;
        let visible = grant.visible_in(&PartitionName::default());
        Some(Scope {
            visible: visible.unwrap_or_else(Visible::nothing),
            ..Scope::everything()
        })
    }

    /// On what the action is allowed in every partition and in single ones, none when it is not.
    #[must_use]
    pub fn grant(&self, action: Action) -> Option<&Grant> {
        self.grants.of(action)
    }

    /// The same caller when only reading is allowed.
    #[must_use]
    pub fn reading_only(&self) -> Self {
        let mut caller = self.clone();
        caller.grants.keep_reading();
        caller
    }

    /// Whether some studies do not exist for this caller.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        let all = |grant: &Grant| grant.everywhere == Some(Visible::All);
        let limited = |action| self.grants.of(action).is_some_and(|grant| !all(grant));
        Action::ALL.iter().copied().any(limited)
    }
}

impl AuthConfig {
    /// Reads the settings and the files they name.
    ///
    /// # Errors
    /// [`AuthConfigError`] when a file cannot be used or the default role is none.
    pub fn of_settings(config: &AccessConfig) -> Result<Self, AuthConfigError> {
        let audiences = config.jwt_audience.iter().map(|audience| audience.trim());
        let mut roles = RoleTable {
            roles_claim: config.jwt_roles_claim.clone(),
            patients_claim: config.jwt_patients_claim.clone(),
            studies_claim: config.jwt_studies_claim.clone(),
            partitions_claim: config.jwt_partitions_claim.clone(),
            default_role: config.jwt_default_role.clone(),
            limits: config.jwt_limits,
            ..RoleTable::default()
        };
        if let Some(path) = &config.jwt_roles_file {
            let path = path.clone();
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(source) => return Err(AuthConfigError::RolesFile { path, source }),
            };
            roles = match roles.with_json(&text) {
                Ok(roles) => roles,
                Err(source) => return Err(AuthConfigError::Roles { path, source }),
            };
        }
        if let Some(unknown) = roles
            .default_role
            .as_ref()
            .filter(|role| !roles.knows(role))
        {
            return Err(AuthConfigError::DefaultRole(unknown.clone()));
        }
        Ok(Self {
            issuer: config.jwt_issuer.clone(),
            audiences: audiences
                .filter(|audience| !audience.is_empty())
                .map(str::to_owned)
                .collect(),
            secret: config.secret().map_err(AuthConfigError::Secret)?,
            key_file: config.jwt_key_file.clone(),
            jwks: config.jwt_jwks_url.clone(),
            api_keys: config.api_keys_file.clone(),
            pace: RefreshPace::default(),
            roles,
            token_type: config.jwt_type.clone(),
            token_in_query: config.access_token_in_query,
        })
    }
}

impl AuthConfig {
    /// Whether there is anything that JSON Web Tokens could be checked with.
    fn takes_tokens(&self) -> bool {
        self.secret.is_some()
            || self.key_file.is_some()
            || self.jwks.is_some()
            || self.issuer.is_some()
    }
}

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
        jwt::refusal(self.issuer.as_deref(), self.audience.as_deref(), reason)
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
