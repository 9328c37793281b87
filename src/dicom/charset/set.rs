//! Coded character sets, and the two code elements that hold one each (PS3.5 §6.1.2.5).

use encoding_rs::Encoding;

/// The two code elements in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShiftState {
    /// Bytes below 0x80.
    pub(super) g0: Set,
    /// Bytes from 0x80 on.
    pub(super) g1: Option<Set>,
}

/// One coded character set of PS3.3 Tables C.12-2 to C.12-4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// ISO-IR 6.
    Ascii,
    /// ISO-IR 14: ASCII with yen and overline.
    JisRoman,
    /// ISO-IR 13: half-width katakana.
    Katakana,
    /// The upper half of an ISO 8859 part.
    High(&'static Encoding),
    /// ISO-IR 87.
    JisX0208,
    /// ISO-IR 159.
    JisX0212,
    /// ISO-IR 149.
    KsX1001,
    /// ISO-IR 58.
    Gb2312,
}
