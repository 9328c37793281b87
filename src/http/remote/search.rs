//! What another server has: pages of studies and instances (QIDO-RS).
//!
//! Invariants: a list ends with a page that holds nothing new, however long pages are and whatever a server thinks of
//! `limit` and `offset`; its memory is reserved as it grows; only UIDs that are UIDs are taken.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::backoff::Backoff;
use super::connection::RemoteServer;
use super::error::RemoteError;
use crate::dicom::uid::{InstanceUid, SeriesUid, StudyUid};
use crate::memory::{MemoryBudget, Purpose, Reservation};

/// Results asked for at a time; many servers allow no more.
const PAGE: usize = 200;
/// Longest page in bytes.
const MAX_PAGE: usize = 16 << 20;
/// Memory of a result: its UIDs, and its place among those that are known.
const RESULT: usize = 320;
/// Longest value that is looked at.
const MAX_VALUE: usize = 256;

/// What is encoded in a query, and no more: Orthanc, for one, compares `1%2E2` as it stands.
const QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'+')
    .add(b'<')
    .add(b'=')
    .add(b'>');

/// A study of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStudy {
    /// Its UID.
    pub uid: StudyUid,
    /// How many instances the server says it has.
    pub instances: Option<u64>,
}

/// An instance of a study of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteInstance {
    /// Its series.
    pub series: SeriesUid,
    /// Its own UID.
    pub uid: InstanceUid,
}

/// Results, and the memory they take.
#[derive(Debug)]
pub struct RemoteList<T> {
    /// The results, each once.
    pub found: Vec<T>,
    /// Results that have no usable UIDs.
    pub unusable: u64,
    held: Reservation,
}

/// The attributes that are looked at, as they stand in DICOM JSON; all others are passed over.
#[derive(Deserialize)]
struct FoundItem<'a> {
    #[serde(borrow, default, rename = "0020000D")]
    study: Option<FoundValue<'a>>,
    #[serde(borrow, default, rename = "0020000E")]
    series: Option<FoundValue<'a>>,
    #[serde(borrow, default, rename = "00080018")]
    instance: Option<FoundValue<'a>>,
    #[serde(borrow, default, rename = "00201208")]
    instances: Option<FoundValue<'a>>,
}

#[derive(Deserialize)]
struct FoundValue<'a> {
    #[serde(borrow, default, rename = "Value")]
    value: Option<&'a RawValue>,
}

