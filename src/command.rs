//! The sub-commands that work on the stores: check, rebuild, move, import, export; and those that call other servers.
//!
//! Each prints what it did to standard output and returns whether all was well; progress goes to standard error.

mod backup;
mod copy;
mod copy_run;
mod dimse;
mod expire;
mod files;
mod import;
mod output;
mod remote;
mod restore;
mod shown;
mod stats;
mod target;
mod upload;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use clap::CommandFactory;
use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use crate::archive::Archive;
use crate::archive::services::check::{CheckOptions, CheckProgress, RebuildProgress};
use crate::archive::services::export_deidentified::DeidentifiedExport;
use crate::config::{Cli, Command, Config, ExportArgs, FsckArgs, MoveIndexArgs};
use crate::dicom::deidentify::DeidentifyOptions;
use crate::scope::Scope;
use crate::start::{self, StartError, StoreNeeds, open, transfer_index};

use backup::{backup, restore_backup};
use copy::copy;
use dimse::{echo, fetch, send};
use expire::expire;
use import::import;
use output::{REPORTED, counter, progress, say, say_where};
use restore::restore;
use stats::stats;
use target::named_target;
use upload::upload;

pub use output::Verdict;

/// Does what a command says, and waits until it is done.
///
/// Here and not in the program: a future is compiled where it is awaited, and the library is compiled once for the program and
/// all tests.
///
/// # Errors
/// When it cannot be done.
pub fn run(config: Config, command: Command, runtime: &Runtime) -> anyhow::Result<Verdict> {
    Ok(match command {
        Command::Serve => runtime
            .block_on(start::serve(config))
            .map(|()| Verdict::Well)?,
        Command::Health => runtime
            .block_on(start::health(&config))
            .map(|()| Verdict::Well)?,
        Command::Fsck(arguments) => runtime.block_on(fsck(&config, &arguments))?,
        Command::Stats { json } => runtime.block_on(stats(&config, json))?,
        Command::Reindex => runtime.block_on(reindex(&config))?,
        Command::MoveIndex(arguments) => runtime.block_on(move_index(&config, &arguments))?,
        Command::Import(arguments) => runtime.block_on(import(&config, &arguments))?,
        Command::Upload(arguments) => runtime.block_on(upload(&config, &arguments))?,
        Command::Copy(arguments) => runtime.block_on(copy(&config, &arguments))?,
        Command::Backup(arguments) => runtime.block_on(backup(&config, &arguments))?,
        Command::RestoreBackup(arguments) => {
            runtime.block_on(restore_backup(&config, &arguments))?
        }
        Command::Expire { dry_run } => runtime.block_on(expire(&config, dry_run))?,
        Command::Export(arguments) => runtime.block_on(export(&config, &arguments))?,
        Command::Restore(arguments) => runtime.block_on(restore(&config, &arguments))?,
        Command::Echo { peer } => runtime.block_on(echo(&config, &peer))?,
        Command::Send(arguments) => runtime.block_on(send(&config, &arguments))?,
        Command::Fetch(arguments) => runtime.block_on(fetch(&config, &arguments))?,
        Command::Token(arguments) => {
            writeln!(std::io::stdout(), "{}", start::token(&config, &arguments)?)?;
            Verdict::Well
        }
        Command::Key { action } => {
            write!(std::io::stdout(), "{}", start::key(&config, &action)?)?;
            Verdict::Well
        }
        Command::Forward { action } => {
            let printed = runtime.block_on(start::forward(&config, &action))?;
            write!(std::io::stdout(), "{printed}")?;
            Verdict::Well
        }
        Command::Webhook { action } => {
            let printed = runtime.block_on(start::webhook(&config, &action))?;
            write!(std::io::stdout(), "{printed}")?;
            Verdict::Well
        }
        Command::Completions { shell } => {
            completions(shell);
            Verdict::Well
        }
        Command::Man { to } => {
            man(to.as_deref()).context("the manual pages cannot be written")?;
            Verdict::Well
        }
    })
}

