//! Moving an index from one database to another, and comparing two.
//!
//! Invariants: the copy is one transaction of the target, committed only after what can be read there was compared with
//! what was read here, so a move that is broken off leaves the target empty and is simply started again; numbers given
//! out here are never given out again there; memory does not grow with the index.

mod counters;
mod row;
mod tables;

use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::{Postgres, Sqlite};

use super::error::IndexError;
use super::model::Result;
use super::options::IndexOptions;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::{postgres, sqlite};
use counters::{Counters, Moves};
use row::TransferValue;
use tables::{TABLES, Table};

pub use row::Sum;

/// Bytes of rows gathered for one insert.
const GATHERED: usize = 4 << 20;

/// A table that was moved or compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Its name.
    pub table: &'static str,
    /// What the old database holds.
    pub from: Sum,
    /// What the new database holds.
    pub to: Sum,
}

impl Moved {
    /// Whether both hold the same rows.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.from == self.to
    }
}

/// Whether rows are copied before they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferMode {
    /// They are copied into an index that must be empty.
    Copy,
    /// As [`Self::Copy`], of one moment of the old index, while others go on writing to it.
    Snapshot,
    /// They are compared only.
    Compare,
}

enum OpenedIndex {
    Sqlite(SqlIndex<Sqlite>),
    Postgres(SqlIndex<Postgres>),
}

async fn open(url: &str, options: &IndexOptions) -> Result<OpenedIndex> {
    match url.split_once(':') {
        Some(("sqlite", rest)) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            Ok(OpenedIndex::Sqlite(
                sqlite::open(Path::new(path), options).await?,
            ))
        }
        Some(("postgres" | "postgresql", _)) => {
            Ok(OpenedIndex::Postgres(postgres::open(url, options).await?))
        }
        _ => Err(refused("its URL must begin with sqlite:// or postgres://")),
    }
}

fn refused(reason: &str) -> IndexError {
    IndexError::Open {
        reason: reason.to_owned(),
    }
}

