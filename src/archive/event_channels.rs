//! The event channels of this process: room for them, and what wakes them.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::shares::Shares;

/// The open channels of this process.
#[derive(Debug, Clone)]
pub(super) struct EventChannels(pub(super) Arc<OpenChannels>);

#[derive(Debug)]
pub(super) struct OpenChannels {
    /// Counts how often there may be something new.
    pub(super) news: watch::Sender<u64>,
    pub(super) room: Shares,
    pub(super) running: TaskTracker,
    pub(super) closing: CancellationToken,
    /// When streams of events end, ahead of the connections they are on.
    pub(super) ending: CancellationToken,
    /// Number of the newest event of studies and workitems that is known.
    pub(super) logged: watch::Sender<i64>,
}

impl EventChannels {
    /// Room for so many channels.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(OpenChannels {
            news: watch::Sender::new(0),
            room: Shares::new(most as u64),
            running: TaskTracker::new(),
            closing: CancellationToken::new(),
            ending: CancellationToken::new(),
            logged: watch::Sender::new(0),
        }))
    }

    /// There may be something new.
    pub(super) fn wake(&self) {
        self.0.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    /// Channels that are open, and how many there may be.
    pub(super) fn used(&self) -> (u64, u64) {
        (self.0.room.taken(), self.0.room.whole())
    }
}
