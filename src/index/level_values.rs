//! Values of the columns of a level, as they are stored and compared.

use std::sync::LazyLock;

use dicom_core::Tag;
use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use super::words::{MAX_WORDS, clean};
use crate::dicom::attributes::{AttributeKey, ColumnSearch, KEYS, QueryLevel};
use crate::dicom::instance::{Attribute, Instance};
use crate::dicom::{normalize, temporal};

/// Keys of one level that have a column of their own, in the order of [`LevelValues::cells`].
///
/// The UIDs are columns too, but identities: statements name them by hand. Person names have a table.
pub(super) fn stored_keys(level: QueryLevel) -> &'static [&'static AttributeKey] {
    static STORED: LazyLock<[Vec<&'static AttributeKey>; 3]> = LazyLock::new(|| {
        [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance].map(|level| {
            let stored = |key: &&AttributeKey| key.level == level && is_stored(key);
            KEYS.iter().filter(stored).collect()
        })
    });
    let [study, series, instance] = &*STORED;
    match level {
        QueryLevel::Study => study,
        QueryLevel::Series => series,
        QueryLevel::Instance => instance,
    }
}

pub(super) fn is_stored(key: &AttributeKey) -> bool {
    match key.column {
        Some(ColumnSearch::Exact(_)) => key.vr != dicom_core::VR::UI,
        Some(
            ColumnSearch::Text(_)
            | ColumnSearch::Date(_)
            | ColumnSearch::Time(_)
            | ColumnSearch::Number(_),
        ) => true,
        Some(ColumnSearch::Name(_) | ColumnSearch::Computed(_)) | None => false,
    }
}

/// Whether a column has a folded twin: text does, and codes do, because the DICOM service ignores their case.
pub(super) fn has_norm(key: &AttributeKey) -> bool {
    match key.column {
        Some(ColumnSearch::Text(_)) => true,
        Some(ColumnSearch::Exact(_)) => key.vr == dicom_core::VR::CS,
        _ => false,
    }
}

/// Name of a stored key's column.
pub(super) fn column_name(key: &AttributeKey) -> &'static str {
    match key.column {
        Some(
            ColumnSearch::Exact(name)
            | ColumnSearch::Text(name)
            | ColumnSearch::Name(name)
            | ColumnSearch::Date(name)
            | ColumnSearch::Time(name)
            | ColumnSearch::Number(name)
            | ColumnSearch::Computed(name),
        ) => name,
        None => "",
    }
}

/// Number of a name column in `study_name.kind`.
pub(super) fn name_kind(column: &str) -> i64 {
    match column {
        "patient_name" => 1,
        _ => 2,
    }
}

/// Value of one column; none is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ColumnValue {
    /// A text, and what it is searched by when the column has a folded twin.
    Text(Option<String>, Option<String>),
    /// A number.
    Number(Option<i64>),
}

impl ColumnValue {
    fn is_null(&self) -> bool {
        matches!(self, Self::Text(None, _) | Self::Number(None))
    }
}

/// Folded groups of one person name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    /// [`name_kind`] of its column.
    pub(super) kind: i64,
    /// Its attribute's key in [`Attributes`].
    pub(super) attribute: String,
    /// Its groups; none when it has no value.
    pub(super) groups: Vec<String>,
}

/// What one level of an instance brings to its row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct LevelValues {
    /// JSON of the attributes.
    pub(super) attributes: Attributes,
    /// Values in the order of [`stored_keys`].
    pub(super) cells: Vec<ColumnValue>,
    /// Person names.
    pub(super) names: Vec<Name>,
}

impl LevelValues {
    pub(super) fn of(level: QueryLevel, instance: &Instance) -> Self {
        let find = |key: &AttributeKey| instance.attributes.iter().find(|a| a.tag == key.tag);
        let names = KEYS.iter().filter(|key| key.level == level);
        Self {
            attributes: Attributes::of(level, &instance.attributes, &instance.metadata),
            cells: stored_keys(level)
                .iter()
                .map(|key| cell(key, find(key)))
                .collect(),
            names: names
                .filter_map(|key| match key.column {
                    Some(ColumnSearch::Name(column)) => Some(name(key, column, find(key)?)),
                    _ => None,
                })
                .collect(),
        }
    }

