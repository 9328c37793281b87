//! Text representations: structured reports and, for the rest, the header.
//!
//! Content trees are parsed with a stack of our own and every limit is counted,
//! so no report is too deep or too large. All text is escaped for HTML.

mod report;
mod write;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::dataset::Dataset;
use crate::dicom::members::{self, JsonElement, Members, Values};
use crate::dicom::tag;
use write::DocumentWriter;

/// Elements listed of one header.
const MAX_ELEMENTS: usize = 20_000;
/// Characters shown of one value.
const MAX_VALUE: usize = 256;

/// Attributes shown above a report: label and tag.
const HEADER: [(&str, Tag); 10] = [
    ("Patient name", tags::PATIENT_NAME),
    ("Patient ID", tags::PATIENT_ID),
    ("Birth date", tags::PATIENT_BIRTH_DATE),
    ("Sex", tags::PATIENT_SEX),
    ("Study date", tags::STUDY_DATE),
    ("Study description", tags::STUDY_DESCRIPTION),
    ("Accession number", tags::ACCESSION_NUMBER),
    ("Content date", tags::CONTENT_DATE),
    ("Completion", tags::COMPLETION_FLAG),
    ("Verification", tags::VERIFICATION_FLAG),
];

/// Renders a structured report to HTML and plain text, both UTF-8.
///
/// `metadata` is the DICOM JSON text of one instance. Without a content tree the header
/// stays.
pub fn render_sr(metadata: &str) -> (String, String) {
    let Some(root) = Dataset::root(metadata) else {
        return DocumentWriter::new("Report").finish();
    };
    let mut writer = DocumentWriter::new(&report::title(&root));
    header(&root, &mut writer);
    report::content(&root, &mut writer);
    writer.finish()
}

/// Renders the attributes of any instance to HTML and plain text, both UTF-8.
///
/// `name` answers the name of a tag written as eight hexadecimal digits. Binary
/// values are left out.
pub fn render_header(metadata: &str, name: &dyn Fn(&str) -> Option<String>) -> (String, String) {
    let Some(root) = Dataset::root(metadata) else {
        return DocumentWriter::new("Instance").finish();
    };
    let mut writer = DocumentWriter::new("Instance");
    let mut left = MAX_ELEMENTS;
    let mut stack = vec![ListingLevel::Elements(root.members())];
    writer.open_list();
    while let Some(level) = stack.last_mut() {
        let below = match level {
            _ if left == 0 => None,
            ListingLevel::Elements(elements) => {
                elements.next().and_then(Result::ok).map(|(tag, element)| {
                    let tag = tag::hex(tag);
                    let label =
                        name(&tag).map_or_else(|| tag.clone(), |name| format!("{tag} {name}"));
                    writer.item(&label, &value_text(element));
                    (element.vr() == "SQ").then(|| ListingLevel::Items(element.values(), 0))
                })
            }
            ListingLevel::Items(items, index) => items.next().map(|item| {
                *index += 1;
                writer.item(&format!("Item {index}"), "");
                Some(ListingLevel::Elements(members::members(item)))
            }),
        };
        left = left.saturating_sub(1);
        match below {
            Some(Some(level)) => {
                stack.push(level);
                writer.open_list();
            }
            Some(None) => {}
            None => {
                stack.pop();
                writer.close_list();
            }
        }
    }
    writer.finish()
}

/// One level of a data set being listed.
enum ListingLevel<'a> {
    Elements(Members<'a>),
    /// The items, and how many were listed.
    Items(Values<'a>, usize),
}

fn header(root: &Dataset<'_>, writer: &mut DocumentWriter) {
    for (label, tag) in HEADER {
        let value: Vec<_> = root.texts(tag).map(|text| text.replace('^', " ")).collect();
        if !value.is_empty() {
            writer.row(label, value.join(", ").trim());
        }
    }
}

fn value_text(element: JsonElement<'_>) -> String {
    if element.vr() == "SQ" {
        return String::new();
    }
    let mut text = String::new();
    for (index, value) in element.values().take(MAX_VALUE).enumerate() {
        if index > 0 {
            text.push('\\');
        }
        let number = |value: &str| value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        match members::string(value) {
            Some(string) => text.push_str(&string),
            None if number(value) => text.push_str(value),
            None => {}
        }
    }
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
