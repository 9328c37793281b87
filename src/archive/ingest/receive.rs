//! The first stage of a store: a part while it arrives, in memory while it is small and there is room, else in a file of the spool.
//!
//! Invariants: memory is reserved before a buffer grows, and held as long as the buffer lives; parts in memory take an
//! eighth of the budget at most, so that senders who pause cannot keep it from others.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::checks::check_owner;
use super::outcome::Outcome;
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::{Lane, Lanes};
use crate::archive::rules::Rules;
use crate::archive::spool::SpoolRoom;
use crate::blob::SpoolFile;
use crate::checksum::ContentHasher;
use crate::dicom::head::{HEAD, owner};
use crate::fault;
use crate::memory::{Purpose, Reservation};
use crate::scope::Visible;

/// Bytes gathered for one write to the spool; as many are on their way. Together they are a small reservation, for which
/// there is room when large ones have to wait.
const SPOOL_WRITE: usize = 128 << 10;
/// Least memory of a part, in bytes.
const LEAST: usize = 16 << 10;

/// One part while it arrives.
#[derive(Debug)]
pub struct IncomingPart {
    pub(super) held: PartBuffer,
    pub(super) length: u64,
    /// Made here of metadata and bulk data.
    pub(super) composed: bool,
    /// It is not what is stored: its file in the spool has no name.
    pub(super) passing: bool,
}

impl IncomingPart {
    /// Nothing has arrived yet.
    pub(super) const fn empty() -> Self {
        Self {
            held: PartBuffer::Memory(GatheredBytes {
                bytes: Vec::new(),
                room: None,
                judged: false,
            }),
            length: 0,
            composed: false,
            passing: false,
        }
    }
}

/// Bytes in memory with what was reserved for them.
#[derive(Debug, Default)]
pub(super) struct GatheredBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Option<Reservation>,
    /// It was looked at whether the sender may store it.
    pub(super) judged: bool,
}

#[derive(Debug)]
pub(super) enum PartBuffer {
    Memory(GatheredBytes),
    Spool(Box<Spooling>),
    /// Its first bytes tell that it may not be stored; none of it is kept.
    Refused(Box<Outcome>),
}

/// A write to the spool under way, which ends with the hasher and its emptied room.
type Writing = JoinHandle<Result<(ContentHasher, Vec<u8>)>>;

/// A spool file that is written and hashed while the next bytes arrive.
#[derive(Debug)]
pub(super) struct Spooling {
    pub(super) file: SpoolFile,
    pub(super) hasher: ContentHasher,
    gathered: Vec<u8>,
    /// Room in the spool.
    pub(super) room: SpoolRoom,
    /// The room of the write before.
    spare: Vec<u8>,
    /// The write under way, which has hasher and room.
    writing: Option<Writing>,
    /// Memory of both buffers.
    _memory: Reservation,
    lanes: Lanes,
}

impl Archive {
    /// Bytes that all parts in memory may take together.
    pub(in crate::archive) fn parts_share(&self) -> usize {
        self.budget.bytes() / 8
    }

    /// Keeps the next bytes of a part.
    pub(super) async fn keep_bytes(
        &self,
        part: &mut IncomingPart,
        bytes: Bytes,
        visible: &Visible,
    ) -> Result<()> {
        if let PartBuffer::Memory(gathered) = &mut part.held {
            let fits = self.make_room(gathered, bytes.len());
            if fits {
                gathered.bytes.extend_from_slice(&bytes);
            }
            let known = gathered.bytes.len() >= HEAD || !fits;
            // Whoever may store everything has nothing to be judged by.
            let limited = matches!(visible, Visible::Only { .. });
            if limited && known && !std::mem::replace(&mut gathered.judged, known) {
                let limits = self.parse_options(Rules::Standard).limits;
                let mut head = Cow::Borrowed(gathered.bytes.as_slice());
                if !fits {
                    // It goes to the spool with what has come now; so much of it is looked at.
                    let more = HEAD.saturating_sub(head.len()).min(bytes.len());
                    head.to_mut()
                        .extend_from_slice(bytes.get(..more).unwrap_or_default());
                }
                let owner = owner(&head, limits);
                if let Some(refusal) = owner.and_then(|owner| check_owner(visible, owner)) {
                    part.held = PartBuffer::Refused(Box::new(refusal));
                    return Ok(());
                }
            }
            if fits {
                return Ok(());
            }
            let spooling = self.spill(std::mem::take(gathered), part.passing).await?;
            part.held = PartBuffer::Spool(Box::new(spooling));
        }
        if let PartBuffer::Spool(spooling) = &mut part.held {
            spooling.room.try_grow_to(part.length)?;
            spooling.gather(bytes, &self.meters).await?;
        }
        Ok(())
    }

