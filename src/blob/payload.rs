//! What a blob is made of, and what it is read as.

use std::sync::Arc;

use bytes::Bytes;

use super::spool::SpoolFile;
use crate::dicom::source::Source;

/// Bytes of one chunk of a streamed answer at most.
pub const CHUNK: usize = 256 * 1024;

/// Bytes of one part of a file that goes to a destination of exports; whoever sends one reserves as much memory.
pub const SEND_PART: usize = 16 << 20;

/// The bytes of a blob to be.
#[derive(Debug)]
pub enum Payload {
    /// In memory.
    Memory(Bytes),
    /// In the spool.
    Spooled(SpoolFile),
}

/// A range of a blob, opened for positional reads; they block, so they belong on the blocking pool.
pub type OpenBlob = Arc<dyn Source + Send + Sync>;
