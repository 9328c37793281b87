//! A part whose bytes are complete: in memory or in a file of the spool, with their checksums.

use std::fs::File;

use bytes::Bytes;

use super::receive::{GatheredBytes, PartBuffer, Spooling};
use crate::archive::spool::SpoolRoom;
use crate::blob::{Payload, SpoolFile};
use crate::checksum::ContentSums;
use crate::dicom::source::{FileSource, Source};
use crate::memory::Reservation;

/// A part whose bytes are complete.
pub(super) struct CompletePart {
    content: PartBytes,
    pub(super) sums: ContentSums,
    /// Room in the spool of the payload.
    _room: Option<SpoolRoom>,
    /// Memory of the payload.
    _memory: Option<Reservation>,
}

enum PartBytes {
    Memory(Bytes),
    Spooled(SpoolFile, FileSource),
}

impl CompletePart {
    /// What is stored of it.
    pub(super) fn into_load(self) -> Load {
        Load {
            payload: match self.content {
                PartBytes::Memory(bytes) => Payload::Memory(bytes),
                PartBytes::Spooled(file, _) => Payload::Spooled(file),
            },
            held: (self._room, self._memory),
        }
    }

    /// Its bytes.
    pub(super) fn source(&self) -> &dyn Source {
        match &self.content {
            PartBytes::Memory(bytes) => bytes,
            PartBytes::Spooled(_, source) => source,
        }
    }

    /// Takes the bytes over; hashes what is in memory, so it takes a while.
    pub(super) fn new(held: PartBuffer) -> std::io::Result<Self> {
        match held {
            // It never gets here.
            PartBuffer::Refused(_) => Err(std::io::ErrorKind::PermissionDenied.into()),
            PartBuffer::Memory(GatheredBytes { bytes, room, .. }) => Ok(Self {
                sums: ContentSums::of(&bytes),
                content: PartBytes::Memory(Bytes::from(bytes)),
                _room: None,
                _memory: room,
            }),
            PartBuffer::Spool(spooling) => {
                let Spooling {
                    file, hasher, room, ..
                } = *spooling;
                let source = FileSource::new(file.file().and_then(File::try_clone)?)?;
                Ok(Self {
                    sums: hasher.finalize(),
                    content: PartBytes::Spooled(file, source),
                    _room: Some(room),
                    _memory: None,
                })
            }
        }
    }
}

impl Source for CompletePart {
    fn len(&self) -> u64 {
        self.source().len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.source().read_at(offset, buf)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.source().as_slice()
    }
}

/// The bytes of a part with what was reserved for them.
pub(super) struct Load {
    pub(super) payload: Payload,
    pub(super) held: (Option<SpoolRoom>, Option<Reservation>),
}
