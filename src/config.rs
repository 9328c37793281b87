//! Configuration: one struct per concern, filled by flags or `STOWAGE_*` variables; the doc line is the `--help` line.
//!
//! Invariant: every default runs with nothing set; an invalid value stops the start with one clear line.

mod access;
mod backup;
mod cache;
mod deidentify;
mod dimse;
mod events;
mod export;
pub mod names;
mod remote;
mod secret;
mod tls;
mod ui;
pub mod units;
mod unknown;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::dicom::deidentify::DeidentifyOptions;
use crate::scope::PartitionName;

pub use access::{
    AccessConfig, AuditSettings, AuditTarget, AuthMode, QueryToken, Switch, TokenLimits,
};
pub use backup::{BackupArgs, RestoreBackupArgs};
pub use cache::ClientCache;
pub use deidentify::DeidentifyConfig;
pub use dimse::DimseConfig;
pub use events::EventsConfig;
pub use export::ExportConfig;
pub use remote::{CopyArgs, RemoteArgs, UploadArgs};
pub use secret::{Secret, SecretError};
pub use tls::TlsConfig;
pub use ui::{OpenIn, UiConfig};
pub use unknown::{Unknown, unknown_variables};

/// Stands behind `--help`.
const AFTER: &str = "\
Exit codes:
  0  all is well
  1  it was done, and something was found wrong: files refused, stores that do not fit together, a server that is not healthy
  2  the command line is wrong
  3  it could not be done: a setting is wrong, or a store cannot be used

Examples:
  stowage
        serve on 127.0.0.1:8080 and keep everything in ./data
  stowage --listen 0.0.0.0:8080 --jwt-secret-file /run/secrets/jwt
        serve others, who need a token
  stowage import --journal done.txt --refused refused.txt /archive
        store a folder; the same command again goes on where it was broken off
  stowage upload --to https://pacs.example/dicom-web --journal sent.txt /archive
        send a folder to another server; the same command again goes on where it was broken off
  stowage copy https://pacs.example/dicom-web --query StudyDate=20240101-20241231
        copy a year of another server into this archive and compare
  stowage backup --to /backup/stowage
        save what is new since the last backup, while the server runs
  stowage fsck --digests
        read everything and compare
  STOWAGE_DATABASE_URL=postgres://stowage@db/stowage stowage move-index
        move the index from the data folder to Postgres
  stowage completions bash > /etc/bash_completion.d/stowage
        complete commands and options in bash
  stowage man --to /usr/local/share/man/man1
        install the manual pages

Sizes and times take units: 512k, 64MiB, 2GiB; 90s, 5m, 12h, 3d. A plain number is bytes, seconds, or hours where a setting says so.

Every option is an environment variable too; a file of variables is read by systemd (EnvironmentFile) and by containers.";

/// A `DICOMweb` server: store, retrieve, search, delete and a change feed over HTTP.
#[derive(Debug, Parser)]
#[command(name = "stowage", version, about, max_term_width = 100, after_long_help = AFTER)]
pub struct Cli {
    /// What to do; without a sub-command the server runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings shared by all sub-commands.
    #[command(flatten)]
    pub config: Config,
}

/// Sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server (the default).
    Serve,
    /// Ask a running server on the configured address whether it is healthy; exit code 0 when it is.
    Health,
    /// Check that index and blobs fit together; exit code 1 when something is wrong.
    Fsck(FsckArgs),
    /// Print how much is stored: by partition, modality and month of arrival; trash, damage, free disk.
    Stats {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Rebuild rows of the index from the blobs alone.
    Reindex,
    /// Move the index into another, empty database and check that both agree; stop the servers first.
    MoveIndex(MoveIndexArgs),
    /// Store files from folders of this machine; may be started again after it was broken off.
    Import(ImportArgs),
    /// Send files from folders of this machine to another `DICOMweb` server (STOW-RS); exit code 0 when all arrived.
    Upload(UploadArgs),
    /// Copy studies of another `DICOMweb` server into this archive (QIDO-RS, WADO-RS) and compare; exit code 0 when both have the same.
    Copy(CopyArgs),
    /// Make a backup of index and blobs beside whatever runs: only blobs that are not in it yet are copied.
    Backup(BackupArgs),
    /// Bring a backup back into an archive that is not there, or has no index; the server must not run.
    RestoreBackup(RestoreBackupArgs),
    /// Delete the studies whose time is over by the rules of `STOWAGE_RETENTION_RULES`, as the server does once an hour.
    Expire {
        /// Delete nothing, only print what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write stored files below a folder.
    Export(ExportArgs),
    /// Bring back what was deleted, or list what can be; exit code 1 when something could not be brought back.
    Restore(RestoreArgs),
    /// Ask a DIMSE peer whether it answers (C-ECHO); exit code 0 when it does.
    Echo {
        /// AE title of the peer, which stands in `STOWAGE_DIMSE_PEERS`.
        peer: String,
    },
    /// Send files, folders or stored studies to a DIMSE peer (C-STORE).
    Send(SendArgs),
    /// Have a DIMSE peer send studies to this server, which must be running (C-FIND, C-MOVE).
    Fetch(FetchArgs),
    /// Print a token for the configured secret, for trying things out.
    Token(TokenArgs),
    /// Make, list and revoke API keys in the file of `STOWAGE_API_KEYS_FILE`; running servers follow within seconds.
    Key {
        /// What to do.
        #[command(subcommand)]
        action: KeyAction,
    },
    /// List rules of forwarding, which send what arrives on to other servers, and send again what was given up.
    Forward {
        /// What to do.
        #[command(subcommand)]
        action: ForwardAction,
    },
    /// Make, list, test and remove webhooks, which are told by HTTP what happens to studies and workitems.
    Webhook {
        /// What to do.
        #[command(subcommand)]
        action: WebhookAction,
    },
    /// Print a script that completes commands and options in a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, or write it and those of all sub-commands to a folder.
    Man {
        /// Folder for `stowage.1`, `stowage-import.1` and so on; it is made when it is not there.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
}

/// How stores are checked.
#[derive(Debug, Clone, Args)]
pub struct FsckArgs {
    /// Read every blob and compare its digest.
    #[arg(long)]
    pub digests: bool,
    /// Mend: rows whose blob is missing are deleted, blobs without a row go onto the trash.
    #[arg(long)]
    pub repair: bool,
    /// With `--repair`: delete rows also when more than a tenth of all blobs is missing.
    #[arg(long, requires = "repair")]
    pub force: bool,
    /// Leave blobs alone that were written within this many seconds: their request may still run.
    #[arg(long, value_parser = units::seconds, value_name = "TIME", default_value_t = 3600)]
    pub young_seconds: u64,
}

/// Which index is moved where.
#[derive(Debug, Clone, Args)]
pub struct MoveIndexArgs {
    /// URL of the index as it is; the `SQLite` file in the data folder when absent.
    #[arg(long, value_name = "URL")]
    pub from: Option<Secret>,
    /// URL of the empty database; the configured one (`STOWAGE_DATABASE_URL`, with its password file) when absent.
    #[arg(long, value_name = "URL")]
    pub to: Option<Secret>,
    /// Copy nothing, only compare the two.
    #[arg(long)]
    pub check: bool,
}

/// What is imported.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Files and folders.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Partition to store into, made when it is not there; needs `STOWAGE_PARTITIONS=on`.
    #[arg(long, value_name = "NAME", default_value = PartitionName::DEFAULT)]
    pub partition: PartitionName,
    /// File to note stored files in; files that a run before noted there are skipped unless they changed since.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// File to write every refused file to, one in a line: its path, a tab, the reason.
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
}

/// What is exported.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Folder to write to.
    #[arg(long)]
    pub to: PathBuf,
    /// Partition to read from.
    #[arg(long, value_name = "NAME", default_value = PartitionName::DEFAULT)]
    pub partition: PartitionName,
    /// Write them de-identified, under new UIDs; `=` and options separated by commas say what stays: `retain-uids`, `retain-full-dates` or `retain-modified-dates`, `retain-patient-characteristics`, `retain-device`, `retain-institution`. Needs `STOWAGE_DEIDENTIFY_KEY_FILE`.
    #[arg(long, value_name = "OPTIONS", num_args = 0..=1, require_equals = true, default_missing_value = "basic")]
    pub deidentify: Option<DeidentifyOptions>,
    /// What to write: `study`, `study/series` or `study/series/instance`, by UIDs.
    #[arg(required = true)]
    pub targets: Vec<String>,
}

/// What is brought back from the trash.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// List what can be brought back, the newest first, and change nothing.
    #[arg(long)]
    pub list: bool,
    /// Studies, by UID, of which everything comes back that was deleted; or entries of the list, by their number.
    #[arg(required_unless_present = "list", value_name = "STUDY|ENTRY")]
    pub targets: Vec<String>,
}

