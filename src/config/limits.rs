//! Limits of requests, answers and work.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::units;
use super::units::some_hours;

/// Limits; each has a test.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Bytes of memory that requests and caches may use together; a quarter of the machine's, or of its cgroup's, when absent.
    #[arg(long, env = "STOWAGE_MEMORY_BYTES", value_parser = units::budget, value_name = "SIZE", global = true)]
    pub memory_bytes: Option<u64>,
    /// Largest instance that is stored, in bytes.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_MAX_INSTANCE_BYTES", default_value_t = 64 << 30, global = true)]
    pub max_instance_bytes: u64,
    /// Which preambles files may have; `plain`: zeros, or the beginning of a TIFF file, so that no file is a program too.
    #[arg(long, env = "STOWAGE_PREAMBLES", value_enum, default_value_t = Preambles::Any, global = true)]
    pub preambles: Preambles,
    /// Largest store request, in bytes.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_MAX_REQUEST_BYTES", default_value_t = 1 << 40, global = true)]
    pub max_request_bytes: u64,
    /// Most parts of one store request.
    #[arg(
        long,
        env = "STOWAGE_MAX_PARTS",
        default_value_t = 10_000,
        global = true
    )]
    pub max_parts: u64,
    /// Bytes of one part held in memory before it goes to the spool.
    #[arg(long, value_parser = units::memory, value_name = "SIZE", env = "STOWAGE_PART_MEMORY_BYTES", default_value_t = 16 << 20, global = true)]
    pub part_memory_bytes: usize,
    /// Parts of one request that are walked and written at the same time.
    #[arg(
        long,
        env = "STOWAGE_STORE_CONCURRENCY",
        default_value_t = 8,
        global = true
    )]
    pub store_concurrency: usize,
    /// Store requests handled at the same time; further ones are answered 503 with Retry-After.
    #[arg(
        long,
        env = "STOWAGE_STORE_REQUESTS",
        default_value_t = 256,
        global = true
    )]
    pub store_requests: usize,
    /// Requests of any kind handled at the same time, until their last byte is sent; further ones are answered 503 with Retry-After.
    #[arg(long, env = "STOWAGE_REQUESTS", default_value_t = 1024, global = true)]
    pub requests: usize,
    /// Bytes of all parts held in spool files by all requests together; a part beyond is answered 503 with Retry-After.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_SPOOL_BYTES", default_value_t = 128 << 30, global = true)]
    pub spool_bytes: u64,
    /// How many of a hundred reads are compared with the checksums taken when the bytes were stored.
    #[arg(long, env = "STOWAGE_VERIFY_READS", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100), global = true)]
    pub verify_reads: u8,
    /// Seconds without a byte from the client, or taken by it, before a request is given up.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_IDLE_SECONDS",
        default_value_t = 60,
        global = true
    )]
    pub idle_seconds: u64,
    /// Most frames in one request.
    #[arg(
        long,
        env = "STOWAGE_MAX_FRAMES",
        default_value_t = 10_000,
        global = true
    )]
    pub max_frames: usize,
    /// Most results of one search; a search that finds more is answered 413 when it asked for no limit.
    #[arg(
        long,
        env = "STOWAGE_MAX_RESULTS",
        default_value_t = 100_000,
        global = true
    )]
    pub max_results: u64,
    /// Most rows looked at for an attribute that has no index; a search that would need more is answered 413.
    #[arg(
        long,
        env = "STOWAGE_MAX_SCAN",
        default_value_t = 20_000,
        global = true
    )]
    pub max_scan: u64,
    /// Seconds a search may take in the database before it is answered 413.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_SEARCH_SECONDS",
        default_value_t = 20,
        global = true
    )]
    pub search_seconds: u64,
    /// What becomes of an instance whose UIDs are stored already, when it comes by POST or C-STORE.
    #[arg(
        long,
        env = "STOWAGE_EXISTING",
        value_enum,
        default_value = "keep",
        global = true
    )]
    pub existing: ExistingPolicy,
    /// Most data elements and sequence items of one instance, together.
    #[arg(
        long,
        env = "STOWAGE_MAX_ELEMENTS",
        default_value_t = 4_000_000,
        global = true
    )]
    pub max_elements: u64,
    /// Bytes of header values (everything but pixel data) of an instance held while it is walked.
    #[arg(long, value_parser = units::memory, value_name = "SIZE", env = "STOWAGE_MAX_HEADER_BYTES", default_value_t = 64 << 20, global = true)]
    pub max_header_bytes: usize,
    /// Largest inflated size of a deflated data set, in bytes.
    #[arg(long, value_parser = units::bytes, value_name = "SIZE", env = "STOWAGE_MAX_INFLATED_BYTES", default_value_t = 1 << 30, global = true)]
    pub max_inflated_bytes: u64,
    /// Bytes of decoded and encoded frames kept for those who ask next.
    #[arg(
        long,
        value_parser = units::bytes,
        value_name = "SIZE",
        env = "STOWAGE_FRAME_CACHE_BYTES",
        default_value_t = 64 << 20,
        global = true
    )]
    pub frame_cache_bytes: u64,
    /// Bytes of metadata answers kept for those who ask next; 0 keeps none.
    #[arg(
        long,
        value_parser = units::bytes,
        value_name = "SIZE",
        env = "STOWAGE_METADATA_CACHE_BYTES",
        default_value_t = 64 << 20,
        global = true
    )]
    pub metadata_cache_bytes: u64,
    /// Hours a finished workitem is kept before the sweeper deletes it; 0 keeps it for ever.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_WORKITEM_HOURS",
        default_value_t = 0.0,
        global = true
    )]
    pub workitem_hours: f64,
    /// Hours an event of the worklist is kept for subscribers who come back.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_EVENT_HOURS",
        default_value_t = 168.0,
        global = true
    )]
    pub event_hours: f64,
    /// JSON file of rules that make a workitem of a study in which nothing has come for a while; none makes none.
    #[arg(
        long,
        value_name = "FILE",
        env = "STOWAGE_WORKITEM_RULES",
        global = true
    )]
    pub workitem_rules: Option<PathBuf>,
    /// Hours a result of storage commitment is kept; 0 keeps it for ever.
    #[arg(
        long,
        value_parser = units::hours,
        value_name = "TIME",
        env = "STOWAGE_COMMITMENT_HOURS",
        default_value_t = 168.0,
        global = true
    )]
    pub commitment_hours: f64,
    /// Event channels open at the same time; further ones are answered 503 with Retry-After.
    #[arg(long, env = "STOWAGE_CHANNELS", default_value_t = 256, global = true)]
    pub channels: usize,
    /// Longest side of a picture that is scaled to a viewport, in pixels; a larger viewport is answered 400.
    #[arg(long, env = "STOWAGE_MAX_VIEWPORT", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=8192), global = true)]
    pub max_viewport: u32,
    /// Largest decoded frame, in bytes.
    #[arg(long, value_parser = units::memory, value_name = "SIZE", env = "STOWAGE_MAX_FRAME_BYTES", default_value_t = 512 << 20, global = true)]
    pub max_frame_bytes: usize,
}

/// What becomes of an instance whose UIDs are stored already, when it comes by POST or C-STORE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExistingPolicy {
    /// What is stored stays.
    Keep,
    /// It takes the place of what is stored, if its bytes are others and its sender may delete; a DIMSE peer that may write does.
    Replace,
}

/// Which 128 bytes may stand before the prefix of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preambles {
    /// Any: bytes out are bytes in.
    Any,
    /// Zeros, or the beginning of a TIFF file.
    Plain,
}

impl Limits {
    /// How long a finished workitem is kept; none for ever.
    #[must_use]
    pub fn workitem_time(&self) -> Option<Duration> {
        some_hours(self.workitem_hours)
    }

    /// How long a result of storage commitment is kept; none for ever.
    #[must_use]
    pub fn commitment_time(&self) -> Option<Duration> {
        some_hours(self.commitment_hours)
    }

    /// How long an event of the worklist is kept.
    #[must_use]
    pub fn event_time(&self) -> Duration {
        Duration::try_from_secs_f64(self.event_hours * 3600.0).unwrap_or(Duration::MAX / 4)
    }

    /// How long a search may take in the database.
    #[must_use]
    pub fn search_time(&self) -> Duration {
        Duration::from_secs(self.search_seconds.max(1))
    }
}
