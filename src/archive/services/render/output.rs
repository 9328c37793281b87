//! What is made of a frame, and how it is named where it is kept.

use std::sync::Arc;

use bytes::Bytes;

use crate::archive::error::{ArchiveError, Result};
use crate::dicom::codec::{self, FrameShape};
use crate::dicom::render::ImageFormat;
use crate::memory::Reservation;

/// A frame as samples: little endian, interleaved, described by its shape; with the memory it takes.
#[derive(Debug)]
pub struct FrameSamples {
    frame: codec::DecodedFrame,
    _memory: Reservation,
}

impl std::ops::Deref for FrameSamples {
    type Target = codec::DecodedFrame;

    fn deref(&self) -> &codec::DecodedFrame {
        &self.frame
    }
}

impl FrameSamples {
    /// A frame, and what was reserved for it.
    pub(in crate::archive) fn new(frame: codec::DecodedFrame, memory: Reservation) -> Self {
        Self {
            frame,
            _memory: memory,
        }
    }

    /// The bytes, which keep the samples.
    #[must_use]
    pub fn into_bytes(self: Arc<Self>) -> Bytes {
        Bytes::from_owner(Owned(self))
    }
}

struct Owned(Arc<FrameSamples>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0.data
    }
}

/// What was made of a frame.
#[derive(Debug, Clone)]
pub enum Made {
    /// Samples.
    Samples(Arc<FrameSamples>),
    /// A codestream with what the header has to say of it.
    Encoded {
        /// The codestream, unpadded.
        bytes: Bytes,
        /// The shape it carries.
        shape: FrameShape,
        /// Its compression ratio when something was lost.
        ratio: Option<f64>,
    },
    /// A picture.
    Picture(Bytes),
}

impl Made {
    /// The samples it is.
    pub(in crate::archive) fn samples(self) -> Result<Arc<FrameSamples>> {
        match self {
            Self::Samples(samples) => Ok(samples),
            Self::Encoded { .. } | Self::Picture(_) => Err(ArchiveError::Lost { what: "samples" }),
        }
    }

    /// The picture it is.
    pub(in crate::archive) fn picture(self) -> Result<Bytes> {
        match self {
            Self::Picture(bytes) => Ok(bytes),
            Self::Samples(_) | Self::Encoded { .. } => {
                Err(ArchiveError::Lost { what: "a picture" })
            }
        }
    }

    /// Bytes it has.
    pub(in crate::archive) fn weight(&self) -> usize {
        match self {
            Self::Samples(frame) => frame.data.len(),
            Self::Encoded { bytes, .. } | Self::Picture(bytes) => bytes.len(),
        }
    }
}

/// Names something made of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MadeKey {
    /// The stored version of the instance.
    pub watermark: i64,
    /// The frame, from 1.
    pub frame: u32,
    /// What was made.
    pub what: FrameOutput,
}

/// What is made of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FrameOutput {
    /// Samples.
    Samples,
    /// A codestream in this transfer syntax.
    Encoded(String),
    /// A picture.
    Picture(PictureKey),
}

/// Names a picture of a frame: by what was asked for, not by how it was spelled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PictureKey {
    /// As what it is sent.
    pub format: ImageFormat,
    /// The parameters as they were understood.
    pub request: String,
    /// The stored version of the presentation state.
    pub state: Option<i64>,
}
