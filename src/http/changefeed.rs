//! The change feed: `GET /changefeed` and `/changefeed/latest` (dicom-service §10).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::array::{array_body, items, reported};
use super::error::{HttpError, ProblemType};
use super::extract::{Access, QueryPairs};
use super::links::Links;
use super::place::segment;
use super::profile::FeedFormat;
use super::represent::streamed;
use super::state::ApiState;
use crate::archive::services::feed::WithMetadata;
use crate::archive::services::feed::WriteChange;
use crate::archive::{Change, ChangeAction, ChangeState as Now, FeedRange};
use crate::auth::Action as Permission;
use crate::dicom::metadata::MetadataWriter;
use crate::dicom::pieces::Framed;

/// Answers a part of the feed.
///
/// # Errors
/// 400 for a bad parameter.
pub(super) async fn read_changes(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    query: QueryPairs,
) -> Result<Response, HttpError> {
    let scopes = access.may_across(&api, Permission::Read).await?;
    let (range, with) = parse(api.profile.feed, &query)?;
    let archive = &api.app.archive;
    let changes = archive
        .changes(&scopes, &range, with, written(&api, links))
        .await;
    let (entries, left_out) = changes?;
    let body = array_body(items(archive, entries)).await?;
    reported(json(body), &left_out, "metadata")
}

/// Answers the newest entry, 204 when there is none.
///
/// # Errors
/// 400 for a bad parameter.
pub(super) async fn read_latest_change(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    query: QueryPairs,
) -> Result<Response, HttpError> {
    let scopes = access.may_across(&api, Permission::Read).await?;
    let with = with_metadata(&query)?;
    let archive = &api.app.archive;
    let latest = archive
        .latest_change(&scopes, with, written(&api, links))
        .await?;
    let Some((mut entries, left_out)) = latest else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let Some(entry) = entries.try_next().await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    reported(
        json(streamed(archive.pieces(entry)).into_body()),
        &left_out,
        "metadata",
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FeedEntry<'a> {
    sequence: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_name: Option<&'a str>,
    study_instance_uid: &'a str,
    series_instance_uid: &'a str,
    sop_instance_uid: &'a str,
    action: &'static str,
    timestamp: String,
    state: &'static str,
}

/// Writes entries, the metadata as their last member.
fn written(api: &ApiState, links: Links) -> WriteChange {
    let profile = api.profile;
    let partitioned = api.app.archive.has_partitions();
    Arc::new(move |change, metadata| {
        let partition = change.partition_name.as_deref().filter(|_| partitioned);
        let mut text = serde_json::to_vec(&entry(change, partition)).unwrap_or_default();
        Ok(match metadata {
            None => Box::new(Some(text)),
            Some(metadata) => {
                let segment = partition.and_then(|name| segment(profile, name));
                let url = links.within(segment.as_deref()).instance(&change.name);
                let metadata = MetadataWriter::new(metadata, &url, &[])?;
                // The closing brace comes behind it.
                text.pop();
                text.extend(b",\"metadata\":");
                Box::new(Framed::new(text, Box::new(metadata), "}"))
            }
        })
    })
}

fn entry<'a>(change: &'a Change, partition: Option<&'a str>) -> FeedEntry<'a> {
    FeedEntry {
        sequence: change.sequence,
        partition_name: partition,
        study_instance_uid: change.name.study.as_str(),
        series_instance_uid: change.name.series.as_str(),
        sop_instance_uid: change.name.instance.as_str(),
        action: match change.action {
            ChangeAction::Create => "Create",
            ChangeAction::Delete => "Delete",
            ChangeAction::Update => "Update",
        },
        timestamp: change.timestamp.format(&Rfc3339).unwrap_or_default(),
        state: match change.state {
            Now::Current => "Current",
            Now::Replaced => "Replaced",
            Now::Deleted => "Deleted",
        },
    }
}

fn json(body: Body) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn parse(feed: FeedFormat, query: &QueryPairs) -> Result<(FeedRange, WithMetadata), HttpError> {
    let with = with_metadata(query)?;
    let range = match feed {
        FeedFormat::Sequence => {
            let after = number(query, "offset", 0, 0, i64::MAX)?;
            let limit = number(query, "limit", 10, 1, 100)?;
            FeedRange::Sequence {
                after,
                through: after.saturating_add(limit),
            }
        }
        FeedFormat::Window => {
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
        ProblemType::InvalidQuery,
        format!("The query parameter '{name}' is invalid. {reason}"),
    )
}
