//! The trash: `GET /trash`, and `POST` to restore an entry or a study; beside the standard.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::audit::note::Note;
use super::error::{HttpError, ProblemType};
use super::extract::{Access, QueryPairs, TargetPath};
use super::links::Links;
use super::represent::lone_data_set;
use super::state::ApiState;
use crate::archive::services::restore::{RestoreReport, RestoreTarget};
use crate::archive::{Archive, ArchiveError, RemovalReason, TrashEntry, TrashFilter};
use crate::auth::Action;
use crate::dicom::uid::StudyUid;
use crate::memory::Purpose;

/// Entries of a page, when the client does not say.
const PAGE: u32 = 50;
/// Most entries of a page.
const MOST: u32 = 200;
/// Memory of an entry, as a row and as text: its attributes are 16 KiB at most.
const ENTRY: usize = 48 << 10;

/// Lists what was removed and can be restored, the newest first.
///
/// # Errors
/// 400 for a bad parameter.
pub(super) async fn list_trash(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    query: QueryPairs,
) -> Result<Response, HttpError> {
    access.may(Action::Read)?;
    let scope = access.may(Action::Restore)?;
    let filter = filter(&query)?;
    let archive = &api.app.archive;
    let mut held = archive.budget().nothing(Purpose::Answers);
    let most = (filter.limit as usize).saturating_mul(ENTRY);
    held.grow_to(most).await.map_err(ArchiveError::from)?;
    // One more tells whether there is another page.
    let asked = TrashFilter {
        limit: filter.limit + 1,
        ..filter.clone()
    };
    let mut entries = archive.trash(&scope, &asked).await?;
    let more = entries.len() > filter.limit as usize;
    entries.truncate(filter.limit as usize);
    let next = entries.last().filter(|_| more).map(|last| {
        let study = filter.study.as_ref().map(StudyUid::as_str);
        let (before, limit) = (last.id.to_string(), filter.limit.to_string());
        let page = [("before", before.as_str()), ("limit", limit.as_str())];
        let study = study.map(|study| ("study", study));
        links.search(["trash"], page.into_iter().chain(study))
    });
    let listed: Vec<String> = entries
        .iter()
        .map(|entry| described(archive, entry))
        .collect();
    let next = Value::from(next);
    let body = format!("{{\"entries\":[{}],\"next\":{next}}}", listed.join(","));
    held.shrink_to(body.len());
    Ok(lone_data_set("application/json", body.into_bytes(), held))
}

/// Restores what is left of an entry.
///
/// # Errors
/// 404 when there is no such entry, 409 when nothing could be restored.
pub(super) async fn restore_entry(
    State(api): State<ApiState>,
    access: Access,
    note: Note,
    Path(entry): Path<String>,
) -> Result<Response, HttpError> {
    let number = entry.parse::<i64>().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| {
        HttpError::bad_request(
            ProblemType::InvalidRequest,
            "An entry of the trash is named by its number, which GET /trash lists.",
        )
    })?;
    restore(&api, &access, &note, RestoreTarget::Entry(number)).await
}

/// Restores everything that was deleted of a study.
///
/// # Errors
/// 400 for a malformed UID, 404 when neither the trash nor the archive has the study, 409 when nothing could be restored.
pub(super) async fn restore_study(
    State(api): State<ApiState>,
    access: Access,
    note: Note,
    path: TargetPath,
) -> Result<Response, HttpError> {
    let study = path.parse()?.study().clone();
    restore(&api, &access, &note, RestoreTarget::Study(study)).await
}

async fn restore(
    api: &ApiState,
    access: &Access,
    note: &Note,
    target: RestoreTarget,
) -> Result<Response, HttpError> {
    access.may(Action::Read)?;
    let scope = access.may(Action::Restore)?;
    let report = api.app.archive.restore(&scope, target).await?;
    if let Some(study) = report.studies.first() {
        note.study(study.as_str());
    }
    let RestoreReport { restored, left, .. } = report;
    tracing::info!(restored, left, "restored instances");
    let status = match (report.left, report.restored + report.stored) {
        (0, _) => StatusCode::OK,
        (_, 0) => StatusCode::CONFLICT,
        _ => StatusCode::ACCEPTED,
    };
    let problems = report.problems.iter().map(|(instance, reason)| {
        json!({ "sopInstanceUid": instance.as_str(), "reason": reason.to_string() })
    });
    let studies: Vec<&str> = report.studies.iter().map(StudyUid::as_str).collect();
    let body = json!({
        "studies": studies,
        "restored": report.restored,
        "restoredBefore": report.earlier,
        "alreadyStored": report.stored,
        "left": report.left,
        "problems": problems.collect::<Vec<Value>>(),
    });
    Ok((status, axum::Json(body)).into_response())
}

/// The JSON of an entry.
fn described(archive: &Archive, entry: &TrashEntry) -> String {
    let target = &entry.target;
    let mut text = json!({
        "id": entry.id,
        "studyInstanceUid": target.study().as_str(),
        "seriesInstanceUid": target.series().map(|uid| uid.as_str()),
        "sopInstanceUid": target.instance().map(|uid| uid.as_str()),
        "reason": match entry.reason {
            RemovalReason::Deleted => "deleted",
            RemovalReason::Expired => "expired",
            RemovalReason::Replaced => "replaced",
        },
        "deleted": moment(entry.since),
        "until": moment(archive.restorable_until(entry)),
        "series": entry.series,
        "instances": entry.instances,
        "bytes": entry.bytes,
        "modalities": entry.modalities.split('\\').filter(|one| !one.is_empty()).collect::<Vec<_>>(),
    })
    .to_string();
    // It lies in the index as the JSON object it is; the closing brace comes behind it.
    text.pop();
    text.push_str(",\"attributes\":");
    text.push_str(match entry.attributes.as_str() {
        "" => "null",
        attributes => attributes,
    });
    text.push('}');
    text
}

fn moment(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

fn filter(query: &QueryPairs) -> Result<TrashFilter, HttpError> {
    let number =
        |name: &str, most: i64| match query.first(name).map(|text| text.trim().parse::<i64>()) {
            None => Ok(None),
            Some(Ok(number)) if (1..=most).contains(&number) => Ok(Some(number)),
            Some(_) if most == i64::MAX => Err(HttpError::invalid_query(
                name,
                "It must be the number of an entry.",
            )),
            Some(_) => Err(HttpError::invalid_query(
                name,
                &format!("It must be a whole number from 1 to {most}."),
            )),
        };
    let limit = number("limit", MOST.into())?.and_then(|limit| u32::try_from(limit).ok());
    let study = query.first("study").map(StudyUid::parse).transpose();
    Ok(TrashFilter {
        study: study
            .map_err(|_| HttpError::invalid_query("study", "It must be a Study Instance UID."))?,
        before: number("before", i64::MAX)?,
        limit: limit.unwrap_or(PAGE),
    })
}
