//! Writes where the server listens, for those who start it on any port.

use std::net::SocketAddr;
use std::path::Path;

use super::error::StartError;

/// Writes where it is listened, beside and renamed, so that nobody reads half a line.
pub(super) fn write_address(file: &Path, address: SocketAddr) -> Result<(), StartError> {
    let beside = file.with_extension("new");
    let written = std::fs::write(&beside, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&beside, file));
    written.map_err(StartError::Serve)
}
