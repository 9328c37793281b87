//! What is kept for the requests that come next; everything here can be thrown away at any time.

pub(super) mod coherence;
pub mod frames;
pub(super) mod kept;
pub(super) mod notices;
pub(super) mod reads;
pub(super) mod sources;
pub(super) mod tags;
