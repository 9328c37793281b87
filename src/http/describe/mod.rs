//! What the server can do, told to programs and to people: capabilities (PS3.18 §8.9), `OpenAPI`, a page.
//!
//! Invariant: everything here is made from [`ROUTES`], so it cannot name a resource that is not served nor leave one out.

mod about;
pub(super) mod cache;
mod openapi;
mod page;
mod wadl;
mod yaml;

use std::collections::HashSet;
use std::sync::LazyLock;

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
use super::routes::{ROUTES, Route};
use super::state::ApiState;
use crate::dicom::nonpatient::NonPatientKind;
use about::About;

/// WADL in XML (PS3.18 Annex H).
const WADL: &str = "application/vnd.sun.wadl+xml";
/// WADL in JSON, and `OpenAPI`.
const JSON: &str = "application/json";
/// `OpenAPI` in YAML (RFC 9512).
const YAML: &str = "application/yaml";

/// A row of the map with what is to be said of it.
struct RouteOperation {
    /// Unique among all operations: `searchSeriesOfStudy`.
    id: String,
    route: &'static Route,
    about: &'static About,
}

impl RouteOperation {
    /// Names of the varying segments, in their order.
    fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.route.path.split('/').filter_map(path_parameter)
    }
}

/// The name of a segment that varies; none of a fixed one.
fn path_parameter(segment: &'static str) -> Option<&'static str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    Some(name.trim_start_matches('*'))
}

/// Every operation of a service, in the order of the map; asking for this list is not one of them (PS3.18 Annex H).
fn operations() -> Vec<RouteOperation> {
    let mut ids = HashSet::new();
    let reported = ROUTES.iter().filter(|route| route.method != "OPTIONS");
    reported
        .map(|route| {
            let about = about::of(route.handler);
            let mut id = camel_case(about.handler);
            // Each resource of non-patient instances has the same handlers.
            let first = route.path.split('/').nth(1).unwrap_or_default();
            if let Some(kind) = NonPatientKind::of_name(first) {
                let resource = capitalised(&camel_case(&kind.as_str().replace('-', "_")));
                id = id.replace("Nonpatient", &resource);
            }
            let levels = ["frames", "instance", "series", "study"];
            let has = |name: &str| {
                route
                    .path
                    .split('/')
                    .any(|s| path_parameter(s) == Some(name))
            };
            if let Some(level) = levels.into_iter().find(|level| has(level)) {
                id.push_str("Of");
                id.push_str(&capitalised(level));
            }
            while !ids.insert(id.clone()) {
                let last = route.path.rsplit('/').next().unwrap_or_default();
                id.push_str("At");
                id.push_str(&capitalised(last.trim_matches(['{', '}', '*'])));
            }
            RouteOperation { id, route, about }
        })
        .collect()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |id, word| id + &capitalised(word))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Tells the capabilities of a service (PS3.18 §8.9).
///
/// # Errors
/// 406 when neither XML nor JSON is accepted.
pub(super) async fn retrieve_capabilities(
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
    let mut there = operations();
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

async fn api_json(State(api): State<ApiState>, links: Links) -> Result<Response, HttpError> {
    let partitions = api.app.archive.has_partitions();
    let make = || {
        let api = openapi::document(api.profile, links.base(), &operations(), partitions);
        format!("{api:#}\n")
    };
    let name = format!("json {}", links.base());
    let text = api.app.descriptions.get(&name, make).await?;
    Ok(([(header::CONTENT_TYPE, JSON)], text).into_response())
}

async fn api_yaml(State(api): State<ApiState>, links: Links) -> Result<Response, HttpError> {
    let partitions = api.app.archive.has_partitions();
    let make = || {
        let api = openapi::document(api.profile, links.base(), &operations(), partitions);
        yaml::written(&api)
    };
    let name = format!("yaml {}", links.base());
    let text = api.app.descriptions.get(&name, make).await?;
    Ok(([(header::CONTENT_TYPE, YAML)], text).into_response())
}

/// The page for people.
pub(super) async fn docs() -> Html<Bytes> {
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| page::page(&operations()).into());
    Html(PAGE.clone())
}

#[cfg(test)]
mod tests;
