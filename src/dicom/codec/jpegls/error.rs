//! Why a JPEG-LS stream could not be decoded, or an image not be encoded.

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
