//! Values of extended query tags, taken from the DICOM JSON of an instance.
//!
//! Invariant: the JSON is the same at store time and when a tag is added later, so both find the same values.

use dicom_core::{Tag, VR};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tags_model::TagRow;
use super::words::{MAX_WORDS, clean, word_suffixes};
use crate::dicom::matcher::Steps;
use crate::dicom::members::JsonElement;
use crate::dicom::{normalize, temporal, validate};

/// First part of a name's word suffixes.
pub(super) const WORDS: i64 = 16;

/// One row of `query_tag_value` without its identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TagValue {
    /// Which part of the value.
    pub(super) part: i64,
    /// The text, and what it is searched by.
    pub(super) text: Option<(String, String)>,
    /// The number.
    pub(super) number: Option<f64>,
}

/// What an instance says of one tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum TagOutcome {
    /// Nothing, or an empty value.
    Nothing,
    /// A value.
    Values(Vec<TagValue>),
    /// A value that cannot be indexed, and why.
    Invalid(String),
}

/// Whether values of a VR are searched as numbers.
pub(super) fn is_number(vr: VR) -> bool {
    matches!(
        vr,
        VR::IS | VR::FD | VR::FL | VR::SL | VR::SS | VR::UL | VR::US
    )
}

/// What the instance says of each tag, in their order; the text is looked through once.
pub(super) fn findings(json: &str, tags: &[TagRow]) -> Vec<TagOutcome> {
    if tags.is_empty() {
        return Vec::new();
    }
    let mut steps = Steps::default();
    let places: Vec<usize> = tags
        .iter()
        .flat_map(|row| row.tag.tag_path().0)
        .map(|step| steps.place(&step))
        .collect();
    let Ok(elements) = steps.find(json) else {
        let invalid = TagOutcome::Invalid("its metadata cannot be read".to_owned());
        return vec![invalid; tags.len()];
    };
    let found = places.iter().map(|at| elements.get(*at).copied().flatten());
    tags.iter()
        .zip(found)
        .map(|(row, element)| element.map_or(TagOutcome::Nothing, |found| finding(found, row)))
        .collect()
}

fn finding(element: JsonElement<'_>, row: &TagRow) -> TagOutcome {
    let Some(first) = element.values().next().filter(|json| *json != "null") else {
        return TagOutcome::Nothing;
    };
    let expected = row.tag.vr.to_string();
    let found = element.vr();
    if found != expected {
        return TagOutcome::Invalid(format!("its VR is {found} and the tag's is {expected}"));
    }
    // One value of a VR that is searched, which is no sequence: short, and not nested.
    let Ok(first) = serde_json::from_str::<Value>(first) else {
        return TagOutcome::Nothing;
    };
    if let Some(problem) =
        written(&first).and_then(|text| validate::indexed(row.tag.vr, row.tag.vr, &[], &[text]))
    {
        return TagOutcome::Invalid(problem.to_string());
    }
    match values(row.tag.vr, &first) {
        Some(values) if values.is_empty() => TagOutcome::Nothing,
        Some(values) => TagOutcome::Values(values),
        None => TagOutcome::Invalid(format!("its value is not one of VR {expected}")),
    }
}

/// A value as a file has it; none for numbers of a binary VR.
fn written(value: &Value) -> Option<String> {
    if let Some(groups) = value.as_object() {
        let group = |name: &str| groups.get(name).and_then(Value::as_str).unwrap_or("");
        let all = ["Alphabetic", "Ideographic", "Phonetic"]
            .map(group)
            .join("=");
        return Some(all.trim_end_matches('=').to_owned());
    }
    value.as_str().map(str::to_owned)
}

/// Values of tagged attributes that could not be indexed, and why; `json` is the metadata of an instance.
#[must_use]
pub fn invalid_values(json: &str, tags: &[TagRow]) -> Vec<(Tag, String)> {
    let findings = findings(json, tags);
    let invalid = tags.iter().zip(findings);
    invalid
        .filter_map(|(row, finding)| match finding {
            TagOutcome::Invalid(reason) => Some((row.tag.tag, reason)),
            TagOutcome::Nothing | TagOutcome::Values(_) => None,
        })
        .collect()
}

/// Rows for a value; none when it is no value of the VR.
fn values(vr: VR, value: &Value) -> Option<Vec<TagValue>> {
    if is_number(vr) {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }?;
        return Some(vec![TagValue {
            part: 0,
            text: None,
            number: Some(number).filter(|number| number.is_finite()),
        }]);
    }
    if vr == VR::PN {
        return Some(name_values(value));
    }
    let text = clean(value.as_str()?);
    if text.is_empty() {
        return Some(Vec::new());
    }
    let text = match vr {
        VR::DA | VR::TM | VR::DT => temporal::stored(vr, &text)?,
        _ => text,
    };
    let normalized = clean(&normalize::text(&text));
    Some(vec![text_value(0, text, normalized)])
}

