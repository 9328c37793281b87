//! The Native DICOM Model in XML (PS3.19 §A.1), read into DICOM JSON.
//!
//! Invariant: iterative; the depth is bounded by [`DEPTH`]; no entity but the predefined ones is resolved.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value};

use super::error::ComposeError;
use super::value::GROUPS;
use crate::dicom::limits;

/// Most elements open at a time: the model, attribute and item of each sequence, what is in the last one.
const DEPTH: usize = 2 * limits::DEPTH + 8;

/// What is being read, innermost last.
enum OpenNode {
    /// `NativeDicomModel` or `Item` with its place.
    DataSet(ValueNumber, Map<String, Value>),
    /// `DicomAttribute`: its name, its VR and what it holds.
    Attribute(String, String, NativeContent),
    /// A `PersonName` and its place.
    Name(ValueNumber, Map<String, Value>),
    /// One of the groups of a name.
    Group(&'static str, [String; 5]),
    /// A component of a group: `FamilyName` and so on.
    Component(usize, String),
    /// `Value` with its place, or `InlineBinary`.
    Text(ValueNumber, String),
    /// Something else; skipped.
    Other,
}

/// The place of a value among those of its attribute, from 1; none for the next one (PS3.19 §A.1.6).
type ValueNumber = Option<usize>;

/// Highest number of a value that is told from a damaged one.
const MOST_VALUES: usize = 65_536;

enum NativeContent {
    Values(Vec<Value>),
    Inline(String),
    Bulk(String),
}

const COMPONENTS: [&str; 5] = [
    "FamilyName",
    "GivenName",
    "MiddleName",
    "NamePrefix",
    "NameSuffix",
];

fn broken(reason: impl std::fmt::Display) -> ComposeError {
    ComposeError::NotADataSet(format!("the XML cannot be read: {reason}"))
}

/// Reads one `NativeDicomModel`.
///
/// # Errors
/// [`ComposeError::NotADataSet`] when it is not well formed, or is another document.
pub(super) fn read(text: &[u8]) -> Result<Map<String, Value>, ComposeError> {
    let text = decoded(text)?;
    let mut reader = Reader::from_reader(text.as_bytes());
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<OpenNode> = Vec::new();
    loop {
        match reader.read_event().map_err(broken)? {
            // Empty elements come as a start and an end.
            Event::Start(start) | Event::Empty(start) => {
                if open.len() >= DEPTH {
                    return Err(broken("it is nested too deeply"));
                }
                let begun = begin(&start, &mut open)?;
                open.push(begun);
            }
            Event::End(_) => {
                let Some(ended) = open.pop() else {
                    return Err(broken("an element ends that did not begin"));
                };
                match (ended, open.last_mut()) {
                    (OpenNode::DataSet(_, model), None) => return Ok(model),
                    (_, None) => return Err(broken("it is no NativeDicomModel")),
                    (ended, Some(parent)) => end(ended, parent)?,
                }
            }
            Event::Text(text) => add(&mut open, &text.xml10_content().map_err(broken)?),
            Event::CData(text) => add(&mut open, &text.xml10_content().map_err(broken)?),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(broken)?;
                let name = reference.decode().map_err(broken)?;
                let resolved = match (character, &*name) {
                    (Some(character), _) => character,
                    (None, "lt") => '<',
                    (None, "gt") => '>',
                    (None, "amp") => '&',
                    (None, "apos") => '\'',
                    (None, "quot") => '"',
                    (None, _) => return Err(broken("it refers to an entity")),
                };
                add(&mut open, resolved.encode_utf8(&mut [0; 4]));
            }
            Event::Eof => return Err(broken("it ends too early")),
            Event::DocType(_) => return Err(broken("a document type is not allowed")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

fn begin(start: &BytesStart<'_>, open: &mut [OpenNode]) -> Result<OpenNode, ComposeError> {
    let local = start.local_name();
    let name = std::str::from_utf8(local.as_ref()).map_err(broken)?;
    let known = |names: &[&'static str]| names.iter().find(|n| **n == name).copied();
    let place = place(start)?;
    let begun = match (open.last_mut(), name) {
        (None, "NativeDicomModel") => OpenNode::DataSet(None, Map::new()),
        (None, _) => return Err(broken("its root is not NativeDicomModel")),
        (Some(OpenNode::DataSet(..)), "DicomAttribute") => {
            let tag = attribute(start, "tag")?.ok_or_else(|| broken("an attribute has no tag"))?;
            let vr = attribute(start, "vr")?.unwrap_or_default();
            OpenNode::Attribute(
                tag.to_ascii_uppercase(),
                vr,
                NativeContent::Values(Vec::new()),
            )
        }
        (Some(OpenNode::Attribute(..)), "Item") => OpenNode::DataSet(place, Map::new()),
        (Some(OpenNode::Attribute(..)), "PersonName") => OpenNode::Name(place, Map::new()),
        (Some(OpenNode::Attribute(..)), "Value") => OpenNode::Text(place, String::new()),
        (Some(OpenNode::Attribute(_, _, content)), "InlineBinary") => {
            *content = NativeContent::Inline(String::new());
            OpenNode::Text(None, String::new())
        }
        (Some(OpenNode::Attribute(_, _, content)), "BulkData") => {
            let uri = attribute(start, "uri")?.or(attribute(start, "uuid")?);
            *content = NativeContent::Bulk(uri.unwrap_or_default());
            OpenNode::Other
        }
        (Some(OpenNode::Name(..)), _) => known(&GROUPS).map_or(OpenNode::Other, |group| {
            OpenNode::Group(group, Default::default())
        }),
        (Some(OpenNode::Group(..)), _) => {
            let at = COMPONENTS.iter().position(|component| *component == name);
            at.map_or(OpenNode::Other, |at| OpenNode::Component(at, String::new()))
        }
        (Some(_), _) => OpenNode::Other,
    };
    Ok(begun)
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, ComposeError> {
    let Some(found) = start.try_get_attribute(name).map_err(broken)? else {
        return Ok(None);
    };
    let value = found
        .normalized_value(XmlVersion::Implicit1_0)
        .map_err(broken)?;
    Ok(Some(value.into_owned()))
}

/// Adds text to what is read; blanks between elements belong to nothing.
fn add(open: &mut [OpenNode], text: &str) {
    if let Some(OpenNode::Text(_, value) | OpenNode::Component(_, value)) = open.last_mut() {
        value.push_str(text);
    }
}

/// Puts what has ended into what it lies in.
fn end(ended: OpenNode, parent: &mut OpenNode) -> Result<(), ComposeError> {
    match (ended, parent) {
        (
            OpenNode::DataSet(place, item),
            OpenNode::Attribute(_, _, NativeContent::Values(values)),
        ) => {
            put(values, place, Value::Object(item))?;
        }
        (OpenNode::Name(place, name), OpenNode::Attribute(_, _, NativeContent::Values(values))) => {
            put(values, place, Value::Object(name))?;
        }
        (OpenNode::Text(place, text), OpenNode::Attribute(_, _, NativeContent::Values(values))) => {
            put(values, place, value_of(text))?;
        }
        (OpenNode::Text(_, text), OpenNode::Attribute(_, _, NativeContent::Inline(inline))) => {
            *inline = text.split_ascii_whitespace().collect();
        }
        (OpenNode::Attribute(tag, vr, content), OpenNode::DataSet(_, data_set)) => {
            let mut element = Map::from_iter([("vr".to_owned(), Value::String(vr))]);
            match content {
                NativeContent::Values(values) if values.is_empty() => None,
                NativeContent::Values(values) => element.insert("Value".to_owned(), values.into()),
                NativeContent::Inline(text) => {
                    element.insert("InlineBinary".to_owned(), text.into())
                }
                NativeContent::Bulk(uri) => element.insert("BulkDataURI".to_owned(), uri.into()),
            };
            data_set.insert(tag, Value::Object(element));
        }
        (OpenNode::Group(group, components), OpenNode::Name(_, name)) => {
            let joined = components.join("^");
            let group_text = joined.trim_end_matches('^').to_owned();
            name.insert(group.to_owned(), Value::String(group_text));
        }
        (OpenNode::Component(at, text), OpenNode::Group(_, components)) => {
            // `^` parts the components: within one it would move the rest to the next.
            if text.contains('^') {
                return Err(broken("a component of a person name contains ^"));
            }
            if let Some(component) = components.get_mut(at) {
                *component = text;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Puts a value in its place; those before it that are not there are empty.
fn put(values: &mut Vec<Value>, place: ValueNumber, value: Value) -> Result<(), ComposeError> {
    let Some(number) = place else {
        values.push(value);
        return Ok(());
    };
    if !(1..=MOST_VALUES.max(values.len() + 1)).contains(&number) {
        return Err(broken(format_args!(
            "the number of a value is not between 1 and {MOST_VALUES}"
        )));
    }
    if values.len() < number {
        values.resize(number, Value::Null);
    }
    match values.get_mut(number - 1) {
        Some(there) if there.is_null() => *there = value,
        _ => return Err(broken("two values of an attribute have one number")),
    }
    Ok(())
}

/// The attribute `number` of a value, an item or a name.
fn place(start: &BytesStart<'_>) -> Result<ValueNumber, ComposeError> {
    let Some(text) = attribute(start, "number")? else {
        return Ok(None);
    };
    let number = text.trim().parse().map_err(broken)?;
    Ok(Some(number))
}

/// The text of a document in the encoding it declares: by its byte order mark, else by its declaration, else UTF-8.
fn decoded(document: &[u8]) -> Result<Cow<'_, str>, ComposeError> {
    let encoding = match document {
        [0xFE, 0xFF, ..] | [0, b'<', ..] => UTF_16BE,
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => UTF_16LE,
        _ => match declared(document) {
            Some(label) => Encoding::for_label(label)
                .ok_or_else(|| broken("it is in an encoding that is not known"))?,
            None => UTF_8,
        },
    };
    // A declaration that could be read byte by byte is not in words.
    let encoding = if encoding == UTF_16LE || encoding == UTF_16BE {
        match document {
            [0xFE | 0xFF | 0, ..] | [_, 0, ..] => encoding,
            _ => UTF_8,
        }
    } else {
        encoding
    };
    let (text, _, damaged) = encoding.decode(document);
    if damaged {
        return Err(broken("it is not in the encoding it declares"));
    }
    Ok(text)
}

/// The encoding that the XML declaration names.
fn declared(document: &[u8]) -> Option<&[u8]> {
    let start = document
        .strip_prefix(&[0xEF, 0xBB, 0xBF])
        .unwrap_or(document);
    let head = start.get(..start.len().min(256))?;
    let end = head.windows(2).position(|pair| pair == b"?>")?;
    let head = head.strip_prefix(b"<?xml")?.get(..end.checked_sub(5)?)?;
    let at = head.windows(8).position(|word| word == b"encoding")?;
    let rest = head.get(at + 8..)?;
    let quote = rest.iter().position(|byte| matches!(byte, b'"' | b'\''))?;
    let rest = rest.get(quote + 1..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\''))?;
    rest.get(..end)
}

/// An empty `Value` is an empty value.
fn value_of(text: String) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        Value::String(text)
    }
}
