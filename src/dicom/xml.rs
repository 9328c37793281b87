//! The Native DICOM Model in XML (PS3.19 §A.1), written from DICOM JSON text piece by piece.
//!
//! Invariants: no tree and no recursion; a piece is as long as asked for and a little more, whatever the JSON holds;
//! whatever the JSON holds, the XML is well formed as far as it is written: characters XML cannot carry become U+FFFD.

mod text;

use std::fmt::Write;
use std::ops::Range;

use dicom_core::Tag;
use serde_json::{Map, Value};

use super::json::skip::{next_entry, next_member};
use super::members::{self, Malformed};
use super::merge::is_of_server;
use super::pieces::Pieces;
use super::tag;
use text::{Text, escaped};

/// Longest name of a private creator that is repeated at its attributes, in bytes; LO has 64 characters at most.
const MAX_CREATOR: usize = 1024;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xmlns=\"http://dicom.nema.org/PS3.19/models/NativeDICOM\" xml:space=\"preserve\">";

/// Writes one instance; `base` is put before each `BulkDataURI`.
#[must_use]
pub fn write(object: &Map<String, Value>, base: &str) -> String {
    let text = serde_json::to_string(object).unwrap_or_default();
    let mut writer = XmlWriter::new(text, base);
    let mut out = String::new();
    while let Ok(true) = writer.write(&mut out, usize::MAX) {}
    out
}

/// Writes one instance in pieces.
#[derive(Debug)]
pub struct XmlWriter {
    json: String,
    /// Put before each `BulkDataURI`, escaped, with a slash at its end.
    base: String,
    /// Whether attributes of the outermost object are written that are the server's to tell.
    of_server: bool,
    /// What is still to be written, innermost last.
    steps: Vec<XmlStep>,
}

/// What is still to be written; places are those in the JSON.
#[derive(Debug)]
enum XmlStep {
    /// The beginning of the document.
    Head,
    /// Attributes of a data set, the next one behind `at`.
    Attributes { at: usize, creators: Creators },
    /// Items of a sequence.
    Items { at: usize, number: usize },
    /// Values of an attribute; of a name each has its groups.
    Values {
        at: usize,
        number: usize,
        names: bool,
    },
    /// Component groups of a name.
    Groups { at: usize },
    /// The content of a string.
    Text(Text),
    /// A closing tag.
    Close(&'static str),
}

/// Private creators of one group of a data set: element and name.
#[derive(Debug, Default)]
struct Creators {
    group: u16,
    names: Vec<(u16, Range<usize>)>,
}

impl XmlWriter {
    /// A writer of a DICOM JSON object; `base` is put before each `BulkDataURI`. Attributes of the object itself that are
    /// the server's to tell ([`is_of_server`]) are left out.
    #[must_use]
    pub fn of_stored(json: String, base: &str) -> Self {
        Self {
            of_server: false,
            ..Self::new(json, base)
        }
    }

    /// A writer of a DICOM JSON object that the server made.
    #[must_use]
    pub fn new(json: String, base: &str) -> Self {
        Self {
            of_server: true,
            json,
            base: format!("{}/", escaped(base)),
            steps: vec![XmlStep::Close("</NativeDicomModel>"), XmlStep::Head],
        }
    }

    /// Appends at least `least` bytes, as far as there are so many; false when all was written.
    fn write(&mut self, out: &mut String, least: usize) -> Result<bool, Malformed> {
        let enough = out.len().saturating_add(least);
        while out.len() < enough {
            let Some(step) = self.steps.pop() else {
                return Ok(false);
            };
            self.step(step, out, enough)?;
        }
        Ok(!self.steps.is_empty())
    }

    fn step(&mut self, step: XmlStep, out: &mut String, enough: usize) -> Result<(), Malformed> {
        match step {
            XmlStep::Head => {
                out.push_str(HEAD);
                let start = self.json.find('{').ok_or(Malformed { left: 0 })?;
                self.attributes(start);
            }
            XmlStep::Close(text) => out.push_str(text),
            XmlStep::Attributes { at, creators } => self.attribute(at, creators, out)?,
            XmlStep::Items { at, number } => {
                if let Some(item) = self.entry(at, b']')? {
                    let number = number.saturating_add(1);
                    self.steps.push(XmlStep::Items {
                        at: item.end,
                        number,
                    });
                    let _ = write!(out, "<Item number=\"{number}\">");
                    self.steps.push(XmlStep::Close("</Item>"));
                    if self.json.as_bytes().get(item.start) == Some(&b'{') {
                        self.attributes(item.start);
                    }
                }
            }
            XmlStep::Values { at, number, names } => {
                if let Some(value) = self.entry(at, b']')? {
                    let number = number.saturating_add(1);
                    self.steps.push(XmlStep::Values {
                        at: value.end,
                        number,
                        names,
                    });
                    self.value(value, number, names, out);
                }
            }
            XmlStep::Groups { at } => {
                if let Some((name, value)) = next_member(&self.json, at) {
                    self.steps.push(XmlStep::Groups { at: value.end });
                    self.group(name, value, out);
                }
            }
            XmlStep::Text(mut text) => {
                if text.write(&self.json, out, enough) {
                    self.steps.push(XmlStep::Text(text));
                }
            }
        }
        Ok(())
    }

