//! The content tree of a structured report (PS3.3 §C.17.3).

use std::borrow::Cow;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::write::DocumentWriter;
use crate::dicom::render::dataset::Dataset;

/// Content items written of one report.
const MAX_ITEMS: usize = 100_000;

/// The report's title: the meaning of its root concept.
pub(super) fn title(root: &Dataset<'_>) -> String {
    let concept = meaning(root, tags::CONCEPT_NAME_CODE_SEQUENCE);
    let described = || root.text(tags::SERIES_DESCRIPTION).map(Cow::into_owned);
    concept
        .or_else(described)
        .unwrap_or_else(|| String::from("Report"))
}

/// Writes the content tree.
pub(super) fn content(root: &Dataset<'_>, writer: &mut DocumentWriter) {
    let mut left = MAX_ITEMS;
    let children = |item: &Dataset<'_>| item.item(tags::CONTENT_SEQUENCE, 0).is_some();
    if !children(root) {
        return;
    }
    let mut stack = vec![root.items(tags::CONTENT_SEQUENCE)];
    writer.open_list();
    while let Some(items) = stack.last_mut() {
        let Some(item) = items.next().filter(|_| left > 0) else {
            stack.pop();
            writer.close_list();
            continue;
        };
        left -= 1;
        let label = meaning(&item, tags::CONCEPT_NAME_CODE_SEQUENCE).unwrap_or_default();
        writer.item(&label, &value(&item));
        if children(&item) {
            stack.push(item.items(tags::CONTENT_SEQUENCE));
            writer.open_list();
        }
    }
}

/// Code Meaning (0008,0104) of a code sequence, else its value.
fn meaning(item: &Dataset<'_>, sequence: Tag) -> Option<String> {
    let code = item.item(sequence, 0)?;
    let value = code
        .text(tags::CODE_MEANING)
        .or_else(|| code.text(tags::CODE_VALUE))?;
    Some(value.into_owned())
}

/// The value of a content item by its Value Type (0040,A040).
fn value(item: &Dataset<'_>) -> String {
    let text = |tag| item.text(tag).map(Cow::into_owned);
    let value = match item.text(tags::VALUE_TYPE).as_deref().unwrap_or_default() {
        "TEXT" => text(tags::TEXT_VALUE),
        "CODE" => meaning(item, tags::CONCEPT_CODE_SEQUENCE),
        "NUM" => measurement(item),
        "DATETIME" => text(tags::DATE_TIME),
        "DATE" => text(tags::DATE),
        "TIME" => text(tags::TIME),
        "PNAME" => item
            .text(tags::PERSON_NAME)
            .map(|name| name.replace('^', " ")),
        "UIDREF" => text(tags::UID),
        "IMAGE" | "COMPOSITE" | "WAVEFORM" => reference(item),
        "SCOORD" | "SCOORD3D" => coordinates(item, tags::GRAPHIC_DATA, tags::GRAPHIC_TYPE),
        "TCOORD" => text(tags::TEMPORAL_RANGE_TYPE),
        "CONTAINER" => None,
        _ => by_reference(item),
    };
    value.unwrap_or_default()
}

fn measurement(item: &Dataset<'_>) -> Option<String> {
    let Some(measured) = item.item(tags::MEASURED_VALUE_SEQUENCE, 0) else {
        return meaning(item, tags::NUMERIC_VALUE_QUALIFIER_CODE_SEQUENCE);
    };
    let number = measured.float(tags::NUMERIC_VALUE)?;
    let unit = measured.item(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, 0);
    let unit = unit.and_then(|unit| {
        unit.text(tags::CODE_VALUE)
            .or_else(|| unit.text(tags::CODE_MEANING))
    });
    Some(match unit.as_deref() {
        // UCUM writes "no unit" as 1.
        None | Some("1") => number.to_string(),
        Some(unit) => format!("{number} {unit}"),
    })
}

fn reference(item: &Dataset<'_>) -> Option<String> {
    let reference = item.item(tags::REFERENCED_SOP_SEQUENCE, 0)?;
    let instance = reference.text(tags::REFERENCED_SOP_INSTANCE_UID)?;
    let frames: Vec<_> = reference
        .integers(tags::REFERENCED_FRAME_NUMBER)
        .iter()
        .take(64)
        .map(i64::to_string)
        .collect();
    Some(if frames.is_empty() {
        instance.into_owned()
    } else {
        format!("{instance}, frame {}", frames.join(", "))
    })
}

fn coordinates(item: &Dataset<'_>, data: Tag, kind: Tag) -> Option<String> {
    let points = item.floats(data).len() / 2;
    item.text(kind)
        .map(|kind| format!("{kind}, {points} points"))
}

/// The position of an item that is included by reference.
fn by_reference(item: &Dataset<'_>) -> Option<String> {
    let path: Vec<_> = item
        .integers(tags::REFERENCED_CONTENT_ITEM_IDENTIFIER)
        .iter()
        .take(64)
        .map(i64::to_string)
        .collect();
    (!path.is_empty()).then(|| format!("see item {}", path.join(".")))
}
