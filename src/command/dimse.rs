//! `stowage echo`, `send` and `fetch`: DIMSE peers from the command line.
//!
//! Invariant: a line of the journal is written after its file, instance or study has arrived, so what a next run skips is there.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::output::{REPORTED, Verdict, progress, say, say_where};
use super::shown::ShownTransfer;
use super::target::target;
use crate::archive::services::import::files_below;
use crate::archive::services::transfers::TransferProgress;
use crate::archive::{Archive, InstanceRow};
use crate::config::{Config, FetchArgs, SendArgs};
use crate::dicom::uid::StudyUid;
use crate::dimse::client::{ClientError, Delivery, PeerClient};
use crate::start::{StartError, StoreNeeds, open};

fn peer_failed(error: ClientError) -> StartError {
    match error {
        ClientError::Archive(error) => error.into(),
        error => StartError::Config(error.to_string()),
    }
}

/// `stowage echo`.
///
/// # Errors
/// When the peer does not stand in the file of peers.
pub(super) async fn echo(config: &Config, peer: &str) -> Result<Verdict, StartError> {
    let client = PeerClient::new(&config.dimse, peer).map_err(peer_failed)?;
    match client.echo().await {
        Ok(()) => {
            say(&format!("{peer} answers"));
            Ok(Verdict::Well)
        }
        Err(error) => {
            say(&error.to_string());
            Ok(Verdict::Wrong)
        }
    }
}

/// What was done, and what went wrong.
struct Run {
    journal: DeliveryJournal,
    bar: indicatif::ProgressBar,
    done: u64,
    failed: u64,
    bytes: u64,
    unwritten: Option<std::io::Error>,
    /// What is written of it under `/operations`, where there is an archive.
    shown: Option<ShownTransfer>,
}

