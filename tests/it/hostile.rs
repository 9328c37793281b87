//! Hostile input: a refusal with a reason, with memory flat and nothing stored half. That the work is no more than what was
//! sent is counted by `tests/cost`.

mod bodies;
mod doors;
mod requests;

use std::io;

use crate::support::deployment::Deployment;
use crate::support::http::Response;
use crate::support::server::Server;

/// How much memory all attacks together may leave the server with, in KiB.
const FLAT: u64 = 64 * 1024;
/// How much memory it may take meanwhile, in KiB.
const PEAK: u64 = 128 * 1024;

/// What an attack must meet with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// A 4xx; a store report names a reason and a comment for each instance.
    Refused,
    /// Anything but a failure of the server.
    Survived,
}

/// Attacks a server one by one and looks after it.
struct Siege<'a> {
    server: &'a Deployment,
    process: Option<Process<'a>>,
    attacks: u32,
}

/// A server whose memory and log are looked at too.
struct Process<'a> {
    server: &'a Server,
    /// What it had before the attacks, in KiB.
    memory: u64,
}

impl<'a> Siege<'a> {
    fn new(server: &'a Deployment) -> Self {
        // The first requests fill caches and pools.
        let good = crate::support::dicom::Name::new(9999, 1, 1);
        server.store("/dicom-web", [&good.small()]).expect(200);
        server.get("/dicom-web/studies").expect(200);
        Self {
            server,
            process: None,
            attacks: 0,
        }
    }

    fn of_process(server: &'a Server) -> Self {
        let siege = Self::new(server);
        let memory = server.memory("VmRSS");
        server.reset_peak();
        Self {
            process: Some(Process { server, memory }),
            ..siege
        }
    }

    /// One attack.
    #[track_caller]
    fn attack(&mut self, what: &str, verdict: Verdict, send: impl Fn() -> io::Result<Response>) {
        self.attacks += 1;
        let answer = send().unwrap_or_else(|error| panic!("{what}: no answer: {error}"));
        check(what, verdict, &answer);
    }

    /// Fails unless the server is as good as new.
    #[track_caller]
    fn end(self, instances: usize) -> u32 {
        let server = self.server;
        server.get("/health/check").expect(200);
        if let Some(process) = &self.process {
            process.check();
        }
        println!("{} attacks", self.attacks);
        let found = server.get("/dicom-web/instances").expect(200).json();
        assert_eq!(found.as_array().map(Vec::len), Some(instances + 1));
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
        assert_eq!(server.blob_files().len(), instances + 1);
        let metrics = server.get("/metrics").expect(200).text();
        let restarts = metrics
            .lines()
            .filter(|line| line.starts_with("stowage_task_restarts_total{"));
        let restarts: Vec<&str> = restarts.collect();
        assert!(!restarts.is_empty(), "{metrics}");
        assert!(restarts.iter().all(|l| l.ends_with(" 0")), "{restarts:?}");
        self.attacks
    }
}

impl Process<'_> {
    #[track_caller]
    fn check(&self) {
        let (memory, peak) = (self.server.memory("VmRSS"), self.server.memory("VmHWM"));
        println!("memory {} to {memory} KiB, peak {peak} KiB", self.memory);
        assert!(memory < self.memory + FLAT, "{} to {memory}", self.memory);
        assert!(peak < self.memory + PEAK, "peak {peak} KiB");
        let log = self.server.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[track_caller]
fn check(what: &str, verdict: Verdict, answer: &Response) {
    let text = answer.text();
    assert!(answer.status < 500, "{what}: {} {text}", answer.status);
    if verdict == Verdict::Survived {
        return;
    }
    assert!(
        (400..500).contains(&answer.status),
        "{what}: {} {text}",
        answer.status
    );
    if answer.status != 409 {
        return;
    }
    let report = answer.json();
    for sequence in ["00081198", "0008119A"] {
        for item in report[sequence]["Value"].as_array().into_iter().flatten() {
            assert!(item["00081197"]["Value"][0].is_u64(), "{what}: {text}");
            let comment = &item["00741048"]["Value"][0]["00000902"]["Value"][0];
            let sound = comment.as_str().is_some_and(|comment| !comment.is_empty());
            assert!(sound, "{what}: {text}");
        }
    }
}
