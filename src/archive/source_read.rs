//! Reading pieces of open sources, on a thread that may block.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::error::{ArchiveError, Result};
use crate::blob::BlobError;
use crate::dicom::source::Source;

/// Reads a piece of an open source.
pub(super) fn read_piece(source: &dyn Source, range: Range<u64>) -> Result<Bytes> {
    let length = usize::try_from(range.end - range.start).unwrap_or(0);
    let mut buffer = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
        match source.read_at(range.start + filled as u64, rest) {
            Ok(0) => return Err(lost_bytes(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(lost_bytes(error)),
        }
    }
    Ok(Bytes::from(buffer))
}

pub(super) fn lost_bytes(source: io::Error) -> ArchiveError {
    ArchiveError::Blob(BlobError::at("a stored instance", source))
}
