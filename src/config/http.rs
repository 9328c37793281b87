//! Settings of the HTTP face.

use clap::{Args, ValueEnum};

use super::cache::ClientCache;
use super::units;

/// The HTTP face.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpConfig {
    /// Base of all absolute URLs in answers, for example `https://pacs.example.org/dicom`; taken from the request when absent.
    #[arg(long, env = "STOWAGE_PUBLIC_URL", global = true)]
    pub public_url: Option<String>,
    /// Networks (CIDR, comma separated) of proxies that are believed when they say who asks.
    #[arg(
        long,
        env = "STOWAGE_TRUSTED_PROXIES",
        value_delimiter = ',',
        global = true
    )]
    pub trusted_proxies: Vec<String>,
    /// Headers that those proxies write, comma separated: `forwarded`, or `x-forwarded-` and `for`, `proto`, `host`, `port`, `prefix`; others are the client's own word.
    #[arg(
        long,
        env = "STOWAGE_PROXY_HEADERS",
        default_value = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port,x-forwarded-prefix",
        global = true
    )]
    pub proxy_headers: String,
    /// Origins that browsers may call from, comma separated; `*` = any (without credentials), `none` = no CORS at all; when absent, any with access control, and pages of this machine and of the public URL without it.
    #[arg(long, env = "STOWAGE_CORS_ORIGINS", global = true)]
    pub cors_origins: Option<String>,
    /// What browsers keep of what they were answered: `off` nothing; `ask` what has an `ETag`, and they ask before each use; a time such as `10m`: pixels are used again for so long without asking.
    #[arg(long, env = "STOWAGE_CLIENT_CACHE", value_name = "off|ask|TIME", default_value_t = ClientCache::Ask, global = true)]
    pub client_cache: ClientCache,
    /// Who may read the counts at `/metrics`.
    #[arg(long, env = "STOWAGE_METRICS", value_enum, default_value_t = MetricsAccess::Token, global = true)]
    pub metrics: MetricsAccess,
    /// Seconds to wait for the head of a request, also between two requests of one connection.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_HEAD_SECONDS",
        default_value_t = 60,
        global = true
    )]
    pub head_seconds: u64,
    /// Most connections at the same time; fewer where the system allows fewer open files.
    #[arg(
        long,
        env = "STOWAGE_CONNECTIONS",
        default_value_t = 4096,
        global = true
    )]
    pub connections: usize,
    /// Bytes a second that a client must send of its request, or take of its answer, on the whole; 0 for any.
    #[arg(
        long,
        value_parser = units::bytes,
        value_name = "SIZE",
        env = "STOWAGE_LEAST_BYTES_PER_SECOND",
        default_value_t = 1024,
        global = true
    )]
    pub least_bytes_per_second: u64,
    /// Seconds of waiting for a client after which it must have kept that rate.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_SLOW_SECONDS",
        default_value_t = 10,
        global = true
    )]
    pub slow_seconds: u64,
    /// Seconds to let running requests end after a stop signal.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_SHUTDOWN_SECONDS",
        default_value_t = 30,
        global = true
    )]
    pub shutdown_seconds: u64,
}

/// Who may read the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MetricsAccess {
    /// Nobody: there is no such page.
    Off,
    /// With access control, whoever may read everything; without it, everybody.
    Token,
    /// Everybody who can reach the address.
    Open,
}
