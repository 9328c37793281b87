//! What the configuration says of exports.

use std::time::Duration;

use crate::blob::Destinations;

/// Where exports go, and how long one that does not move is kept alive.
#[derive(Debug, Clone, Default)]
pub struct ExportSettings {
    /// The destinations.
    pub destinations: Destinations,
    /// Time without progress after which an export ends.
    pub give_up: Duration,
}
