//! The memory of one parse.
//!
//! Invariant: a parse has [`FIRST`] bytes before it begins and may grow to [`SMALL`] as long as there is room at once; one
//! that needs more gives all back and parses again when it is its turn: then it alone waits with memory in its hands.

use std::sync::{Mutex, PoisonError};

use crate::dicom::error::NoParseMemory;
use crate::memory::{NoMemory, Reservation};

/// Bytes reserved before a parse begins: more than most need.
pub(super) const FIRST: usize = 192 << 10;
/// Most bytes of a parse that others need not wait for.
pub(super) const SMALL: usize = 4 << 20;
/// What a part waits for before it is parsed again.
#[derive(Clone, Copy)]
pub(super) enum RetryReason {
    /// Room for [`SMALL`] bytes.
    Room,
    /// Its turn.
    Turn,
    /// Nothing: there is no memory for it.
    Never(NoMemory),
}

/// The memory of one pass.
pub(super) struct ParseMemory {
    held: Mutex<Reservation>,
    /// Its turn: it may grow beyond [`SMALL`], and waits for it.
    turn: bool,
    refused: Mutex<Option<RetryReason>>,
}

impl ParseMemory {
    /// `turn`: it may grow beyond [`SMALL`], and waits for it.
    pub(super) fn new(held: Reservation, turn: bool) -> Self {
        Self {
            held: Mutex::new(held),
            turn,
            refused: Mutex::new(None),
        }
    }

    /// Grants memory piece by piece, as a parse asks for it.
    pub(super) fn grants(&self) -> impl Fn(usize) -> Result<(), NoParseMemory> + Sync + '_ {
        let taken = Mutex::new(0);
        move |bytes| {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            self.more(&mut taken, bytes)
        }
    }

    /// Grants `bytes` bytes more on top of `taken`.
    fn more(&self, taken: &mut usize, bytes: usize) -> Result<(), NoParseMemory> {
        let total = taken.saturating_add(bytes);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = if total <= held.bytes() {
            Ok(())
        } else if self.turn {
            held.grow_to_blocking(total).map_err(RetryReason::Never)
        } else if total > SMALL {
            Err(RetryReason::Turn)
        } else {
            // In steps that double, so that it is asked for seldom.
            let step = total.next_power_of_two().min(SMALL);
            held.try_grow_to(step).map_err(|error| match error {
                NoMemory::Busy => RetryReason::Room,
                NoMemory::TooLarge { .. } => RetryReason::Never(error),
            })
        };
        *taken = total;
        granted.map_err(|again| {
            let reason: NoParseMemory = match again {
                RetryReason::Never(error) => NoParseMemory(error.into()),
                RetryReason::Room | RetryReason::Turn => {
                    NoParseMemory("it has to wait for memory".into())
                }
            };
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
            reason
        })
    }

    /// Why it was refused some, if it was.
    pub(super) fn refused(&self) -> Option<RetryReason> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there was no memory, for one whose turn it was.
    pub(super) fn no_memory(&self) -> Option<NoMemory> {
        match self.refused() {
            Some(RetryReason::Never(error)) => Some(error),
            _ => None,
        }
    }

    /// What is reserved.
    pub(super) fn into_held(self) -> Reservation {
        self.held
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
