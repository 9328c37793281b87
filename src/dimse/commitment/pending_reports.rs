//! Reports on their way to the association by which they were asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::report::CommitmentReport;

/// Reports under way at the same time.
pub(in crate::dimse) const REPORTS: usize = 64;

/// A report for an association that is still there; the answer says whether the peer has taken it.
pub(in crate::dimse) struct Offer {
    pub(super) report: Arc<CommitmentReport>,
    pub(super) context: u8,
    pub(super) taken: oneshot::Sender<()>,
}

/// Reports of one association.
pub(in crate::dimse) struct PendingReports {
    pub(super) sender: mpsc::Sender<Offer>,
    pub(in crate::dimse) offers: mpsc::Receiver<Offer>,
    pub(super) awaiting: BTreeMap<u16, oneshot::Sender<()>>,
    pub(super) message: u16,
}

impl Default for PendingReports {
    fn default() -> Self {
        let (sender, offers) = mpsc::channel(1);
        Self {
            sender,
            offers,
            awaiting: BTreeMap::new(),
            message: 0,
        }
    }
}
