//! What a value must be for its VR, and which attributes an instance must have: the rules of the STOW profiles.
//!
//! | Profile | Looked at | A bad value |
//! | --- | --- | --- |
//! | v1 | required attributes; attributes of the index, by [`indexed`] | refuses the instance |
//! | v2 | required attributes; every element at every depth, by [`element`] | is a warning; refuses only in a required one |
//! | `/dicom-web` | required attributes | – |
//!
//! Trailing spaces and NULs are padding everywhere and never a fault; a NUL elsewhere is a control character. Value
//! multiplicity is checked for the attributes of the index, whose multiplicity is known.
//! Invariant: no reason repeats a value, so none carries patient data.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::attributes;
use super::temporal;
use super::uid::check_uid;

#[cfg(test)]
mod tests;

/// Which rules an instance is stored under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// The DICOM service before version 2.
    V1,
    /// The DICOM service, version 2.
    V2,
    /// PS3.18.
    Standard,
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The instance is refused.
    Error,
    /// The instance is stored, the answer tells.
    Warning,
    /// Nothing.
    Accepted,
}

/// What is expected of one attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Required {
    /// The attribute.
    pub tag: Tag,
    /// What follows when it is not there.
    pub absent: Severity,
    /// What follows when it is there without a value.
    pub empty: Severity,
    /// What follows when its value is not allowed for its VR.
    pub invalid: Severity,
}

/// Why a value cannot be what its attribute needs; the text is the reason behind `DICOM100: (gggg,eeee) - `.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueProblem {
    /// A required attribute is absent or empty.
    #[error("The required tag '({:04X},{:04X})' is missing.", .0.0, .0.1)]
    Missing(Tag),
    /// Longer than the VR allows.
    #[error("Value length exceeds maximum length of {0}.")]
    TooLong(usize),
    /// Not of the length the VR has.
    #[error("Value length is not {0}.")]
    Length(usize),
    /// A character that the VR excludes.
    #[error("Value contains invalid character.")]
    Character,
    /// More than three groups.
    #[error("Value contains more than 3 groups.")]
    Groups,
    /// More than five components.
    #[error("Value contains more than 5 components.")]
    Components,
    /// No date.
    #[error("Value cannot be parsed as a valid date.")]
    Date,
    /// No time.
    #[error("Value cannot be parsed as a valid time.")]
    Time,
    /// No date and time.
    #[error("Value cannot be parsed as a valid date and time.")]
    DateTime,
    /// No age.
    #[error("Value is not three digits and one of D, W, M, Y.")]
    Age,
    /// No integer of 32 bits.
    #[error("Value cannot be parsed as a valid integer.")]
    Integer,
    /// No decimal number.
    #[error("Value cannot be parsed as a valid decimal number.")]
    Decimal,
    /// No UID.
    #[error(
        "Value is not a valid UID: at most 64 digits and dots that start and end with a digit."
    )]
    Uid,
    /// Several values where one is allowed.
    #[error("Attribute has several values but may have only one.")]
    Multiplicity,
    /// The file says another VR than the dictionary.
    #[error("Value representation is {found} but must be {expected}.")]
    Representation {
        /// In the file.
        found: &'static str,
        /// In the dictionary.
        expected: &'static str,
    },
}

const fn strict(tag: Tag) -> Required {
    Required {
        tag,
        absent: Severity::Error,
        empty: Severity::Error,
        invalid: Severity::Error,
    }
}

const V1: &[Required] = &[
    strict(tags::STUDY_INSTANCE_UID),
    strict(tags::SERIES_INSTANCE_UID),
    strict(tags::SOP_INSTANCE_UID),
    strict(tags::SOP_CLASS_UID),
    strict(tags::PATIENT_ID),
];

const V2: &[Required] = &[
    strict(tags::STUDY_INSTANCE_UID),
    strict(tags::SERIES_INSTANCE_UID),
    strict(tags::SOP_INSTANCE_UID),
    strict(tags::SOP_CLASS_UID),
    Required {
        tag: tags::PATIENT_ID,
        absent: Severity::Error,
        empty: Severity::Warning,
        invalid: Severity::Error,
    },
];

