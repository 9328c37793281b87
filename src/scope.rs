//! Who asks: plain data made by `auth`, applied in SQL by `index`.
//!
//! Invariant: no index method that touches patient data can be called without a [`Scope`].

/// A data partition; 1 is the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partition(pub i64);

impl Partition {
    /// The one partition there is while the feature is off (`Microsoft.Default`).
    pub const DEFAULT: Self = Self(1);
}

/// What a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The partition everything happens in.
    pub partition: Partition,
    /// Which studies exist for the caller.
    pub visible: Visible,
}

/// Which studies exist for a caller; one outside answers exactly as one that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// Every study.
    All,
    /// Only studies that match one of the lists.
    Only {
        /// Patient IDs (0010,0020), exact.
        patients: Vec<String>,
        /// Study Instance UIDs.
        studies: Vec<String>,
    },
}

impl Visible {
    /// Whether a study of this UID and patient exists for the caller.
    #[must_use]
    pub fn admits(&self, study: &str, patient: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only { patients, studies } => {
                studies.iter().any(|uid| uid == study)
                    || patient.is_some_and(|patient| patients.iter().any(|id| id == patient))
            }
        }
    }
}

impl Visible {
    /// Whether a study of this UID may be admitted, whoever its patient is; none stands for any study.
    #[must_use]
    pub fn may_admit(&self, study: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only { patients, studies } => {
                !patients.is_empty()
                    || study.map_or(!studies.is_empty(), |study| {
                        studies.iter().any(|uid| uid == study)
                    })
            }
        }
    }
}

impl Scope {
    /// Everything in the default partition.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            partition: Partition::DEFAULT,
            visible: Visible::All,
        }
    }
}
