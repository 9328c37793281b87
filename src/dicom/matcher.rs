//! Matching and projecting DICOM JSON: for attributes without a column, and for includefields.
//!
//! It means what the index means by the same condition: text folded where case does not count, dates and times in normal
//! form (a partial stored value is its first moment), a private attribute found by its creator in whatever block.
//! Invariant: there is no recursion; time is bounded by the size of the JSON times the size of the condition.

use dicom_core::{Tag, VR};
use serde_json::{Map, Value};

use super::query::{Case, Condition, Matching, PathStep};
use super::{fold, tag, temporal, wildcard};

mod project;
#[cfg(test)]
mod tests;

pub use project::project;

/// Whether the data set, a DICOM JSON object, fulfils the condition.
///
/// An attribute with several values matches when one of them does, a sequence when one of its items does.
#[must_use]
pub fn matches(condition: &Condition, data_set: &Value) -> bool {
    if condition.matching == Matching::Universal {
        return true;
    }
    let Some((leaf, sequences)) = condition.path.0.split_last() else {
        return false;
    };
    let mut scopes: Vec<&Map<String, Value>> = data_set.as_object().into_iter().collect();
    for step in sequences {
        scopes = scopes
            .into_iter()
            .flat_map(|scope| items(element(scope, step)))
            .collect();
    }
    if condition.matching == Matching::Empty {
        return scopes.is_empty() || scopes.iter().any(|scope| is_empty(element(scope, leaf)));
    }
    let test = Test::new(condition);
    scopes.iter().any(|scope| match &condition.matching {
        Matching::DateTime { time, from, to } => {
            let stored =
                |element, vr| first_text(element).and_then(|text| temporal::stored(vr, text));
            let day = stored(element(scope, leaf), VR::DA);
            let clock = stored(scope.get(&tag::hex(*time)), VR::TM);
            day.is_some_and(|day| {
                moment_within(&day, clock.as_deref(), from.as_deref(), to.as_deref())
            })
        }
        _ => values(element(scope, leaf)).any(|(vr, value)| test.holds(vr, value)),
    })
}

/// The element of a step, with its creator element when it was named by creator.
struct Found<'a> {
    key: String,
    value: &'a Value,
    creator: Option<(String, &'a Value)>,
}

impl<'a> Found<'a> {
    fn of(scope: &'a Map<String, Value>, step: &PathStep) -> Option<Self> {
        let creator = match &step.creator {
            None => None,
            Some(name) => Some(creator_element(scope, step.tag.0, name)?),
        };
        let key = match &creator {
            None => tag::hex(step.tag),
            Some((creator, _)) => private_key(creator, step.tag),
        };
        let value = scope.get(&key)?;
        Some(Self {
            key,
            value,
            creator,
        })
    }

    fn copy_into(&self, out: &mut Map<String, Value>) {
        self.copy_creator_into(out);
        out.entry(self.key.clone())
            .or_insert_with(|| self.value.clone());
    }

    fn copy_creator_into(&self, out: &mut Map<String, Value>) {
        if let Some((key, value)) = &self.creator {
            out.entry(key.clone()).or_insert_with(|| (*value).clone());
        }
    }
}

fn element<'a>(scope: &'a Map<String, Value>, step: &PathStep) -> Option<&'a Value> {
    Found::of(scope, step).map(|found| found.value)
}

/// The first creator element of the group with this name.
fn creator_element<'a>(
    scope: &'a Map<String, Value>,
    group: u16,
    name: &str,
) -> Option<(String, &'a Value)> {
    let creators = (0x10..=0xFF).map(|block| tag::hex(Tag(group, block)));
    creators
        .filter_map(|key| scope.get(&key).map(|value| (key, value)))
        .find(|(_, value)| {
            first_text(Some(value)).is_some_and(|found| unpadded(found) == unpadded(name))
        })
}

