//! QIDO-RS: the six search resources (PS3.18 §10.6, dicom-service §8).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;

use super::accept::covers_json;
use super::error::{HttpError, Slug};
use super::extract::{Access, QueryPairs, TargetPath};
use super::links::Links;
use super::profile::NoMatch;
use super::represent::accepted;
use super::wado::header_value;
use super::{DICOM_JSON, Face};
use crate::archive::fields::{FieldLists, Parents};
use crate::archive::search::{Answer, Row};
use crate::auth::Action;
use crate::dicom::keys::Level;
use crate::dicom::query_parse::{self, Resource};

/// Searches studies.
///
/// # Errors
/// 400 for a bad parameter, 406 when JSON is not acceptable, 413 for too many results.
pub(super) async fn search_studies(
    state: State<Face>,
    access: Access,
    links: Links,
    path: TargetPath,
    query: QueryPairs,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    search(
        &state,
        &access,
        &links,
        &path,
        &query,
        &headers,
        Level::Study,
    )
    .await
}

/// Searches series, of one study or of all.
///
/// # Errors
/// As [`search_studies`].
pub(super) async fn search_series(
    state: State<Face>,
    access: Access,
    links: Links,
    path: TargetPath,
    query: QueryPairs,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    search(
        &state,
        &access,
        &links,
        &path,
        &query,
        &headers,
        Level::Series,
    )
    .await
}

/// Searches instances, of one series, one study or of all.
///
/// # Errors
/// As [`search_studies`].
pub(super) async fn search_instances(
    state: State<Face>,
    access: Access,
    links: Links,
    path: TargetPath,
    query: QueryPairs,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    search(
        &state,
        &access,
        &links,
        &path,
        &query,
        &headers,
        Level::Instance,
    )
    .await
}

async fn search(
    face: &Face,
    access: &Access,
    links: &Links,
    path: &TargetPath,
    pairs: &QueryPairs,
    headers: &HeaderMap,
    level: Level,
) -> Result<Response, HttpError> {
    let scope = access.may(Action::Read)?;
    if !covers_json(&accepted(pairs, headers)) {
        return Err(HttpError::not_acceptable([DICOM_JSON]));
    }
    let (study, series) = (path.study()?, path.series()?);
    let parents = Parents {
        study: study.is_none(),
        series: series.is_none(),
    };
    let resource = Resource {
        level,
        study,
        series,
    };
    let parsed = query_parse::parse(&pairs.searched(), resource, face.profile.dialect, &[])
        .map_err(|e| HttpError::bad_request(Slug::InvalidQuery, e.to_string()))?;
    let lists = FieldLists::new(face.profile.defaults, level, parents);
    let mut answer = face
        .app
        .archive
        .search(&scope, &parsed.query, lists.fields())
        .await?;
    answer
        .warnings
        .splice(0..0, parsed.warnings.iter().map(ToString::to_string));
    respond(face, links, answer)
}

fn respond(face: &Face, links: &Links, answer: Answer) -> Result<Response, HttpError> {
    let mut response = if answer.rows.is_empty() && face.profile.no_match == NoMatch::NoContent {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let body = array(links, answer.rows)?;
        (
            [(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))],
            body,
        )
            .into_response()
    };
    let remaining = answer
        .remaining
        .map(|n| format!("There are {n} additional results that can be requested"));
    for warning in answer.warnings.iter().chain(&remaining) {
        response.headers_mut().append(
            header::WARNING,
            header_value(&format!("299 stowage: \"{warning}\""))?,
        );
    }
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    Ok(response)
}

fn array(links: &Links, rows: Vec<Row>) -> Result<Bytes, HttpError> {
    let mut body = b"[".to_vec();
    for (i, mut row) in rows.into_iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        let url = links.resource(row.path());
        let url = json!({ "vr": "UR", "Value": [url] }).to_string();
        let url =
            RawValue::from_string(url).map_err(|_| HttpError::broken("a URL cannot be written"))?;
        row.attributes.insert("00081190".to_owned(), url);
        serde_json::to_writer(&mut body, &row.attributes)
            .map_err(|_| HttpError::broken("a result cannot be written"))?;
    }
    body.push(b']');
    Ok(Bytes::from(body))
}
