//! What several test modules need: a running server, Python.

pub(crate) mod python;
pub(crate) mod server;
