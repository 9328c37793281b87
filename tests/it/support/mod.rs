//! What several test modules need: a running server, Python.

pub(crate) mod index;
pub(crate) mod postgres;
pub(crate) mod python;
pub(crate) mod queries;
pub(crate) mod s3;
pub(crate) mod server;
