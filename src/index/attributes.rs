//! The DICOM JSON text of one level's attributes, as kept in `study`, `series` and `instance`: made, read and merged.
//!
//! Invariant: keys are eight upper-case hex digits, ascending, each once; the text was written here, so reading it back
//! needs no JSON parser, only the end of each value.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dicom::attributes::{QueryLevel, key};
use crate::dicom::instance::{Attribute, Metadata};
use crate::dicom::json::skip::value_end;

/// Longest JSON of one attribute that is kept, in bytes: what is read for each result is bounded, whatever is stored.
const MAX_ATTRIBUTE: usize = 16 << 10;

/// Attributes of one level, by key; a value is a JSON object such as `{"vr":"CS","Value":["CT"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Those attributes of an instance that belong to `level`.
    ///
    /// One with a bulk data URI inside is left out: the URI belongs to the instance, not to its study or series; and one of
    /// more than [`MAX_ATTRIBUTE`] bytes, which only the metadata has.
    pub(super) fn of(level: QueryLevel, attributes: &[Attribute], metadata: &Metadata) -> Self {
        let mut found = BTreeMap::new();
        for attribute in attributes {
            let known = key(attribute.tag).is_some_and(|k| k.level == level);
            let fragment = metadata.text.get(attribute.json.clone()).unwrap_or("");
            let short = fragment.len() <= MAX_ATTRIBUTE;
            if known && short && is_object(fragment) && !has_uri(metadata, &attribute.json) {
                let name = crate::dicom::tag::hex(attribute.tag);
                found.insert(name, fragment.to_owned());
            }
        }
        Self(found)
    }

    /// Reads what [`Self::to_text`] wrote; none when it is something else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut found = BTreeMap::new();
        let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
        while !rest.is_empty() {
            let (name, behind) = rest.strip_prefix('"')?.split_once("\":")?;
            let (value, behind) = behind.split_at_checked(object_length(behind)?)?;
            found.insert(name.to_owned(), value.to_owned());
            rest = match behind.strip_prefix(',') {
                Some(next) => next,
                None if behind.is_empty() => "",
                None => return None,
            };
        }
        Some(Self(found))
    }

    /// The JSON object.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::from("{");
        for (name, value) in &self.0 {
            if text.len() > 1 {
                text.push(',');
            }
            text.push('"');
            text.push_str(name);
            text.push_str("\":");
            text.push_str(value);
        }
        text.push('}');
        text
    }

    /// Takes over what is newer: a value replaces a value, no value replaces nothing.
    pub(super) fn merge(&mut self, newer: &Self) {
        for (name, value) in &newer.0 {
            if !is_null(value) || !self.0.contains_key(name) {
                self.0.insert(name.clone(), value.clone());
            }
        }
    }

    /// Those of these names.
    pub(super) fn limited(&self, names: &[String]) -> Self {
        let of_these = self.0.iter().filter(|(name, _)| names.contains(name));
        Self(
            of_these
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        let each = |(name, value): (&String, &String)| name.len() + value.len() + 64;
        self.0.iter().map(each).sum()
    }

    /// The JSON of one attribute.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Whether a fragment can be kept: one whole object, and nothing that a database refuses in a text.
fn is_object(fragment: &str) -> bool {
    fragment.starts_with('{')
        && object_length(fragment) == Some(fragment.len())
        && !fragment.contains('\0')
}

/// Whether an attribute's JSON holds no value.
fn is_null(value: &str) -> bool {
    !["\"Value\"", "\"InlineBinary\"", "\"BulkDataURI\""]
        .iter()
        .any(|member| value.contains(member))
}

fn has_uri(metadata: &Metadata, range: &Range<usize>) -> bool {
    let inside = |at: &u32| usize::try_from(*at).is_ok_and(|at| range.contains(&at));
    metadata.uri_at.iter().any(inside)
}

/// Length of the JSON object `text` starts with.
fn object_length(text: &str) -> Option<usize> {
    text.starts_with('{').then(|| value_end(text, 0)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Attributes {
        Attributes::parse(text).unwrap()
    }

    #[test]
    fn text_survives_a_round_trip() {
        for text in [
            "{}",
            r#"{"00080020":{"vr":"DA","Value":["20240102"]}}"#,
            r#"{"00080050":{"vr":"SH"},"00100010":{"vr":"PN","Value":[{"Alphabetic":"a\"}\\"}]}}"#,
        ] {
            assert_eq!(parsed(text).to_text(), text);
        }
    }

    #[test]
    fn broken_text_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1}"#,
            r#"{"a":{"b"}"#,
            r#"{"a":{}x}"#,
        ] {
            assert_eq!(Attributes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_latest_value_wins_and_no_value_never_does() {
        let mut merged = parsed(r#"{"00080050":{"vr":"SH","Value":["A"]},"00081030":{"vr":"LO"}}"#);
        merged.merge(&parsed(
            r#"{"00080020":{"vr":"DA"},"00080050":{"vr":"SH"},"00081030":{"vr":"LO","Value":["x"]}}"#,
        ));
        assert_eq!(
            merged.to_text(),
            r#"{"00080020":{"vr":"DA"},"00080050":{"vr":"SH","Value":["A"]},"00081030":{"vr":"LO","Value":["x"]}}"#
        );
    }
}
