//! How a copy does: counts, what went wrong, and the journal of what is here already.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::files::{journal_unusable, open_journal};
use super::output::{REPORTED, Verdict, progress, say};
use super::shown::ShownTransfer;
use crate::archive::Archive;
use crate::archive::services::transfers::TransferProgress;
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use crate::start::StartError;

/// Requests in a row for which the server could not be had, after which no more are tried.
const HOPELESS: usize = 3;

/// See the module.
pub(super) struct CopyRun {
    pub(super) studies: usize,
    bar: ProgressBar,
    listed: u64,
    copied: u64,
    known: u64,
    failed: u64,
    differing: u64,
    bytes: u64,
    unreachable: usize,
    reported: usize,
    journal: CopyJournal,
    unwritten: Option<std::io::Error>,
    shown: Option<ShownTransfer>,
}

impl CopyRun {
    /// Begins, with what `place` says of where from and where to.
    pub(super) async fn begin(
        journal: Option<PathBuf>,
        archive: &Archive,
        url: &str,
        place: String,
    ) -> Result<Self, StartError> {
        let journal = CopyJournal::open(journal.as_deref(), place)?;
        let shown = ShownTransfer::begin(archive, "copy", url).await;
        if let Some(shown) = &shown {
            say(&format!("operation {}", shown.id()));
        }
        Ok(Self {
            studies: 0,
            bar: progress(0, "instances"),
            listed: 0,
            copied: 0,
            known: 0,
            failed: 0,
            differing: 0,
            bytes: 0,
            unreachable: 0,
            reported: 0,
            journal,
            unwritten: None,
            shown,
        })
    }

    /// More instances are listed.
    pub(super) fn expect(&mut self, instances: usize) {
        self.listed = self.listed.saturating_add(instances as u64);
        self.bar.inc_length(instances as u64);
        self.show();
    }

    /// The digest of an instance that a run before copied.
    pub(super) fn known(
        &mut self,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &InstanceUid,
    ) -> Option<[u8; 32]> {
        let digest = self.journal.digest(study, series, instance)?;
        self.known = self.known.saturating_add(1);
        self.bar.inc(1);
        Some(digest)
    }

    /// An instance is durably here.
    pub(super) fn store(&mut self, name: &InstanceName, digest: [u8; 32], bytes: u64) {
        self.unreachable = 0;
        self.copied = self.copied.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.bar.inc(1);
        if let Err(error) = self.journal.note(name, digest) {
            self.unwritten.get_or_insert(error);
        }
        self.show();
    }

    /// Something could not be copied.
    pub(super) fn fail(&mut self, what: &str, reason: &str) {
        self.failed = self.failed.saturating_add(1);
        self.report(&format!("{what}: {reason}"));
        self.show();
    }

    /// Something is not the same on both sides.
    pub(super) fn differ(&mut self, what: &str) {
        self.differing = self.differing.saturating_add(1);
        self.report(what);
    }

    fn report(&mut self, line: &str) {
        self.reported = self.reported.saturating_add(1);
        if self.reported <= REPORTED {
            self.bar.suspend(|| say(line));
        }
    }

    /// A request came to nothing; whether because the server was not to be had.
    pub(super) fn note_unreachable(&mut self, unreachable: bool) {
        self.unreachable = if unreachable {
            self.unreachable.saturating_add(1)
        } else {
            0
        };
    }

    /// Whether it is not worth going on.
    pub(super) fn is_hopeless(&self) -> bool {
        self.unreachable >= HOPELESS
    }

    fn show(&self) {
        if let Some(shown) = &self.shown {
            shown.show(TransferProgress {
                total: self.listed,
                done: self.copied.saturating_add(self.known),
                failed: self.failed,
                bytes: self.bytes,
            });
        }
    }

    /// Ends as the whole copy did.
    pub(super) async fn end(
        mut self,
        copied: Result<(), StartError>,
    ) -> Result<Verdict, StartError> {
        self.bar.finish_and_clear();
        let Self {
            studies,
            listed,
            copied: stored,
            known,
            failed,
            differing,
            bytes,
            ..
        } = self;
        say(&format!(
            "{studies} studies with {listed} instances: {stored} copied, {known} copied before, {failed} failed, {differing} \
             differences, {bytes} bytes"
        ));
        let well = copied.is_ok() && failed == 0 && differing == 0 && self.unwritten.is_none();
        if let Some(shown) = self.shown.take() {
            shown.finish(well).await;
        }
        copied?;
        if let Some(error) = self.unwritten {
            let reason = format!("the journal cannot be written: {error}");
            return Err(StartError::Config(reason));
        }
        Ok(if well { Verdict::Well } else { Verdict::Wrong })
    }
}

/// Instances that are here, with the digests of what came: one in a line, behind where from and where to.
struct CopyJournal {
    place: String,
    done: HashMap<[u8; 32], [u8; 32]>,
    file: Option<File>,
}

impl CopyJournal {
    fn open(path: Option<&Path>, place: String) -> Result<Self, StartError> {
        let mut journal = Self {
            place,
            done: HashMap::new(),
            file: None,
        };
        let Some(path) = path else {
            return Ok(journal);
        };
        let unusable = |error: std::io::Error| journal_unusable(path, &error);
        let mut file = open_journal(path)?;
        let mut cut = false;
        for line in BufReader::new(&file).split(b'\n') {
            let line = line.map_err(unusable)?;
            cut = !line.is_empty();
            let line = std::str::from_utf8(&line).unwrap_or_default();
            // Half a line, which a run left that was killed, has no whole digest.
            if let Some((key, digest)) = line.rsplit_once('\t')
                && let Ok(digest) = blake3::Hash::from_hex(digest)
            {
                let key = *blake3::hash(key.as_bytes()).as_bytes();
                journal.done.insert(key, *digest.as_bytes());
            }
        }
        if cut {
            file.write_all(b"\n").map_err(unusable)?;
        }
        journal.file = Some(file);
        Ok(journal)
    }

    fn key(&self, study: &StudyUid, series: &SeriesUid, instance: &InstanceUid) -> String {
        format!("{}\t{study}\t{series}\t{instance}", self.place)
    }

    fn digest(
        &self,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &InstanceUid,
    ) -> Option<[u8; 32]> {
        if self.done.is_empty() {
            return None;
        }
        let key = self.key(study, series, instance);
        self.done
            .get(blake3::hash(key.as_bytes()).as_bytes())
            .copied()
    }

    fn note(&mut self, name: &InstanceName, digest: [u8; 32]) -> std::io::Result<()> {
        let key = self.key(&name.study, &name.series, &name.instance);
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let digest = blake3::Hash::from_bytes(digest).to_hex();
        file.write_all(format!("{key}\t{digest}\n").as_bytes())
    }
}
