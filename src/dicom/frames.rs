//! Where each frame of an instance lies: built once by the parser, looked up per request in constant time.
//!
//! Invariant: a slice never covers an item header, and every slice lies inside the pixel data the parser has seen. Fragments
//! follow each other with one item header between them, so lengths are enough to find them all.

mod fragments;
mod packed;

pub(crate) use fragments::{Fragments, starts_codestream};
pub use packed::PackedFrames;
pub use table::{BitRange, ByteRange, FrameSlices, FrameTable};

mod table;
#[cfg(test)]
mod tests;
