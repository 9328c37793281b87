//! DICOM itself: pure, synchronous, no I/O but `Read`, `Seek` and positional reads; nothing of the other layers.

#[doc(hidden)]
pub mod build;
pub mod charset;
pub mod codec;
pub mod compose;
pub mod endian;
pub mod error;
mod explicit;
pub mod fold;
pub mod frames;
pub mod header;
pub mod identifiers;
pub mod inflate;
pub mod instance;
pub mod json;
pub mod keys;
pub mod limits;
pub mod matcher;
pub mod media;
pub mod members;
pub mod merge;
pub mod metadata;
pub mod pieces;
pub mod query;
pub mod query_parse;
pub mod query_tag;
pub mod render;
pub mod rewrite;
pub mod scan;
pub mod source;
pub mod tag;
pub mod temporal;
pub mod uid;
pub mod validate;
pub mod walk;
pub mod wildcard;
pub mod xml;