    fn attributes(&mut self, object: usize) {
        self.steps.push(XmlStep::Attributes {
            at: object.saturating_add(1),
            creators: Creators::default(),
        });
    }

    /// The next entry behind `at`; none where `closing` stands.
    fn entry(&self, at: usize, closing: u8) -> Result<Option<Range<usize>>, Malformed> {
        let entry = next_entry(&self.json, at);
        if entry.is_none() {
            self.closes(at, closing)?;
        }
        Ok(entry)
    }

    fn closes(&self, at: usize, closing: u8) -> Result<(), Malformed> {
        let rest = self.json.as_bytes().get(at..).unwrap_or_default();
        match rest.trim_ascii_start().first() {
            Some(byte) if *byte == closing => Ok(()),
            _ => Err(Malformed { left: rest.len() }),
        }
    }

    fn attribute(
        &mut self,
        at: usize,
        mut creators: Creators,
        out: &mut String,
    ) -> Result<(), Malformed> {
        let Some((name, element)) = next_member(&self.json, at) else {
            return self.closes(at, b'}');
        };
        let fields = ElementFields::of(&self.json, element.start);
        let vr = fields.vr.map_or("UN", |vr| self.text(&vr));
        let name = self.text(&name);
        // Only the end of the document lies below the outermost object.
        let outermost = self.steps.len() == 1;
        if outermost && !self.of_server && tag::from_hex(name).is_some_and(is_of_server) {
            self.steps.push(XmlStep::Attributes {
                at: element.end,
                creators,
            });
            return Ok(());
        }
        let _ = write!(
            out,
            "<DicomAttribute tag=\"{}\" vr=\"{}\"",
            escaped(name),
            escaped(vr)
        );
        if let Ok(tag) = tag::parse(name) {
            if let Some(keyword) = tag::keyword(tag) {
                let _ = write!(out, " keyword=\"{}\"", escaped(keyword));
            }
            if let Some(creator) = creators.of(tag)
                && let Some(creator) = members::string(self.text(&creator))
            {
                let _ = write!(out, " privateCreator=\"{}\"", escaped(&creator));
            }
            if let Some(values) = &fields.values {
                creators.note(tag, next_entry(&self.json, values.start.saturating_add(1)));
            }
        }
        out.push('>');
        let (sequence, names) = (vr == "SQ", vr == "PN");
        self.steps.push(XmlStep::Attributes {
            at: element.end,
            creators,
        });
        self.steps.push(XmlStep::Close("</DicomAttribute>"));
        let inside = |place: &Range<usize>| place.start.saturating_add(1);
        if let Some(uri) = &fields.uri {
            let _ = write!(out, "<BulkData uri=\"{}", self.base);
            self.steps.push(XmlStep::Close("\"/>"));
            self.steps.push(XmlStep::Text(Text::new(uri)));
        } else if let Some(binary) = &fields.binary {
            out.push_str("<InlineBinary>");
            self.steps.push(XmlStep::Close("</InlineBinary>"));
            self.steps.push(XmlStep::Text(Text::new(binary)));
        } else if let Some(values) = &fields.values {
            let (at, number) = (inside(values), 0);
            self.steps.push(if sequence {
                XmlStep::Items { at, number }
            } else {
                XmlStep::Values { at, number, names }
            });
        }
        Ok(())
    }

    fn value(&mut self, value: Range<usize>, number: usize, names: bool, out: &mut String) {
        let element = if names { "PersonName" } else { "Value" };
        match self.json.as_bytes().get(value.start) {
            Some(b'{') if names => {
                let _ = write!(out, "<PersonName number=\"{number}\">");
                self.steps.push(XmlStep::Close("</PersonName>"));
                self.steps.push(XmlStep::Groups {
                    at: value.start.saturating_add(1),
                });
            }
            Some(b'"') => {
                let _ = write!(out, "<Value number=\"{number}\">");
                self.steps.push(XmlStep::Close("</Value>"));
                self.steps.push(XmlStep::Text(Text::new(&value)));
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = self.text(&value);
                let _ = write!(out, "<Value number=\"{number}\">{text}</Value>");
            }
            // An empty value among others keeps its number.
            _ => {
                let _ = write!(out, "<{element} number=\"{number}\"/>");
            }
        }
    }

