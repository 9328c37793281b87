//! The Native DICOM Model in XML (PS3.19 §A.1), written from DICOM JSON.
//!
//! Invariant: iterative; whatever the JSON holds, the XML is well formed: characters XML cannot carry become U+FFFD.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::tag;

/// What is still to be written, innermost last.
enum Step<'a> {
    /// Attributes of a data set, the next one first.
    Attributes(&'a Map<String, Value>, serde_json::map::Iter<'a>),
    /// Items of a sequence with the number of the next one.
    Items(std::slice::Iter<'a, Value>, usize),
    /// A closing tag.
    Close(&'static str),
}

/// Writes one instance; `base` is put before each `BulkDataURI`.
#[must_use]
pub fn write(object: &Map<String, Value>, base: &str) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xmlns=\"http://dicom.nema.org/PS3.19/models/NativeDICOM\" xml:space=\"preserve\">",
    );
    let mut steps = vec![
        Step::Close("</NativeDicomModel>"),
        Step::Attributes(object, object.iter()),
    ];
    while let Some(step) = steps.pop() {
        match step {
            Step::Close(text) => out.push_str(text),
            Step::Attributes(scope, mut rest) => {
                let Some((name, element)) = rest.next() else {
                    continue;
                };
                steps.push(Step::Attributes(scope, rest));
                open_attribute(&mut out, scope, name, element);
                steps.push(Step::Close("</DicomAttribute>"));
                match (
                    element.get("vr").and_then(Value::as_str),
                    element.get("Value"),
                ) {
                    (Some("SQ"), Some(Value::Array(items))) => {
                        steps.push(Step::Items(items.iter(), 1))
                    }
                    (vr, _) => value(&mut out, vr.unwrap_or("UN"), element, base),
                }
            }
            Step::Items(mut rest, number) => {
                let Some(item) = rest.next() else { continue };
                steps.push(Step::Items(rest, number + 1));
                let _ = write!(out, "<Item number=\"{number}\">");
                steps.push(Step::Close("</Item>"));
                if let Value::Object(item) = item {
                    steps.push(Step::Attributes(item, item.iter()));
                }
            }
        }
    }
    out
}

fn open_attribute(out: &mut String, scope: &Map<String, Value>, name: &str, element: &Value) {
    let vr = element.get("vr").and_then(Value::as_str).unwrap_or("UN");
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
        let creator = tag::creator_of(tag).and_then(|c| scope.get(&tag::hex(c)));
        if let Some(creator) = creator.and_then(|e| e.get("Value")?.get(0)?.as_str()) {
            let _ = write!(out, " privateCreator=\"{}\"", escaped(creator));
        }
    }
    out.push('>');
}

fn value(out: &mut String, vr: &str, element: &Value, base: &str) {
    if let Some(uri) = element.get("BulkDataURI").and_then(Value::as_str) {
        let _ = write!(
            out,
            "<BulkData uri=\"{}/{}\"/>",
            escaped(base),
            escaped(uri)
        );
    } else if let Some(binary) = element.get("InlineBinary").and_then(Value::as_str) {
        let _ = write!(out, "<InlineBinary>{}</InlineBinary>", escaped(binary));
    } else if let Some(Value::Array(values)) = element.get("Value") {
        for (i, value) in values.iter().enumerate() {
            let number = i + 1;
            match value {
                Value::Object(groups) if vr == "PN" => person(out, number, groups),
                Value::String(text) => {
                    let _ = write!(out, "<Value number=\"{number}\">{}</Value>", escaped(text));
                }
                Value::Number(value) => {
                    let _ = write!(out, "<Value number=\"{number}\">{value}</Value>");
                }
                // An empty value among others keeps its number.
                _ => {
                    let _ = write!(out, "<Value number=\"{number}\"/>");
                }
            }
        }
    }
}

fn person(out: &mut String, number: usize, groups: &Map<String, Value>) {
    const COMPONENTS: [&str; 5] = [
        "FamilyName",
        "GivenName",
        "MiddleName",
        "NamePrefix",
        "NameSuffix",
    ];
    let _ = write!(out, "<PersonName number=\"{number}\">");
    for group in ["Alphabetic", "Ideographic", "Phonetic"] {
        let Some(text) = groups.get(group).and_then(Value::as_str) else {
            continue;
        };
        let _ = write!(out, "<{group}>");
        for (name, part) in COMPONENTS
            .iter()
            .zip(text.splitn(5, '^'))
            .filter(|(_, part)| !part.is_empty())
        {
            let _ = write!(out, "<{name}>{}</{name}>", escaped(part));
        }
        let _ = write!(out, "</{group}>");
    }
    out.push_str("</PersonName>");
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            // A bare carriage return would be read as a line feed.
            '\r' => out.push_str("&#13;"),
            '\u{0}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn xml(value: &Value) -> String {
        write(value.as_object().unwrap(), "http://h/i")
    }

    #[test]
    fn every_kind_of_value_has_its_element() {
        let text = xml(&json!({
            "00080005": { "vr": "CS", "Value": ["ISO_IR 192"] },
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "A&B^C", "Ideographic": "山田^太郎" }] },
            "00201208": { "vr": "IS", "Value": [3, null] },
            "00400275": { "vr": "SQ", "Value": [{ "00400009": { "vr": "SH", "Value": ["x"] } }, {}] },
            "00280010": { "vr": "US" },
            "00281201": { "vr": "OW", "InlineBinary": "AAA=" },
            "7FE00010": { "vr": "OW", "BulkDataURI": "bulkdata/7FE00010" },
        }));
        for part in [
            "<DicomAttribute tag=\"00080005\" vr=\"CS\" keyword=\"SpecificCharacterSet\"><Value number=\"1\">ISO_IR 192</Value></DicomAttribute>",
            "<PersonName number=\"1\"><Alphabetic><FamilyName>A&amp;B</FamilyName><GivenName>C</GivenName></Alphabetic><Ideographic><FamilyName>山田</FamilyName>",
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
    fn characters_that_xml_cannot_carry_are_replaced() {
        let text = xml(&json!({ "00100020": { "vr": "LO", "Value": ["a\u{1}b<\u{1B}"] } }));
        assert!(text.contains("a\u{FFFD}b&lt;\u{FFFD}"));
    }

    #[test]
    fn deep_nesting_does_not_recurse() {
        let mut value = json!({});
        for _ in 0..100 {
            value = json!({ "00400275": { "vr": "SQ", "Value": [value] } });
        }
        assert_eq!(xml(&value).matches("<Item").count(), 100);
    }
}
