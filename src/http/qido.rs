//! QIDO-RS: the six search resources (PS3.18 §10.6, dicom-service §8).

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dicom_dictionary_std::tags;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::array::array_body;
use super::error::{HttpError, Slug};
use super::extract::{Ask, CURSOR, QueryPairs};
use super::links::Links;
use super::multipart::writer::AnswerPart;
use super::profile::NoMatch;
use super::represent::{DICOM_XML, Form, form, many_parts, part};
use super::wado::header_value;
use super::{DICOM_JSON, Face};
use crate::archive::fields::{FieldLists, Parents};
use crate::archive::paging::{Counting, Cursor, Paging, Remaining};
use crate::archive::retrieve::Content;
use crate::archive::search::{Answer, Row};
use crate::archive::{ArchiveError, TagRow};
use crate::auth::Action;
use crate::dicom::keys::Level;
use crate::dicom::query::Query;
use crate::dicom::query_parse::{self, Dialect, Resource};
use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::{SeriesUid, StudyUid};
use crate::dicom::xml;

/// Searches studies.
///
/// # Errors
/// 400 for a bad parameter, 406 when JSON is not acceptable, 413 for too many results.
pub(super) async fn search_studies(ask: Ask) -> Result<Response, HttpError> {
    search(&ask, Level::Study).await
}

/// Searches series, of one study or of all.
///
/// # Errors
/// As [`search_studies`].
pub(super) async fn search_series(ask: Ask) -> Result<Response, HttpError> {
    search(&ask, Level::Series).await
}

/// Searches instances, of one series, one study or of all.
///
/// # Errors
/// As [`search_studies`].
pub(super) async fn search_instances(ask: Ask) -> Result<Response, HttpError> {
    search(&ask, Level::Instance).await
}

async fn search(ask: &Ask, level: Level) -> Result<Response, HttpError> {
    let (face, links, path, pairs) = (&ask.face, &ask.links, &ask.path, &ask.query);
    let scope = ask.access.may(Action::Read)?;
    let form = form(&ask.wishes())?;
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
    let paging = paging(pairs, &ask.headers, level)?;
    let mut answer = face
        .app
        .archive
        .search(&scope, &parsed.query, &tags, lists.fields(), paging)
        .await?;
    let next = answer
        .next
        .and_then(|next| next_page(links, &parsed.query, pairs, next));
    answer
        .warnings
        .splice(0..0, parsed.warnings.iter().map(ToString::to_string));
    let total = answer.total;
    let mut response = respond(face, links, answer, form).await?;
    if let Some(url) = next {
        let link = header_value(&format!("<{url}>; rel=\"next\""))?;
        response.headers_mut().append(header::LINK, link);
    }
    if let Some(total) = total {
        let headers = response.headers_mut();
        headers.insert(TOTAL, HeaderValue::from(total));
        headers.insert(APPLIED, HeaderValue::from_static(EXACT));
    }
    let erroneous = erroneous(&parsed.query, &tags);
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
fn paging(pairs: &QueryPairs, headers: &HeaderMap, level: Level) -> Result<Paging, HttpError> {
    let before = match pairs.first(CURSOR) {
        None => None,
        Some(text) => {
            let position = Cursor::parse(text).and_then(|cursor| cursor.position(level));
            let wrong = "It must be taken from the Link header of an answer of the same resource.";
            Some(position.ok_or_else(|| HttpError::invalid_query(CURSOR, wrong))?)
        }
    };
    let wishes = headers.get_all(PREFER).iter();
    let mut wishes = wishes
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']));
    let exact = wishes.any(|wish| wish.trim().eq_ignore_ascii_case(EXACT));
    Ok(Paging {
        before,
        counting: if exact {
            Counting::Exact
        } else {
            Counting::Bounded
        },
    })
}

/// The URL of the page behind a cursor: the same search, without its offset. None when it would be too long.
fn next_page(links: &Links, query: &Query, pairs: &QueryPairs, next: Cursor) -> Option<String> {
    let study = query.study.as_ref().map(StudyUid::as_str);
    let series = query.series.as_ref().map(SeriesUid::as_str);
    let mut segments: Vec<&str> = Vec::new();
    segments.extend(study.iter().flat_map(|uid| ["studies", uid]));
    segments.extend(series.iter().flat_map(|uid| ["series", uid]));
    segments.push(match query.level {
        Level::Study => "studies",
        Level::Series => "series",
        Level::Instance => "instances",
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
        let objects = answer
            .rows
            .map(move |row| Ok(object(&links, row?).1.into_bytes()));
        let body = array_body(objects.boxed()).await?;
        (
            [(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))],
            body,
        )
            .into_response()
    };
    let remaining = match answer.remaining {
        Remaining::Nothing => None,
        Remaining::Exactly(n) => Some(format!(
            "There are {n} additional results that can be requested"
        )),
        Remaining::MoreThan(n) => Some(format!(
            "There are more than {n} additional results that can be requested"
        )),
    };
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
    let (url, text) = object(links, row);
    let object: Map<String, Value> = serde_json::from_str(&text).map_err(|_| corrupt())?;
    let text = Bytes::from(xml::write(&object, &url));
    Ok(part(Content::whole(text), DICOM_XML, None, url))
}

/// Where a result can be retrieved, and the result as JSON.
fn object(links: &Links, mut row: Row) -> (String, String) {
    let url = links.resource(row.path());
    let value = json!({ "vr": "UR", "Value": [url] }).to_string();
    row.attributes.push(tags::RETRIEVE_URL, &value);
    (url, row.attributes.json())
}
