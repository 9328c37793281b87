//! Why no file can be made of the metadata and the bulk data sent with it.

use dicom_core::Tag;

use crate::dicom::tag;
use crate::dicom::validate::ValueProblem;

/// Why no file can be made of the metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// The metadata is not an object of attributes.
    #[error("the metadata cannot be read as a data set: {0}")]
    NotADataSet(String),
    /// One of the two UIDs that name an instance is missing.
    #[error("the metadata has no {}", tag::keyword(*.0).unwrap_or("UID"))]
    Missing(Tag),
    /// An attribute cannot be encoded.
    #[error("the attribute {path} {problem}")]
    Attribute {
        /// Hex digits, one step for each sequence it lies in.
        path: String,
        /// Continues the sentence.
        problem: ComposeProblem,
    },
}

/// What is wrong with one attribute; continues "the attribute …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComposeProblem {
    /// The key is not eight hexadecimal digits.
    #[error("is not named by eight hexadecimal digits")]
    Name,
    /// There is no `vr` of two letters that the standard has.
    #[error("has no vr that DICOM knows")]
    Vr,
    /// The `vr` is two letters that are none of the standard's.
    #[error("has the vr '{}{}', which DICOM does not have", char::from(.0[0]), char::from(.0[1]))]
    UnknownVr([u8; 2]),
    /// A value has the wrong JSON type for its VR.
    #[error("has a value that its vr cannot hold")]
    Value,
    /// A value breaks a rule of its VR.
    #[error("cannot be written: {0}")]
    Rule(ValueProblem),
    /// `InlineBinary` is not base64.
    #[error("has an InlineBinary that is not base64")]
    Base64,
    /// No part has the Content-Location of the `BulkDataURI`.
    #[error("has a BulkDataURI that is the Content-Location of no part of this request")]
    NoPart,
    /// Compressed data for an attribute that is not the pixel data.
    #[error("cannot be sent in a transfer syntax of compressed pixel data")]
    NotPixels,
    /// The pixel data is not what something says it is.
    #[error("{0}")]
    Pixels(&'static str),
    /// All values together are made of more parts than that.
    #[error("is the one too many that is made of several parts: send fewer and larger ones")]
    TooManyPieces,
    /// The value is longer than an element can be.
    #[error("has a value of 4 GiB or more")]
    TooLong,
}