/// What is sent to a DIMSE peer.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// AE title of the peer, which stands in `STOWAGE_DIMSE_PEERS`.
    pub peer: String,
    /// Files and folders, or what is stored: `study`, `study/series` or `study/series/instance`, by UIDs.
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// File to note what was sent in; what a run before noted there is skipped.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

/// What a DIMSE peer is to send here.
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// AE title of the peer, which stands in `STOWAGE_DIMSE_PEERS`.
    pub peer: String,
    /// Study Instance UIDs, or keys of a search such as `PatientID=4711` or `StudyDate=20240101-20241231`.
    #[arg(required = true)]
    pub keys: Vec<String>,
    /// Get the studies on associations of this command (C-GET), from a peer that does not know this server.
    #[arg(long)]
    pub get: bool,
    /// File to note fetched studies in; those that a run before noted there are skipped.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

/// What a token says.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenArgs {
    /// Who the token is for.
    #[arg(long, default_value = "someone")]
    pub subject: String,
    /// Roles the token carries, comma separated; `globalAdmin` unless the token is read-only.
    #[arg(long, value_delimiter = ',')]
    pub roles: Vec<String>,
    /// Seconds until it expires.
    #[arg(long, value_parser = units::seconds, value_name = "TIME", default_value_t = 3600)]
    pub seconds: u64,
    /// Only these patients exist for its bearer, by Patient ID; may be repeated.
    #[arg(long = "patient", value_name = "ID")]
    pub patients: Vec<String>,
    /// Only these studies exist for its bearer, by Study Instance UID; may be repeated.
    #[arg(long = "study", value_name = "UID")]
    pub studies: Vec<String>,
    /// Only these partitions exist for its bearer, by name; may be repeated.
    #[arg(id = "only_partitions", long = "partition", value_name = "NAME")]
    pub partitions: Vec<PartitionName>,
    /// It is good for reading only, whatever its roles allow.
    #[arg(long)]
    pub read_only: bool,
    /// Print a read-only link to the one study instead; in a template of your own, for example of a viewer, `{server}`, `{study}`, `{token}` and `{partition}` are replaced, the last by `/partitions/NAME` or nothing.
    #[arg(
        long,
        value_name = "TEMPLATE",
        num_args = 0..=1,
        default_missing_value = "{server}/dicom-web{partition}/studies/{study}?access_token={token}"
    )]
    pub link: Option<String>,
}

/// What `stowage key` does.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyAction {
    /// Make a key and print it, this once: the file keeps a digest of it only.
    Add(KeyArgs),
    /// Print names, states and rights of the keys.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a key, by its name.
    Revoke {
        /// The key's name.
        name: String,
    },
}

/// What is sent once more.
#[derive(Debug, Clone, Args)]
pub struct RedeliverArgs {
    /// Its name.
    pub name: String,
    /// Number of the first event.
    #[arg(long)]
    pub from: i64,
    /// Number of the last event; all that were sent when absent.
    #[arg(long)]
    pub to: Option<i64>,
}

/// What `stowage forward` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ForwardAction {
    /// Print the rules of forwarding, with what waits for each and what was given up.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a rule with the events that wait or were given up, as JSON.
    Show {
        /// Its name.
        name: String,
    },
    /// Send what came with events once more, as far as they are kept.
    Redeliver(RedeliverArgs),
}

/// What `stowage webhook` does.
#[derive(Debug, Clone, Subcommand)]
pub enum WebhookAction {
    /// Make a webhook and print the secret that its messages are signed with, this once.
    Add {
        /// What it is called.
        name: String,
        /// Where events are sent.
        url: String,
        /// Kinds of events, comma separated, such as `study.quiet,workitem.*`.
        #[arg(long, value_delimiter = ',', default_value = "study.*,workitem.*")]
        events: Vec<String>,
    },
    /// Print webhooks, with what waits for them and what was given up.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print one with the events that wait or were given up, as JSON.
    Show {
        /// Its name.
        name: String,
    },
    /// End one, with what is on its way to it.
    Remove {
        /// Its name.
        name: String,
    },
    /// Go on after its receiver answered 410.
    Enable {
        /// Its name.
        name: String,
    },
    /// Send a test event now.
    Test {
        /// Its name.
        name: String,
    },
    /// Send events once more, as far as they are kept.
    Redeliver(RedeliverArgs),
}

