//! The `stowage` command: reads the configuration, starts tracing, runs what was asked.
//!
//! Exit codes, as `stowage --help` tells them: 0 well, 1 something was found wrong, 2 wrong usage, 3 it could not be done.

mod allocator;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use rustix::fs::Mode;
use rustix::process::umask;
use stowage::StartError;
use stowage::command::{self, Verdict};
use stowage::config::{Cli, Command, LogConfig, LogFormat, Secret, unknown_variables};
use tracing_subscriber::EnvFilter;

/// It could not be done: a setting is wrong, or a store cannot be used.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    keep_private(cli.command.as_ref());
    match run(cli, &matches) {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::FAILURE,
        Err(error) => {
            let start = error.downcast_ref::<StartError>();
            // Those errors tell their causes themselves. Whoever closed standard error does not want to know.
            let _ = match start {
                Some(error) => writeln!(std::io::stderr(), "stowage: {error}"),
                None => writeln!(std::io::stderr(), "stowage: {error:#}"),
            };
            match start {
                // Container engines know 0 and 1 only.
                Some(StartError::Unhealthy(_)) => ExitCode::FAILURE,
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

fn run(cli: Cli, matches: &ArgMatches) -> anyhow::Result<Verdict> {
    allocator::keep_little_while_much_is_used();
    start_log(&cli.config.log)?;
    warn_of_secrets(matches);
    warn_of_unknown_settings();
    // Far more than the bounded kinds of work can wait in at a time. The default of 512 would all come to life under load,
    // each with memory of its own, to share the same few cores.
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads((cores * 16).max(48))
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let command = cli.command.unwrap_or(Command::Serve);
    command::run(cli.config, command, &runtime)
}

/// What the archive writes is for its owner and its group, whatever the shell says; files for others are not.
fn keep_private(command: Option<&Command>) {
    let writes_archive = matches!(
        command,
        None | Some(
            Command::Serve
                | Command::Fsck(_)
                | Command::Reindex
                | Command::MoveIndex(_)
                | Command::Import(_)
                | Command::Copy(_)
                | Command::Expire { .. }
                | Command::Backup(_)
                | Command::RestoreBackup(_)
                | Command::Webhook { .. }
                | Command::Forward { .. }
        )
    );
    if writes_archive {
        let others = Mode::from_raw_mode(0o027);
        // What was closed already stays so.
        let before = umask(others);
        umask(before | others);
    }
}

/// What stands on the command line is seen by everybody on the machine.
fn warn_of_secrets(matches: &ArgMatches) {
    for name in secrets_given(matches) {
        tracing::warn!(
            "--{name} holds a secret, and everybody on this machine can read command lines: use the environment, or a file"
        );
    }
}

/// Flags with secrets that were given on the command line.
fn secrets_given(matches: &ArgMatches) -> Vec<&'static str> {
    let given = |id: &str| {
        matches.try_contains_id(id).unwrap_or(false)
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    let with_password = |id: &str| {
        let url = matches.try_get_one::<Secret>(id).ok().flatten();
        url.is_some_and(Secret::holds_password)
    };
    let mut found = Vec::new();
    if given("jwt_secret") {
        found.push("jwt-secret");
    }
    for (id, flag) in [
        ("database_url", "database-url"),
        ("from", "from"),
        ("to", "to"),
    ] {
        if given(id) && with_password(id) {
            found.push(flag);
        }
    }
    if let Some((_, inner)) = matches.subcommand() {
        for flag in secrets_given(inner) {
            if !found.contains(&flag) {
                found.push(flag);
            }
        }
    }
    found
}

/// A mistyped setting has no effect, and nobody would notice.
fn warn_of_unknown_settings() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for unknown in unknown_variables(names) {
        let name = unknown.name;
        match unknown.meant {
            Some(meant) => {
                tracing::warn!("{name} is no setting and has no effect; did you mean {meant}?")
            }
            None => {
                tracing::warn!("{name} is no setting and has no effect; `stowage --help` lists all")
            }
        }
    }
}

fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    // The codec's own lines are about damaged pictures of anybody, whose faults the answers tell.
    let quiet = if config.log.contains("openjp2") {
        ""
    } else {
        ",openjp2=off"
    };
    let filter = EnvFilter::try_new(&config.log).context("STOWAGE_LOG cannot be read")?;
    let filter = EnvFilter::try_new(format!("{}{quiet}", config.log)).unwrap_or(filter);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
