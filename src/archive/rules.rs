//! What an instance must keep to be stored, by face (dicom-service §3; PS3.18 §10.5 leaves it to the server).

use crate::config::Limits;
use crate::dicom::instance::{Finding, Instance};
use crate::dicom::media::syntax::IMPLICIT_LE;
use crate::dicom::walk::WalkOptions;

use super::store::reason;

/// The rules of a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Whatever can be identified is stored.
    Standard,
    /// Indexed attributes must keep their VR.
    ServiceV1,
    /// Attributes that break their VR are left out of index and metadata, with a warning.
    ServiceV2,
}

impl Rules {
    /// How a file is walked under these rules.
    #[must_use]
    pub fn walk_options(self, limits: &Limits) -> WalkOptions<'static> {
        let mut options = WalkOptions::default();
        options.limits.inflated = limits.max_inflated_bytes;
        options
    }

    /// Why an instance that could be walked is not stored; empty when it is.
    #[must_use]
    pub fn refusals(self, _instance: &Instance) -> Vec<String> {
        Vec::new()
    }

    /// The warning reason an instance is stored with.
    #[must_use]
    pub fn warning(self, instance: &Instance) -> Option<u16> {
        let told: &[Finding] = &instance.findings;
        match self {
            Self::Standard | Self::ServiceV1 => None,
            // The DICOM service says so for every Implicit VR file.
            Self::ServiceV2 if instance.layout.transfer_syntax == IMPLICIT_LE => {
                Some(reason::NOT_MATCHING_CLASS)
            }
            Self::ServiceV2 => (!told.is_empty()).then_some(reason::ATTRIBUTE_WARNING),
        }
    }
}
