//! The Native DICOM Model in XML (PS3.19 §A.1), read into DICOM JSON.
//!
//! Invariant: iterative; the depth is bounded by [`DEPTH`]; no entity but the predefined ones is resolved.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value};

use super::ComposeError;
use crate::dicom::limits;

/// Most elements open at a time: the model, attribute and item of each sequence, what is in the last one.
const DEPTH: usize = 2 * limits::DEPTH + 8;

/// What is being read, innermost last.
enum Open {
    /// `NativeDicomModel` or `Item`.
    DataSet(Map<String, Value>),
    /// `DicomAttribute`: its name, its VR and what it holds.
    Attribute(String, String, Content),
    /// A `PersonName`.
    Name(Map<String, Value>),
    /// One of the groups of a name.
    Group(&'static str, [String; 5]),
    /// A component of a group: `FamilyName` and so on.
    Component(usize, String),
    /// `Value` or `InlineBinary`.
    Text(String),
    /// Something else; skipped.
    Other,
}

enum Content {
    Values(Vec<Value>),
    Inline(String),
    Bulk(String),
}

const GROUPS: [&str; 3] = ["Alphabetic", "Ideographic", "Phonetic"];
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
    let mut reader = Reader::from_reader(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Open> = Vec::new();
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
                    (Open::DataSet(model), None) => return Ok(model),
                    (_, None) => return Err(broken("it is no NativeDicomModel")),
                    (ended, Some(parent)) => end(ended, parent),
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

fn begin(start: &BytesStart<'_>, open: &mut [Open]) -> Result<Open, ComposeError> {
    let local = start.local_name();
    let name = std::str::from_utf8(local.as_ref()).map_err(broken)?;
    let known = |names: &[&'static str]| names.iter().find(|n| **n == name).copied();
    let begun = match (open.last_mut(), name) {
        (None, "NativeDicomModel") => Open::DataSet(Map::new()),
        (None, _) => return Err(broken("its root is not NativeDicomModel")),
        (Some(Open::DataSet(_)), "DicomAttribute") => {
            let tag = attribute(start, "tag")?.ok_or_else(|| broken("an attribute has no tag"))?;
            let vr = attribute(start, "vr")?.unwrap_or_default();
            Open::Attribute(tag.to_ascii_uppercase(), vr, Content::Values(Vec::new()))
        }
        (Some(Open::Attribute(..)), "Item") => Open::DataSet(Map::new()),
        (Some(Open::Attribute(..)), "PersonName") => Open::Name(Map::new()),
        (Some(Open::Attribute(..)), "Value") => Open::Text(String::new()),
        (Some(Open::Attribute(_, _, content)), "InlineBinary") => {
            *content = Content::Inline(String::new());
            Open::Text(String::new())
        }
        (Some(Open::Attribute(_, _, content)), "BulkData") => {
            let uri = attribute(start, "uri")?.or(attribute(start, "uuid")?);
            *content = Content::Bulk(uri.unwrap_or_default());
            Open::Other
        }
        (Some(Open::Name(_)), _) => {
            known(&GROUPS).map_or(Open::Other, |group| Open::Group(group, Default::default()))
        }
        (Some(Open::Group(..)), _) => {
            let at = COMPONENTS.iter().position(|component| *component == name);
            at.map_or(Open::Other, |at| Open::Component(at, String::new()))
        }
        (Some(_), _) => Open::Other,
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
fn add(open: &mut [Open], text: &str) {
    if let Some(Open::Text(value) | Open::Component(_, value)) = open.last_mut() {
        value.push_str(text);
    }
}

/// Puts what has ended into what it lies in.
fn end(ended: Open, parent: &mut Open) {
    match (ended, parent) {
        (Open::DataSet(item), Open::Attribute(_, _, Content::Values(values))) => {
            values.push(Value::Object(item));
        }
        (Open::Name(name), Open::Attribute(_, _, Content::Values(values))) => {
            values.push(Value::Object(name));
        }
        (Open::Text(text), Open::Attribute(_, _, Content::Values(values))) => {
            values.push(value_of(text));
        }
        (Open::Text(text), Open::Attribute(_, _, Content::Inline(inline))) => {
            *inline = text.split_ascii_whitespace().collect();
        }
        (Open::Attribute(tag, vr, content), Open::DataSet(data_set)) => {
            let mut element = Map::from_iter([("vr".to_owned(), Value::String(vr))]);
            match content {
                Content::Values(values) if values.is_empty() => None,
                Content::Values(values) => element.insert("Value".to_owned(), values.into()),
                Content::Inline(text) => element.insert("InlineBinary".to_owned(), text.into()),
                Content::Bulk(uri) => element.insert("BulkDataURI".to_owned(), uri.into()),
            };
            data_set.insert(tag, Value::Object(element));
        }
        (Open::Group(group, components), Open::Name(name)) => {
            let joined = components.join("^");
            let group_text = joined.trim_end_matches('^').to_owned();
            name.insert(group.to_owned(), Value::String(group_text));
        }
        (Open::Component(at, text), Open::Group(_, components)) => {
            if let Some(component) = components.get_mut(at) {
                *component = text;
            }
        }
        _ => {}
    }
}

/// An empty `Value` is an empty value.
fn value_of(text: String) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        Value::String(text)
    }
}
