//! Settings of the stores.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::access::Switch;
use super::secret::{self, Secret, SecretError};
use super::units;
use super::units::some_hours;

/// Where things are kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Stores")]
pub struct StorageConfig {
    /// Folder of the index and the blobs unless the URLs say otherwise.
    #[arg(
        long,
        env = "STOWAGE_DATA_DIR",
        default_value = "./data",
        global = true
    )]
    pub data_dir: PathBuf,
    /// Whether studies are kept in data partitions, each with UIDs of its own: `/v2/partitions/{name}/studies` and so on. It cannot be switched off while another partition than the default one holds something.
    #[arg(long, env = "STOWAGE_PARTITIONS", value_enum, default_value_t = Switch::Off, global = true)]
    pub partitions: Switch,
    /// Index: `sqlite://path` or `postgres://user:password@host/database`; an `SQLite` file in the data folder when absent.
    #[arg(
        long,
        env = "STOWAGE_DATABASE_URL",
        hide_env_values = true,
        global = true
    )]
    pub database_url: Option<Secret>,
    /// File that holds the URL of the index instead.
    #[arg(long, env = "STOWAGE_DATABASE_URL_FILE", global = true)]
    pub database_url_file: Option<PathBuf>,
    /// File with the password for a Postgres URL that has none.
    #[arg(long, env = "STOWAGE_DATABASE_PASSWORD_FILE", global = true)]
    pub database_password_file: Option<PathBuf>,
    /// Most connections to a Postgres index.
    #[arg(
        long,
        env = "STOWAGE_DATABASE_CONNECTIONS",
        default_value_t = 20,
        global = true
    )]
    pub database_connections: u32,
    /// Seconds a call waits for a free connection to the index, and a start for an answer, before it is refused.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_DATABASE_WAIT_SECONDS",
        default_value_t = 5,
        global = true
    )]
    pub database_wait_seconds: u64,
    /// Seconds a call to the index may take; storing may take twice, deleting ten times as long.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_DATABASE_CALL_SECONDS",
        default_value_t = 30,
        global = true
    )]
    pub database_call_seconds: u64,
    /// Pages of the index file kept in memory by the connection that writes; those that read keep a quarter each.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_SQLITE_CACHE_BYTES", default_value_t = 64 << 20, global = true)]
    pub sqlite_cache_bytes: u64,
    /// Blobs: `file:///folder`, `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`; a folder in the data folder when absent.
    #[arg(long, env = "STOWAGE_BLOB_URL", global = true)]
    pub blob_url: Option<String>,
    /// Base URL of an S3-compatible server, for example `http://minio:9000`; credentials come from `AWS_*` variables.
    #[arg(long, env = "STOWAGE_S3_ENDPOINT", global = true)]
    pub s3_endpoint: Option<String>,
    /// File with the lines `aws_access_key_id = …` and `aws_secret_access_key = …` for S3, instead of `AWS_*` variables.
    #[arg(long, env = "STOWAGE_S3_CREDENTIALS_FILE", global = true)]
    pub s3_credentials_file: Option<PathBuf>,
    /// Seconds during which a request to an object store that fails is tried again.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_BLOB_RETRY_SECONDS",
        default_value_t = 30,
        global = true
    )]
    pub blob_retry_seconds: u64,
    /// Bytes of objects on their way from or to an object store that are held in memory, half for each direction.
    #[arg(long, value_parser = units::memory, value_name = "SIZE", env = "STOWAGE_BLOB_BUFFER_BYTES", default_value_t = 256 << 20, global = true)]
    pub blob_buffer_bytes: usize,
    /// JSON file of rules by which studies are deleted when they are old, applied once an hour; none deletes none.
    #[arg(
        long,
        value_name = "FILE",
        env = "STOWAGE_RETENTION_RULES",
        global = true
    )]
    pub retention_rules: Option<PathBuf>,
    /// Hours a deleted instance's bytes are kept before the sweeper removes them.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_TRASH_HOURS",
        default_value_t = 72.0,
        global = true
    )]
    pub trash_hours: f64,
    /// Seconds between two runs of the sweeper.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_SWEEP_SECONDS",
        default_value_t = 300,
        global = true
    )]
    pub sweep_seconds: u64,
    /// Hours from the beginning of one check of all stored bytes to the next; 0 checks never.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_SCRUB_HOURS",
        default_value_t = 168.0,
        global = true
    )]
    pub scrub_hours: f64,
    /// Bytes that the check of all stored bytes reads in a second, at most.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_SCRUB_BYTES_PER_SECOND", default_value_t = 32 << 20, global = true)]
    pub scrub_bytes_per_second: u64,
}

impl StorageConfig {
    /// URL of the index as set, with the password from its file; none when neither URL nor file is set.
    ///
    /// # Errors
    /// [`SecretError`] when a file cannot be used or there is no place for the password.
    pub fn database(&self) -> Result<Option<Secret>, SecretError> {
        let names = ("STOWAGE_DATABASE_URL", "STOWAGE_DATABASE_URL_FILE");
        let url = secret::either(
            names,
            self.database_url.as_ref(),
            self.database_url_file.as_deref(),
        )?;
        let Some(file) = &self.database_password_file else {
            return Ok(url);
        };
        let password = Secret::from_file("STOWAGE_DATABASE_PASSWORD_FILE", file)?;
        let url = url
            .as_ref()
            .and_then(|url| secret::with_password(url, &password));
        url.map(Some).ok_or(SecretError::NoPlace)
    }

    /// Time from the beginning of one scrub to the next; none for never.
    #[must_use]
    pub fn scrub_period(&self) -> Option<Duration> {
        some_hours(self.scrub_hours)
    }

    /// How long deleted bytes are kept.
    #[must_use]
    pub fn trash_grace(&self) -> Duration {
        Duration::try_from_secs_f64(self.trash_hours * 3600.0).unwrap_or(Duration::ZERO)
    }
}
