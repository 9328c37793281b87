//! What of Azure Blob Storage and Google Cloud Storage an upload needs, in the test process.
//!
//! Every container is there but those of the name `gone`. Invariant: each value is a server of its own; who writes is not
//! asked for, but written down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode};
use tokio::runtime::Runtime;

use super::loopback;

/// Longest body that is taken.
const MOST: usize = 64 << 20;

#[derive(Default)]
struct Stored {
    /// Objects by their paths.
    objects: BTreeMap<String, Vec<u8>>,
    /// Blocks of Azure and parts of Google that are in no object yet, by path and id.
    blocks: BTreeMap<(String, String), Bytes>,
    /// How the last writer said who he is.
    writer: Option<String>,
}

/// A running server.
pub(crate) struct Containers {
    stored: Arc<Mutex<Stored>>,
    url: String,
    _runtime: Runtime,
}

impl Containers {
    /// Starts a server.
    pub(crate) fn start() -> Self {
        let (runtime, listener, url) = loopback::listen();
        let stored = Arc::<Mutex<Stored>>::default();
        let of_router = stored.clone();
        let router = Router::new().fallback(move |request: Request| {
            let stored = of_router.clone();
            async move { answer(&stored, request).await }
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            stored,
            url,
            _runtime: runtime,
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Objects by their paths.
    pub(crate) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.stored.lock().expect("no panic").objects.clone()
    }

    /// How the last writer said who he is.
    pub(crate) fn writer(&self) -> String {
        let stored = self.stored.lock().expect("no panic");
        stored.writer.clone().unwrap_or_default()
    }
}

async fn answer(stored: &Mutex<Stored>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MOST).await.unwrap_or_default();
    let path = decoded(parts.uri.path());
    let query = parts.uri.query().unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, v)| v)
    };
    let mut stored = stored.lock().expect("no panic");
    let signature = value("sig").map(str::to_owned);
    let header = parts.headers.get("authorization");
    let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    stored.writer = signature.or(header);
    if path.split('/').any(|name| name == "gone") {
        return reply(StatusCode::NOT_FOUND);
    }
    if parts.method == Method::POST {
        return google_upload(&mut stored, path, query, &body);
    }
    if parts.method != Method::PUT {
        return reply(StatusCode::NOT_FOUND);
    }
    if let Some(number) = value("partNumber") {
        stored.blocks.insert((path, number.to_owned()), body);
        return reply(StatusCode::OK);
    }
    match value("comp") {
        Some("block") => {
            let id = decoded(value("blockid").unwrap_or_default());
            stored.blocks.insert((path, id), body);
        }
        Some("blocklist") => {
            let list = String::from_utf8_lossy(&body).into_owned();
            let mut whole = Vec::new();
            for id in list.split(['<', '>']) {
                if let Some(block) = stored.blocks.remove(&(path.clone(), id.to_owned())) {
                    whole.extend(block);
                }
            }
            stored.objects.insert(path, whole);
        }
        _ => {
            stored.objects.insert(path, body.to_vec());
        }
    }
    reply(StatusCode::CREATED)
}

/// Begins an upload in parts, or ends it with the parts that the body names.
fn google_upload(stored: &mut Stored, path: String, query: &str, body: &[u8]) -> Response {
    if query.starts_with("uploads") {
        let begun = "<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>";
        return xml(begun);
    }
    let list = String::from_utf8_lossy(body).into_owned();
    let mut whole = Vec::new();
    for named in list.split("<PartNumber>").skip(1) {
        let number = named.split('<').next().unwrap_or_default();
        if let Some(part) = stored.blocks.remove(&(path.clone(), number.to_owned())) {
            whole.extend(part);
        }
    }
    stored.objects.insert(path, whole);
    xml("<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>")
}

fn xml(text: &'static str) -> Response {
    let mut response = reply(StatusCode::OK);
    *response.body_mut() = Body::from(text);
    response
}

fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two hexadecimal digits"));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn reply(status: StatusCode) -> Response {
    Response::builder()
        .status(status)
        .header("etag", "\"1\"")
        .header("last-modified", "Mon, 30 Nov 2026 10:00:00 GMT")
        .body(Body::empty())
        .expect("a response")
}
