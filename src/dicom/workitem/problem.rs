//! What is wrong with a request about a workitem.

use dicom_core::Tag;

use crate::dicom::tag;

/// Longest workitem, in bytes of DICOM JSON.
pub const LONGEST: usize = 4 << 20;

/// What is wrong with a request about a workitem; continues no sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The body is no data set, or one of its attributes cannot be encoded.
    #[error("{0}")]
    Unreadable(String),
    /// An attribute must be there.
    #[error("the attribute {} must be present{}", reported(*.0), if *.1 { " with a value" } else { ", with or without a value" })]
    Missing(Tag, bool),
    /// An attribute may not be empty.
    #[error("the attribute {} must have a value when it is present", reported(*.0))]
    Empty(Tag),
    /// An attribute must have no value yet.
    #[error("the attribute {} must have no value when a workitem is created", reported(*.0))]
    Filled(Tag),
    /// An attribute may not be changed.
    #[error("the attribute {} may not be changed by an update", reported(*.0))]
    Fixed(Tag),
    /// A code without its meaning.
    #[error("each item of {} needs a Code Meaning (0008,0104)", reported(*.0))]
    CodeMeaning(Tag),
    /// No UID, or none that is well formed.
    #[error("{0} must be given as a UID of at most 64 digits and dots")]
    Uid(&'static str),
    /// Two UIDs that must be the same are not.
    #[error("{0} in the query and in the data set are not the same")]
    Mismatch(&'static str),
    /// Another state than the request may ask for.
    #[error("the Procedure Step State (0074,1000) must be {0}")]
    State(&'static str),
    /// It grew beyond [`LONGEST`].
    #[error("the workitem would be longer than {LONGEST} bytes")]
    TooLong,
}

/// An attribute as it is told: its keyword, and its number.
pub(super) fn reported(tag: Tag) -> String {
    let keyword = tag::keyword(tag).unwrap_or("attribute");
    format!("{keyword} ({:04X},{:04X})", tag.group(), tag.element())
}
