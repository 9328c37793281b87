//! Which representation of an instance answers a wish.

use super::Archive;
use super::pixels::Built;
use crate::dicom::media::{self, FrameWish, Plan, Stored, SyntaxWish};
use crate::index::InstanceRow;

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

    /// Transfer syntaxes an instance can be had in, the stored one first.
    #[must_use]
    pub fn available(&self, row: &InstanceRow) -> Vec<String> {
        media::available(stored(row), &Built)
    }
}
