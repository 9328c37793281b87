//! The statements a person would write for the measured shapes, run through the same driver with the same settings.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{Executor, Row};

use crate::Outcome;

/// A database without the index in front of it.
pub(crate) enum Bare {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What is bound to a statement, in order.
#[derive(Clone)]
pub(crate) enum Bind {
    Int(i64),
    Text(String),
}

/// A page and the number of rows behind it.
pub(crate) struct Question {
    pub(crate) page: Sql,
    /// Its last value is the id of the last row of the page.
    pub(crate) count: Sql,
    pub(crate) binds: Vec<Bind>,
}

/// A statement in both dialects.
#[derive(Clone, Copy)]
pub(crate) struct Sql {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// What is known of a stored study, to ask for it.
pub(crate) struct Known {
    pub(crate) uid: String,
    pub(crate) patient_id: String,
    pub(crate) accession: String,
    pub(crate) date: String,
    pub(crate) modality: String,
    pub(crate) name: String,
}

/// As the index sets up its connections.
const SESSION: &str =
    "set plan_cache_mode = force_custom_plan; set jit = off; set random_page_cost = 1.1";

impl Bare {
    pub(crate) async fn open(url: &str) -> Outcome<Self> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .read_only(true)
                .pragma("temp_store", "memory")
                .pragma("cache_size", "-16384")
                .pragma("mmap_size", "268435456");
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .test_before_acquire(false);
            return Ok(Self::Sqlite(pool.connect_with(options).await?));
        }
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) })
            });
        let options = PgConnectOptions::from_str(url)?;
        Ok(Self::Postgres(pool.connect_with(options).await?))
    }

    /// How many studies there are.
    pub(crate) async fn studies(&self) -> Outcome<i64> {
        let sql = "select count(*) from study";
        Ok(match self {
            Self::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
        })
    }

    /// The study with this place in the order of results, counted from the oldest.
    pub(crate) async fn study(&self, place: i64) -> Outcome<Known> {
        let sql = "select study_uid, patient_id, accession_number, study_date, modalities, attributes from study \
                   where id >= $1 order by id limit 1";
        match self {
            Self::Sqlite(pool) => known(&sqlx::query(sql).bind(place).fetch_one(pool).await?),
            Self::Postgres(pool) => known(&sqlx::query(sql).bind(place).fetch_one(pool).await?),
        }
    }

    /// Answers a question; returns how many rows came back.
    pub(crate) async fn ask(&self, question: &Question) -> Outcome<usize> {
        let rows = match self {
            Self::Sqlite(pool) => {
                let mut query = sqlx::query(question.page.sqlite);
                for bind in &question.binds {
                    query = match bind {
                        Bind::Int(value) => query.bind(*value),
                        Bind::Text(value) => query.bind(value.clone()),
                    };
                }
                let rows = query.fetch_all(pool).await?;
                let last = rows.iter().try_fold(0, |_, row| read(row))?;
                if rows.len() > 100 {
                    let mut query = sqlx::query(question.count.sqlite);
                    for bind in &question.binds {
                        query = match bind {
                            Bind::Int(value) => query.bind(*value),
                            Bind::Text(value) => query.bind(value.clone()),
                        };
                    }
                    query.bind(last).fetch_all(pool).await?;
                }
                rows.len()
            }
            Self::Postgres(pool) => {
                let mut query = sqlx::query(question.page.postgres);
                for bind in &question.binds {
                    query = match bind {
                        Bind::Int(value) => query.bind(*value),
                        Bind::Text(value) => query.bind(value.clone()),
                    };
                }
                let rows = query.fetch_all(pool).await?;
                let last = rows.iter().try_fold(0, |_, row| read(row))?;
                if rows.len() > 100 {
                    let mut query = sqlx::query(question.count.postgres);
                    for bind in &question.binds {
                        query = match bind {
                            Bind::Int(value) => query.bind(*value),
                            Bind::Text(value) => query.bind(value.clone()),
                        };
                    }
                    query.bind(last).fetch_all(pool).await?;
                }
                rows.len()
            }
        };
        Ok(rows.min(100))
    }
}

fn known<R: Row>(row: &R) -> Outcome<Known>
where
    for<'r> String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    usize: sqlx::ColumnIndex<R>,
{
    let attributes: serde_json::Value = serde_json::from_str(&row.try_get::<String, _>(5)?)?;
    let name = &attributes["00100010"]["Value"][0]["Alphabetic"];
    Ok(Known {
        uid: row.try_get(0)?,
        patient_id: row.try_get(1)?,
        accession: row.try_get(2)?,
        date: row.try_get(3)?,
        modality: row.try_get(4)?,
        name: name.as_str().unwrap_or_default().to_owned(),
    })
}

/// Reads what an answer needs of a row; returns its id.
fn read<R: Row>(row: &R) -> Result<i64, sqlx::Error>
where
    for<'r> i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'r> String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    usize: sqlx::ColumnIndex<R>,
{
    for text in 1..=3 {
        let _: String = row.try_get(text)?;
    }
    for number in 4..=5 {
        let _: i64 = row.try_get(number)?;
    }
    row.try_get(0)
}
