//! The crash matrix: the real binary dies at each write step of store, delete, sweep and re-index, at each pass of it;
//! after the restart every promise holds, and `stowage fsck` says so.
//!
//! The steps are the fault points of `src/fault.rs`; a run that traces them tells which there are and how often each is
//! passed, so a point that is never reached fails the test. `STOWAGE_TEST_CRASH_ROUNDS=8` repeats the matrix with
//! several clients at once.

mod life;
pub(crate) mod points;

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::support::dicom::Name;
use crate::support::postgres;
use crate::support::server::Server;
use crate::support::sql::execute;
use life::Life;

/// Servers that crash at the same time.
const WORKERS: usize = 4;

fn rounds() -> u32 {
    std::env::var("STOWAGE_TEST_CRASH_ROUNDS").map_or(1, |text| {
        text.parse().expect("STOWAGE_TEST_CRASH_ROUNDS is a number")
    })
}

/// Which database a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    /// A server on a fresh database; none where there is no Postgres.
    pub(crate) fn server(self, settings: &[(&str, &str)]) -> Option<Server> {
        match self {
            Self::Sqlite => Some(Server::with(settings)),
            Self::Postgres => {
                let url = fresh_postgres()?;
                let own = [("STOWAGE_DATABASE_URL", url.as_str())];
                Some(Server::with(&[settings, &own].concat()))
            }
        }
    }
}

fn fresh_postgres() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime can be made")
        .block_on(postgres::database())
}

/// Small parts go through memory, larger ones through the spool.
const SETTINGS: [(&str, &str); 2] = [
    ("STOWAGE_PART_MEMORY_BYTES", "20000"),
    ("STOWAGE_SWEEP_SECONDS", "3600"),
];

/// How often each point is passed between two moments of a server.
fn trace(server: &mut Server, work: impl FnOnce(&mut Server)) -> BTreeMap<String, u32> {
    let file = server.data().join("trace");
    let path = file.to_str().expect("a plain path").to_owned();
    server.set("STOWAGE_FAULT_TRACE", Some(&path));
    server.kill();
    server.wait();
    server.restart();
    work(server);
    server.set("STOWAGE_FAULT_TRACE", None);
    count(&std::fs::read_to_string(&file).unwrap_or_default())
}

fn count(trace: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let own = |point: &&str| !points::TASKS.contains(point);
    for point in trace.lines().filter(own) {
        *counts.entry(point.to_owned()).or_default() += 1;
    }
    counts
}

/// Runs pieces of work on a few threads; each gets its points one after the other.
pub(crate) fn in_parallel<T: Send>(work: Vec<T>, run: impl Fn(T) -> u32 + Sync) -> u32 {
    let queue = Mutex::new(VecDeque::from(work));
    let crashes = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").pop_front();
                    let Some(next) = next else { return };
                    crashes.fetch_add(run(next), Ordering::Relaxed);
                }
            });
        }
    });
    crashes.into_inner()
}

/// Fails unless the process ended at its fault point.
#[track_caller]
pub(crate) fn expect_crash(server: &mut Server, fault: &str) {
    let status = server.wait();
    // SIGABRT: what `std::process::abort` raises.
    assert_eq!(
        status.signal(),
        Some(6),
        "{fault}: {status}\n{}",
        server.log()
    );
}

#[test]
fn a_crash_at_any_step_of_store_and_delete_leaves_everything_whole_on_sqlite() {
    store_and_delete(Database::Sqlite);
}

#[test]
fn a_crash_at_any_step_of_store_and_delete_leaves_everything_whole_on_postgres() {
    store_and_delete(Database::Postgres);
}

