//! What commands print: results to standard output, progress to standard error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Config;
use crate::start::data_folder;

/// Refused files that are told one by one; the rest is only counted.
pub(super) const REPORTED: usize = 1000;

/// Whether everything a command looked at was well: the exit code is 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Well,
    /// Something is wrong; it was printed.
    Wrong,
}

pub(super) fn progress(length: u64, unit: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let template = format!("{{bar:40}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar for work whose end is not known.
pub(super) fn counter(unit: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(&format!("{{pos}} {unit} {{per_sec}} {{msg}}"))
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Says which archive a command works on.
pub(super) fn say_where(config: &Config) {
    let storage = &config.storage;
    let mut place = format!("archive in {}", data_folder(config).display());
    if storage.database_url.is_some() || storage.database_url_file.is_some() {
        place.push_str(", its index in the database of STOWAGE_DATABASE_URL");
    }
    if let Some(url) = &storage.blob_url {
        let url = url.split('?').next().unwrap_or_default();
        place.push_str(&format!(", its blobs in {url}"));
    }
    say(&place);
}

/// One line to standard output; a closed pipe is not an error worth telling.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