impl Run {
    async fn begin(
        journal: Option<&Path>,
        unit: &str,
        archive: Option<&Archive>,
        (what, peer): (&'static str, &str),
    ) -> Result<Self, StartError> {
        let shown = match archive {
            None => None,
            Some(archive) => ShownTransfer::begin(archive, what, peer).await,
        };
        if let Some(shown) = &shown {
            say(&format!("operation {}", shown.id()));
        }
        Ok(Self {
            shown,
            journal: DeliveryJournal::open(journal)?,
            bar: progress(0, unit),
            done: 0,
            failed: 0,
            bytes: 0,
            unwritten: None,
        })
    }

    fn note<T>(&mut self, delivery: &Delivery<T>, line: &str) {
        self.bar.inc(1);
        match &delivery.failure {
            None => {
                self.done += 1;
                self.bytes += delivery.bytes;
                if let Err(error) = self.journal.note(line) {
                    self.unwritten.get_or_insert(error);
                }
            }
            Some(reason) => {
                self.failed += 1;
                if self.failed <= REPORTED as u64 {
                    self.bar.suspend(|| say(&format!("{line}: {reason}")));
                }
            }
        }
        self.show();
    }

    fn show(&self) {
        if let Some(shown) = &self.shown {
            let total = self.bar.length().unwrap_or(0);
            shown.show(TransferProgress {
                total: total.max(self.done.saturating_add(self.failed)),
                done: self.done,
                failed: self.failed,
                bytes: self.bytes,
            });
        }
    }

    /// Ends as the whole run did.
    async fn end(mut self, what: &str, run: Result<(), StartError>) -> Result<Verdict, StartError> {
        let shown = self.shown.take();
        let failed = self.failed;
        let ended = run.and_then(|()| self.finish(what));
        if let Some(shown) = shown {
            shown.finish(ended.is_ok() && failed == 0).await;
        }
        ended
    }

    fn finish(self, what: &str) -> Result<Verdict, StartError> {
        self.bar.finish_and_clear();
        let Self {
            done,
            failed,
            bytes,
            ..
        } = self;
        let size = if bytes > 0 {
            format!(", {bytes} bytes")
        } else {
            String::new()
        };
        say(&format!("{done} {what}, {failed} failed{size}"));
        if let Some(error) = self.unwritten {
            let reason = format!("the journal cannot be written: {error}");
            return Err(StartError::Config(reason));
        }
        Ok(if failed == 0 {
            Verdict::Well
        } else {
            Verdict::Wrong
        })
    }
}

/// `stowage send`.
///
/// # Errors
/// When the peer cannot be called, or the stores, a path or the journal cannot be used.
pub(super) async fn send(config: &Config, arguments: &SendArgs) -> Result<Verdict, StartError> {
    let client = PeerClient::new(&config.dimse, &arguments.peer).map_err(peer_failed)?;
    let archive = open(config, StoreNeeds::Archive).await;
    let shown = ("send", arguments.peer.as_str());
    let journal = arguments.journal.as_deref();
    let mut run = Run::begin(journal, "instances", archive.as_ref().ok(), shown).await?;
    let sent = Box::pin(send_all(config, arguments, &client, archive, &mut run)).await;
    run.end("sent", sent).await
}

async fn send_all(
    config: &Config,
    arguments: &SendArgs,
    client: &PeerClient,
    archive: Result<Archive, StartError>,
    run: &mut Run,
) -> Result<(), StartError> {
    let (mut paths, mut stored) = (Vec::new(), Vec::new());
    for text in &arguments.targets {
        let path = PathBuf::from(text);
        match target(text).filter(|_| !path.exists()) {
            Some(target) => stored.push(target),
            None => paths.push(path),
        }
    }
    if !paths.is_empty() {
        let below = files_below(&paths).map_err(|(path, error)| {
            StartError::Config(format!(
                "{} is neither a path that can be read nor a study[/series[/instance]] of UIDs: {error}",
                path.display()
            ))
        })?;
        for (path, reason) in below.left_out.iter().take(REPORTED) {
            run.failed += 1;
            say(&format!("{}: {reason}", path.display()));
        }
        let line = |path: &Path| path.display().to_string();
        let mut files = below.files;
        files.retain(|path| !run.journal.has(&line(path)));
        run.bar.inc_length(files.len() as u64);
        let mut report = |delivery: Delivery<&Path>| run.note(&delivery, &line(delivery.what));
        let sent = client.send_files(&files, &mut report).await;
        sent.map_err(peer_failed)?;
    }
    if !stored.is_empty() {
        let archive = archive?;
        say_where(config);
        for target in &stored {
            let line = |row: &InstanceRow| row.name.instance.to_string();
            let done = run.journal.done.clone();
            let skip = move |row: &InstanceRow| done.contains(row.name.instance.as_str());
            let mut report =
                |delivery: Delivery<&InstanceRow>| run.note(&delivery, &line(delivery.what));
            let sent = client.send_stored(&archive, target, &skip, &mut report);
            sent.await.map_err(peer_failed)?;
        }
    }
    Ok(())
}

/// `stowage fetch`.
///
/// # Errors
/// When the peer cannot be called or does not answer, or the journal cannot be used.
pub(super) async fn fetch(config: &Config, arguments: &FetchArgs) -> Result<Verdict, StartError> {
    let client = PeerClient::new(&config.dimse, &arguments.peer).map_err(peer_failed)?;
    let archive = if arguments.get {
        Some(open(config, StoreNeeds::Nothing).await?)
    } else {
        // It need not be on this machine: the peer sends to the server.
        open(config, StoreNeeds::Archive).await.ok()
    };
    let shown = ("fetch", arguments.peer.as_str());
    let journal = arguments.journal.as_deref();
    let mut run = Run::begin(journal, "studies", archive.as_ref(), shown).await?;
    let into = archive.as_ref().filter(|_| arguments.get);
    let fetched = fetch_all(arguments, &client, into, &mut run).await;
    run.end("studies fetched", fetched).await
}

async fn fetch_all(
    arguments: &FetchArgs,
    client: &PeerClient,
    into: Option<&Archive>,
    run: &mut Run,
) -> Result<(), StartError> {
    let studies = if arguments.keys.iter().all(|key| key.contains('=')) {
        client
            .find_studies(&arguments.keys)
            .await
            .map_err(peer_failed)?
    } else {
        arguments.keys.clone()
    };
    for study in &studies {
        if StudyUid::parse(study).is_err() {
            let reason =
                format!("{study} is neither a Study Instance UID nor a key such as PatientID=4711");
            return Err(StartError::Config(reason));
        }
    }
    let left: Vec<&String> = studies.iter().filter(|uid| !run.journal.has(uid)).collect();
    run.bar.inc_length(left.len() as u64);
    for study in left {
        let moved = match into {
            None => client.move_study(study).await,
            Some(archive) => Box::pin(client.get_study(archive, study)).await,
        };
        let moved = moved.map_err(peer_failed)?;
        let failure = (moved.status != 0).then(|| {
            format!(
                "the peer answers {:04X}: {} instances arrived, {} failed",
                moved.status,
                moved.completed.saturating_add(moved.warned),
                moved.failed
            )
        });
        let delivery = Delivery {
            what: study,
            bytes: 0,
            failure,
        };
        run.note(&delivery, study);
    }
    Ok(())
}

/// What runs before have done.
struct DeliveryJournal {
    done: HashSet<String>,
    file: Option<File>,
}

impl DeliveryJournal {
    fn open(path: Option<&Path>) -> Result<Self, StartError> {
        let Some(path) = path else {
            return Ok(Self {
                done: HashSet::new(),
                file: None,
            });
        };
        let unusable = |error: std::io::Error| {
            let path = path.display();
            StartError::Config(format!("the journal {path} cannot be used: {error}"))
        };
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(unusable)?;
        let mut done = HashSet::new();
        for line in BufReader::new(&file).lines() {
            done.insert(line.map_err(unusable)?);
        }
        Ok(Self {
            done,
            file: Some(file),
        })
    }

    fn has(&self, line: &str) -> bool {
        self.done.contains(line)
    }

    fn note(&mut self, line: &str) -> std::io::Result<()> {
        match &mut self.file {
            None => Ok(()),
            Some(file) => file.write_all(format!("{line}\n").as_bytes()),
        }
    }
}
