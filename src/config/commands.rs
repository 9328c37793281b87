//! The command line: commands and their arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::backup::{BackupArgs, RestoreBackupArgs};
use super::remote::{CopyArgs, UploadArgs};
use super::secret::Secret;
use super::settings::Config;
use super::units;
use crate::dicom::deidentify::DeidentifyOptions;
use crate::scope::PartitionName;

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