fn name_values(value: &Value) -> Vec<TagValue> {
    let groups = ["Alphabetic", "Ideographic", "Phonetic"].map(|group| {
        let text = value.get(group).and_then(Value::as_str).unwrap_or("");
        normalize::name(text)
            .into_iter()
            .next()
            .map(|normalized| clean(&normalized))
    });
    let mut values = Vec::new();
    let mut suffixes = Vec::new();
    for (part, group) in (0..).zip(groups) {
        if let Some(group) = group {
            suffixes.extend(word_suffixes(&group));
            values.push(text_value(part, group.clone(), group));
        }
    }
    suffixes.sort_unstable();
    suffixes.dedup();
    suffixes.truncate(3 * MAX_WORDS);
    let suffixes = (WORDS..).zip(suffixes);
    values.extend(suffixes.map(|(part, suffix)| text_value(part, suffix.clone(), suffix)));
    values
}

const fn text_value(part: i64, text: String, normalized: String) -> TagValue {
    TagValue {
        part,
        text: Some((text, normalized)),
        number: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tags_model::TagStatus;
    use super::*;
    use crate::dicom::attributes::QueryLevel;
    use crate::dicom::query_tag::QueryTag;

    fn tag(tag: Tag, vr: VR, creator: Option<&str>) -> TagRow {
        TagRow {
            id: 1,
            tag: QueryTag {
                path: crate::dicom::tag::hex(tag),
                tag,
                vr,
                private_creator: creator.map(str::to_owned),
                level: QueryLevel::Study,
            },
            status: TagStatus::Ready,
            enabled: true,
            errors: 0,
            operation: None,
        }
    }

    fn one(json: &str, row: &TagRow) -> TagOutcome {
        findings(json, std::slice::from_ref(row)).remove(0)
    }

    #[test]
    fn values_are_found_by_tag_and_vr() {
        let age = tag(Tag(0x0010, 0x1010), VR::AS, None);
        for (json, expected) in [
            ("{}", TagOutcome::Nothing),
            (r#"{"00101010":{"vr":"AS"}}"#, TagOutcome::Nothing),
            (
                r#"{"00101010":{"vr":"AS","Value":[null]}}"#,
                TagOutcome::Nothing,
            ),
            (
                r#"{"00101010":{"vr":"AS","Value":["030Y","031Y"]}}"#,
                TagOutcome::Values(vec![text_value(0, "030Y".into(), "030y".into())]),
            ),
        ] {
            assert_eq!(one(json, &age), expected, "{json}");
        }
        let invalid = one(r#"{"00101010":{"vr":"LO","Value":["x"]}}"#, &age);
        assert!(matches!(invalid, TagOutcome::Invalid(_)));
        let date = tag(Tag(0x0008, 0x0022), VR::DA, None);
        let invalid = one(r#"{"00080022":{"vr":"DA","Value":["soon"]}}"#, &date);
        assert!(matches!(invalid, TagOutcome::Invalid(_)));
        let number = tag(Tag(0x0020, 0x0100), VR::IS, None);
        let TagOutcome::Values(values) = one(r#"{"00200100":{"vr":"IS","Value":[7]}}"#, &number)
        else {
            panic!("a number is a value");
        };
        assert_eq!(values[0].number, Some(7.0));
    }

    #[test]
    fn a_private_attribute_is_found_in_its_block() {
        let row = tag(Tag(0x0009, 0x1001), VR::LO, Some("MAKER"));
        let json = r#"{"00090010":{"vr":"LO","Value":["OTHER"]},"00090011":{"vr":"LO","Value":["MAKER"]},"00091001":{"vr":"LO","Value":["no"]},"00091101":{"vr":"LO","Value":["yes"]}}"#;
        assert_eq!(
            one(json, &row),
            TagOutcome::Values(vec![text_value(0, "yes".into(), "yes".into())])
        );
        assert_eq!(
            one(r#"{"00091001":{"vr":"LO","Value":["no"]}}"#, &row),
            TagOutcome::Nothing
        );
    }

    #[test]
    fn a_name_has_groups_and_words() {
        let row = tag(Tag(0x0008, 0x1050), VR::PN, None);
        let json = r#"{"00081050":{"vr":"PN","Value":[{"Alphabetic":"Yamada^Tarou","Ideographic":"山田^太郎"}]}}"#;
        let TagOutcome::Values(values) = one(json, &row) else {
            panic!("a name is a value");
        };
        let parts: Vec<_> = values
            .iter()
            .map(|v| (v.part, v.text.as_ref().unwrap().1.as_str()))
            .collect();
        assert_eq!(
            parts,
            [
                (0, "yamada^tarou"),
                (1, "山田^太郎"),
                (16, "tarou"),
                (17, "yamada\u{1}tarou"),
                (18, "太郎"),
                (19, "山田\u{1}太郎")
            ]
        );
    }
}
