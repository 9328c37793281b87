//! Extended query tags: what a request to add them may say, and the tag that comes of it (DICOM service).
//!
//! Invariant: a [`QueryTag`] names a searchable attribute: its VR is one of [`SUPPORTED`], a private one has its
//! creator, and it is none of [`CORE`].

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use serde_json::{Map, Value};

use super::attributes::QueryLevel;
use super::query::{PathStep, TagPath};
use super::tag;

#[cfg(test)]
mod tests;

/// Most tags there may be.
pub const MAX_TAGS: usize = 128;

/// VRs a tag may have.
pub const SUPPORTED: &[VR] = &[
    VR::AE,
    VR::AS,
    VR::CS,
    VR::DA,
    VR::DT,
    VR::FD,
    VR::FL,
    VR::IS,
    VR::LO,
    VR::PN,
    VR::SH,
    VR::SL,
    VR::SS,
    VR::TM,
    VR::UI,
    VR::UL,
    VR::US,
];

/// Attributes every DICOM service searches without a tag.
pub const CORE: &[Tag] = &[
    tags::SOP_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::ACCESSION_NUMBER,
    tags::MODALITY,
    tags::MODALITIES_IN_STUDY,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_DESCRIPTION,
    tags::MANUFACTURER_MODEL_NAME,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
];

/// Longest text of the request that is repeated in an answer, in characters.
const ECHO: usize = 64;

/// An attribute made searchable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryTag {
    /// The tag as given, eight upper-case hex digits: its name in URLs and answers.
    pub path: String,
    /// The tag as given.
    pub tag: Tag,
    /// How its values are searched.
    pub vr: VR,
    /// Creator of a private attribute.
    pub private_creator: Option<String>,
    /// Whose attribute it is.
    pub level: QueryLevel,
}

/// Why a request to add tags is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryTagProblem {
    /// The body is no array of objects.
    #[error("The request body is not valid: an array of extended query tags is expected.")]
    Body,
    /// An empty array.
    #[error("The extended query tag(s) is missing.")]
    Nothing,
    /// More than [`MAX_TAGS`].
    #[error("Extended query tags exceeds max allowed count '{MAX_TAGS}'.")]
    TooMany,
    /// Path or level is absent, null or blank.
    #[error(
        "The field '[{index}].{name}' in request body is invalid: The Dicom Tag Property {name} must be specified and must not be null, empty or whitespace."
    )]
    NotSpecified {
        /// Position in the array.
        index: usize,
        /// `Path` or `QueryLevel`.
        name: &'static str,
    },
    /// A level that does not exist; the member is named as the request spells it.
    #[error(
        "The field '$[{index}].{member}' in request body is invalid: Expected value '{value}' to be one of the following values: ['Instance', 'Series', 'Study']"
    )]
    Level {
        /// Position in the array.
        index: usize,
        /// The member as spelled.
        member: String,
        /// What it said.
        value: String,
    },
    /// A member that is no text.
    #[error("The field '$[{index}].{member}' in request body is invalid: A text is expected.")]
    NotText {
        /// Position in the array.
        index: usize,
        /// The member as spelled.
        member: String,
    },
    /// The path names no attribute.
    #[error(
        "The extended query tag '{0}' is invalid as it cannot be parsed into a valid Dicom Tag."
    )]
    Unknown(String),
    /// A dotted path.
    #[error("Sequential dicom tags are currently not supported.")]
    Sequence,
    /// One of [`CORE`].
    #[error("The query tag '{0}' is already supported.")]
    Core(String),
    /// The same attribute twice.
    #[error("The extended query tag '{0}' has been specified before.")]
    Duplicate(String),
    /// A creator for a standard attribute.
    #[error("The private creator is not empty for standard tag '{0}'.")]
    CreatorOfStandard(String),
    /// A creator for a private creator element.
    #[error("The private creator is not empty for private identification code '{0}'.")]
    CreatorOfCreator(String),
    /// No creator for a private attribute.
    #[error("The private creator for private tag '{0}' is missing.")]
    CreatorMissing(String),
    /// The creator is too long or has control characters.
    #[error("The private creator for tag '{0}' is not a valid LO attribute.")]
    CreatorInvalid(String),
    /// No VR, and the dictionary knows none.
    #[error("The vr for tag '{0}' is missing.")]
    VrMissing(String),
    /// No VR of DICOM.
    #[error("The VR code '{vr}' for tag '{path}' is invalid.")]
    VrInvalid {
        /// As given.
        vr: String,
        /// Which tag.
        path: String,
    },
    /// Not the VR of the dictionary.
    #[error(
        "The VR code '{vr}' is incorrectly specified for '{path}'. The expected VR code for it is '{expected}'. Retry this request either with the correct VR code or without specifying it."
    )]
    VrWrong {
        /// As given.
        vr: String,
        /// Which tag.
        path: String,
        /// Of the dictionary.
        expected: &'static str,
    },
    /// A VR that is not searched.
    #[error("The VR code '{vr}' specified for tag '{path}' is not supported.")]
    VrUnsupported {
        /// Which.
        vr: &'static str,
        /// Which tag.
        path: String,
    },
}

