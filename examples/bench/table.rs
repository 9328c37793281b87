//! The table of ratios.

use std::io::{Result, Write};

/// What one actor did in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// In the unit of the row.
    pub(crate) work: f64,
    pub(crate) seconds: f64,
}

/// Who is asked.
pub(crate) struct Actor<'a> {
    pub(crate) name: String,
    /// Processor time used so far by the processes that serve it, in seconds; none when that cannot be known.
    pub(crate) cpu: Option<Box<dyn Fn() -> Result<f64> + 'a>>,
    /// Works, told the round.
    pub(crate) run: Box<dyn FnMut(usize) -> Result<Done> + 'a>,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) what: &'a str,
    pub(crate) unit: &'static str,
    pub(crate) goal: f64,
    pub(crate) rounds: usize,
}

/// Rate and processor time for a unit of work, of one round.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rate: f64,
    cost: Option<f64>,
}

/// Measures and prints: each round asks everybody once, the order turning from round to round.
///
/// The last of `actors` is the limit.
pub(crate) fn measure(task: Task<'_>, actors: &mut [Actor<'_>]) -> Result<()> {
    let mut samples = vec![Vec::new(); actors.len()];
    for round in 0..task.rounds {
        for step in 0..actors.len() {
            let at = (round + step) % actors.len();
            samples[at].push(sample(&mut actors[at], round)?);
        }
    }
    let names: Vec<&str> = actors.iter().map(|actor| actor.name.as_str()).collect();
    print(task, &names, &samples)
}

/// Processor time is that of the serving processes and of the load generator together.
fn sample(actor: &mut Actor<'_>, round: usize) -> Result<Sample> {
    let used = |actor: &Actor<'_>| {
        let serving = actor.cpu.as_ref().map(|cpu| cpu()).transpose()?;
        let own = cpu_seconds("self")?;
        Ok::<_, std::io::Error>(serving.map(|serving| serving + own))
    };
    let before = used(actor)?;
    let done = (actor.run)(round)?;
    let after = used(actor)?;
    let cost = before
        .zip(after)
        .map(|(before, after)| (after - before) / done.work);
    Ok(Sample {
        rate: done.work / done.seconds,
        cost,
    })
}

/// Processor time of a process, all its threads, in seconds.
pub(crate) fn cpu_seconds(process: &str) -> Result<f64> {
    // Linux counts in hundredths here, whatever the clock of the kernel.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is a name in parentheses, which may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields = fields.split_whitespace().skip(11).take(2);
    Ok(fields
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints one line for each server.
fn print(task: Task<'_>, names: &[&str], samples: &[Vec<Sample>]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let (Some((limit, names)), Some((limits, others))) = (names.split_last(), samples.split_last())
    else {
        return Ok(());
    };
    for (name, samples) in names.iter().zip(others) {
        let pairs = || samples.iter().zip(limits);
        let ratios: Vec<f64> = pairs().map(|(a, b)| a.rate / b.rate).collect();
        let ratio = median(&ratios);
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let by_cpu: Option<Vec<f64>> = pairs().map(|(a, b)| Some(b.cost? / a.cost?)).collect();
        let by_cpu = by_cpu.map_or("-".to_owned(), |ratios| format!("{:.2}", median(&ratios)));
        let rate = |samples: &[Sample]| {
            let rates: Vec<f64> = samples.iter().map(|sample| sample.rate).collect();
            median(&rates)
        };
        writeln!(
            out,
            "| {} | {name} {:.0} | {limit} {:.0} | {} | {ratio:.2} ({least:.2}-{most:.2}) | {by_cpu} | {:.2} | {} |",
            task.what,
            rate(samples),
            rate(limits),
            task.unit,
            task.goal,
            if ratio >= task.goal { "yes" } else { "no" }
        )?;
    }
    out.flush()
}

/// Prints the head of the table.
pub(crate) fn head() -> Result<()> {
    writeln!(
        std::io::stdout(),
        "| Operation | Server, median | Limit, median | Unit | Ratio: median (least-most) | By processor time | Goal | Met |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
}

/// Prints a line that has no limit beside it.
pub(crate) fn note(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
