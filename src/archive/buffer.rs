//! Memory of what is made for answers: reserved before it is made, and held until it was sent.

use bytes::Bytes;

use super::Archive;
use super::error::Result;
use crate::memory::{NoMemory, Purpose, Reservation, holding};

/// Bytes whose memory is reserved until the last of them was dropped; what is reserved beyond them is given back.
pub(super) fn reserved(bytes: Vec<u8>, mut memory: Reservation) -> Bytes {
    memory.must_cover(bytes.capacity());
    memory.shrink_to(bytes.capacity());
    holding(bytes, memory)
}

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
