//! Part 10 files from DICOM JSON and the bulk data sent beside it (PS3.18 §10.5.2, Annex F).
//!
//! Invariants: iterative; bulk data is referred to and never loaded; the file is Explicit VR Little Endian in UTF-8, or encapsulated
//! in the transfer syntax of the pixel data's parts. What was composed is stored only when the parser accepts it like any other file.

use dicom_core::{Tag, VR};
use serde::Deserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::codec::Coding;
use super::explicit_vr::{self, padding};
use super::header::{ITEM, ITEM_END, SEQUENCE_END, UNDEFINED};
use super::picture::PictureInfo;
use super::rewrite::named_group;
use super::tag;
use super::validate::ValueProblem;
use crate::dicom::codec::transfer_syntax;

mod native;
mod parts;
mod pixels;
mod sniff;
mod value;

pub use parts::{BulkPart, BulkParts};
pub use pixels::{HEAD, PartContent};

const CHARACTER_SET: Tag = Tag(0x0008, 0x0005);
const SOP_CLASS: Tag = Tag(0x0008, 0x0016);
const SOP_INSTANCE: Tag = Tag(0x0008, 0x0018);
const AVAILABLE_TRANSFER_SYNTAX: Tag = Tag(0x0008, 0x3002);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
/// Longest value of an element with a 32-bit length.
const LONGEST: u64 = 0xFFFF_FFFE;

/// Why no file can be made of the metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// The metadata is not an object of attributes.
    #[error("the metadata cannot be read as a data set: {0}")]
    NotADataSet(String),
    /// One of the two UIDs that name an instance is missing.
    #[error("the metadata has no {}", tag::keyword(*.0).unwrap_or("UID"))]
    Missing(Tag),
    /// An attribute cannot be encoded.
    #[error("the attribute {path} {problem}")]
    Attribute {
        /// Hex digits, one step for each sequence it lies in.
        path: String,
        /// Continues the sentence.
        problem: ComposeProblem,
    },
}

/// What is wrong with one attribute; continues "the attribute …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComposeProblem {
    /// The key is not eight hexadecimal digits.
    #[error("is not named by eight hexadecimal digits")]
    Name,
    /// There is no `vr` of two letters that the standard has.
    #[error("has no vr that DICOM knows")]
    Vr,
    /// The `vr` is two letters that are none of the standard's.
    #[error("has the vr '{}{}', which DICOM does not have", char::from(.0[0]), char::from(.0[1]))]
    UnknownVr([u8; 2]),
    /// A value has the wrong JSON type for its VR.
    #[error("has a value that its vr cannot hold")]
    Value,
    /// A value breaks a rule of its VR.
    #[error("cannot be written: {0}")]
    Rule(ValueProblem),
    /// `InlineBinary` is not base64.
    #[error("has an InlineBinary that is not base64")]
    Base64,
    /// No part has the Content-Location of the `BulkDataURI`.
    #[error("has a BulkDataURI that is the Content-Location of no part of this request")]
    NoPart,
    /// Compressed data for an attribute that is not the pixel data.
    #[error("cannot be sent in a transfer syntax of compressed pixel data")]
    NotPixels,
    /// The pixel data is not what something says it is.
    #[error("{0}")]
    Pixels(&'static str),
    /// All values together are made of more parts than that.
    #[error("is the one too many that is made of several parts: send fewer and larger ones")]
    TooManyPieces,
    /// The value is longer than an element can be.
    #[error("has a value of 4 GiB or more")]
    TooLong,
}

/// The bytes of the values of a text VR, in UTF-8 and not padded.
///
/// # Errors
/// When a value is none that the VR has.
pub fn text_value(vr: VR, values: &[Value]) -> Result<Vec<u8>, ComposeProblem> {
    value::encode(vr, values)
}

/// Most pieces of one file: elements times the parts that each is made of.
const PIECES: usize = 200_000;
/// Longest metadata of one instance, in bytes.
pub const LONGEST_METADATA: usize = 16 << 20;

/// The metadata of one instance as it was sent.
#[derive(Debug)]
pub enum SentMetadata {
    /// A DICOM JSON object.
    Json(Box<RawValue>),
    /// A Native DICOM Model.
    Xml(Vec<u8>),
}

impl SentMetadata {
    /// Takes a DICOM JSON array of `most` data sets at most apart; a lone object is an array of one.
    ///
    /// # Errors
    /// [`ComposeError::NotADataSet`] when it is neither, or longer.
    pub fn split(text: &[u8], most: u64) -> Result<Vec<Self>, ComposeError> {
        let broken = |error: serde_json::Error| ComposeError::NotADataSet(error.to_string());
        let one = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let objects: Vec<Box<RawValue>> = if one {
            vec![serde_json::from_slice(text).map_err(broken)?]
        } else {
            let mut reader = serde_json::Deserializer::from_slice(text);
            let objects = reader.deserialize_seq(BoundedArray(most)).map_err(broken)?;
            reader.end().map_err(broken)?;
            objects
        };
        Ok(objects.into_iter().map(Self::Json).collect())
    }

