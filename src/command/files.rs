//! What commands share that work through files: a journal, a list of what was refused, progress.
//!
//! Invariant: a line of a journal is written after its file is durably stored, so what a next run skips is stored.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{REPORTED, progress, say};
use crate::archive::services::import::{FilesBelow, files_below};
use crate::start::StartError;

/// Pause between two lines of progress where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// A file to be worked on.
pub(super) struct CandidateFile {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Its line in the journal.
    pub(super) line: Vec<u8>,
}

impl CandidateFile {
    /// A file as it is now; `place` says where it is to go when that is not the only place.
    pub(super) fn new(path: PathBuf, place: Option<&str>) -> Self {
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let line = journal_line(&path, place);
        Self { path, bytes, line }
    }
}

/// How the work does.
pub(super) struct FileRun {
    pub(super) bar: ProgressBar,
    what: &'static str,
    files: usize,
    total: u64,
    done: usize,
    pub(super) stored: u64,
    pub(super) refused: usize,
    pub(super) bytes: u64,
    begun: Instant,
    reported: Instant,
}

impl FileRun {
    pub(super) fn new(files: &[CandidateFile], what: &'static str) -> Self {
        let total = files.iter().map(|file| file.bytes).sum();
        let bar = progress(total, "");
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left, {msg} files";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            what,
            files: files.len(),
            total,
            done: 0,
            stored: 0,
            refused: 0,
            bytes: 0,
            begun: Instant::now(),
            reported: Instant::now(),
        }
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        self.done += 1;
        self.bytes += bytes;
        self.bar.inc(bytes);
        self.bar
            .set_message(format!("{}/{}", self.done, self.files));
        if self.bar.is_hidden() && self.reported.elapsed() >= LINES {
            self.reported = Instant::now();
            let rate = self.bytes / self.begun.elapsed().as_secs().max(1);
            let left = self.total.saturating_sub(self.bytes) / rate.max(1);
            let (done, files, bytes) = (self.done, self.files, self.bytes);
            tracing::info!(
                done,
                files,
                bytes,
                rate,
                seconds_left = left,
                "{}",
                self.what
            );
        }
    }

    pub(super) fn refuse(&mut self, path: &Path, reason: &str) {
        self.refused += 1;
        if self.refused <= REPORTED {
            self.bar
                .suspend(|| say(&format!("{}: {reason}", path.display())));
        }
    }
}

/// All files below the paths of a command.
pub(super) fn find_files(paths: &[PathBuf]) -> Result<FilesBelow, StartError> {
    files_below(paths).map_err(|(path, error)| {
        StartError::Config(format!("{} cannot be read: {error}", path.display()))
    })
}

/// Says what could not be entered, the first of many.
pub(super) fn say_left_out(left_out: &[(PathBuf, String)]) {
    for (path, reason) in left_out.iter().take(REPORTED) {
        say(&format!("{}: {reason}", path.display()));
    }
}

/// What a command ends with whose journal or list of refused files cannot be written.
pub(super) fn unwritten(error: &std::io::Error) -> StartError {
    StartError::Config(format!(
        "the journal or the list of refused files cannot be written: {error}"
    ))
}

/// What was done by runs before.
pub(super) struct Journal {
    done: HashSet<[u8; 32]>,
    file: Option<File>,
}

/// Opens a journal to be read and continued.
pub(super) fn open_journal(path: &Path) -> Result<File, StartError> {
    let opened = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path);
    opened.map_err(|error| journal_unusable(path, &error))
}

pub(super) fn journal_unusable(path: &Path, error: &std::io::Error) -> StartError {
    let path = path.display();
    StartError::Config(format!("the journal {path} cannot be used: {error}"))
}

impl Journal {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, StartError> {
        let mut done = HashSet::new();
        let Some(path) = path else {
            return Ok(Self { done, file: None });
        };
        let unusable = |error: std::io::Error| journal_unusable(path, &error);
        let mut file = open_journal(path)?;
        let mut cut = false;
        for line in BufReader::new(&file).split(b'\n') {
            let line = line.map_err(unusable)?;
            cut = !line.is_empty();
            done.insert(*blake3::hash(&line).as_bytes());
        }
        // A run that was killed may have left half a line; what follows must not be glued to it.
        if cut {
            file.write_all(b"\n").map_err(unusable)?;
        }
        Ok(Self {
            done,
            file: Some(file),
        })
    }

    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn has(&self, line: &[u8]) -> bool {
        !self.done.is_empty() && self.done.contains(blake3::hash(line).as_bytes())
    }

    pub(super) fn note(&mut self, line: Option<Vec<u8>>) -> std::io::Result<()> {
        let (Some(file), Some(mut line)) = (&mut self.file, line) else {
            return Ok(());
        };
        line.push(b'\n');
        file.write_all(&line)
    }
}

/// A file as the journal names it: a file that changed since is another one, and so is one for another place.
fn journal_line(path: &Path, place: Option<&str>) -> Vec<u8> {
    let metadata = std::fs::metadata(path);
    let changed = metadata
        .as_ref()
        .ok()
        .and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    let length = metadata.map_or(0, |m| m.len());
    let mut line = format!("{length}\t{changed}\t").into_bytes();
    if let Some(place) = place {
        line.extend(format!("{place}\t").into_bytes());
    }
    // A line break in a name would make two lines of it.
    line.extend(path.as_os_str().as_bytes().iter().map(|b| match b {
        b'\n' => b'?',
        other => *other,
    }));
    line
}

/// Begins a list of what was refused.
pub(super) fn create(path: &Path) -> Result<File, StartError> {
    File::create(path).map_err(|e| {
        StartError::Config(format!(
            "the list of refused files {} cannot be written: {e}",
            path.display()
        ))
    })
}

pub(super) fn note_refused(
    list: Option<&mut File>,
    path: &Path,
    reason: &str,
) -> std::io::Result<()> {
    let Some(list) = list else {
        return Ok(());
    };
    let mut line = path.as_os_str().as_bytes().to_vec();
    line.push(b'\t');
    line.extend(reason.replace(['\n', '\t'], " ").into_bytes());
    line.push(b'\n');
    list.write_all(&line)
}
