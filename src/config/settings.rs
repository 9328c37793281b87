//! All settings in one value.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser};

use super::access::{AccessConfig, AuthMode};
use super::deidentify::DeidentifyConfig;
use super::dimse::DimseConfig;
use super::events::EventsConfig;
use super::export::ExportConfig;
use super::http::HttpConfig;
use super::limits::Limits;
use super::log::LogConfig;
use super::storage::StorageConfig;
use super::tls::TlsConfig;
use super::ui::UiConfig;

/// All settings.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address to listen on.
    #[arg(
        long,
        env = "STOWAGE_LISTEN",
        default_value = "127.0.0.1:8080",
        global = true
    )]
    pub listen: SocketAddr,
    /// File to write `host:port` to once the server listens (for port 0).
    #[arg(long, env = "STOWAGE_ADDRESS_FILE", global = true)]
    pub address_file: Option<PathBuf>,
    /// Settings of the stores.
    #[command(flatten)]
    pub storage: StorageConfig,
    /// Settings of the HTTP face.
    #[command(flatten)]
    pub http: HttpConfig,
    /// Settings of the DIMSE gateway.
    #[command(flatten)]
    pub dimse: DimseConfig,
    /// Settings of events.
    #[command(flatten)]
    pub events: EventsConfig,
    /// Settings of exports that clients ask for.
    #[command(flatten)]
    pub export: ExportConfig,
    /// Settings of de-identification.
    #[command(flatten)]
    pub deidentify: DeidentifyConfig,
    /// Settings of the web page.
    #[command(flatten)]
    pub ui: UiConfig,
    /// Settings of TLS.
    #[command(flatten)]
    pub tls: TlsConfig,
    /// Limits.
    #[command(flatten)]
    pub limits: Limits,
    /// Settings of the log.
    #[command(flatten)]
    pub log: LogConfig,
    /// Settings of access control.
    #[command(flatten)]
    pub access: AccessConfig,
}

impl Default for Config {
    /// What `stowage` runs with when nothing is set and the environment is empty.
    fn default() -> Self {
        #[derive(Parser)]
        struct UnsetConfig {
            #[command(flatten)]
            config: Config,
        }
        match UnsetConfig::try_parse_from(["stowage"]) {
            Ok(unset) => unset.config,
            Err(error) => unreachable!("the defaults are valid: {error}"),
        }
    }
}

impl Config {
    /// Whether tokens are checked; refuses to be open by accident on a public address.
    ///
    /// # Errors
    /// A sentence that says which setting is missing.
    pub fn auth_mode(&self) -> Result<AuthMode, String> {
        let has_key = self.access.jwt_secret.is_some()
            || self.access.jwt_secret_file.is_some()
            || self.access.jwt_key_file.is_some()
            || self.access.jwt_jwks_url.is_some()
            || self.access.jwt_issuer.is_some()
            || self.access.api_keys_file.is_some();
        match self.access.auth {
            Some(mode) => Ok(mode),
            None if has_key => Ok(AuthMode::Jwt),
            None if self.listen.ip().is_loopback() => Ok(AuthMode::Off),
            None => Err(format!(
                "listening on {} would let everybody in: set STOWAGE_AUTH=jwt with a key or a file of API keys, or STOWAGE_AUTH=off to be open on purpose",
                self.listen
            )),
        }
    }
}
