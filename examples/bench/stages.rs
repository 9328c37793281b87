//! Where the time of a store goes: the server's own times of its stages, from `/metrics`.

use std::fmt::Write;
use std::io::Result;

use crate::client::{Base, fetch};
use crate::table;

/// The stages in the order an instance passes them.
const STAGES: [&str; 5] = ["spool", "walk", "write", "settle", "commit"];

/// Times of the stages of one server, from the moment this is made.
pub(crate) struct Stages {
    base: Base,
    begin: [Passed; STAGES.len()],
}

/// How often a stage was passed, and for how many seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Passed {
    times: f64,
    seconds: f64,
}

impl Stages {
    pub(crate) fn begin(server: &Base) -> Result<Self> {
        let base = Base {
            prefix: String::new(),
            ..server.clone()
        };
        let begin = read(&base)?;
        Ok(Self { base, begin })
    }

    /// Prints the mean time of each stage that was passed.
    pub(crate) fn print(&self) -> Result<()> {
        let mut text = String::from("| stages of the row above, mean ms each:");
        for (stage, (begin, end)) in STAGES.iter().zip(self.begin.iter().zip(read(&self.base)?)) {
            let times = end.times - begin.times;
            if times > 0.0 {
                let ms = (end.seconds - begin.seconds) / times * 1000.0;
                // Writing to a String cannot fail.
                let _ = write!(text, " {stage} {ms:.2} ({times:.0})");
            }
        }
        table::note(&(text + " |"))
    }
}

fn read(base: &Base) -> Result<[Passed; STAGES.len()]> {
    let (_, body) = fetch(base, "/metrics", "")?;
    let text = String::from_utf8_lossy(&body);
    let value = |stage: &str, what: &str| {
        let name = format!("stowage_store_stage_seconds_{what}{{stage=\"{stage}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    Ok(STAGES.map(|stage| Passed {
        times: value(stage, "count"),
        seconds: value(stage, "sum"),
    }))
}
