//! Reading one data set of DICOM JSON (PS3.18 Annex F) with tolerance.
//!
//! Nothing here fails: an attribute of the wrong form reads as absent. Invariant: only attributes of the dictionary are
//! looked up, so that what is held of a data set is bounded whatever it holds; values stay in the text until they are read.

use std::borrow::Cow;
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use dicom_core::Tag;

use super::lut::LutData;
use crate::dicom::members::{self, JsonElement, Members, Values, members};
use crate::dicom::tag;

/// Longest value fetched or decoded for one attribute, in bytes.
const MAX_VALUE: usize = 64 * 1024 * 1024;
/// Numbers read from one attribute.
const MAX_NUMBERS: usize = 65_536 * 4;

/// Answers the bytes of a bulk data value, by its tag path.
pub(super) type Bulk<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// A data set and its place in the instance.
#[derive(Debug, Clone)]
pub(super) struct Dataset<'a> {
    text: &'a str,
    /// In the order of the text.
    elements: Arc<[(Tag, JsonElement<'a>)]>,
    path: String,
}

impl<'a> Dataset<'a> {
    /// The data set of an instance; `None` unless `text` is an object.
    pub(super) fn root(text: &'a str) -> Option<Self> {
        Self::at(text, String::new())
    }

    fn at(text: &'a str, path: String) -> Option<Self> {
        let known = |tag: Tag| !tag::is_private(tag) && tag::keyword(tag).is_some();
        let elements = members(text)
            .map_while(Result::ok)
            .filter(|(tag, _)| known(*tag));
        text.starts_with('{').then(|| Self {
            text,
            elements: elements.collect(),
            path,
        })
    }

    fn element(&self, tag: Tag) -> Option<JsonElement<'a>> {
        let mut elements = self.elements.iter();
        elements.find_map(|(found, element)| (*found == tag).then_some(*element))
    }

    /// The path of an attribute in the instance.
    fn place(&self, tag: Tag) -> String {
        format!("{}{}", self.path, tag::hex(tag))
    }

    /// The values of an attribute, none if absent.
    fn values(&self, tag: Tag) -> Values<'a> {
        self.element(tag)
            .unwrap_or_else(|| JsonElement::new(""))
            .values()
    }

    /// Whether the attribute is there, empty or not.
    pub(super) fn has(&self, tag: Tag) -> bool {
        self.element(tag).is_some()
    }

    /// The numbers of an attribute, whether written as numbers or strings.
    pub(super) fn floats(&self, tag: Tag) -> Vec<f64> {
        let values = self.values(tag).take(MAX_NUMBERS);
        values.filter_map(members::number).collect()
    }

    /// The first number of an attribute.
    pub(super) fn float(&self, tag: Tag) -> Option<f64> {
        self.values(tag).next().and_then(members::number)
    }

    /// The integers of an attribute.
    pub(super) fn integers(&self, tag: Tag) -> Vec<i64> {
        let values = self.values(tag).take(MAX_NUMBERS);
        values.filter_map(members::integer).collect()
    }

    /// The first integer of an attribute.
    pub(super) fn integer(&self, tag: Tag) -> Option<i64> {
        self.values(tag).next().and_then(members::integer)
    }

    /// The first string of an attribute; the alphabetic group of a name.
    pub(super) fn text(&self, tag: Tag) -> Option<Cow<'a, str>> {
        self.texts(tag).next()
    }

    /// Whether the first string of an attribute is this one.
    pub(super) fn is(&self, tag: Tag, text: &str) -> bool {
        self.text(tag).is_some_and(|found| found == text)
    }

    /// The strings of an attribute.
    pub(super) fn texts(&self, tag: Tag) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        self.values(tag).filter_map(members::string)
    }

    /// The items of a sequence.
    pub(super) fn items(&self, tag: Tag) -> impl Iterator<Item = Self> + use<'a> {
        let prefix = self.place(tag);
        let items = self.values(tag).enumerate();
        items.filter_map(move |(index, item)| Self::at(item, format!("{prefix}/{index}/")))
    }

    /// Item `index` of a sequence, counted from 0.
    pub(super) fn item(&self, tag: Tag, index: usize) -> Option<Self> {
        let item = self.values(tag).nth(index)?;
        Self::at(item, format!("{}/{index}/", self.place(tag)))
    }

    /// The bytes of an inline or bulk value.
    pub(super) fn bytes(&self, tag: Tag, bulk: Bulk<'_>) -> Option<Vec<u8>> {
        let element = self.element(tag)?;
        if let Some(text) = element.inline_binary() {
            let short = text.len() <= MAX_VALUE;
            return if short {
                STANDARD.decode(text).ok()
            } else {
                None
            };
        }
        element.bulk_data_uri()?;
        bulk(&self.place(tag)).filter(|bytes| bytes.len() <= MAX_VALUE)
    }

    /// The entries of a lookup table, whichever way they are written.
    pub(super) fn lut_data(&self, tag: Tag, bulk: Bulk<'_>) -> Option<LutData> {
        let mut numbers = self.values(tag).take(MAX_NUMBERS).peekable();
        if numbers.peek().is_none() {
            return self.bytes(tag, bulk).map(LutData::Bytes);
        }
        let words = numbers.map(|value| {
            let value = members::integer(value).unwrap_or(0).rem_euclid(65_536);
            u16::try_from(value).unwrap_or(0)
        });
        Some(LutData::Words(words.collect()))
    }

    /// Every attribute, also those that are in no dictionary.
    pub(super) fn members(&self) -> Members<'a> {
        members(self.text)
    }
}
