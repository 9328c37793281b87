//! Connections: accepted, bounded in number and in what they may wait for, and let finish when the server stops.
//!
//! Invariant: a connection that does not send the head of a request in time is closed, and so is one on which nothing is
//! asked for, or one that takes too little of its answers; so half requests, idle clients and clients that do not read cannot
//! use up sockets, files or memory.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::Version;
use axum::response::Response;
use bytes::Bytes;
use http_body::Body as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service, ServiceExt};

use super::layers::guarded::GuardedBody;
use super::links::Network;
use super::multipart::BodyError;
use super::paths::{self, Outermost};
use super::tls::Tls;
use crate::fault;
use crate::memory::MemoryBudget;
use crate::tasks::{Need, Tasks, Watch};
use connections::{ConnectionGuard, OpenConnection, OpenConnections};
use handshake::Handshaker;
use socket::WriteTimeoutStream;
use transfers::Transfers;
use windows::Windows;

mod connection_info;
mod connections;
mod handshake;
pub(super) mod meters;
mod pace;
mod socket;
mod transfers;
mod windows;

pub use connection_info::ConnectionInfo;
pub use pace::TransferPace;

/// Pause after the system could not give a socket: there may be none left for a moment.
const PAUSE: Duration = Duration::from_millis(50);
/// Seconds between two questions to a client of HTTP/2 whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// How long a connection that is to end may take to say so to its client.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most bytes of a head, and of what is read or written at once.
const BUFFER: usize = 128 * 1024;
/// Part of the memory budget that all heads together could take, were they all that long.
const HEADS: usize = 4;
/// Bytes of one stream of HTTP/2 that wait for the socket.
const STREAM: usize = 64 * 1024;
/// Most bytes of the headers of a request over HTTP/2, as that counts them.
const HEADERS: u32 = 64 * 1024;

/// How long the server waits for its clients.
#[derive(Debug, Clone, Copy)]
pub struct ServeTimeouts {
    /// For the head of a request, from the moment one could come: on a new connection or after the last answer.
    pub head: Duration,
    /// For the bytes of bodies, in both directions.
    pub pace: TransferPace,
    /// For running requests when the server stops.
    pub stop: Duration,
}

/// What connections are served with.
#[derive(Debug)]
pub struct ConnectionContext {
    /// How long clients may take.
    pub time_limit: ServeTimeouts,
    /// Most connections at the same time.
    pub connections: usize,
    /// Peers that bring the connections of many clients.
    pub proxies: Vec<Network>,
    /// Certificate and key; none for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// While somebody waits for memory, whoever holds some and takes nothing makes way.
    pub budget: MemoryBudget,
    /// Where accepting and the watch over transfers run.
    pub tasks: Tasks,
}

/// Whether all requests had their answers when the server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// They had.
    Whole,
    /// Some were cut off.
    Cut,
}

/// The service as all connections share it.
#[derive(Clone)]
pub struct Connections {
    shared: Arc<SharedContext>,
    tasks: Tasks,
}

impl Connections {
    /// Answers with `router`; from now on transfers are watched, which needs a Tokio runtime.
    #[must_use]
    pub fn new(router: Router, door: ConnectionContext) -> Self {
        let ConnectionContext {
            time_limit,
            connections,
            proxies,
            tls,
            budget,
            tasks,
        } = door;
        // However little memory there is, some must be let in.
        let heads = (budget.bytes() / HEADS / BUFFER).max(64);
        let conns = OpenConnections::new(connections.min(heads), proxies);
        let shared = Arc::new(SharedContext {
            windows: Windows::new(budget.clone()),
            builder: builder(time_limit),
            service: paths::outermost().layer(router),
            transfers: Transfers::new(time_limit.pace),
            handshaker: tls.map(|tls| Handshaker::new(tls, time_limit.head)),
            time_limit,
            closing: CancellationToken::new(),
            running: TaskTracker::new(),
            conns,
        });
        let transfers = Arc::clone(&shared.transfers);
        tasks.supervise("transfers", Need::May, move |_| {
            let (transfers, budget) = (Arc::clone(&transfers), budget.clone());
            async move {
                transfers.watch(budget).await;
                Ok(())
            }
        });
        Self { shared, tasks }
    }

    /// Serves until `stop` is there, over TLS when there is a certificate, then lets running requests end.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) -> Stopped {
        let (accepting, listener) = (Arc::clone(&self.shared), Arc::new(listener));
        let (listening, closed) = tokio::sync::oneshot::channel::<()>();
        self.tasks
            .supervise("connections", Need::Must, move |watch| {
                let _listening = &listening;
                let (shared, listener) = (Arc::clone(&accepting), Arc::clone(&listener));
                async move {
                    shared.accept(&listener, &watch).await;
                    Ok(())
                }
            });
        stop.await;
        self.shared.closing.cancel();
        // Dropped with the listener, when nobody is accepted any more.
        let _ = closed.await;
        self.shared.running.close();
        let ended = self.shared.running.wait();
        match tokio::time::timeout(self.shared.time_limit.stop, ended).await {
            Ok(()) => Stopped::Whole,
            Err(_) => Stopped::Cut,
        }
    }

    /// Answers a request as on a connection of its own, without a socket; none when there is no room for a connection.
    pub async fn answer(&self, peer: SocketAddr, request: Request) -> Option<Response> {
        let stay = self.shared.conns.enter(peer).await?;
        let connected = self.shared.connected(peer, &stay.conn);
        let Ok(response) = connected.oneshot(request).await;
        Some(response.map(|body| Body::new(GuardedBody::new(body, stay))))
    }
}

fn builder(time_limit: ServeTimeouts) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER)
        .header_read_timeout(time_limit.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_send_buf_size(STREAM)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(time_limit.head);
    builder
}

