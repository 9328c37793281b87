//! How the study of the URL must be for a store to happen (RFC 9110 §13.1: `If-Match`, `If-None-Match`).
//!
//! Invariant: what is found here only refuses early; the index looks again where it holds the study locked.

use axum::http::{HeaderMap, HeaderName, header};

use crate::archive::{ArchiveError, StudyCondition, Version};
use crate::dicom::uid::{StudyUid, Target};
use crate::http::error::{HttpError, ProblemType};
use crate::http::state::ApiState;
use crate::scope::Scope;

/// Most tags of a list that are looked at.
const MOST: usize = 1000;

/// The condition of a request, which holds now.
///
/// # Errors
/// 400 for lists that cannot be read, 412 when it does not hold.
pub(super) async fn of(
    headers: &HeaderMap,
    api: &ApiState,
    scope: &Scope,
    study: Option<&StudyUid>,
) -> Result<Option<StudyCondition>, HttpError> {
    let Some(condition) = read(headers)? else {
        return Ok(None);
    };
    let Some(study) = study else {
        let detail = "Only a study has an ETag: name the study in the URL, or leave If-Match and If-None-Match out.";
        return Err(HttpError::new(ProblemType::PreconditionFailed, detail));
    };
    let target = Target::Study(study.clone());
    let version = match api.app.archive.version(scope, &target).await {
        Ok(version) => Some(version),
        Err(ArchiveError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if condition.holds(version) {
        Ok(Some(condition))
    } else {
        Err(ArchiveError::Unmatched.into())
    }
}

fn read(headers: &HeaderMap) -> Result<Option<StudyCondition>, HttpError> {
    if let Some(items) = items(headers, &header::IF_MATCH)? {
        // With both, the other one is not looked at (RFC 9110 §13.2.2).
        return Ok(Some(match items.as_slice() {
            ["*"] => StudyCondition::Exists,
            items => StudyCondition::OneOf(items.iter().filter_map(|tag| version(tag)).collect()),
        }));
    }
    match items(headers, &header::IF_NONE_MATCH)?.as_deref() {
        None => Ok(None),
        Some(["*"]) => Ok(Some(StudyCondition::Absent)),
        Some(_) => Err(HttpError::bad_request(
            ProblemType::InvalidRequest,
            "If-None-Match of a store is `*`, for a study that must not be there; use If-Match for versions.",
        )),
    }
}

fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<Vec<&'h str>>, HttpError> {
    let refused = || {
        let detail = format!("{name} is no list of entity tags.");
        HttpError::bad_request(ProblemType::InvalidRequest, detail)
    };
    let mut all = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| refused())?;
        all.extend(text.split(',').map(str::trim).filter(|one| !one.is_empty()));
    }
    if !headers.contains_key(name) {
        return Ok(None);
    }
    if all.is_empty() || all.len() > MOST {
        return Err(refused());
    }
    Ok(Some(all))
}

/// The version that a strong tag names, whatever representation it is of; a weak one matches nothing (RFC 9110 §8.8.3.2).
fn version(tag: &str) -> Option<Version> {
    let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
    let mut parts = tag.splitn(3, '-');
    let mut number = || parts.next()?.parse::<i64>().ok();
    Some(Version {
        version: number()?,
        instances: number()?,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn tags_name_versions_and_weak_or_foreign_ones_none() {
        let one = Version {
            version: 12,
            instances: 3,
        };
        let two = Version {
            version: 13,
            instances: 4,
        };
        for (text, expected) in [
            ("*", StudyCondition::Exists),
            ("\"12-3\"", StudyCondition::OneOf(vec![one])),
            (
                "\"12-3-0123456789ab\" , \"13-4\"",
                StudyCondition::OneOf(vec![one, two]),
            ),
            ("W/\"12-3\", \"x\", 12-3", StudyCondition::OneOf(vec![])),
        ] {
            let found = read(&with(header::IF_MATCH, text)).unwrap();
            assert_eq!(found, Some(expected), "{text}");
        }
        let found = read(&with(header::IF_NONE_MATCH, "*")).unwrap();
        assert_eq!(found, Some(StudyCondition::Absent));
        assert!(read(&with(header::IF_NONE_MATCH, "\"12-3\"")).is_err());
        assert!(read(&with(header::IF_MATCH, " , ")).is_err());
        assert_eq!(read(&HeaderMap::new()).unwrap(), None);
    }
}