/// Copies every row of one index into another, or only compares them; `told` hears of rows as they are read.
///
/// While it runs nobody else can write to either, but for [`TransferMode::Snapshot`] to the old one. The copy counts only when
/// both agree.
///
/// # Errors
/// [`IndexError::Open`] when there is nothing at `from`, `to` is not empty, or both are the same; else what the databases
/// met.
pub async fn transfer(
    from: &str,
    to: &str,
    how: TransferMode,
    options: &IndexOptions,
    reported: &mut (dyn FnMut(&'static str, u64) + Send),
) -> Result<Vec<Moved>> {
    if from == to {
        return Err(refused("the index cannot be moved to where it is"));
    }
    if let Some(path) = from.strip_prefix("sqlite:")
        && !Path::new(path.strip_prefix("//").unwrap_or(path)).exists()
    {
        return Err(refused("there is no file to move it from"));
    }
    // What is empty is not moved, and nothing is made in it.
    let there = IndexOptions {
        make: false,
        ..options.clone()
    };
    match (open(from, &there).await?, open(to, options).await?) {
        (OpenedIndex::Sqlite(from), OpenedIndex::Sqlite(to)) => {
            run(&from, &to, how, reported).await
        }
        (OpenedIndex::Sqlite(from), OpenedIndex::Postgres(to)) => {
            run(&from, &to, how, reported).await
        }
        (OpenedIndex::Postgres(from), OpenedIndex::Sqlite(to)) => {
            run(&from, &to, how, reported).await
        }
        (OpenedIndex::Postgres(from), OpenedIndex::Postgres(to)) => {
            run(&from, &to, how, reported).await
        }
    }
}

async fn run<S: Moves, T: Moves>(
    from: &SqlIndex<S>,
    to: &SqlIndex<T>,
    how: TransferMode,
    reported: &mut (dyn FnMut(&'static str, u64) + Send),
) -> Result<Vec<Moved>> {
    let read = failed::<S>("a move out of it");
    let write = failed::<T>("a move into it");
    let mut source = if how == TransferMode::Snapshot {
        S::begin_snapshot(&from.writers).await.map_err(&read)?
    } else {
        let mut source = S::begin_write(&from.writers).await.map_err(&read)?;
        S::hold(&mut source).await.map_err(&read)?;
        source
    };
    let mut target = T::begin_write(&to.writers).await.map_err(&write)?;
    T::hold(&mut target).await.map_err(&write)?;
    if how != TransferMode::Compare {
        must_be_empty::<T>(&mut target).await?;
    }
    let mut moved = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let sum = match how {
            TransferMode::Copy | TransferMode::Snapshot => {
                copy::<S, T>(table, &mut source, &mut target, reported).await?
            }
            TransferMode::Compare => sum::<S>(table, &mut source, reported).await?,
        };
        moved.push(Moved {
            table: table.name,
            from: sum,
            to: sum_of_target::<T>(table, &mut target).await?,
        });
    }
    if how != TransferMode::Compare && moved.iter().all(Moved::agrees) {
        let given: Counters = S::counters(&mut source).await.map_err(&read)?;
        T::raise(&mut target, given).await.map_err(&write)?;
        target.commit().await.map_err(&write)?;
        let mut connection = to.writers.acquire().await.map_err(&write)?;
        let analyze = Statement::<T>::new(T::ANALYZE).run(&mut connection);
        analyze.await.map_err(&write)?;
    } else {
        target.rollback().await.map_err(&write)?;
    }
    source.rollback().await.map_err(&read)?;
    Ok(moved)
}

async fn must_be_empty<T: Dialect>(target: &mut T::Connection) -> Result<()> {
    // Each index has the default partition from the start; the one that is copied says when it was made.
    let made = Statement::<T>::new("delete from data_partition where id = 1").run(target);
    made.await.map_err(failed::<T>("data_partition"))?;
    for table in TABLES {
        let row = Statement::<T>::new(table.any).row(target).await;
        if row.map_err(failed::<T>("a move into it"))?.is_some() {
            return Err(IndexError::Open {
                reason: format!(
                    "it has rows already (in {}): an index is moved into an empty database only",
                    table.name
                ),
            });
        }
    }
    Ok(())
}

/// Copies a table; returns what was read.
async fn copy<S: Dialect, T: Dialect>(
    table: &Table,
    source: &mut S::Connection,
    target: &mut T::Connection,
    reported: &mut (dyn FnMut(&'static str, u64) + Send),
) -> Result<Sum> {
    let read = failed::<S>(table.name);
    let mut select = Statement::<S>::new(table.select);
    let mut rows = select.stream(source);
    let mut sum = Sum::default();
    let most = (T::MAX_BINDS / table.columns.len()).max(1);
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(&read)? {
        let row = row::values(table, &row).map_err(&read)?;
        sum.add(&row);
        bytes += row::weight(&row);
        gathered.push(row);
        if gathered.len() >= most || bytes >= GATHERED {
            insert::<T>(table, &gathered, target).await?;
            reported(table.name, gathered.len() as u64);
            gathered.clear();
            bytes = 0;
        }
    }
    if !gathered.is_empty() {
        insert::<T>(table, &gathered, target).await?;
        reported(table.name, gathered.len() as u64);
    }
    Ok(sum)
}

async fn insert<T: Dialect>(
    table: &Table,
    rows: &[Vec<TransferValue>],
    target: &mut T::Connection,
) -> Result<()> {
    let mut statement = Statement::<T>::new(table.insert);
    statement.values(rows, |statement, row| {
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                statement.push(", ");
            }
            value.bind(statement);
        }
    });
    let inserted = statement.run(target).await;
    inserted.map(drop).map_err(failed::<T>(table.name))
}

async fn sum_of_target<T: Dialect>(table: &Table, target: &mut T::Connection) -> Result<Sum> {
    sum::<T>(table, target, &mut |_, _| {}).await
}

/// What a table holds.
async fn sum<D: Dialect>(
    table: &Table,
    connection: &mut D::Connection,
    reported: &mut (dyn FnMut(&'static str, u64) + Send),
) -> Result<Sum> {
    let read = failed::<D>(table.name);
    let mut select = Statement::<D>::new(table.select);
    let mut rows = select.stream(connection);
    let mut sum = Sum::default();
    while let Some(row) = rows.try_next().await.map_err(&read)? {
        sum.add(&row::values(table, &row).map_err(&read)?);
        reported(table.name, 1);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::row_columns::RowColumns;
    use super::*;

    #[tokio::test]
    async fn every_column_of_every_table_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        let index = sqlite::open(&path, &IndexOptions::default()).await.unwrap();
        let mut connection = index.readers.take().await.unwrap();
        let columns = Statement::<Sqlite>::new(
            "select m.name as tbl, c.name as col from sqlite_master as m join pragma_table_info(m.name) as c \
             where m.type = 'table' and m.name not like 'sqlite!_%' escape '!' \
             and m.name not like 'study_name_trigram%' and m.name not in ('lease', '_sqlx_migrations', 'statistic')",
        );
        let mut there: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in columns.rows(&mut connection).await.unwrap() {
            let columns = there.entry(row.text("tbl").unwrap()).or_default();
            columns.push(row.text("col").unwrap());
        }
        let moved = TABLES.iter().map(|table| {
            let columns = table.columns.iter().map(|c| c.name.to_owned());
            (table.name.to_owned(), columns.collect())
        });
        assert_eq!(there, moved.collect());
    }
}
