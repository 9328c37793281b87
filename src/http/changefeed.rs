//! The change feed: `GET /changefeed` and `/changefeed/latest` (dicom-service §10).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Face;
use super::array::array_body;
use super::error::{HttpError, Slug};
use super::extract::{Access, QueryPairs};
use super::links::Links;
use super::profile::Feed;
use crate::archive::{Change, ChangeAction, ChangeState as Now, FeedRange, WithMetadata};
use crate::auth::Action as Permission;
use crate::dicom::metadata;

/// Answers a part of the feed.
///
/// # Errors
/// 400 for a bad parameter.
pub(super) async fn read_changes(
    State(face): State<Face>,
    access: Access,
    links: Links,
    query: QueryPairs,
) -> Result<Response, HttpError> {
    let scope = access.may(Permission::Read)?;
    let (range, with) = parse(face.profile.feed, &query)?;
    let changes = face.app.archive.changes(&scope, &range, with).await?;
    let entries = changes.map(move |change| text(&entry(&change?, &links)?));
    Ok(json(array_body(entries.boxed()).await?))
}

/// Answers the newest entry, 204 when there is none.
///
/// # Errors
/// 400 for a bad parameter.
pub(super) async fn read_latest_change(
    State(face): State<Face>,
    access: Access,
    links: Links,
    query: QueryPairs,
) -> Result<Response, HttpError> {
    let scope = access.may(Permission::Read)?;
    let with = with_metadata(&query)?;
    match face.app.archive.latest_change(&scope, with).await? {
        Some(change) => Ok(json(Body::from(text(&entry(&change, &links)?)?))),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Largest metadata of one instance that is read back, in bytes.
const MAX_METADATA: usize = 1 << 30;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    sequence: i64,
    study_instance_uid: &'a str,
    series_instance_uid: &'a str,
    sop_instance_uid: &'a str,
    action: &'static str,
    timestamp: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
}

fn entry<'a>(change: &'a Change, links: &Links) -> Result<Entry<'a>, HttpError> {
    let metadata = match (&change.metadata, change.state) {
        (Some(packed), Now::Current | Now::Replaced) => {
            Some(spliced(packed, &links.instance(&change.name))?)
        }
        _ => None,
    };
    Ok(Entry {
        sequence: change.sequence,
        study_instance_uid: change.name.study.as_str(),
        series_instance_uid: change.name.series.as_str(),
        sop_instance_uid: change.name.instance.as_str(),
        action: match change.action {
            ChangeAction::Create => "Create",
            ChangeAction::Delete => "Delete",
            ChangeAction::Update => "Update",
        },
        timestamp: change
            .timestamp
            .format(&Rfc3339)
            .map_err(|_| HttpError::broken("a time cannot be written"))?,
        state: match change.state {
            Now::Current => "Current",
            Now::Replaced => "Replaced",
            Now::Deleted => "Deleted",
        },
        metadata,
    })
}

fn spliced(packed: &[u8], url: &str) -> Result<Box<RawValue>, HttpError> {
    let corrupt = || HttpError::broken("stored metadata cannot be read");
    let unpacked = metadata::unpack(packed, MAX_METADATA).map_err(|_| corrupt())?;
    let mut text = Vec::with_capacity(unpacked.text.len() * 2);
    metadata::write_with_base(&unpacked, url, &[], &mut text);
    let text = String::from_utf8(text).map_err(|_| corrupt())?;
    RawValue::from_string(text).map_err(|_| corrupt())
}

fn text(entry: &Entry<'_>) -> Result<Vec<u8>, HttpError> {
    serde_json::to_vec(entry).map_err(|_| HttpError::broken("the feed cannot be written"))
}

fn json(body: Body) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn parse(feed: Feed, query: &QueryPairs) -> Result<(FeedRange, WithMetadata), HttpError> {
    let with = with_metadata(query)?;
    let range = match feed {
        Feed::Sequence => {
            let after = number(query, "offset", 0, 0, i64::MAX)?;
            let limit = number(query, "limit", 10, 1, 100)?;
            FeedRange::Sequence {
                after,
                through: after.saturating_add(limit),
            }
        }
        Feed::Window => {
            let (from, to) = (moment(query, "startTime")?, moment(query, "endTime")?);
            if let (Some(from), Some(to)) = (from, to)
                && from >= to
            {
                return Err(invalid("endTime", "It must be later than startTime."));
            }
            let skip = number(query, "offset", 0, 0, i64::MAX)?;
            let limit = number(query, "limit", 100, 1, 200)?;
            FeedRange::Window {
                from,
                to,
                skip: skip.unsigned_abs(),
                limit: u32::try_from(limit).unwrap_or(200),
            }
        }
    };
    Ok((range, with))
}

fn with_metadata(query: &QueryPairs) -> Result<WithMetadata, HttpError> {
    match query
        .first("includemetadata")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("true") => Ok(WithMetadata::Yes),
        Some("false") => Ok(WithMetadata::No),
        Some(_) => Err(invalid("includeMetadata", "It must be true or false.")),
    }
}

fn number(
    query: &QueryPairs,
    name: &str,
    default: i64,
    least: i64,
    most: i64,
) -> Result<i64, HttpError> {
    let Some(text) = query.first(&name.to_ascii_lowercase()) else {
        return Ok(default);
    };
    match text.trim().parse::<i64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ if most == i64::MAX => Err(invalid(
            name,
            &format!("It must be a whole number of {least} or more."),
        )),
        _ => Err(invalid(
            name,
            &format!("It must be a whole number from {least} to {most}."),
        )),
    }
}

fn moment(query: &QueryPairs, name: &str) -> Result<Option<OffsetDateTime>, HttpError> {
    let Some(text) = query.first(&name.to_ascii_lowercase()) else {
        return Ok(None);
    };
    // A plus sign that was not encoded arrives as a blank.
    let text = text.trim().replace(' ', "+");
    match OffsetDateTime::parse(&text, &Rfc3339) {
        Ok(moment) => Ok(Some(moment)),
        Err(_) => Err(invalid(
            name,
            "It must be a date and time with a time zone, such as 2024-01-31T12:00:00Z.",
        )),
    }
}

fn invalid(name: &str, reason: &str) -> HttpError {
    HttpError::bad_request(
        Slug::InvalidQuery,
        format!("The query parameter '{name}' is invalid. {reason}"),
    )
}