impl QueryTag {
    /// The attribute as a search names it: a private one by creator and element without its block.
    #[must_use]
    pub fn tag_path(&self) -> TagPath {
        match &self.private_creator {
            None => TagPath::from(self.tag),
            Some(creator) => TagPath(vec![PathStep {
                tag: Tag(self.tag.0, self.tag.1 & 0xFF),
                creator: Some(creator.clone()),
            }]),
        }
    }
}

/// Reads the body of a request to add tags; member names and enumerations in any case.
///
/// # Errors
/// The first [`QueryTagProblem`]; members that are missing anywhere are reported before anything else.
pub fn parse_body(body: &Value) -> Result<Vec<QueryTag>, QueryTagProblem> {
    let entries = body.as_array().ok_or(QueryTagProblem::Body)?;
    if entries.len() > MAX_TAGS {
        return Err(QueryTagProblem::TooMany);
    }
    let fields: Vec<EntryFields<'_>> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| EntryFields::read(index, entry))
        .collect::<Result<_, _>>()?;
    let mut tags: Vec<QueryTag> = Vec::with_capacity(fields.len());
    for field in &fields {
        let tag = field.tag()?;
        if tags
            .iter()
            .any(|other| (other.tag, &other.private_creator) == (tag.tag, &tag.private_creator))
        {
            return Err(QueryTagProblem::Duplicate(echo(field.path)));
        }
        tags.push(tag);
    }
    if tags.is_empty() {
        Err(QueryTagProblem::Nothing)
    } else {
        Ok(tags)
    }
}

/// Reads a tag as URLs name it: keyword or eight hex digits, not dotted.
///
/// # Errors
/// [`QueryTagProblem::Unknown`] or [`QueryTagProblem::Sequence`].
pub fn parse_path(path: &str) -> Result<Tag, QueryTagProblem> {
    if path.contains('.') {
        return Err(QueryTagProblem::Sequence);
    }
    tag::parse(path).map_err(|_| QueryTagProblem::Unknown(echo(path)))
}

/// The members of one entry.
struct EntryFields<'a> {
    path: &'a str,
    vr: Option<&'a str>,
    creator: Option<&'a str>,
    level: QueryLevel,
}

impl<'a> EntryFields<'a> {
    fn read(index: usize, entry: &'a Value) -> Result<Self, QueryTagProblem> {
        let entry = entry.as_object().ok_or(QueryTagProblem::Body)?;
        let member = |name: &str| text_member(entry, index, name);
        let missing = |name| QueryTagProblem::NotSpecified { index, name };
        let (_, path) = member("Path")?.ok_or(missing("Path"))?;
        let (spelled, level) = member("Level")?.ok_or(missing("Level"))?;
        let level = parse_level(level).ok_or_else(|| QueryTagProblem::Level {
            index,
            member: echo(spelled),
            value: echo(level),
        })?;
        let vr = member("VR")?.map(|(_, value)| value);
        let creator = member("PrivateCreator")?.map(|(_, value)| value);
        Ok(Self {
            path,
            vr,
            creator,
            level,
        })
    }

