//! Fills an index with generated studies, and measures how long searches take on it.
//!
//! ```text
//! cargo run --release --example archive -- fill    sqlite:///tmp/large.sqlite 1000000
//! cargo run --release --example archive -- measure sqlite:///tmp/large.sqlite 1000000
//! ```
//!
//! Only the index is filled: there are no blobs behind it, so nothing but searches can be tried on the result. The number
//! given to `measure` is the one given to `fill`. Postgres: `postgres://user:password@host/database`.

mod generate;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use stowage::dicom::keys::{Level, key};
use stowage::dicom::query::{Case, Condition, Include, Matching, PathStep, Query, TagPath};
use stowage::index::{Index, IndexOptions, WithMetadata, open};
use stowage::scope::Scope;

/// Studies inserted in one transaction.
const BATCH: u64 = 500;

/// Searches of each shape that are timed.
const ROUNDS: usize = 200;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, url, total] = arguments.as_slice() else {
        return Err("usage: archive fill|measure URL STUDIES".into());
    };
    let total: u64 = total.parse()?;
    let index = open(url, &IndexOptions::default()).await?;
    match verb.as_str() {
        "fill" => fill(&index, total).await,
        "measure" => measure(&*index, total).await,
        _ => Err("the verb is fill or measure".into()),
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

/// One shape of search; each round asks for other values.
type Shape = (&'static str, fn(&mut SmallRng, u64) -> Query);

const SHAPES: [Shape; 11] = [
    ("worklist page 1", |_, _| query(100, vec![])),
    ("today and modality", |_, total| {
        let last = generate::study(total - 1, total);
        query(
            100,
            vec![
                single(0x0008_0020, &last.date),
                single(0x0008_0061, last.modality),
            ],
        )
    }),
    ("study UID", |rng, total| {
        query(100, vec![single(0x0020_000D, &any(rng, total).uid)])
    }),
    ("Patient ID", |rng, total| {
        query(100, vec![single(0x0010_0020, &any(rng, total).patient_id)])
    }),
    ("accession number", |rng, total| {
        query(100, vec![single(0x0008_0050, &any(rng, total).accession)])
    }),
    ("whole name", |rng, total| {
        query(
            100,
            vec![single(0x0010_0010, &any(rng, total).patient_name)],
        )
    }),
    ("name prefix family^giv*", |rng, total| {
        let name = any(rng, total).patient_name;
        let end = name.find('^').map_or(name.len(), |at| at + 4);
        query(
            100,
            vec![wildcard(0x0010_0010, &format!("{}*", &name[..end]))],
        )
    }),
    ("name words fam giv", |rng, total| {
        let name = any(rng, total).patient_name.to_lowercase();
        let words: Vec<String> = name.split('^').take(2).map(str::to_owned).collect();
        query(100, vec![condition(0x0010_0010, Matching::Words(words))])
    }),
    ("name part *amil*", |rng, total| {
        let name = any(rng, total).patient_name;
        let family: Vec<char> = name.split('^').next().unwrap_or("").chars().collect();
        let part: String = family.iter().skip(1).collect();
        query(100, vec![wildcard(0x0010_0010, &format!("*{part}*"))])
    }),
    ("a day and modality", |rng, total| {
        let study = any(rng, total);
        let range = Matching::Range {
            from: Some(study.date.clone()),
            to: Some(study.date),
        };
        query(
            100,
            vec![
                condition(0x0008_0020, range),
                single(0x0008_0061, study.modality),
            ],
        )
    }),
    ("last 7 days and modality", |rng, total| {
        let from = generate::study(total.saturating_sub(7000), total).date;
        let range = Matching::Range {
            from: Some(from),
            to: None,
        };
        let modality = any(rng, total).modality;
        query(
            100,
            vec![condition(0x0008_0020, range), single(0x0008_0061, modality)],
        )
    }),
];

async fn measure(index: &dyn Index, total: u64) -> Outcome<()> {
    let scope = Scope::everything();
    eprintln!(
        "{:<28} {:>9} {:>9} {:>9} {:>6}",
        "shape", "p50 ms", "p95 ms", "max ms", "rows"
    );
    for (name, make) in SHAPES {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut times = Vec::with_capacity(ROUNDS);
        let mut rows = 0;
        for round in 0..ROUNDS + 20 {
            let query = make(&mut rng, total);
            let start = Instant::now();
            let page = index
                .search(&scope, &query, &[], WithMetadata::No, None)
                .await?;
            // The first ones fill caches.
            if round >= 20 {
                times.push(start.elapsed());
                rows += page.rows.len();
            }
        }
        times.sort();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to the last index"
        )]
        let at = |share: f64| millis(times[((times.len() - 1) as f64 * share) as usize]);
        let rows = rows as f64 / ROUNDS as f64;
        eprintln!(
            "{name:<28} {:>9.2} {:>9.2} {:>9.2} {rows:>6.1}",
            at(0.5),
            at(0.95),
            at(1.0)
        );
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn any(rng: &mut SmallRng, total: u64) -> generate::Study {
    generate::study(rng.random_range(0..total), total)
}

fn query(limit: u64, conditions: Vec<Condition>) -> Query {
    Query {
        level: Level::Study,
        study: None,
        series: None,
        conditions,
        include: Include::Fields(Vec::new()),
        limit: Some(limit),
        offset: 0,
    }
}

fn condition(number: u32, matching: Matching) -> Condition {
    let tag = dicom_core::Tag::from(((number >> 16) as u16, (number & 0xFFFF) as u16));
    Condition {
        path: TagPath(vec![PathStep { tag, creator: None }]),
        vr: key(tag).map_or(dicom_core::VR::LO, |key| key.vr),
        matching,
        case: Case::Sensitive,
    }
}

fn single(tag: u32, value: &str) -> Condition {
    condition(tag, Matching::Single(value.to_owned()))
}

fn wildcard(tag: u32, value: &str) -> Condition {
    condition(tag, Matching::Wildcard(value.to_owned()))
}