/// The key of `gggg00ee` in the block of a creator: `gggg`, the block, `ee`.
fn private_key(creator_key: &str, element: Tag) -> String {
    let block = creator_key.get(6..8).unwrap_or_default();
    format!("{:04X}{block}{:02X}", element.0, element.1 & 0xFF)
}

/// The items of a sequence; what is no item ends it, so that positions stay right.
fn items(sequence: Option<&Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let list = sequence
        .and_then(|element| element.get("Value"))
        .and_then(Value::as_array);
    list.into_iter().flatten().map_while(Value::as_object)
}

/// The values of an element with its VR.
fn values(element: Option<&Value>) -> impl Iterator<Item = (VR, &Value)> {
    let vr = element
        .and_then(|e| e.get("vr"))
        .and_then(Value::as_str)
        .and_then(|vr| vr.parse().ok());
    let list = element
        .and_then(|e| e.get("Value"))
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(move |value| (vr.unwrap_or(VR::UN), value))
}

fn first_text(element: Option<&Value>) -> Option<&str> {
    values(element).find_map(|(_, value)| value.as_str())
}

/// Whether an element is absent or has nothing but empty values; what is served by URI has a value.
fn is_empty(element: Option<&Value>) -> bool {
    let Some(element) = element else {
        return true;
    };
    let elsewhere = element.get("BulkDataURI").is_some() || element.get("InlineBinary").is_some();
    !elsewhere
        && values(Some(element)).all(|(_, value)| match value {
            Value::Null => true,
            Value::String(text) => unpadded(text).is_empty(),
            Value::Object(groups) => groups
                .values()
                .all(|group| group.as_str().is_some_and(|text| unpadded(text).is_empty())),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
        })
}

fn unpadded(text: &str) -> &str {
    text.trim_end_matches(['\0', ' ']).trim_start_matches(' ')
}

fn within(moment: &str, from: Option<&str>, to: Option<&str>) -> bool {
    from.is_none_or(|from| from <= moment) && to.is_none_or(|to| moment <= to)
}

/// A day without a time is within when the day is.
fn moment_within(day: &str, clock: Option<&str>, from: Option<&str>, to: Option<&str>) -> bool {
    match clock {
        Some(clock) => within(&format!("{day}{clock}"), from, to),
        None => {
            let day_of =
                |bound: Option<&str>| bound.and_then(|bound| bound.get(..8)).map(str::to_owned);
            within(day, day_of(from).as_deref(), day_of(to).as_deref())
        }
    }
}

/// A condition prepared for many values.
struct Test<'a> {
    condition: &'a Condition,
    /// Values or patterns as they are compared.
    wanted: Vec<Wanted>,
    patterns: bool,
}

/// One value or pattern of a condition.
struct Wanted {
    text: String,
    /// Folded component groups, for person names.
    groups: Vec<String>,
    /// As a number, for attributes that are numbers.
    number: Option<f64>,
}

impl<'a> Test<'a> {
    fn new(condition: &'a Condition) -> Self {
        let (list, patterns): (&[String], bool) = match &condition.matching {
            Matching::Single(value) => (std::slice::from_ref(value), false),
            Matching::AnyOf(values) => (values, false),
            Matching::Wildcard(value) => (std::slice::from_ref(value), true),
            Matching::AnyWildcard(values) => (values, true),
            Matching::Universal
            | Matching::Empty
            | Matching::Range { .. }
            | Matching::DateTime { .. }
            | Matching::Number(_)
            | Matching::Words(_) => (&[], false),
        };
        let prepared = |value: &String| Wanted {
            text: comparable(condition.case, value),
            groups: fold::name(value),
            number: value.trim().parse().ok(),
        };
        Self {
            condition,
            wanted: list.iter().map(prepared).collect(),
            patterns,
        }
    }

