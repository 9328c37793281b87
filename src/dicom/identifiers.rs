//! The four identifiers every instance must have, as they are come across.
//!
//! Invariant: what was read is kept as it stands in the file, so that a failure report can name it.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::endian::width;

/// Identifiers as far as they could be read, as they stand in the file, padding trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identifiers {
    /// (0020,000D)
    pub study: Option<String>,
    /// (0020,000E)
    pub series: Option<String>,
    /// (0008,0018)
    pub instance: Option<String>,
    /// (0008,0016)
    pub sop_class: Option<String>,
}

impl Identifiers {
    /// Whether a top-level element is one of the identifiers.
    pub(crate) fn holds(tag: Tag) -> bool {
        matches!(
            tag,
            tags::SOP_CLASS_UID
                | tags::SOP_INSTANCE_UID
                | tags::STUDY_INSTANCE_UID
                | tags::SERIES_INSTANCE_UID
        )
    }

    /// Takes the value of a top-level element, if it is one of the identifiers.
    ///
    /// A number under such a tag is no identifier; read as text it would depend on the byte order.
    pub(crate) fn note(&mut self, tag: Tag, vr: VR, bytes: &[u8]) {
        if width(vr) > 1 {
            return;
        }
        let slot = match tag {
            tags::SOP_CLASS_UID => &mut self.sop_class,
            tags::SOP_INSTANCE_UID => &mut self.instance,
            tags::STUDY_INSTANCE_UID => &mut self.study,
            tags::SERIES_INSTANCE_UID => &mut self.series,
            _ => return,
        };
        let text = String::from_utf8_lossy(bytes);
        let trimmed = text.trim_end_matches([' ', '\0']);
        *slot = (!trimmed.is_empty()).then(|| trimmed.to_owned());
    }
}
