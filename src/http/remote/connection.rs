//! One other server: its URL, the token it is shown, requests to it, and the reading of its answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::time::Instant;

use super::error::RemoteError;
use crate::config::Secret;
use crate::memory::Reservation;

/// Bytes that must move within the idle time.
const LEAST: u64 = 1024;
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Most bytes of a refusal that are looked at.
const MAX_DETAIL: usize = 64 << 10;
/// Most characters of what a server says that are passed on.
const MAX_WORDS: usize = 300;
/// Where the token of another server may stand; never on the command line, which everybody on the machine can read.
pub const TOKEN_VARIABLE: &str = "STOWAGE_REMOTE_TOKEN";

/// What a server is shown to be let in.
#[derive(Debug, Clone)]
pub enum RemoteToken {
    /// Nothing.
    None,
    /// A token.
    Value(Secret),
    /// A file that holds one; it is read for each request, so a token that ends soon can be replaced while it is used.
    File(PathBuf),
}

impl RemoteToken {
    fn header(&self) -> Result<Option<HeaderValue>, RemoteError> {
        let secret = match self {
            Self::None => return Ok(None),
            Self::Value(secret) => secret.clone(),
            Self::File(path) => Secret::from_file("--token-file", path)
                .map_err(|error| RemoteError::Setup(error.to_string()))?,
        };
        let text = secret.expose();
        let value = if text.contains(' ') {
            text.to_owned()
        } else if text.contains(':') {
            format!("Basic {}", STANDARD.encode(text))
        } else {
            format!("Bearer {text}")
        };
        let unusable =
            |_| RemoteError::Setup("the token has characters that no header can have".to_owned());
        let mut value = HeaderValue::from_str(&value).map_err(unusable)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// How a server is asked.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// Root of its `DICOMweb` service.
    pub url: String,
    /// What it is shown.
    pub token: RemoteToken,
    /// Time within which something must move.
    pub idle: Duration,
    /// How often what may pass is tried again.
    pub retries: u32,
}

/// Another `DICOMweb` server.
#[derive(Debug, Clone)]
pub struct RemoteServer {
    client: reqwest::Client,
    base: String,
    token: RemoteToken,
    /// Time within which something must move.
    pub(super) idle: Duration,
    /// How often what may pass is tried again.
    pub(super) retries: u32,
}

impl RemoteServer {
    /// A server at a URL; nothing is sent yet.
    ///
    /// # Errors
    /// [`RemoteError::Setup`] when the URL or the token cannot be used.
    pub fn new(settings: RemoteSettings) -> Result<Self, RemoteError> {
        let wrong = || {
            let reason = "the URL must be that of a DICOMweb service, such as https://pacs.example/dicom-web: http or https, \
                          without user, password, query and fragment; a token comes from STOWAGE_REMOTE_TOKEN or --token-file";
            RemoteError::Setup(reason.to_owned())
        };
        let url = Url::parse(&settings.url).map_err(|_| wrong())?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong());
        }
        settings.token.header()?;
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT.min(settings.idle))
            .redirect(Policy::none())
            .user_agent(concat!("stowage/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| RemoteError::Setup(error.to_string()))?;
        Ok(Self {
            client,
            base: url.as_str().trim_end_matches('/').to_owned(),
            token: settings.token,
            idle: settings.idle,
            retries: settings.retries,
        })
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether a token is sent to another machine where everybody on the way can read it.
    #[must_use]
    pub fn shows_token_to_others(&self) -> bool {
        let host = Url::parse(&self.base)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned));
        let own = host.is_some_and(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let address = host.parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        });
        !matches!(self.token, RemoteToken::None) && self.base.starts_with("http://") && !own
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
    ) -> Result<RequestBuilder, RemoteError> {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = request.header(ACCEPT, accept);
        Ok(match self.token.header()? {
            None => request,
            Some(token) => request.header(AUTHORIZATION, token),
        })
    }

    /// Sends a request whose body counts the bytes it gives away, and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        moved: &AtomicU64,
    ) -> Result<RemoteAnswer, RemoteError> {
        let mut sending = std::pin::pin!(request.send());
        loop {
            let before = moved.load(Ordering::Relaxed);
            match tokio::time::timeout(self.idle, sending.as_mut()).await {
                Ok(Ok(response)) => {
                    return Ok(RemoteAnswer {
                        response,
                        pace: PaceMeter::new(self.idle),
                    });
                }
                Ok(Err(error)) => return Err(unreached(error)),
                Err(_) if moved.load(Ordering::Relaxed).saturating_sub(before) >= LEAST => {}
                Err(_) => return Err(too_slow(self.idle)),
            }
        }
    }

    /// Gets what lies at a path, and fails with what the server said when it is not there.
    pub(super) async fn get(&self, path: &str, accept: &str) -> Result<RemoteAnswer, RemoteError> {
        let request = self.request(Method::GET, path, accept)?;
        let answer = self.send(request, &AtomicU64::new(0)).await?;
        answer.or_refused().await
    }
}

