//! What stands around the routes: request ids, access log, CORS, gzip, the form of errors, the spelling of paths.
//!
//! Invariant: patient data never reaches the log: the matched route is logged, never the URI.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower::ServiceBuilder;
use tower::util::{MapRequest, MapRequestLayer};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::request_id::{
    MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::set_header::SetResponseHeaderLayer;

use super::error::HttpError;
use super::profile::Errors;
use crate::config::HttpConfig;

/// Header that carries the request id both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// JSON shorter than this is not worth compressing, in bytes.
const COMPRESS_FROM: u64 = 1024;
/// How long browsers may keep a preflight answer.
const PREFLIGHT: Duration = Duration::from_secs(7200);

/// The router as the outermost layer sees it.
pub type Outermost = MapRequest<Router, fn(Request) -> Request>;

/// Mends the spelling of paths before they are routed.
#[must_use]
pub fn outermost() -> MapRequestLayer<fn(Request) -> Request> {
    MapRequestLayer::new(mend_path)
}

/// Puts everything around the router that every answer passes.
#[must_use]
pub fn around(router: Router, config: &HttpConfig) -> Router {
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let stack = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(from_fn(log_access))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ))
        .layer(cors(config))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(
            CompressionLayer::new()
                .gzip(true)
                .compress_when(SizeAbove::new(COMPRESS_FROM).and(IsText)),
        );
    router.layer(stack)
}

/// Gzip for JSON, XML and text only: never for pixels (spec/clients.md rule 18).
#[derive(Debug, Clone, Copy)]
struct IsText;

impl Predicate for IsText {
    fn should_compress<B: http_body::Body>(&self, response: &http::Response<B>) -> bool {
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let text =
            essence.starts_with("text/") || essence.ends_with("json") || essence.ends_with("xml");
        text && response.status() != StatusCode::PARTIAL_CONTENT
            && !response.headers().contains_key(header::CONTENT_RANGE)
    }
}

/// CORS as browsers' viewers need it (spec/clients.md, table "CORS, exactly").
fn cors(config: &HttpConfig) -> CorsLayer {
    let any = config.cors_origins.iter().any(|o| o == "*");
    let listed: Vec<HeaderValue> = config
        .cors_origins
        .iter()
        .filter_map(|o| HeaderValue::try_from(o.trim_end_matches('/')).ok())
        .collect();
    let origin = if any {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(listed)
    };
    let exposed = [
        header::CONTENT_RANGE,
        header::CONTENT_LOCATION,
        header::LOCATION,
        header::ETAG,
        header::WARNING,
        header::WWW_AUTHENTICATE,
        header::RETRY_AFTER,
        header::ACCEPT_RANGES,
        REQUEST_ID,
    ];
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(methods)
        // `*` would not cover Authorization, so what was asked is echoed.
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(!any)
        .expose_headers(exposed)
        .max_age(PREFLIGHT)
        .vary([header::ORIGIN, header::ACCEPT, header::ACCEPT_ENCODING])
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    HttpError::internal("a handler panicked").into_response()
}

async fn log_access(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", |m| m.as_str())
        .to_owned();
    let id = request_id(&request).unwrap_or_default();
    let response = next.run(request).await;
    let (status, ms) = (response.status().as_u16(), started.elapsed().as_millis());
    tracing::debug!(%method, route, status, ms, request = id, "answered {method} {route} with {status}");
    response
}

fn request_id(request: &Request) -> Option<String> {
    let id = request.extensions().get::<RequestId>()?;
    id.header_value().to_str().ok().map(ToOwned::to_owned)
}

/// Renders errors in the form of a face.
pub(super) fn render_errors(router: Router, form: Errors) -> Router {
    router.layer(from_fn_with_state(form, render_error))
}

