//! Why access control cannot start.

use std::path::PathBuf;

use super::api_keys::KeyFileError;
use super::keys::KeyError;
use super::roles::RolesError;
use crate::config::SecretError;

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
