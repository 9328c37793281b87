//! What a store request is asked to do.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::archive::rules::Rules;
use crate::dicom::deidentify::DeidentifyProfile;
use crate::dicom::uid::StudyUid;
use crate::index::{Replacement, StudyCondition};
use crate::scope::{Partition, Visible};

/// What a store request asks for.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where the instances go.
    pub partition: Partition,
    /// Which studies the sender may store into.
    pub visible: Visible,
    /// Study of the URL: instances of another study fail.
    pub study: Option<StudyUid>,
    /// What the sender says the instance is: one that says something else of itself fails.
    pub named: Option<SubmittedInstance>,
    /// Rules of the face the request came through.
    pub rules: Rules,
    /// Set when instances take the places of those that have their UIDs.
    pub replace: Option<Replacement>,
    /// When the studies are to be deleted by themselves; none for never.
    pub expires: Option<OffsetDateTime>,
    /// What must hold of the study of the URL when the first instances are committed.
    pub condition: Option<Arc<StudyCondition>>,
    /// Key of the blob that the instance is made of, where it is made here.
    pub made_of: Option<Arc<str>>,
    /// Set when what comes is de-identified before it is stored: the rest is about the instance that came, but where it goes
    /// and what it replaces.
    pub deidentify: Option<Arc<DeidentifyProfile>>,
}

impl StoreOptions {
    /// Those of whoever runs the server: anything, by the rules of the standard.
    #[must_use]
    pub fn unlimited(partition: Partition) -> Self {
        Self {
            partition,
            visible: Visible::All,
            study: None,
            named: None,
            rules: Rules::Standard,
            replace: None,
            expires: None,
            condition: None,
            made_of: None,
            deidentify: None,
        }
    }
}

/// SOP class and SOP instance as the sender names them beside the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedInstance {
    /// SOP Class UID.
    pub class: String,
    /// SOP Instance UID.
    pub instance: String,
}
