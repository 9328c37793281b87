//! `stowage import`: files of folders into the archive, with progress, a journal and a list of what was refused.
//!
//! Invariant: a line of the journal is written after its file is durably stored, so what a next run skips is stored.

use std::collections::HashMap;

use super::files::{
    CandidateFile, FileRun, Journal, create, find_files, note_refused, say_left_out, unwritten,
};
use super::output::{Verdict, say, say_where};
use super::target::check_partition;
use crate::archive::ingest::StoreOptions;
use crate::archive::services::import::Imported;
use crate::config::{Config, ImportArgs};
use crate::start::{StartError, StoreNeeds, open};

/// `stowage import`.
///
/// # Errors
/// When the stores cannot be used, or a path, the journal or the list cannot be read or written.
pub(super) async fn import(config: &Config, arguments: &ImportArgs) -> Result<Verdict, StartError> {
    let below = find_files(&arguments.paths)?;
    check_partition(config, &arguments.partition)?;
    let mut journal = Journal::open(arguments.journal.as_deref())?;
    let mut list = arguments.refused.as_deref().map(create).transpose()?;
    let all = below.files.len();
    let partition = &arguments.partition;
    let place = (!partition.is_default()).then(|| partition.as_str());
    let files: Vec<CandidateFile> = below
        .files
        .into_iter()
        .map(|path| CandidateFile::new(path, place))
        .filter(|file| !journal.has(&file.line))
        .collect();
    let skipped = all - files.len();
    let archive = open(config, StoreNeeds::Nothing).await?;
    say_where(config);
    let options = StoreOptions::unlimited(archive.make_partition(&arguments.partition).await?);
    let mut run = FileRun::new(&files, "importing");
    let mut failure = None;
    let left_out = below.left_out.len();
    say_left_out(&below.left_out);
    for (path, reason) in &below.left_out {
        if let Err(error) = note_refused(list.as_mut(), path, reason) {
            failure.get_or_insert(error);
        }
    }
    let mut paths = Vec::with_capacity(files.len());
    // As the file was when it was found: one that changes while it is read is not done.
    let mut lines = HashMap::new();
    for file in files {
        if journal.is_kept() {
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
        return Err(unwritten(&error));
    }
    Ok(if run.refused == 0 && left_out == 0 {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}