    fn tag(&self) -> Result<QueryTag, QueryTagProblem> {
        let tag = parse_path(self.path)?;
        if CORE.contains(&tag) {
            return Err(QueryTagProblem::Core(echo(self.path)));
        }
        let private_creator = self.checked_creator(tag)?;
        let vr = self.checked_vr(tag)?;
        Ok(QueryTag {
            path: tag::hex(tag),
            tag,
            vr,
            private_creator,
            level: self.level,
        })
    }

    fn checked_creator(&self, tag: Tag) -> Result<Option<String>, QueryTagProblem> {
        let path = || echo(self.path);
        match self.creator {
            Some(_) if !tag::is_private(tag) => Err(QueryTagProblem::CreatorOfStandard(path())),
            Some(_) if tag::is_creator(tag) => Err(QueryTagProblem::CreatorOfCreator(path())),
            None if tag::is_private(tag) && !tag::is_creator(tag) => {
                Err(QueryTagProblem::CreatorMissing(path()))
            }
            None => Ok(None),
            Some(creator) => {
                let creator = creator.trim_matches(' ');
                let valid = creator.chars().count() <= 64
                    && !creator.contains(|c: char| c == '\\' || c.is_control());
                if valid {
                    Ok(Some(creator.to_owned()))
                } else {
                    Err(QueryTagProblem::CreatorInvalid(path()))
                }
            }
        }
    }

    fn checked_vr(&self, tag: Tag) -> Result<VR, QueryTagProblem> {
        let path = || echo(self.path);
        let allowed = tag::allowed_vrs(tag);
        let given = match self.vr {
            None => None,
            Some(code) => {
                let vr = code.to_ascii_uppercase().parse::<VR>();
                Some(vr.map_err(|_| QueryTagProblem::VrInvalid {
                    vr: echo(code),
                    path: path(),
                })?)
            }
        };
        let vr = match (given, allowed.first()) {
            (Some(vr), Some(expected)) if !allowed.contains(&vr) => {
                let (vr, expected) = (vr.to_string().to_owned(), (*expected).to_string());
                return Err(QueryTagProblem::VrWrong {
                    vr,
                    path: path(),
                    expected,
                });
            }
            (Some(vr), _) => vr,
            (None, Some(expected)) => *expected,
            (None, None) => return Err(QueryTagProblem::VrMissing(path())),
        };
        if SUPPORTED.contains(&vr) {
            Ok(vr)
        } else {
            Err(QueryTagProblem::VrUnsupported {
                vr: vr.to_string(),
                path: path(),
            })
        }
    }
}

/// A member by name in any case, with the name as spelled; none when it is absent, null or blank.
fn text_member<'a>(
    entry: &'a Map<String, Value>,
    index: usize,
    name: &str,
) -> Result<Option<(&'a str, &'a str)>, QueryTagProblem> {
    let found = entry.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    match found {
        None | Some((_, Value::Null)) => Ok(None),
        Some((_, Value::String(text))) if text.trim().is_empty() => Ok(None),
        Some((key, Value::String(text))) => Ok(Some((key, text.trim()))),
        Some((key, _)) => Err(QueryTagProblem::NotText {
            index,
            member: echo(key),
        }),
    }
}

fn parse_level(text: &str) -> Option<QueryLevel> {
    [
        ("study", QueryLevel::Study),
        ("series", QueryLevel::Series),
        ("instance", QueryLevel::Instance),
    ]
    .into_iter()
    .find(|(name, _)| text.eq_ignore_ascii_case(name))
    .map(|(_, level)| level)
}

/// What is repeated of a request: short and printable.
fn echo(text: &str) -> String {
    text.chars()
        .take(ECHO)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}
