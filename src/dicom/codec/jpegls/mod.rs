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
mod error;
mod lines;
mod markers;
mod model;
mod run_index;
#[cfg(test)]
mod tests;

pub use self::decode::decode;
pub use self::encode::encode;
pub use self::markers::read_info;
pub use error::Error;
pub use model::{EncodeParams, Info, Interleave, JpegLsImage};
