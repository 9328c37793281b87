//! Counters and histograms, and the text Prometheus reads them in.
//!
//! Invariants: counting takes no lock; a name of a family or label is text of the program, never of a request; numbers
//! only grow until the process ends, as Prometheus expects.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something that is counted.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// Some more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// One less, for what goes up and down.
    pub fn one_less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper ends of the buckets of durations, in seconds.
pub const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];
/// Upper ends of the buckets of small numbers.
pub const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Most buckets of a histogram, the last one without end included.
const BUCKETS: usize = 16;

/// How often values of which size were seen.
#[derive(Debug)]
pub struct Histogram {
    ends: &'static [f64],
    counts: [AtomicU64; BUCKETS],
    /// In millionths, so that it is a number without a lock.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram of durations.
    #[must_use]
    pub fn seconds() -> Self {
        Self::new(SECONDS)
    }

    /// A histogram with buckets that end at `ends`; those past the room there is fall into the last one.
    #[must_use]
    pub fn new(ends: &'static [f64]) -> Self {
        Self {
            ends: ends.get(..BUCKETS - 1).unwrap_or(ends),
            counts: Default::default(),
            sum: AtomicU64::new(0),
        }
    }

    /// Notes a duration.
    pub fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.note(time.as_secs_f64(), micros);
    }

    /// Notes a number.
    pub fn saw(&self, number: u32) {
        self.note(f64::from(number), u64::from(number) * 1_000_000);
    }

    fn note(&self, value: f64, millionths: u64) {
        let at = self.ends.iter().position(|end| value <= *end);
        if let Some(count) = self.counts.get(at.unwrap_or(self.ends.len())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(millionths, Ordering::Relaxed);
    }

    /// Notes the time until the value is dropped.
    #[must_use]
    pub fn timed(&self) -> Timed<'_> {
        Timed {
            histogram: self,
            begun: Instant::now(),
        }
    }
}

/// A duration under way; noted when it is dropped.
#[derive(Debug)]
pub struct Timed<'a> {
    histogram: &'a Histogram,
    begun: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.histogram.took(self.begun.elapsed());
    }
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts per bucket.
    Histogram,
}

impl MetricKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels of a sample: names and values.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// The text under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

// Writing to a String cannot fail.
impl Exposition {
    /// Begins a family; the samples that follow are its.
    pub fn family(&mut self, name: &'static str, kind: MetricKind, help: &'static str) {
        self.family = name;
        let _ = writeln!(
            self.text,
            "# HELP {name} {help}\n# TYPE {name} {}",
            kind.as_str()
        );
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: MetricKind, help: &'static str, value: u64) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A sample of the family.
    pub fn sample(&mut self, labels: Labels<'_>, value: u64) {
        self.line("", labels, None, format_args!("{value}"));
    }

    /// The samples of a histogram.
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let mut sum = 0;
        for (count, end) in histogram.counts.iter().zip(histogram.ends) {
            sum += count.load(Ordering::Relaxed);
            let end = end.to_string();
            self.line("_bucket", labels, Some(&end), format_args!("{sum}"));
        }
        let beyond = histogram.counts.get(histogram.ends.len());
        sum += beyond.map_or(0, |count| count.load(Ordering::Relaxed));
        self.line("_bucket", labels, Some("+Inf"), format_args!("{sum}"));
        let millionths = histogram.sum.load(Ordering::Relaxed);
        let (whole, rest) = (millionths / 1_000_000, millionths % 1_000_000);
        self.line("_sum", labels, None, format_args!("{whole}.{rest:06}"));
        self.line("_count", labels, None, format_args!("{sum}"));
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        end: Option<&str>,
        value: std::fmt::Arguments<'_>,
    ) {
        let _ = write!(self.text, "{}{suffix}", self.family);
        let end = end.map(|end| ("le", end));
        let mut opened = false;
        for (name, value) in labels.iter().copied().chain(end) {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let comma = if opened { ',' } else { '{' };
            let _ = write!(self.text, "{comma}{name}=\"{value}\"");
            opened = true;
        }
        let _ = writeln!(self.text, "{} {value}", if opened { "}" } else { "" });
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// What the system knows of this process; what it does not tell is left out.
pub fn process(out: &mut Exposition) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}"));
    if let Ok(status) = read("status") {
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
        if let Some(kilobytes) = resident {
            let help = "Memory of the process that is in use.";
            out.single(
                "process_resident_memory_bytes",
                MetricKind::Gauge,
                help,
                kilobytes * 1024,
            );
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let help = "Files and sockets the process has open.";
        out.single(
            "process_open_fds",
            MetricKind::Gauge,
            help,
            open.count() as u64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_the_end_of_each_bucket() {
        let histogram = Histogram::new(&[1.0, 10.0]);
        for number in [1, 2, 10, 11] {
            histogram.saw(number);
        }
        let mut out = Exposition::default();
        out.family("h", MetricKind::Histogram, "Numbers.");
        out.histogram(&[("a", "b")], &histogram);
        assert_eq!(
            out.finish(),
            "# HELP h Numbers.\n# TYPE h histogram\nh_bucket{a=\"b\",le=\"1\"} 1\nh_bucket{a=\"b\",le=\"10\"} 3\n\
             h_bucket{a=\"b\",le=\"+Inf\"} 4\nh_sum{a=\"b\"} 24.000000\nh_count{a=\"b\"} 4\n"
        );
    }

    #[test]
    fn a_timed_piece_of_work_is_noted_once() {
        let histogram = Histogram::seconds();
        drop(histogram.timed());
        let mut out = Exposition::default();
        out.family("t", MetricKind::Histogram, "Times.");
        out.histogram(&[], &histogram);
        assert!(out.finish().contains("t_bucket{le=\"+Inf\"} 1\n"));
    }

    #[test]
    fn label_values_cannot_leave_their_quotes() {
        let mut out = Exposition::default();
        out.family("c", MetricKind::Counter, "Count.");
        out.sample(&[("a", "x\"y\\z\n"), ("b", "c")], 7);
        assert!(
            out.finish()
                .ends_with("c{a=\"x\\\"y\\\\z\\n\",b=\"c\"} 7\n")
        );
    }
}
