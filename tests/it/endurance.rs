//! Mixed load on each database: stores, searches, metadata, frames, whole instances and deletes of several clients.
//!
//! No error but those that were asked for, memory that does not grow, no file or connection left over, and a clean check
//! at the end. `STOWAGE_TEST_LOAD_MINUTES=30` makes it as long as a proof needs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, Syntax};

use crate::support::dicom::{Name, noise};
use crate::support::server::{Server, on_postgres_with, wait_until};

const CLIENTS: u32 = 4;
/// Instances a client keeps.
const KEPT: usize = 60;
const FRAME: usize = 64 * 64;

fn length() -> Duration {
    let minutes = std::env::var("STOWAGE_TEST_LOAD_MINUTES").map_or(0.1, |text| {
        text.parse::<f64>()
            .expect("STOWAGE_TEST_LOAD_MINUTES is a number")
    });
    Duration::from_secs_f64(minutes * 60.0)
}

fn file(name: &Name) -> BuiltFile {
    let data_set = name.image(64, 64, 8, 4).bytes(
        Tag(0x7FE0, 0x0010),
        VR::OB,
        noise(&name.instance, 4 * FRAME),
    );
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// The caches are small, so that they are full soon and do not hide what grows beside them.
const SETTINGS: [(&str, &str); 6] = [
    ("STOWAGE_SQLITE_CACHE_BYTES", "4000000"),
    ("STOWAGE_FRAME_CACHE_BYTES", "4000000"),
    ("STOWAGE_METADATA_CACHE_BYTES", "4000000"),
    ("STOWAGE_TRASH_HOURS", "0"),
    ("STOWAGE_SWEEP_SECONDS", "1"),
    ("STOWAGE_SCRUB_HOURS", "0.01"),
];

#[test]
fn mixed_load_leaves_nothing_behind_on_sqlite() {
    leaves_nothing_behind(&Server::with(&SETTINGS));
}

#[test]
fn mixed_load_leaves_nothing_behind_on_postgres() {
    on_postgres_with(&SETTINGS, |server| leaves_nothing_behind(server));
}

fn leaves_nothing_behind(server: &Server) {
    let stop = AtomicBool::new(false);
    let requests = AtomicU64::new(0);
    let begun = Instant::now();
    let files = server.open_files();
    let mut samples = Vec::new();
    let mut kept = 0;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (stop, requests) = (&stop, &requests);
                scope.spawn(move || run(server, client, stop, requests))
            })
            .collect();
        while begun.elapsed() < length() {
            thread::park_timeout(Duration::from_millis(500));
            let memory = server.memory("RssAnon");
            samples.push((
                begun.elapsed().as_secs_f64() / 60.0,
                memory,
                server.open_files(),
            ));
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            kept += client.join().expect("a client met an error");
        }
    });
    wait_until("the sweeper is done", || server.blob_files().len() == kept);
    let said = server.fsck();
    assert!(said.contains(" 0 blobs without a row"), "{said}");
    for line in server.log().lines() {
        assert!(
            !line.contains(" ERROR ") && !line.contains("panicked"),
            "{line}"
        );
    }
    judge(server, &samples, files, requests.into_inner());
}

/// Stores, uses and deletes instances of its own until it is told to stop; returns how many are left.
fn run(server: &Server, client: u32, stop: &AtomicBool, requests: &AtomicU64) -> usize {
    let mut kept: VecDeque<Name> = VecDeque::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = Name::new(client * 100 + number / 20 % 5 + 1, number % 3 + 1, number);
        let sent = file(&name);
        server.store("/dicom-web", [&sent]).expect(200);
        let found = server
            .get(&format!(
                "/dicom-web/instances?StudyInstanceUID={}&SOPInstanceUID={}",
                name.study, name.instance
            ))
            .expect(200)
            .json();
        assert_eq!(found.as_array().map(Vec::len), Some(1));
        let frame = format!("/dicom-web{}/frames/3", name.path());
        let frame = server
            .get_as(&frame, "application/octet-stream")
            .expect(200);
        assert!(frame.body == noise(&name.instance, 4 * FRAME)[2 * FRAME..3 * FRAME]);
        let path = format!("/dicom-web{}", name.path());
        server
            .get_as(&format!("{path}/rendered"), "image/jpeg")
            .expect(200);
        server.get(&format!("{path}/metadata")).expect(200);
        assert!(server.stored(&name) == Some(sent.bytes));
        server
            .get("/dicom-web/studies?limit=5&includefield=ModalitiesInStudy")
            .expect(200);
        // Asked for: what does not exist.
        server.get(&format!("{path}9/metadata")).expect(404);
        requests.fetch_add(8, Ordering::Relaxed);
        kept.push_back(name);
        if kept.len() > KEPT
            && let Some(oldest) = kept.pop_front()
        {
            let target = format!("/dicom-web{}", oldest.path());
            server.request("DELETE", &target).send().expect(204);
            requests.fetch_add(1, Ordering::Relaxed);
        }
    }
    kept.len()
}

/// Memory and files over time; the first third, in which caches fill, does not count.
fn judge(server: &Server, samples: &[(f64, u64, usize)], files: usize, requests: u64) {
    let late = &samples[samples.len() / 3..];
    let slope = slope(late);
    let (first, last) = (samples.first(), samples.last());
    let most = samples.iter().map(|sample| sample.2).max().unwrap_or(0);
    for sample in samples.iter().step_by(600) {
        println!("{:.0} minutes: {} KiB", sample.0, sample.1);
    }
    println!(
        "{requests} requests in {:.1} minutes; memory {} to {} KiB, {slope:.0} KiB a minute; files {files}, at most {most}, \
         at the end {}",
        last.map_or(0.0, |sample| sample.0),
        first.map_or(0, |sample| sample.1),
        last.map_or(0, |sample| sample.1),
        server.open_files()
    );
    // A short run sees nothing but caches that fill.
    if length() >= Duration::from_secs(600) {
        assert!(slope < 512.0, "memory grows by {slope:.0} KiB a minute");
    }
    assert!(last.is_some_and(|sample| sample.1 < 200 * 1024));
    wait_until("files and sockets are closed", || {
        server.open_files() <= files + 30
    });
}

/// KiB a minute by least squares.
#[expect(clippy::cast_precision_loss, reason = "KiB of a process fit")]
fn slope(samples: &[(f64, u64, usize)]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = |of: &dyn Fn(&(f64, u64, usize)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(&|s| s.0), mean(&|s| s.1 as f64));
    let above: f64 = samples
        .iter()
        .map(|s| (s.0 - time) * (s.1 as f64 - memory))
        .sum();
    let below: f64 = samples.iter().map(|s| (s.0 - time).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}
