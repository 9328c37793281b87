//! `stowage backup` and `stowage restore-backup`.

use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;

use super::output::{REPORTED, Verdict, counter, say, say_where};
use crate::archive::services::backup::make::BackupProgress;
use crate::archive::services::backup::place::BackupManifest;
use crate::config::{BackupArgs, Config, RestoreBackupArgs};
use crate::start::{self, StartError, open_place};

/// Shows how far a backup or restore is.
struct BackupView {
    bar: ProgressBar,
    problems: AtomicUsize,
}

impl BackupView {
    fn new() -> Self {
        Self {
            bar: counter("blobs"),
            problems: AtomicUsize::new(0),
        }
    }

    fn hear(&self, progress: BackupProgress<'_>) {
        match progress {
            BackupProgress::Stage(stage) => {
                self.bar.set_message(stage.to_owned());
                tracing::debug!(stage, "backup");
            }
            BackupProgress::Blob(_) => self.bar.inc(1),
            BackupProgress::Problem(problem) => {
                if self.problems.fetch_add(1, Ordering::Relaxed) < REPORTED {
                    self.bar.suspend(|| say(problem));
                }
            }
        }
    }
}

/// `stowage backup`.
///
/// # Errors
/// When a store cannot be used, or another backup is being made.
pub(super) async fn backup(config: &Config, arguments: &BackupArgs) -> Result<Verdict, StartError> {
    let view = BackupView::new();
    let heard = |progress: BackupProgress<'_>| view.hear(progress);
    let report = Box::pin(start::back_up(config, arguments, &heard)).await?;
    view.bar.finish_and_clear();
    say_where(config);
    let (copied, bytes) = report.copied;
    say(&format!(
        "{}; {copied} blobs copied, {bytes} bytes",
        line(&report.manifest)
    ));
    if report.swept > 0 {
        say(&format!(
            "{} deleted instances were swept before their blobs could be copied: they cannot be brought back from the trash of \
             this backup",
            report.swept
        ));
    }
    let (backups, blobs) = report.removed;
    if backups > 0 {
        say(&format!(
            "{backups} old backups removed, with {blobs} blobs"
        ));
    }
    if let Some(reason) = &report.unpruned {
        say(&format!("old backups stay: {reason}"));
    }
    if arguments.verify {
        say(&format!("{} problems in the backup", report.problems));
    }
    let well = report.manifest.damaged == 0 && report.problems == 0 && report.unpruned.is_none();
    Ok(if well { Verdict::Well } else { Verdict::Wrong })
}

fn line(manifest: &BackupManifest) -> String {
    let mut line = format!(
        "backup {}: {} instances, {} blobs",
        manifest.name, manifest.instances, manifest.blobs
    );
    if manifest.damaged > 0 {
        line.push_str(&format!(
            ", {} of them missing or damaged in the archive",
            manifest.damaged
        ));
    }
    line
}

/// `stowage restore-backup`.
///
/// # Errors
/// When a store cannot be used, or there is an index already.
pub(super) async fn restore_backup(
    config: &Config,
    arguments: &RestoreBackupArgs,
) -> Result<Verdict, StartError> {
    if arguments.list {
        let place = open_place(config, &arguments.from).await?;
        for manifest in place.manifests().await? {
            say(&line(&manifest));
        }
        return Ok(Verdict::Well);
    }
    let view = BackupView::new();
    let heard = |progress: BackupProgress<'_>| view.hear(progress);
    let restored = Box::pin(start::restore_backup(config, arguments, &heard)).await?;
    view.bar.finish_and_clear();
    say_where(config);
    let (copied, bytes) = restored.blobs.copied;
    say(&format!(
        "{} brought back: {copied} blobs copied, {bytes} bytes, {} there already, {} missing or damaged in the backup",
        line(&restored.manifest),
        restored.blobs.known,
        restored.blobs.lost
    ));
    say(&format!(
        "{} instances, {} blobs: {} problems, {} blobs without a row",
        restored.check.instances,
        restored.check.blobs,
        restored.check.problems,
        restored.check.orphans
    ));
    let well = restored.blobs.lost == 0 && restored.check.is_clean();
    Ok(if well { Verdict::Well } else { Verdict::Wrong })
}
