//! Copying of included attributes from stored DICOM JSON.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::super::query::TagPath;
use super::{Found, items};

/// Where an item stands: keys of sequences and positions in them, from the root.
type Place = Vec<(String, usize)>;

/// Copies the included attributes of a data set into `out`, keys ascending in the end.
///
/// A dotted path copies its sequence with every item, reduced to the attributes asked for. What `out` holds already is kept. A
/// private attribute brings its creator element along. Elements are copied as they are: a `BulkDataURI` is not completed.
pub fn project(data_set: &Value, includes: &[TagPath], out: &mut Map<String, Value>) {
    let Some(root) = data_set.as_object() else {
        return;
    };
    for step in includes.iter().filter_map(|path| match path.0.as_slice() {
        [step] => Some(step),
        _ => None,
    }) {
        if let Some(found) = Found::of(root, step) {
            found.copy_into(out);
        }
    }
    let whole: HashSet<String> = out.keys().cloned().collect();
    for path in includes.iter().filter(|path| path.0.len() > 1) {
        project_nested(root, path, &whole, out);
    }
    out.sort_keys();
}

/// Copies what a dotted path leads to; sequences in `whole` are there completely.
fn project_nested(
    root: &Map<String, Value>,
    path: &TagPath,
    whole: &HashSet<String>,
    out: &mut Map<String, Value>,
) {
    let Some((leaf, sequences)) = path.0.split_last() else {
        return;
    };
    let mut scopes: Vec<(&Map<String, Value>, Place)> = vec![(root, Vec::new())];
    for (depth, step) in sequences.iter().enumerate() {
        let mut inner = Vec::new();
        for (scope, place) in scopes {
            let Some(found) =
                Found::of(scope, step).filter(|f| depth > 0 || !whole.contains(&f.key))
            else {
                continue;
            };
            let (Some(skeleton), Some(item)) = (skeleton(found.value), place_in(out, &place))
            else {
                continue;
            };
            found.copy_creator_into(item);
            item.entry(found.key.clone()).or_insert(skeleton);
            item.sort_keys();
            for (position, item) in items(Some(found.value)).enumerate() {
                let mut place = place.clone();
                place.push((found.key.clone(), position));
                inner.push((item, place));
            }
        }
        scopes = inner;
    }
    for (scope, place) in scopes {
        if let (Some(found), Some(item)) = (Found::of(scope, leaf), place_in(out, &place)) {
            found.copy_into(item);
            item.sort_keys();
        }
    }
}

/// A sequence with as many empty items; none for what is no sequence.
fn skeleton(sequence: &Value) -> Option<Value> {
    if sequence.get("vr").and_then(Value::as_str) != Some("SQ") {
        return None;
    }
    let mut element = Map::new();
    element.insert("vr".to_owned(), Value::from("SQ"));
    if let Some(list) = sequence.get("Value").and_then(Value::as_array) {
        let empty = list.iter().map(|_| Value::Object(Map::new())).collect();
        element.insert("Value".to_owned(), Value::Array(empty));
    }
    Some(Value::Object(element))
}

/// The item of the answer at a place.
fn place_in<'a>(
    out: &'a mut Map<String, Value>,
    place: &[(String, usize)],
) -> Option<&'a mut Map<String, Value>> {
    let mut item = out;
    for (key, position) in place {
        item = item
            .get_mut(key)?
            .get_mut("Value")?
            .get_mut(*position)?
            .as_object_mut()?;
    }
    Some(item)
}
