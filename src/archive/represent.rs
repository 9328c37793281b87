//! Which representation of an instance answers a wish.

use super::Archive;
use super::frame_shape::CompiledCodecs;
use crate::dicom::media::{
    self, FramePreference, RepresentationPlan, StoredPixels, TransferSyntaxPreference,
};
use crate::index::InstanceRow;

fn stored(row: &InstanceRow) -> StoredPixels<'_> {
    StoredPixels {
        layout: &row.layout,
        pixel: row.pixel.as_ref(),
    }
}

impl Archive {
    /// The plan for an instance as a file.
    #[must_use]
    pub fn plan_instance(
        &self,
        row: &InstanceRow,
        preference: TransferSyntaxPreference<'_>,
    ) -> Option<RepresentationPlan> {
        media::plan_instance(stored(row), preference, &CompiledCodecs)
    }

    /// The plan for frames of an instance, with their media type.
    #[must_use]
    pub fn plan_frames(
        &self,
        row: &InstanceRow,
        preference: FramePreference<'_>,
    ) -> Option<(RepresentationPlan, &'static str)> {
        media::plan_frames(stored(row), preference, &CompiledCodecs)
    }

    /// Transfer syntaxes an instance can be had in, the stored one first.
    #[must_use]
    pub fn available(&self, row: &InstanceRow) -> Vec<String> {
        media::available(stored(row), &CompiledCodecs)
    }
}
