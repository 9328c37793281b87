//! Stowage: a `DICOMweb` server in one binary.
//!
//! Layers, each using only those after it: `http` (routes and media types) and `dimse` (associations) → `archive` (what a request means) →
//! `index` and `blob` (what is known, and the bytes) → `dicom` (pure). `auth`, `config`, `fault`, `memory`, `meter`, `scope`,
//! `shares`, `tasks` and `trace` stand beside.
//! `docs/architecture.md` is the map.

pub mod dimse;
pub mod http;

pub mod archive;

pub mod auth;
pub mod blob;
pub mod index;

pub mod dicom;

pub mod checksum;
pub mod config;
mod fault;
pub mod memory;
pub mod meter;
pub mod scope;
pub mod shares;
pub mod tasks;
pub mod trace;

pub mod command;
mod start;

#[doc(hidden)]
pub use start::RunningService;
pub use start::StartError;
