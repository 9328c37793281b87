//! A request as its connection knows it: who it came with, and what can be done for it when there is no room.

use std::sync::{Arc, OnceLock};

use super::connections::OpenConnection;
use super::transfers::{BodyTransfer, Transfers};
use crate::shares::{Lack, ShareHolder};

/// Stands in the extensions of each request that came through a socket.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    pub(super) conn: Arc<OpenConnection>,
    pub(super) transfers: Arc<Transfers>,
    pub(super) subject: Arc<OnceLock<ShareHolder>>,
    /// The body of the request; none when it has none.
    pub(super) body: Option<Arc<BodyTransfer>>,
}

impl ConnectionInfo {
    /// Number of its connection.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.conn.number
    }

    /// Says who it is, once that is known.
    pub fn is_known_as(&self, subject: &ShareHolder) {
        // Whoever said so first is right.
        let _ = self.subject.set(subject.clone());
    }

    /// Whether its body was let go because it came too slowly, or because others waited.
    #[must_use]
    pub fn was_too_slow(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.was_let_go())
    }

    /// Lets the transfer go that has let the server wait for longest, of the same subject when that lacks room; false when
    /// nobody has for long.
    #[must_use]
    pub fn make_way(&self, lack: Lack, subject: &ShareHolder) -> bool {
        let subject = (lack == Lack::Subject).then_some(subject);
        self.transfers.make_way(subject)
    }
}
