//! `OpenAPI` of what only the page asks for, made from [`UI_ROUTES`]; it changes with the page.

use axum::Json;
use serde_json::{Map, Value, json};

use super::route_table::{UI_ROUTES, UiAudience, UiRoute};

/// The description.
pub(super) async fn document() -> Json<Value> {
    let mut paths = Map::new();
    for route in UI_ROUTES {
        let path = route.path.trim_start_matches("/ui");
        let method = route.method.to_ascii_lowercase();
        paths.insert(path.to_owned(), json!({ method: operation(route) }));
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stowage: answers for its web page",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "They change with the page; programs use the API that /docs describes.",
        },
        // Relative, so that it also holds behind a proxy that adds a prefix.
        "servers": [{ "url": "." }],
        "paths": paths,
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
    }))
}

fn operation(route: &UiRoute) -> Value {
    let text = |description: &str| json!({ "description": description });
    let mut responses = json!({ "200": text("as the summary says"), "400": text("a bad request") });
    let (refused, rights) = match route.needs {
        UiAudience::Nobody => (None, "Anybody."),
        UiAudience::Caller => (Some(["401"].as_slice()), "Whoever has a good token."),
        UiAudience::Export => (
            Some(["401", "403", "404"].as_slice()),
            "Whoever may export and read the study.",
        ),
        UiAudience::Everything => (
            Some(["401", "403"].as_slice()),
            "Whoever may read everything there is.",
        ),
    };
    for status in refused.into_iter().flatten() {
        let reason = match *status {
            "401" => "no good token",
            "403" => "the token does not allow it",
            _ => "there is none for the caller",
        };
        if let Some(responses) = responses.as_object_mut() {
            responses.insert((*status).to_owned(), text(reason));
        }
    }
    let mut reported =
        json!({ "summary": route.about, "description": rights, "responses": responses });
    if let Some(reported) = reported.as_object_mut() {
        if refused.is_some() {
            reported.insert("security".to_owned(), json!([{ "token": [] }]));
        }
        if route.path == "/ui/dictionary" {
            let tags = json!([{ "name": "tags", "in": "query", "required": true, "schema": { "type": "string" } }]);
            reported.insert("parameters".to_owned(), tags);
        }
        if route.path == "/ui/damage" {
            let after = json!([{ "name": "after", "in": "query", "schema": { "type": "integer", "minimum": 0 } }]);
            reported.insert("parameters".to_owned(), after);
        }
        if let Some(body) = body(route.path) {
            let content = json!({ "application/json": { "schema": body } });
            let body = json!({ "required": true, "content": content });
            reported.insert("requestBody".to_owned(), body);
        }
    }
    reported
}

/// The schema of a body.
fn body(path: &str) -> Option<Value> {
    match path {
        "/ui/links" => Some(json!({
            "type": "object", "required": ["study", "seconds"],
            "properties": {
                "study": { "type": "string", "description": "Study Instance UID" },
                "seconds": { "type": "integer", "minimum": 60, "description": "life of the link" },
                "partition": { "type": "string", "description": "data partition of the study; the default one when absent" },
            },
        })),
        "/ui/links/open" => Some(json!({
            "type": "object", "required": ["code"],
            "properties": { "code": { "type": "string", "description": "what stands behind #/shared/" } },
        })),
        _ => None,
    }
}
