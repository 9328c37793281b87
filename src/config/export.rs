//! Settings of `POST /export`.

use clap::Args;

use super::units;

/// Exports that clients ask for.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Export")]
pub struct ExportConfig {
    /// Where `POST /export` may write, comma separated: `name=file:///folder`, `name=s3://bucket/prefix`, `name=az://container/prefix` or `name=gs://bucket/prefix`, with `?endpoint=…`, `region=…` and `credentials=` (the path of a file). Without any there is no export.
    #[arg(
        long,
        env = "STOWAGE_EXPORT_DESTINATIONS",
        value_delimiter = ',',
        global = true
    )]
    pub export_destinations: Vec<String>,
    /// Time without any progress after which an export is given up.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_EXPORT_GIVE_UP_SECONDS",
        default_value_t = 3600,
        global = true
    )]
    pub export_give_up_seconds: u64,
}
