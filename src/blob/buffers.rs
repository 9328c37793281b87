//! Memory for bytes on their way out: taken, filled, sent, and used again.
//!
//! A buffer that is new each time costs more than the copy into it: the system clears its pages first. Invariant: of a
//! buffer that was used before, only what was filled anew can be seen.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes of a buffer: small enough to be still in the cache of the processor when they are sent.
pub(super) const PIECE: usize = 64 * 1024;
/// Buffers kept for the next ones.
const KEPT: usize = 64;
/// Fewer bytes than these get memory of their own: a large buffer would be held for them until they are sent.
const SMALL: usize = PIECE / 4;

/// Buffers that nobody uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer in use.
struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
    home: Buffers,
}

impl Buffers {
    /// Lets `fill` write `length` bytes, [`PIECE`] at most, and returns them.
    ///
    /// # Errors
    /// What `fill` returns.
    pub(super) fn filled<E>(
        &self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        if !(SMALL..=PIECE).contains(&length) {
            let mut own = vec![0; length];
            fill(&mut own)?;
            return Ok(Bytes::from(own));
        }
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = Buffer {
            bytes: idle.unwrap_or_else(|| vec![0; PIECE].into_boxed_slice()),
            filled: length,
            home: self.clone(),
        };
        fill(buffer.bytes.get_mut(..length).unwrap_or_default())?;
        Ok(Bytes::from_owner(buffer))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn of(buffers: &Buffers, byte: u8, length: usize) -> Bytes {
        let fill = |room: &mut [u8]| {
            room.fill(byte);
            Ok::<_, Infallible>(())
        };
        buffers.filled(length, fill).unwrap()
    }

    fn idle(buffers: &Buffers) -> usize {
        buffers.0.lock().unwrap().len()
    }

    #[test]
    fn a_buffer_is_used_again_and_shows_only_what_was_filled() {
        let buffers = Buffers::default();
        let first = of(&buffers, 1, PIECE);
        assert_eq!((first.len(), idle(&buffers)), (PIECE, 0));
        let part = first.slice(10..20);
        drop(first);
        assert_eq!(idle(&buffers), 0, "a part of it is still on its way");
        drop(part);
        assert_eq!(idle(&buffers), 1);
        let second = of(&buffers, 2, PIECE / 2);
        assert_eq!(idle(&buffers), 0);
        assert_eq!(second, vec![2; PIECE / 2]);
    }

    #[test]
    fn a_failure_gives_the_buffer_back() {
        let buffers = Buffers::default();
        assert!(buffers.filled(PIECE, |_| Err(())).is_err());
        assert_eq!(idle(&buffers), 1);
    }

    #[test]
    fn little_has_memory_of_its_own_and_no_more_is_kept_than_allowed() {
        let buffers = Buffers::default();
        drop(of(&buffers, 1, 100));
        assert_eq!(idle(&buffers), 0);
        let many: Vec<_> = (0..KEPT + 3).map(|_| of(&buffers, 1, PIECE)).collect();
        drop(many);
        assert_eq!(idle(&buffers), KEPT);
    }
}
