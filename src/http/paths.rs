//! The spelling of paths: words in any case, slashes at the end, versions that do not exist.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tower::util::{MapRequest, MapRequestLayer};

use super::error::{HttpError, ProblemType};

/// The router as the outermost layer sees it.
pub type Outermost = MapRequest<Router, fn(Request) -> Request>;

/// Mends the spelling of paths before they are routed.
#[must_use]
pub fn outermost() -> MapRequestLayer<fn(Request) -> Request> {
    MapRequestLayer::new(mend_path)
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
        return HttpError::new(ProblemType::NotFound, "There is no such resource.").into_response();
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
    "$bulkUpdate",
    "$deidentify",
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
    "trash",
    "restore",
    "export",
    "workitems",
    "commitment-requests",
    "modality-scheduled-procedure-steps",
    "color-palettes",
    "defined-procedure-protocols",
    "hanging-protocols",
    "implant-templates",
    "inventories",
    "protocol-approvals",
    "state",
    "cancelrequest",
    "health",
    "check",
    "wado",
    "ui",
];

/// Where WADO-URI answers; clients made for it are often told no more than host and `/wado`.
const WADO: &str = "/dicom-web/wado";

/// The web page and another viewer: the only paths whose slash at the end means something.
const PAGES: [&str; 2] = ["/ui/", "/viewer/"];

/// Whether a segment is a word whose dollar is percent-encoded.
fn is_encoded(word: &str, segment: &str) -> bool {
    let rest = (word.strip_prefix('$')).zip(segment.strip_prefix("%24"));
    rest.is_some_and(|(word, segment)| word.eq_ignore_ascii_case(segment))
}

/// Lower-cases the words of a path and drops empty segments at its end; `/wado` alone means that of the standard's root.
fn mend_path(mut request: Request) -> Request {
    let path = request.uri().path();
    // The paths of pages are relative to their folder.
    let is_page = PAGES.iter().any(|page| path.eq_ignore_ascii_case(page));
    let trimmed = if path.len() > 1 && !is_page {
        path.trim_end_matches('/')
    } else {
        path
    };
    let word = |segment: &str| {
        WORDS
            .iter()
            .find(|w| w.eq_ignore_ascii_case(segment) || is_encoded(w, segment))
            .copied()
    };
    let bare = trimmed.eq_ignore_ascii_case("/wado");
    let needs = bare
        || trimmed.len() != path.len()
        || path.split('/').any(|s| word(s).is_some_and(|w| w != s));
    if !needs {
        return request;
    }
    // The name of a partition is nobody's word.
    let mut named = false;
    let mended: Vec<&str> = trimmed
        .split('/')
        .map(|s| {
            let mended = word(s).filter(|_| !named).unwrap_or(s);
            named = mended == "partitions" && !named;
            mended
        })
        .collect();
    let mut target = mended.join("/");
    if target.is_empty() {
        target.push('/');
    }
    if bare {
        target = WADO.to_owned();
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
        assert_eq!(
            mended("/V2/Partitions/UI/Studies/"),
            "/v2/partitions/UI/studies"
        );
        assert_eq!(
            mended("/v2/partitions/Partitions/STUDIES"),
            "/v2/partitions/Partitions/studies"
        );
        assert_eq!(mended("/"), "/");
        assert_eq!(mended("/WADO/?a=b"), "/dicom-web/wado?a=b");
        assert_eq!(mended("//"), "/");
        assert_eq!(mended("/UI/"), "/ui/");
        assert_eq!(mended("/viewer/"), "/viewer/");
        assert_eq!(mended("/ui/me/"), "/ui/me");
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
