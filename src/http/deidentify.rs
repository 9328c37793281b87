//! De-identified copies in another partition (not in the standard): `POST` on `/studies/$deidentify`.
//!
//! Invariant: it needs the rights to read and to de-identify where the originals are, and to write anything where copies go.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::audit::note::{Note, TouchedStudies};
use super::error::{HttpError, ProblemType};
use super::export::{BodyMembers, targets};
use super::extract::{Access, SmallBody};
use super::links::Links;
use super::place::disabled;
use super::started::started;
use super::state::ApiState;
use super::tags::json_body;
use super::wado::deidentified::allowed_profile;
use crate::auth::Action;
use crate::dicom::deidentify::{DeidentifyOptions, DeidentifyOptionsError};
use crate::dicom::uid::Target;
use crate::scope::{PartitionName, Scope, Visible};

/// Begins to copy.
///
/// # Errors
/// 400 for a bad body, while partitions are off, and when originals and copies would share a partition; 403 without the
/// rights, or for options that requests may not name; 415 when the body is no JSON.
pub(super) async fn deidentify_instances(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    note: Note,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, HttpError> {
    let (read, deidentify) = (access.may(Action::Read)?, access.may(Action::Deidentify)?);
    let scope = both(read, deidentify)?;
    let archive = &api.app.archive;
    let wrong = |reason: String| HttpError::bad_request(ProblemType::InvalidBody, reason);
    let asked = DeidentifyRequest::read(&json_body(&headers, &body)?).map_err(wrong)?;
    if !archive.has_partitions() {
        return Err(disabled());
    }
    let profile = allowed_profile(archive, asked.options)?;
    let into = access
        .may_everything_in(&api, Action::Write, &asked.partition)
        .await?;
    if into == scope.partition {
        return Err(wrong(
            "Copies go into another partition than that of the originals: 'target.partition' names the same one."
                .to_owned(),
        ));
    }
    note.deidentified(profile.options);
    let targets = asked.targets.as_deref();
    let id = archive.begin_deidentification(&scope, targets, into, &profile);
    let id = id.await?;
    let mut response = started(&links, &id)?;
    let touched = asked.targets.iter().flatten();
    let touched = TouchedStudies::named(touched.map(|target| target.study().to_string()));
    response.extensions_mut().insert(touched);
    Ok(response)
}

/// What may both be read and de-identified.
fn both(read: Scope, deidentify: Scope) -> Result<Scope, HttpError> {
    match (&read.visible, &deidentify.visible) {
        (_, Visible::All) => Ok(read),
        (Visible::All, _) => Ok(deidentify),
        (of_read, of_deidentify) if of_read == of_deidentify => Ok(read),
        _ => Err(HttpError::new(
            ProblemType::Forbidden,
            "The rights 'read' and 'deidentify' are limited in different ways; this needs both for the same studies.",
        )),
    }
}

/// What a client wants to be copied.
#[derive(Debug, PartialEq, Eq)]
struct DeidentifyRequest {
    /// None stands for everything.
    targets: Option<Vec<Target>>,
    partition: PartitionName,
    options: DeidentifyOptions,
}

impl DeidentifyRequest {
    fn read(body: &Value) -> Result<Self, String> {
        let body = BodyMembers::of("The body", body, &["source", "target", "options"])?;
        let target = BodyMembers::of("'target'", body.need("target")?, &["partition"])?;
        let partition = target.text("partition")?;
        let partition = partition.ok_or("'target' needs the member 'partition'.")?;
        let partition = PartitionName::parse(partition)
            .map_err(|error| format!("'partition' of 'target' is no name of one: {error}."))?;
        Ok(Self {
            targets: body.get("source").map(targets).transpose()?,
            partition,
            options: body
                .text("options")?
                .unwrap_or("basic")
                .parse::<DeidentifyOptions>()
                .map_err(|error: DeidentifyOptionsError| format!("'options': {error}."))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_names_what_where_to_and_how() {
        let source = json!({ "type": "identifiers", "settings": { "values": ["1.2", "1.2/3"] } });
        let body = json!({ "source": source, "target": { "partition": "research" }, "options": "retain-uids" });
        let read = DeidentifyRequest::read(&body).unwrap();
        assert_eq!(read.targets.unwrap().len(), 2);
        assert_eq!(read.partition.as_str(), "research");
        assert_eq!(read.options.to_string(), "basic,retain-uids");
        let all = DeidentifyRequest::read(&json!({ "target": { "partition": "r" } })).unwrap();
        assert_eq!(
            (all.targets, all.options.to_string()),
            (None, "basic".to_owned())
        );
        for body in [
            json!([]),
            json!({}),
            json!({ "target": "research" }),
            json!({ "target": {} }),
            json!({ "target": { "partition": "a/../hush" } }),
            json!({ "target": { "partition": "r" }, "sources": {} }),
            json!({ "target": { "partition": "r" }, "options": ["hush"] }),
            json!({ "target": { "partition": "r" }, "options": "hush" }),
            json!({ "target": { "partition": "r" }, "source": { "type": "hush" } }),
        ] {
            let reason = DeidentifyRequest::read(&body).unwrap_err();
            assert!(!reason.contains("hush"), "{reason}");
        }
    }
}