/// What a key may do.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// Who it is for, such as `ct-1` or `backup`: what the audit trail says.
    pub name: String,
    /// Roles the key carries, comma separated.
    #[arg(long, value_delimiter = ',', required = true)]
    pub roles: Vec<String>,
    /// Time until it ends; 0 never ends it.
    #[arg(long, value_parser = units::seconds, value_name = "TIME", default_value = "365d")]
    pub expires: u64,
    /// Only these patients exist for its bearer, by Patient ID; may be repeated.
    #[arg(long = "patient", value_name = "ID")]
    pub patients: Vec<String>,
    /// Only these studies exist for its bearer, by Study Instance UID; may be repeated.
    #[arg(long = "study", value_name = "UID")]
    pub studies: Vec<String>,
    /// Only these partitions exist for its bearer, by name; may be repeated.
    #[arg(id = "only_partitions", long = "partition", value_name = "NAME")]
    pub partitions: Vec<PartitionName>,
    /// It is good for reading only, whatever its roles allow.
    #[arg(long)]
    pub read_only: bool,
}

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

/// The HTTP face.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpConfig {
    /// Base of all absolute URLs in answers, for example `https://pacs.example.org/dicom`; taken from the request when absent.
    #[arg(long, env = "STOWAGE_PUBLIC_URL", global = true)]
    pub public_url: Option<String>,
    /// Networks (CIDR, comma separated) of proxies that are believed when they say who asks.
    #[arg(
        long,
        env = "STOWAGE_TRUSTED_PROXIES",
        value_delimiter = ',',
        global = true
    )]
    pub trusted_proxies: Vec<String>,
    /// Headers that those proxies write, comma separated: `forwarded`, or `x-forwarded-` and `for`, `proto`, `host`, `port`, `prefix`; others are the client's own word.
    #[arg(
        long,
        env = "STOWAGE_PROXY_HEADERS",
        default_value = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port,x-forwarded-prefix",
        global = true
    )]
    pub proxy_headers: String,
    /// Origins that browsers may call from, comma separated; `*` = any (without credentials), `none` = no CORS at all; when absent, any with access control, and pages of this machine and of the public URL without it.
    #[arg(long, env = "STOWAGE_CORS_ORIGINS", global = true)]
    pub cors_origins: Option<String>,
    /// What browsers keep of what they were answered: `off` nothing; `ask` what has an `ETag`, and they ask before each use; a time such as `10m`: pixels are used again for so long without asking.
    #[arg(long, env = "STOWAGE_CLIENT_CACHE", value_name = "off|ask|TIME", default_value_t = ClientCache::Ask, global = true)]
    pub client_cache: ClientCache,
    /// Who may read the counts at `/metrics`.
    #[arg(long, env = "STOWAGE_METRICS", value_enum, default_value_t = MetricsAccess::Token, global = true)]
    pub metrics: MetricsAccess,
    /// Seconds to wait for the head of a request, also between two requests of one connection.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_HEAD_SECONDS",
        default_value_t = 60,
        global = true
    )]
    pub head_seconds: u64,
    /// Most connections at the same time; fewer where the system allows fewer open files.
    #[arg(
        long,
        env = "STOWAGE_CONNECTIONS",
        default_value_t = 4096,
        global = true
    )]
    pub connections: usize,
    /// Bytes a second that a client must send of its request, or take of its answer, on the whole; 0 for any.
    #[arg(
        long,
        value_parser = units::bytes,
        value_name = "SIZE",
        env = "STOWAGE_LEAST_BYTES_PER_SECOND",
        default_value_t = 1024,
        global = true
    )]
    pub least_bytes_per_second: u64,
    /// Seconds of waiting for a client after which it must have kept that rate.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_SLOW_SECONDS",
        default_value_t = 10,
        global = true
    )]
    pub slow_seconds: u64,
    /// Seconds to let running requests end after a stop signal.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_SHUTDOWN_SECONDS",
        default_value_t = 30,
        global = true
    )]
    pub shutdown_seconds: u64,
}

/// Who may read the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MetricsAccess {
    /// Nobody: there is no such page.
    Off,
    /// With access control, whoever may read everything; without it, everybody.
    Token,
    /// Everybody who can reach the address.
    Open,
}

