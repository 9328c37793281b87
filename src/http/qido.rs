//! QIDO-RS: the six search resources (PS3.18 §10.6, dicom-service §8).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::array::array_body;
use super::error::{HttpError, Slug};
use super::extract::{Access, QueryPairs, TargetPath};
use super::links::Links;
use super::multipart::writer::AnswerPart;
use super::profile::NoMatch;
use super::represent::{DICOM_XML, Form, accepted, form, many_parts, part};
use super::wado::header_value;
use super::{DICOM_JSON, Face};
use crate::archive::fields::{FieldLists, Parents};
use crate::archive::retrieve::Content;
use crate::archive::search::{Answer, Row};
use crate::archive::{ArchiveError, TagRow};
use crate::auth::Action;
use crate::dicom::keys::Level;
use crate::dicom::query::Query;
use crate::dicom::query_parse::{self, Dialect, Resource};
use crate::dicom::query_tag::QueryTag;
use crate::dicom::xml;

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
    let form = form(&accepted(pairs, headers))?;
    refuse_markup(face, pairs)?;
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
    let tags = face.app.archive.ready_tags().await?;
    let known: Vec<QueryTag> = tags.iter().map(|row| row.tag.clone()).collect();
    let parsed = query_parse::parse(&pairs.searched(), resource, face.profile.dialect, &known)
        .map_err(|e| HttpError::bad_request(Slug::InvalidQuery, e.to_string()))?;
    let lists = FieldLists::new(face.profile.defaults, level, parents);
    let mut answer = face
        .app
        .archive
        .search(&scope, &parsed.query, &tags, lists.fields())
        .await?;
    answer
        .warnings
        .splice(0..0, parsed.warnings.iter().map(ToString::to_string));
    let mut response = respond(face, links, answer, form).await?;
    let erroneous = erroneous(&parsed.query, &tags);
    if !erroneous.is_empty() {
        response
            .headers_mut()
            .insert(ERRONEOUS, header_value(&erroneous.join(","))?);
    }
    Ok(response)
}

/// Names the searched attributes whose values could not be indexed everywhere (dicom-service §8.4).
const ERRONEOUS: HeaderName = HeaderName::from_static("erroneous-dicom-attributes");

fn erroneous(query: &Query, tags: &[TagRow]) -> Vec<String> {
    let searched = |row: &&TagRow| {
        query
            .conditions
            .iter()
            .any(|c| c.path == row.tag.tag_path())
    };
    let with_errors = tags.iter().filter(|row| row.errors > 0);
    with_errors
        .filter(searched)
        .map(|row| row.tag.path.clone())
        .collect()
}

/// The DICOM service refuses `<` anywhere in a query (dicom-service §2).
fn refuse_markup(face: &Face, pairs: &QueryPairs) -> Result<(), HttpError> {
    let marked = pairs
        .0
        .iter()
        .find(|(name, value)| name.contains('<') || value.contains('<'));
    match marked {
        Some((name, _)) if face.profile.dialect == Dialect::Service => Err(
            HttpError::invalid_query(name, "It must not hold the character '<'."),
        ),
        _ => Ok(()),
    }
}

async fn respond(
    face: &Face,
    links: &Links,
    answer: Answer,
    form: Form,
) -> Result<Response, HttpError> {
    let links = links.clone();
    let mut response = if answer.empty && face.profile.no_match == NoMatch::NoContent {
        StatusCode::NO_CONTENT.into_response()
    } else if form == Form::Xml && !answer.empty {
        let parts = answer.rows.map(move |row| xml_part(&links, row?));
        many_parts(DICOM_XML, parts.boxed()).await?
    } else {
        let objects = answer.rows.map(move |row| Ok(object(&links, row?)?.1));
        let body = array_body(objects.boxed()).await?;
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

/// A result in the Native DICOM Model.
fn xml_part(links: &Links, row: Row) -> Result<AnswerPart, ArchiveError> {
    let corrupt = || ArchiveError::Lost { what: "a result" };
    let (url, text) = object(links, row).map_err(|_| corrupt())?;
    let object: Map<String, Value> = serde_json::from_slice(&text).map_err(|_| corrupt())?;
    let text = Bytes::from(xml::write(&object, &url));
    Ok(part(Content::whole(text), DICOM_XML, None, url))
}

/// Where a result can be retrieved, and the result as JSON.
fn object(links: &Links, mut row: Row) -> Result<(String, Vec<u8>), HttpError> {
    let url = links.resource(row.path());
    let value = json!({ "vr": "UR", "Value": [url] }).to_string();
    let value =
        RawValue::from_string(value).map_err(|_| HttpError::broken("a URL cannot be written"))?;
    row.attributes.insert("00081190".to_owned(), value);
    let text = serde_json::to_vec(&row.attributes)
        .map_err(|_| HttpError::broken("a result cannot be written"))?;
    Ok((url, text))
}
