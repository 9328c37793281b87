//! Room in the spool: what the files of store requests and answers may take there together.
//!
//! Invariant: room is taken before a file grows, and given back when the file is gone.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ArchiveError;
use crate::dicom::error::ParseError;
use crate::dicom::inflate::DiskRoom;

/// Unit in which room is counted, in bytes.
const UNIT: u64 = 1 << 20;

/// There is no room in the spool now.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("files of other requests fill the spool (STOWAGE_SPOOL_BYTES)")]
pub(super) struct NoSpace;

impl From<NoSpace> for ArchiveError {
    fn from(_: NoSpace) -> Self {
        Self::Busy {
            what: "files in the spool",
        }
    }
}

/// Whether a parse ended because there was no room in the spool.
pub(super) fn is_no_space(error: &ParseError) -> bool {
    let ParseError::Read(error) = error else {
        return false;
    };
    error.get_ref().is_some_and(|inner| inner.is::<NoSpace>())
}

/// What a parse over stored bytes ended with: a full spool is nothing that is wrong with them.
pub(super) fn stored_failure(error: ParseError) -> ArchiveError {
    match is_no_space(&error) {
        true => NoSpace.into(),
        false => error.into(),
    }
}

/// Room in the spool that all share.
#[derive(Debug, Clone)]
pub(super) struct SpoolBudget {
    free: Arc<Semaphore>,
    units: usize,
}

impl SpoolBudget {
    /// Room for so many bytes, and for one [`UNIT`] at least.
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(usize::MAX);
        let units = units.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// No room yet, to be grown.
    pub(super) fn nothing(&self) -> SpoolRoom {
        SpoolRoom {
            budget: self.clone(),
            taken: None,
        }
    }

    /// Bytes that are taken, and bytes there are.
    pub(super) fn used(&self) -> (u64, u64) {
        let free = self.free.available_permits();
        let taken = self.units.saturating_sub(free);
        (taken as u64 * UNIT, self.units as u64 * UNIT)
    }
}

/// Room in the spool, until it is dropped.
#[derive(Debug)]
pub(super) struct SpoolRoom {
    budget: SpoolBudget,
    taken: Option<OwnedSemaphorePermit>,
}

impl SpoolRoom {
    /// Bytes there is room for.
    fn bytes(&self) -> u64 {
        let units = self
            .taken
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        units as u64 * UNIT
    }

    /// Has room for so many bytes in all, at once or not at all.
    ///
    /// # Errors
    /// [`NoSpace`] when others have it.
    pub(super) fn try_grow_to(&mut self, bytes: u64) -> std::result::Result<(), NoSpace> {
        let units = bytes.saturating_sub(self.bytes()).div_ceil(UNIT);
        if units == 0 {
            return Ok(());
        }
        let units = u32::try_from(units).map_err(|_| NoSpace)?;
        let free = self.budget.free.clone();
        let more = free.try_acquire_many_owned(units).map_err(|_| NoSpace)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            taken => *taken = Some(more),
        }
        Ok(())
    }

    /// Gives back what is beyond `bytes` bytes.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes().saturating_sub(bytes) / UNIT;
        if let Some((taken, less)) = self.taken.as_mut().zip(usize::try_from(less).ok()) {
            drop(taken.split(less));
        }
    }
}

impl DiskRoom for SpoolRoom {
    fn grow_to(&mut self, bytes: u64) -> io::Result<()> {
        self.try_grow_to(bytes).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_comes_back() {
        let budget = SpoolBudget::new(3 * UNIT + 7);
        let (mut one, mut two) = (budget.nothing(), budget.nothing());
        one.try_grow_to(UNIT + 1).unwrap();
        one.try_grow_to(2 * UNIT).unwrap();
        assert_eq!(budget.used(), (2 * UNIT, 3 * UNIT));
        assert!(two.try_grow_to(UNIT + 1).is_err());
        let refused = DiskRoom::grow_to(&mut two, 2 * UNIT).unwrap_err();
        assert!(is_no_space(&ParseError::Read(refused)));
        one.shrink_to(UNIT);
        two.try_grow_to(2 * UNIT).unwrap();
        drop((one, two));
        assert_eq!(budget.used(), (0, 3 * UNIT));
    }
}
