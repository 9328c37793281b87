//! Settings of the log.

use clap::{Args, ValueEnum};

/// The log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// What is logged, in the syntax of `RUST_LOG`.
    #[arg(
        long,
        env = "STOWAGE_LOG",
        default_value = "info,sqlx=warn",
        global = true
    )]
    pub log: String,
    /// How it is written.
    #[arg(long, env = "STOWAGE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
