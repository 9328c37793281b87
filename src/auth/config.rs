//! Which tokens are good and what they allow, read from the settings and the files they name.

use std::path::PathBuf;

use super::config_error::AuthConfigError;
use super::jwks::RefreshPace;
use super::roles::RoleTable;
use crate::config::{AccessConfig, QueryToken, Secret};

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
    pub(super) fn takes_tokens(&self) -> bool {
        self.secret.is_some()
            || self.key_file.is_some()
            || self.jwks.is_some()
            || self.issuer.is_some()
    }
}
