//! How much one file may ask of the server.
//!
//! Invariant: everything the walk keeps grows with one of these numbers, never with a length the file announces.

/// Bounds on one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sequences inside each other.
    pub depth: usize,
    /// Data elements in all.
    pub elements: u64,
    /// Sequence items in all.
    pub items: u64,
    /// Fragments of encapsulated values in all.
    pub fragments: u64,
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

impl Default for Limits {
    /// Room for a slide of 200,000 sparse tiles, whose functional groups are the largest headers there are.
    fn default() -> Self {
        Self {
            depth: 64,
            elements: 8 << 20,
            items: 4 << 20,
            fragments: 4 << 20,
            kept: 64 << 20,
            text: 256 << 20,
            bulk: 64 << 10,
            findings: 1000,
            inflated: 4 << 30,
        }
    }
}
