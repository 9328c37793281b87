//! What several test modules need: a running server, a client, files, Python.

pub(crate) mod app;
#[cfg(feature = "otel")]
pub(crate) mod collector;
pub(crate) mod containers;
pub(crate) mod deployment;
pub(crate) mod dicom;
pub(crate) mod http;
pub(crate) mod http2;
mod in_process;
pub(crate) mod index;
pub(crate) mod issuer;
pub(crate) mod line;
pub(crate) mod loopback;
pub(crate) mod multipart;
pub(crate) mod node;
pub(crate) mod postgres;
pub(crate) mod prelude;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod queries;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod signer;
pub(crate) mod sql;
