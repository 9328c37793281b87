//! A real S3 server in the test process: `s3s` over a temporary folder, which fails on demand.
//!
//! Invariant: each value is a server of its own, gone with its objects when the value is dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use stowage::config::{Config, StorageConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// The bucket there is.
pub(crate) const BUCKET: &str = "pacs";
/// Who may use it.
pub(crate) const KEY: &str = "AKIASTOWAGE";
/// Proof of that.
pub(crate) const SECRET: &str = "a secret of the tests";

/// Requests that go wrong.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Method of the requests.
    pub(crate) method: &'static str,
    /// What stands in their path or query.
    pub(crate) at: &'static str,
    /// How many of them.
    pub(crate) times: u32,
    /// What becomes of them.
    pub(crate) effect: Effect,
}

/// How a request goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    /// It is answered with this status.
    Status(u16),
    /// The connection ends after so many bytes of the answer's body.
    Cut(usize),
    /// So many bytes are taken away from the end of the answer's body, and it claims to be whole.
    Short(usize),
    /// There is no answer until the client goes away.
    Silence,
    /// After so many bytes of the answer's body nothing comes until all faults are healed; then the rest does.
    Pause(usize),
}

/// A running server.
pub(crate) struct S3 {
    address: SocketAddr,
    folder: TempDir,
    faults: Arc<Mutex<Vec<Fault>>>,
    runtime: Option<Runtime>,
}

impl S3 {
    /// Starts a server with one empty bucket.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("the bucket can be made");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("the folder can be served");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let (service, faults) = (builder.build(), Arc::new(Mutex::new(Vec::new())));
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let listener = runtime
            .block_on_elsewhere(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port can be listened on");
        let address = listener.local_addr().expect("the port is known");
        let failing = faults.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (service, faults) = (service.clone(), failing.clone());
            async move { answer(&service, &faults, request).await }
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            folder,
            faults,
            runtime: Some(runtime),
        }
    }

    /// URL of the bucket, with a prefix.
    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}", self.endpoint())
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Settings for a client in this process; `data` is the client's own folder.
    pub(crate) fn storage(&self, prefix: &str, data: &Path) -> StorageConfig {
        let credentials = data.join("credentials");
        let text = format!("aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
        std::fs::write(&credentials, text).expect("the credentials can be written");
        StorageConfig {
            data_dir: data.to_owned(),
            blob_url: Some(self.url(prefix)),
            s3_credentials_file: Some(credentials),
            blob_retry_seconds: 1,
            ..Config::default().storage
        }
    }

    /// Lets requests to come go wrong.
    pub(crate) fn fail(&self, fault: Fault) {
        self.faults.lock().expect("nobody panics").push(fault);
    }

    /// Lets no request go wrong any more.
    pub(crate) fn heal(&self) {
        self.faults.lock().expect("nobody panics").clear();
    }

    /// How many objects there are.
    pub(crate) fn objects(&self) -> usize {
        let (mut count, mut folders) = (0, vec![self.file("")]);
        while let Some(folder) = folders.pop() {
            // A folder may vanish while it is looked at.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    _ => count += 1,
                }
            }
        }
        count
    }

    /// How many of the requests that were to go wrong did not come.
    pub(crate) fn faults_left(&self) -> u32 {
        let faults = self.faults.lock().expect("nobody panics");
        faults.iter().map(|fault| fault.times).sum()
    }

    /// Where an object's bytes lie.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(path)
    }

    /// Names of the files of uploads that were neither completed nor aborted.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("the folder can be read");
        let names = entries.map(|e| e.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|n| n.contains("upload")).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Waiting for tasks is not allowed where a test runs on a runtime itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Blocking on one runtime while another one runs this thread.
trait BlockElsewhere {
    fn block_on_elsewhere<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T;
}

impl BlockElsewhere for Runtime {
    fn block_on_elsewhere<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.spawn(async move { sender.send(work.await) });
        receiver.recv().expect("the work is done")
    }
}

async fn answer(
    service: &S3Service,
    faults: &Arc<Mutex<Vec<Fault>>>,
    request: Request,
) -> Response {
    let effect = effect(faults, &request);
    if let Some(Effect::Status(status)) = effect {
        let status = StatusCode::from_u16(status).expect("a status");
        // Who answers early closes the connection, and the client sees that instead of the status.
        let mut body = request.into_body().into_data_stream();
        while let Some(Ok(_)) = body.next().await {}
        return (status, "<Error><Code>Injected</Code></Error>").into_response();
    }
    if let Some(Effect::Silence) = effect {
        std::future::pending::<()>().await;
    }
    let answered = service.call(request.map(s3s::Body::http_body_unsync)).await;
    let Ok(response) = answered else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let response = response.map(Body::new);
    match effect {
        Some(Effect::Cut(after)) => response.map(|body| cut(body, after)),
        Some(Effect::Short(by)) => short(response, by).await,
        Some(Effect::Pause(after)) => {
            let faults = Arc::clone(faults);
            response.map(|body| paused(body, after, faults))
        }
        _ => response,
    }
}

fn effect(faults: &Mutex<Vec<Fault>>, request: &Request) -> Option<Effect> {
    let target = request.uri().to_string();
    let mut faults = faults.lock().expect("nobody panics");
    let meant =
        |f: &&mut Fault| f.times > 0 && request.method() == f.method && target.contains(f.at);
    let fault = faults.iter_mut().find(meant)?;
    fault.times -= 1;
    Some(fault.effect)
}

/// An answer whose body is shorter than what was asked for, as a broken server or proxy sends it.
async fn short(response: Response, by: usize) -> Response {
    let (mut head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.expect("the answer can be read");
    let body = body.slice(..body.len().saturating_sub(by));
    head.headers
        .insert(http::header::CONTENT_LENGTH, body.len().into());
    Response::from_parts(head, Body::from(body))
}

/// A body that stands still in its middle until nothing is to go wrong any more.
fn paused(body: Body, after: usize, faults: Arc<Mutex<Vec<Fault>>>) -> Body {
    let mut sent = 0;
    let pieces = body.into_data_stream().then(move |piece| {
        sent += piece.as_ref().map_or(0, axum::body::Bytes::len);
        let (stands, faults) = (sent > after, Arc::clone(&faults));
        async move {
            while stands && !faults.lock().expect("nobody panics").is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            piece
        }
    });
    Body::from_stream(pieces)
}

/// A body that ends too early, and with it the connection.
fn cut(body: Body, after: usize) -> Body {
    let mut left = after;
    let whole = body.into_data_stream().map_err(std::io::Error::other);
    let begun = whole.scan((), move |(), chunk| {
        let chunk = chunk.map(|mut chunk: bytes::Bytes| {
            chunk.truncate(left);
            left -= chunk.len();
            chunk
        });
        std::future::ready(Some(chunk).filter(|c| c.as_ref().is_ok_and(|c| !c.is_empty())))
    });
    let end = stream::once(async { Err(std::io::Error::other("cut off")) });
    Body::from_stream(begun.chain(end))
}
