//! TLS handshakes: bounded in time, and their signatures in number, so that a crowd that greets leaves the cores to others.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use super::meters::METERS;
use crate::http::tls::{Tls, tell_failed};

/// Longest time for a handshake, whatever the setting for heads says.
const LONGEST: Duration = Duration::from_secs(10);

/// Greets clients.
#[derive(Debug, Clone)]
pub(super) struct Handshaker {
    tls: Arc<Tls>,
    /// Signatures that are made at the same time: half of the cores.
    signing: Arc<Semaphore>,
    longest: Duration,
}

impl Handshaker {
    /// Greets with the certificate of now, not of the start; for `head` at most.
    pub(super) fn new(tls: Arc<Tls>, head: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            tls,
            signing: Arc::new(Semaphore::new((cores / 2).max(1))),
            longest: head.min(LONGEST),
        }
    }

    /// Greets a client; none when it does not greet well or in time.
    pub(super) async fn handshake<S>(&self, stream: S) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (handshaken, outcome) =
            match tokio::time::timeout(self.longest, self.shake(stream)).await {
                Ok(Ok(stream)) => (Some(stream), &METERS.handshaken),
                Ok(Err(error)) => {
                    tell_failed(&error);
                    (None, &METERS.unshaken)
                }
                Err(_) => {
                    tell_failed(&"the client fell silent");
                    (None, &METERS.silent)
                }
            };
        outcome.one();
        handshaken
    }

    async fn shake<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let mut shake = hello.into_stream(self.tls.current());
        let first = {
            let _turn = self.signing.acquire().await;
            // The first step signs; what follows waits for the client, and nobody waits for that.
            poll_fn(|cx| Poll::Ready(Pin::new(&mut shake).poll(cx))).await
        };
        match first {
            Poll::Ready(done) => done,
            Poll::Pending => shake.await,
        }
    }
}