/// The one value of an attribute, which may be a number.
fn text(value: Option<&FoundValue<'_>>) -> Option<String> {
    let raw = value?.value?.get();
    let raw = Some(raw).filter(|raw| raw.len() <= MAX_VALUE)?;
    let values: Vec<serde_json::Value> = serde_json::from_str(raw).ok()?;
    match values.into_iter().next()? {
        serde_json::Value::String(text) => Some(text.trim_matches([' ', '\0']).to_owned()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl RemoteServer {
    /// Studies that match keys such as `PatientID=4711`; all without keys.
    ///
    /// # Errors
    /// [`RemoteError`] when a page cannot be had, or the list finds no memory.
    pub async fn studies(
        &self,
        keys: &[String],
        budget: &MemoryBudget,
    ) -> Result<RemoteList<RemoteStudy>, RemoteError> {
        let mut query = String::from("includefield=00201208");
        for key in keys {
            let (name, value) = key.split_once('=').unwrap_or((key, ""));
            let value = utf8_percent_encode(value, QUERY);
            let name = utf8_percent_encode(name, QUERY);
            query.push_str(&format!("&{name}={value}"));
        }
        let read = |item: &FoundItem<'_>| {
            let uid = StudyUid::parse(&text(item.study.as_ref())?).ok()?;
            let instances = text(item.instances.as_ref()).and_then(|text| text.parse().ok());
            Some((
                uid.as_str().to_owned(),
                RemoteStudy {
                    uid: uid.clone(),
                    instances,
                },
            ))
        };
        self.list("/studies", &query, &read, budget).await
    }

    /// All instances of a study.
    ///
    /// # Errors
    /// As [`Self::studies`].
    pub async fn instances(
        &self,
        study: &StudyUid,
        budget: &MemoryBudget,
    ) -> Result<RemoteList<RemoteInstance>, RemoteError> {
        let read = |item: &FoundItem<'_>| {
            let series = SeriesUid::parse(&text(item.series.as_ref())?).ok()?;
            let uid = InstanceUid::parse(&text(item.instance.as_ref())?).ok()?;
            Some((format!("{series}/{uid}"), RemoteInstance { series, uid }))
        };
        let path = format!("/studies/{study}/instances");
        self.list(&path, "includefield=0020000E", &read, budget)
            .await
    }

    async fn list<T>(
        &self,
        path: &str,
        query: &str,
        read: &(dyn Fn(&FoundItem<'_>) -> Option<(String, T)> + Sync),
        budget: &MemoryBudget,
    ) -> Result<RemoteList<T>, RemoteError> {
        let mut list = RemoteList {
            found: Vec::new(),
            unusable: 0,
            held: budget.nothing(Purpose::Rows),
        };
        let mut known = HashSet::new();
        let mut offset = 0_usize;
        loop {
            let target = format!("{path}?{query}&limit={PAGE}&offset={offset}");
            let mut held = budget.nothing(Purpose::Text);
            let mut backoff = Backoff::new(self.retries);
            let page = loop {
                match self.page(&target, &mut held).await {
                    Ok(page) => break page,
                    Err(error) => {
                        let pause = error.may_pass().and_then(|asked| backoff.pause(asked));
                        let Some(pause) = pause else {
                            return Err(error);
                        };
                        tokio::time::sleep(pause).await;
                    }
                }
            };
            let Some(page) = page else { return Ok(list) };
            let unreadable = |error: serde_json::Error| {
                let line = error.line();
                RemoteError::Unusable(format!(
                    "its list of what {path} holds is no DICOM JSON (line {line})"
                ))
            };
            let items: Vec<&RawValue> = serde_json::from_slice(&page).map_err(unreadable)?;
            let before = list.found.len();
            offset = offset.saturating_add(items.len());
            for item in items {
                let item: FoundItem<'_> = serde_json::from_str(item.get()).map_err(unreadable)?;
                let Some((key, result)) = read(&item) else {
                    list.unusable = list.unusable.saturating_add(1);
                    continue;
                };
                if known.insert(key) {
                    let bytes = known.len().saturating_mul(RESULT);
                    list.held.grow_to(bytes.next_multiple_of(64 << 10)).await?;
                    list.found.push(result);
                }
            }
            if list.found.len() == before {
                return Ok(list);
            }
        }
    }

    /// The text of a page; none when the server says that there is nothing.
    async fn page(
        &self,
        target: &str,
        held: &mut Reservation,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        let mut answer = match self.get(target, "application/dicom+json").await {
            // Some servers answer so where nothing is.
            Err(RemoteError::Refused { status: 404, .. }) => return Ok(None),
            answer => answer?,
        };
        if answer.status() == reqwest::StatusCode::NO_CONTENT {
            return Ok(None);
        }
        held.shrink_to(0);
        let text = answer.text(MAX_PAGE, held).await?;
        // A list of borrowed pieces beside the text: each piece has three bytes at least.
        held.grow_to(held.bytes().saturating_add(text.len().saturating_mul(8)))
            .await?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_read_whatever_else_there_is() {
        let read = |json: &str| {
            let item: FoundItem<'_> = serde_json::from_str(json).unwrap();
            (text(item.study.as_ref()), text(item.instances.as_ref()))
        };
        let found = r#"{"0020000D":{"vr":"UI","Value":["1.2.3"]},"00201208":{"vr":"IS","Value":[7]},"x":[[{}]]}"#;
        assert_eq!(read(found), (Some("1.2.3".into()), Some("7".into())));
        assert_eq!(read("{}"), (None, None));
        let strange = r#"{"0020000D":{"Value":null},"00201208":{"Value":[{}]}}"#;
        assert_eq!(read(strange), (None, None));
        let long = format!(r#"{{"0020000D":{{"Value":["{}"]}}}}"#, "1".repeat(500));
        assert_eq!(read(&long), (None, None));
    }
}
