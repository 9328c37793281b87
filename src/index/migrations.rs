//! The migrations of both databases, as they lie in `migrations/`.
//!
//! Invariant: a migration that was released never changes; sqlx compares its checksum with that of each existing database.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The migrations of `SQLite`.
pub(super) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

/// The migrations of Postgres.
pub(super) fn postgres() -> Migrator {
    migrator(POSTGRES)
}

fn migrator(files: &'static [(&'static str, &'static str)]) -> Migrator {
    Migrator::with_migrations(files.iter().filter_map(migration).collect())
}

/// `0001_some_words.sql` is version 1, "some words".
fn migration((name, sql): &(&'static str, &'static str)) -> Option<Migration> {
    let (version, words) = name.strip_suffix(".sql")?.split_once('_')?;
    Some(Migration::new(
        version.parse().ok()?,
        words.replace('_', " ").into(),
        MigrationType::Simple,
        sql.into_sql_str(),
        false,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version, description and the first bytes of the checksum, of what was released.
    type Released = (i64, &'static str, &'static str);

    const RELEASED_SQLITE: &[Released] = &[
        (1, "instances", "83ea377e3bb231e5270fda75"),
        (2, "names", "0073f6d241967cc3d81f873a"),
        (3, "feed", "71cb3032688864a519433edf"),
        (4, "trash", "fc3a65cbf9f5cf75dde00334"),
        (5, "query tags", "e76072aaa81374cace58ccc9"),
        (6, "leases", "18aaed2bbaddfeb71628e8c4"),
    ];

    const RELEASED_POSTGRES: &[Released] = &[
        (1, "instances", "590be6af804b98d109f30447"),
        (2, "names", "687799fc868666e64bc16b09"),
        (3, "feed", "481f708ba09bcc2ae10abb12"),
        (4, "trash", "ac031768942773c7877da2ce"),
        (5, "query tags", "97d5cf6a57230e2d00e89243"),
        (6, "leases", "97bb8ef754463fc614d88425"),
    ];

    #[test]
    fn released_migrations_keep_their_checksums() {
        for (migrator, released) in [(sqlite(), RELEASED_SQLITE), (postgres(), RELEASED_POSTGRES)] {
            let is = migrator.iter().take(released.len()).map(|migration| {
                let first = migration.checksum.iter().take(12);
                let checksum: String = first.map(|byte| format!("{byte:02x}")).collect();
                (
                    migration.version,
                    migration.description.to_string(),
                    checksum,
                )
            });
            let was = released.iter().map(|(version, words, checksum)| {
                (*version, (*words).to_owned(), (*checksum).to_owned())
            });
            assert_eq!(is.collect::<Vec<_>>(), was.collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_file_is_a_migration() {
        assert_eq!(sqlite().iter().count(), SQLITE.len());
        assert_eq!(postgres().iter().count(), POSTGRES.len());
    }
}
