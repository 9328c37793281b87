//! DICOM itself: pure, synchronous, no I/O but `Read`, `Seek` and positional reads; nothing of the other layers.

pub mod charset;
pub mod fold;
#[doc(hidden)]
pub mod build;
pub mod error;
pub mod frames;
pub mod header;
pub mod inflate;
pub mod instance;
pub mod json;
pub mod keys;
pub mod query;
pub mod tag;
pub mod temporal;
pub mod scan;
pub mod source;
pub mod uid;
pub mod walk;
pub mod validate;
pub mod wildcard;
