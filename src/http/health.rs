//! `GET /health/check` (dicom-service §18), readiness, liveness, and the page a browser sees at `/`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::App;

/// Says whether index and blob store can be used: 200 or 503.
pub(super) async fn check_health(State(app): State<Arc<App>>) -> Response {
    let result = app.archive.check().await;
    let (status, overall, description) = match &result {
        Ok(()) => (
            StatusCode::OK,
            "Healthy",
            "index and blob store answer".to_owned(),
        ),
        Err(error) => {
            tracing::warn!(error = error as &dyn std::error::Error, "not healthy");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "Unhealthy",
                error.to_string(),
            )
        }
    };
    let details = json!([{ "name": "stores", "status": overall, "description": description }]);
    (
        status,
        Json(json!({ "overallStatus": overall, "details": details })),
    )
        .into_response()
}

/// Says that the process answers, whatever its stores do: a restart would not mend those.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "overallStatus": "Healthy" }))
}

/// A page that says what this is and where things are.
pub(super) async fn welcome() -> Html<&'static str> {
    Html(concat!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Stowage</title>",
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}code{background:#eee;padding:0 .2em}</style>",
        "<h1>Stowage ",
        env!("CARGO_PKG_VERSION"),
        "</h1>",
        "<p>A DICOMweb server. This page is for people; programs use:</p><ul>",
        "<li><code>/dicom-web</code> — PS3.18 (viewers and libraries)</li>",
        "<li><code>/v2</code>, <code>/v1</code> — the DICOM service's API</li>",
        "<li><a href=/docs><code>/docs</code></a> — every operation, and OpenAPI</li>",
        "<li><a href=/health/check><code>/health/check</code></a></li></ul>",
        "<p>Look at <a href=/dicom-web/studies>the studies</a>.</p></html>"
    ))
}
