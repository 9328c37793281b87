//! QIDO-RS: the six search resources (PS3.18 §10.6, dicom-service §8).

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dicom_dictionary_std::tags;
use serde_json::json;

use super::array::{array_body, items, reported};
use super::error::{HttpError, ProblemType};
use super::extract::{CURSOR, QueryPairs, RetrieveRequest};
use super::links::Links;
use super::profile::NoMatch;
use super::represent::header_value;
use super::represent::{DICOM_XML, DataSetFormat, form, many_parts, warning, xml_part_stream};
use super::results::{refuse_markup, remaining};
use super::state::{ApiState, DICOM_JSON};
use crate::archive::fields::{FieldLists, Parents};
use crate::archive::services::search::cursor::PageCursor;
use crate::archive::services::search::paging::{CountMode, Paging};
use crate::archive::services::search::{SearchResult, Write};
use crate::archive::{Archive, TagRow};
use crate::auth::Action;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::pieces::Pieces;
use crate::dicom::query::Query;
use crate::dicom::query_parse::{self, QueryResource};
use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::{SeriesUid, StudyUid};
use crate::dicom::xml::XmlWriter;
use crate::scope::Scope;

/// Searches studies.
///
/// # Errors
/// 400 for a bad parameter, 406 when JSON is not acceptable, 413 for too many results.
pub(super) async fn search_studies(ask: RetrieveRequest) -> Result<Response, HttpError> {
    search(&ask, QueryLevel::Study).await
}

/// Searches series, of one study or of all.
///
/// # Errors
/// As [`search_studies`].
pub(super) async fn search_series(ask: RetrieveRequest) -> Result<Response, HttpError> {
    search(&ask, QueryLevel::Series).await
}

/// Searches instances, of one series, one study or of all.
///
/// # Errors
/// As [`search_studies`].
pub(super) async fn search_instances(ask: RetrieveRequest) -> Result<Response, HttpError> {
    search(&ask, QueryLevel::Instance).await
}

async fn search(ask: &RetrieveRequest, level: QueryLevel) -> Result<Response, HttpError> {
    let (api, links, path, pairs) = (&ask.api, &ask.links, &ask.path, &ask.query);
    let scope = ask.access.may(Action::Read)?;
    let form = form(&ask.preferences())?;
    refuse_markup(api, pairs)?;
    let (study, series) = (path.study()?, path.series()?);
    let parents = Parents {
        study: study.is_none(),
        series: series.is_none(),
    };
    let resource = QueryResource {
        level,
        study,
        series,
    };
    let tags = api.app.archive.ready_tags().await?;
    let known: Vec<QueryTag> = tags.iter().map(|row| row.tag.clone()).collect();
    let parsed = query_parse::parse(&pairs.searched(), resource, api.profile.dialect, &known)
        .map_err(|e| HttpError::bad_request(ProblemType::InvalidQuery, e.to_string()))?;
    let lists = FieldLists::new(api.profile.defaults, level, parents);
    let paging = paging(pairs, &ask.headers, &parsed.query)?;
    let archive = &api.app.archive;
    let (query, write) = (&parsed.query, written(links.clone(), form));
    let mut answer = archive
        .search(&scope, query, &tags, lists.fields(), paging, write)
        .await?;
    let next = answer.next.take();
    let next = next.and_then(|next| next_page(links, &parsed.query, pairs, &next));
    answer
        .warnings
        .splice(0..0, parsed.warnings.iter().map(ToString::to_string));
    let total = answer.total;
    let mut response = respond(api, answer, form).await?;
    if let Some(url) = next {
        let link = header_value(&format!("<{url}>; rel=\"next\""))?;
        response.headers_mut().append(header::LINK, link);
    }
    if let Some(total) = total {
        let headers = response.headers_mut();
        headers.insert(TOTAL, HeaderValue::from(total));
        headers.insert(APPLIED, HeaderValue::from_static(EXACT));
    }
    let erroneous = erroneous(archive, &scope, &parsed.query, &tags).await?;
    if !erroneous.is_empty() {
        response
            .headers_mut()
            .insert(ERRONEOUS, header_value(&erroneous.join(","))?);
    }
    Ok(response)
}

/// All results of the search, on request.
const TOTAL: HeaderName = HeaderName::from_static("x-total-count");
/// What is wished for beside the request itself (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Which wishes came true.
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The wish for an exact number of results.
const EXACT: &str = "count=exact";
/// Longest URL that is offered in a `Link` header; clients and proxies refuse long header lines.
const MAX_LINK: usize = 6_000;

