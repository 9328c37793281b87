//! Memory that is asked for before it is taken.
//!
//! Invariant: who is refused takes nothing more and ends; nothing here knows who grants, or how long that takes.

pub use super::error::NoParseMemory;
use super::error::{Limit, ParseError};

/// Grants that many bytes more, or says why not; what was granted is given back by whoever made the closure.
pub type GrantMemory<'a> = &'a dyn Fn(usize) -> Result<(), NoParseMemory>;

/// Bytes that were granted already, and whom to ask for more.
#[derive(Clone, Copy)]
pub(crate) struct Ledger<'a> {
    room: Option<GrantMemory<'a>>,
}

impl std::fmt::Debug for Ledger<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(room: Option<GrantMemory<'a>>) -> Self {
        Self { room }
    }

    /// Asks for bytes that are about to be taken.
    pub(crate) fn more(&self, bytes: usize) -> Result<(), ParseError> {
        match self.room {
            Some(room) if bytes > 0 => Ok(room(bytes)?),
            _ => Ok(()),
        }
    }

    /// Makes a list ready for one more element, asking first when it has to grow.
    pub(crate) fn push<T>(&self, list: &mut Vec<T>, element: T) -> Result<(), ParseError> {
        if list.len() == list.capacity() {
            // While it is copied only the old half of the new place is touched, so this is all it takes.
            let more = list.capacity().max(8);
            self.more(more.saturating_mul(size_of::<T>()))?;
            list.reserve_exact(more);
        }
        list.push(element);
        Ok(())
    }

    /// Likewise for a text that is about to take up to `bytes` bytes more.
    pub(crate) fn text(&self, text: &mut String, bytes: usize) -> Result<(), ParseError> {
        let left = text.capacity().saturating_sub(text.len());
        if left < bytes {
            let more = bytes.saturating_sub(left).max(text.capacity());
            self.more(more)?;
            text.reserve_exact(left.saturating_add(more));
        }
        Ok(())
    }
}

/// Bytes by which [`SteppedMemory`] asks for more.
const STEP: usize = 64 << 10;

/// Memory of bytes that are made one after the other: asked for in steps before they are made, up to a limit.
pub(crate) struct SteppedMemory<'a> {
    taken: usize,
    granted: usize,
    limit: u64,
    room: GrantMemory<'a>,
}

impl<'a> SteppedMemory<'a> {
    pub(crate) fn new(limit: u64, room: GrantMemory<'a>) -> Self {
        Self {
            taken: 0,
            granted: 0,
            limit,
            room,
        }
    }

    /// Asks for bytes that are about to be made; `at` is where the reader of the source is.
    pub(crate) fn take(&mut self, bytes: usize, at: u64) -> Result<(), ParseError> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken as u64 > self.limit {
            return Err(ParseError::limit(None, at, Limit::Kept, self.limit));
        }
        if self.taken > self.granted {
            let step = self.taken.saturating_sub(self.granted).max(STEP);
            (self.room)(step)
                .map_err(|NoParseMemory(error)| ParseError::Read(std::io::Error::other(error)))?;
            self.granted = self.granted.saturating_add(step);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::dicom::error::NoParseMemory;
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_grows_asks_first_and_no_more_often_than_it_doubles() {
        let (asked, times) = (Cell::new(0), Cell::new(0));
        let room = |bytes: usize| {
            asked.set(asked.get() + bytes);
            times.set(times.get() + 1);
            match asked.get() > 1 << 20 {
                true => Err(NoParseMemory("enough".into())),
                false => Ok(()),
            }
        };
        let ledger = Ledger::new(Some(&room));
        let mut list: Vec<u64> = Vec::new();
        while ledger.push(&mut list, 1).is_ok() {
            assert!(list.capacity() * 8 <= asked.get());
        }
        assert!(list.len() >= 1 << 16 && times.get() < 32);
        let text = &mut String::new();
        assert!(ledger.text(text, 10).is_err());
        assert_eq!(text.capacity(), 0);
        assert!(Ledger::new(None).text(text, 10).is_ok());
    }
}
