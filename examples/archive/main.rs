//! Fills an index with generated studies, and measures how long searches take on a small and a large one.
//!
//! ```text
//! cargo run --release --example archive -- fill    sqlite:///tmp/small.sqlite 10000
//! cargo run --release --example archive -- fill    sqlite:///tmp/large.sqlite 1000000
//! cargo run --release --example archive -- measure sqlite:///tmp/small.sqlite sqlite:///tmp/large.sqlite
//! ```
//!
//! Only the index is filled: there are no blobs behind it, so nothing but searches can be tried on the result. Postgres:
//! `postgres://user:password@host/database`. Each round asks the index and the bare statement of both archives in turn,
//! so a busy machine slows all four.

mod bare;
mod generate;
mod shapes;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use stowage::dicom::query::Query;
use stowage::index::{Index, IndexOptions, MatchedRow, open};
use stowage::scope::Scope;

use bare::{Bare, Known};
use shapes::{SHAPES, Shape};

/// Studies inserted in one transaction.
const BATCH: u64 = 500;

/// Searches of each shape that are timed, and those before that fill caches.
const ROUNDS: usize = 200;
const WARM: usize = 20;

/// Results behind a page are counted so far, as the server does.
const COUNTED: u64 = 1001;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fill", url, total] => {
            fill(&open(url, &IndexOptions::default()).await?, total.parse()?).await
        }
        ["measure", small, large] => {
            let small = Archive::open(small).await?;
            let large = Archive::open(large).await?;
            measure(&small, &large).await
        }
        _ => Err("usage: archive fill URL STUDIES | measure URL URL".into()),
    }
}

async fn fill(index: &Arc<dyn Index>, total: u64) -> Outcome<()> {
    let start = Instant::now();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let maker = tokio::task::spawn_blocking(move || {
        let mut next = 0;
        while next < total {
            let end = (next + BATCH).min(total);
            let batch: Vec<_> = (next..end)
                .flat_map(|number| generate::instances(number, total))
                .collect();
            if sender.blocking_send((end, batch)).is_err() {
                break;
            }
            next = end;
        }
    });
    while let Some((end, batch)) = receiver.recv().await {
        index.insert(&batch).await?;
        if end % 50_000 == 0 || end == total {
            let seconds = start.elapsed().as_secs_f64();
            eprintln!(
                "{end} studies in {seconds:.0} s, {:.0} a second",
                end as f64 / seconds
            );
        }
    }
    maker.await?;
    index.analyze().await?;
    eprintln!("done after {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// A filled index, and the database below it.
struct Archive {
    index: Arc<dyn Index>,
    bare: Bare,
    total: i64,
    newest: Known,
}

impl Archive {
    async fn open(url: &str) -> Outcome<Self> {
        let index = open(url, &IndexOptions::default()).await?;
        let bare = Bare::open(url).await?;
        let total = bare.studies().await?;
        Ok(Self {
            index,
            newest: bare.study(total).await?,
            bare,
            total,
        })
    }

    /// Asks the index as the server does: a page, and how many results lie behind it. Returns time and rows.
    async fn search(&self, query: &Query) -> Outcome<(Duration, usize)> {
        let scope = Scope::everything();
        let start = Instant::now();
        let search = self.index.search(&scope, query, &[], None, usize::MAX);
        let page = search.await?;
        if page.more {
            let before = page.rows.last().map(MatchedRow::place);
            self.index
                .count(&scope, query, &[], before.as_ref(), COUNTED)
                .await?;
        }
        Ok((start.elapsed(), page.rows.len()))
    }
}

/// Times of one shape on one archive.
#[derive(Default)]
struct Times {
    index: Vec<Duration>,
    bare: Vec<Duration>,
    rows: usize,
}

impl Times {
    async fn add(
        &mut self,
        archive: &Archive,
        shape: &Shape,
        (rng, round): (&mut SmallRng, usize),
    ) -> Outcome<()> {
        let study = archive
            .bare
            .study(rng.random_range(1..=archive.total))
            .await?;
        let (query, question) = (shape.make)(&study, &archive.newest);
        let bare = async {
            let start = Instant::now();
            let rows = archive.bare.ask(&question).await?;
            Outcome::Ok((start.elapsed(), rows))
        };
        // In turn first and second: whoever is second finds warm pages.
        let ((time, rows), (bare_time, bare_rows)) = if round % 2 == 0 {
            (archive.search(&query).await?, bare.await?)
        } else {
            let bare = bare.await?;
            (archive.search(&query).await?, bare)
        };
        if rows != bare_rows {
            return Err(format!("{}: {rows} rows, bare {bare_rows}", shape.name).into());
        }
        if round >= WARM {
            self.index.push(time);
            self.bare.push(bare_time);
            self.rows += rows;
        }
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the table is what is asked for")]
async fn measure(small: &Archive, large: &Archive) -> Outcome<()> {
    println!(
        "| Shape | rows at {0} | rows at {1} | p50 {0} | p50 {1} | p95 {0} | p95 {1} | p95 ratio | bare p95 {1} | ÷ bare |",
        small.total, large.total
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for shape in &SHAPES {
        let (mut of_small, mut of_large) = (Times::default(), Times::default());
        let mut rngs = [SmallRng::seed_from_u64(7), SmallRng::seed_from_u64(7)];
        for round in 0..ROUNDS + WARM {
            let [first, second] = &mut rngs;
            of_small.add(small, shape, (first, round)).await?;
            of_large.add(large, shape, (second, round)).await?;
        }
        let (p95_small, p95_large) = (at(&mut of_small.index, 95), at(&mut of_large.index, 95));
        let bare = at(&mut of_large.bare, 95);
        let rows = |times: &Times| times.rows as f64 / ROUNDS as f64;
        println!(
            "| {}{} | {:.1} | {:.1} | {:.2} | {:.2} | {p95_small:.2} | {p95_large:.2} | {:.2} | {bare:.2} | {:.2} |",
            shape.name,
            if shape.goal { "" } else { " (no goal)" },
            rows(&of_small),
            rows(&of_large),
            at(&mut of_small.index, 50),
            at(&mut of_large.index, 50),
            p95_large / p95_small,
            p95_large / bare,
        );
    }
    Ok(())
}

/// A percentile in milliseconds.
fn at(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times
        .get(place)
        .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