/// Limits; each has a test.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Bytes of memory that requests and caches may use together; a quarter of the machine's, or of its cgroup's, when absent.
    #[arg(long, env = "STOWAGE_MEMORY_BYTES", value_parser = units::budget, value_name = "SIZE", global = true)]
    pub memory_bytes: Option<u64>,
    /// Largest instance that is stored, in bytes.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_MAX_INSTANCE_BYTES", default_value_t = 64 << 30, global = true)]
    pub max_instance_bytes: u64,
    /// Which preambles files may have; `plain`: zeros, or the beginning of a TIFF file, so that no file is a program too.
    #[arg(long, env = "STOWAGE_PREAMBLES", value_enum, default_value_t = Preambles::Any, global = true)]
    pub preambles: Preambles,
    /// Largest store request, in bytes.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_MAX_REQUEST_BYTES", default_value_t = 1 << 40, global = true)]
    pub max_request_bytes: u64,
    /// Most parts of one store request.
    #[arg(
        long,
        env = "STOWAGE_MAX_PARTS",
        default_value_t = 10_000,
        global = true
    )]
    pub max_parts: u64,
    /// Bytes of one part held in memory before it goes to the spool.
    #[arg(long, value_parser = units::memory, value_name = "SIZE", env = "STOWAGE_PART_MEMORY_BYTES", default_value_t = 16 << 20, global = true)]
    pub part_memory_bytes: usize,
    /// Parts of one request that are walked and written at the same time.
    #[arg(
        long,
        env = "STOWAGE_STORE_CONCURRENCY",
        default_value_t = 8,
        global = true
    )]
    pub store_concurrency: usize,
    /// Store requests handled at the same time; further ones are answered 503 with Retry-After.
    #[arg(
        long,
        env = "STOWAGE_STORE_REQUESTS",
        default_value_t = 256,
        global = true
    )]
    pub store_requests: usize,
    /// Requests of any kind handled at the same time, until their last byte is sent; further ones are answered 503 with Retry-After.
    #[arg(long, env = "STOWAGE_REQUESTS", default_value_t = 1024, global = true)]
    pub requests: usize,
    /// Bytes of all parts held in spool files by all requests together; a part beyond is answered 503 with Retry-After.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_SPOOL_BYTES", default_value_t = 128 << 30, global = true)]
    pub spool_bytes: u64,
    /// How many of a hundred reads are compared with the checksums taken when the bytes were stored.
    #[arg(long, env = "STOWAGE_VERIFY_READS", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100), global = true)]
    pub verify_reads: u8,
    /// Seconds without a byte from the client, or taken by it, before a request is given up.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_IDLE_SECONDS",
        default_value_t = 60,
        global = true
    )]
    pub idle_seconds: u64,
    /// Most frames in one request.
    #[arg(
        long,
        env = "STOWAGE_MAX_FRAMES",
        default_value_t = 10_000,
        global = true
    )]
    pub max_frames: usize,
    /// Most results of one search; a search that finds more is answered 413 when it asked for no limit.
    #[arg(
        long,
        env = "STOWAGE_MAX_RESULTS",
        default_value_t = 100_000,
        global = true
    )]
    pub max_results: u64,
    /// Most rows looked at for an attribute that has no index; a search that would need more is answered 413.
    #[arg(
        long,
        env = "STOWAGE_MAX_SCAN",
        default_value_t = 20_000,
        global = true
    )]
    pub max_scan: u64,
    /// Seconds a search may take in the database before it is answered 413.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_SEARCH_SECONDS",
        default_value_t = 20,
        global = true
    )]
    pub search_seconds: u64,
    /// What becomes of an instance whose UIDs are stored already, when it comes by POST or C-STORE.
    #[arg(
        long,
        env = "STOWAGE_EXISTING",
        value_enum,
        default_value = "keep",
        global = true
    )]
    pub existing: ExistingPolicy,
    /// Most data elements and sequence items of one instance, together.
    #[arg(
        long,
        env = "STOWAGE_MAX_ELEMENTS",
        default_value_t = 4_000_000,
        global = true
    )]
    pub max_elements: u64,
    /// Bytes of header values (everything but pixel data) of an instance held while it is walked.
    #[arg(long, value_parser = units::memory, value_name = "SIZE", env = "STOWAGE_MAX_HEADER_BYTES", default_value_t = 64 << 20, global = true)]
    pub max_header_bytes: usize,
    /// Largest inflated size of a deflated data set, in bytes.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_MAX_INFLATED_BYTES", default_value_t = 1 << 30, global = true)]
    pub max_inflated_bytes: u64,
    /// Bytes of decoded and encoded frames kept for those who ask next.
    #[arg(
        long,
        value_parser = units::bytes,
        value_name = "SIZE",
        env = "STOWAGE_FRAME_CACHE_BYTES",
        default_value_t = 64 << 20,
        global = true
    )]
    pub frame_cache_bytes: u64,
    /// Bytes of metadata answers kept for those who ask next; 0 keeps none.
    #[arg(
        long,
        value_parser = units::bytes,
        value_name = "SIZE",
        env = "STOWAGE_METADATA_CACHE_BYTES",
        default_value_t = 64 << 20,
        global = true
    )]
    pub metadata_cache_bytes: u64,
    /// Hours a finished workitem is kept before the sweeper deletes it; 0 keeps it for ever.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_WORKITEM_HOURS",
        default_value_t = 0.0,
        global = true
    )]
    pub workitem_hours: f64,
    /// Hours an event of the worklist is kept for subscribers who come back.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_EVENT_HOURS",
        default_value_t = 168.0,
        global = true
    )]
    pub event_hours: f64,
    /// JSON file of rules that make a workitem of a study in which nothing has come for a while; none makes none.
    #[arg(
        long,
        value_name = "FILE",
        env = "STOWAGE_WORKITEM_RULES",
        global = true
    )]
    pub workitem_rules: Option<PathBuf>,
    /// Hours a result of storage commitment is kept; 0 keeps it for ever.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_COMMITMENT_HOURS",
        default_value_t = 168.0,
        global = true
    )]
    pub commitment_hours: f64,
    /// Event channels open at the same time; further ones are answered 503 with Retry-After.
    #[arg(long, env = "STOWAGE_CHANNELS", default_value_t = 256, global = true)]
    pub channels: usize,
    /// Longest side of a picture that is scaled to a viewport, in pixels; a larger viewport is answered 400.
    #[arg(long, env = "STOWAGE_MAX_VIEWPORT", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=8192), global = true)]
    pub max_viewport: u32,
    /// Largest decoded frame, in bytes.
    #[arg(long, value_parser = units::memory, value_name = "SIZE", env = "STOWAGE_MAX_FRAME_BYTES", default_value_t = 512 << 20, global = true)]
    pub max_frame_bytes: usize,
}