    /// Bytes of memory that the data set and the file that is made of it may take, by what stands in the text: a member of an
    /// object costs more than it says.
    #[must_use]
    pub fn weight(&self) -> usize {
        const OBJECT: usize = 800;
        const LIST: usize = 100;
        const VALUE: usize = 140;
        let (text, sum) = match self {
            Self::Json(text) => {
                let text = text.get().as_bytes();
                let (mut sum, mut quoted, mut escaped) = (0_usize, false, false);
                for byte in text {
                    sum = sum.saturating_add(match byte {
                        _ if escaped => {
                            escaped = false;
                            0
                        }
                        b'\\' if quoted => {
                            escaped = true;
                            0
                        }
                        b'"' => {
                            quoted = !quoted;
                            // Half of what a text takes beside its bytes.
                            16
                        }
                        b'{' if !quoted => OBJECT,
                        b'[' if !quoted => LIST,
                        b',' if !quoted => VALUE,
                        _ => 0,
                    });
                }
                (text, sum)
            }
            Self::Xml(text) => {
                let mut sum = 0_usize;
                for at in memchr::memchr_iter(b'<', text) {
                    let name = text.get(at.saturating_add(1)..).unwrap_or_default();
                    sum = sum.saturating_add(match name {
                        [b'/', ..] => 0,
                        [b'V', b'a', b'l', b'u', b'e', b' ' | b'>', ..] => VALUE,
                        _ => OBJECT + VALUE,
                    });
                }
                (text.as_slice(), sum)
            }
        };
        sum.saturating_add(text.len().saturating_mul(3))
    }

    /// The data set; JSON is nested 127 deep at most.
    ///
    /// # Errors
    /// [`ComposeError::NotADataSet`] for another document or one longer than [`LONGEST_METADATA`].
    pub fn read(&self) -> Result<Map<String, Value>, ComposeError> {
        let length = match self {
            Self::Json(text) => text.get().len(),
            Self::Xml(text) => text.len(),
        };
        if length > LONGEST_METADATA {
            let reason = format!(
                "it has more than {LONGEST_METADATA} bytes; send large values as bulk data"
            );
            return Err(ComposeError::NotADataSet(reason));
        }
        match self {
            Self::Json(text) => serde_json::from_str(text.get())
                .map_err(|error| ComposeError::NotADataSet(error.to_string())),
            Self::Xml(text) => native::read(text),
        }
    }
}

/// Reads an array until it is too long: each element takes more memory than it may take in the text.
struct BoundedArray(u64);

impl<'de> Visitor<'de> for BoundedArray {
    type Value = Vec<Box<RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an array of {} data sets at most", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        while let Some(object) = elements.next_element()? {
            if objects.len() as u64 >= self.0 {
                return Err(A::Error::invalid_length(objects.len() + 1, &self));
            }
            objects.push(object);
        }
        Ok(objects)
    }
}

/// A piece of the file, to be written in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePiece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// All bytes of the bulk data part with this number.
    Bulk(usize),
    /// Some bytes of a part.
    Part {
        /// Its number.
        number: usize,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The pixels of the picture in a part.
    Picture(usize, PictureInfo),
}