const STANDARD: &[Required] = &[
    strict(tags::STUDY_INSTANCE_UID),
    strict(tags::SERIES_INSTANCE_UID),
    strict(tags::SOP_INSTANCE_UID),
    strict(tags::SOP_CLASS_UID),
];

/// The attributes an instance must have.
#[must_use]
pub fn required(rules: Rules) -> &'static [Required] {
    match rules {
        Rules::V1 => V1,
        Rules::V2 => V2,
        Rules::Standard => STANDARD,
    }
}

impl Required {
    /// Judges the attribute as found in a file: none when it is absent, no values when it is empty.
    #[must_use]
    pub fn check(&self, found: Option<&[String]>) -> Option<(Severity, ValueProblem)> {
        let (severity, problem) = match found {
            None => (self.absent, ValueProblem::Missing(self.tag)),
            Some(values) if values.iter().all(|value| unpadded(value).is_empty()) => {
                (self.empty, ValueProblem::Missing(self.tag))
            }
            Some(values) => {
                let vr = if self.tag == tags::PATIENT_ID {
                    VR::LO
                } else {
                    VR::UI
                };
                let several = (values.len() > 1).then_some(ValueProblem::Multiplicity);
                let problem =
                    several.or_else(|| values.iter().find_map(|v| minimum(vr, unpadded(v))));
                (self.invalid, problem?)
            }
        };
        (severity != Severity::Accepted).then_some((severity, problem))
    }
}

/// Judges an attribute of the index under v1: `vr` as in the file, `expected` as in the dictionary.
///
/// Only the first value is indexed and looked at.
#[must_use]
pub fn indexed(expected: VR, vr: VR, raw: &[u8], values: &[String]) -> Option<ValueProblem> {
    if vr != expected {
        let (found, expected) = (vr.to_string(), expected.to_string());
        return Some(ValueProblem::Representation { found, expected });
    }
    binary(vr, raw).or_else(|| minimum(vr, unpadded(values.first()?)))
}

/// Judges an element under v2: its bytes as in the file and its decoded values, split where the VR splits.
#[must_use]
pub fn element(tag: Tag, vr: VR, raw: &[u8], values: &[String]) -> Option<ValueProblem> {
    if let Some(key) = attributes::key(tag).filter(|key| key.vr != vr) {
        let (found, expected) = (vr.to_string(), key.vr.to_string());
        return Some(ValueProblem::Representation { found, expected });
    }
    let fault =
        binary(vr, raw).or_else(|| values.iter().find_map(|value| full(vr, unpadded(value))));
    fault.or_else(|| (values.len() > 1 && single_valued(tag)).then_some(ValueProblem::Multiplicity))
}

/// Judges one text value that is to be written: what [`element`] looks at, and that it stays one value (PS3.5 §6.2).
#[must_use]
pub fn written(vr: VR, value: &str) -> Option<ValueProblem> {
    let splits = !matches!(vr, VR::LT | VR::ST | VR::UT | VR::UR);
    if splits && value.contains('\\') {
        return Some(ValueProblem::Character);
    }
    full(vr, unpadded(value))
}

/// Whether an attribute of the index has value multiplicity 1 in PS3.6; false for every other attribute.
#[must_use]
pub fn single_valued(tag: Tag) -> bool {
    /// Attributes of the index with multiplicity 1-n.
    const SEVERAL: &[Tag] = &[
        tags::SPECIFIC_CHARACTER_SET,
        tags::MODALITIES_IN_STUDY,
        tags::NAME_OF_PHYSICIANS_READING_STUDY,
        tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    ];
    attributes::key(tag).is_some() && !SEVERAL.contains(&tag)
}

fn unpadded(value: &str) -> &str {
    value.trim_end_matches(['\0', ' '])
}

/// Bytes per value of a VR of fixed size.
fn width(vr: VR) -> usize {
    match vr {
        VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OF | VR::OL => 4,
        VR::FD | VR::SV | VR::UV | VR::OD | VR::OV => 8,
        _ => 1,
    }
}

