//! `stowage import`: files of folders into the archive, with progress, a journal and a list of what was refused.
//!
//! Invariant: a line of the journal is written after its file is durably stored, so what a next run skips is stored.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};

use super::{REPORTED, Verdict, progress, say, say_where};
use crate::archive::rules::Rules;
use crate::archive::services::import::{Imported, files_below};
use crate::archive::services::store::StoreOptions;
use crate::config::{Config, ImportArgs, Switch};
use crate::scope::{PartitionName, Visible};
use crate::start::{StartError, StoreNeeds, open};

/// Pause between two lines of progress where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// A file to be imported.
struct ImportCandidate {
    path: PathBuf,
    bytes: u64,
    /// Its line in the journal.
    line: Vec<u8>,
}

/// `stowage import`.
///
/// # Errors
/// When the stores cannot be used, or a path, the journal or the list cannot be read or written.
pub(super) async fn import(config: &Config, arguments: &ImportArgs) -> Result<Verdict, StartError> {
    let below = files_below(&arguments.paths).map_err(|(path, error)| {
        StartError::Config(format!("{} cannot be read: {error}", path.display()))
    })?;
    if !arguments.partition.is_default() && config.storage.partitions == Switch::Off {
        let reason = "--partition needs STOWAGE_PARTITIONS=on, for the server too";
        return Err(StartError::Config(reason.to_owned()));
    }
    let mut journal = Journal::open(arguments.journal.as_deref())?;
    let mut list = arguments.refused.as_deref().map(create).transpose()?;
    let all = below.files.len();
    let files: Vec<ImportCandidate> = below
        .files
        .into_iter()
        .map(|path| ImportCandidate::new(path, &arguments.partition))
        .filter(|file| !journal.has(&file.line))
        .collect();
    let skipped = all - files.len();
    let archive = open(config, StoreNeeds::Nothing).await?;
    say_where(config);
    let options = StoreOptions {
        partition: archive.make_partition(&arguments.partition).await?,
        visible: Visible::All,
        study: None,
        named: None,
        rules: Rules::Standard,
        replace: None,
        condition: None,
        expires: None,
    };
    let mut run = ImportRun::new(&files);
    let mut failure = None;
    let left_out = below.left_out.len();
    for (path, reason) in below.left_out.iter().take(REPORTED) {
        say(&format!("{}: {reason}", path.display()));
    }
    for (path, reason) in &below.left_out {
        if let Err(error) = note_refused(list.as_mut(), path, reason) {
            failure.get_or_insert(error);
        }
    }
    let mut paths = Vec::with_capacity(files.len());
    // As the file was when it was found: one that changes while it is read is not done.
    let mut lines = HashMap::new();
    for file in files {
        if journal.file.is_some() {
            lines.insert(file.path.clone(), file.line);
        }
        paths.push(file.path);
    }
    let mut reported = |imported: Imported| {
        run.advance(imported.bytes);
        let noted = match &imported.refused {
            None => {
                run.stored += 1;
                journal.note(lines.remove(&imported.path))
            }
            Some(reason) => {
                run.refuse(&imported.path, reason);
                note_refused(list.as_mut(), &imported.path, reason)
            }
        };
        if let Err(error) = noted {
            failure.get_or_insert(error);
        }
    };
    archive.import_files(paths, &options, &mut reported).await?;
    run.bar.finish_and_clear();
    say(&format!(
        "{} instances stored or found identical, {} files refused, {skipped} skipped by the journal, {} bytes read",
        run.stored, run.refused, run.bytes
    ));
    if left_out > 0 {
        say(&format!(
            "{left_out} folders, links or other things could not be entered: what is below them was not imported"
        ));
    }
    if let Some(error) = failure {
        return Err(StartError::Config(format!(
            "the journal or the list of refused files cannot be written: {error}"
        )));
    }
    Ok(if run.refused == 0 && left_out == 0 {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}

impl ImportCandidate {
    fn new(path: PathBuf, partition: &PartitionName) -> Self {
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let line = journal_line(&path, partition);
        Self { path, bytes, line }
    }
}

/// How an import does.
struct ImportRun {
    bar: ProgressBar,
    files: usize,
    total: u64,
    done: usize,
    stored: u64,
    refused: usize,
    bytes: u64,
    begun: Instant,
    reported: Instant,
}

impl ImportRun {
    fn new(files: &[ImportCandidate]) -> Self {
        let total = files.iter().map(|file| file.bytes).sum();
        let bar = progress(total, "");
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left, {msg} files";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
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

    fn advance(&mut self, bytes: u64) {
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
            tracing::info!(done, files, bytes, rate, seconds_left = left, "importing");
        }
    }

    fn refuse(&mut self, path: &Path, reason: &str) {
        self.refused += 1;
        if self.refused <= REPORTED {
            self.bar
                .suspend(|| say(&format!("{}: {reason}", path.display())));
        }
    }
}

/// What was imported by runs before.
struct Journal {
    done: HashSet<[u8; 32]>,
    file: Option<File>,
}

impl Journal {
    fn open(path: Option<&Path>) -> Result<Self, StartError> {
        let mut done = HashSet::new();
        let Some(path) = path else {
            return Ok(Self { done, file: None });
        };
        let reported = |e| {
            StartError::Config(format!(
                "the journal {} cannot be used: {e}",
                path.display()
            ))
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(reported)?;
        let mut cut = false;
        for line in BufReader::new(&file).split(b'\n') {
            let line = line.map_err(reported)?;
            cut = !line.is_empty();
            done.insert(*blake3::hash(&line).as_bytes());
        }
        // A run that was killed may have left half a line; what follows must not be glued to it.
        if cut {
            file.write_all(b"\n").map_err(reported)?;
        }
        Ok(Self {
            done,
            file: Some(file),
        })
    }

    fn has(&self, line: &[u8]) -> bool {
        !self.done.is_empty() && self.done.contains(blake3::hash(line).as_bytes())
    }

    fn note(&mut self, line: Option<Vec<u8>>) -> std::io::Result<()> {
        let (Some(file), Some(mut line)) = (&mut self.file, line) else {
            return Ok(());
        };
        line.push(b'\n');
        file.write_all(&line)
    }
}

/// A file as the journal names it: a file that changed since is another one, and so is one for another partition.
fn journal_line(path: &Path, partition: &PartitionName) -> Vec<u8> {
    let metadata = std::fs::metadata(path);
    let changed = metadata
        .as_ref()
        .ok()
        .and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    let length = metadata.map_or(0, |m| m.len());
    let mut line = format!("{length}\t{changed}\t").into_bytes();
    if !partition.is_default() {
        line.extend(format!("{partition}\t").into_bytes());
    }
    // A line break in a name would make two lines of it.
    line.extend(path.as_os_str().as_bytes().iter().map(|b| match b {
        b'\n' => b'?',
        other => *other,
    }));
    line
}

fn create(path: &Path) -> Result<File, StartError> {
    File::create(path).map_err(|e| {
        StartError::Config(format!(
            "the list of refused files {} cannot be written: {e}",
            path.display()
        ))
    })
}

fn note_refused(list: Option<&mut File>, path: &Path, reason: &str) -> std::io::Result<()> {
    let Some(list) = list else {
        return Ok(());
    };
    let mut line = path.as_os_str().as_bytes().to_vec();
    line.push(b'\t');
    line.extend(reason.replace(['\n', '\t'], " ").into_bytes());
    line.push(b'\n');
    list.write_all(&line)
}
