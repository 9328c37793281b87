//! A copy of an index as one `SQLite` file, made while others go on writing; and what such a copy names.
//!
//! Invariants: the copy is one moment of the index, whole, and was looked through before this says that it is there; of
//! `SQLite` it is made by the database itself, of Postgres from one snapshot, row by row, and compared.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Sqlite, SqliteConnection};

use super::error::IndexError;
use super::model::Result;
use super::options::IndexOptions;
use super::row_columns::RowColumns;
use super::sql::{Statement, failed};
use super::transfer::{Moved, TransferMode, transfer};

/// Writes a copy of the index at a URL to a file that is not there yet, or empty. `scratch` is another such file, which is
/// left behind with what `SQLite` puts beside it when the index is in Postgres.
///
/// # Errors
/// What the databases met; [`IndexError::Open`] when the copy is not whole.
pub async fn snapshot(from: &str, to: &Path, scratch: &Path, options: &IndexOptions) -> Result<()> {
    let own = from.strip_prefix("sqlite:").map(|rest| {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        path.split_once('?').map_or(path, |(path, _)| path)
    });
    match own {
        Some(path) => vacuum_into(Path::new(path), to, options).await?,
        None => {
            let between = format!("sqlite://{}", scratch.display());
            let mut reported = |_: &'static str, _: u64| {};
            let moved = transfer(
                from,
                &between,
                TransferMode::Snapshot,
                options,
                &mut reported,
            );
            if let Some(table) = moved.await?.iter().find(|table| !Moved::agrees(table)) {
                let reason = format!("its copy has other rows in {}", table.table);
                return Err(IndexError::Open { reason });
            }
            vacuum_into(scratch, to, options).await?;
        }
    }
    let mut copy = connect(to).await?;
    let found = Statement::<Sqlite>::new("pragma quick_check(1)").row(&mut copy);
    let found = found
        .await
        .map_err(failed::<Sqlite>("a copy of the index"))?;
    let found = found.map(|row| row.text("quick_check"));
    match found {
        Some(Ok(found)) if found == "ok" => Ok(()),
        _ => Err(IndexError::Open {
            reason: "its copy is damaged".to_owned(),
        }),
    }
}

async fn vacuum_into(from: &Path, to: &Path, options: &IndexOptions) -> Result<()> {
    let failed = failed::<Sqlite>("a copy of the index");
    let connect = SqliteConnectOptions::new()
        .filename(from)
        .busy_timeout(options.acquire_timeout)
        .disable_statement_logging();
    let mut connection = connect.connect().await.map_err(&failed)?;
    let Some(to) = to.to_str() else {
        let reason = "the path of its copy is not UTF-8".to_owned();
        return Err(IndexError::Open { reason });
    };
    let mut vacuum = Statement::<Sqlite>::new("vacuum into ");
    vacuum.text(to);
    vacuum.run(&mut connection).await.map_err(&failed)?;
    Ok(())
}

/// Opens a copy, of which nothing is changed.
async fn connect(path: &Path) -> Result<SqliteConnection> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(true)
        .disable_statement_logging();
    let connection = connect.connect().await;
    connection.map_err(failed::<Sqlite>("a copy of the index"))
}

/// Why an index names a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobUse {
    /// It is that of a stored instance.
    Stored,
    /// It is the first version of an instance that was updated.
    Original,
    /// It is a version that an update is about to put in the place of an instance.
    Prepared,
    /// It is on the trash.
    Trash,
}

/// A blob that an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBlob {
    /// Its key.
    pub key: String,
    /// Why it is named.
    pub used: BlobUse,
    /// Where the instance begins in it.
    pub offset: u64,
    /// Bytes of the instance, where they are known.
    pub length: Option<u64>,
    /// BLAKE3 of these, where it is known.
    pub digest: Option<[u8; 32]>,
}

/// Uses of blobs, and how they are read behind a number or key.
const BLOBS: [(BlobUse, &str); 4] = [
    (
        BlobUse::Stored,
        "select watermark as id, blob_key, blob_offset, blob_length, digest from instance where watermark > ",
    ),
    (
        BlobUse::Original,
        "select watermark as id, blob_key, blob_offset, blob_length, digest from original where watermark > ",
    ),
    (
        BlobUse::Prepared,
        "select replaces as id, blob_key, blob_offset, blob_length, digest from prepared_instance where replaces > ",
    ),
    (
        BlobUse::Trash,
        "select 0 as id, blob_key, 0 as blob_offset, blob_length, digest from trash where blob_key > ",
    ),
];

/// The blobs that a copy of an index names, some at a time.
#[derive(Debug)]
pub struct IndexCopy {
    connection: SqliteConnection,
    table: usize,
    after: i64,
    after_key: String,
}

impl IndexCopy {
    /// Opens a copy that [`snapshot`] made.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            connection: connect(path).await?,
            table: 0,
            after: 0,
            after_key: String::new(),
        })
    }

    /// The next blobs, `limit` at most; none at the end.
    ///
    /// # Errors
    /// When the copy cannot be read.
    pub async fn next_blobs(&mut self, limit: u32) -> Result<Vec<NamedBlob>> {
        let failed = failed::<Sqlite>("blobs of a copy of the index");
        while let Some((used, select)) = BLOBS.get(self.table).copied() {
            let mut sql = Statement::<Sqlite>::new(select);
            if used == BlobUse::Trash {
                sql.text(&self.after_key)
                    .push(" order by blob_key limit ")
                    .int(i64::from(limit));
            } else {
                sql.int(self.after)
                    .push(" order by id limit ")
                    .int(i64::from(limit));
            }
            let rows = sql.rows(&mut self.connection).await.map_err(&failed)?;
            let mut blobs = Vec::with_capacity(rows.len());
            for row in rows {
                self.after = row.int("id").map_err(&failed)?;
                let key = row.text("blob_key").map_err(&failed)?;
                self.after_key.clone_from(&key);
                let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
                let digest = row.opt_blob("digest").map_err(&failed)?;
                blobs.push(NamedBlob {
                    key,
                    used,
                    offset: number(row.opt_int("blob_offset").map_err(&failed)?).unwrap_or(0),
                    length: number(row.opt_int("blob_length").map_err(&failed)?),
                    digest: digest.and_then(|digest| digest.try_into().ok()),
                });
            }
            if !blobs.is_empty() {
                return Ok(blobs);
            }
            self.table = self.table.saturating_add(1);
            self.after = 0;
            self.after_key.clear();
        }
        Ok(Vec::new())
    }
}
