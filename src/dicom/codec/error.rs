//! What can go wrong between a codestream and a picture.
//!
//! Messages name transfer syntaxes, sizes and positions, never pixel values, so they may be logged.

use super::transfer_syntax::Coding;

/// The error of a codec library, kept as the source of a [`CodecError`].
pub type LibraryError = Box<dyn std::error::Error + Send + Sync>;

/// Why a frame could not be decoded or encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The UID is not a transfer syntax this layer knows.
    #[error(
        "transfer syntax {uid} is not known here; retrieve the stored form with transfer-syntax=*"
    )]
    UnknownTransferSyntax {
        /// The UID as it was given.
        uid: String,
    },
    /// The syntax is known, but these pixel attributes cannot be decoded from it.
    #[error("{coding} cannot be decoded here: {reason}")]
    CannotDecode {
        /// The transfer syntax asked for.
        coding: Coding,
        /// Which attribute stands in the way.
        reason: &'static str,
    },
    /// The syntax is known, but these pixel attributes cannot be encoded in it.
    #[error("{coding} cannot hold this frame: {reason}; choose another transfer syntax")]
    CannotEncode {
        /// The transfer syntax asked for.
        coding: Coding,
        /// Which attribute stands in the way.
        reason: &'static str,
    },
    /// The header and the codestream describe different pictures.
    #[error("{what} is {header} in the header but {stream} in the codestream")]
    Mismatch {
        /// The attribute in question.
        what: &'static str,
        /// The value of the DICOM header.
        header: u64,
        /// The value of the codestream.
        stream: u64,
    },
    /// The frame, or the memory needed to decode it, is above the limit.
    #[error("the frame needs {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Bytes needed.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The header attributes contradict each other.
    #[error("the image attributes describe no picture: {reason}")]
    InvalidShape {
        /// What contradicts what.
        reason: &'static str,
    },
    /// A native frame has the wrong number of bytes.
    #[error("the frame holds {found} bytes, the header asks for {expected}")]
    FrameLength {
        /// Bytes the header asks for.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The codestream is damaged or uses a feature outside its transfer syntax.
    #[error("the {coding} codestream cannot be read: {reason}")]
    Codestream {
        /// The transfer syntax of the codestream.
        coding: Coding,
        /// What was being read.
        reason: &'static str,
        /// The report of the codec library.
        #[source]
        source: Option<LibraryError>,
    },
    /// The encoder refused or produced something that does not decode to the frame.
    #[error("encoding as {coding} failed: {reason}; choose another transfer syntax")]
    Encoder {
        /// The transfer syntax asked for.
        coding: Coding,
        /// What failed.
        reason: &'static str,
        /// The report of the codec library.
        #[source]
        source: Option<LibraryError>,
    },
    /// A codec library panicked; the panic was caught.
    #[error("the codec for {coding} stopped with an internal error")]
    Panicked {
        /// The transfer syntax being worked on.
        coding: Coding,
    },
}

impl CodecError {
    /// A damaged codestream without a library report.
    pub(super) fn codestream(coding: Coding, reason: &'static str) -> Self {
        Self::Codestream {
            coding,
            reason,
            source: None,
        }
    }

    /// A damaged codestream as a codec library reported it.
    pub(super) fn library(
        coding: Coding,
        reason: &'static str,
        source: impl Into<LibraryError>,
    ) -> Self {
        Self::Codestream {
            coding,
            reason,
            source: Some(source.into()),
        }
    }

    /// A failed encoding as a codec library reported it.
    pub(super) fn encoder(
        coding: Coding,
        reason: &'static str,
        source: Option<LibraryError>,
    ) -> Self {
        Self::Encoder {
            coding,
            reason,
            source,
        }
    }
}