/// Which page is asked for by cursor, and how results are counted.
fn paging(pairs: &QueryPairs, headers: &HeaderMap, query: &Query) -> Result<Paging, HttpError> {
    let before = match pairs.first(CURSOR) {
        None => None,
        Some(text) => {
            let position = PageCursor::parse(text);
            let position = position.and_then(|cursor| cursor.position(query.level, query.order));
            let wrong = "It must be taken from the Link header of an answer of the same resource in the same order.";
            Some(position.ok_or_else(|| HttpError::invalid_query(CURSOR, wrong))?)
        }
    };
    let preferences = headers.get_all(PREFER).iter();
    let mut preferences = preferences
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']));
    let exact = preferences.any(|preference| preference.trim().eq_ignore_ascii_case(EXACT));
    Ok(Paging {
        before,
        counting: if exact {
            CountMode::Exact
        } else {
            CountMode::Bounded
        },
    })
}

/// The URL of the page behind a cursor: the same search, without its offset. None when it would be too long.
fn next_page(
    links: &Links,
    query: &Query,
    pairs: &QueryPairs,
    next: &PageCursor,
) -> Option<String> {
    let study = query.study.as_ref().map(StudyUid::as_str);
    let series = query.series.as_ref().map(SeriesUid::as_str);
    let mut segments: Vec<&str> = Vec::new();
    segments.extend(study.iter().flat_map(|uid| ["studies", uid]));
    segments.extend(series.iter().flat_map(|uid| ["series", uid]));
    segments.push(match query.level {
        QueryLevel::Study => "studies",
        QueryLevel::Series => "series",
        QueryLevel::Instance => "instances",
    });
    let next = next.to_string();
    let kept = pairs
        .0
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let kept = kept.filter(|(name, _)| {
        let place = |known: &&str| name.eq_ignore_ascii_case(known);
        !["offset", CURSOR, "access_token"].iter().any(place)
    });
    let url = links.search(segments, kept.chain([(CURSOR, next.as_str())]));
    (url.len() <= MAX_LINK).then_some(url)
}

/// Names the searched attributes whose values could not be indexed everywhere (dicom-service §8.4).
const ERRONEOUS: HeaderName = HeaderName::from_static("erroneous-dicom-attributes");

async fn erroneous(
    archive: &Archive,
    scope: &Scope,
    query: &Query,
    tags: &[TagRow],
) -> Result<Vec<String>, HttpError> {
    let searched = |row: &&TagRow| {
        let mut conditions = query.conditions.iter();
        row.errors > 0 && conditions.any(|c| c.path == row.tag.tag_path())
    };
    let searched: Vec<&TagRow> = tags.iter().filter(searched).collect();
    if searched.is_empty() {
        return Ok(Vec::new());
    }
    // Errors in studies that the caller may not see are nobody's business.
    let visible = archive.visible_query_tags(&scope.into()).await?;
    let has_errors = |row: &&&TagRow| visible.iter().any(|v| v.id == row.id && v.errors > 0);
    let with_errors = searched.iter().filter(has_errors);
    Ok(with_errors.map(|row| row.tag.path.clone()).collect())
}

async fn respond(
    api: &ApiState,
    answer: SearchResult,
    form: DataSetFormat,
) -> Result<Response, HttpError> {
    let archive = &api.app.archive;
    let response = if answer.empty && api.profile.no_match == NoMatch::NoContent {
        StatusCode::NO_CONTENT.into_response()
    } else if form == DataSetFormat::Xml && !answer.empty {
        many_parts(DICOM_XML, xml_part_stream(archive, answer.parts)).await?
    } else {
        let body = array_body(items(archive, answer.parts)).await?;
        (
            [(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))],
            body,
        )
            .into_response()
    };
    let mut response = reported(response, &answer.left_out, "metadata")?;
    for text in answer.warnings.iter().chain(&remaining(&answer.remaining)) {
        response
            .headers_mut()
            .append(header::WARNING, warning(text)?);
    }
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    Ok(response)
}

/// Writes a result with the URL where it can be retrieved.
fn written(links: Links, form: DataSetFormat) -> Write {
    Arc::new(move |mut row| {
        let url = links.resource(row.path());
        let value = json!({ "vr": "UR", "Value": [url] }).to_string();
        row.attributes.insert(tags::RETRIEVE_URL, value);
        let json = row.into_json()?;
        let pieces: Box<dyn Pieces> = match form {
            DataSetFormat::Json => Box::new(json),
            DataSetFormat::Xml => Box::new(XmlWriter::new(json.whole()?, &url)),
        };
        Ok((url, pieces))
    })
}
