//! Connections: accepted, bounded in what they may wait for, and let finish when the server stops.
//!
//! Invariant: a connection that does not send the head of a request in time is closed, and so is one that takes nothing
//! of its answer for too long; so half requests, idle clients and clients that do not read cannot use up sockets, files
//! or memory.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
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
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::multipart::BoxError;
use super::paths::{self, Outermost};

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

/// Serves until `stop` is there, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
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
        let begun = Arc::new(AtomicBool::new(false));
        let connected = Connected {
            service: service.clone(),
            peer,
            begun: begun.clone(),
        };
        let connection = builder
            .serve_connection(
                io(stream, patience.idle),
                TowerToHyperService::new(connected),
            )
            .into_owned();
        let connection = running.watch(connection);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // Which version of HTTP it is shows in the first bytes, and they are waited for without a timer.
            let first = tokio::time::timeout(patience.head, connection.as_mut()).await;
            if first.is_err() && begun.load(Ordering::Relaxed) {
                // What goes wrong on a connection is the client's business.
                let _ = connection.await;
            }
        });
    }
    drop(listener);
    match tokio::time::timeout(patience.stop, running.shutdown()).await {
        Ok(()) => Stopped::Whole,
        Err(_) => Stopped::Cut,
    }
}

fn io(stream: TcpStream, idle: Duration) -> TokioIo<Taken> {
    // Without TCP_NODELAY window updates are delayed and uploads over HTTP/2 crawl.
    let _ = stream.set_nodelay(true);
    TokioIo::new(Taken {
        stream,
        idle,
        waiting: None,
    })
}

/// A socket whose other end must take something now and then: a client that stops reading holds memory and files.
struct Taken {
    stream: TcpStream,
    idle: Duration,
    /// Runs while nothing can be written.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Taken {
    /// Ends a write that has waited for too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.waiting = None;
            return wrote;
        }
        let idle = self.idle;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        waiting
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Taken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shut)
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
