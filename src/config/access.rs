//! Settings of access control: who is let in, what tokens say, what is written down.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::secret::{Secret, SecretError, either};
use super::units;

/// Access control.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessConfig {
    /// Whether bearer tokens are checked; off on a public address must be said explicitly.
    #[arg(long, env = "STOWAGE_AUTH", value_enum, global = true)]
    pub auth: Option<AuthMode>,
    /// Expected issuer (`iss`).
    #[arg(long, env = "STOWAGE_JWT_ISSUER", global = true)]
    pub jwt_issuer: Option<String>,
    /// Accepted audiences (`aud`), comma separated.
    #[arg(
        long,
        env = "STOWAGE_JWT_AUDIENCE",
        value_delimiter = ',',
        global = true
    )]
    pub jwt_audience: Vec<String>,
    /// Secret of HS256/384/512 tokens; by the environment, for command lines are seen by everybody on the machine.
    #[arg(
        long,
        env = "STOWAGE_JWT_SECRET",
        hide = true,
        hide_env_values = true,
        global = true
    )]
    pub jwt_secret: Option<Secret>,
    /// File that holds the secret instead.
    #[arg(long, env = "STOWAGE_JWT_SECRET_FILE", global = true)]
    pub jwt_secret_file: Option<PathBuf>,
    /// PEM file with the public key of RS, PS, ES or `EdDSA` tokens.
    #[arg(long, env = "STOWAGE_JWT_KEY_FILE", global = true)]
    pub jwt_key_file: Option<PathBuf>,
    /// URL or file of a JSON Web Key Set; found by OIDC discovery from the issuer when no key is given.
    #[arg(long, env = "STOWAGE_JWT_JWKS_URL", global = true)]
    pub jwt_jwks_url: Option<String>,
    /// File of API keys, which `stowage key` makes, lists and revokes; read again when it changes.
    #[arg(long, env = "STOWAGE_API_KEYS_FILE", global = true)]
    pub api_keys_file: Option<PathBuf>,
    /// Claim that holds the roles.
    #[arg(
        long,
        env = "STOWAGE_JWT_ROLES_CLAIM",
        default_value = "roles",
        global = true
    )]
    pub jwt_roles_claim: String,
    /// JSON file of roles and scopes, instead of the shipped ones.
    #[arg(long, env = "STOWAGE_JWT_ROLES_FILE", global = true)]
    pub jwt_roles_file: Option<PathBuf>,
    /// Role of a token that names neither a role nor a scope; without one such a token allows nothing.
    #[arg(long, env = "STOWAGE_JWT_DEFAULT_ROLE", global = true)]
    pub jwt_default_role: Option<String>,
    /// Claim that limits its bearer to these Patient IDs.
    #[arg(
        long,
        env = "STOWAGE_JWT_PATIENTS_CLAIM",
        default_value = "dicom_patients",
        global = true
    )]
    pub jwt_patients_claim: String,
    /// Claim that limits its bearer to these Study Instance UIDs.
    #[arg(
        long,
        env = "STOWAGE_JWT_STUDIES_CLAIM",
        default_value = "dicom_studies",
        global = true
    )]
    pub jwt_studies_claim: String,
    /// Claim that limits its bearer to these data partitions, by name.
    #[arg(
        long,
        env = "STOWAGE_JWT_PARTITIONS_CLAIM",
        default_value = "dicom_partitions",
        global = true
    )]
    pub jwt_partitions_claim: String,
    /// Whether a token must be limited to patients or studies; `required`: what a token without a limit is granted on everything, it is granted on nothing.
    #[arg(long, env = "STOWAGE_JWT_LIMITS", value_enum, default_value_t = TokenLimits::Optional, global = true)]
    pub jwt_limits: TokenLimits,
    /// `typ` that tokens must have in their header, such as `at+jwt` (RFC 9068), so that ID tokens are not taken; any when absent.
    #[arg(long, env = "STOWAGE_JWT_TYPE", global = true)]
    pub jwt_type: Option<String>,
    /// Whether `?access_token=` is accepted for reading, which links for viewers need; such URLs end up in histories and logs of proxies.
    #[arg(
        long,
        env = "STOWAGE_ACCESS_TOKEN_IN_QUERY",
        value_enum,
        default_value_t = QueryToken::Off,
        global = true
    )]
    pub access_token_in_query: QueryToken,
    /// Where every access is written down as a FHIR `AuditEvent` a line: `off`, `stdout` or a file that is appended to.
    #[arg(long, env = "STOWAGE_AUDIT", default_value = "off", global = true)]
    pub audit: AuditTarget,
    /// Whether requests are refused with 503 while their events cannot be written.
    #[arg(long, env = "STOWAGE_AUDIT_REQUIRED", value_enum, default_value_t = Switch::Off, global = true)]
    pub audit_required: Switch,
    /// Size in bytes at which the file of events is moved aside and a new one begun; 0 never does.
    #[arg(
        long,
        value_parser = units::bytes,
        value_name = "SIZE",
        env = "STOWAGE_AUDIT_ROTATE_BYTES",
        default_value_t = 0,
        global = true
    )]
    pub audit_rotate_bytes: u64,
}

impl AccessConfig {
    /// Where and how accesses are written down.
    #[must_use]
    pub fn audit_settings(&self) -> AuditSettings {
        AuditSettings {
            target: self.audit.clone(),
            required: self.audit_required == Switch::On,
            rotate_bytes: Some(self.audit_rotate_bytes).filter(|bytes| *bytes > 0),
        }
    }

    /// The secret of tokens, from its setting or its file.
    ///
    /// # Errors
    /// [`SecretError`] when both are set or the file cannot be used.
    pub fn secret(&self) -> Result<Option<Secret>, SecretError> {
        let names = ("STOWAGE_JWT_SECRET", "STOWAGE_JWT_SECRET_FILE");
        either(
            names,
            self.jwt_secret.as_ref(),
            self.jwt_secret_file.as_deref(),
        )
    }
}

/// Whether tokens are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// Everybody may do everything; an Authorization header is ignored.
    Off,
    /// A valid bearer token or API key is needed.
    #[value(alias = "on")]
    Jwt,
}

/// Whether a token may stand in the query (RFC 6750 §2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum QueryToken {
    /// Never.
    #[default]
    Off,
    /// In requests that read.
    On,
}

/// Whether tokens must be limited to patients or studies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TokenLimits {
    /// A token without a limit sees what its roles and scopes grant.
    #[default]
    Optional,
    /// It sees nothing.
    Required,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

/// Where and how accesses are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where.
    pub target: AuditTarget,
    /// Whether a request is refused whose event could not be written.
    pub required: bool,
    /// Size at which a file is moved aside, in bytes; none for never.
    pub rotate_bytes: Option<u64>,
}

/// Where audit events go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuditTarget {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

impl FromStr for AuditTarget {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            "" => Err("it must be off, stdout or the path of a file"),
            // A bare word is more likely a misspelt keyword than a file in the working folder.
            path if !path.contains('/') => {
                Err("it must be off, stdout or the path of a file, such as ./audit.jsonl")
            }
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_target_is_a_keyword_or_a_path() {
        for (text, expected) in [
            ("off", Some(AuditTarget::Off)),
            ("stdout", Some(AuditTarget::Stdout)),
            (
                "/var/log/a",
                Some(AuditTarget::File(PathBuf::from("/var/log/a"))),
            ),
            ("stduot", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
