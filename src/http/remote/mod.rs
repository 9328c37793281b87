//! Other `DICOMweb` servers: what `stowage upload`, `stowage copy` and rules of forwarding ask of them.
//!
//! Invariants: redirects are never followed, so a token goes to the named server alone; nothing that a server answers is
//! held beyond a bound; one that moves next to nothing within the idle time is given up; of what it says only what was
//! asked for is believed, and its words reach a terminal without control characters.

pub mod backoff;
pub mod connection;
pub mod error;
pub mod retrieve;
pub mod search;
pub mod send;
mod send_body;
pub mod stored;
