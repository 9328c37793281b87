//! Settings of de-identification.

use std::path::PathBuf;

use clap::Args;

use super::secret::{Secret, SecretError};
use crate::dicom::deidentify::RequestableOptions;

/// How identities are replaced.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "De-identification")]
pub struct DeidentifyConfig {
    /// File with the secret by which UIDs, Patient IDs and dates are replaced: the same secret makes the same ones.
    #[arg(long, env = "STOWAGE_DEIDENTIFY_KEY_FILE", global = true)]
    pub deidentify_key_file: Option<PathBuf>,
    /// JSON file of rules that say which rectangles of which pictures are blanked.
    #[arg(long, env = "STOWAGE_DEIDENTIFY_PIXELS_FILE", global = true)]
    pub deidentify_pixels_file: Option<PathBuf>,
    /// Options that requests over the network may name, separated by commas, such as `retain-modified-dates,retain-device`; none by default.
    #[arg(long, env = "STOWAGE_DEIDENTIFY_REQUEST_OPTIONS", global = true)]
    pub deidentify_request_options: Option<RequestableOptions>,
}

impl DeidentifyConfig {
    /// The secret; none when no file is named.
    ///
    /// # Errors
    /// [`SecretError`] when the file does not hold one.
    pub fn key(&self) -> Result<Option<Secret>, SecretError> {
        let path = self.deidentify_key_file.as_deref();
        path.map(|path| Secret::from_file("STOWAGE_DEIDENTIFY_KEY_FILE", path))
            .transpose()
    }
}
