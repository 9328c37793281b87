//! The web page: its files, and the few small answers that only the page asks for.
//!
//! Invariants: what is served here beside the files stands as a row in [`UI_ROUTES`] with who may have it; the page itself
//! holds nothing of what is stored, so everybody may load it; its answers run under a Content-Security-Policy of their
//! own, which allows the page's scripts and nothing else.

mod describe;
mod files;
mod messages;
mod oversee;
mod route_table;
pub(super) mod settings;
mod share;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::access::{AuthState, guard};
use super::audit::sink::AuditLog;
use super::error::{ErrorFormat, HttpError, ProblemType};
use super::fallbacks::no_method;
use super::health;
use super::layers::{self, Admission};
use super::metrics::{Requests, reads_everything};
use super::represent::not_modified;
use super::state::App;
use crate::config::Switch;
use files::{File, Files};

pub use route_table::{UI_ROUTES, UiAudience, UiRoute};
pub use settings::UiSettings;

/// What the handlers of the page share.
#[derive(Debug, Clone)]
struct UiState {
    files: Arc<Files>,
    policy: HeaderValue,
}

/// `/`, and the page unless it is off.
pub(super) fn routes(
    settings: &UiSettings,
    gate: &AuthState,
    admission: &Admission,
    requests: &Arc<Requests>,
) -> Router<Arc<App>> {
    if settings.config.ui == Switch::Off {
        return Router::new().route("/", get(health::welcome));
    }
    let page = UiState {
        files: Arc::new(Files::embedded()),
        policy: policy(settings),
    };
    let handler = |path: &str| match path {
        "/ui/api.json" => get(describe::document),
        "/ui/links" => post(share::make),
        "/ui/links/open" => post(share::open),
        "/ui/config" => get(messages::tell_config),
        "/ui/dictionary" => get(messages::tell_names),
        "/ui/me" => get(messages::tell_caller),
        "/ui/operations" => get(oversee::tell_operations),
        "/ui/damage" => get(oversee::tell_damage),
        _ => get(messages::tell_status),
    };
    let mut answers = Router::new();
    for route in UI_ROUTES {
        let one = Router::new().route(route.path, handler(route.path));
        let quiet = AuthState {
            audit: AuditLog::default(),
            ..gate.clone()
        };
        let one = if route.method == "POST" {
            one.layer(DefaultBodyLimit::max(share::MOST_BYTES))
                .layer(from_fn(in_time))
        } else {
            one
        };
        answers = answers.merge(match route.needs {
            UiAudience::Nobody if route.method == "POST" => admitted(one, admission),
            UiAudience::Nobody => one,
            UiAudience::Caller | UiAudience::Export => {
                guard(admitted(one, admission), gate.clone())
            }
            // Asked every few seconds, and no access to images.
            UiAudience::Everything => guard(
                admitted(one.route_layer(from_fn(reads_everything)), admission),
                quiet,
            ),
        });
    }
    let sharing = gate.authenticator.sharing();
    let sharing = sharing.filter(|_| settings.config.ui_link_time > 0);
    let answers = answers
        .layer(axum::Extension(share::SharedLinks(sharing)))
        .layer(axum::Extension(requests.clone()))
        .layer(axum::Extension(Arc::new(settings.clone())));
    let files = Router::new()
        .route("/ui", get(to_folder))
        .route("/ui/", get(index))
        .route("/ui/{build}/{*file}", get(file))
        .with_state(page);
    let all = answers
        .merge(files)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(ErrorFormat::Problem, layers::errors));
    Router::new().route("/", get(front)).merge(all)
}

/// A route that takes room for a request; what needs no token takes none.
fn admitted(route: Router<Arc<App>>, admission: &Admission) -> Router<Arc<App>> {
    route.layer(from_fn_with_state(admission.clone(), layers::admit))
}

/// Gives up a body that does not come.
async fn in_time(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(share::LONGEST, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let reason = "the body did not come in time";
        HttpError::new(ProblemType::RequestTimeout, reason).into_response()
    })
}