/// What is still to be written, innermost last.
enum ComposeStep<'a> {
    /// Elements of a data set in the order of their tags.
    Elements(std::vec::IntoIter<(Tag, &'a Value)>),
    /// Items of a sequence.
    Items(std::slice::Iter<'a, Value>),
    /// The end of an item.
    ItemEnd,
}

/// Plans the Part 10 file of one data set.
///
/// Attributes of group 0002, group lengths and (0008,3002) are left out; (0008,0005) says `ISO_IR 192`.
///
/// # Errors
/// [`ComposeError`], with the path of the attribute that cannot be encoded.
pub fn compose(
    data_set: &Map<String, Value>,
    bulk: &BulkParts,
) -> Result<Vec<FilePiece>, ComposeError> {
    let class = uid(data_set, SOP_CLASS)?;
    let instance = uid(data_set, SOP_INSTANCE)?;
    let mut derived = match bulk.lone() {
        Some(part) => pixels::lone(data_set, part)?,
        None => Vec::new(),
    };
    let element = data_set.get(&tag::hex(PIXEL_DATA)).or_else(|| {
        let lone = derived.iter().find(|(tag, _)| *tag == PIXEL_DATA);
        lone.map(|(_, element)| element)
    });
    let uri = element.and_then(|element| element.get("BulkDataURI")?.as_str());
    let parts: Vec<&BulkPart> = uri
        .map_or(&[][..], |uri| bulk.find(uri))
        .iter()
        .filter_map(|number| bulk.part(*number))
        .collect();
    let mut pixels = pixels::validated(data_set, &parts)?;
    derived.append(&mut pixels.derived);
    let syntax = pixels
        .coding
        .map_or(transfer_syntax::EXPLICIT_LE, Coding::uid);
    let meta = named_group(&class, &instance, syntax)
        .map_err(|error| ComposeError::NotADataSet(error.to_string()))?;
    let mut composer = Composer {
        bulk,
        encapsulated: pixels.coding.is_some(),
        pictures: pixels.pictures,
        derived: &derived,
        pieces: Vec::new(),
        bytes: meta,
        path: Vec::new(),
    };
    composer.run(data_set)?;
    composer.cut();
    Ok(composer.pieces)
}

/// The UIDs of an instance as far as the metadata names them: SOP class and SOP instance, for the report.
#[must_use]
pub fn named(data_set: &Map<String, Value>) -> (Option<String>, Option<String>) {
    (
        uid(data_set, SOP_CLASS).ok(),
        uid(data_set, SOP_INSTANCE).ok(),
    )
}

fn uid(data_set: &Map<String, Value>, wanted: Tag) -> Result<String, ComposeError> {
    data_set
        .get(&tag::hex(wanted))
        .and_then(|element| element.get("Value")?.get(0)?.as_str())
        .filter(|uid| !uid.is_empty())
        .map(str::to_owned)
        .ok_or(ComposeError::Missing(wanted))
}

struct Composer<'a> {
    bulk: &'a BulkParts,
    encapsulated: bool,
    /// The pixel data is decoded when it is written.
    pictures: bool,
    /// Elements that the metadata leaves out.
    derived: &'a [(Tag, Value)],
    pieces: Vec<FilePiece>,
    bytes: Vec<u8>,
    /// The element at hand below those of the sequences it lies in.
    path: Vec<Tag>,
}

impl<'a> Composer<'a> {
    fn run(&mut self, data_set: &'a Map<String, Value>) -> Result<(), ComposeError> {
        let mut steps = vec![ComposeStep::Elements(self.sorted(data_set, true)?)];
        while let Some(step) = steps.pop() {
            match step {
                ComposeStep::Elements(mut rest) => {
                    let Some((tag, element)) = rest.next() else {
                        continue;
                    };
                    steps.push(ComposeStep::Elements(rest));
                    self.path.push(tag);
                    if let Some(items) = self.element(tag, element)? {
                        steps.push(ComposeStep::Items(items));
                    } else {
                        self.path.pop();
                    }
                }
                ComposeStep::Items(mut rest) => {
                    let Some(item) = rest.next() else {
                        self.delimiter(SEQUENCE_END, 0);
                        self.path.pop();
                        continue;
                    };
                    steps.push(ComposeStep::Items(rest));
                    self.delimiter(ITEM, UNDEFINED);
                    steps.push(ComposeStep::ItemEnd);
                    match item {
                        Value::Object(item) => {
                            steps.push(ComposeStep::Elements(self.sorted(item, false)?));
                        }
                        Value::Null => {}
                        _ => return Err(self.failure(ComposeProblem::Value)),
                    }
                }
                ComposeStep::ItemEnd => self.delimiter(ITEM_END, 0),
            }
        }
        Ok(())
    }

    fn failure(&self, problem: ComposeProblem) -> ComposeError {
        let steps: Vec<String> = self.path.iter().map(|tag| tag::hex(*tag)).collect();
        ComposeError::Attribute {
            path: steps.join("."),
            problem,
        }
    }

    /// The elements of a data set that go into the file, in order.
    fn sorted(
        &self,
        data_set: &'a Map<String, Value>,
        top: bool,
    ) -> Result<std::vec::IntoIter<(Tag, &'a Value)>, ComposeError> {
        let mut elements = Vec::with_capacity(data_set.len());
        for (name, element) in data_set {
            let tag = tag::from_hex(name).ok_or_else(|| ComposeError::Attribute {
                path: name
                    .chars()
                    .take(64)
                    .filter(|c| c.is_ascii_graphic())
                    .collect(),
                problem: ComposeProblem::Name,
            })?;
            let left_out = tag.0 == 0x0002
                || tag.1 == 0
                || tag.0 == 0xFFFE
                || tag == CHARACTER_SET
                || (top && tag == AVAILABLE_TRANSFER_SYNTAX);
            if !left_out {
                elements.push((tag, element));
            }
        }
        if top {
            elements.push((CHARACTER_SET, &UTF8));
            let missing = |tag: Tag| data_set.get(&tag::hex(tag)).is_none_or(pixels::is_empty);
            for (tag, element) in self.derived {
                if missing(*tag) {
                    // An element without a value gives way.
                    elements.retain(|(other, _)| other != tag);
                    elements.push((*tag, element));
                }
            }
        }
        elements.sort_unstable_by_key(|(tag, _)| *tag);
        Ok(elements.into_iter())
    }

    /// Writes an element; the items of a sequence are left to the caller.
    fn element(
        &mut self,
        tag: Tag,
        element: &'a Value,
    ) -> Result<Option<std::slice::Iter<'a, Value>>, ComposeError> {
        let vr = element.get("vr").and_then(Value::as_str);
        let vr: VR = vr.and_then(|vr| vr.parse().ok()).ok_or_else(|| {
            let letters = vr.and_then(|vr| <[u8; 2]>::try_from(vr.as_bytes()).ok());
            let letters = letters.filter(|letters| letters.iter().all(u8::is_ascii_alphanumeric));
            self.failure(letters.map_or(ComposeProblem::Vr, ComposeProblem::UnknownVr))
        })?;
        if let Some(uri) = element.get("BulkDataURI") {
            let uri = uri
                .as_str()
                .ok_or_else(|| self.failure(ComposeProblem::Value))?;
            self.bulk(tag, vr, uri)?;
            return Ok(None);
        }
        let values = match element.get("Value") {
            None | Some(Value::Null) => [].iter(),
            Some(Value::Array(values)) => values.iter(),
            Some(_) => return Err(self.failure(ComposeProblem::Value)),
        };
        if vr == VR::SQ {
            self.header(tag, vr, UNDEFINED);
            return Ok(Some(values));
        }
        let bytes = match element.get("InlineBinary") {
            Some(text) => value::inline(text),
            None => value::encode(vr, values.as_slice()),
        };
        let mut bytes = bytes.map_err(|problem| self.failure(problem))?;
        if bytes.len() % 2 == 1 {
            bytes.push(padding(vr));
        }
        let length = self.checked(bytes.len() as u64)?;
        self.header(tag, vr, length);
        self.bytes.append(&mut bytes);
        Ok(None)
    }

    fn checked(&self, length: u64) -> Result<u32, ComposeError> {
        u32::try_from(length)
            .ok()
            .filter(|length| u64::from(*length) <= LONGEST)
            .ok_or_else(|| self.failure(ComposeProblem::TooLong))
    }

    /// The value is what the parts of this location hold.
    fn bulk(&mut self, tag: Tag, vr: VR, uri: &str) -> Result<(), ComposeError> {
        let bulk = self.bulk;
        let numbers = bulk.find(uri);
        if numbers.is_empty() {
            return Err(self.failure(ComposeProblem::NoPart));
        }
        if self.pieces.len().saturating_add(2 * numbers.len()) > PIECES {
            return Err(self.failure(ComposeProblem::TooManyPieces));
        }
        if tag == PIXEL_DATA {
            if self.path.len() > 1 {
                // Nobody could tell in which transfer syntax it is: that of the file is the main pixel data's.
                let samples = numbers.iter().all(|number| {
                    let part = bulk.part(*number);
                    part.is_some_and(|part| {
                        part.media == transfer_syntax::OCTETS && part.is_native()
                    })
                });
                if !samples {
                    return Err(self.failure(ComposeProblem::NotPixels));
                }
            } else if self.encapsulated {
                return self.fragments(tag, numbers);
            } else if self.pictures {
                return self.pictures(tag, numbers);
            }
        }
        let total = numbers
            .iter()
            .filter_map(|number| bulk.part(*number))
            .fold(0_u64, |sum, part| sum.saturating_add(part.length));
        let length = self.checked(total + total % 2)?;
        self.header(tag, vr, length);
        for number in numbers {
            self.cut();
            self.pieces.push(FilePiece::Bulk(*number));
        }
        if total % 2 == 1 {
            self.bytes.push(padding(vr));
        }
        Ok(())
    }

    /// Ends the piece of bytes at hand.
    fn cut(&mut self) {
        if !self.bytes.is_empty() {
            self.pieces
                .push(FilePiece::Bytes(std::mem::take(&mut self.bytes)));
        }
    }

    fn delimiter(&mut self, tag: Tag, length: u32) {
        explicit_vr::item(&mut self.bytes, tag, length);
    }

    fn header(&mut self, tag: Tag, vr: VR, length: u32) {
        explicit_vr::head(&mut self.bytes, tag, vr, length);
    }
}

/// The value of (0008,0005) in every file made here.
static UTF8: std::sync::LazyLock<Value> =
    std::sync::LazyLock::new(|| serde_json::json!({ "vr": "CS", "Value": ["ISO_IR 192"] }));

#[cfg(test)]
mod pixel_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;
