//! `stowage upload`: files of folders to another `DICOMweb` server, several requests at a time.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::files::{
    CandidateFile, FileRun, Journal, create, find_files, note_refused, say_left_out, unwritten,
};
use super::output::{Verdict, say};
use super::remote::{budget, remote_failed, server};
use crate::config::{Config, UploadArgs};
use crate::dicom::head::{HEAD, instance_uid};
use crate::dicom::limits::ParseLimits;
use crate::http::remote::send::{Delivered, OutgoingFile};
use crate::start::StartError;

/// Files in one request at most.
const TOGETHER: usize = 32;
/// Bytes of files in one request, unless one alone has more.
const TOGETHER_BYTES: u64 = 16 << 20;
/// Files in a row for which the server could not be had, after which no more are tried.
const HOPELESS: usize = 3;
/// Said of what is passed over.
const NO_DICOM: &str = "is no DICOM file";

/// What is found before anything is sent.
enum Prepared {
    /// Files for one request.
    Batch(Vec<OutgoingFile>),
    /// A file that holds no instance.
    Foreign(PathBuf),
    /// A file that cannot be read.
    Unreadable(PathBuf, String),
}

/// What became of a file.
enum UploadResult {
    Delivered(Delivered),
    /// It holds no instance.
    Foreign,
}

/// How an upload does.
struct UploadRun {
    files: FileRun,
    journal: Journal,
    list: Option<File>,
    lines: HashMap<PathBuf, Vec<u8>>,
    existed: u64,
    foreign: u64,
    unreachable: usize,
    unwritten: Option<std::io::Error>,
}

/// `stowage upload`.
///
/// # Errors
/// When the other server cannot be used, or a path, the journal or the list cannot be read or written.
pub(super) async fn upload(config: &Config, arguments: &UploadArgs) -> Result<Verdict, StartError> {
    let server = server(&arguments.to, &arguments.remote)?;
    let budget = budget(config);
    let below = find_files(&arguments.paths)?;
    let journal = Journal::open(arguments.journal.as_deref())?;
    let list = arguments.refused.as_deref().map(create).transpose()?;
    let all = below.files.len();
    let files: Vec<CandidateFile> = below
        .files
        .into_iter()
        .map(|path| CandidateFile::new(path, Some(server.url())))
        .filter(|file| !journal.has(&file.line))
        .collect();
    let skipped = all - files.len();
    say(&format!("{} files to {}", files.len(), server.url()));
    let mut run = UploadRun {
        files: FileRun::new(&files, "uploading"),
        journal,
        list,
        lines: HashMap::new(),
        existed: 0,
        foreign: 0,
        unreachable: 0,
        unwritten: None,
    };
    let left_out = below.left_out.len();
    say_left_out(&below.left_out);
    for (path, reason) in &below.left_out {
        run.list(path, reason);
    }
    let parallel = usize::from(arguments.remote.parallel);
    let (found, prepared) = mpsc::channel(parallel);
    let mut paths = Vec::with_capacity(files.len());
    for file in files {
        if run.journal.is_kept() {
            run.lines.insert(file.path.clone(), file.line);
        }
        paths.push((file.path, file.bytes));
    }
    tokio::task::spawn_blocking(move || prepare(paths, &found));
    let prepared = stream::unfold(prepared, |mut prepared| async move {
        Some((prepared.recv().await?, prepared))
    })
    .boxed();
    let (server, budget) = (&server, &budget);
    let mut delivered = prepared
        .map(|prepared| async move {
            Ok(match prepared {
                Prepared::Batch(files) => {
                    let delivered = server.deliver(files, budget).await?;
                    let results = delivered.into_iter();
                    results
                        .map(|(file, became)| (file, UploadResult::Delivered(became)))
                        .collect()
                }
                Prepared::Foreign(path) => vec![(unsent(path), UploadResult::Foreign)],
                Prepared::Unreadable(path, reason) => {
                    let refused = Delivered::Refused {
                        reason,
                        unreachable: false,
                    };
                    vec![(unsent(path), UploadResult::Delivered(refused))]
                }
            })
        })
        .buffer_unordered(parallel)
        .boxed_local();
    let mut ended = Ok(());
    while let Some(some) = delivered.next().await {
        match some {
            Ok(some) => {
                some.into_iter()
                    .for_each(|(file, result)| run.note(&file, result));
            }
            Err(error) => {
                ended = Err(remote_failed(server, error));
                break;
            }
        }
        if run.unreachable >= HOPELESS {
            let reason = format!(
                "{} could not be had {HOPELESS} times in a row; the same command goes on where this one ended when it has \
                 a --journal",
                server.url()
            );
            ended = Err(StartError::Config(reason));
            break;
        }
    }
    drop(delivered);
    run.finish(skipped, left_out, ended)
}

