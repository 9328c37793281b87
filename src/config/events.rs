//! Settings of events and of those who are told of them by HTTP.

use std::path::PathBuf;

use clap::Args;

use super::units;

/// Events.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Events")]
pub struct EventsConfig {
    /// Time without a change after which a study is told of as quiet.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_QUIET_SECONDS",
        default_value_t = 60,
        global = true
    )]
    pub quiet_seconds: u64,
    /// JSON file of webhooks, which are there while the file names them.
    #[arg(long, env = "STOWAGE_WEBHOOKS_FILE", global = true)]
    pub webhooks_file: Option<PathBuf>,
    /// Networks (CIDR, comma separated) that webhooks may call although they are not public, by http too.
    #[arg(
        long,
        env = "STOWAGE_WEBHOOK_NETWORKS",
        value_delimiter = ',',
        global = true
    )]
    pub webhook_networks: Vec<String>,
    /// JSON file of rules by which what arrives is sent on to other servers.
    #[arg(
        long,
        env = "STOWAGE_FORWARD_RULES",
        value_name = "FILE",
        global = true
    )]
    pub forward_rules: Option<PathBuf>,
    /// Pauses before an event that did not arrive is sent again, comma separated; behind the last it is given up.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_WEBHOOK_RETRY_SECONDS",
        value_delimiter = ',',
        default_value = "5,300,1800,7200,18000,36000,50400,72000,86400",
        global = true
    )]
    pub webhook_retry_seconds: Vec<u64>,
    /// Time a receiver has for its answer.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_WEBHOOK_WAIT_SECONDS",
        default_value_t = 15,
        global = true
    )]
    pub webhook_wait_seconds: u64,
}
