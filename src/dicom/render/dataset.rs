//! Reading one data set of DICOM JSON (PS3.18 Annex F) with tolerance.
//!
//! Nothing here fails: an attribute of the wrong form reads as absent.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::lut::LutData;

/// Longest value fetched or decoded for one attribute, in bytes.
const MAX_VALUE: usize = 64 * 1024 * 1024;
/// Numbers read from one attribute.
const MAX_NUMBERS: usize = 65_536 * 4;

/// Answers the bytes of a bulk data value, by its tag path.
pub(super) type Bulk<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// A data set and its place in the instance.
#[derive(Debug, Clone)]
pub(super) struct Dataset<'a> {
    elements: &'a Map<String, Value>,
    path: String,
}

impl<'a> Dataset<'a> {
    /// The data set of an instance; `None` unless `value` is an object.
    pub(super) fn root(value: &'a Value) -> Option<Self> {
        value.as_object().map(|elements| Self {
            elements,
            path: String::new(),
        })
    }

    /// The values of an attribute, none if absent.
    fn values(&self, tag: &str) -> &'a [Value] {
        let value = self
            .elements
            .get(tag)
            .and_then(|element| element.get("Value"));
        value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Whether the attribute is there, empty or not.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.elements.contains_key(tag)
    }

    /// The numbers of an attribute, whether written as numbers or strings.
    pub(super) fn floats(&self, tag: &str) -> Vec<f64> {
        self.values(tag)
            .iter()
            .take(MAX_NUMBERS)
            .filter_map(number)
            .collect()
    }

    /// The first number of an attribute.
    pub(super) fn float(&self, tag: &str) -> Option<f64> {
        self.values(tag).first().and_then(number)
    }

    /// The integers of an attribute.
    pub(super) fn integers(&self, tag: &str) -> Vec<i64> {
        self.values(tag)
            .iter()
            .take(MAX_NUMBERS)
            .filter_map(integer)
            .collect()
    }

    /// The first integer of an attribute.
    pub(super) fn integer(&self, tag: &str) -> Option<i64> {
        self.values(tag).first().and_then(integer)
    }

    /// The first string of an attribute; the alphabetic group of a name.
    pub(super) fn text(&self, tag: &str) -> Option<&'a str> {
        self.texts(tag).next()
    }

    /// The strings of an attribute.
    pub(super) fn texts(&self, tag: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values(tag).iter().filter_map(string)
    }

    /// The items of a sequence.
    pub(super) fn items(&self, tag: &str) -> impl Iterator<Item = Self> + use<'a> {
        let prefix = format!("{}{tag}", self.path);
        self.values(tag)
            .iter()
            .enumerate()
            .filter_map(move |(index, item)| {
                let elements = item.as_object()?;
                Some(Self {
                    elements,
                    path: format!("{prefix}/{index}/"),
                })
            })
    }

    /// Item `index` of a sequence, counted from 0.
    pub(super) fn item(&self, tag: &str, index: usize) -> Option<Self> {
        let elements = self.values(tag).get(index)?.as_object()?;
        Some(Self {
            elements,
            path: format!("{}{tag}/{index}/", self.path),
        })
    }

    /// The bytes of an inline or bulk value.
    pub(super) fn bytes(&self, tag: &str, bulk: Bulk<'_>) -> Option<Vec<u8>> {
        let element = self.elements.get(tag)?;
        if let Some(text) = element.get("InlineBinary").and_then(Value::as_str) {
            let short = text.len() <= MAX_VALUE;
            return if short {
                STANDARD.decode(text).ok()
            } else {
                None
            };
        }
        element.get("BulkDataURI")?;
        bulk(&format!("{}{tag}", self.path)).filter(|bytes| bytes.len() <= MAX_VALUE)
    }

    /// The entries of a lookup table, whichever way they are written.
    pub(super) fn lut_data(&self, tag: &str, bulk: Bulk<'_>) -> Option<LutData> {
        let numbers = self.values(tag);
        if numbers.is_empty() {
            return self.bytes(tag, bulk).map(LutData::Bytes);
        }
        let words = numbers.iter().take(MAX_NUMBERS).map(|value| {
            let value = integer(value).unwrap_or(0).rem_euclid(65_536);
            u16::try_from(value).unwrap_or(0)
        });
        Some(LutData::Words(words.collect()))
    }

    /// Every attribute: tag and element.
    pub(super) fn elements(&self) -> serde_json::map::Iter<'a> {
        self.elements.iter()
    }
}

/// A value as text; the alphabetic group of a name, else another one.
pub(super) fn string(value: &Value) -> Option<&str> {
    let group = || {
        ["Alphabetic", "Ideographic", "Phonetic"]
            .iter()
            .find_map(|group| value.get(group)?.as_str())
    };
    value
        .as_str()
        .or_else(group)
        .map(|text| text.trim_matches([' ', '\0']))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim_matches([' ', '\0']).parse().ok(),
        other => other.as_f64(),
    }
}

fn integer(value: &Value) -> Option<i64> {
    let exact = value.as_i64();
    exact.or_else(|| {
        let number = number(value).filter(|number| number.abs() < 9e15)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an integral part below 2^53"
        )]
        Some(number.trunc() as i64)
    })
}