/// What the page may do: its own scripts and pictures, requests to this server and to the issuer.
fn policy(settings: &UiSettings) -> HeaderValue {
    let connect = settings.connects_to();
    let text = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src blob:; \
         connect-src 'self'{connect}; form-action 'none'; base-uri 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    // The origin was checked character by character; without it the page cannot reach the issuer, and says so.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

/// Leads browsers to the page; programs are told what this is.
async fn front(headers: HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter();
    let mut accepts = accepts.filter_map(|value| value.to_str().ok());
    if accepts.any(|value| value.to_ascii_lowercase().contains("text/html")) {
        // Relative, so that it also holds behind a proxy that adds a prefix.
        return (StatusCode::FOUND, [(header::LOCATION, "ui/")]).into_response();
    }
    health::welcome().await.into_response()
}

/// The page's paths are relative to its folder.
async fn to_folder() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "ui/")]).into_response()
}

async fn index(State(page): State<UiState>, headers: HeaderMap) -> Result<Response, HttpError> {
    let file = page.files.index();
    let file = file.ok_or_else(|| HttpError::broken("ui/index.html is not in the binary"))?;
    let mut response = sent(&file, &headers)?;
    let reported = response.headers_mut();
    reported.insert(header::CONTENT_SECURITY_POLICY, page.policy);
    reported.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn file(
    State(page): State<UiState>,
    Path((build, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let missing = || {
        HttpError::new(
            ProblemType::NotFound,
            "There is no such file in this version of the page; load the page again.",
        )
    };
    let file = page.files.get(&build, &name).ok_or_else(missing)?;
    let mut response = sent(&file, &headers)?;
    let kept = if page.files.lasts() {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    let reported = response.headers_mut();
    reported.insert(header::CONTENT_SECURITY_POLICY, page.policy);
    reported.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    Ok(response)
}

/// A file as the client takes it: compressed where it says so, not at all when it has it already.
fn sent(file: &File, headers: &HeaderMap) -> Result<Response, HttpError> {
    let tag = HeaderValue::try_from(file.etag.as_str());
    let tag = tag.map_err(|_| HttpError::broken("a tag of the page is no header"))?;
    let mut response = if not_modified(headers, &file.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let taken = headers.get_all(header::ACCEPT_ENCODING).iter();
        let mut taken = taken.filter_map(|value| value.to_str().ok());
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(file.media))];
        match &file.gzip {
            Some(gzip) if taken.any(takes_gzip) => {
                let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
                (kind, coding, gzip.clone()).into_response()
            }
            _ => (kind, file.bytes.clone()).into_response(),
        }
    };
    let reported = response.headers_mut();
    reported.insert(header::ETAG, tag);
    reported.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

/// Whether a value of `Accept-Encoding` takes gzip; `gzip;q=0` does not.
fn takes_gzip(value: &str) -> bool {
    value.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| {
            let quality = part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
            quality.is_some_and(|quality| quality <= 0.0)
        });
        gzip && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UiConfig;

    fn settings(issuer: Option<&str>) -> UiSettings {
        UiSettings {
            config: UiConfig {
                ui: Switch::On,
                ui_client_id: Some("stowage".to_owned()),
                ui_scopes: "openid".to_owned(),
                ui_link_time: 0,
                ui_open_in: Vec::new(),
                viewer_dir: None,
            },
            signed_in: true,
            api_keys: false,
            issuer: issuer.map(str::to_owned),
        }
    }

    #[test]
    fn the_policy_names_the_issuer_and_nobody_else() {
        let reported = |issuer| policy(&settings(issuer)).to_str().unwrap().to_owned();
        assert!(
            reported(Some("https://id.example.org:8443/realms/a"))
                .contains("connect-src 'self' https://id.example.org:8443;")
        );
        for issuer in [
            None,
            Some("https://a b/"),
            Some("https://a;script-src *"),
            Some("ftp://a/"),
        ] {
            assert!(
                reported(issuer).contains("connect-src 'self';"),
                "{issuer:?}"
            );
        }
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (value, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(value), takes, "{value}");
        }
    }
}
