//! Measures the server over loopback beside the limits of the machine, in one run: nginx with the same bytes prebuilt,
//! write and fsync of the same files, bare SQL through the same driver.
//!
//! `docs/performance.md` has the command and explains the table. Everything lies below `--work`, and only the index for
//! searches is kept for the next run.

mod client;
mod corpus;
mod encoding;
#[path = "../archive/generate.rs"]
mod generate;
mod limits;
mod reading;
mod searching;
mod servers;
mod stages;
mod storing;
mod table;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use client::Base;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures Stowage beside nginx, write+fsync and bare SQL.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server's binary.
    #[arg(long, default_value = "target/release/stowage")]
    binary: PathBuf,
    /// Folder for everything; on the disk that is to be measured.
    #[arg(long, default_value = "target/bench")]
    work: PathBuf,
    /// Size of the corpus: 1 is 500 CT slices, a 1 GiB object and 100,000 studies to search.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Groups to run, comma separated: store, large, retrieve, frames, metadata, search, start, encode.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds; each asks the server and the limit once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of load in a round of reading.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// Base URL of another server, which gets the same requests: `http://host:port/dicom-web`.
    #[arg(long)]
    peer: Vec<String>,
    /// The nginx to compare with.
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: String,
    /// A data folder with a large index, to be started on; see the example `archive`.
    #[arg(long)]
    large_index: Option<PathBuf>,
}

impl Arguments {
    fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == group)
    }

    /// A count of the full corpus, scaled.
    fn scaled(&self, count: u32) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float saturates when cast"
        )]
        let scaled = (f64::from(count) * self.scale).ceil() as u32;
        scaled.max(1)
    }

    /// All servers under test, the own one first.
    fn bases(&self, own: &Base) -> Outcome<Vec<Base>> {
        let mut bases = vec![own.clone()];
        for (number, url) in self.peer.iter().enumerate() {
            let base = Base::parse(&format!("peer {}", number + 1), url);
            bases.push(base.ok_or_else(|| format!("{url} is not http://host:port/path"))?);
        }
        Ok(bases)
    }
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.work)?;
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    table::note(&format!(
        "{cores} cores, scale {}, {} rounds; memory in MiB; load of the machine at the start {load}\n",
        arguments.scale, arguments.rounds
    ))?;
    table::head()?;
    encoding::run(&arguments)?;
    storing::run(&arguments)?;
    reading::run(&arguments)?;
    searching::run(&arguments)
}
