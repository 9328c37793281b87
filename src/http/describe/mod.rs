//! What the server can do, told to programs and to people: capabilities (PS3.18 §8.9), `OpenAPI`, a page.
//!
//! Invariant: everything here is made from [`App::routes`], so it cannot name a resource that is not served nor leave one out.

mod about;
pub(super) mod cache;
mod openapi;
mod operation;
mod page;
mod wadl;
mod yaml;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::error::HttpError;
use super::extract::QueryPairs;
use super::links::Links;
use super::represent::accepted;
use super::state::{ApiState, App};
use operation::operations;

/// WADL in XML (PS3.18 Annex H).
const WADL: &str = "application/vnd.sun.wadl+xml";
/// WADL in JSON, and `OpenAPI`.
const JSON: &str = "application/json";
/// `OpenAPI` in YAML (RFC 9512).
const YAML: &str = "application/yaml";

/// Tells the capabilities of a service (PS3.18 §8.9).
///
/// # Errors
/// 406 when neither XML nor JSON is accepted.
pub(super) async fn retrieve_capabilities(
    State(api): State<ApiState>,
    links: Links,
    query: QueryPairs,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let preferences = accepted(&query, &headers);
    let wanted = preferences
        .iter()
        .filter_map(|preference| preference.single());
    let covered = |range: &super::accept::MediaRange| {
        // Browsers and older clients ask for plain XML.
        let xml = [WADL, "application/xml", "text/xml"];
        if xml.iter().any(|xml| range.covers_type(xml)) {
            Some(WADL)
        } else {
            range.covers_type(JSON).then_some(JSON)
        }
    };
    let media = wanted.filter_map(covered).next();
    let mut there = operations(api.app.routes);
    if links.is_of_partition() {
        there.retain(|operation| operation.route.is_partitioned());
    }
    let text = match media {
        Some(WADL) => wadl::xml(links.base(), &there),
        Some(_) => wadl::json(links.base(), &there).to_string(),
        None => return Err(HttpError::not_acceptable([WADL, JSON])),
    };
    let kind = [(header::CONTENT_TYPE, media.unwrap_or(WADL))];
    Ok((kind, text).into_response())
}

/// Where a root is described; open to everybody, for nothing here tells of what is stored.
pub(super) fn description_routes() -> Router<ApiState> {
    Router::new()
        .route("/api.json", get(api_json))
        .route("/api.yaml", get(api_yaml))
}

async fn api_json(State(state): State<ApiState>, links: Links) -> Result<Response, HttpError> {
    let partitions = state.app.archive.has_partitions();
    let make = || {
        let api = openapi::document(
            state.profile,
            links.base(),
            &operations(state.app.routes),
            partitions,
        );
        format!("{api:#}\n")
    };
    let name = format!("json {}", links.base());
    let text = state.app.descriptions.get(&name, make).await?;
    Ok(([(header::CONTENT_TYPE, JSON)], text).into_response())
}

async fn api_yaml(State(state): State<ApiState>, links: Links) -> Result<Response, HttpError> {
    let partitions = state.app.archive.has_partitions();
    let make = || {
        let api = openapi::document(
            state.profile,
            links.base(),
            &operations(state.app.routes),
            partitions,
        );
        yaml::written(&api)
    };
    let name = format!("yaml {}", links.base());
    let text = state.app.descriptions.get(&name, make).await?;
    Ok(([(header::CONTENT_TYPE, YAML)], text).into_response())
}

/// The page for people.
pub(super) async fn docs(State(app): State<Arc<App>>) -> Html<Bytes> {
    static PAGE: OnceLock<Bytes> = OnceLock::new();
    let page = PAGE.get_or_init(|| page::page(&operations(app.routes)).into());
    Html(page.clone())
}

#[cfg(test)]
mod tests;
