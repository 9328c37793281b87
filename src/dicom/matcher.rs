//! Matching of DICOM JSON: for attributes without a column.
//!
//! It means what the index means by the same condition: text folded where case does not count, dates and times in normal
//! form (a partial stored value is its first moment), a private attribute found by its creator in whatever block. Keys of
//! one sequence must match in one of its items, at every depth (PS3.4 §C.2.2.2.6).
//!
//! Invariants: no tree is made of the JSON and nothing is kept of it; it is read no further than the last attribute that
//! is asked for, each part once for each step of the deepest path, so time is bounded by its size times the size of the
//! query; functions call themselves once for each step of a path of the query, never for the depth of what is stored.

use std::borrow::Cow;

use dicom_core::VR;
use serde::Deserialize;

use super::members::{JsonElement, Malformed, Values};
use super::query::{Case, Condition, Matching, PathStep};
use super::{members, normalize, temporal, wildcard};
use padding::unpadded;

mod padding;
mod project;
mod steps;
#[cfg(test)]
mod tests;

pub use project::Projection;
pub use steps::Steps;

/// Conditions of one search, prepared for many data sets.
#[derive(Debug)]
pub struct Matcher(Node);

/// What is asked of one data set: the instance itself, or an item.
#[derive(Debug, Default)]
struct Node {
    steps: Steps,
    /// Conditions on attributes of this data set: the attribute's place in `steps`, and that of the time which is matched
    /// together with a date.
    tests: Vec<(usize, Option<usize>, PreparedCondition)>,
    /// Sequences of this data set, one of whose items must match.
    sequences: Vec<(usize, Self)>,
}

impl Matcher {
    /// Prepares the conditions, all of which must hold.
    #[must_use]
    pub fn new<'c>(conditions: impl IntoIterator<Item = &'c Condition>) -> Self {
        let mut root = Node::default();
        for condition in conditions {
            root.add(condition, &condition.path.0);
        }
        Self(root)
    }

    /// Whether a data set, a DICOM JSON object, fulfils all conditions.
    ///
    /// An attribute with several values matches when one of them does.
    ///
    /// # Errors
    /// [`Malformed`] when the text is no DICOM JSON.
    pub fn matches(&self, data_set: &str) -> Result<bool, Malformed> {
        self.0.matches(data_set)
    }
}

impl Node {
    fn add(&mut self, condition: &Condition, path: &[PathStep]) {
        if condition.matching == Matching::Universal {
            return;
        }
        match path {
            [] => self
                .tests
                .push((usize::MAX, None, PreparedCondition::new(condition))),
            [leaf] => {
                let at = self.steps.place(leaf);
                let time = match &condition.matching {
                    Matching::DateTime { time, .. } => Some(self.steps.place(&PathStep {
                        tag: *time,
                        creator: None,
                    })),
                    _ => None,
                };
                self.tests
                    .push((at, time, PreparedCondition::new(condition)));
            }
            [sequence, inner @ ..] => {
                let at = self.steps.place(sequence);
                let known = self.sequences.iter().position(|(place, _)| *place == at);
                let index = known.unwrap_or_else(|| {
                    self.sequences.push((at, Self::default()));
                    self.sequences.len().saturating_sub(1)
                });
                if let Some((_, node)) = self.sequences.get_mut(index) {
                    node.add(condition, inner);
                }
            }
        }
    }

