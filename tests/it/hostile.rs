//! Hostile input: a refusal with a reason, soon, with memory flat and nothing stored half.

mod bodies;
mod doors;
mod requests;

use std::io;
use std::time::{Duration, Instant};

use crate::support::http::Response;
use crate::support::server::Server;

/// How long the server may take over one attack.
const SOON: Duration = Duration::from_secs(5);
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
    server: &'a Server,
    attacks: u32,
    memory: u64,
}

impl<'a> Siege<'a> {
    fn new(server: &'a Server) -> Self {
        // The first requests fill caches and pools.
        let good = crate::support::dicom::Name::new(9999, 1, 1);
        server.store("/dicom-web", [&good.small()]).expect(200);
        server.get("/dicom-web/studies").expect(200);
        let memory = server.memory("VmRSS");
        server.reset_peak();
        Self {
            server,
            attacks: 0,
            memory,
        }
    }

    /// One attack; the machine may be busy, so the best of three counts for its time.
    #[track_caller]
    fn attack(&mut self, what: &str, verdict: Verdict, send: impl Fn() -> io::Result<Response>) {
        self.attacks += 1;
        for attempt in 1.. {
            let begun = Instant::now();
            let answer = send();
            let took = begun.elapsed();
            let answer = answer.unwrap_or_else(|error| panic!("{what}: no answer: {error}"));
            check(what, verdict, &answer);
            if took < SOON {
                return;
            }
            assert!(attempt < 3, "{what}: took {took:?}");
        }
    }

    /// Fails unless the server is as good as new.
    #[track_caller]
    fn end(self, instances: usize) -> u32 {
        let server = self.server;
        server.get("/health/check").expect(200);
        let (memory, peak) = (server.memory("VmRSS"), server.memory("VmHWM"));
        println!(
            "{} attacks, memory {} to {memory} KiB, peak {peak} KiB",
            self.attacks, self.memory
        );
        assert!(
            memory < self.memory + FLAT,
            "{} became {memory} KiB",
            self.memory
        );
        assert!(peak < self.memory + PEAK, "peak {peak} KiB");
        let found = server.get("/dicom-web/instances").expect(200).json();
        assert_eq!(found.as_array().map(Vec::len), Some(instances + 1));
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
        assert_eq!(server.blob_files().len(), instances + 1);
        assert!(!server.log().contains("panicked"), "{}", server.log());
        self.attacks
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
