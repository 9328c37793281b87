//! What the machine can do at best: files written and made durable, and bare SQL through the same driver.

use std::fs::{self, File};
use std::io::{Error, Result, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Row, Sqlite};
use stowage::scope::Partition;

use crate::table::Done;

/// Writes a file in pieces and makes its bytes durable.
pub(crate) fn write_file<'b>(
    path: &Path,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> Result<()> {
    let mut file = File::create(path)?;
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.sync_data()
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes each group of files on its own thread: every file synced, then the folder once. Returns seconds.
pub(crate) fn write_groups(folder: &Path, groups: &[Vec<&[u8]>]) -> Result<f64> {
    side_by_side(folder, groups, |own, group| {
        for (at, bytes) in group.iter().enumerate() {
            write_file(&own.join(at.to_string()), [*bytes])?;
        }
        sync_folder(own)
    })
}

/// The same, but each group is one file that is synced once.
pub(crate) fn write_packed(folder: &Path, groups: &[Vec<&[u8]>]) -> Result<f64> {
    side_by_side(folder, groups, |own, group| {
        write_file(&own.join("all"), group.iter().copied())
    })
}

/// Each group on its own thread, in a folder of its own. Returns seconds.
fn side_by_side(
    folder: &Path,
    groups: &[Vec<&[u8]>],
    write: impl Fn(&Path, &[&[u8]]) -> Result<()> + Sync,
) -> Result<f64> {
    fs::create_dir_all(folder)?;
    let in_own = |number: usize, group: &[&[u8]]| -> Result<()> {
        let own = folder.join(number.to_string());
        fs::create_dir(&own)?;
        write(&own, group)
    };
    let in_own = &in_own;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let running: Vec<_> = groups
            .iter()
            .enumerate()
            .map(|(number, group)| scope.spawn(move || in_own(number, group)))
            .collect();
        running.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::other("a writer panicked")))
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    fs::remove_dir_all(folder)?;
    Ok(seconds)
}

/// A pool opened as the server opens its own.
pub(crate) async fn pool(file: &Path) -> sqlx::Result<sqlx::Pool<Sqlite>> {
    let url = format!("sqlite://{}", file.display());
    let options = SqliteConnectOptions::from_str(&url)?
        .journal_mode(SqliteJournalMode::Wal)
        .read_only(true)
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-65536")
        .pragma("mmap_size", "268435456");
    SqlitePoolOptions::new()
        .max_connections(6)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

/// The statements a search cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    StudyUid,
    PatientId,
    Page,
}

/// Runs a statement for `time` on `clients` tasks, each value in turn; rows are read into owned text.
pub(crate) async fn sql(
    pool: &sqlx::Pool<Sqlite>,
    bare: Bare,
    values: &[String],
    clients: usize,
    time: Duration,
) -> sqlx::Result<Done> {
    let text = match bare {
        Bare::StudyUid => {
            "select study_uid, attributes, modalities, series_count, instance_count from study \
             where study_uid = ?2 and partition = ?1"
        }
        Bare::PatientId => {
            "select study_uid, attributes, modalities, series_count, instance_count from study \
             where partition = ?1 and patient_id_norm = lower(?2) order by id desc limit 101"
        }
        Bare::Page => {
            "select study_uid, attributes, modalities, series_count, instance_count from study \
             where +partition = ?1 order by id desc limit 101"
        }
    };
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let start = Instant::now();
    let client = || async {
        while start.elapsed() < time {
            let turn = next.fetch_add(1, Ordering::Relaxed) % values.len();
            let mut query = sqlx::query(text).bind(Partition::DEFAULT.0);
            if bare != Bare::Page {
                query = query.bind(&values[turn]);
            }
            let mut length = 0;
            for row in query.fetch_all(pool).await? {
                length += row.try_get::<String, _>(0)?.len() + row.try_get::<String, _>(1)?.len();
            }
            assert!(length > 0, "the statement finds something");
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, sqlx::Error>(())
    };
    futures_util::future::try_join_all((0..clients).map(|_| client())).await?;
    Ok(Done {
        work: done.into_inner() as f64,
        seconds: start.elapsed().as_secs_f64(),
    })
}
