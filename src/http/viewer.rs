//! A static viewer of somebody else, such as OHIF's published build, served from a folder (`STOWAGE_VIEWER_DIR`).
//!
//! Invariants: only regular files inside of the folder are served, whatever links lead out of it; a request holds one chunk
//! of a file. What the viewer is told of this server is made for it: `app-config.js`.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Segments, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::error::{HttpError, ProblemType};
use super::fallbacks::no_method;
use super::paths;
use super::represent::not_modified;
use super::state::App;
use super::ui::settings::UiSettings;

/// Bytes of a file that are read at a time.
const CHUNK: usize = 64 << 10;
/// Longest page whose paths are changed.
const MAX_PAGE: u64 = 1 << 20;
/// What the viewer reads its settings from.
const CONFIG: &str = "app-config.js";
const INDEX: &str = "index.html";

/// What the viewer may do: it is somebody else's and built in ways that need much, but it talks to this server and the issuer
/// alone, and nobody frames it.
fn policy(settings: &UiSettings) -> String {
    let issuer = settings.connects_to();
    format!(
        "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; \
         style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; connect-src 'self' blob: data:{issuer}; \
         frame-src 'self'{issuer}; base-uri 'self'; frame-ancestors 'self'"
    )
}

/// The viewer.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    folder: Arc<PathBuf>,
    policy: HeaderValue,
    config: Bytes,
}

impl Viewer {
    /// None where no folder is set.
    pub(super) fn new(settings: &UiSettings) -> Option<Self> {
        let folder = settings.config.viewer_dir.as_ref()?;
        let policy = HeaderValue::try_from(policy(settings));
        Some(Self {
            folder: Arc::new(folder.clone()),
            policy: policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'")),
            config: Bytes::from(config(settings)),
        })
    }

    /// `/viewer/` and what lies below.
    pub(super) fn routes(&self) -> Router<Arc<App>> {
        Router::new()
            .route("/viewer", get(to_folder))
            .route("/viewer/", get(index))
            .route("/viewer/{*file}", get(below))
            .method_not_allowed_fallback(no_method)
            .with_state(self.clone())
    }

    /// What is under no root: builds that were made for the root of a server look for their parts there.
    pub(super) async fn or_unknown(&self, uri: Uri, headers: HeaderMap) -> Response {
        let path = percent_decode_str(uri.path().trim_start_matches('/')).decode_utf8();
        let Ok(path) = path else {
            return paths::unknown_root(uri).await;
        };
        if path == CONFIG {
            return self.configuration();
        }
        match self.file(&path, &headers).await {
            Some(response) if path != INDEX => response,
            _ => paths::unknown_root(uri).await,
        }
    }

    fn configuration(&self) -> Response {
        let kind = [
            (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        self.dressed((kind, self.config.clone()).into_response())
    }

    fn dressed(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        response
    }

    /// A file inside of the folder; none when there is no such one.
    async fn file(&self, name: &str, headers: &HeaderMap) -> Option<Response> {
        let path = self.inside(name).await?;
        let file = File::open(&path).await.ok()?;
        let reported = file
            .metadata()
            .await
            .ok()
            .filter(std::fs::Metadata::is_file)?;
        let changed = reported.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let etag = format!("\"{:x}-{:x}\"", changed.as_nanos(), reported.len());
        let mut response = if not_modified(headers, &etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(media(&path)))];
            let length = [(header::CONTENT_LENGTH, HeaderValue::from(reported.len()))];
            let chunks =
                stream::try_unfold((file, reported.len()), |(mut file, left)| async move {
                    let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                    if wanted == 0 {
                        return Ok::<_, std::io::Error>(None);
                    }
                    let mut chunk = vec![0; wanted];
                    file.read_exact(&mut chunk).await?;
                    let left = left.saturating_sub(wanted as u64);
                    Ok(Some((Bytes::from(chunk), (file, left))))
                });
            (kind, length, Body::from_stream(chunks)).into_response()
        };
        let reported = response.headers_mut();
        reported.insert(header::ETAG, HeaderValue::try_from(etag).ok()?);
        reported.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Some(self.dressed(response))
    }

