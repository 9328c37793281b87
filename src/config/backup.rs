//! What `stowage backup` and `stowage restore-backup` are told.

use clap::Args;

/// Where a backup goes.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Folder, or URL of an object store as in `STOWAGE_BLOB_URL`, for the backups of this archive alone.
    #[arg(long, value_name = "FOLDER|URL")]
    pub to: String,
    /// Backups that are kept; older ones go, with the blobs that only they name.
    #[arg(long, value_name = "NUMBER", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// Read all of the backup again, and compare; exit code 1 when something is wrong.
    #[arg(long)]
    pub verify: bool,
}

/// Where a backup comes from.
#[derive(Debug, Clone, Args)]
pub struct RestoreBackupArgs {
    /// Folder or URL that `stowage backup --to` was given.
    #[arg(long, value_name = "FOLDER|URL")]
    pub from: String,
    /// Which backup, by its name in the list; the newest when absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// List the backups that are there, the newest last, and change nothing.
    #[arg(long)]
    pub list: bool,
}
