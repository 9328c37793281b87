//! DICOM itself: pure, synchronous, no I/O but `Read`, `Seek` and positional reads; nothing of the other layers.

pub mod charset;
pub mod fold;
pub mod frames;
pub mod instance;
pub mod keys;
pub mod matcher;
pub mod query;
pub mod query_parse;
pub mod query_tag;
pub mod tag;
pub mod temporal;
pub mod uid;
pub mod validate;
pub mod wildcard;
