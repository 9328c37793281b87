//! Memory and room in the spool for one request; what is only kept for those who ask next makes way.

use super::Archive;
use super::error::Result;
use super::spool::SpoolRoom;
use crate::memory::{NoMemory, Purpose, Reservation};

impl Archive {
    /// Reserves memory; frames that are only kept for those who ask next make room.
    ///
    /// # Errors
    /// [`ArchiveError::Memory`](super::ArchiveError::Memory) when there can be no room, or is none in time.
    pub(super) async fn reserve(&self, purpose: Purpose, bytes: usize) -> Result<Reservation> {
        match self.budget.try_reserve(purpose, bytes) {
            Err(NoMemory::Busy) => {
                self.maker.invalidate_all().await;
                self.sources.invalidate_all().await;
                Ok(self.budget.reserve(purpose, bytes).await?)
            }
            reserved => Ok(reserved?),
        }
    }
}

impl Archive {
    /// Room in the spool for what is made there for an answer.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`](super::ArchiveError::Busy) when there is none.
    pub(super) async fn spool_room(&self, bytes: u64) -> Result<SpoolRoom> {
        let mut room = self.spool.nothing();
        self.grow_room(&mut room, bytes.max(1)).await?;
        Ok(room)
    }

    /// Makes room for so many bytes in all; data sets that nobody reads make way.
    ///
    /// # Errors
    /// As [`Self::spool_room`].
    pub(super) async fn grow_room(&self, room: &mut SpoolRoom, bytes: u64) -> Result<()> {
        if room.try_grow_to(bytes).is_ok() {
            return Ok(());
        }
        self.sources.invalidate_all().await;
        Ok(room.try_grow_to(bytes)?)
    }
}