    fn matches(&self, data_set: &str) -> Result<bool, Malformed> {
        if self.tests.is_empty() && self.sequences.is_empty() {
            return Ok(true);
        }
        let found = self.steps.find(data_set)?;
        let element = |at: usize| found.get(at).copied().flatten();
        let here = self.tests.iter().all(|(at, time, test)| {
            let other = time.and_then(element);
            *at != usize::MAX && test.fulfilled(element(*at), other)
        });
        if !here {
            return Ok(false);
        }
        for (at, node) in &self.sequences {
            if !node.matches_an_item(element(*at))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn matches_an_item(&self, sequence: Option<JsonElement<'_>>) -> Result<bool, Malformed> {
        let mut none = true;
        for item in sequence.into_iter().flat_map(JsonElement::items) {
            none = false;
            if self.matches(item)? {
                return Ok(true);
            }
        }
        Ok(none && self.matches_nothing())
    }

    /// Whether a sequence without items will do: when no value at all was asked for.
    fn matches_nothing(&self) -> bool {
        let mut tests = self.tests.iter();
        tests.all(|(_, _, test)| test.condition.matching == Matching::Empty)
            && self
                .sequences
                .iter()
                .all(|(_, node)| node.matches_nothing())
    }
}

/// A stored value as it is compared.
enum StoredValue<'t> {
    Text(Cow<'t, str>),
    Number(&'t str),
    /// Component groups of a name: alphabetic, ideographic, phonetic.
    Name([Option<Cow<'t, str>>; 3]),
    Nothing,
}

impl<'t> StoredValue<'t> {
    fn read(json: &'t str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => members::string(json).map_or(Self::Nothing, Self::Text),
            Some(b'{') => Self::Name(name_groups(json)),
            Some(b'-' | b'0'..=b'9') => Self::Number(json),
            _ => Self::Nothing,
        }
    }
}

/// The component groups of a name in JSON.
fn name_groups(json: &str) -> [Option<Cow<'_, str>>; 3] {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Groups<'t> {
        #[serde(borrow)]
        alphabetic: Option<Cow<'t, str>>,
        #[serde(borrow)]
        ideographic: Option<Cow<'t, str>>,
        #[serde(borrow)]
        phonetic: Option<Cow<'t, str>>,
    }
    match serde_json::from_str::<Groups<'_>>(json) {
        Ok(groups) => [groups.alphabetic, groups.ideographic, groups.phonetic],
        Err(_) => [None, None, None],
    }
}

/// The VR and the values of an element.
fn values(element: Option<JsonElement<'_>>) -> (VR, Option<Values<'_>>) {
    let vr = element.and_then(|element| element.vr().parse().ok());
    (vr.unwrap_or(VR::UN), element.map(JsonElement::values))
}

fn first_text(element: Option<JsonElement<'_>>) -> Option<Cow<'_, str>> {
    let (_, values) = values(element);
    values?.find_map(|json| match StoredValue::read(json) {
        StoredValue::Text(text) => Some(text),
        _ => None,
    })
}

/// Whether an element is absent or has nothing but empty values; what is served by URI has a value.
fn is_empty(element: Option<JsonElement<'_>>) -> bool {
    let Some(element) = element else {
        return true;
    };
    let sequence = element.vr() == "SQ";
    let mut values = element.values();
    let empty = values.all(|json| match StoredValue::read(json) {
        StoredValue::Nothing => !json.starts_with('[') && json != "true" && json != "false",
        StoredValue::Text(text) => text.is_empty(),
        StoredValue::Number(_) => false,
        StoredValue::Name(_) if sequence => json.len() == 2,
        StoredValue::Name(groups) => groups.iter().flatten().all(|text| text.is_empty()),
    });
    empty && element.inline_binary().is_none() && element.bulk_data_uri().is_none()
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
#[derive(Debug)]
struct PreparedCondition {
    condition: Condition,
    /// Values or patterns as they are compared.
    wanted: Vec<ConditionValue>,
    patterns: bool,
}

/// One value or pattern of a condition.
#[derive(Debug)]
struct ConditionValue {
    text: String,
    /// For person names.
    name: NameGroups,
    /// As a number, for attributes that are numbers.
    number: Option<f64>,
}

/// The folded component groups that are asked for.
#[derive(Debug)]
enum NameGroups {
    /// In whatever group: nothing was said of groups.
    Anywhere(String),
    /// Each where it stands, because a `=` was written; an empty one asks for nothing.
    InPlace([String; 3]),
}

impl PreparedCondition {
    fn new(condition: &Condition) -> Self {
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
        let prepared = |value: &String| ConditionValue {
            text: comparable(condition.case, value),
            name: if value.contains('=') {
                NameGroups::InPlace(normalize::groups(value))
            } else {
                let [first, ..] = normalize::groups(value);
                NameGroups::Anywhere(first)
            },
            number: value.trim().parse().ok(),
        };
        Self {
            condition: condition.clone(),
            wanted: list.iter().map(prepared).collect(),
            patterns,
        }
    }

    /// Whether an element fulfils the condition; `other` is the time that belongs to a date.
    fn fulfilled(&self, element: Option<JsonElement<'_>>, other: Option<JsonElement<'_>>) -> bool {
        match &self.condition.matching {
            Matching::Universal => true,
            Matching::Empty => is_empty(element),
            Matching::DateTime { from, to, .. } => {
                let stored =
                    |element, vr| first_text(element).and_then(|text| temporal::stored(vr, &text));
                let clock = stored(other, VR::TM);
                stored(element, VR::DA).is_some_and(|day| {
                    moment_within(&day, clock.as_deref(), from.as_deref(), to.as_deref())
                })
            }
            _ => {
                let (vr, mut values) = values(element);
                let mut values = values.iter_mut().flatten();
                values.any(|json| self.holds(vr, json))
            }
        }
    }

    /// Whether one stored value fulfils the condition; `vr` is the element's own.
    fn holds(&self, vr: VR, json: &str) -> bool {
        match &self.condition.matching {
            Matching::Universal => true,
            Matching::Empty | Matching::DateTime { .. } => false,
            Matching::Number(wanted) => {
                members::number(json).is_some_and(|found| same_number(found, *wanted))
            }
            Matching::Range { from, to } => {
                let vr = if matches!(self.condition.vr, VR::DA | VR::TM | VR::DT) {
                    self.condition.vr
                } else {
                    vr
                };
                let StoredValue::Text(text) = StoredValue::read(json) else {
                    return false;
                };
                let moment = temporal::stored(vr, &text);
                moment.is_some_and(|moment| within(&moment, from.as_deref(), to.as_deref()))
            }
            Matching::Words(words) => {
                let groups = normalized_groups(&StoredValue::read(json));
                groups.iter().any(|group| has_phrase(group, words))
            }
            Matching::Single(_)
            | Matching::AnyOf(_)
            | Matching::Wildcard(_)
            | Matching::AnyWildcard(_) => self.is_wanted(vr, json),
        }
    }

    fn is_wanted(&self, vr: VR, json: &str) -> bool {
        let stored = StoredValue::read(json);
        match &stored {
            StoredValue::Name(_) => {
                let groups = normalized_groups(&stored);
                let mut wanted = self.wanted.iter();
                wanted.any(|wanted| self.name_is(&groups, wanted))
            }
            StoredValue::Number(text) => {
                let found = text.parse().ok();
                let same = |wanted: &ConditionValue| match (wanted.number, found) {
                    (Some(wanted), Some(found)) if !self.patterns => same_number(found, wanted),
                    _ => self.text_is(text, wanted),
                };
                self.wanted.iter().any(same)
            }
            StoredValue::Text(stored) => {
                let normal = temporal::stored(vr, stored);
                let text = comparable(self.condition.case, stored);
                let numeric = matches!(vr, VR::IS | VR::DS | VR::SV | VR::UV | VR::FL | VR::FD);
                let found = if numeric { members::number(json) } else { None };
                self.wanted.iter().any(|wanted| {
                    self.text_is(&text, wanted)
                        || normal
                            .as_ref()
                            .is_some_and(|normal| self.text_is(normal, wanted))
                        || matches!((found, wanted.number), (Some(f), Some(w)) if same_number(f, w))
                })
            }
            StoredValue::Nothing => false,
        }
    }

    fn text_is(&self, text: &str, wanted: &ConditionValue) -> bool {
        if self.patterns {
            wildcard::matches(&wanted.text, text)
        } else {
            wanted.text == text
        }
    }

    /// Whether the folded groups of a name are those that are asked for.
    fn name_is(&self, groups: &[String; 3], wanted: &ConditionValue) -> bool {
        let is = |wanted: &str, group: &str| {
            if self.patterns {
                wildcard::matches(wanted, group)
            } else {
                wanted == group
            }
        };
        match &wanted.name {
            NameGroups::Anywhere(wanted) => {
                wanted.is_empty()
                    || groups
                        .iter()
                        .any(|group| !group.is_empty() && is(wanted, group))
            }
            NameGroups::InPlace(wanted) => wanted
                .iter()
                .zip(groups)
                .all(|(wanted, group)| wanted.is_empty() || is(wanted, group)),
        }
    }
}

/// A text as it is compared: folded, or without its padding.
fn comparable(case: Case, text: &str) -> String {
    match case {
        Case::Folded => normalize::text(text),
        Case::Sensitive => unpadded(text).to_owned(),
    }
}

/// The folded component groups of a person name.
fn normalized_groups(name: &StoredValue<'_>) -> [String; 3] {
    match name {
        StoredValue::Text(text) => normalize::groups(text),
        StoredValue::Name(groups) => {
            let group = |text: &Option<Cow<'_, str>>| {
                let [normalized, ..] = normalize::groups(text.as_deref().unwrap_or_default());
                normalized
            };
            [group(&groups[0]), group(&groups[1]), group(&groups[2])]
        }
        StoredValue::Number(_) | StoredValue::Nothing => Default::default(),
    }
}

/// Whether the words of a group hold the wanted ones as beginnings, adjacent and in order.
fn has_phrase(group: &str, wanted: &[String]) -> bool {
    let words = normalize::words(group);
    let starts = |run: &[String]| {
        run.iter()
            .zip(wanted)
            .all(|(word, wanted)| word.starts_with(wanted.as_str()))
    };
    !wanted.is_empty() && words.windows(wanted.len()).any(starts)
}

/// Equal but for the last bit, which reading decimals may cost.
fn same_number(found: f64, wanted: f64) -> bool {
    let scale = found.abs().max(wanted.abs());
    (found - wanted).abs() <= scale * f64::EPSILON
}
