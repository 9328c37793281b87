//! The service of the library in the process of the tests: opened by the code and the settings of the binary, asked without a
//! socket (`oneshot` on the service that a connection gets).
//!
//! Invariants: its tasks are gone when the value is dropped; the environment of the test process has no say.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use stowage::RunningService;
use stowage::config::Config;
use tokio::runtime::Runtime;

use super::http::{Answer, Request, SILENCE};

/// Where it says that it listens; nobody does.
const ADDRESS: &str = "127.0.0.1:1";
/// Who asks.
const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 40000);
/// Most bytes of a request body that come at once: parts go across borders, as they do on a connection.
const PIECE: usize = 16 * 1024;

/// A service that runs until it is dropped.
pub(super) struct App {
    service: Option<Arc<RunningService>>,
    host: String,
}

impl App {
    /// Opens it with `STOWAGE_…` names and values.
    pub(super) fn open(settings: &[(String, String)]) -> Self {
        start_log();
        let faults = settings
            .iter()
            .filter(|(name, _)| name.starts_with("STOWAGE_FAULT"));
        assert_eq!(
            faults.count(),
            0,
            "fault points are of the process: use Server"
        );
        let relative = settings.iter().find(|(_, value)| value.starts_with("./"));
        assert_eq!(
            relative, None,
            "it would write into the folder of the tests"
        );
        let default = ("STOWAGE_LISTEN", ADDRESS);
        let listens = settings.iter().any(|(name, _)| name == default.0);
        let pairs = settings.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let pairs = pairs.chain((!listens).then_some(default));
        let config = Config::of_variables(pairs).unwrap_or_else(|error| panic!("{error}"));
        // Not as a task: the future of the start cannot move between threads.
        let opened = runtime().block_on(async {
            let listen = async { Ok((config.listen, ())) };
            RunningService::open(&config, listen).await
        });
        let (service, ()) = opened.unwrap_or_else(|error| panic!("{error}"));
        Self {
            service: Some(Arc::new(service)),
            host: config.listen.to_string(),
        }
    }

    /// Who asks it.
    pub(super) fn client(&self) -> AppClient {
        AppClient {
            service: self
                .service
                .as_ref()
                .map(Arc::downgrade)
                .unwrap_or_default(),
            host: self.host.as_str().into(),
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Only a test that failed while it waited for an answer leaves somebody else who holds it.
        if let Some(service) = self.service.take().and_then(Arc::into_inner) {
            wait_for(async move {
                service.begin_stop();
                service.stop().await;
            });
        }
    }
}

/// Asks a service in this process.
#[derive(Clone)]
pub(crate) struct AppClient {
    service: Weak<RunningService>,
    host: Arc<str>,
}

impl AppClient {
    /// `host:port` of its address.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Asks, and reads the head of the answer.
    pub(super) fn answer(&self, request: &Request) -> io::Result<Answer> {
        let is_head = request.method == "HEAD";
        let request = self.build(request);
        let service = self.service.upgrade().expect("the service runs");
        let answered = wait_for(async move {
            let response = service.answer(SocketAddr::from(PEER), request).await;
            // Before the test hears of it, so that it can stop the service at once.
            drop(service);
            response
        });
        let lost = || io::Error::from(io::ErrorKind::ConnectionReset);
        let response = answered.flatten().ok_or_else(lost)?;
        Ok(read_head(response, is_head))
    }

    /// The request as a connection reads it.
    fn build(&self, request: &Request) -> http::Request<Body> {
        assert!(
            !request.has("transfer-encoding") && !request.has("expect"),
            "that is a matter of the connection: use Server"
        );
        let body = request.body.clone().unwrap_or_default();
        let mut built = http::Request::builder()
            .method(request.method.as_str())
            .uri(request.target.as_str());
        for (name, value) in &request.headers {
            let value = http::HeaderValue::from_bytes(value.trim().as_bytes());
            built = built.header(name, value.expect("a value that a connection reads"));
        }
        if !request.has("host") {
            built = built.header("Host", &*self.host);
        }
        if request.body.is_some() {
            if !request.has("content-length") {
                built = built.header("Content-Length", body.len());
            }
            let said = request.headers.iter();
            let mut said = said.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            assert!(
                said.all(|(_, length)| *length == body.len().to_string()),
                "a wrong length is a matter of the connection: use Server"
            );
        }
        let body = Body::new(Pieces(body.into()));
        built
            .body(body)
            .expect("a request that a connection reads; if it shall not, use Server")
    }
}

/// What a connection makes of an answer: its length is told when it is known, and whoever asks for the head gets no body.
fn read_head(response: http::Response<Body>, is_head: bool) -> Answer {
    let (head, body) = response.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect();
    let status = head.status.as_u16();
    let bare = matches!(status, 100..=199 | 204 | 304);
    if matches!(status, 100..=199 | 204) {
        // These have no length (RFC 9110 §8.6).
        headers.retain(|(name, _)| name != "content-length");
    }
    if !bare
        && !head.headers.contains_key("content-length")
        && let Some(length) = body.size_hint().exact()
        && (length > 0 || !is_head)
    {
        headers.push(("content-length".to_owned(), length.to_string()));
    }
    let body: Box<dyn Read + Send> = if bare || is_head {
        Box::new(io::empty())
    } else {
        Box::new(Pumped::begin(body))
    };
    Answer {
        status,
        headers,
        body,
    }
}

/// A body in pieces as a connection brings them.
struct Pieces(Bytes);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let length = self.0.len().min(PIECE);
        let piece = self.0.split_to(length);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// A body that is read as the test asks for it; one that is dropped is let go.
struct Pumped {
    pieces: tokio::sync::mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pumped {
    fn begin(mut body: Body) -> Self {
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        runtime().spawn(async move {
            while let Some(frame) = body.frame().await {
                let cut = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
                let piece = frame.map_err(cut).map(|frame| frame.into_data());
                let sent = match piece {
                    Ok(Ok(piece)) => sender.send(Ok(piece)).await,
                    Ok(Err(_trailers)) => Ok(()),
                    Err(error) => sender.send(Err(error)).await,
                };
                if sent.is_err() {
                    return;
                }
            }
            // Gone before the test reads the end, so that what the answer held is free by then.
            drop(body);
        });
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pumped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Runs something to its end where the services run; none when it panicked.
fn wait_for<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (sender, done) = mpsc::channel();
    runtime().spawn(async move { sender.send(work.await) });
    match done.recv_timeout(SILENCE) {
        Ok(done) => Some(done),
        Err(mpsc::RecvTimeoutError::Disconnected) => None,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("nothing came within {SILENCE:?}"),
    }
}

/// One for all services of this process, as the binary has one.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made")
    })
}

/// Lines of the log go to standard error when `STOWAGE_TEST_LOG` says which, such as `debug`; else there is no log.
fn start_log() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        if let Ok(filter) = std::env::var("STOWAGE_TEST_LOG") {
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(io::stderr)
                .init();
        }
    });
}
