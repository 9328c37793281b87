//! What can be asked of an archive: one file per service, each an `impl` of [`Archive`](super::Archive).

pub mod backup;
pub mod bulk_update;
pub mod check;
mod checked;
pub mod commitment;
pub mod commitment_results;
pub mod deidentify;
pub mod events;
pub(super) mod export;
pub mod export_deidentified;
pub mod feed;
pub mod frames;
pub mod import;
pub mod metadata;
pub mod partitions;
pub mod render;
pub mod restore;
pub mod retention;
pub mod retrieve;
pub mod search;
pub mod statistics;
pub mod status;
pub mod store;
pub mod tags;
pub mod transcode;
pub mod transfers;
