use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, options};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::error::ProblemType;
use super::*;

fn router(origins: &str, api: ErrorFormat) -> Router {
    let config = CorsConfig {
        origins: origins.parse().unwrap(),
        ..CorsConfig::default()
    };
    let typed = |content_type: &'static str, size: usize| {
        move || async move { ([(CONTENT_TYPE, content_type)], "a".repeat(size)) }
    };
    Router::new()
        .route("/json", get(typed("application/dicom+json", 4096)))
        .route("/small", get(typed("application/json", 100)))
        .route(
            "/multipart",
            get(typed(
                "multipart/related; type=\"application/dicom+json\"; boundary=x",
                4096,
            )),
        )
        .route("/dicom", get(typed("application/dicom", 4096)))
        .route("/jpeg", get(typed("image/jpeg", 4096)))
        .route("/", options(|| async { "capabilities" }))
        .route(
            "/fails",
            get(|| async { HttpError::internal(&std::io::Error::other("secret")) }),
        )
        .route(
            "/refuses",
            get(|| async { HttpError::bad_request(ProblemType::InvalidUid, "Wrong.") }),
        )
        .layer(from_fn_with_state(api, errors))
        .layer(nosniff())
        .layer(api_versions())
        .layer(vary_accept())
        .layer(compression())
        .layer(from_fn_with_state(Arc::new(config), cors))
        .layer(from_fn(request_id))
}

async fn send(origins: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    router(origins, ErrorFormat::Problem)
        .oneshot(request)
        .await
        .unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

fn all(response: &Response, name: &str) -> String {
    let values = response.headers().get_all(name).iter();
    values
        .map(|value| value.to_str().unwrap().to_ascii_lowercase())
        .collect::<Vec<_>>()
        .join(", ")
}

const PREFLIGHT: [(&str, &str); 3] = [
    ("origin", "https://viewer.example.org"),
    ("access-control-request-method", "GET"),
    (
        "access-control-request-headers",
        "authorization,accept,x-other",
    ),
];

#[tokio::test]
async fn a_preflight_is_answered_for_any_path_and_echoes_the_headers() {
    let response = send("*", Method::OPTIONS, "/json", &PREFLIGHT).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    assert_eq!(
        header(&response, "access-control-allow-headers"),
        "authorization,accept,x-other"
    );
    assert_eq!(header(&response, "access-control-max-age"), "3600");
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
        assert!(header(&response, "access-control-allow-methods").contains(method));
    }
    assert!(all(&response, "vary").contains("access-control-request-headers"));
    assert_eq!(header(&response, "access-control-allow-credentials"), "");
}

#[tokio::test]
async fn capabilities_are_no_preflight() {
    let response = send(
        "*",
        Method::OPTIONS,
        "/",
        &[("origin", "https://viewer.example.org")],
    )
    .await;
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "capabilities");
}

#[tokio::test]
async fn only_listed_origins_are_echoed() {
    let listed = "https://Viewer.example.org/, http://localhost:3000";
    let response = send(listed, Method::OPTIONS, "/json", &PREFLIGHT).await;
    assert_eq!(
        header(&response, "access-control-allow-origin"),
        "https://viewer.example.org"
    );
    assert_eq!(
        header(&response, "access-control-allow-credentials"),
        "true"
    );
    for origin in [
        "https://evil.example",
        "null",
        "https://viewer.example.org.evil.example",
    ] {
        let response = send(listed, Method::GET, "/json", &[("origin", origin)]).await;
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            "",
            "{origin}"
        );
        assert!(all(&response, "vary").contains("origin"));
    }
    let response = send("none", Method::GET, "/json", &PREFLIGHT).await;
    assert_eq!(header(&response, "access-control-allow-origin"), "");
    assert_eq!(header(&response, "cross-origin-resource-policy"), "");
    for bad in [
        "viewer",
        "ftp://x",
        "https://",
        "https://a b",
        "https://a/b",
        "*, https://a",
    ] {
        assert!(bad.parse::<Origins>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn errors_carry_every_header_too() {
    for path in ["/json", "/fails", "/refuses", "/unknown"] {
        let response = send("*", Method::GET, path, &[("origin", "https://a.example")]).await;
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            "*",
            "{path}"
        );
        for name in [
            "content-range",
            "content-location",
            "location",
            "etag",
            "warning",
            "www-authenticate",
        ] {
            let exposed = header(&response, "access-control-expose-headers").to_ascii_lowercase();
            assert!(exposed.contains(name), "{path} {name}");
        }
        assert_eq!(
            header(&response, "cross-origin-resource-policy"),
            "cross-origin"
        );
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(
            header(&response, "api-supported-versions"),
            "1.0-prerelease, 1, 2"
        );
        assert!(all(&response, "vary").contains("accept"));
        assert_eq!(header(&response, "x-request-id").len(), 20);
    }
}

#[tokio::test]
async fn only_text_of_some_size_is_compressed() {
    for (path, expected) in [
        ("/json", "gzip"),
        ("/small", ""),
        ("/multipart", ""),
        ("/dicom", ""),
        ("/jpeg", ""),
    ] {
        let response = send("*", Method::GET, path, &[("accept-encoding", "gzip, br")]).await;
        assert_eq!(header(&response, "content-encoding"), expected, "{path}");
        assert_eq!(
            response.headers().contains_key("content-length"),
            expected.is_empty(),
            "{path}"
        );
    }
    let plain = send("*", Method::GET, "/json", &[]).await;
    assert_eq!(header(&plain, "content-encoding"), "");
    assert!(all(&plain, "vary").contains("accept-encoding"));
}

#[tokio::test]
async fn the_request_id_of_the_client_is_kept_when_it_is_harmless() {
    let response = send(
        "*",
        Method::GET,
        "/fails",
        &[("x-request-id", "trace-1.2_3")],
    )
    .await;
    assert_eq!(header(&response, "x-request-id"), "trace-1.2_3");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(
        body.contains("trace-1.2_3") && !body.contains("secret"),
        "{body}"
    );
    for bad in ["a b", "\"x\"", "<x>", &"a".repeat(65)] {
        let response = send("*", Method::GET, "/json", &[("x-request-id", bad)]).await;
        assert_ne!(header(&response, "x-request-id"), bad);
    }
}

#[tokio::test]
async fn errors_have_the_face_of_their_root() {
    for (api, expected) in [
        (ErrorFormat::Problem, "application/problem+json"),
        (ErrorFormat::Text, "text/plain; charset=utf-8"),
    ] {
        for (path, status) in [("/refuses", 400), ("/unknown", 404), ("/fails", 500)] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = router("*", api).oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(header(&response, "content-type"), expected, "{path}");
        }
        let request = Request::builder()
            .method("DELETE")
            .uri("/json")
            .body(Body::empty())
            .unwrap();
        let response = router("*", api).oneshot(request).await.unwrap();
        assert_eq!(header(&response, "allow"), "GET,HEAD");
        assert_eq!(header(&response, "content-type"), expected);
    }
}