/// An answer of which the head is there.
#[derive(Debug)]
pub struct RemoteAnswer {
    response: Response,
    pace: PaceMeter,
}

impl RemoteAnswer {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its media type as sent.
    pub(super) fn content_type(&self) -> &str {
        let value = self.response.headers().get(CONTENT_TYPE);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The next bytes of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, RemoteError> {
        let left = self.pace.left();
        let begun = Instant::now();
        let chunk = tokio::time::timeout(left, self.response.chunk()).await;
        let chunk = chunk.map_err(|_| too_slow(self.pace.idle))?;
        let chunk = chunk.map_err(unreached)?;
        let length = chunk.as_ref().map_or(0, Bytes::len);
        self.pace.note(begun.elapsed(), length as u64);
        Ok(chunk)
    }

    /// The whole body, when it is not longer than `most` bytes; `held` is grown before it is.
    pub(super) async fn text(
        &mut self,
        most: usize,
        held: &mut Reservation,
    ) -> Result<Vec<u8>, RemoteError> {
        let mut text = Vec::new();
        let before = held.bytes();
        while let Some(chunk) = self.chunk().await? {
            let length = text.len().saturating_add(chunk.len());
            if length > most {
                let reason = format!("its answer has more than {most} bytes");
                return Err(RemoteError::Unusable(reason));
            }
            // A buffer that grows has twice its length at most.
            held.grow_to(before.saturating_add(length.saturating_mul(2)))
                .await?;
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }

    /// The answer when it is a success, else why not.
    pub(super) async fn or_refused(self) -> Result<Self, RemoteError> {
        if self.status().is_success() {
            return Ok(self);
        }
        Err(self.refused().await)
    }

    /// What the server says in an answer that is no success.
    pub(super) async fn refused(mut self) -> RemoteError {
        let status = self.status();
        let pause = self.response.headers().get(RETRY_AFTER);
        let pause = pause.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut text = Vec::new();
        while text.len() < MAX_DETAIL {
            match self.chunk().await {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                _ => break,
            }
        }
        text.truncate(MAX_DETAIL);
        let detail = if status.is_redirection() {
            let to = self.response.headers().get(reqwest::header::LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = words(to);
            format!(": redirects are not followed; is {to} the right URL?")
        } else {
            detail(&text)
        };
        RemoteError::Refused {
            status: status.as_u16(),
            pause: pause.map(Duration::from_secs),
            detail,
        }
    }
}

/// What a body says of a refusal: the members that problem details and other servers use, else its first words of text.
fn detail(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(body) => {
            let members = ["detail", "message", "Message", "error", "title", "Details"];
            let found = members
                .iter()
                .find_map(|member| Some(body.get(member)?.as_str()?.to_owned()));
            found.unwrap_or_default()
        }
        Err(_) if body.first() == Some(&b'<') => String::new(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    match words(&text) {
        text if text.is_empty() => text,
        text => format!(": {text}"),
    }
}

/// Text of a server, as it may be printed: one short line without control characters.
pub(super) fn words(text: &str) -> String {
    let printable = |c: char| {
        if c.is_control() || c.is_whitespace() {
            ' '
        } else {
            c
        }
    };
    let text: String = text.chars().take(MAX_WORDS).map(printable).collect();
    text.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// How long was waited for how little.
#[derive(Debug, Clone)]
struct PaceMeter {
    idle: Duration,
    waited: Duration,
    moved: u64,
}

impl PaceMeter {
    fn new(idle: Duration) -> Self {
        Self {
            idle,
            waited: Duration::ZERO,
            moved: 0,
        }
    }

    fn left(&self) -> Duration {
        self.idle.saturating_sub(self.waited)
    }

    fn note(&mut self, waited: Duration, bytes: u64) {
        self.waited = self.waited.saturating_add(waited);
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= LEAST {
            *self = Self::new(self.idle);
        }
    }
}

fn too_slow(idle: Duration) -> RemoteError {
    let idle = idle.as_secs();
    RemoteError::Passing(format!(
        "less than {LEAST} bytes moved within {idle} seconds"
    ))
}

/// Why a request failed, by its innermost cause.
fn unreached(error: reqwest::Error) -> RemoteError {
    let error = error.without_url();
    let is_connect = error.is_connect();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let why = words(&innermost.to_string());
    if is_connect {
        return RemoteError::Unreached(format!("it cannot be reached: {why}"));
    }
    RemoteError::Passing(format!("the connection broke off: {why}"))
}

/// Bytes that a body gave away.
pub(super) type MovedBytes = Arc<AtomicU64>;

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<RemoteServer, RemoteError> {
        RemoteServer::new(RemoteSettings {
            url: url.to_owned(),
            token: RemoteToken::Value(Secret::from("hush")),
            idle: Duration::from_secs(1),
            retries: 0,
        })
    }

    #[test]
    fn a_url_holds_no_secret_and_a_token_is_not_shown_by_accident() {
        for url in [
            "",
            "pacs",
            "ftp://pacs/",
            "https://user:pass@pacs/",
            "https://user@pacs/",
            "https://pacs/?token=x",
            "https://pacs/#x",
        ] {
            assert!(matches!(server(url), Err(RemoteError::Setup(_))), "{url}");
        }
        assert_eq!(server("https://pacs/rs/").unwrap().url(), "https://pacs/rs");
        assert!(server("http://pacs/rs").unwrap().shows_token_to_others());
        for url in ["https://pacs", "http://localhost:1", "http://[::1]:8/x"] {
            assert!(!server(url).unwrap().shows_token_to_others(), "{url}");
        }
        assert!(!format!("{:?}", server("https://pacs").unwrap()).contains("hush"));
    }

    #[test]
    fn a_token_is_a_bearer_a_password_or_a_whole_header() {
        let header = |text: &str| {
            let header = RemoteToken::Value(Secret::from(text)).header().unwrap();
            header.unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(header("a.b.c"), "Bearer a.b.c");
        assert_eq!(header("me:secret"), "Basic bWU6c2VjcmV0");
        assert_eq!(header("Digest x"), "Digest x");
        assert!(RemoteToken::Value(Secret::from("a\nb")).header().is_err());
    }

    #[test]
    fn words_of_a_server_are_one_harmless_line() {
        assert_eq!(words("\u{1b}[2Ja\r\n  b\t\0c"), "[2Ja b c");
        assert_eq!(words(&"x".repeat(5000)).len(), MAX_WORDS);
        assert_eq!(detail(br#"{"title":"t","detail":"d"}"#), ": d");
        assert_eq!(detail(b"<html>no"), "");
        assert_eq!(detail(b"no room"), ": no room");
        assert_eq!(detail(b""), "");
    }

    #[test]
    fn a_trickle_is_too_slow_and_a_stream_is_not() {
        let mut pace = PaceMeter::new(Duration::from_secs(10));
        for _ in 0..9 {
            pace.note(Duration::from_secs(1), 1);
        }
        assert_eq!(pace.left(), Duration::from_secs(1));
        pace.note(Duration::from_millis(900), LEAST);
        assert_eq!(pace.left(), Duration::from_secs(10));
    }
}
