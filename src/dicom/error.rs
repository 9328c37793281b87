//! What can be wrong with a file as a whole: one enum for all that reads Part 10 bytes.
//!
//! Invariant: no message holds a value of the file other than tags, offsets and lengths.

use std::error::Error;
use std::fmt;
use std::io;

use dicom_core::Tag;

use super::identifiers::Identifiers;
use super::uid::UidError;

/// Why a file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Neither a Part 10 file nor a bare data set.
    #[error(
        "this is not a DICOM file: there is no DICM prefix, and the first bytes are not a data element"
    )]
    NotDicom,
    /// Something stands before the prefix, and the server stores only files where nothing does.
    #[error(
        "the preamble is neither empty nor that of a TIFF file, and this server stores no other (STOWAGE_PREAMBLES): send the file with 128 zeros there"
    )]
    Preamble,
    /// The bytes do not keep the encoding rules of PS3.5.
    #[error("damaged at byte {offset}, element {}: {problem}; send the complete, valid file", DisplayTag(*.tag))]
    Damaged {
        /// The element in question; none before the first one.
        tag: Option<Tag>,
        /// Where, counted like [`super::instance::FileLayout`] counts.
        offset: u64,
        /// What is wrong there.
        problem: ParseProblem,
        /// What could be read before.
        read: Box<Identifiers>,
    },
    /// The file is beyond a limit of [`super::limits::ParseLimits`].
    #[error("at byte {offset}, element {}: more than {allowed} {limit}", DisplayTag(*.tag))]
    Limit {
        /// The element in question.
        tag: Option<Tag>,
        /// Where.
        offset: u64,
        /// Which limit.
        limit: Limit,
        /// Its value.
        allowed: u64,
        /// What could be read before.
        read: Box<Identifiers>,
    },
    /// An identifier is absent or has no value.
    #[error("required attribute {} is missing or empty", DisplayTag(Some(*.tag)))]
    Missing {
        /// Which one.
        tag: Tag,
        /// All identifiers as read.
        read: Box<Identifiers>,
    },
    /// An identifier is not a UID.
    #[error("attribute {} does not hold one valid UID", DisplayTag(Some(*.tag)))]
    BadUid {
        /// Which one.
        tag: Tag,
        /// All identifiers as read.
        read: Box<Identifiers>,
        /// What is wrong with it.
        #[source]
        source: UidError,
    },
    /// There is no memory for what has to be kept of it.
    #[error("{source}")]
    NoRoom {
        /// Why.
        source: NoParseMemory,
        /// What could be read before.
        read: Box<Identifiers>,
    },
    /// The source could not be read, or the inflated data set not be written.
    #[error("the file could not be read")]
    Read(#[from] io::Error),
}

impl ParseError {
    pub(crate) fn damaged(tag: Option<Tag>, offset: u64, problem: ParseProblem) -> Self {
        Self::Damaged {
            tag,
            offset,
            problem,
            read: Box::default(),
        }
    }

    pub(crate) fn limit(tag: Option<Tag>, offset: u64, limit: Limit, allowed: u64) -> Self {
        Self::Limit {
            tag,
            offset,
            limit,
            allowed,
            read: Box::default(),
        }
    }

    /// Adds the identifiers read before things went wrong.
    pub(crate) fn with_identifiers(mut self, found: &Identifiers) -> Self {
        match &mut self {
            Self::Damaged { read, .. } | Self::Limit { read, .. } | Self::NoRoom { read, .. } => {
                **read = found.clone();
            }
            Self::NotDicom
            | Self::Preamble
            | Self::Missing { .. }
            | Self::BadUid { .. }
            | Self::Read(_) => {}
        }
        self
    }

    /// The identifiers that could be read, for a failure report.
    #[must_use]
    pub fn identifiers(&self) -> Option<&Identifiers> {
        match self {
            Self::Damaged { read, .. }
            | Self::Limit { read, .. }
            | Self::Missing { read, .. }
            | Self::BadUid { read, .. }
            | Self::NoRoom { read, .. } => Some(read),
            Self::NotDicom | Self::Preamble | Self::Read(_) => None,
        }
    }
}

impl From<NoParseMemory> for ParseError {
    fn from(source: NoParseMemory) -> Self {
        Self::NoRoom {
            source,
            read: Box::default(),
        }
    }
}

/// What is wrong at one place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseProblem {
    /// The file, or the item around, ends inside an element or item header.
    HeaderCut,
    /// The value ends past the end of the file.
    PastFile,
    /// The value ends past the end of the item or sequence around it.
    PastParent,
    /// Something else than an item stands in a sequence or in encapsulated pixel data.
    NotAnItem,
    /// A delimiter stands where none is open.
    StrayDelimiter,
    /// An undefined length where the value representation allows none.
    UndefinedLength,
    /// The file ends before an open sequence, item or encapsulated value is closed.
    NotClosed,
    /// Two letters where a value representation should be, and the value cannot be found.
    UnknownVr([u8; 2]),
    /// The encoding can neither be told from the transfer syntax nor from the bytes.
    UnknownEncoding,
    /// The deflated data set cannot be inflated.
    Deflate,
    /// The deflated data set ends early.
    DeflateCut,
}

impl fmt::Display for ParseProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownVr([a, b]) => {
                let (a, b) = (char::from(*a), char::from(*b));
                return write!(f, "DICOM has no value representation {a}{b}");
            }
            Self::HeaderCut => "the data ends inside a header",
            Self::PastFile => "the value ends past the end of the file",
            Self::PastParent => "the value ends past the item or sequence around it",
            Self::NotAnItem => "something that is not an item stands between items",
            Self::StrayDelimiter => "a delimiter closes nothing",
            Self::UndefinedLength => "this value representation cannot have an undefined length",
            Self::NotClosed => "a sequence, item or encapsulated value is not closed",
            Self::UnknownEncoding => "the encoding of the data set cannot be recognized",
            Self::Deflate => "the deflated data set is not valid",
            Self::DeflateCut => "the deflated data set is not complete",
        })
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Sequences inside each other.
    Depth,
    /// Data elements and sequence items together.
    Elements,
    /// Frames of the pixel data.
    Frames,
    /// Fragments of encapsulated values in all.
    Fragments,
    /// Bytes of values looked at.
    Kept,
    /// Bytes of DICOM JSON.
    Text,
    /// Values served by URI.
    Bulk,
    /// Bytes of the inflated data set.
    Inflated,
    /// Bytes of one value.
    Value,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Depth => "sequences inside each other",
            Self::Elements => "data elements and sequence items",
            Self::Frames => "frames",
            Self::Fragments => "fragments",
            Self::Kept => "bytes of values other than bulk data",
            Self::Text => "bytes of metadata",
            Self::Bulk => "bulk data values",
            Self::Inflated => "bytes of inflated data set",
            Self::Value => "bytes of one value",
        })
    }
}

/// A tag as `(gggg,eeee)`, or `none`.
struct DisplayTag(Option<Tag>);

impl fmt::Display for DisplayTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Tag(group, element)) => write!(f, "({group:04X},{element:04X})"),
            None => f.write_str("none"),
        }
    }
}

/// Why memory was not granted.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NoParseMemory(pub Box<dyn Error + Send + Sync>);