    /// The path of a name below the folder, after all links.
    async fn inside(&self, name: &str) -> Option<PathBuf> {
        let name = Path::new(name);
        let plain = |part: Component<'_>| match part {
            Component::Normal(part) => !part.as_encoded_bytes().starts_with(b"."),
            _ => false,
        };
        if !name.components().all(plain) {
            return None;
        }
        let folder = tokio::fs::canonicalize(self.folder.as_path()).await.ok()?;
        let path = tokio::fs::canonicalize(folder.join(name)).await.ok()?;
        path.starts_with(&folder).then_some(path)
    }

    /// The page, whose paths from the root on are made ones from where it is asked for, `up` folders below its own.
    async fn page(&self, up: usize) -> Option<Response> {
        let path = self.inside(INDEX).await?;
        let reported = tokio::fs::metadata(&path).await.ok()?;
        if reported.len() > MAX_PAGE {
            return None;
        }
        let text = tokio::fs::read_to_string(&path).await.ok()?;
        let back = "../".repeat(up);
        let back = if back.is_empty() { "./" } else { &back };
        let text = text
            .replace("src=\"/", &format!("src=\"{back}"))
            .replace("href=\"/", &format!("href=\"{back}"));
        let kind = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        Some(self.dressed((kind, text).into_response()))
    }
}

fn missing() -> HttpError {
    HttpError::new(
        ProblemType::NotFound,
        "There is no such file of the viewer.",
    )
}

/// The viewer's paths are relative to its folder.
async fn to_folder() -> Response {
    (
        StatusCode::PERMANENT_REDIRECT,
        [(header::LOCATION, "viewer/")],
    )
        .into_response()
}

async fn index(State(viewer): State<Viewer>) -> Result<Response, HttpError> {
    viewer.page(0).await.ok_or_else(missing)
}

/// A file; what is no file and has no ending is a screen of the viewer, which its page shows.
async fn below(
    State(viewer): State<Viewer>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    if name == CONFIG {
        return Ok(viewer.configuration());
    }
    let found = viewer.file(&name, &headers).await;
    if let Some(found) = found.filter(|_| name != INDEX) {
        return Ok(found);
    }
    let last = name.rsplit('/').next().unwrap_or_default();
    let is_screen = name == INDEX || !last.contains('.');
    let up = name.matches('/').count();
    let page = if is_screen {
        viewer.page(up).await
    } else {
        None
    };
    page.ok_or_else(missing)
}

/// The settings of OHIF for this server, as a script that finds out itself where it was loaded from.
fn config(settings: &UiSettings) -> String {
    let source = json!({
        "friendlyName": "Stowage",
        "qidoSupportsIncludeField": true,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": true,
        "supportsFuzzyMatching": true,
        "supportsWildcard": true,
        "supportsStow": true,
        "singlepart": "bulkdata,video,pdf",
        "bulkDataURI": { "enabled": true },
        "omitQuotationForMultipartRequest": true,
    });
    let sign_in = match (&settings.issuer, &settings.config.ui_client_id) {
        (Some(issuer), Some(client)) if settings.signed_in => json!([{
            "authority": issuer,
            "client_id": client,
            "response_type": "code",
            "scope": settings.config.ui_scopes,
            "automaticSilentRenew": true,
            "revokeAccessTokenOnSignout": true,
        }]),
        _ => serde_json::Value::Null,
    };
    format!(
        "(() => {{\n  const folder = new URL('.', document.currentScript.src)\n  const here = folder.pathname.endsWith('/viewer/') ? folder : new URL('viewer/', folder)\n  \
         const root = new URL('../dicom-web', here).href\n  const source = {source}\n  const signIn = {sign_in}\n  \
         for (const one of signIn ?? []) Object.assign(one, {{ redirect_uri: new URL('callback', here).href, post_logout_redirect_uri: here.href }})\n  \
         window.PUBLIC_URL = here.pathname\n  \
         window.config = {{ routerBasename: here.pathname.replace(/\\/$/, ''), extensions: [], modes: [], showStudyList: true, \
         defaultDataSourceName: 'stowage', ...(signIn ? {{ oidc: signIn }} : {{}}), dataSources: [{{ \
         namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'stowage', \
         configuration: {{ ...source, name: 'stowage', wadoUriRoot: root, qidoRoot: root, wadoRoot: root }} }}] }}\n}})()\n"
    )
}

fn media(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("ico") => "image/x-icon",
        Some("woff") => "font/woff",
        Some("woff2") => "font/woff2",
        Some("ttf") => "font/ttf",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