/// What all connections share.
struct SharedContext {
    builder: Builder<TokioExecutor>,
    service: Outermost,
    transfers: Arc<Transfers>,
    handshaker: Option<Handshaker>,
    time_limit: ServeTimeouts,
    /// The server stops.
    closing: CancellationToken,
    /// Connections that are served.
    running: TaskTracker,
    conns: Arc<OpenConnections>,
    windows: Windows,
}

impl SharedContext {
    /// Accepts connections until the server stops.
    async fn accept(self: &Arc<Self>, listener: &TcpListener, watch: &Watch) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.closing.cancelled() => return,
            };
            fault::point("serve.accepted");
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    watch.failed(&error);
                    failing = true;
                    self.conns.make_room();
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            if std::mem::take(&mut failing) {
                watch.well();
            }
            // Closed at once when there is no room: whoever waits in a queue without end is told nothing.
            let Some(stay) = self.conns.enter(peer).await else {
                continue;
            };
            let shared = Arc::clone(self);
            self.running.spawn(shared.receive(stream, peer, stay));
        }
    }

    /// The service as one connection sees it.
    fn connected(&self, peer: SocketAddr, conn: &Arc<OpenConnection>) -> Connected {
        Connected {
            service: self.service.clone(),
            transfers: Arc::clone(&self.transfers),
            conn: Arc::clone(conn),
            peer,
        }
    }

    /// Greets a client and answers it.
    async fn receive(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, stay: ConnectionGuard) {
        // Without TCP_NODELAY window updates are delayed and uploads over HTTP/2 crawl.
        let _ = stream.set_nodelay(true);
        let stream = WriteTimeoutStream::new(stream, self.time_limit.pace);
        let Some(handshaker) = &self.handshaker else {
            return self.serve(stream, peer, &stay.conn).await;
        };
        let handshaken = tokio::select! {
            handshaken = handshaker.handshake(stream) => handshaken,
            () = stay.conn.sent_away.cancelled() => None,
            () = self.closing.cancelled() => None,
        };
        if let Some(stream) = handshaken {
            self.serve(stream, peer, &stay.conn).await;
        }
    }

    /// Answers the requests of a connection until it ends.
    async fn serve<S>(&self, stream: S, peer: SocketAddr, conn: &Arc<OpenConnection>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.connected(peer, conn));
        let (window, _held) = self.windows.take();
        let mut builder = self.builder.clone();
        builder
            .http2()
            .initial_connection_window_size(window)
            .initial_stream_window_size(window);
        let mut connection =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let head = self.time_limit.head;
        let mut end = CloseReason::default();
        let mut look = pin!(tokio::time::sleep(head));
        loop {
            tokio::select! {
                // What goes wrong on a connection is the client's business.
                _ = connection.as_mut() => return,
                () = self.closing.cancelled(), if !end.closing => {
                    end.closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = conn.sent_away.cancelled(), if !end.sent_away => {
                    end.sent_away = true;
                    connection.as_mut().graceful_shutdown();
                    // It is told as far as the socket takes that at once: others wait for its descriptor.
                    let over = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx).is_ready()));
                    if over.await || conn.idle().is_some() {
                        return;
                    }
                    look.as_mut().reset(tokio::time::Instant::now() + FAREWELL);
                }
                () = look.as_mut() => {
                    let idle = conn.idle();
                    let time_limit = if end.is_reported() { FAREWELL } else { head };
                    let left = idle.map_or(time_limit, |idle| time_limit.saturating_sub(idle));
                    if !left.is_zero() {
                        look.as_mut().reset(tokio::time::Instant::now() + left);
                    } else if end.is_reported() || !conn.begun.load(Ordering::Relaxed) {
                        // It was told, or there is nobody to tell.
                        return;
                    } else {
                        meters::METERS.idle.one();
                        end.idle = true;
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(tokio::time::Instant::now() + FAREWELL);
                    }
                }
            }
        }
    }
}

/// Why a connection was told to end.
#[derive(Debug, Default)]
struct CloseReason {
    closing: bool,
    sent_away: bool,
    idle: bool,
}

impl CloseReason {
    /// Whether it goes as soon as nothing runs on it; at a stop it may go on for as long as all others.
    fn is_reported(&self) -> bool {
        self.sent_away || self.idle
    }
}

/// The service as one connection sees it: handlers learn who asks, and bodies are watched.
#[derive(Clone)]
struct Connected {
    service: Outermost,
    transfers: Arc<Transfers>,
    conn: Arc<OpenConnection>,
    peer: SocketAddr,
}

impl<B> Service<Request<B>> for Connected
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.service, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asking = self.conn.asks();
        let subject = Arc::new(OnceLock::new());
        let piecewise = request.version() == Version::HTTP_2;
        let (parts, body) = request.into_parts();
        let (body, watched) = if body.is_end_stream() {
            (Body::new(body), None)
        } else {
            let (body, watched) = self.transfers.receive(Body::new(body), &subject);
            (body, Some(watched))
        };
        let mut request = Request::from_parts(parts, body);
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(self.peer));
        extensions.insert(ConnectionInfo {
            conn: Arc::clone(&self.conn),
            transfers: Arc::clone(&self.transfers),
            subject: Arc::clone(&subject),
            body: watched,
        });
        let answered = self.service.call(request);
        let transfers = Arc::clone(&self.transfers);
        Box::pin(async move {
            let response = answered.await?;
            Ok(response.map(|body| {
                if body.is_end_stream() {
                    return body;
                }
                // Inside of what is let go, so that a connection that takes nothing counts as idle.
                let body = Body::new(GuardedBody::new(body, asking));
                transfers.send(body, &subject, piecewise)
            }))
        })
    }
}
