//! Making tokens for the configured secret: `stowage token`, for trying things out and for scripts.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::Value;

use super::claims::{Claims, READ_ONLY_CLAIM};
use super::config::AuthConfig;
use super::keys::of_secret;
use crate::config::{QueryToken, TokenArgs};
use crate::dicom::uid::StudyUid;
use crate::scope::PartitionName;

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
    /// No role could carry a token that reads.
    #[error("no role allows reading; name one with --roles")]
    NoReadingRole,
    /// A limit names no study.
    #[error("{0:?} is not a Study Instance UID")]
    Study(String),
    /// A link is for one study.
    #[error(
        "a link is for one study: name it with --study, no patient, and one --partition at most"
    )]
    NotOneStudy,
    /// The server would not take the token of the link.
    #[error(
        "the server does not accept tokens in links: set STOWAGE_ACCESS_TOKEN_IN_QUERY=on, for the server too"
    )]
    QueryTokenOff,
    /// Signing failed.
    #[error("the token cannot be signed")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// Makes an HS256 token that this configuration accepts.
///
/// # Errors
/// [`MakeTokenError`] without a secret, for unknown roles and for limits that are no study.
pub fn make_token(config: &AuthConfig, arguments: &TokenArgs) -> Result<String, MakeTokenError> {
    let secret = config.secret.as_ref().ok_or(MakeTokenError::NoSecret)?;
    let read_only = arguments.read_only || arguments.link.is_some();
    let roles = roles(config, arguments, read_only)?;
    for uid in &arguments.studies {
        StudyUid::parse(uid).map_err(|_| MakeTokenError::Study(uid.clone()))?;
    }
    let partitions = arguments.partitions.iter().map(PartitionName::to_string);
    let partitions: Vec<String> = partitions.collect();
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
    set(&config.roles.roles_claim, roles.into());
    for (claim, limit) in [
        (&config.roles.patients_claim, &arguments.patients),
        (&config.roles.studies_claim, &arguments.studies),
        (&config.roles.partitions_claim, &partitions),
    ] {
        if !limit.is_empty() {
            set(claim, limit.clone().into());
        }
    }
    if read_only {
        set(READ_ONLY_CLAIM, true.into());
    }
    let key = of_secret(secret).map(|_| EncodingKey::from_secret(secret.expose().as_bytes()));
    let key = key.ok_or(MakeTokenError::ShortSecret)?;
    encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(MakeTokenError::Signing)
}

/// Makes a link that lets its bearer read one study until it expires.
///
/// `server` stands for `{server}` in the template of the arguments, without a slash at its end.
///
/// # Errors
/// [`MakeTokenError`] as of [`make_token`], and when it is not for exactly one study or nobody would accept it.
pub fn make_link(
    config: &AuthConfig,
    arguments: &TokenArgs,
    template: &str,
    server: &str,
) -> Result<String, MakeTokenError> {
    let ([study], []) = (arguments.studies.as_slice(), arguments.patients.as_slice()) else {
        return Err(MakeTokenError::NotOneStudy);
    };
    let partition = match arguments.partitions.as_slice() {
        [] => String::new(),
        [name] => format!("/partitions/{name}"),
        _ => return Err(MakeTokenError::NotOneStudy),
    };
    if template.contains("access_token=") && config.token_in_query == QueryToken::Off {
        return Err(MakeTokenError::QueryTokenOff);
    }
    let token = make_token(config, arguments)?;
    // UIDs and tokens consist of characters that stand for themselves in any part of a URL.
    Ok(template
        .replace("{server}", server)
        .replace("{study}", study)
        .replace("{partition}", &partition)
        .replace("{token}", &token))
}

/// The roles a token carries.
fn roles(
    config: &AuthConfig,
    arguments: &TokenArgs,
    read_only: bool,
) -> Result<Vec<String>, MakeTokenError> {
    let mut roles = arguments.roles.clone();
    if roles.is_empty() {
        roles.push(if read_only {
            let reading = config.roles.reading_role();
            reading.ok_or(MakeTokenError::NoReadingRole)?.to_owned()
        } else {
            "globalAdmin".to_owned()
        });
    }
    match roles.iter().find(|role| !config.roles.knows(role)) {
        Some(unknown) => Err(MakeTokenError::UnknownRole(unknown.clone())),
        None => Ok(roles),
    }
}
