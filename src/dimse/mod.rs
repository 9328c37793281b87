//! DIMSE: the services of PS3.4 and PS3.7 over TCP, beside HTTP and over the same archive.
//!
//! | File | Holds |
//! | --- | --- |
//! | `listen` | connections: accepted, limited, ended |
//! | `pdu`, `wire` | units of PS3.8; data is streamed, never held |
//! | `negotiate`, `peers` | who may associate, and what is agreed on |
//! | `gateway` | what all associations share |
//! | `establish`, `association` | one association: how it begins, what it is told |
//! | `command` | command sets of PS3.7 |
//! | `dataset` | identifiers and results |
//! | `store`, `find`, `retrieve` | C-STORE, C-FIND, C-GET and C-MOVE |
//! | `worklist` | modality worklist: C-FIND for scheduled procedure steps |
//! | `commitment` | storage commitment |
//! | `client`, `client_exchange` | what the command line asks of peers: a request and its answers |
//! | `client_file`, `client_get` | files it sends, instances it gets |
//! | `outgoing`, `secure` | associations this server asks for, over TLS where need be |
//! | `send`, `implicit` | instances it sends, in Implicit VR where need be |
//!
//! Invariants: whatever a peer sends, memory of an association is reserved and bounded, and everybody else goes on; an instance
//! is acknowledged when it is durable; what a peer may not do is answered as such before anything is looked up.

mod association;
pub mod audit;
pub mod client;
mod client_exchange;
mod client_file;
mod client_get;
mod command;
mod commitment;
mod dataset;
mod establish;
mod find;
mod gateway;
mod implicit;
mod listen;
mod meters;
mod negotiate;
mod outgoing;
mod pdu;
pub mod peers;
mod prompt;
mod retrieve;
mod secure;
mod send;
mod store;
mod wire;
mod worklist;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::config::DimseConfig;
use crate::shares::Shares;
use crate::tasks::Need;
use audit::Trail;
use commitment::pending_reports::REPORTS;
use gateway::Gateway;
use listen::Door;
use peers::{Peers, PeersError};

pub use listen::CurrentTls;

/// Connections beside the associations, which have not said yet what they want.
const GREETING: u64 = 64;

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The table of peers cannot be used.
    #[error("{0}")]
    Peers(#[from] PeersError),
    /// The AE title is none.
    #[error(
        "STOWAGE_DIMSE_AE_TITLE must have 1 to 16 printable ASCII characters without a backslash"
    )]
    Title,
    /// There is no certificate.
    #[error("STOWAGE_DIMSE_TLS_LISTEN needs STOWAGE_TLS_CERT_FILE and STOWAGE_TLS_KEY_FILE")]
    Certificate,
    /// The address cannot be listened on.
    #[error("STOWAGE_DIMSE_LISTEN, STOWAGE_DIMSE_TLS_LISTEN: cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// The gateway, which listens.
#[derive(Clone)]
pub struct Listening {
    gateway: Arc<Gateway>,
    doors: Vec<Arc<Door>>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}

/// Opens the gateway, if it is configured, and begins to listen.
///
/// # Errors
/// [`GatewayError`] with the setting to change.
pub async fn listen(
    config: &DimseConfig,
    archive: &Archive,
    trail: Arc<dyn Trail>,
    tls: Option<CurrentTls>,
    time_limit: Duration,
) -> Result<Option<Listening>, GatewayError> {
    let plain = config.dimse_listen.map(|address| (address, None));
    let secure = match (config.dimse_tls_listen, tls) {
        (None, _) => None,
        (Some(address), Some(tls)) => Some((address, Some(tls))),
        (Some(_), None) => return Err(GatewayError::Certificate),
    };
    if plain.is_none() && secure.is_none() {
        return Ok(None);
    }
    let title = config.dimse_ae_title.trim_matches(' ');
    let fits = |c: char| matches!(c, ' '..='~') && c != '\\';
    if title.is_empty() || title.len() > 16 || !title.chars().all(fits) {
        return Err(GatewayError::Title);
    }
    let peers = Peers::with_partitions(config.dimse_peers.as_deref(), archive).await?;
    let mut doors = Vec::new();
    for (address, tls) in plain.into_iter().chain(secure) {
        if peers.is_open() && !address.ip().is_loopback() {
            tracing::warn!(listen = %address, "the DIMSE gateway is open on a public address: everybody may associate");
        }
        let refused = |source| GatewayError::Listen { address, source };
        doors.push(Arc::new(Door {
            listener: TcpListener::bind(address).await.map_err(refused)?,
            tls,
            ended: CancellationToken::new(),
        }));
    }
    let associations = config.dimse_associations.max(1) as u64;
    let gateway = Arc::new(Gateway {
        archive: archive.clone(),
        title: title.to_owned(),
        peers,
        trail,
        meters: Arc::default(),
        associations: Shares::new(associations),
        connections: Shares::new(associations.saturating_add(GREETING)),
        reports: Arc::new(Semaphore::new(REPORTS)),
        idle: Duration::from_secs(config.dimse_idle_seconds.max(1)),
        longest: Duration::from_secs(config.dimse_association_seconds.max(1)),
        stop: CancellationToken::new(),
    });
    let meters = gateway.meters.clone();
    archive
        .tasks()
        .also_meter(Arc::new(move |out| meters.write(out)));
    for door in &doors {
        let name = if door.tls.is_some() {
            "dimse-tls"
        } else {
            "dimse"
        };
        let (door, served) = (door.clone(), gateway.clone());
        archive.tasks().supervise(name, Need::May, move |_| {
            listen::run(served.clone(), door.clone(), time_limit)
        });
    }
    let reporting = gateway.clone();
    archive
        .tasks()
        .supervise("dimse-commitment", Need::May, move |watch| {
            commitment::run(reporting.clone(), watch)
        });
    let listening = Listening { gateway, doors };
    for (address, tls) in listening.addresses() {
        tracing::info!(%address, tls, ae_title = listening.gateway.title, "the DIMSE gateway listens");
    }
    Ok(Some(listening))
}

impl Listening {
    /// Where it listens, and whether TLS is spoken there; without TLS first.
    pub fn addresses(&self) -> impl Iterator<Item = (SocketAddr, bool)> + '_ {
        let doors = self.doors.iter();
        doors.filter_map(|door| Some((door.listener.local_addr().ok()?, door.tls.is_some())))
    }

    /// Takes no more associations; those that are there end after the message under way.
    pub fn stop(&self) {
        self.gateway.stop.cancel();
    }

    /// Ends when the last association has.
    pub async fn ended(&self) {
        for door in &self.doors {
            door.ended.cancelled().await;
        }
    }
}