/// A file of which nothing was sent.
fn unsent(path: PathBuf) -> OutgoingFile {
    OutgoingFile {
        path,
        length: 0,
        instance: String::new(),
    }
}

/// Looks at the first bytes of files and gathers those that go into one request.
fn prepare(files: Vec<(PathBuf, u64)>, found: &mpsc::Sender<Prepared>) {
    let mut batch: Vec<OutgoingFile> = Vec::new();
    let mut instances = HashSet::new();
    let mut bytes = 0_u64;
    for (path, length) in files {
        let prepared = match first_bytes(&path) {
            Err(error) => Prepared::Unreadable(path, format!("cannot be read: {error}")),
            Ok(head) => match instance_uid(&head, ParseLimits::default()) {
                None => Prepared::Foreign(path),
                Some(instance) => {
                    let full = batch.len() >= TOGETHER
                        || bytes.saturating_add(length) > TOGETHER_BYTES
                        || instances.contains(&instance);
                    let sent = if full && !batch.is_empty() {
                        instances.clear();
                        bytes = 0;
                        Some(std::mem::take(&mut batch))
                    } else {
                        None
                    };
                    instances.insert(instance.clone());
                    bytes = bytes.saturating_add(length);
                    batch.push(OutgoingFile {
                        path,
                        length,
                        instance,
                    });
                    match sent {
                        Some(sent) => Prepared::Batch(sent),
                        None => continue,
                    }
                }
            },
        };
        // Nobody listens any more when it was given up.
        if found.blocking_send(prepared).is_err() {
            return;
        }
    }
    if !batch.is_empty() {
        let _ = found.blocking_send(Prepared::Batch(batch));
    }
}

fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

impl UploadRun {
    fn note(&mut self, file: &OutgoingFile, result: UploadResult) {
        self.files.advance(file.length);
        let UploadResult::Delivered(became) = result else {
            self.foreign += 1;
            return self.list(&file.path, NO_DICOM);
        };
        match became {
            Delivered::Arrived | Delivered::Existed => {
                self.unreachable = 0;
                self.files.stored += 1;
                self.existed += u64::from(became == Delivered::Existed);
                let line = self.lines.remove(&file.path);
                if let Err(error) = self.journal.note(line) {
                    self.unwritten.get_or_insert(error);
                }
            }
            Delivered::Refused {
                reason,
                unreachable,
            } => {
                self.unreachable = if unreachable { self.unreachable + 1 } else { 0 };
                self.files.refuse(&file.path, &reason);
                self.list(&file.path, &reason);
            }
        }
    }

    fn list(&mut self, path: &Path, reason: &str) {
        if let Err(error) = note_refused(self.list.as_mut(), path, reason) {
            self.unwritten.get_or_insert(error);
        }
    }

    fn finish(
        self,
        skipped: usize,
        left_out: usize,
        ended: Result<(), StartError>,
    ) -> Result<Verdict, StartError> {
        self.files.bar.finish_and_clear();
        let (stored, refused, bytes) = (self.files.stored, self.files.refused, self.files.bytes);
        let (existed, foreign) = (self.existed, self.foreign);
        say(&format!(
            "{stored} instances arrived, {existed} of them were there already, {refused} files refused, {foreign} files are not \
             DICOM, {skipped} skipped by the journal, {bytes} bytes sent"
        ));
        if left_out > 0 {
            say(&format!(
                "{left_out} folders, links or other things could not be entered: what is below them was not sent"
            ));
        }
        ended?;
        if let Some(error) = self.unwritten {
            return Err(unwritten(&error));
        }
        Ok(if refused == 0 && left_out == 0 {
            Verdict::Well
        } else {
            Verdict::Wrong
        })
    }
}
