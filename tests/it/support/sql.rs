//! Statements on the index of a running server: what no request can bring about.

use sqlx::Connection;

use super::deployment::Deployment;

/// Runs a statement that reads the same in both dialects.
#[track_caller]
pub(crate) fn execute(server: &Deployment, statement: impl Into<String>) {
    let statement = sqlx::AssertSqlSafe(statement.into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let done = runtime.block_on(async {
        if let Some(url) = server.setting("STOWAGE_DATABASE_URL") {
            let mut connection = sqlx::PgConnection::connect(url).await?;
            sqlx::query(statement).execute(&mut connection).await?;
        } else {
            let url = format!("sqlite://{}", server.data().join("index.sqlite").display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await?;
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok::<_, sqlx::Error>(())
    });
    done.expect("the statement is one of the index");
}
