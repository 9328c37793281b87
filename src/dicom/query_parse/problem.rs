//! What is wrong with a search, for a 400 or a Warning 299.
//!
//! Invariant: parameter names are repeated shortened and in printable ASCII, values never.

use std::fmt;

use super::super::temporal::TemporalError;
use super::limits::{MAX_CONDITIONS, MAX_INCLUDES, MAX_LIST, MAX_PATTERN, MAX_VALUE};
use crate::dicom::tag::TagError;

/// Longest parameter name that is repeated.
const MAX_NAME: usize = 64;

/// A search that cannot be answered: 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The query parameter '{parameter}' is invalid. {reason}")]
pub struct QueryProblem {
    /// The parameter as the client named it, fit for print.
    pub parameter: ParameterName,
    /// What is wrong.
    pub reason: Reason,
}

/// The name of a query parameter as far as it can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterName(String);

impl ParameterName {
    pub(super) fn new(name: &str) -> Self {
        let printable = |c: char| {
            if matches!(c, ' '..='~') && c != '"' {
                c
            } else {
                '?'
            }
        };
        Self(name.chars().take(MAX_NAME).map(printable).collect())
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a parameter is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No parameter of a search and no attribute.
    #[error("It is neither a parameter of a search nor an attribute. {0}")]
    Unknown(TagError),
    /// An attribute that cannot be a key of this resource.
    #[error("The attribute cannot be searched at this resource.")]
    NotSearchable,
    /// The attribute was named before.
    #[error("Each attribute may be given once, by keyword or by number.")]
    Duplicate,
    /// Another value was given before.
    #[error("The parameter is given twice with different values.")]
    Twice,
    /// More than [`MAX_CONDITIONS`].
    #[error("A search may have at most {MAX_CONDITIONS} attributes.")]
    TooManyConditions,
    /// More than [`MAX_INCLUDES`].
    #[error("At most {MAX_INCLUDES} attributes can be included; use 'all' for everything.")]
    TooManyIncludes,
    /// More than [`MAX_LIST`].
    #[error("At most {MAX_LIST} values can be given.")]
    TooManyValues,
    /// Longer than [`MAX_VALUE`].
    #[error("The value is longer than {MAX_VALUE} bytes.")]
    TooLong,
    /// Longer than [`MAX_PATTERN`].
    #[error("A value with wildcards may have at most {MAX_PATTERN} characters.")]
    LongPattern,
    /// A control character inside.
    #[error("The value contains a control character.")]
    Control,
    /// Neither `true` nor `false`.
    #[error("The value is not 'true' or 'false'.")]
    NotBoolean,
    /// A limit outside of the DICOM service's range.
    #[error("The value must be an integer between 1 and {0}.")]
    Limit(u64),
    /// No value where one is needed.
    #[error("It needs a value: matching of any value is asked for by leaving the attribute out.")]
    NoValue,
    /// No whole number.
    #[error("The value must be an integer that is not negative.")]
    NotCount,
    /// No date, time or range.
    #[error("{0}")]
    Temporal(TemporalError),
    /// A range among several values.
    #[error("A range cannot be one of several values.")]
    RangeInList,
    /// No UID.
    #[error(
        "The value must be a UID: at most 64 digits and dots, the last one a digit; several are separated by commas."
    )]
    Uid,
    /// No integer.
    #[error("The value is not an integer.")]
    Integer,
    /// No decimal number.
    #[error("The value is not a number.")]
    Number,
    /// No attribute tag.
    #[error("The value is not an attribute tag of eight hexadecimal digits.")]
    Tag,
    /// A quotation mark in a fuzzy search.
    #[error("A name may not contain a quotation mark when fuzzymatching is on.")]
    Quote,
    /// A value for a whole sequence.
    #[error("A sequence has no value; name an attribute inside it, joined by a dot.")]
    Sequence,
    /// A value for binary data.
    #[error("Binary attributes cannot be matched.")]
    Binary,
    /// An order that there is not.
    #[error(
        "Studies can be sorted by StudyDate, PatientName, PatientID or AccessionNumber, with '-' before it for descending order; nothing else can be sorted."
    )]
    Order,
    /// An attribute to include that is not known.
    #[error("It names an unknown attribute. {0}")]
    UnknownInclude(TagError),
}

/// Something a search asked for that was not done as asked: Warning 299.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryWarning {
    /// An order that there is not.
    NotSorted(ParameterName),
    /// A parameter whose value says nothing.
    Ignored(ParameterName),
    /// No parameter of a search and no known attribute; what was probably meant, if that can be guessed.
    Unknown(ParameterName, Option<&'static str>),
    /// No known attribute among the included ones, likewise.
    NotIncluded(ParameterName, Option<&'static str>),
    /// An attribute that matching leaves out (PS3.4 §C.2.2.2), or that this archive has no value for.
    NotMatched(ParameterName),
    /// An attribute of a lower level than the resource.
    LowerLevel(ParameterName),
    /// An attribute without an index.
    NotIndexed(ParameterName),
}

impl fmt::Display for QueryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored(name) => {
                write!(f, "The parameter {name} is not supported and was ignored.")
            }
            Self::NotSorted(name) => {
                write!(
                    f,
                    "The parameter {name} was ignored: studies can be sorted by StudyDate, PatientName, PatientID or AccessionNumber, nothing else."
                )
            }
            Self::Unknown(name, likely) => {
                write!(f, "The parameter {name} is not supported and was ignored.")?;
                did_you_mean(f, *likely)
            }
            Self::NotIncluded(name, likely) => {
                write!(
                    f,
                    "The includefield {name} is not a known attribute and was ignored."
                )?;
                did_you_mean(f, *likely)
            }
            Self::NotMatched(name) => {
                write!(f, "The attribute {name} is not matched and was ignored.")
            }
            Self::LowerLevel(name) => {
                write!(
                    f,
                    "The attribute {name} belongs to a lower level than the resource and was ignored."
                )
            }
            Self::NotIndexed(name) => {
                write!(
                    f,
                    "The attribute {name} is not indexed, so the search is slow; an extended query tag makes it fast."
                )
            }
        }
    }
}

fn did_you_mean(f: &mut fmt::Formatter<'_>, likely: Option<&'static str>) -> fmt::Result {
    match likely {
        Some(likely) => write!(f, " Did you mean {likely}?"),
        None => Ok(()),
    }
}
