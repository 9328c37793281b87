//! What `stowage upload` and `stowage copy` are told of another server.

use std::path::PathBuf;

use clap::Args;

use super::units;
use crate::dicom::deidentify::DeidentifyOptions;
use crate::scope::PartitionName;

/// How another server is asked.
#[derive(Debug, Clone, Args)]
pub struct RemoteArgs {
    /// File with a token for the other server, read again for each request: a bearer token, `user:password`, or a whole `Scheme credentials`; the variable `STOWAGE_REMOTE_TOKEN` may hold it instead.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Requests at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// How often a request is sent again, with growing pauses, while the server is away or busy.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    pub retries: u32,
    /// Time within which the other server must send or take something.
    #[arg(long, value_parser = units::seconds, value_name = "TIME", default_value = "60s")]
    pub idle: u64,
}

/// What is sent to another `DICOMweb` server.
#[derive(Debug, Clone, Args)]
pub struct UploadArgs {
    /// Root of the other server's `DICOMweb` service, such as `https://pacs.example/dicom-web`.
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// Files and folders; links are followed, each file once. What is no DICOM file is counted and passed over.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// File to note files in that arrived; those that a run before noted there are skipped unless they changed since.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// File to write every file to that did not arrive, one in a line: its path, a tab, the reason.
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// How the other server is asked.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// What is copied from another `DICOMweb` server.
#[derive(Debug, Clone, Args)]
pub struct CopyArgs {
    /// Root of the other server's `DICOMweb` service, such as `https://pacs.example/dicom-web`.
    #[arg(value_name = "URL")]
    pub from: String,
    /// A study to copy, by UID; may be repeated.
    #[arg(long = "study", value_name = "UID", conflicts_with = "query")]
    pub studies: Vec<String>,
    /// Copy the studies that match, such as `PatientID=4711` or `StudyDate=20240101-20241231`; repeated, all must match. Without studies and queries all are copied.
    #[arg(long, value_name = "KEY=VALUE")]
    pub query: Vec<String>,
    /// Partition to store into, made when it is not there; needs `STOWAGE_PARTITIONS=on`.
    #[arg(long, value_name = "NAME", default_value = PartitionName::DEFAULT)]
    pub partition: PartitionName,
    /// De-identify what comes before it is stored, under new UIDs; `=` and options separated by commas say what stays: `retain-uids`, `retain-full-dates` or `retain-modified-dates`, `retain-patient-characteristics`, `retain-device`, `retain-institution`. Needs `STOWAGE_DEIDENTIFY_KEY_FILE`.
    #[arg(long, value_name = "OPTIONS", num_args = 0..=1, require_equals = true, default_missing_value = "basic")]
    pub deidentify: Option<DeidentifyOptions>,
    /// File to note copied instances and their digests in; those that a run before noted there are not fetched again.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// How the other server is asked.
    #[command(flatten)]
    pub remote: RemoteArgs,
}
