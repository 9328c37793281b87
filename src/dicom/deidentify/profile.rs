//! How a server de-identifies: what stays, its key, its rules about pixels.

use super::error::DeidentifyError;
use super::facts::InstanceFacts;
use super::options::{DeidentifyOptions, RequestableOptions};
use super::pixels::{Blanks, PixelRules};
use super::pseudonym::PseudonymKey;
use crate::dicom::instance::FileLayout;
use crate::dicom::limits::ParseLimits;
use crate::dicom::source::Source;

/// How instances are de-identified: what stays, by which key the rest is replaced, what is known of pixels.
#[derive(Debug, Clone)]
pub struct DeidentifyProfile {
    /// What stays that the Basic Profile would take away.
    pub options: DeidentifyOptions,
    /// What makes the new UIDs, identifiers and dates.
    pub key: PseudonymKey,
    /// Which pixels are blanked where.
    pub pixels: PixelRules,
    /// Which options requests over the network may name.
    pub requestable: RequestableOptions,
}

impl DeidentifyProfile {
    /// Reads what a data set says about patient and pixels, and which rectangles are to be blanked.
    ///
    /// # Errors
    /// [`DeidentifyError::Refused`] when its pixels may show somebody's name, or it is a document.
    pub fn inspect(
        &self,
        source: &dyn Source,
        layout: &FileLayout,
        sop_class: &str,
        limits: ParseLimits,
    ) -> Result<(InstanceFacts, Blanks), DeidentifyError> {
        let facts = InstanceFacts::read(source, layout, limits)?;
        let blanks = self.pixels.blanks(sop_class, &facts)?;
        Ok((facts, blanks))
    }

    /// The new UID of an old one; it stays where UIDs are retained, and where the standard gives it a meaning.
    #[must_use]
    pub fn new_uid(&self, old: &str) -> String {
        if self.options.uids || is_well_known(old) {
            return old.to_owned();
        }
        self.key.uid(old)
    }
}

/// Whether a UID is a frame of reference or a palette of the standard (PS3.6 Tables ), of which all can be known.
fn is_well_known(uid: &str) -> bool {
    let known = ["1.2.840.10008.1.4.", "1.2.840.10008.1.5."];
    let rest = known.iter().find_map(|root| uid.strip_prefix(root));
    rest.is_some_and(|rest| {
        let steps: Vec<&str> = rest.split('.').collect();
        let short = |step: &&str| {
            (1..=2).contains(&step.len()) && step.bytes().all(|byte| byte.is_ascii_digit())
        };
        steps.len() <= 2 && steps.iter().all(short)
    })
}
