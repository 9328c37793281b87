//! `GET /health/check` (dicom-service §18), readiness, liveness, and the page a browser sees at `/`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::state::App;
use crate::tasks::{Need, TaskReport};

/// Says whether index and blob store can be used: 200 or 503.
pub(super) async fn check_health(State(app): State<Arc<App>>) -> Response {
    answer(&[stores(&app).await], &[])
}

/// Says whether requests should be sent here: the stores can be used, and accesses can be written down. Tells how each
/// task beside the requests is.
pub(super) async fn check_ready(State(app): State<Arc<App>>) -> Response {
    let mut checks = vec![stores(&app).await];
    if app.audit.is_on() {
        checks.push(HealthCheck {
            name: "audit",
            problem: app
                .audit
                .is_failing()
                .then(|| "audit events cannot be written; the log says why".to_owned()),
        });
    }
    answer(&checks, &app.archive.tasks().report())
}

/// One thing that was looked at.
struct HealthCheck {
    name: &'static str,
    /// None when all is well.
    problem: Option<String>,
}

async fn stores(app: &App) -> HealthCheck {
    HealthCheck {
        name: "stores",
        problem: app.health.of(&app.archive).await.err(),
    }
}

fn answer(checks: &[HealthCheck], tasks: &[TaskReport]) -> Response {
    let word = |well: bool| if well { "Healthy" } else { "Unhealthy" };
    let well = checks.iter().all(|check| check.problem.is_none());
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let detail = |check: &HealthCheck| {
        let description = match (&check.problem, check.name) {
            (Some(problem), _) => problem.as_str(),
            (None, "stores") => "index and blob store answer",
            (None, _) => "works",
        };
        json!({ "name": check.name, "status": word(check.problem.is_none()), "description": description })
    };
    let mut details: Vec<Value> = checks.iter().map(detail).collect();
    details.extend(tasks.iter().map(task));
    (
        status,
        Json(json!({ "overallStatus": word(well), "details": details })),
    )
        .into_response()
}

/// One task beside the requests, in the form of a store.
fn task(task: &TaskReport) -> Value {
    let status = match (task.failing, task.need) {
        (false, _) => "Healthy",
        (true, Need::May) => "Degraded",
        (true, Need::Must) => "Unhealthy",
    };
    let mut description = match (task.running, task.failing) {
        (true, false) => "runs".to_owned(),
        (false, false) => "has ended".to_owned(),
        (_, true) => "fails".to_owned(),
    };
    if let Some(error) = &task.last_error {
        let _ = write!(
            description,
            "; started again {} times; the last error was: {error}",
            task.restarts
        );
    }
    json!({ "name": format!("task {}", task.name), "status": status, "description": description })
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
