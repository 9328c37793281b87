//! Integration tests, one binary: a module per service or promise, `support` for what they share.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests, and say what they skip"
)]

mod access;
mod backup;
mod browser;
mod bulk_update;
mod changefeed;
mod clients;
#[cfg(feature = "cloud")]
mod closed;
mod cluster;
mod commands;
mod commitment;
mod concurrent;
mod configuration;
mod conformance;
mod contract_blob;
mod contract_index;
mod crash;
mod crash_matrix;
mod crowd;
mod dcms;
mod deidentify;
mod delete;
mod describe;
mod dimse;
mod docs;
mod edge;
mod endurance;
mod export;
mod fuzz;
mod held;
mod hostile;
mod in_process;
mod layering;
mod login;
mod memory;
mod nonpatient;
mod observe;
mod overload;
mod package;
mod packaging;
mod pages;
mod partitions;
mod qido;
mod quiet;
mod reading;
mod remote;
mod restore;
mod retention;
mod statistics;
mod stow;
mod support;
mod tags;
#[cfg(feature = "otel")]
mod traces;
mod trouble;
mod ui;
mod wado;
mod webhooks;
mod worklist;