fn store_and_delete(database: Database) {
    let mut crashes = 0;
    for round in 0..rounds() {
        let clients = if round == 0 { 1 } else { 3 };
        let Some(mut server) = database.server(&SETTINGS) else {
            return;
        };
        let mut life = Life::new(clients);
        let counts = trace(&mut server, |server| {
            assert!(life.work(server), "nothing is armed");
        });
        life.check(&server);
        drop(server);
        points::expect_all(points::STORE_AND_DELETE, &counts);
        let work: Vec<(String, u32)> = counts.into_iter().collect();
        crashes += in_parallel(work, |(point, passes)| {
            crash_at(database, clients, &point, passes)
        });
    }
    println!("{database:?}: {crashes} crashes in store and delete, nothing lost");
    assert!(crashes >= 60 * rounds(), "only {crashes} crashes");
}

/// One server dies at each pass of a point, again and again on the same data.
fn crash_at(database: Database, clients: u32, point: &str, passes: u32) -> u32 {
    let mut settings = SETTINGS.to_vec();
    let first = format!("{point}:1");
    settings.push(("STOWAGE_FAULT", &first));
    let Some(mut server) = database.server(&settings) else {
        return 0;
    };
    let mut life = Life::new(clients);
    let mut crashes = 0;
    for pass in 1..=passes {
        if life.work(&server) {
            // The parts of a request are written side by side, and several clients' commits are grouped: the last passes
            // of a point may be fewer than those that were traced.
            assert!(pass > 1, "{point} was not reached");
            server.kill();
            server.wait();
        } else {
            expect_crash(&mut server, point);
            crashes += 1;
        }
        let said = server.fsck();
        life.check_orphans(&said);
        let next = format!("{point}:{}", pass + 1);
        server.set("STOWAGE_FAULT", Some(&next));
        server.restart();
        life.check(&server);
    }
    // What the crashes left behind can be cleared away, and nothing else goes with it.
    let mended = server.command(&["fsck", "--repair", "--young-seconds", "0"]);
    assert!(mended.status.success());
    assert!(server.fsck().contains(" 0 blobs without a row"));
    life.check(&server);
    crashes
}

#[test]
fn a_crash_at_any_step_of_the_sweeper_leaves_everything_whole_on_sqlite() {
    sweep(Database::Sqlite);
}

#[test]
fn a_crash_at_any_step_of_the_sweeper_leaves_everything_whole_on_postgres() {
    sweep(Database::Postgres);
}

fn sweep(database: Database) {
    let mut crashes = 0;
    for _ in 0..rounds() {
        let work = [
            ("sweep.listed", 1),
            ("sweep.claimed", 1),
            ("blob.removed", 1),
            ("blob.removed", 2),
            ("blob.removed", 3),
            ("sweep.removed", 1),
            ("sweep.forgotten", 1),
        ];
        crashes += in_parallel(work.to_vec(), |(point, pass)| {
            let Some(mut server) = database.server(&SETTINGS) else {
                return 0;
            };
            let mut life = Life::new(1);
            assert!(life.work(&server), "nothing is armed");
            server.kill();
            server.wait();
            let fault = format!("{point}:{pass}");
            // What died would keep others from sweeping for a while.
            forget_leases(&server);
            server.set("STOWAGE_TRASH_HOURS", Some("0"));
            server.set("STOWAGE_FAULT", Some(&fault));
            // The sweeper runs at once.
            server.restart_to_die();
            expect_crash(&mut server, &fault);
            server.fsck();
            forget_leases(&server);
            server.set("STOWAGE_FAULT", None);
            server.set("STOWAGE_SWEEP_SECONDS", Some("1"));
            server.restart();
            life.check(&server);
            life.wait_until_swept(&server);
            life.check(&server);
            server.fsck();
            1
        });
    }
    println!("{database:?}: {crashes} crashes of the sweeper, nothing lost");
}

/// Lets the next process sweep at once.
pub(crate) fn forget_leases(server: &Server) {
    execute(server, "delete from lease");
}

#[test]
fn a_crash_at_any_step_of_reindex_is_mended_by_the_next_one_on_sqlite() {
    reindex(Database::Sqlite);
}

#[test]
fn a_crash_at_any_step_of_reindex_is_mended_by_the_next_one_on_postgres() {
    reindex(Database::Postgres);
}

