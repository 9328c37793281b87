//! Connections: accepted, counted against limits, and ended when the server stops.
//!
//! Invariant: no connection keeps others from being accepted; one that is too many is closed before anything is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::establish;
use super::gateway::Gateway;
use super::prompt::PromptStream;
use crate::shares::ShareHolder;
use crate::tasks::Failure;

/// What connections are greeted with, always the newest that works.
pub type CurrentTls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Where connections come in.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    /// TLS, where it is spoken.
    pub(super) tls: Option<CurrentTls>,
    /// The last connection has ended.
    pub(super) ended: CancellationToken,
}

/// Pause after a connection could not be accepted, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the gateway stops, and waits for the last one at most for `time_limit`.
pub(super) async fn run(
    gateway: Arc<Gateway>,
    door: Arc<Door>,
    time_limit: Duration,
) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = gateway.stop.cancelled() => break,
            Some(ended) = running.join_next() => tell(ended),
            accepted = door.listener.accept() => match accepted {
                Ok((stream, address)) => serve(&gateway, &door, stream, address, &mut running),
                Err(error) => {
                    tracing::warn!(%error, "a DIMSE connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    let all = async {
        while let Some(ended) = running.join_next().await {
            tell(ended);
        }
    };
    if tokio::time::timeout(time_limit, all).await.is_err() {
        tracing::warn!("stopped while DIMSE associations were open");
    }
    running.shutdown().await;
    door.ended.cancel();
    Ok(())
}

fn tell(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|lost| lost.is_panic()) {
        tracing::error!("a DIMSE association panicked");
    }
}

fn serve(
    gateway: &Arc<Gateway>,
    door: &Door,
    stream: TcpStream,
    address: SocketAddr,
    running: &mut JoinSet<()>,
) {
    let subject = ShareHolder::of_address(address.ip());
    let Ok(place) = gateway.connections.try_take(&subject, None, 1) else {
        gateway.meters.ended("no room");
        return;
    };
    let Ok(stream) = PromptStream::new(stream) else {
        return;
    };
    let gateway = gateway.clone();
    let tls = door
        .tls
        .as_ref()
        .map(|current| TlsAcceptor::from(current()));
    running.spawn(async move {
        let _place = place;
        let address = address.ip().to_canonical();
        let Some(tls) = tls else {
            let served = establish::accept(gateway, Box::new(stream), address, None);
            return Box::pin(served).await;
        };
        match timeout(establish::ARTIM, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let shown = chain.and_then(|chain| chain.first().map(|leaf| leaf.to_vec()));
                let served = establish::accept(gateway, Box::new(stream), address, shown);
                Box::pin(served).await;
            }
            Ok(Err(error)) => {
                gateway.meters.ended("not established");
                tracing::info!(%address, %error, "a TLS handshake of a DIMSE peer failed");
            }
            Err(_) => gateway.meters.ended("not established"),
        }
    });
}