    /// Whether one stored value fulfils the condition; `vr` is the element's own.
    fn holds(&self, vr: VR, value: &Value) -> bool {
        match &self.condition.matching {
            Matching::Universal => true,
            Matching::Empty | Matching::DateTime { .. } => false,
            Matching::Number(wanted) => {
                number(value).is_some_and(|found| same_number(found, *wanted))
            }
            Matching::Range { from, to } => {
                let vr = if matches!(self.condition.vr, VR::DA | VR::TM | VR::DT) {
                    self.condition.vr
                } else {
                    vr
                };
                let moment = value.as_str().and_then(|text| temporal::stored(vr, text));
                moment.is_some_and(|moment| within(&moment, from.as_deref(), to.as_deref()))
            }
            Matching::Words(words) => groups(value).iter().any(|group| has_phrase(group, words)),
            Matching::Single(_)
            | Matching::AnyOf(_)
            | Matching::Wildcard(_)
            | Matching::AnyWildcard(_) => self.is_wanted(vr, value),
        }
    }

    fn is_wanted(&self, vr: VR, value: &Value) -> bool {
        match value {
            Value::Object(_) => {
                let groups = groups(value);
                self.wanted
                    .iter()
                    .any(|wanted| self.name_is(&groups, wanted))
            }
            Value::Number(stored) => {
                let text = stored.to_string();
                let same = |wanted: &Wanted| match (wanted.number, stored.as_f64()) {
                    (Some(wanted), Some(found)) if !self.patterns => same_number(found, wanted),
                    _ => self.text_is(&text, wanted),
                };
                self.wanted.iter().any(same)
            }
            Value::String(stored) => {
                let normal = temporal::stored(vr, stored);
                let text = comparable(self.condition.case, stored);
                let numeric = matches!(vr, VR::IS | VR::DS | VR::SV | VR::UV | VR::FL | VR::FD);
                let found = if numeric { number(value) } else { None };
                self.wanted.iter().any(|wanted| {
                    self.text_is(&text, wanted)
                        || normal
                            .as_ref()
                            .is_some_and(|normal| self.text_is(normal, wanted))
                        || matches!((found, wanted.number), (Some(f), Some(w)) if same_number(f, w))
                })
            }
            Value::Null | Value::Bool(_) | Value::Array(_) => false,
        }
    }

    fn text_is(&self, text: &str, wanted: &Wanted) -> bool {
        if self.patterns {
            wildcard::matches(&wanted.text, text)
        } else {
            wanted.text == text
        }
    }

    /// Every group that is asked for must be found, in any place.
    fn name_is(&self, groups: &[String], wanted: &Wanted) -> bool {
        let is = |wanted: &str, group: &str| {
            if self.patterns {
                wildcard::matches(wanted, group)
            } else {
                wanted == group
            }
        };
        wanted
            .groups
            .iter()
            .all(|wanted| groups.iter().any(|group| is(wanted, group)))
    }
}

/// A text as it is compared: folded, or without its padding.
fn comparable(case: Case, text: &str) -> String {
    match case {
        Case::Folded => fold::text(text),
        Case::Sensitive => unpadded(text).to_owned(),
    }
}

/// The folded component groups of a person name in JSON.
fn groups(value: &Value) -> Vec<String> {
    let Some(name) = value.as_object() else {
        return value.as_str().map(fold::name).unwrap_or_default();
    };
    ["Alphabetic", "Ideographic", "Phonetic"]
        .iter()
        .filter_map(|group| name.get(*group).and_then(Value::as_str))
        .flat_map(fold::name)
        .collect()
}

/// Whether the words of a group hold the wanted ones as beginnings, adjacent and in order.
fn has_phrase(group: &str, wanted: &[String]) -> bool {
    let words = fold::words(group);
    let starts = |run: &[String]| {
        run.iter()
            .zip(wanted)
            .all(|(word, wanted)| word.starts_with(wanted.as_str()))
    };
    !wanted.is_empty() && words.windows(wanted.len()).any(starts)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim_matches([' ', '\0']).parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Equal but for the last bit, which reading decimals may cost.
fn same_number(found: f64, wanted: f64) -> bool {
    let scale = found.abs().max(wanted.abs());
    (found - wanted).abs() <= scale * f64::EPSILON
}
