//! Stowage: a DICOMweb server in one binary.
//!
//! Layers, each using only those after it: `http` (routes and media types) → `archive` (what a request means) →
//! `index` and `blob` (what is known, and the bytes) → `dicom` (pure). `auth`, `config` and `scope` stand beside.

pub mod auth;
pub mod dicom;
pub mod http;
pub mod index;
pub mod scope;
