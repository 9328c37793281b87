//! Connections: accepted, bounded in what they may wait for, and let finish when the server stops.
//!
//! Invariant: a connection that does not send the head of a request in time is closed, and so is one that takes nothing
//! of its answer for too long; so half requests, idle clients and clients that do not read cannot use up sockets, files
//! or memory.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower::{Layer, Service};

use super::multipart::BoxError;
use super::paths::{self, Outermost};
use super::tls::Tls;
use taken::Taken;

mod taken;

/// Pause after the system could not give a socket: there may be none left for a moment.
const PAUSE: Duration = Duration::from_millis(50);
/// Seconds between two questions to a client of HTTP/2 whether it is still there.
const PING: Duration = Duration::from_secs(20);

/// How long the server waits for its clients.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request, from the moment one could come: on a new connection or after the last answer.
    pub head: Duration,
    /// For the client to take the next bytes of an answer.
    pub idle: Duration,
    /// For running requests when the server stops.
    pub stop: Duration,
}

/// Whether all requests had their answers when the server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// They had.
    Whole,
    /// Some were cut off.
    Cut,
}

/// Serves until `stop` is there, over TLS when there is a certificate, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()>,
) -> Stopped {
    let service = paths::outermost().layer(router);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(patience.head);
    let builder = Arc::new(builder);
    let running = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.as_mut() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Without TCP_NODELAY window updates are delayed and uploads over HTTP/2 crawl.
        let _ = stream.set_nodelay(true);
        let stream = Taken::new(stream, patience.idle);
        let visit = Visit {
            builder: Arc::clone(&builder),
            service: service.clone(),
            peer,
            watcher: running.watcher(),
            head: patience.head,
        };
        // The certificate of now, not of the start.
        let acceptor = tls.as_ref().map(|tls| TlsAcceptor::from(tls.current()));
        tokio::spawn(async move {
            let Some(acceptor) = acceptor else {
                return visit.serve(stream).await;
            };
            // A client that fails to greet is let go like one that fails to ask.
            let greeted = tokio::time::timeout(patience.head, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = greeted {
                visit.serve(stream).await;
            }
        });
    }
    drop(listener);
    match tokio::time::timeout(patience.stop, running.shutdown()).await {
        Ok(()) => Stopped::Whole,
        Err(_) => Stopped::Cut,
    }
}

/// One connection and what it is served with.
struct Visit {
    builder: Arc<Builder<TokioExecutor>>,
    service: Outermost,
    peer: SocketAddr,
    watcher: Watcher,
    head: Duration,
}

impl Visit {
    /// Answers the requests of a connection until it ends.
    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = Arc::new(AtomicBool::new(false));
        let connected = Connected {
            service: self.service,
            peer: self.peer,
            begun: begun.clone(),
        };
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(connected))
            .into_owned();
        let mut connection = pin!(self.watcher.watch(connection));
        // Which version of HTTP it is shows in the first bytes, and they are waited for without a timer.
        let first = tokio::time::timeout(self.head, connection.as_mut()).await;
        if first.is_err() && begun.load(Ordering::Relaxed) {
            // What goes wrong on a connection is the client's business.
            let _ = connection.await;
        }
    }
}

/// The service as one connection sees it: handlers learn who asks.
#[derive(Clone)]
struct Connected {
    service: Outermost,
    peer: SocketAddr,
    /// Set with the first request.
    begun: Arc<AtomicBool>,
}

impl<B> Service<Request<B>> for Connected
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = <Outermost as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.service, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.begun.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.service.call(request)
    }
}
