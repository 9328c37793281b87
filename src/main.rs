//! The `stowage` command: reads the configuration, starts tracing, runs what was asked.
//!
//! Exit codes, as `stowage --help` tells them: 0 well, 1 something was found wrong, 2 wrong usage, 3 it could not be done.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stowage::StartError;
use stowage::command::{self, Verdict};
use stowage::config::{Cli, Command, LogConfig, LogFormat, unknown_variables};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// It could not be done: a setting is wrong, or a store cannot be used.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    match run(Cli::parse()) {
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

fn run(cli: Cli) -> anyhow::Result<Verdict> {
    start_log(&cli.config.log)?;
    warn_of_unknown_settings();
    // Far more than the bounded kinds of work can wait in at a time. The default of 512 would all come to life under load,
    // each with memory of its own, to share the same few cores.
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads((cores * 16).max(48))
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let config = cli.config;
    let verdict = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => runtime
            .block_on(stowage::serve(config))
            .map(|()| Verdict::Well)?,
        Command::Health => runtime
            .block_on(stowage::health(&config))
            .map(|()| Verdict::Well)?,
        Command::Fsck(arguments) => runtime.block_on(command::fsck(&config, &arguments))?,
        Command::Reindex => runtime.block_on(command::reindex(&config))?,
        Command::MoveIndex(arguments) => {
            runtime.block_on(command::move_index(&config, &arguments))?
        }
        Command::Import(arguments) => runtime.block_on(command::import(&config, &arguments))?,
        Command::Export(arguments) => runtime.block_on(command::export(&config, &arguments))?,
        Command::Token(arguments) => {
            writeln!(
                std::io::stdout(),
                "{}",
                stowage::token(&config, &arguments)?
            )?;
            Verdict::Well
        }
        Command::Completions { shell } => {
            command::completions(shell);
            Verdict::Well
        }
        Command::Man { to } => {
            command::man(to.as_deref()).context("the manual pages cannot be written")?;
            Verdict::Well
        }
    };
    Ok(verdict)
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
    let filter = EnvFilter::try_new(&config.log).context("STOWAGE_LOG cannot be read")?;
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
