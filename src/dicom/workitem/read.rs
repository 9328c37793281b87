//! The body of a request about a workitem, to a data set whose attributes can all be encoded.
//!
//! Invariant: iterative, whatever is nested in what; memory is that of [`weight`].

use dicom_dictionary_std::tags;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::compose::{BulkParts, SentMetadata, compose};
use super::super::{limits, tag};
use super::problem::{LONGEST, Problem};
use super::uids::PUSH;
use crate::dicom::data_set::{JsonDataSet, set};

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON array of one data set, and nothing else.
    Array,
    /// A JSON array of one data set, or the data set.
    Json,
    /// A Native DICOM Model.
    Xml,
}

/// Bytes that reading and checking a body takes.
#[must_use]
pub fn room(body: &[u8], format: Format) -> usize {
    let weight = match format {
        Format::Array | Format::Json => match std::str::from_utf8(body) {
            Ok(text) => weight(text),
            Err(_) => body.len(),
        },
        Format::Xml => SentMetadata::Xml(body.to_vec()).weight(),
    };
    // It is encoded once, to see whether that can be done, and written anew.
    weight.saturating_mul(2)
}

/// Bytes that a data set may take in memory, by its text.
#[must_use]
pub fn weight(text: &str) -> usize {
    match RawValue::from_string(text.to_owned()) {
        Ok(text) => SentMetadata::Json(text).weight(),
        // It will not be read.
        Err(_) => text.len(),
    }
}

/// Reads a body.
///
/// # Errors
/// [`Problem`] for another document than one data set, and for an attribute that cannot be encoded.
pub fn read(body: &[u8], format: Format) -> Result<JsonDataSet, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| Problem::Unreadable(error.to_string());
    let mut data_set = match format {
        Format::Xml => SentMetadata::Xml(body.to_vec())
            .read()
            .map_err(|error| unreadable(&error))?,
        Format::Array | Format::Json => {
            let array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
            if format == Format::Array && !array {
                let reason = "the body must be a JSON array of one data set";
                return Err(Problem::Unreadable(reason.to_owned()));
            }
            let sets = SentMetadata::split(body, 1).map_err(|error| unreadable(&error))?;
            let Some(text) = sets.first() else {
                let reason = "the body must hold one data set, and the array is empty";
                return Err(Problem::Unreadable(reason.to_owned()));
            };
            text.read().map_err(|error| unreadable(&error))?
        }
    };
    tidy(&mut data_set)?;
    encodes(&data_set)?;
    Ok(data_set)
}

/// Reads back a workitem that is stored.
///
/// # Errors
/// [`Problem::Unreadable`] when it is damaged.
pub(super) fn stored(text: &str) -> Result<JsonDataSet, Problem> {
    let raw = RawValue::from_string(text.to_owned());
    let read = raw.ok().and_then(|raw| SentMetadata::Json(raw).read().ok());
    read.ok_or_else(|| Problem::Unreadable("the stored workitem is damaged".to_owned()))
}

/// The text of a workitem.
///
/// # Errors
/// [`Problem::TooLong`] beyond [`LONGEST`].
pub(super) fn written(item: &JsonDataSet) -> Result<String, Problem> {
    let text = serde_json::to_string(item).unwrap_or_default();
    if text.len() > LONGEST {
        return Err(Problem::TooLong);
    }
    Ok(text)
}

/// Names attributes in upper case and leaves out what belongs to a file and not to a data set.
fn tidy(data_set: &mut JsonDataSet) -> Result<(), Problem> {
    let mut open: Vec<(usize, &mut Map<String, Value>)> = vec![(0, data_set)];
    while let Some((depth, item)) = open.pop() {
        if depth > limits::DEPTH {
            let reason = format!("sequences lie deeper in each other than {}", limits::DEPTH);
            return Err(Problem::Unreadable(reason));
        }
        if item
            .keys()
            .any(|name| name.bytes().any(|b| b.is_ascii_lowercase()))
        {
            let old = std::mem::take(item);
            for (name, element) in old {
                if item.insert(name.to_ascii_uppercase(), element).is_some() {
                    let reason = format!("the attribute {name:.8} is there twice");
                    return Err(Problem::Unreadable(reason));
                }
            }
        }
        item.retain(|name, _| {
            let tag = tag::from_hex(name);
            tag.is_none_or(|tag| tag.group() > 0x0007 && tag.element() != 0)
        });
        for element in item.values_mut() {
            if element.get("vr").and_then(Value::as_str) != Some("SQ") {
                continue;
            }
            let items = element.get_mut("Value").and_then(Value::as_array_mut);
            let items = items.into_iter().flatten().filter_map(Value::as_object_mut);
            open.extend(items.map(|item| (depth.saturating_add(1), item)));
        }
    }
    Ok(())
}

/// Whether every attribute can be encoded.
fn encodes(data_set: &JsonDataSet) -> Result<(), Problem> {
    let mut named = data_set.clone();
    set(&mut named, tags::SOP_CLASS_UID, "UI", PUSH);
    set(&mut named, tags::SOP_INSTANCE_UID, "UI", PUSH);
    compose(&named, &BulkParts::new(Vec::new()))
        .map(drop)
        .map_err(|error| Problem::Unreadable(error.to_string()))
}
