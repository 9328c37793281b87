//! The claims of a token: what stands in them, by name or by path.

use serde_json::{Map, Value};

use crate::scope::Visible;

/// Claims of a verified token.
pub(super) type Claims = Map<String, Value>;

/// Claim that leaves only reading of what the roles allow; anything but `false` does.
pub(super) const READ_ONLY_CLAIM: &str = "dicom_read_only";

/// Whether a claim is there; where the first step of a path is, what is behind it may be what cannot be read.
pub(super) fn is_named(claims: &Claims, path: &str) -> bool {
    let first = path.split('.').next().unwrap_or(path);
    claims.contains_key(path) || claims.contains_key(first)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separated {
    ByBlanks,
    No,
}

/// The texts of a claim that is a string or a list of strings; anything else holds none.
pub(super) fn names(value: Option<&Value>, separated: Separated) -> Vec<String> {
    let texts: Vec<&str> = match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let owned = |text: &str| text.to_owned();
    match separated {
        Separated::ByBlanks => texts
            .iter()
            .flat_map(|text| text.split_ascii_whitespace())
            .map(owned)
            .collect(),
        Separated::No => texts
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(owned)
            .collect(),
    }
}

/// OAuth scopes: `scope` (RFC 8693), or `scp` as some providers call it.
pub(super) fn names_of_scopes(claims: &Claims) -> Vec<String> {
    let mut scopes = names(claims.get("scope"), Separated::ByBlanks);
    scopes.extend(names(claims.get("scp"), Separated::ByBlanks));
    scopes
}

/// A claim by its exact name, else by a path with dots.
pub(super) fn claim<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value).filter(|value| !value.is_null());
    }
    let mut steps = path.split('.');
    let first = claims.get(steps.next()?)?;
    let found = steps.try_fold(first, |value, step| value.get(step))?;
    Some(found).filter(|value| !value.is_null())
}

/// The patient of the launch context; without one a scope of a patient is about nobody.
pub(super) fn launch_patient(claims: &Claims) -> Visible {
    let patient = claims.get("patient").and_then(Value::as_str);
    Visible::Only {
        patients: patient
            .filter(|patient| !patient.is_empty())
            .map(str::to_owned)
            .into_iter()
            .collect(),
        studies: Vec::new(),
    }
}