    /// Bytes of memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let cell = |cell: &ColumnValue| match cell {
            ColumnValue::Text(value, norm) => {
                let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                length(value) + length(norm) + 64
            }
            ColumnValue::Number(_) => 64,
        };
        let group = |name: &Name| {
            name.groups
                .iter()
                .map(|group| group.len() + 32)
                .sum::<usize>()
        };
        let cells: usize = self.cells.iter().map(cell).sum();
        let names: usize = self.names.iter().map(group).sum();
        self.attributes.bytes() + cells + names
    }

    /// Takes over what is newer; no value replaces nothing.
    pub(super) fn merge(&mut self, newer: &Self) {
        self.attributes.merge(&newer.attributes);
        if self.cells.is_empty() {
            self.cells.clone_from(&newer.cells);
        }
        for (cell, newer) in self.cells.iter_mut().zip(&newer.cells) {
            if !newer.is_null() {
                cell.clone_from(newer);
            }
        }
        for name in newer.names.iter().filter(|name| !name.groups.is_empty()) {
            self.names.retain(|old| old.kind != name.kind);
            self.names.push(name.clone());
        }
    }

    /// What these attributes bring alone.
    pub(super) fn limited(&self, level: QueryLevel, tags: &[Tag]) -> Self {
        let names: Vec<String> = tags
            .iter()
            .map(|tag| crate::dicom::tag::hex(*tag))
            .collect();
        let cells = stored_keys(level).iter().zip(&self.cells);
        let cell = |(key, cell): (&&AttributeKey, &ColumnValue)| match cell {
            cell if tags.contains(&key.tag) => cell.clone(),
            ColumnValue::Text(..) => ColumnValue::Text(None, None),
            ColumnValue::Number(_) => ColumnValue::Number(None),
        };
        let of_these = |name: &&Name| names.contains(&name.attribute);
        Self {
            attributes: self.attributes.limited(&names),
            cells: cells.map(cell).collect(),
            names: self.names.iter().filter(of_these).cloned().collect(),
        }
    }

    /// The text of a column, when it has one.
    pub(super) fn text(&self, level: QueryLevel, column: &str) -> Option<&str> {
        let mut cells = stored_keys(level).iter().zip(&self.cells);
        cells.find_map(|(key, cell)| match cell {
            ColumnValue::Text(value, _) if column_name(key) == column => value.as_deref(),
            _ => None,
        })
    }
}

pub(super) fn name(key: &AttributeKey, column: &str, attribute: &Attribute) -> Name {
    let normalized = attribute
        .values
        .iter()
        .flat_map(|value| normalize::name(value));
    let mut groups: Vec<String> = normalized.map(|group| clean(&group)).collect();
    groups.sort();
    groups.dedup();
    groups.truncate(MAX_WORDS);
    Name {
        kind: name_kind(column),
        attribute: crate::dicom::tag::hex(key.tag),
        groups,
    }
}

pub(super) fn cell(key: &AttributeKey, attribute: Option<&Attribute>) -> ColumnValue {
    let values = attribute.map_or(&[][..], |a| &a.values);
    let first = values
        .iter()
        .map(|value| clean(value))
        .find(|value| !value.is_empty());
    match key.column {
        Some(ColumnSearch::Number(_)) => ColumnValue::Number(first.as_deref().and_then(number)),
        Some(ColumnSearch::Date(_) | ColumnSearch::Time(_)) => ColumnValue::Text(
            first.and_then(|value| temporal::stored(key.vr, &value)),
            None,
        ),
        _ => {
            let norm = first
                .as_deref()
                .filter(|_| has_norm(key))
                .map(|value| clean(&normalize::text(value)));
            ColumnValue::Text(first, norm)
        }
    }
}

/// An IS value as a number.
pub(super) fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}
