//! The query model: what a search asks, free of HTTP and of SQL (PS3.18 §8.3.4, PS3.4 §C.2.2.2).
//!
//! Invariant: a [`Query`] holds only decoded, checked values; whoever builds SQL or matches JSON from it need not
//! look at a query string again.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::attributes::QueryLevel;
use super::uid::{SeriesUid, StudyUid};

/// One step of a path to an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathStep {
    /// The tag; for private ones the element number without its block (`gggg00ee`) when `creator` is given.
    pub tag: Tag,
    /// Private creator, when the step is a private attribute named with it.
    pub creator: Option<String>,
}

/// A path to an attribute: sequences first, the attribute last; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TagPath(pub Vec<PathStep>);

/// One search: all conditions must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is looked for.
    pub level: QueryLevel,
    /// Study named in the path.
    pub study: Option<StudyUid>,
    /// Series named in the path.
    pub series: Option<SeriesUid>,
    /// Conditions, joined by AND.
    pub conditions: Vec<Condition>,
    /// Which attributes come back beside the default ones.
    pub include: Include,
    /// Most rows to return; none = no limit asked for.
    pub limit: Option<u64>,
    /// Rows to skip.
    pub offset: u64,
    /// What the rows are sorted by; none = when they arrived, the newest first.
    pub order: Option<Order>,
}

/// An order of studies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What is compared.
    pub by: SortKey,
    /// Whether the last comes first.
    pub descending: bool,
}

/// What studies can be sorted by; no value comes before every value, equal ones are in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// Study Date, then Study Time.
    StudyDate,
    /// Patient's Name, folded.
    PatientName,
    /// Patient ID, folded.
    PatientId,
    /// Accession Number, folded.
    AccessionNumber,
}

impl SortKey {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::StudyDate,
        Self::PatientName,
        Self::PatientId,
        Self::AccessionNumber,
    ];

    /// The attribute it is named by.
    #[must_use]
    pub const fn tag(self) -> Tag {
        match self {
            Self::StudyDate => tags::STUDY_DATE,
            Self::PatientName => tags::PATIENT_NAME,
            Self::PatientId => tags::PATIENT_ID,
            Self::AccessionNumber => tags::ACCESSION_NUMBER,
        }
    }
}

/// Attributes asked for by `includefield`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include {
    /// The defaults and these.
    Fields(Vec<TagPath>),
    /// Everything known at the level.
    All,
}

/// One attribute and how its value must match.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The attribute; longer than one step for sequence matching.
    pub path: TagPath,
    /// Its VR.
    pub vr: VR,
    /// How it matches.
    pub matching: Matching,
    /// Whether case counts; person names ignore case and accents always.
    pub case: Case,
}

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// `CT` is not `ct` (PS3.4 §C.2.2.2.1).
    Sensitive,
    /// Folded on both sides (the DICOM service).
    Folded,
}

/// Attribute matching (PS3.4 §C.2.2.2).
#[derive(Debug, Clone, PartialEq)]
pub enum Matching {
    /// Anything, also no value; the attribute is returned.
    Universal,
    /// Exactly no value (`emptyvaluematching`).
    Empty,
    /// One value, whole.
    Single(String),
    /// Any of these values, whole (UID list, `multiplevaluematching`).
    AnyOf(Vec<String>),
    /// `*` any characters, `?` one character.
    Wildcard(String),
    /// Any of several wildcard patterns or values.
    AnyWildcard(Vec<String>),
    /// Inclusive bounds in normal form: DA `yyyymmdd`, TM `hhmmss.ffffff`, DT `yyyymmddhhmmss.ffffff` (UTC when it
    /// had an offset). A partial value has been widened to its first or last moment.
    Range {
        /// Lower bound.
        from: Option<String>,
        /// Upper bound.
        to: Option<String>,
    },
    /// Study date and time matched as one moment (PS3.4 §C.2.2.2.5.4): bounds `yyyymmddhhmmss.ffffff`. The condition's
    /// path names the date; `time` is the tag of the time.
    DateTime {
        /// Tag of the time attribute.
        time: Tag,
        /// Lower bound.
        from: Option<String>,
        /// Upper bound.
        to: Option<String>,
    },
    /// Numeric equality.
    Number(f64),
    /// A phrase of word prefixes that must stand next to each other, in order, in one group of a name; already folded.
    Words(Vec<String>),
}

/// Whose rules a search follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryDialect {
    /// The DICOM service.
    Service,
    /// PS3.18.
    Standard,
}

/// What is searched: the path of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryResource {
    /// What is looked for.
    pub level: QueryLevel,
    /// Study in the path.
    pub study: Option<StudyUid>,
    /// Series in the path.
    pub series: Option<SeriesUid>,
}
