//! What does not keep the rules in an instance that is stored all the same.

use dicom_core::Tag;

/// One attribute that does not keep the rules, for warnings and failure comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationIssue {
    /// The element, innermost.
    pub tag: Tag,
    /// `DICOM100: (gggg,eeee) - reason`, without patient data.
    pub comment: String,
}

impl ValidationIssue {
    /// The issue of an attribute, for a reason that holds no patient data.
    #[must_use]
    pub fn new(tag: Tag, reason: &str) -> Self {
        let Tag(group, element) = tag;
        let comment = format!("DICOM100: ({group:04X},{element:04X}) - {reason}");
        Self { tag, comment }
    }
}
