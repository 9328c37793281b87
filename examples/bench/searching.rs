//! QIDO beside bare SQL on the same file, and the time from start to the first answer.

use std::fs;
use std::io::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use stowage::index::{IndexOptions, open};
use tokio::runtime::Runtime;

use crate::client::{fetch, load};
use crate::limits::Bare;
use crate::table::{self, Actor, Done, Task};
use crate::{Arguments, Outcome, generate, limits, servers};

/// Clients that search at the same time.
const CLIENTS: usize = 4;

pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    if !arguments.wants("search") && !arguments.wants("start") {
        return Ok(());
    }
    let runtime = Runtime::new()?;
    let studies = u64::from(arguments.scaled(100_000));
    let data = arguments.work.join(format!("search-{studies}"));
    if !data.join("complete").exists() {
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(&data)?;
        runtime.block_on(fill(&data, studies))?;
        fs::write(data.join("complete"), "")?;
    }
    if arguments.wants("search") {
        searches(arguments, &runtime, &data, studies)?;
    }
    if arguments.wants("start") {
        start(arguments, &data, &format!("{studies} studies"))?;
        if let Some(large) = &arguments.large_index {
            start(arguments, large, "the large index")?;
        }
    }
    Ok(())
}

async fn fill(data: &Path, studies: u64) -> Outcome<()> {
    let url = format!("sqlite://{}", data.join("index.sqlite").display());
    let index = open(&url, &IndexOptions::default()).await?;
    let mut next = 0;
    while next < studies {
        let end = (next + 500).min(studies);
        let batch: Vec<_> = (next..end)
            .flat_map(|number| generate::instances(number, studies))
            .collect();
        index.insert(&batch).await?;
        next = end;
    }
    index.analyze().await?;
    Ok(())
}

fn searches(arguments: &Arguments, runtime: &Runtime, data: &Path, studies: u64) -> Outcome<()> {
    let server = servers::stowage(&arguments.binary, data)?;
    let idle = server.reset_peak()?;
    let pool = runtime.block_on(limits::pool(&data.join("index.sqlite")))?;
    let some: Vec<_> = (0..1000.min(studies))
        .map(|n| generate::study(n.wrapping_mul(7919) % studies, studies))
        .collect();
    let uids: Vec<String> = some.iter().map(|study| study.uid.clone()).collect();
    let patients: Vec<String> = some.iter().map(|study| study.patient_id.clone()).collect();
    let shapes = [
        ("StudyInstanceUID", Bare::StudyUid, &uids),
        ("PatientID", Bare::PatientId, &patients),
        ("worklist page of 100", Bare::Page, &uids),
    ];
    let time = Duration::from_millis(arguments.millis);
    for (name, bare, values) in shapes {
        let paths: Vec<String> = match bare {
            Bare::Page => vec!["/studies?limit=100".to_owned()],
            Bare::StudyUid | Bare::PatientId => values
                .iter()
                .map(|value| format!("/studies?{name}={value}"))
                .collect(),
        };
        let (pool, paths) = (&pool, &paths);
        let mut actors: Vec<Actor<'_>> = Vec::new();
        for base in arguments.bases(&server.base)? {
            let (name, cpu) = (base.name.clone(), server.cpu_of(&base));
            let search = move |_| {
                let json = "Accept: application/dicom+json\r\n";
                let done = load(&base, paths, json, CLIENTS, time)?;
                Ok(Done {
                    work: done.requests as f64,
                    seconds: done.seconds,
                })
            };
            let run = Box::new(search);
            actors.push(Actor { name, cpu, run });
        }
        let sql = move |_| {
            runtime
                .block_on(limits::sql(pool, bare, values, CLIENTS, time))
                .map_err(Error::other)
        };
        actors.push(Actor {
            name: "bare SQL".to_owned(),
            cpu: Some(Box::new(|| Ok(0.0))),
            run: Box::new(sql),
        });
        let task = Task {
            what: &format!("QIDO {name}, {CLIENTS} clients, {studies} studies"),
            unit: "requests/s",
            goal: 0.5,
            rounds: arguments.rounds,
        };
        table::measure(task, &mut actors)?;
    }
    table::note(&format!(
        "| QIDO above: memory idle {idle:.0}, peak {:.0} |",
        server.peak()?
    ))?;
    Ok(())
}

fn start(arguments: &Arguments, data: &Path, what: &str) -> Outcome<()> {
    let mut times = Vec::new();
    for _ in 0..arguments.rounds {
        let begun = Instant::now();
        let server = servers::stowage(&arguments.binary, data)?;
        let (answer, _) = fetch(
            &server.base,
            "/studies?limit=1",
            "Accept: application/dicom+json\r\n",
        )?;
        times.push(begun.elapsed().as_secs_f64());
        if answer.status != 200 {
            return Err(format!("the first answer was {}", answer.status).into());
        }
    }
    table::note(&format!(
        "| Start to first answer, {what}: {:.3} s (goal < 0.5) |",
        table::median(&times)
    ))?;
    Ok(())
}
