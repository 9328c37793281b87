//! Memory of what is made for answers: reserved before it is made, and held until it was sent.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::dicom::parse_memory::NoParseMemory;
use crate::memory::{Reservation, holding};

/// Bytes whose memory is reserved until the last of them was dropped; what is reserved beyond them is given back.
pub(super) fn reserved(bytes: Vec<u8>, mut memory: Reservation) -> Bytes {
    memory.must_cover(bytes.capacity());
    memory.shrink_to(bytes.capacity());
    holding(bytes, memory)
}

/// Lets work on another thread ask for more memory, which is held with what there was.
pub(super) fn granting(
    held: &Mutex<Reservation>,
) -> impl Fn(usize) -> std::result::Result<(), NoParseMemory> + '_ {
    |more| {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.bytes().saturating_add(more);
        held.try_grow_to(all)
            .map_err(|error| NoParseMemory(error.into()))
    }
}
