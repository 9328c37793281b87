//! JPEG-LS (ISO/IEC 14495-1, ITU-T T.87): decoder and encoder, lossless and near-lossless.
//!
//! `markers` reads the marker segments, `coding` what they fix, `context` holds the one context model
//! that both directions share, `lines` the line buffers, `bits` the entropy-coded segment; `decode` and
//! `encode` walk the lines.
//!
//! Invariant: no input makes this module panic, allocate more than the caller allowed, or work
//! longer than the size of the image or of the stream explains; what cannot be coded exactly
//! as the standard says is an error, never a guess.

mod bits;
mod coding;
mod context;
mod decode;
mod encode;
mod lines;
mod markers;
#[cfg(test)]
mod tests;

pub use self::decode::decode;
pub use self::encode::encode;
pub use self::markers::read_info;

/// Largest number of components in a frame this module codes.
const MAX_COMPONENTS: usize = 4;

/// Geometry and coding bounds of a JPEG-LS image (T.87 §C.2.2, §C.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Samples per line, 1 to 65,535.
    pub columns: u32,
    /// Lines, 1 to 65,535.
    pub rows: u32,
    /// Samples per pixel, 1 to 4.
    pub components: u8,
    /// Bits per sample, 2 to 16.
    pub precision: u8,
    /// Largest difference between a coded and an original sample; 0 is lossless.
    ///
    /// [`read_info`] gives the value of the first scan, [`decode()`] the largest of all scans.
    pub near: u8,
}

impl Info {
    /// Bytes one sample takes in [`JpegLsImage::samples`]: 1 up to 8 bits of precision, else 2.
    #[must_use]
    pub const fn bytes_per_sample(&self) -> usize {
        if self.precision <= 8 { 1 } else { 2 }
    }

    /// Bytes the decoded samples of the whole image take.
    #[must_use]
    pub const fn samples_bytes(&self) -> u64 {
        // At most 65,535 × 65,535 × 4 × 2, far below the range of u64.
        self.columns as u64
            * self.rows as u64
            * self.components as u64
            * self.bytes_per_sample() as u64
    }
}

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JpegLsImage {
    /// Geometry as the headers gave it.
    pub info: Info,
    /// Unsigned code values, pixel by pixel, the components of a pixel together.
    ///
    /// One byte per sample up to 8 bits of precision, else two, little endian.
    pub samples: Vec<u8>,
}

/// Order of the components in the coded stream (ILV, T.87 §C.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interleave {
    /// One scan per component.
    None,
    /// One scan, the components alternate line by line.
    Line,
    /// One scan, the components alternate sample by sample.
    Sample,
}

/// What [`encode()`] is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeParams {
    /// Samples per line, 1 to 65,535.
    pub columns: u32,
    /// Lines, 1 to 65,535.
    pub rows: u32,
    /// Samples per pixel, 1 to 4.
    pub components: u8,
    /// Bits per sample, 2 to 16; every sample must be below 2 to this power.
    pub precision: u8,
    /// Largest allowed difference, 0 (lossless) to the smaller of 255 and half the largest sample.
    pub near: u8,
    /// Order of the components; a single component is always written as [`Interleave::None`].
    pub interleave: Interleave,
}

/// Why a stream could not be decoded, or an image not be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first two bytes are not SOI.
    #[error("not a JPEG stream: it does not begin with SOI (FF D8)")]
    NotJpeg,
    /// The bytes end before the image does.
    #[error("JPEG-LS stream ends early, at byte {offset}")]
    Truncated {
        /// Where more bytes were expected.
        offset: usize,
    },
    /// A marker that has no business at this place.
    #[error("marker FF {marker:02X} at byte {offset} does not belong there in a JPEG-LS stream")]
    UnexpectedMarker {
        /// Second byte of the marker.
        marker: u8,
        /// Where the marker begins.
        offset: usize,
    },
    /// Bytes between two segments that are not a marker.
    #[error("a marker is missing at byte {offset} of the JPEG-LS stream")]
    MissingMarker {
        /// Where the marker should begin.
        offset: usize,
    },
    /// A marker segment holds values T.87 forbids.
    #[error("marker segment FF {marker:02X} at byte {offset}: {reason}")]
    Segment {
        /// Second byte of the marker.
        marker: u8,
        /// Where the marker begins.
        offset: usize,
        /// What was wrong with it.
        reason: &'static str,
    },
    /// A legal stream that uses something this decoder does not do.
    #[error("JPEG-LS with {feature} is not supported; decode it with another tool first")]
    Unsupported {
        /// What the stream uses.
        feature: &'static str,
    },
    /// The entropy-coded data cannot have come from an encoder.
    #[error("damaged JPEG-LS data near byte {offset}")]
    Damaged {
        /// How far the decoder had read.
        offset: usize,
    },
    /// The stream ended, in order, without all components of the frame.
    #[error("JPEG-LS stream ends without a scan for component {component} of its frame")]
    MissingComponent {
        /// Index of the first missing component, from 0.
        component: usize,
    },
    /// The decoded image is larger than the caller allows.
    #[error("decoded JPEG-LS image takes {needed} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Bytes the samples take.
        needed: u64,
        /// The caller's limit.
        limit: usize,
    },
    /// Parameters the encoder cannot honor.
    #[error("cannot encode as JPEG-LS: {reason}")]
    Parameters {
        /// What was wrong, with the legal range.
        reason: &'static str,
    },
    /// The sample buffer does not have the length the parameters ask for.
    #[error("cannot encode as JPEG-LS: expected {expected} bytes of samples, got {actual}")]
    SampleLength {
        /// Bytes the parameters ask for.
        expected: u64,
        /// Bytes given.
        actual: usize,
    },
    /// A sample does not fit the precision.
    #[error("cannot encode as JPEG-LS: a sample in row {row} exceeds the largest value {maximum}")]
    SampleRange {
        /// Row of the sample, from 0.
        row: u32,
        /// Largest value of the precision.
        maximum: u16,
    },
}
