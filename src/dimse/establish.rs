//! How an association begins: a connection, a request, and who is let in (PS3.8 §9.2).
//!
//! Invariants: nothing of a request is held before there is memory for it; who is not let in is told why, in the codes of
//! PS3.8 §9.3.4, and keeps no connection.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::timeout;

use super::association::{COPIES, Greeted, LINGER, end};
use super::audit::{Deed, DimseAccess, DimseOutcome};
use super::gateway::Gateway;
use super::pdu::{self, Rejection};
use super::wire::{BUFFERS, PeerGone, Stream, WireReader, split, unexpected};
use crate::archive::queue::on_behalf_of;
use crate::memory::Purpose;
use crate::shares::ShareHolder;

/// How long a peer may take to send its request, and to close the connection when nothing more is said (ARTIM, PS3.8 §9.1.4).
pub(super) const ARTIM: Duration = Duration::from_secs(30);

/// Nobody outside can choose a title that shares the number of another one.
static NUMBERS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Serves a connection from its first to its last byte.
pub(super) async fn accept(
    gateway: Arc<Gateway>,
    stream: Box<dyn Stream>,
    address: IpAddr,
    shown: Option<Vec<u8>>,
) {
    let (mut reader, mut writer) = split(stream, ARTIM);
    let handshaken = tokio::select! {
        handshaken = timeout(ARTIM, handshake(&gateway, &mut reader, (address, shown.as_deref()))) => {
            handshaken.unwrap_or(Err(NotGreeted::Gone(PeerGone::Silent)))
        }
        () = gateway.stop.cancelled() => Err(NotGreeted::Gone(PeerGone::Stopping)),
    };
    let handshaken = match handshaken {
        Ok(handshaken) => handshaken,
        Err(NotGreeted::Rejected(rejection, title)) => {
            gateway.meters.ended("rejected");
            tracing::info!(%address, calling = title, reason = rejection.meaning(), "a DIMSE association was rejected");
            if matches!(rejection, Rejection::CALLED | Rejection::CALLING) {
                let access = DimseAccess {
                    deed: Deed::Refused,
                    peer: title,
                    address,
                    service: "A-ASSOCIATE",
                    outcome: DimseOutcome::NotAllowed,
                    studies: BTreeMap::new(),
                    destination: None,
                };
                gateway.trail.write(access).await;
            }
            if writer.unit(&rejection.write()).await.is_ok() {
                reader.until_closed(LINGER).await;
            }
            return;
        }
        Err(NotGreeted::Gone(gone)) => {
            end(&mut reader, &mut writer, &gone).await;
            gateway.meters.ended("not established");
            return;
        }
    };
    let number = NUMBERS.hash_one((&handshaken.peer.title, address));
    let ended = on_behalf_of(number, handshaken.serve(gateway, reader, writer, address));
    Box::pin(ended).await;
}

/// Why there is no association.
enum NotGreeted {
    /// It is refused; with the calling AE title.
    Rejected(Rejection, String),
    Gone(PeerGone),
}

impl From<PeerGone> for NotGreeted {
    fn from(gone: PeerGone) -> Self {
        Self::Gone(gone)
    }
}

async fn handshake(
    gateway: &Gateway,
    reader: &mut WireReader,
    (address, shown): (IpAddr, Option<&[u8]>),
) -> Result<Greeted, NotGreeted> {
    let (kind, length) = reader.associate_header().await?;
    if kind != pdu::ASSOCIATE_RQ {
        return Err(unexpected("the first unit is no request for an association").into());
    }
    let budget = gateway.archive.budget();
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    let held = budget.try_reserve(Purpose::Associations, bytes.saturating_mul(COPIES));
    let reject = |rejection, title: &str| NotGreeted::Rejected(rejection, title.to_owned());
    let Ok(_held) = held else {
        return Err(reject(Rejection::CONGESTION, ""));
    };
    let body = reader.associate_body(length).await?;
    let request = pdu::read_associate(&body).map_err(PeerGone::from)?;
    let title = request.calling.as_str();
    if request.version & 1 == 0 {
        return Err(reject(Rejection::VERSION, title));
    }
    if request.application != pdu::APPLICATION_CONTEXT {
        return Err(reject(Rejection::APPLICATION, title));
    }
    if request.called != gateway.title {
        return Err(reject(Rejection::CALLED, title));
    }
    let Some(peer) = gateway.peers.admit(title, address, shown) else {
        return Err(reject(Rejection::CALLING, title));
    };
    let subject = ShareHolder::of_address(address);
    let Ok(share) = gateway.associations.try_take(&subject, None, 1) else {
        return Err(reject(Rejection::LIMIT, title));
    };
    let Ok(held) = budget.reserve(Purpose::Associations, BUFFERS).await else {
        return Err(reject(Rejection::CONGESTION, title));
    };
    Ok(Greeted {
        peer,
        request,
        share,
        held,
    })
}
