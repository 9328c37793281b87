//! Integration tests, one binary: a module per service or promise, `support` for what they share.

mod clients;
mod configuration;
mod conformance;
mod contract_blob;
mod contract_index;
mod dcms;
mod layering;
mod packaging;
mod pages;
mod support;
