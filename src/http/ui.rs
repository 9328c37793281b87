//! The web page: its files, and the few small answers that only the page asks for.
//!
//! Invariants: what is served here beside the files stands as a row in [`UI_ROUTES`] with who may have it; the page itself
//! holds nothing of what is stored, so everybody may load it; its answers run under a Content-Security-Policy of their
//! own, which allows the page's scripts and nothing else.

mod describe;
mod files;
mod messages;
mod oversee;
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
use super::error::{ErrorFormat as ErrorFace, HttpError, ProblemType};
use super::health;
use super::layers::{self, Admission};
use super::metrics::{Requests, reads_everything};
use super::represent::not_modified;
use super::state::App;
use crate::config::{OpenIn, Switch, UiConfig};
use files::{File, Files};

/// Who may have an answer of [`UI_ROUTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UiAudience {
    /// Nobody in particular: it tells nothing of what is stored, or takes a code that says who may.
    Nobody,
    /// Whoever has a good token.
    Caller,
    /// Whoever may export what is asked for.
    Export,
    /// Whoever may read everything there is.
    Everything,
}

/// One answer that only the page asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UiRoute {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// Who may have it.
    pub needs: UiAudience,
    /// What it is, for the description.
    pub about: &'static str,
}

/// Every answer beside the files.
pub const UI_ROUTES: &[UiRoute] = &[
    UiRoute {
        method: "GET",
        path: "/ui/api.json",
        needs: UiAudience::Nobody,
        about: "This description",
    },
    UiRoute {
        method: "GET",
        path: "/ui/config",
        needs: UiAudience::Nobody,
        about: "How people sign in, and the limits of an upload",
    },
    UiRoute {
        method: "GET",
        path: "/ui/dictionary",
        needs: UiAudience::Nobody,
        about: "Keywords of the attributes in the parameter tags: eight hexadecimal digits each, separated by commas",
    },
    UiRoute {
        method: "POST",
        path: "/ui/links/open",
        needs: UiAudience::Nobody,
        about: "Exchanges the code of a share link for a token that reads one study for some minutes",
    },
    UiRoute {
        method: "GET",
        path: "/ui/me",
        needs: UiAudience::Caller,
        about: "Who asks, and what they may do",
    },
    UiRoute {
        method: "POST",
        path: "/ui/links",
        needs: UiAudience::Export,
        about: "Makes the code of a link that reads one study until it expires",
    },
    UiRoute {
        method: "GET",
        path: "/ui/operations",
        needs: UiAudience::Everything,
        about: "The operations that began last, with their progress",
    },
    UiRoute {
        method: "GET",
        path: "/ui/damage",
        needs: UiAudience::Everything,
        about: "Damaged instances behind the number in the parameter after",
    },
    UiRoute {
        method: "GET",
        path: "/ui/status",
        needs: UiAudience::Everything,
        about: "Health, memory, limits, counts since the start",
    },
];

/// How the page is set up.
#[derive(Debug, Clone)]
pub struct UiSettings {
    /// The settings.
    pub config: UiConfig,
    /// Whether people must say who they are.
    pub signed_in: bool,
    /// Whether API keys are taken beside tokens.
    pub api_keys: bool,
    /// `iss` of tokens; where people sign in when a client id is set.
    pub issuer: Option<String>,
}

impl UiSettings {
    /// Where pages may send requests beside this server, as a Content-Security-Policy names it: the issuer, or nowhere.
    pub(super) fn connects_to(&self) -> String {
        let issuer = self.issuer.as_deref().and_then(origin);
        let issuer = issuer.filter(|_| self.config.ui_client_id.is_some());
        issuer.map_or_else(String::new, |issuer| format!(" {issuer}"))
    }

    /// Other viewers that a study can be opened in.
    fn open_in(&self) -> Vec<OpenIn> {
        let own = self.config.viewer_dir.as_ref().map(|_| OpenIn {
            name: "OHIF".to_owned(),
            url: "../viewer/viewer?StudyInstanceUIDs={study}".to_owned(),
        });
        let named = self.config.ui_open_in.iter().cloned();
        named.chain(own).collect()
    }
}

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
        .method_not_allowed_fallback(super::no_method)
        .layer(from_fn_with_state(ErrorFace::Problem, layers::errors));
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

/// Scheme, host and port of a URL, when they cannot leave their place in a header.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let known = ["http", "https"].contains(&scheme);
    (known && !host.is_empty() && host.bytes().all(sound)).then(|| format!("{scheme}://{host}"))
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
