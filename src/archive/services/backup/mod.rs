//! Backup and restore: a consistent copy of the index first, then the blobs that it names.
//!
//! Invariants: a backup that is there (its manifest is) holds every blob that its index names, each compared with its digest
//! while it was copied; what a run that was broken off has copied is not copied again; no blob that a kept backup names is
//! removed.

pub mod blobs;
pub mod hold;
pub mod list;
pub mod make;
pub mod place;
pub mod prune;
pub mod restore;
pub mod verify;