    /// Reserves memory for `more` bytes; false when the part has to go to the spool.
    fn make_room(&self, gathered: &mut GatheredBytes, more: usize) -> bool {
        let length = gathered.bytes.len().saturating_add(more);
        if length > self.limits.part_memory_bytes {
            return false;
        }
        if length <= gathered.bytes.capacity() {
            return true;
        }
        // While it is copied only the old half of the new place is touched, so this is all it takes.
        let capacity = length.next_power_of_two().max(LEAST);
        let room = gathered
            .room
            .get_or_insert_with(|| self.budget.nothing(Purpose::Parts));
        let taken = self.budget.reserved(Purpose::Parts);
        let grown = capacity.saturating_sub(room.bytes());
        if taken.saturating_add(grown) > self.parts_share() || room.try_grow_to(capacity).is_err() {
            return false;
        }
        gathered
            .bytes
            .reserve_exact(capacity.saturating_sub(gathered.bytes.len()));
        true
    }

    /// Moves what is in memory to the spool.
    async fn spill(&self, held: GatheredBytes, nameless: bool) -> Result<Spooling> {
        let memory = self.budget.reserve(Purpose::Parts, 2 * SPOOL_WRITE).await?;
        let blobs = self.blobs.clone();
        let timed = self.meters.spool.timed();
        let begun = self.lanes.run(Lane::Ingest, move || {
            let file = blobs.spool()?;
            if nameless {
                file.unlink().map_err(spool_failure)?;
            }
            let mut hasher = ContentHasher::default();
            file.file()
                .and_then(|mut file| file.write_all(&held.bytes))
                .map_err(spool_failure)?;
            fault::point("store.spooled");
            hasher.update(&held.bytes);
            Ok((file, hasher))
        });
        let (file, hasher) = begun.await?;
        drop(timed);
        Ok(Spooling {
            file,
            hasher,
            gathered: Vec::new(),
            room: self.spool.nothing(),
            spare: Vec::new(),
            writing: None,
            _memory: memory,
            lanes: self.lanes.clone(),
        })
    }
}

impl Spooling {
    /// Takes the next bytes; writes when there are enough.
    async fn gather(
        &mut self,
        mut bytes: Bytes,
        meters: &crate::archive::meters::ArchiveMeters,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.gathered.capacity() < SPOOL_WRITE {
                self.gathered
                    .reserve_exact(SPOOL_WRITE.saturating_sub(self.gathered.len()));
            }
            let left = SPOOL_WRITE.saturating_sub(self.gathered.len());
            let next = bytes.split_to(left.min(bytes.len()));
            self.gathered.extend_from_slice(&next);
            if self.gathered.len() >= SPOOL_WRITE {
                let _timed = meters.spool.timed();
                self.write_gathered().await?;
            }
        }
        Ok(())
    }

    /// Begins to write what was gathered, once the write before is done.
    async fn write_gathered(&mut self) -> Result<()> {
        self.written().await?;
        let file = self.file.file().and_then(File::try_clone);
        let file = file.map_err(spool_failure)?;
        let room = std::mem::take(&mut self.spare);
        let mut gathered = std::mem::replace(&mut self.gathered, room);
        let mut hasher = std::mem::take(&mut self.hasher);
        let lanes = self.lanes.clone();
        self.writing = Some(tokio::spawn(async move {
            let written = lanes.run(Lane::Ingest, move || {
                let mut file = file;
                file.write_all(&gathered).map_err(spool_failure)?;
                fault::point("store.spooled");
                hasher.update(&gathered);
                gathered.clear();
                Ok((hasher, gathered))
            });
            written.await
        }));
        Ok(())
    }

    /// Writes what is left and waits until all is written and hashed.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.write_gathered().await?;
        self.written().await
    }

    async fn written(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            (self.hasher, self.spare) = writing.await.map_err(|_| lost_spool())??;
        }
        Ok(())
    }
}

pub(super) fn lost_spool() -> ArchiveError {
    ArchiveError::Lost { what: "spool" }
}

pub(super) fn spool_failure(source: std::io::Error) -> ArchiveError {
    ArchiveError::Blob(crate::blob::BlobError::at("the spool", source))
}
