//! What is told to the audit trail; who keeps it is not this layer's business.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use futures_util::future::BoxFuture;

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Sent instances here.
    Stored,
    /// Was sent instances, or had them sent to somebody.
    Retrieved,
    /// Asked what there is.
    Searched,
    /// Was not let in.
    Refused,
}

/// One access, without anything of patients but UIDs.
#[derive(Debug, Clone)]
pub struct DimseAccess {
    /// What.
    pub deed: Deed,
    /// Calling AE title.
    pub peer: String,
    /// Where it came from.
    pub address: IpAddr,
    /// The service, such as `C-STORE`.
    pub service: &'static str,
    /// Whether it was done: `done`, `done in part`, or why not.
    pub outcome: DimseOutcome,
    /// Studies with the number of their instances.
    pub studies: BTreeMap<String, u64>,
    /// AE title instances were sent to, unless it is the peer.
    pub destination: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DimseOutcome {
    /// As asked.
    Done,
    /// In part, or with warnings.
    Partly,
    /// Not allowed.
    NotAllowed,
    /// The peer asked for what cannot be.
    Refused,
    /// The server failed, or the peer went away.
    Failed,
}

impl DimseOutcome {
    /// Of a status.
    pub(super) fn of(status: u16) -> Self {
        match status {
            0 => Self::Done,
            0x0124 => Self::NotAllowed,
            0xFE00 | 0xB000..=0xBFFF => Self::Partly,
            0xA700..=0xA7FF | 0x0110 => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// Keeps the trail.
pub trait Trail: Debug + Send + Sync {
    /// Whether events are required and cannot be written: then nothing is done.
    fn is_blocked(&self) -> bool;

    /// Writes one.
    fn write(&self, access: DimseAccess) -> BoxFuture<'static, ()>;
}
