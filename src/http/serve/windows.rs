//! What clients of HTTP/2 may send ahead: counted in the memory budget for some, and little for all others.
//!
//! Invariant: bytes that arrived and were not read yet are bounded for each connection by its window, over all its
//! streams; large windows are reserved, and together they take a share of the budget at most.

use crate::memory::{MemoryBudget, Purpose, Reservation};

/// A window that is enough for a fast upload over a long line, in bytes.
const LARGE: u32 = 1 << 20;
/// The window that RFC 9113 §6.9.2 begins with, in bytes: there is none that is smaller.
const LEAST: u32 = 65_535;
/// Part of the budget that all large windows may take together.
const SHARE: usize = 16;

/// Windows of connections.
#[derive(Debug)]
pub(super) struct Windows(MemoryBudget);

impl Windows {
    pub(super) fn new(budget: MemoryBudget) -> Self {
        Self(budget)
    }

    /// The window of a connection, with its memory until that is dropped.
    pub(super) fn take(&self) -> (u32, Option<Reservation>) {
        let large = LARGE as usize;
        let taken = self.0.reserved(Purpose::Windows).saturating_add(large);
        if taken > self.0.bytes() / SHARE {
            return (LEAST, None);
        }
        match self.0.try_reserve(Purpose::Windows, large) {
            Ok(held) => (LARGE, Some(held)),
            Err(_) => (LEAST, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_windows_are_counted_and_never_take_much() {
        let budget = MemoryBudget::new(64 << 20);
        let windows = Windows::new(budget.clone());
        let taken: Vec<_> = (0..100).map(|_| windows.take()).collect();
        let large = taken.iter().filter(|(window, _)| *window == LARGE).count();
        assert_eq!(large, 4);
        assert_eq!(budget.reserved(Purpose::Windows), 4 << 20);
        drop(taken);
        assert_eq!(windows.take().0, LARGE);
    }
}
