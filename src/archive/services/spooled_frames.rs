//! Frames that were made and wait in the spool until the lengths of all of them are known.
//!
//! Invariant: room in the spool is taken before it is written, and both it and the memory of the places are held until the
//! last frame was sent.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::archive::Archive;
use crate::archive::assembled::{FrameMaker, Frames};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::source_read::lost_bytes;
use crate::archive::spool::SpoolRoom;
use crate::memory::{Purpose, Reservation};

/// Bytes that are kept of each frame until the last one was sent: where it begins, and its length twice, in memory that
/// doubles when it is full.
const PLACE: usize = 32;

/// The frames, one behind the other in a file.
pub(super) struct SpooledFrames {
    archive: Archive,
    spool: File,
    room: SpoolRoom,
    starts: Vec<u64>,
    lengths: Vec<u32>,
    end: u64,
    _places: Reservation,
}

impl SpooledFrames {
    /// None of `frames` is there yet.
    ///
    /// # Errors
    /// When there is no memory for their places, or no spool.
    pub(super) async fn begin(archive: &Archive, frames: u32) -> Result<Self> {
        let places = usize::try_from(frames).unwrap_or(usize::MAX);
        let places = archive.reserve(Purpose::Rows, places.saturating_mul(PLACE));
        let (room, spool) = (archive.spool_room(0).await?, archive.spool_file().await?);
        Ok(Self {
            archive: archive.clone(),
            spool,
            room,
            starts: Vec::new(),
            lengths: Vec::new(),
            end: 0,
            _places: places.await?,
        })
    }

    /// Writes the next frame; its length in bytes.
    ///
    /// # Errors
    /// When it is too large, or there is no room in the spool.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<u32> {
        let length = u32::try_from(bytes.len()).map_err(|_| ArchiveError::TooLarge {
            reason: "an encoded frame is too large".to_owned(),
        })?;
        self.lengths.push(length);
        self.starts.push(self.end);
        self.end += u64::from(length);
        self.archive.grow_room(&mut self.room, self.end).await?;
        let file = self.spool.try_clone().map_err(lost_bytes)?;
        let write = move || (&file).write_all(&bytes).map_err(lost_bytes);
        self.archive.lanes().run(Lane::Retrieve, write).await?;
        Ok(length)
    }

    /// Lengths of the frames so far, in bytes.
    pub(super) fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// The frames of a rewritten file.
    pub(super) fn into_frames(self) -> Frames {
        let spooled = Arc::new(self);
        let make: FrameMaker = Arc::new(move |number| {
            let spooled = spooled.clone();
            async move {
                let (start, length) = spooled.place(number).ok_or(ArchiveError::Lost {
                    what: "an encoded frame",
                })?;
                let file = spooled.spool.try_clone().map_err(lost_bytes)?;
                let read = move || read_spooled(&file, start, length);
                spooled.archive.lanes().run(Lane::Retrieve, read).await
            }
            .boxed()
        });
        Frames { make, alike: false }
    }

    /// Where a frame begins, and its length; `number` counts from 1.
    fn place(&self, number: u32) -> Option<(u64, u32)> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        Some((*self.starts.get(index)?, *self.lengths.get(index)?))
    }
}

fn read_spooled(file: &File, start: u64, length: u32) -> Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, start).map_err(lost_bytes)?;
    Ok(Bytes::from(bytes))
}