/// So many hours; none for 0, which is for ever.
fn some_hours(hours: f64) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(hours * 3600.0).ok();
    time.filter(|time| !time.is_zero())
}

/// What becomes of an instance whose UIDs are stored already, when it comes by POST or C-STORE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExistingPolicy {
    /// What is stored stays.
    Keep,
    /// It takes the place of what is stored, if its bytes are others and its sender may delete; a DIMSE peer that may write does.
    Replace,
}

/// Which 128 bytes may stand before the prefix of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preambles {
    /// Any: bytes out are bytes in.
    Any,
    /// Zeros, or the beginning of a TIFF file.
    Plain,
}

impl Limits {
    /// How long a finished workitem is kept; none for ever.
    #[must_use]
    pub fn workitem_time(&self) -> Option<Duration> {
        some_hours(self.workitem_hours)
    }

    /// How long a result of storage commitment is kept; none for ever.
    #[must_use]
    pub fn commitment_time(&self) -> Option<Duration> {
        some_hours(self.commitment_hours)
    }

    /// How long an event of the worklist is kept.
    #[must_use]
    pub fn event_time(&self) -> Duration {
        Duration::try_from_secs_f64(self.event_hours * 3600.0).unwrap_or(Duration::MAX / 4)
    }

    /// How long a search may take in the database.
    #[must_use]
    pub fn search_time(&self) -> Duration {
        Duration::from_secs(self.search_seconds.max(1))
    }
}

/// The log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// What is logged, in the syntax of `RUST_LOG`.
    #[arg(
        long,
        env = "STOWAGE_LOG",
        default_value = "info,sqlx=warn",
        global = true
    )]
    pub log: String,
    /// How it is written.
    #[arg(long, env = "STOWAGE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    /// What `stowage` runs with when nothing is set and the environment is empty.
    fn default() -> Self {
        let defaults = ["stowage"];
        match Cli::try_parse_from(defaults) {
            Ok(cli) => cli.config,
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

#[cfg(test)]
mod tests {
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
