//! Extended query tags and operations (dicom-service §11, §12).

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::content_type::ContentType;
use super::error::{HttpError, ProblemType};
use super::extract::{Access, QueryPairs, SmallBody};
use super::links::Links;
use super::represent::header_value;
use super::started::started;
use super::state::ApiState;
use crate::archive::services::tags::{AddOutcome, RemoveOutcome};
use crate::archive::{Operation, OperationKind, OperationStatus, TagRow, TagStatus};
use crate::auth::Action;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::{query_tag, tag};

/// Adds tags; what was stored before is indexed in the background.
///
/// # Errors
/// 400 for a bad body, 409 when a tag is there or others are being indexed, 415 when the body is no JSON.
pub(super) async fn add_tags(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, HttpError> {
    access
        .may_across(&api, Action::ManageExtendedQueryTags)
        .await?;
    let tags = query_tag::parse_body(&json_body(&headers, &body)?)
        .map_err(|e| HttpError::bad_request(ProblemType::InvalidBody, e.to_string()))?;
    match api.app.archive.add_query_tags(&tags).await? {
        AddOutcome::Started(id) => started(&links, &id),
        AddOutcome::Exists(path) => Err(HttpError::conflict(format!(
            "The extended query tag '{path}' exists already."
        ))),
        AddOutcome::TooMany => {
            let reason = format!(
                "There may be {} extended query tags: delete some first.",
                query_tag::MAX_TAGS
            );
            Err(HttpError::bad_request(ProblemType::InvalidBody, reason))
        }
        AddOutcome::Running(id) => {
            let error = HttpError::conflict(
                "Other extended query tags are being indexed; wait for their operation.",
            );
            Err(error.with_header(header::LOCATION, header_value(&links.operation(&id))?))
        }
    }
}

/// Lists tags.
///
/// # Errors
/// 400 for a bad page.
pub(super) async fn list_tags(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    query: QueryPairs,
) -> Result<Response, HttpError> {
    let scopes = access.may_across(&api, Action::Read).await?;
    let (skip, limit) = page(&query)?;
    let tags = api.app.archive.visible_query_tags(&scopes).await?;
    let list: Vec<Value> = tags
        .iter()
        .skip(skip)
        .take(limit)
        .map(|row| entry(row, &links))
        .collect();
    Ok(axum::Json(list).into_response())
}

/// Returns one tag.
///
/// # Errors
/// 400 for a path that names no attribute, 404 when it is no extended query tag.
pub(super) async fn get_tag(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    Path(path): Path<String>,
) -> Result<Response, HttpError> {
    let scopes = access.may_across(&api, Action::Read).await?;
    let archive = &api.app.archive;
    let row = archive.visible_query_tag(&scopes, &checked(&path)?).await?;
    Ok(axum::Json(entry(&row, &links)).into_response())
}

/// Lists the instances whose value of a tag could not be indexed.
///
/// # Errors
/// As [`get_tag`].
pub(super) async fn list_tag_errors(
    State(api): State<ApiState>,
    access: Access,
    Path(path): Path<String>,
    query: QueryPairs,
) -> Result<Response, HttpError> {
    let scopes = access.may_across(&api, Action::Read).await?;
    let (skip, limit) = page(&query)?;
    let errors = api
        .app
        .archive
        .query_tag_errors(
            &scopes,
            &checked(&path)?,
            skip as u64,
            u32::try_from(limit).unwrap_or(200),
        )
        .await?;
    let partitioned = api.app.archive.has_partitions();
    let list = errors.iter().map(|error| {
        let mut entry = json!({
            "studyInstanceUid": error.name.study.as_str(),
            "seriesInstanceUid": error.name.series.as_str(),
            "sopInstanceUid": error.name.instance.as_str(),
            "createdTime": moment(error.created)?,
            "errorMessage": error.message,
        });
        if let Some(members) = entry.as_object_mut().filter(|_| partitioned) {
            members.insert("partitionName".to_owned(), json!(error.partition));
        }
        Ok(entry)
    });
    Ok(axum::Json(list.collect::<Result<Vec<Value>, HttpError>>()?).into_response())
}

/// Allows or forbids searches by a tag.
///
/// # Errors
/// As [`get_tag`]; 400 for another body than `{"queryStatus": "enabled"}` or `"disabled"`.
pub(super) async fn update_tag(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    Path(path): Path<String>,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, HttpError> {
    let scopes = access
        .may_across(&api, Action::ManageExtendedQueryTags)
        .await?;
    let path = checked(&path)?;
    let wrong = || {
        HttpError::bad_request(
            ProblemType::InvalidBody,
            "The body must be {\"queryStatus\": \"enabled\"} or {\"queryStatus\": \"disabled\"}.",
        )
    };
    let body = json_body(&headers, &body)?;
    let members = body
        .as_object()
        .filter(|m| m.len() == 1)
        .ok_or_else(wrong)?;
    let status = members
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("queryStatus"));
    let status = status
        .and_then(|(_, value)| value.as_str())
        .ok_or_else(wrong)?;
    let enabled = match status.to_ascii_lowercase().as_str() {
        "enabled" => true,
        "disabled" => false,
        _ => return Err(wrong()),
    };
    let archive = &api.app.archive;
    archive.enable_query_tag(&path, enabled).await?;
    let row = archive.visible_query_tag(&scopes, &path).await?;
    Ok(axum::Json(entry(&row, &links)).into_response())
}

/// Removes a tag with its values.
///
/// # Errors
/// As [`get_tag`]; 400 while it is being indexed.
pub(super) async fn delete_tag(
    State(api): State<ApiState>,
    access: Access,
    Path(path): Path<String>,
) -> Result<StatusCode, HttpError> {
    access
        .may_across(&api, Action::ManageExtendedQueryTags)
        .await?;
    match api.app.archive.remove_query_tag(&checked(&path)?).await? {
        RemoveOutcome::Removed => Ok(StatusCode::NO_CONTENT),
        RemoveOutcome::Adding => Err(HttpError::bad_request(
            ProblemType::InvalidRequest,
            "The extended query tag is being indexed; wait for its operation.",
        )),
    }
}

/// Returns a long-running operation: 202 while it runs, 200 when it is finished.
///
/// # Errors
/// 404 for an unknown id.
pub(super) async fn get_operation(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    let scopes = access.may_across(&api, Action::Read).await?;
    let operation = api.app.archive.operation(&scopes, &id).await?;
    let running = operation.status.is_unfinished();
    let body = axum::Json(operation_body(&operation, &links, api.profile.done)?);
    if running {
        let location = [(
            header::LOCATION,
            header_value(&links.operation(&operation.id))?,
        )];
        return Ok((StatusCode::ACCEPTED, location, body).into_response());
    }
    Ok(body.into_response())
}

fn operation_body(
    operation: &Operation,
    links: &Links,
    done: &'static str,
) -> Result<Value, HttpError> {
    let mut body = json!({
        "operationId": operation.id,
        "type": match operation.kind {
            OperationKind::Reindex => "reindex",
            OperationKind::Export => "export",
            OperationKind::Update => "update",
            OperationKind::Scrub => "scrub",
            OperationKind::Transfer => "transfer",
            OperationKind::Commitment => "commitment",
            OperationKind::Arrivals => "arrivals",
            OperationKind::Expire => "expire",
            OperationKind::Deidentify => "deidentify",
        },
        "createdTime": moment(operation.created)?,
        "lastUpdatedTime": moment(operation.updated)?,
        "status": match operation.status {
            OperationStatus::NotStarted => "notStarted",
            OperationStatus::Running => "running",
            OperationStatus::Completed => done,
            OperationStatus::Failed => "failed",
            OperationStatus::Canceled => "canceled",
        },
        "percentComplete": operation.percent,
    });
    if let Some(object) = body.as_object_mut() {
        let urls: Vec<String> = operation
            .resources
            .iter()
            .map(|r| links.resource(r.split('/')))
            .collect();
        if !urls.is_empty() {
            object.insert("resources".to_owned(), json!(urls));
        }
        let results = operation
            .results
            .as_deref()
            .and_then(|r| serde_json::from_str(r).ok());
        if let Some(results) = results {
            object.insert("results".to_owned(), results);
        }
    }
    Ok(body)
}

fn entry(row: &TagRow, links: &Links) -> Value {
    let mut entry = Map::new();
    entry.insert("path".to_owned(), json!(row.tag.path));
    entry.insert("vr".to_owned(), json!(row.tag.vr.to_string()));
    if let Some(creator) = &row.tag.private_creator {
        entry.insert("privateCreator".to_owned(), json!(creator));
    }
    let level = match row.tag.level {
        QueryLevel::Study => "study",
        QueryLevel::Series => "series",
        QueryLevel::Instance => "instance",
    };
    let status = match row.status {
        TagStatus::Adding => "adding",
        TagStatus::Ready => "ready",
        TagStatus::Deleting => "deleting",
    };
    entry.insert("level".to_owned(), json!(level));
    entry.insert("status".to_owned(), json!(status));
    entry.insert(
        "queryStatus".to_owned(),
        json!(if row.enabled { "enabled" } else { "disabled" }),
    );
    if row.errors > 0 {
        let errors = json!({ "count": row.errors, "href": links.query_tag_errors(&row.tag.path) });
        entry.insert("errors".to_owned(), errors);
    }
    if let Some(id) = row
        .operation
        .as_ref()
        .filter(|_| row.status == TagStatus::Adding)
    {
        entry.insert(
            "operation".to_owned(),
            json!({ "id": id, "href": links.operation(id) }),
        );
    }
    Value::Object(entry)
}

/// The tag a path names, in the form tags are kept under.
fn checked(path: &str) -> Result<String, HttpError> {
    let tag = query_tag::parse_path(path)
        .map_err(|e| HttpError::bad_request(ProblemType::InvalidRequest, e.to_string()))?;
    Ok(tag::hex(tag))
}

fn page(query: &QueryPairs) -> Result<(usize, usize), HttpError> {
    let number = |name: &str, default: usize, least: usize, most: usize, rule: &str| {
        let Some(text) = query.first(name) else {
            return Ok(default);
        };
        let number = text
            .trim()
            .parse::<usize>()
            .ok()
            .filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| HttpError::invalid_query(name, rule))
    };
    let limit = number(
        "limit",
        100,
        1,
        200,
        "It must be a whole number from 1 to 200.",
    )?;
    let skip = number(
        "offset",
        0,
        0,
        usize::MAX,
        "It must be a whole number of 0 or more.",
    )?;
    Ok((skip, limit))
}

pub(super) fn json_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, HttpError> {
    let json = ContentType::of_request(headers).is_ok_and(|c| c.is("application/json"));
    if !json {
        return Err(HttpError::unsupported_media_type(
            "The body must be application/json.",
        ));
    }
    serde_json::from_slice(body).map_err(|e| {
        HttpError::bad_request(
            ProblemType::InvalidBody,
            format!("The body is not valid JSON: {e}."),
        )
    })
}

fn moment(time: OffsetDateTime) -> Result<String, HttpError> {
    time.format(&Rfc3339)
        .map_err(|_| HttpError::broken("a time cannot be written"))
}