/// Takes the whole index away.
fn lose_index(server: &mut Server, database: Database) {
    match database {
        Database::Sqlite => {
            for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
                let _ = std::fs::remove_file(server.data().join(file));
            }
        }
        Database::Postgres => {
            let url = fresh_postgres().expect("there was a Postgres before");
            server.set("STOWAGE_DATABASE_URL", Some(&url));
        }
    }
}

fn reindex(database: Database) {
    let mut crashes = 0;
    for _ in 0..rounds() {
        crashes += in_parallel(points::REINDEX.to_vec(), |point| {
            let Some(mut server) = database.server(&SETTINGS) else {
                return 0;
            };
            let mut life = Life::new(1);
            life.store_only(&server);
            server.kill();
            server.wait();
            lose_index(&mut server, database);
            let fault = format!("{point}:1");
            let died = server.command_with(&[("STOWAGE_FAULT", &fault)], &["reindex"]);
            assert_eq!(died.status.signal(), Some(6), "{fault}: {}", died.status);
            server.fsck();
            let done = server.command(&["reindex"]);
            assert!(done.status.success(), "{fault}");
            let said = server.fsck();
            assert!(said.contains(" 0 blobs without a row"), "{fault}: {said}");
            server.restart();
            life.forget_feed();
            life.check(&server);
            1
        });
    }
    println!("{database:?}: {crashes} crashes of reindex, nothing lost");
}

#[test]
fn a_crash_at_any_step_of_mending_leaves_everything_whole() {
    let work: Vec<_> = [Database::Sqlite, Database::Postgres]
        .into_iter()
        .flat_map(|database| points::HEAL.iter().map(move |point| (database, *point)))
        .collect();
    let crashes = in_parallel(work, |(database, point)| {
        let Some(mut server) = database.server(&SETTINGS) else {
            return 0;
        };
        let name = Name::new(1, 1, 1);
        let file = name.with_bulk(2000);
        server.store("/dicom-web", [&file]).expect(200);
        for blob in server.blob_files() {
            std::fs::remove_file(blob).unwrap();
        }
        let fault = format!("{point}:1");
        server.set("STOWAGE_FAULT", Some(&fault));
        server.kill();
        server.wait();
        server.restart();
        let request = server
            .request("POST", "/dicom-web/studies")
            .header("Content-Type", "application/dicom")
            .accept("application/dicom+json")
            .body(file.bytes.clone());
        assert!(request.try_send().is_err(), "{fault}");
        expect_crash(&mut server, &fault);
        server.set("STOWAGE_FAULT", None);
        server.restart();
        server.store("/dicom-web", [&file]).expect(200);
        assert!(server.stored(&name).as_ref() == Some(&file.bytes));
        let found = server.get("/dicom-web/instances").expect(200).json();
        assert_eq!(found.as_array().map(Vec::len), Some(1));
        server.fsck();
        1
    });
    println!("{crashes} crashes while an instance was mended, nothing lost");
}

#[test]
fn a_crash_at_any_step_of_indexing_a_tag_is_taken_up_again_on_sqlite() {
    index_tag(Database::Sqlite);
}

#[test]
fn a_crash_at_any_step_of_indexing_a_tag_is_taken_up_again_on_postgres() {
    index_tag(Database::Postgres);
}

fn index_tag(database: Database) {
    let mut crashes = 0;
    for _ in 0..rounds() {
        crashes += in_parallel(points::TAGS.to_vec(), |point| {
            let fault = format!("{point}:1");
            let mut settings = SETTINGS.to_vec();
            settings.push(("STOWAGE_FAULT", &fault));
            let Some(mut server) = database.server(&settings) else {
                return 0;
            };
            let mut life = Life::new(1);
            life.store_only(&server);
            // The answer may come before the crash: the work goes on behind it.
            let _ = life.add_tag(&server);
            expect_crash(&mut server, &fault);
            server.fsck();
            server.set("STOWAGE_FAULT", None);
            server.restart();
            life.wait_for_tag(&server);
            life.check(&server);
            server.fsck();
            1
        });
    }
    println!("{database:?}: {crashes} crashes while a tag was indexed, nothing lost");
}
