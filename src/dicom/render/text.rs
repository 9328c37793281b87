//! Text representations: structured reports and, for the rest, the header.
//!
//! Content trees are walked with a stack of our own and every limit is counted,
//! so no report is too deep or too large. All text is escaped for HTML.

mod report;
mod write;

use serde_json::Value;

use super::dataset::{self, Dataset};
use write::Writer;

/// Elements listed of one header.
const MAX_ELEMENTS: usize = 20_000;
/// Characters shown of one value.
const MAX_VALUE: usize = 256;

/// Attributes shown above a report: label and tag.
const HEADER: [(&str, &str); 10] = [
    ("Patient name", "00100010"),
    ("Patient ID", "00100020"),
    ("Birth date", "00100030"),
    ("Sex", "00100040"),
    ("Study date", "00080020"),
    ("Study description", "00081030"),
    ("Accession number", "00080050"),
    ("Content date", "00080023"),
    ("Completion", "0040A491"),
    ("Verification", "0040A493"),
];

/// Renders a structured report to HTML and plain text, both UTF-8.
///
/// `metadata` is one DICOM JSON instance. Without a content tree the header
/// stays.
pub fn render_sr(metadata: &Value) -> (String, String) {
    let Some(root) = Dataset::root(metadata) else {
        return Writer::new("Report").finish();
    };
    let mut writer = Writer::new(&report::title(&root));
    header(&root, &mut writer);
    report::content(&root, &mut writer);
    writer.finish()
}

/// Renders the attributes of any instance to HTML and plain text, both UTF-8.
///
/// `name` answers the name of a tag written as eight hexadecimal digits. Binary
/// values are left out.
pub fn render_header(metadata: &Value, name: &dyn Fn(&str) -> Option<String>) -> (String, String) {
    let Some(root) = Dataset::root(metadata) else {
        return Writer::new("Instance").finish();
    };
    let mut writer = Writer::new("Instance");
    let mut left = MAX_ELEMENTS;
    let mut stack = vec![Level::Elements(root.elements())];
    writer.open_list();
    while let Some(level) = stack.last_mut() {
        let below = match level {
            _ if left == 0 => None,
            Level::Elements(elements) => elements.next().map(|(tag, element)| {
                let label = name(tag).map_or_else(|| tag.clone(), |name| format!("{tag} {name}"));
                writer.item(&label, &value_text(element));
                let items = element.get("Value").and_then(Value::as_array);
                let sequence = element.get("vr").and_then(Value::as_str) == Some("SQ");
                items
                    .filter(|_| sequence)
                    .map(|items| Level::Items(items.iter().enumerate()))
            }),
            Level::Items(items) => items.next().map(|(index, item)| {
                writer.item(&format!("Item {}", index + 1), "");
                Dataset::root(item).map(|item| Level::Elements(item.elements()))
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
enum Level<'a> {
    Elements(serde_json::map::Iter<'a>),
    Items(std::iter::Enumerate<std::slice::Iter<'a, Value>>),
}

fn header(root: &Dataset<'_>, writer: &mut Writer) {
    for (label, tag) in HEADER {
        let value: Vec<_> = root.texts(tag).map(|text| text.replace('^', " ")).collect();
        if !value.is_empty() {
            writer.row(label, value.join(", ").trim());
        }
    }
}

fn value_text(element: &Value) -> String {
    if element.get("vr").and_then(Value::as_str) == Some("SQ") {
        return String::new();
    }
    let values = element
        .get("Value")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    for (index, value) in values.iter().take(MAX_VALUE).enumerate() {
        if index > 0 {
            text.push('\\');
        }
        match (dataset::string(value), value) {
            (Some(string), _) => text.push_str(string),
            (None, Value::Number(number)) => text.push_str(&number.to_string()),
            (None, _) => {}
        }
    }
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
