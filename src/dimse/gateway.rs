//! What all associations share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::audit::Trail;
use super::meters::DimseMeters;
use super::peers::Peers;
use crate::archive::Archive;
use crate::shares::Shares;

/// What all associations share.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) archive: Archive,
    pub(super) title: String,
    pub(super) peers: Peers,
    pub(super) trail: Arc<dyn Trail>,
    pub(super) meters: Arc<DimseMeters>,
    /// Associations at the same time.
    pub(super) associations: Shares,
    /// Connections at the same time.
    pub(super) connections: Shares,
    /// Requests for storage commitment under way.
    pub(super) reports: Arc<Semaphore>,
    /// How long a peer may be silent.
    pub(super) idle: Duration,
    /// How long an association may last.
    pub(super) longest: Duration,
    pub(super) stop: CancellationToken,
}
