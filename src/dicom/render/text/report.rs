//! The content tree of a structured report (PS3.3 §C.17.3).

use std::borrow::Cow;

use super::{Dataset, write::DocumentWriter};

/// Content items written of one report.
const MAX_ITEMS: usize = 100_000;

/// The report's title: the meaning of its root concept.
pub(super) fn title(root: &Dataset<'_>) -> String {
    let concept = meaning(root, "0040A043");
    let described = || root.text("0008103E").map(Cow::into_owned);
    concept
        .or_else(described)
        .unwrap_or_else(|| String::from("Report"))
}

/// Writes the content tree.
pub(super) fn content(root: &Dataset<'_>, writer: &mut DocumentWriter) {
    let mut left = MAX_ITEMS;
    let children = |item: &Dataset<'_>| item.item("0040A730", 0).is_some();
    if !children(root) {
        return;
    }
    let mut stack = vec![root.items("0040A730")];
    writer.open_list();
    while let Some(items) = stack.last_mut() {
        let Some(item) = items.next().filter(|_| left > 0) else {
            stack.pop();
            writer.close_list();
            continue;
        };
        left -= 1;
        let label = meaning(&item, "0040A043").unwrap_or_default();
        writer.item(&label, &value(&item));
        if children(&item) {
            stack.push(item.items("0040A730"));
            writer.open_list();
        }
    }
}

/// Code Meaning (0008,0104) of a code sequence, else its value.
fn meaning(item: &Dataset<'_>, sequence: &str) -> Option<String> {
    let code = item.item(sequence, 0)?;
    let value = code.text("00080104").or_else(|| code.text("00080100"))?;
    Some(value.into_owned())
}

/// The value of a content item by its Value Type (0040,A040).
fn value(item: &Dataset<'_>) -> String {
    let text = |tag| item.text(tag).map(Cow::into_owned);
    let value = match item.text("0040A040").as_deref().unwrap_or_default() {
        "TEXT" => text("0040A160"),
        "CODE" => meaning(item, "0040A168"),
        "NUM" => measurement(item),
        "DATETIME" => text("0040A120"),
        "DATE" => text("0040A121"),
        "TIME" => text("0040A122"),
        "PNAME" => item.text("0040A123").map(|name| name.replace('^', " ")),
        "UIDREF" => text("0040A124"),
        "IMAGE" | "COMPOSITE" | "WAVEFORM" => reference(item),
        "SCOORD" | "SCOORD3D" => coordinates(item, "00700022", "00700023"),
        "TCOORD" => text("0040A130"),
        "CONTAINER" => None,
        _ => by_reference(item),
    };
    value.unwrap_or_default()
}

fn measurement(item: &Dataset<'_>) -> Option<String> {
    let Some(measured) = item.item("0040A300", 0) else {
        return meaning(item, "0040A301");
    };
    let number = measured.float("0040A30A")?;
    let unit = measured.item("004008EA", 0);
    let unit = unit.and_then(|unit| unit.text("00080100").or_else(|| unit.text("00080104")));
    Some(match unit.as_deref() {
        // UCUM writes "no unit" as 1.
        None | Some("1") => number.to_string(),
        Some(unit) => format!("{number} {unit}"),
    })
}

fn reference(item: &Dataset<'_>) -> Option<String> {
    let reference = item.item("00081199", 0)?;
    let instance = reference.text("00081155")?;
    let frames: Vec<_> = reference
        .integers("00081160")
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

fn coordinates(item: &Dataset<'_>, data: &str, kind: &str) -> Option<String> {
    let points = item.floats(data).len() / 2;
    item.text(kind)
        .map(|kind| format!("{kind}, {points} points"))
}

/// The position of an item that is included by reference.
fn by_reference(item: &Dataset<'_>) -> Option<String> {
    let path: Vec<_> = item
        .integers("0040DB73")
        .iter()
        .take(64)
        .map(i64::to_string)
        .collect();
    (!path.is_empty()).then(|| format!("see item {}", path.join(".")))
}