    fn group(&mut self, name: Range<usize>, value: Range<usize>, out: &mut String) {
        let (open, close) = match self.text(&name) {
            "Alphabetic" => ("<Alphabetic>", "</Alphabetic>"),
            "Ideographic" => ("<Ideographic>", "</Ideographic>"),
            "Phonetic" => ("<Phonetic>", "</Phonetic>"),
            _ => return,
        };
        if self.json.as_bytes().get(value.start) == Some(&b'"') {
            out.push_str(open);
            self.steps.push(XmlStep::Close(close));
            self.steps.push(XmlStep::Text(Text::components(&value)));
        }
    }

    fn text(&self, place: &Range<usize>) -> &str {
        self.json.get(place.clone()).unwrap_or_default()
    }
}

impl Pieces for XmlWriter {
    fn next(&mut self, least: usize) -> Result<Option<Vec<u8>>, Malformed> {
        if self.steps.is_empty() {
            return Ok(None);
        }
        let mut out = String::new();
        self.write(&mut out, least)?;
        Ok(Some(out.into_bytes()))
    }
}

impl Creators {
    fn note(&mut self, tag: Tag, name: Option<Range<usize>>) {
        if !tag::is_creator(tag) {
            return;
        }
        if self.group != tag.0 {
            self.group = tag.0;
            self.names.clear();
        }
        if let Some(name) = name.filter(|name| name.len() <= MAX_CREATOR) {
            self.names.push((tag.1, name));
        }
    }

