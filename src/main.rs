//! The `stowage` command: reads the configuration, starts tracing, runs what was asked.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stowage::command::{self, Verdict};
use stowage::config::{Cli, Command, LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    start_log(&cli.config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
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
    };
    Ok(if verdict == Verdict::Well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
