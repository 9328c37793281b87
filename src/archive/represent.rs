//! Which representation of an instance answers a wish, and making it.

use super::Archive;
use super::error::{ArchiveError, Result};
use super::retrieve::Content;
use crate::dicom::instance::PixelDescription;
use crate::dicom::media::{self, Codecs, FrameWish, Plan, Stored, SyntaxWish};
use crate::index::InstanceRow;

/// What this build can decode and encode.
#[derive(Debug, Clone, Copy)]
pub struct Built;

impl Codecs for Built {
    fn decodes(&self, _transfer_syntax: &str, _pixel: &PixelDescription) -> bool {
        false
    }

    fn encodes(&self, _transfer_syntax: &str, _pixel: &PixelDescription) -> bool {
        false
    }
}

fn stored(row: &InstanceRow) -> Stored<'_> {
    Stored {
        layout: &row.layout,
        pixel: row.pixel.as_ref(),
    }
}

impl Archive {
    /// The plan for an instance as a file.
    #[must_use]
    pub fn plan_instance(&self, row: &InstanceRow, wish: SyntaxWish<'_>) -> Option<Plan> {
        media::plan_instance(stored(row), wish, &Built)
    }

    /// The plan for frames of an instance, with their media type.
    #[must_use]
    pub fn plan_frames(
        &self,
        row: &InstanceRow,
        wish: FrameWish<'_>,
    ) -> Option<(Plan, &'static str)> {
        media::plan_frames(stored(row), wish, &Built)
    }

    /// Transfer syntaxes an instance can be had in.
    #[must_use]
    pub fn available(&self, row: &InstanceRow) -> Vec<String> {
        media::available(stored(row), &Built)
    }

    /// An instance as planned.
    ///
    /// # Errors
    /// When its bytes cannot be read or converted.
    pub async fn produce(&self, row: &InstanceRow, plan: &Plan) -> Result<Content> {
        match plan {
            Plan::Stored => self.stored(row).await,
            Plan::Native => self.explicit(row).await,
            Plan::Encode(_) => Err(ArchiveError::NotAcceptable {
                reason: "this server cannot make that transfer syntax".to_owned(),
                available: self.available(row),
            }),
        }
    }
}
