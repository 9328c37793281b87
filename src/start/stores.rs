//! Opens index and blobs as configured, and moves the index.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::deidentify;
use super::error::{StartError, chain};
use crate::archive::Archive;
use crate::blob::Blobs;
use crate::config::{Config, MoveIndexArgs, Switch};
use crate::index::{self, IndexError, IndexOptions, Moved, TransferMode};
use crate::memory;

/// What must be there before a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreNeeds {
    /// Nothing: what is missing is made.
    Nothing,
    /// The blobs; the index may have been lost.
    Blobs,
    /// Index and blobs.
    Archive,
}

/// Opens index and blobs as configured.
///
/// # Errors
/// When either cannot be opened, or what is needed is not there.
pub(crate) async fn open(config: &Config, needs: StoreNeeds) -> Result<Archive, StartError> {
    let database = config.storage.database();
    let database = database.map_err(|e| StartError::Config(chain(&e)))?;
    let url = match &database {
        Some(url) => url.expose().to_owned(),
        None => own_index(config),
    };
    if needs != StoreNeeds::Nothing {
        check_there(config, &url, needs)?;
    }
    let folder = &config.storage.data_dir;
    make_folder(folder)?;
    let blobs = Blobs::connect(&config.storage).await?;
    let mut options = IndexOptions {
        max_connections: config.storage.database_connections,
        sqlite_cache_bytes: config.storage.sqlite_cache_bytes,
        search_time: config.limits.search_time(),
        acquire_timeout: Duration::from_secs(config.storage.database_wait_seconds.max(1)),
        call_time: Duration::from_secs(config.storage.database_call_seconds.max(1)),
        make: needs != StoreNeeds::Archive,
        ..IndexOptions::default()
    };
    let pages = options.keep_within(memory::budget_bytes(config.limits.memory_bytes));
    let index = match index::open(&url, &options).await {
        Err(IndexError::Absent) => return Err(StartError::NoIndex),
        opened => opened?,
    };
    let archive =
        Archive::new(index, blobs, config.limits.clone()).with_grace(config.storage.trash_grace());
    let archive = archive.with_deidentification(deidentify::deidentification(&config.deidentify)?);
    archive.switch_partitions(config.storage.partitions == Switch::On);
    if url.starts_with("sqlite:") {
        archive.count_cache(pages);
    }
    Ok(archive)
}

/// Makes the data folder, when it is not there, for its owner alone.
pub(super) fn make_folder(folder: &Path) -> Result<(), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        let folder = folder.display();
        StartError::Config(format!(
            "STOWAGE_DATA_DIR: {folder} cannot be made: {error}"
        ))
    })
}

/// Whether what is kept on this machine is where the settings say: a mistyped folder is not an empty archive.
fn check_there(config: &Config, url: &str, needs: StoreNeeds) -> Result<(), StartError> {
    let missing = |path: &Path| StartError::NoArchive {
        folder: data_folder(config),
        missing: path.display().to_string(),
    };
    if let Some(blobs) = Blobs::folder(&config.storage)?
        && !blobs.is_dir()
    {
        return Err(missing(&absolute(&blobs)));
    }
    if needs == StoreNeeds::Archive
        && let Some(file) = url.strip_prefix("sqlite://")
    {
        let file = Path::new(file.split('?').next().unwrap_or(file));
        if !file.is_file() {
            return Err(missing(&absolute(file)));
        }
    }
    Ok(())
}

/// The data folder as an absolute path.
pub(crate) fn data_folder(config: &Config) -> PathBuf {
    absolute(&config.storage.data_dir)
}

fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Without `./` in the middle.
    whole.components().collect()
}

/// URL of the index that lies in the data folder.
pub(super) fn own_index(config: &Config) -> String {
    let file = config.storage.data_dir.join("index.sqlite");
    format!("sqlite://{}", file.display())
}

/// Moves the index, or compares two; `told` hears of rows as they are read.
///
/// # Errors
/// When no target is named or a database cannot be used.
pub(crate) async fn transfer_index(
    config: &Config,
    arguments: &MoveIndexArgs,
    reported: &mut (dyn FnMut(&'static str, u64) + Send),
) -> Result<Vec<Moved>, StartError> {
    let from = match &arguments.from {
        Some(url) => url.expose().to_owned(),
        None => {
            let own = own_index(config);
            check_there(config, &own, StoreNeeds::Archive)?;
            own
        }
    };
    let to = match &arguments.to {
        Some(url) => Some(url.clone()),
        None => config
            .storage
            .database()
            .map_err(|e| StartError::Config(chain(&e)))?,
    };
    let to = to.ok_or_else(|| {
        StartError::Config(
            "where to? set STOWAGE_DATABASE_URL to the empty database, or give --to".to_owned(),
        )
    })?;
    let how = if arguments.check {
        TransferMode::Compare
    } else {
        TransferMode::Copy
    };
    let options = IndexOptions::default();
    Ok(index::transfer(&from, to.expose(), how, &options, reported).await?)
}