async fn render_error(
    axum::extract::State(form): axum::extract::State<Errors>,
    request: Request,
    next: Next,
) -> Response {
    let id = request_id(&request);
    let response = next.run(request).await;
    match response.extensions().get::<HttpError>() {
        Some(error) => {
            let mut rendered = error.render(form, id.as_deref());
            if let Some(allow) = response.headers().get(header::ALLOW) {
                rendered.headers_mut().insert(header::ALLOW, allow.clone());
            }
            rendered
        }
        None => response,
    }
}

/// Names the versions of the DICOM service's API on every routed answer.
#[must_use]
pub(super) fn api_versions() -> SetResponseHeaderLayer<HeaderValue> {
    let versions = HeaderValue::from_static("1.0-prerelease, 1, 2");
    SetResponseHeaderLayer::overriding(HeaderName::from_static("api-supported-versions"), versions)
}

/// Answers what is under no root: 400 for a version that does not exist, else 404 (dicom-service §1).
pub(super) async fn unknown_root(uri: Uri) -> Response {
    let first = uri
        .path()
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    let version = first.strip_prefix('v').is_some_and(|v| {
        let number = v.split('-').next().unwrap_or_default();
        !number.is_empty()
            && number
                .split('.')
                .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    if !version {
        return HttpError::not_found("There is no such resource.").into_response();
    }
    let message = "The HTTP resource does not support this API version; the versions are v1.0-prerelease, v1 and v2.";
    let body = serde_json::json!({ "error": { "code": "UnsupportedApiVersion", "message": message, "innerError": null } });
    let kind = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (StatusCode::BAD_REQUEST, kind, Body::from(body.to_string())).into_response()
}

/// Words of routes, which clients write in any case.
const WORDS: &[&str] = &[
    "dicom-web",
    "v1",
    "v2",
    "v1.0",
    "v2.0",
    "v1.0-prerelease",
    "studies",
    "series",
    "instances",
    "metadata",
    "frames",
    "rendered",
    "thumbnail",
    "bulkdata",
    "pixeldata",
    "changefeed",
    "latest",
    "extendedquerytags",
    "errors",
    "operations",
    "partitions",
    "export",
    "workitems",
    "state",
    "cancelrequest",
    "health",
    "check",
    "wado",
];

/// Lower-cases the words of a path and drops empty segments at its end.
fn mend_path(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = if path.len() > 1 {
        path.trim_end_matches('/')
    } else {
        path
    };
    let word = |segment: &str| {
        WORDS
            .iter()
            .find(|w| w.eq_ignore_ascii_case(segment))
            .copied()
    };
    let needs =
        trimmed.len() != path.len() || path.split('/').any(|s| word(s).is_some_and(|w| w != s));
    if !needs {
        return request;
    }
    let mended: Vec<&str> = trimmed.split('/').map(|s| word(s).unwrap_or(s)).collect();
    let mut target = mended.join("/");
    if target.is_empty() {
        target.push('/');
    }
    if let Some(query) = request.uri().query() {
        target = format!("{target}?{query}");
    }
    if let Ok(uri) = target.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(path: &str) -> String {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        mend_path(request).uri().to_string()
    }

    #[test]
    fn words_of_a_path_are_lower_cased_and_slashes_at_its_end_dropped() {
        assert_eq!(
            mended("/V1/Studies/1.2/Series/?Foo=Bar"),
            "/v1/studies/1.2/series?Foo=Bar"
        );
        assert_eq!(mended("/"), "/");
        assert_eq!(mended("//"), "/");
        assert_eq!(
            mended("/v2/extendedQueryTags/PatientAge"),
            "/v2/extendedquerytags/PatientAge"
        );
    }

    #[tokio::test]
    async fn a_version_that_does_not_exist_is_400_and_nonsense_404() {
        assert_eq!(
            unknown_root("/v3/studies".parse().unwrap()).await.status(),
            400
        );
        assert_eq!(
            unknown_root("/v1.5-beta/studies".parse().unwrap())
                .await
                .status(),
            400
        );
        assert_eq!(
            unknown_root("/vx/studies".parse().unwrap()).await.status(),
            404
        );
        assert_eq!(
            unknown_root("/studies".parse().unwrap()).await.status(),
            404
        );
    }
}