/// `stowage fsck`.
///
/// # Errors
/// When the stores cannot be used.
async fn fsck(config: &Config, arguments: &FsckArgs) -> Result<Verdict, StartError> {
    let archive = open(config, StoreNeeds::Archive).await?;
    say_where(config);
    let options = CheckOptions {
        digests: arguments.digests,
        repair: arguments.repair,
        force: arguments.force,
        young_seconds: arguments.young_seconds,
    };
    let bar = progress(0, "instances");
    let reported = |reported: CheckProgress<'_>| match reported {
        CheckProgress::Rows(done) => bar.set_position(done),
        CheckProgress::Problem(problem) => bar.suspend(|| say(problem)),
    };
    let report = archive.check_stores(options, &reported).await?;
    bar.finish_and_clear();
    say(&format!(
        "{} instances, {} blobs: {} problems, {} blobs without a row, {} mended",
        report.instances, report.blobs, report.problems, report.orphans, report.repaired
    ));
    if options.digests && report.nonpatient > 0 {
        say(&format!(
            "{} files of non-patient instances, which the index holds, were read too",
            report.nonpatient
        ));
    }
    if report.young > 0 {
        say(&format!(
            "{} more blobs are younger than {} seconds, so their requests may still be running, and were not looked for a \
             row: `--young-seconds 0` looks at them too",
            report.young, options.young_seconds
        ));
    }
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
async fn reindex(config: &Config) -> Result<Verdict, StartError> {
    let archive = open(config, StoreNeeds::Blobs).await?;
    say_where(config);
    let bar = progress(0, "blobs");
    let reported = AtomicUsize::new(0);
    let tell = |rebuilding: RebuildProgress<'_>| match rebuilding {
        RebuildProgress::Blobs(done, all) => {
            bar.set_length(all);
            bar.set_position(done);
        }
        RebuildProgress::Refused(key, reason) => {
            if reported.fetch_add(1, Ordering::Relaxed) < REPORTED {
                bar.suspend(|| say(&format!("{key}: {reason}")));
            }
        }
    };
    let report = archive.reindex(&tell).await?;
    bar.finish_and_clear();
    say(&format!(
        "{} blobs: {} instances added, {} known, {} refused",
        report.blobs, report.added, report.known, report.refused
    ));
    Ok(if report.refused == 0 {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}

/// `stowage move-index`.
///
/// # Errors
/// When a database cannot be used, or the target is not empty.
async fn move_index(config: &Config, arguments: &MoveIndexArgs) -> Result<Verdict, StartError> {
    let bar = counter("rows");
    let mut reported = |table, rows| {
        bar.set_message(table);
        bar.inc(rows);
    };
    let moved = transfer_index(config, arguments, &mut reported).await?;
    if arguments.from.is_none() {
        say_where(config);
    }
    bar.finish_and_clear();
    let (mut rows, mut wrong) = (0, 0);
    for table in &moved {
        rows += table.from.rows;
        if table.agrees() {
            say(&format!("{}: {} rows", table.table, table.from.rows));
        } else {
            wrong += 1;
            say(&format!(
                "{}: {} rows, but {} in the other database, or with other values",
                table.table, table.from.rows, table.to.rows
            ));
        }
    }
    let done = match (arguments.check, wrong) {
        (true, 0) => "both agree",
        (false, 0) => "moved; both agree",
        (true, _) => "they differ",
        (false, _) => "nothing was moved",
    };
    say(&format!("{rows} rows in {} tables: {done}", moved.len()));
    Ok(if wrong == 0 {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}

/// `stowage completions`.
fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stowage", &mut script);
    // A closed pipe is not an error worth telling.
    let _ = std::io::stdout().write_all(&script);
}

/// `stowage man`.
///
/// # Errors
/// When the folder cannot be written to.
fn man(to: Option<&Path>) -> std::io::Result<()> {
    // Not a page of its own: every command has --help.
    let program = Cli::command().disable_help_subcommand(true);
    if let Some(folder) = to {
        std::fs::create_dir_all(folder)?;
        return clap_mangen::generate_to(program, folder);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(program).render(&mut page)?;
    // A closed pipe is not an error worth telling.
    let _ = std::io::stdout().write_all(&page);
    Ok(())
}

/// `stowage export`.
///
/// # Errors
/// When the stores cannot be used, a target does not exist or the folder cannot be written.
async fn export(config: &Config, arguments: &ExportArgs) -> Result<Verdict, StartError> {
    let archive = open(config, StoreNeeds::Archive).await?;
    say_where(config);
    let name = &arguments.partition;
    let partition = archive.partition(name).await?;
    let scope = Scope {
        partition: partition
            .ok_or_else(|| StartError::Config(format!("there is no partition {name}")))?,
        ..Scope::everything()
    };
    if let Some(options) = arguments.deidentify {
        return export_deidentified(&archive, &scope, arguments, options).await;
    }
    let mut count = 0;
    for text in &arguments.targets {
        count += export_one(&archive, &scope, text, &arguments.to).await?;
    }
    say(&format!(
        "{count} instances below {}",
        arguments.to.display()
    ));
    Ok(Verdict::Well)
}

/// `stowage export --deidentify`.
async fn export_deidentified(
    archive: &Archive,
    scope: &Scope,
    arguments: &ExportArgs,
    options: DeidentifyOptions,
) -> Result<Verdict, StartError> {
    let profile = archive.deidentification(options)?;
    let bar = ProgressBar::no_length();
    let (mut written, mut refused) = (0_u64, 0_usize);
    for text in &arguments.targets {
        let mut reported = |exported: DeidentifiedExport| match exported {
            DeidentifiedExport::Written(bytes) => {
                written += 1;
                bar.inc(bytes);
            }
            DeidentifiedExport::Refused { name, reason } => {
                refused += 1;
                if refused <= REPORTED {
                    let (study, series) = (name.study, name.series);
                    let line = format!("{study}/{series}/{}: {reason}", name.instance);
                    bar.suspend(|| say(&line));
                }
            }
        };
        let (target, folder) = (named_target(text)?, &arguments.to);
        archive
            .export_deidentified(scope, &target, folder, &profile, &mut reported)
            .await?;
    }
    bar.finish_and_clear();
    say(&format!(
        "{written} instances de-identified below {} ({options}), {refused} refused",
        arguments.to.display()
    ));
    Ok(if refused == 0 {
        Verdict::Well
    } else {
        Verdict::Wrong
    })
}

async fn export_one(
    archive: &Archive,
    scope: &Scope,
    text: &str,
    folder: &Path,
) -> Result<u64, StartError> {
    let target = named_target(text)?;
    let bar = ProgressBar::no_length();
    let done = archive
        .export(scope, &target, folder, &mut |bytes| bar.inc(bytes))
        .await?;
    bar.finish_and_clear();
    Ok(done)
}
