//! The sub-commands that work on the stores: check, rebuild, import, export.
//!
//! Each prints what it did to standard output and returns whether all was well; progress goes to standard error.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::Archive;
use crate::archive::audit::CheckOptions;
use crate::archive::import::files_below;
use crate::archive::rules::Rules;
use crate::archive::store::StoreOptions;
use crate::config::{Config, ExportArgs, FsckArgs, ImportArgs};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use crate::scope::{Partition, Scope, Visible};
use crate::start::{StartError, open};

/// Refused files that are told one by one; the rest is only counted.
const TOLD: usize = 1000;

/// Whether everything a command looked at was well: the exit code is 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Well,
    /// Something is wrong; it was printed.
    Wrong,
}

/// `stowage fsck`.
///
/// # Errors
/// When the stores cannot be used.
pub async fn fsck(config: &Config, arguments: &FsckArgs) -> Result<Verdict, StartError> {
    let archive = open(config).await?;
    let options = CheckOptions {
        digests: arguments.digests,
        repair: arguments.repair,
        force: arguments.force,
        young_seconds: arguments.young_seconds,
    };
    let bar = progress(0, "instances");
    let report = archive
        .check_stores(options, &|done| bar.set_position(done))
        .await?;
    bar.finish_and_clear();
    for problem in &report.problems {
        say(problem);
    }
    say(&format!(
        "{} instances, {} blobs: {} problems, {} blobs without a row, {} mended",
        report.instances,
        report.blobs,
        report.problems.len(),
        report.orphans,
        report.repaired
    ));
    Ok(if report.is_clean() {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}

/// `stowage reindex`.
///
/// # Errors
/// When the stores cannot be used.
pub async fn reindex(config: &Config) -> Result<Verdict, StartError> {
    let archive = open(config).await?;
    let bar = progress(0, "blobs");
    let report = archive
        .reindex(&|done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })
        .await?;
    bar.finish_and_clear();
    for refused in report.refused.iter().take(TOLD) {
        say(refused);
    }
    say(&format!(
        "{} blobs: {} instances added, {} known, {} refused",
        report.blobs,
        report.added,
        report.known,
        report.refused.len()
    ));
    Ok(if report.refused.is_empty() {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}

/// `stowage import`.
///
/// # Errors
/// When the stores cannot be used or a path cannot be read.
pub async fn import(config: &Config, arguments: &ImportArgs) -> Result<Verdict, StartError> {
    let archive = open(config).await?;
    let files = files_below(&arguments.paths)
        .map_err(|e| StartError::Config(format!("a path cannot be read: {e}")))?;
    let options = StoreOptions {
        partition: Partition::DEFAULT,
        visible: Visible::All,
        study: None,
        rules: Rules::Standard,
    };
    let bar = progress(files.len() as u64, "files");
    let (mut stored, mut bytes, mut refused) = (0_u64, 0_u64, 0_usize);
    archive
        .import_files(files, &options, &mut |imported| {
            bar.inc(1);
            bytes += imported.bytes;
            match imported.refused {
                None => stored += 1,
                Some(reason) => {
                    refused += 1;
                    if refused <= TOLD {
                        bar.suspend(|| say(&format!("{}: {reason}", imported.path.display())));
                    }
                }
            }
        })
        .await?;
    bar.finish_and_clear();
    say(&format!(
        "{stored} instances stored or found identical, {refused} files refused, {bytes} bytes read"
    ));
    Ok(if refused == 0 {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}

/// `stowage export`.
///
/// # Errors
/// When the stores cannot be used, a target does not exist or the folder cannot be written.
pub async fn export(config: &Config, arguments: &ExportArgs) -> Result<Verdict, StartError> {
    let archive = open(config).await?;
    let mut count = 0;
    for text in &arguments.targets {
        count += export_one(&archive, text, &arguments.to).await?;
    }
    say(&format!(
        "{count} instances below {}",
        arguments.to.display()
    ));
    Ok(Verdict::Well)
}

async fn export_one(archive: &Archive, text: &str, folder: &Path) -> Result<u64, StartError> {
    let target = target(text).ok_or_else(|| {
        StartError::Config(format!("{text} is not a study[/series[/instance]] of UIDs"))
    })?;
    let bar = ProgressBar::no_length();
    let done = archive
        .export(&Scope::everything(), &target, folder, &mut |bytes| {
            bar.inc(bytes)
        })
        .await?;
    bar.finish_and_clear();
    Ok(done)
}

fn target(text: &str) -> Option<Target> {
    let mut uids = text.split('/');
    let study = StudyUid::parse(uids.next()?).ok()?;
    let Some(series) = uids.next() else {
        return Some(Target::Study(study));
    };
    let series = SeriesUid::parse(series).ok()?;
    let Some(instance) = uids.next() else {
        return Some(Target::Series(study, series));
    };
    let instance = InstanceUid::parse(instance).ok()?;
    uids.next()
        .is_none()
        .then_some(Target::Instance(InstanceName {
            study,
            series,
            instance,
        }))
}

fn progress(length: u64, unit: &str) -> ProgressBar {
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

/// One line to standard output; a closed pipe is not an error worth telling.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
