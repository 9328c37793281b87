//! The table of ratios.

use std::io::{Result, Write};

/// Rates of one operation by who did it, measured round by round beside each other.
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    goal: f64,
    limit: String,
    names: Vec<String>,
    rates: Vec<Vec<f64>>,
}

/// Who is asked, and what answers a rate when told the round.
pub(crate) type Actor<'a> = (String, Box<dyn FnMut(usize) -> Result<f64> + 'a>);

/// Measures: each round asks everybody once, the order turning from round to round.
///
/// The last of `actors` is the limit.
pub(crate) fn measure(
    what: &str,
    unit: &'static str,
    goal: f64,
    rounds: usize,
    actors: &mut [Actor<'_>],
) -> Result<Row> {
    let mut rates = vec![Vec::new(); actors.len()];
    for round in 0..rounds {
        for step in 0..actors.len() {
            let at = (round + step) % actors.len();
            rates[at].push(actors[at].1(round)?);
        }
    }
    let mut names: Vec<String> = actors.iter().map(|(name, _)| name.clone()).collect();
    let limit = names.pop().unwrap_or_default();
    let row = Row {
        what: what.to_owned(),
        unit,
        goal,
        limit,
        names,
        rates,
    };
    row.print()?;
    Ok(row)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    /// Prints the row, one line for each server.
    fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let Some((limits, others)) = self.rates.split_last() else {
            return Ok(());
        };
        for (name, rates) in self.names.iter().zip(others) {
            let ratios: Vec<f64> = rates.iter().zip(limits).map(|(a, b)| a / b).collect();
            let ratio = median(&ratios);
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            writeln!(
                out,
                "| {} | {name} {:.0} | {} {:.0} | {} | {ratio:.2} ({least:.2}-{most:.2}) | {:.2} | {} |",
                self.what,
                median(rates),
                self.limit,
                median(limits),
                self.unit,
                self.goal,
                if ratio >= self.goal { "yes" } else { "no" }
            )?;
        }
        out.flush()
    }
}

/// Prints the head of the table.
pub(crate) fn head() -> Result<()> {
    writeln!(
        std::io::stdout(),
        "| Operation | Server, median | Limit, median | Unit | Ratio: median (least-most) | Goal | Met |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
}

/// Prints a line that has no limit beside it.
pub(crate) fn note(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