    fn of(&self, tag: Tag) -> Option<Range<usize>> {
        let creator = tag::creator_of(tag).filter(|creator| creator.0 == self.group)?;
        // Tags ascend, so the elements do.
        let at = self
            .names
            .binary_search_by_key(&creator.1, |(element, _)| *element);
        at.ok()
            .and_then(|at| self.names.get(at))
            .map(|(_, name)| name.clone())
    }
}

/// Where the parts of an element stand: strings with their quotes, a list with its brackets.
#[derive(Debug, Default)]
struct ElementFields {
    /// Without quotes.
    vr: Option<Range<usize>>,
    values: Option<Range<usize>>,
    binary: Option<Range<usize>>,
    uri: Option<Range<usize>>,
}

impl ElementFields {
    fn of(json: &str, element: usize) -> Self {
        let mut fields = Self::default();
        let mut at = element.saturating_add(1);
        while let Some((name, value)) = next_member(json, at) {
            at = value.end;
            let first = json.as_bytes().get(value.start);
            match (json.get(name), first) {
                (Some("vr"), Some(b'"')) => {
                    fields.vr = Some(value.start.saturating_add(1)..value.end.saturating_sub(1));
                }
                (Some("Value"), Some(b'[')) => fields.values = Some(value),
                (Some("InlineBinary"), Some(b'"')) => fields.binary = Some(value),
                (Some("BulkDataURI"), Some(b'"')) => fields.uri = Some(value),
                _ => {}
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn xml(value: &Value) -> String {
        let whole = write(value.as_object().unwrap(), "http://h/i");
        // However it is cut, it is the same.
        let mut writer = XmlWriter::new(value.to_string(), "http://h/i");
        let mut pieces = Vec::new();
        while let Some(piece) = writer.next(1).unwrap() {
            pieces.extend(piece);
        }
        assert_eq!(String::from_utf8(pieces).unwrap(), whole);
        whole
    }

    #[test]
    fn every_kind_of_value_has_its_element() {
        let text = xml(&json!({
            "00080005": { "vr": "CS", "Value": ["ISO_IR 192"] },
            "00090010": { "vr": "LO", "Value": ["MAKER & CO"] },
            "00091001": { "vr": "LO", "Value": ["a\"\u{e9}\u{1F600}"] },
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "A&B^C", "Ideographic": "山田^太郎" }, null, {}] },
            "00201208": { "vr": "IS", "Value": [3, null] },
            "00400275": { "vr": "SQ", "Value": [{ "00400009": { "vr": "SH", "Value": ["x"] } }, {}] },
            "00280010": { "vr": "US" },
            "00281201": { "vr": "OW", "InlineBinary": "AAA=" },
            "7FE00010": { "vr": "OW", "BulkDataURI": "bulkdata/7FE00010" },
        }));
        for part in [
            "<DicomAttribute tag=\"00080005\" vr=\"CS\" keyword=\"SpecificCharacterSet\"><Value number=\"1\">ISO_IR 192</Value></DicomAttribute>",
            "<DicomAttribute tag=\"00091001\" vr=\"LO\" privateCreator=\"MAKER &amp; CO\"><Value number=\"1\">a&quot;é😀</Value>",
            "<PersonName number=\"1\"><Alphabetic><FamilyName>A&amp;B</FamilyName><GivenName>C</GivenName></Alphabetic><Ideographic><FamilyName>山田</FamilyName>",
            "</PersonName><PersonName number=\"2\"/><PersonName number=\"3\"></PersonName>",
            "<Value number=\"1\">3</Value><Value number=\"2\"/>",
            "<Item number=\"1\"><DicomAttribute tag=\"00400009\"",
            "<Item number=\"2\"></Item>",
            "keyword=\"Rows\"></DicomAttribute>",
            "<InlineBinary>AAA=</InlineBinary>",
            "<BulkData uri=\"http://h/i/bulkdata/7FE00010\"/>",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(text.ends_with("</NativeDicomModel>"));
    }

    #[test]
    fn components_of_names_stand_in_their_elements() {
        let name = |text: &str| {
            let text = xml(&json!({"00100010": { "vr": "PN", "Value": [{ "Alphabetic": text }] }}));
            let (_, inside) = text.split_once("<Alphabetic>").unwrap();
            inside.split_once("</Alphabetic>").unwrap().0.to_owned()
        };
        assert_eq!(
            name("^B^^Dr.^x^y"),
            "<GivenName>B</GivenName><NamePrefix>Dr.</NamePrefix><NameSuffix>x^y</NameSuffix>"
        );
        assert_eq!(name("A"), "<FamilyName>A</FamilyName>");
        assert_eq!(name(""), "");
    }

    #[test]
    fn characters_that_xml_cannot_carry_are_replaced() {
        let text = xml(&json!({ "00100020": { "vr": "LO", "Value": ["a\u{1}b<\u{1B}\r"] } }));
        assert!(text.contains("a\u{FFFD}b&lt;\u{FFFD}&#13;"));
        let lone = XmlWriter::new(
            r#"{"00100020":{"vr":"LO","Value":["\ud800x\udc00"]}}"#.to_owned(),
            "",
        )
        .next(usize::MAX);
        let lone = String::from_utf8(lone.unwrap().unwrap()).unwrap();
        assert!(lone.contains(">\u{FFFD}x\u{FFFD}<"), "{lone}");
    }

    #[test]
    fn what_is_the_servers_to_tell_is_left_out_of_what_is_stored() {
        let json = r#"{"00080054":{"vr":"AE","Value":["X"]},"00081115":{"vr":"SQ","Value":[{"00081190":{"vr":"UR","Value":["in"]}}]},"00081190":{"vr":"UR","Value":["out"]}}"#;
        let text = |mut writer: XmlWriter| {
            String::from_utf8(writer.next(usize::MAX).unwrap().unwrap()).unwrap()
        };
        let stored = text(XmlWriter::of_stored(json.to_owned(), ""));
        assert!(stored.contains(">in<") && !stored.contains(">out<") && !stored.contains(">X<"));
        assert!(text(XmlWriter::new(json.to_owned(), "")).contains(">out<"));
    }

    #[test]
    fn deep_nesting_does_not_recurse() {
        let depth = 500;
        let json =
            "{\"00400275\":{\"vr\":\"SQ\",\"Value\":[".repeat(depth) + "{}" + &"]}}".repeat(depth);
        let mut writer = XmlWriter::new(json, "");
        let mut items = 0;
        while let Some(piece) = writer.next(4096).unwrap() {
            items += String::from_utf8(piece).unwrap().matches("<Item").count();
        }
        assert!(items >= depth - depth / 100, "{items}");
    }

    #[test]
    fn pieces_are_bounded_whatever_is_stored() {
        let long = "\"".repeat(100_000);
        let values = vec!["1"; 100_000].join(",");
        let items = vec!["{}"; 100_000].join(",");
        let json = format!(
            r#"{{"00080005":{{"vr":"LT","Value":["{}"]}},"00081140":{{"vr":"SQ","Value":[{items}]}},"00100010":{{"vr":"PN","Value":[{{"Alphabetic":"{}"}}]}},"00280010":{{"vr":"US","Value":[{values}]}}}}"#,
            long.replace('"', "\\\""),
            long.replace('"', "\\\""),
        );
        let mut writer = XmlWriter::new(json, "");
        while let Some(piece) = writer.next(4096).unwrap() {
            assert!(piece.len() < 5000, "{}", piece.len());
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_and_not_the_end() {
        for json in [
            "",
            "{",
            r#"{"00080005":"#,
            r#"{"00080005":{"vr":"SQ","Value":[{"#,
            r#"{"00080005":{"vr":"CS"}"#,
        ] {
            let mut writer = XmlWriter::new(json.to_owned(), "");
            let end = std::iter::from_fn(|| writer.next(10).transpose()).find(Result::is_err);
            assert!(end.is_some(), "{json}");
        }
    }
}
