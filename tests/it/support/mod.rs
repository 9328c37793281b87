//! What several test modules need: a running server, a client, files, Python.

#[cfg(feature = "otel")]
pub(crate) mod collector;
pub(crate) mod containers;
pub(crate) mod dicom;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod index;
pub(crate) mod issuer;
pub(crate) mod line;
pub(crate) mod loopback;
pub(crate) mod multipart;
pub(crate) mod node;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod queries;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod signer;
pub(crate) mod sql;
