//! Who asks: plain data made by `auth`, applied in SQL by `index`.
//!
//! Invariant: no index method that touches patient data can be called without a [`Scope`].

use std::fmt;
use std::sync::Arc;

/// Longest name of a partition, in characters.
const MAX_NAME: usize = 64;

/// A data partition; 1 is the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i64);

impl Partition {
    /// The one partition there is while the feature is off (`Microsoft.Default`).
    pub const DEFAULT: Self = Self(1);
}

/// The name of a data partition: 1 to 64 of `A-Z a-z 0-9 . - _`, never `.` or `..`; case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName(Arc<str>);

/// The text is not the name of a data partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a partition's name has 1 to 64 characters, each a letter of ASCII, a digit, a point, a hyphen or an underscore, and is neither . nor .."
)]
pub struct PartitionNameError;

impl PartitionName {
    /// Name of the partition there always is.
    pub const DEFAULT: &str = "Microsoft.Default";

    /// Checks a name.
    ///
    /// # Errors
    /// [`PartitionNameError`] when it has other characters or another length, or would mean a folder.
    pub fn parse(text: &str) -> Result<Self, PartitionNameError> {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let fits = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(sound);
        if fits && text != "." && text != ".." {
            Ok(Self(Arc::from(text)))
        } else {
            Err(PartitionNameError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the one there always is.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

impl Default for PartitionName {
    fn default() -> Self {
        Self(Arc::from(Self::DEFAULT))
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for PartitionName {
    type Err = PartitionNameError;

    fn from_str(text: &str) -> Result<Self, PartitionNameError> {
        Self::parse(text)
    }
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
    /// No study at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self::Only {
            patients: Vec::new(),
            studies: Vec::new(),
        }
    }

    /// Whether no study can exist for the caller.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Only { patients, studies } if patients.is_empty() && studies.is_empty())
    }

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

/// What a caller may see of resources that are the same for all partitions, as the change feed: what any of its members
/// admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSet {
    /// In every partition; none where partitions are named only.
    pub everywhere: Option<Visible>,
    /// In single partitions.
    pub within: Vec<Scope>,
}

impl ScopeSet {
    /// Everything in every partition.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            everywhere: Some(Visible::All),
            within: Vec::new(),
        }
    }

    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.everywhere == Some(Visible::All)
    }

    /// Whether exactly these studies of a partition are admitted, or all of them.
    #[must_use]
    pub fn is_for(&self, partition: Partition, visible: &Visible) -> bool {
        let same = |scope: &Scope| scope.partition == partition && scope.visible == *visible;
        self.is_whole(partition)
            || self.everywhere.as_ref() == Some(visible)
            || self.within.iter().any(same)
    }

    /// Whether every study of a partition is admitted.
    #[must_use]
    pub fn is_whole(&self, partition: Partition) -> bool {
        let whole = |scope: &Scope| scope.partition == partition && scope.visible == Visible::All;
        self.is_everything() || self.within.iter().any(whole)
    }
}

impl From<&Scope> for ScopeSet {
    fn from(scope: &Scope) -> Self {
        Self {
            everywhere: None,
            within: vec![scope.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_word_that_no_folder_has_of_its_own() {
        let longest = "a".repeat(64);
        for name in ["Microsoft.Default", "a", "...", "-", "_x.9-", &longest] {
            assert_eq!(PartitionName::parse(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(65);
        for text in [
            "", ".", "..", "a b", "a/b", "ä", "a%2Fb", "a\n", "a~", &long,
        ] {
            assert_eq!(
                PartitionName::parse(text),
                Err(PartitionNameError),
                "{text}"
            );
        }
        assert!(PartitionName::default().is_default());
    }
}
