//! How much one file may ask of the server.
//!
//! Invariant: everything the parser keeps grows with one of these numbers, never with a length the file announces; what was
//! stored can be read by everything that reads, for both have the same depth.

/// Most sequences inside each other, at ingest and for whoever reads what is stored.
///
/// `serde_json` reads 127 levels: the data set, three for each sequence, three for a person name inside the last. Real
/// files have eight or so.
pub const DEPTH: usize = 40;

/// Bounds on one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseLimits {
    /// Sequences inside each other.
    pub depth: usize,
    /// Data elements and sequence items together.
    pub elements: u64,
    /// Fragments of encapsulated values in all.
    pub fragments: u64,
    /// Frames of the pixel data.
    pub frames: u32,
    /// Bytes of values looked at (bulk data is only skipped).
    pub kept: u64,
    /// Bytes of DICOM JSON.
    pub text: usize,
    /// Values served by URI.
    pub bulk: usize,
    /// Findings that are reported; what they are about is left out all the same.
    pub findings: usize,
    /// Bytes of an inflated data set.
    pub inflated: u64,
}

impl ParseLimits {
    /// For files that are stored already, under whatever limits there were then; nothing is kept of their elements.
    #[must_use]
    pub fn of_stored() -> Self {
        Self {
            depth: 64,
            elements: u64::MAX,
            ..Self::default()
        }
    }
}

impl Default for ParseLimits {
    /// Room for a slide of 200,000 sparse tiles, whose functional groups are the largest headers there are: 14 elements
    /// and items for each tile.
    fn default() -> Self {
        Self {
            depth: DEPTH,
            elements: 4_000_000,
            fragments: 4 << 20,
            frames: 10_000_000,
            kept: 64 << 20,
            text: 256 << 20,
            bulk: 64 << 10,
            findings: 1000,
            inflated: 4 << 30,
        }
    }
}