fn binary(vr: VR, raw: &[u8]) -> Option<ValueProblem> {
    (!raw.len().is_multiple_of(width(vr))).then_some(ValueProblem::Length(width(vr)))
}

/// The rules both versions share: what the index needs to be able to hold the value.
fn minimum(vr: VR, value: &str) -> Option<ValueProblem> {
    if value.is_empty() {
        return None;
    }
    match vr {
        VR::AE | VR::CS | VR::SH => longer(value, 16),
        VR::AS => (value.chars().count() != 4).then_some(ValueProblem::Length(4)),
        VR::DA => day(value),
        VR::TM => temporal::time(value)
            .is_none()
            .then_some(ValueProblem::Time),
        VR::DT => temporal::date_time(value)
            .is_none()
            .then_some(ValueProblem::DateTime),
        VR::IS => integer(value),
        VR::LO => longer(value, 64).or_else(|| printable(value)),
        VR::PN => person_name(value),
        VR::UI => check_uid(value).is_err().then_some(ValueProblem::Uid),
        _ => None,
    }
}

/// All rules of PS3.5 §6.2 that can be checked on one value.
fn full(vr: VR, value: &str) -> Option<ValueProblem> {
    if value.is_empty() {
        return None;
    }
    let characters = |allowed: fn(char) -> bool| {
        (!value.chars().all(allowed)).then_some(ValueProblem::Character)
    };
    match vr {
        VR::AE => longer(value, 16).or_else(|| characters(|c| matches!(c, ' '..='~') && c != '\\')),
        VR::CS => longer(value, 16)
            .or_else(|| characters(|c| matches!(c, 'A'..='Z' | '0'..='9' | '_' | ' '))),
        VR::SH => longer(value, 16).or_else(|| printable(value)),
        VR::AS => age(value),
        VR::DS => longer(value, 16).or_else(|| decimal(value)),
        VR::IS => longer(value, 12).or_else(|| integer(value)),
        VR::ST => longer(value, 1024),
        VR::LT => longer(value, 10_240),
        VR::UR => characters(|c| matches!(c, '!'..='~')),
        _ => minimum(vr, value),
    }
}

/// Counts characters only where bytes alone cannot tell.
fn longer(value: &str, most: usize) -> Option<ValueProblem> {
    (value.len() > most && value.chars().count() > most).then_some(ValueProblem::TooLong(most))
}

/// Neither backslash nor control character; ESC may have been kept where an escape sequence is unknown.
fn printable(value: &str) -> Option<ValueProblem> {
    let bad = |c: char| c == '\\' || c.is_control() && c != '\u{1B}';
    value.contains(bad).then_some(ValueProblem::Character)
}

fn day(value: &str) -> Option<ValueProblem> {
    // The old form with dots can be searched but is no value of today's VR.
    (value.len() != 8 || temporal::date(value).is_none()).then_some(ValueProblem::Date)
}

fn age(value: &str) -> Option<ValueProblem> {
    let fits = match value.as_bytes() {
        [digits @ .., unit] => {
            digits.len() == 3 && digits.iter().all(u8::is_ascii_digit) && b"DWMY".contains(unit)
        }
        [] => true,
    };
    (!fits).then_some(ValueProblem::Age)
}

fn integer(value: &str) -> Option<ValueProblem> {
    value
        .trim_matches(' ')
        .parse::<i32>()
        .is_err()
        .then_some(ValueProblem::Integer)
}

fn decimal(value: &str) -> Option<ValueProblem> {
    let value = value.trim_matches(' ');
    let written = value
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let finite = value.parse::<f64>().is_ok_and(f64::is_finite);
    (!written || !finite).then_some(ValueProblem::Decimal)
}

fn person_name(value: &str) -> Option<ValueProblem> {
    let groups = || value.split('=');
    if groups().nth(3).is_some() {
        return Some(ValueProblem::Groups);
    }
    groups()
        .find_map(|group| longer(unpadded(group), 64))
        .or_else(|| printable(value))
        .or_else(|| {
            groups()
                .any(|group| group.split('^').nth(5).is_some())
                .then_some(ValueProblem::Components)
        })
}
