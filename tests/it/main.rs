//! Integration tests, one binary: a module per service or promise, `support` for what they share.

mod clients;
mod conformance;
mod dcms;
mod layering;
mod support;
