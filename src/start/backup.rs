//! Backup and restore with the stores of the settings.

use std::path::{Path, PathBuf};

use futures_util::future::LocalBoxFuture;

use super::error::{StartError, chain};
use super::stores::{StoreNeeds, make_folder, open, own_index};
use crate::archive::services::backup::make::{
    BackupListener, BackupOptions, BackupProgress, BackupReport,
};
use crate::archive::services::backup::place::{BackupManifest, BackupPlace};
use crate::archive::services::backup::restore::RestoredBlobs;
use crate::archive::services::check::{CheckOptions, CheckProgress, CheckReport};
use crate::blob::Blobs;
use crate::config::{BackupArgs, Config, RestoreBackupArgs};
use crate::index::{self, IndexError, IndexOptions, TransferMode};
use crate::memory::{MemoryBudget, budget_bytes};

/// URL of the index that the settings name.
fn index_url(config: &Config) -> Result<String, StartError> {
    let database = config.storage.database();
    let database = database.map_err(|e| StartError::Config(chain(&e)))?;
    Ok(match database {
        Some(url) => url.expose().to_owned(),
        None => own_index(config),
    })
}

/// Makes a backup.
///
/// # Errors
/// When a store cannot be used, or another backup is being made.
pub(crate) async fn back_up(
    config: &Config,
    arguments: &BackupArgs,
    reported: BackupListener<'_>,
) -> Result<BackupReport, StartError> {
    let archive = open(config, StoreNeeds::Archive).await?;
    let place = BackupPlace::open(&arguments.to, &config.storage, true).await?;
    let url = index_url(config)?;
    let options = IndexOptions::default();
    let snapshot = |to: PathBuf, scratch: PathBuf| -> LocalBoxFuture<'_, _> {
        let (url, options) = (&url, &options);
        Box::pin(async move { index::snapshot(url, &to, &scratch, options).await })
    };
    let options = BackupOptions {
        keep: usize::try_from(arguments.keep).unwrap_or(usize::MAX),
        verify: arguments.verify,
    };
    Ok(archive
        .back_up(&place, options, &snapshot, reported)
        .await?)
}

/// Opens the place of backups to read it.
///
/// # Errors
/// When there is none.
pub(crate) async fn open_place(config: &Config, from: &str) -> Result<BackupPlace, StartError> {
    Ok(BackupPlace::open(from, &config.storage, false).await?)
}

/// What a restore did.
#[derive(Debug)]
pub(crate) struct RestoredBackup {
    pub(crate) manifest: BackupManifest,
    pub(crate) blobs: RestoredBlobs,
    pub(crate) check: CheckReport,
}

/// Brings a backup back, and compares index and blobs then.
///
/// # Errors
/// When a store cannot be used, or there is an index already.
pub(crate) async fn restore_backup(
    config: &Config,
    arguments: &RestoreBackupArgs,
    reported: BackupListener<'_>,
) -> Result<RestoredBackup, StartError> {
    let place = open_place(config, &arguments.from).await?;
    let manifest = place.find(arguments.name.as_deref()).await?;
    let url = index_url(config)?;
    must_be_free(&url).await?;
    let folder = &config.storage.data_dir;
    make_folder(folder)?;
    let to = Blobs::connect(&config.storage).await?;
    let budget = MemoryBudget::new(budget_bytes(config.limits.memory_bytes));
    let blobs = place
        .restore_blobs(&manifest, &to, &budget, reported)
        .await?;
    drop(to);
    reported(BackupProgress::Stage("bringing the index back"));
    let file = match sqlite_file(&url) {
        Some(file) => file.to_owned(),
        None => folder.join("index.sqlite"),
    };
    let beside = file.with_extension("restoring");
    remove_index(&beside)?;
    place.restore_index(&manifest, &beside).await?;
    if sqlite_file(&url).is_some() {
        put_in_place(&beside, &file)?;
    } else {
        let from = format!("sqlite://{}", beside.display());
        let options = IndexOptions::default();
        let mut unheard = |_: &'static str, _: u64| {};
        let moved = index::transfer(&from, &url, TransferMode::Copy, &options, &mut unheard);
        let moved = moved.await?;
        if let Some(table) = moved.iter().find(|table| !table.agrees()) {
            let reason = format!(
                "the database holds other rows of {} than were sent",
                table.table
            );
            return Err(IndexError::Open { reason }.into());
        }
        remove_index(&beside)?;
    }
    reported(BackupProgress::Stage("comparing index and blobs"));
    let archive = open(config, StoreNeeds::Archive).await?;
    let heard = |progress: CheckProgress<'_>| {
        if let CheckProgress::Problem(problem) = progress {
            reported(BackupProgress::Problem(problem));
        }
    };
    let check = archive
        .check_stores(CheckOptions::default(), &heard)
        .await?;
    Ok(RestoredBackup {
        manifest,
        blobs,
        check,
    })
}

fn sqlite_file(url: &str) -> Option<&Path> {
    let file = url.strip_prefix("sqlite:")?;
    let file = file.strip_prefix("//").unwrap_or(file);
    Some(Path::new(file.split('?').next().unwrap_or(file)))
}

/// Whether there is no index where one is to be put.
async fn must_be_free(url: &str) -> Result<(), StartError> {
    let taken = |what: &str| {
        Err(StartError::Config(format!(
            "{what}: a backup is brought back where none is, so that nothing gets lost; move it away first, or name another \
             place"
        )))
    };
    if let Some(file) = sqlite_file(url) {
        if file.exists() {
            return taken(&format!("there is an index already, {}", file.display()));
        }
        return Ok(());
    }
    let options = IndexOptions {
        make: false,
        ..IndexOptions::default()
    };
    match index::open(url, &options).await {
        Err(IndexError::Absent) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(index) if index.all_instances(0, 1).await?.is_empty() => Ok(()),
        Ok(_) => taken("the database of STOWAGE_DATABASE_URL holds instances already"),
    }
}

/// Removes an index and what `SQLite` puts beside it.
fn remove_index(file: &Path) -> Result<(), StartError> {
    for end in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(end);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let path = Path::new(&path).display();
                return Err(StartError::Config(format!(
                    "{path} cannot be removed: {error}"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Gives the index its name, durably. A log of another index that lies there would spoil it.
fn put_in_place(from: &Path, to: &Path) -> Result<(), StartError> {
    remove_index(to)?;
    let renamed = std::fs::rename(from, to).and_then(|()| match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::File::open(folder)?.sync_all(),
        _ => std::fs::File::open(".")?.sync_all(),
    });
    renamed.map_err(|error| {
        let to = to.display();
        StartError::Config(format!("{to} cannot be put in place: {error}"))
    })
}
