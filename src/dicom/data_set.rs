//! Typed access to a data set in the DICOM JSON Model that is held as a tree: attributes by their tags (PS3.18 Annex F).

use dicom_core::Tag;
use serde_json::{Map, Value, json};

use super::tag;

/// A data set in the DICOM JSON Model.
pub type JsonDataSet = Map<String, Value>;

/// The element of an attribute.
pub(crate) fn element(item: &JsonDataSet, tag: Tag) -> Option<&Value> {
    item.get(&tag::hex(tag))
}

/// The values of an attribute; none when it is absent or empty.
pub(crate) fn values(item: &JsonDataSet, tag: Tag) -> &[Value] {
    let values = element(item, tag).and_then(|element| element.get("Value")?.as_array());
    values.map_or(&[], Vec::as_slice)
}

/// The first value of an attribute as a text, without padding; none when it is empty.
pub(crate) fn text(item: &JsonDataSet, tag: Tag) -> Option<&str> {
    let text = values(item, tag).first()?.as_str()?;
    let text = text.trim_matches([' ', '\0']);
    (!text.is_empty()).then_some(text)
}

/// The items of a sequence.
pub(crate) fn items(item: &JsonDataSet, tag: Tag) -> impl Iterator<Item = &JsonDataSet> {
    values(item, tag).iter().filter_map(Value::as_object)
}

/// Whether an attribute has a value.
pub(crate) fn has_value(item: &JsonDataSet, tag: Tag) -> bool {
    let Some(element) = element(item, tag) else {
        return false;
    };
    let filled = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.trim_matches([' ', '\0']).is_empty(),
        Value::Object(groups) => {
            element.get("vr").and_then(Value::as_str) == Some("SQ")
                || groups.values().any(|group| group.as_str() != Some(""))
        }
        _ => true,
    };
    values(item, tag).iter().any(filled) || element.get("InlineBinary").is_some()
}

/// Sets an attribute to one value.
pub(crate) fn set(item: &mut JsonDataSet, tag: Tag, vr: &str, value: impl Into<Value>) {
    let value: Value = value.into();
    item.insert(tag::hex(tag), json!({ "vr": vr, "Value": [value] }));
}
