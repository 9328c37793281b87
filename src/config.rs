//! Configuration: one struct per concern, filled by flags or `STOWAGE_*` variables; the doc line is the `--help` line.
//!
//! Invariant: every default runs with nothing set; an invalid value stops the start with one clear line.

mod access;
mod backup;
mod cache;
mod commands;
mod deidentify;
mod dimse;
mod events;
mod export;
mod http;
mod limits;
mod log;
pub mod names;
mod remote;
mod secret;
mod settings;
mod storage;
mod tls;
mod ui;
pub mod units;
mod unknown;
mod variables;

pub use access::{
    AccessConfig, AuditSettings, AuditTarget, AuthMode, QueryToken, Switch, TokenLimits,
};
pub use backup::{BackupArgs, RestoreBackupArgs};
pub use cache::ClientCache;
pub use commands::{
    Cli, Command, ExportArgs, FetchArgs, ForwardAction, FsckArgs, ImportArgs, KeyAction, KeyArgs,
    MoveIndexArgs, RedeliverArgs, RestoreArgs, SendArgs, TokenArgs, WebhookAction,
};
pub use deidentify::DeidentifyConfig;
pub use dimse::DimseConfig;
pub use events::EventsConfig;
pub use export::ExportConfig;
pub use http::{HttpConfig, MetricsAccess};
pub use limits::{ExistingPolicy, Limits, Preambles};
pub use log::{LogConfig, LogFormat};
pub use remote::{CopyArgs, RemoteArgs, UploadArgs};
pub use secret::{Secret, SecretError};
pub use settings::Config;
pub use storage::StorageConfig;
pub use tls::TlsConfig;
pub use ui::{OpenIn, UiConfig};
pub use unknown::{Unknown, unknown_variables};

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_defaults_run_and_secrets_are_not_shown() {
        let cli = Cli::try_parse_from(["stowage", "--jwt-secret", "hush"]).unwrap();
        assert_eq!(cli.config.listen.port(), 8080);
        assert_eq!(cli.config.auth_mode(), Ok(AuthMode::Jwt));
        assert!(!format!("{cli:?}").contains("hush"));
    }

    #[test]
    fn the_password_of_a_file_goes_into_the_url() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "p@ss:1\n").unwrap();
        let mut storage = Config::default().storage;
        storage.database_password_file = Some(file.path().to_owned());
        assert!(storage.database().is_err());
        storage.database_url = Some(Secret::from("postgres://stowage@db/stowage"));
        let url = storage.database().unwrap().unwrap();
        assert_eq!(url.expose(), "postgres://stowage:p%40ss%3A1@db/stowage");
    }

    #[test]
    fn a_public_address_is_not_open_by_accident() {
        let cli = Cli::try_parse_from(["stowage", "--listen", "0.0.0.0:80"]).unwrap();
        assert!(
            cli.config
                .auth_mode()
                .unwrap_err()
                .contains("STOWAGE_AUTH=off")
        );
        let open =
            Cli::try_parse_from(["stowage", "--listen", "0.0.0.0:80", "--auth", "off"]).unwrap();
        assert_eq!(open.config.auth_mode(), Ok(AuthMode::Off));
    }

    #[test]
    fn whoever_names_an_issuer_or_a_key_means_access_control() {
        for setting in [
            "--jwt-issuer",
            "--api-keys-file",
            "--jwt-secret",
            "--jwt-secret-file",
            "--jwt-key-file",
            "--jwt-jwks-url",
        ] {
            let cli = Cli::try_parse_from(["stowage", setting, "x"]).unwrap();
            assert_eq!(cli.config.auth_mode(), Ok(AuthMode::Jwt), "{setting}");
        }
    }
}
