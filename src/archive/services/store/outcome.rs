//! What becomes of a part, and how it is told.

use dicom_dictionary_std::tags;

use super::options::StoreOptions;
use super::reason;
use crate::archive::rules::{Rules, comment};
use crate::archive::spool::is_no_space;
use crate::dicom::error::ParseError;
use crate::dicom::head::Owner;
use crate::dicom::instance::Instance;
use crate::dicom::issue::ValidationIssue;
use crate::dicom::nonpatient::NonPatientKind;
use crate::dicom::uid::InstanceName;
use crate::memory::NoMemory;
use crate::scope::Visible;

/// Said of every instance outside of the sender's limits, whether its study exists or not.
const NOT_YOURS: &str =
    "the token allows storing for certain patients or studies only, and this is none of them";

/// What became of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored and durable.
    Stored {
        /// Its UIDs.
        name: InstanceName,
        /// SOP Class UID.
        sop_class: String,
        /// Warning reason (0008,1196), if any.
        warning: Option<u16>,
        /// What was wrong with single attributes.
        findings: Vec<ValidationIssue>,
    },
    /// It is not stored.
    Failed {
        /// SOP Class UID as far as it could be read.
        sop_class: Option<String>,
        /// SOP Instance UID as far as it could be read.
        instance: Option<String>,
        /// Failure reason (0008,1197).
        reason: u16,
        /// One sentence each; the first says why.
        comments: Vec<String>,
    },
}

impl Outcome {
    /// Bytes of memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let texts: usize = match self {
            Self::Stored {
                name,
                sop_class,
                findings,
                ..
            } => {
                let uids = [
                    name.study.as_str(),
                    name.series.as_str(),
                    name.instance.as_str(),
                ];
                let uids: usize = uids.iter().map(|uid| uid.len()).sum();
                let finding = |finding: &ValidationIssue| finding.comment.len().saturating_add(64);
                sop_class.len() + uids + findings.iter().map(finding).sum::<usize>()
            }
            Self::Failed {
                sop_class,
                instance,
                comments,
                ..
            } => {
                let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                let comment = |comment: &String| comment.len().saturating_add(48);
                length(sop_class) + length(instance) + comments.iter().map(comment).sum::<usize>()
            }
        };
        texts.saturating_add(256)
    }

    /// SOP class and SOP instance, as far as they are known.
    pub(super) fn names(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Stored {
                name, sop_class, ..
            } => (Some(sop_class), Some(name.instance.to_string())),
            Self::Failed {
                sop_class,
                instance,
                ..
            } => (sop_class, instance),
        }
    }

    /// Keeps the first of its comments only.
    pub(super) fn shorten(&mut self) {
        match self {
            Self::Stored { findings, .. } => {
                findings.truncate(1);
                findings.shrink_to_fit();
            }
            Self::Failed { comments, .. } => {
                comments.truncate(1);
                comments.shrink_to_fit();
            }
        }
    }
}

pub(super) fn lost_outcome() -> Outcome {
    Outcome::Failed {
        sop_class: None,
        instance: None,
        reason: reason::PROCESSING,
        comments: vec!["the server failed on this part; its log says why".to_owned()],
    }
}

pub(super) fn reason_for_unreadable(rules: Rules) -> u16 {
    match rules {
        Rules::Standard => reason::CANNOT_UNDERSTAND,
        Rules::V1 | Rules::V2 => reason::INVALID,
    }
}

/// Turns a success into what it means that the instance was there before.
pub(super) fn meet_stored(rules: Rules, outcome: &mut Outcome, identical: bool) {
    let Outcome::Stored {
        name, sop_class, ..
    } = &*outcome
    else {
        return;
    };
    if rules == Rules::Standard && identical {
        return;
    }
    let (reason, comment) = match rules {
        Rules::Standard => (
            reason::DUPLICATE,
            "an instance with this SOP Instance UID but other bytes is stored already: delete it first, or send the new one under a new UID",
        ),
        Rules::V1 | Rules::V2 => (
            reason::EXISTS,
            "an instance with these Study, Series and SOP Instance UIDs is stored already",
        ),
    };
    *outcome = Outcome::Failed {
        sop_class: Some(sop_class.clone()),
        instance: Some(name.instance.to_string()),
        reason,
        comments: vec![comment.to_owned()],
    };
}

/// Turns a success into a failure: the bytes that are stored already cannot be looked at now.
pub(super) fn meet_unknown(outcome: &mut Outcome) {
    if let Outcome::Stored {
        name, sop_class, ..
    } = &*outcome
    {
        *outcome = Outcome::Failed {
            sop_class: Some(sop_class.clone()),
            instance: Some(name.instance.to_string()),
            reason: reason::OUT_OF_RESOURCES,
            comments: vec![
                "the instance is stored already, but whether it is whole cannot be told now; send it again later"
                    .to_owned(),
            ],
        };
    }
}

/// Turns a success into a refusal that does not tell whether the study exists.
pub(super) fn meet_limit(outcome: &mut Outcome) {
    if let Outcome::Stored {
        name, sop_class, ..
    } = &*outcome
    {
        *outcome = Outcome::Failed {
            sop_class: Some(sop_class.clone()),
            instance: Some(name.instance.to_string()),
            reason: reason::NOT_AUTHORIZED,
            comments: vec![NOT_YOURS.to_owned()],
        };
    }
}

/// An instance of a study that is not the sender's to store into fails before anything is written.
pub(super) fn check_visible(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let mut attributes = instance.attributes.iter();
    let patient = attributes.find(|attribute| attribute.tag == tags::PATIENT_ID);
    let patient = patient.and_then(|patient| patient.values.iter().find(|id| !id.is_empty()));
    let study = instance.name.study.as_str();
    let admitted = options.visible.admits(study, patient.map(String::as_str));
    (!admitted).then(|| failed(instance, reason::NOT_AUTHORIZED, vec![NOT_YOURS.to_owned()]))
}

/// As [`check_visible`], for a file whose first bytes are there. Without a Patient ID in them it is certain only for a
/// sender who is limited to studies.
pub(super) fn check_owner(visible: &Visible, owner: Owner) -> Option<Outcome> {
    let Visible::Only { patients, .. } = visible else {
        return None;
    };
    let certain = owner.patient.is_some() || patients.is_empty();
    let admitted = visible.admits(&owner.study, owner.patient.as_deref());
    (certain && !admitted).then(|| Outcome::Failed {
        sop_class: owner.sop_class,
        instance: owner.instance,
        reason: reason::NOT_AUTHORIZED,
        comments: vec![NOT_YOURS.to_owned()],
    })
}

/// An instance of another study than the one in the URL fails.
pub(super) fn check_study(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let study = options.study.as_ref()?;
    let comment = comment(
        tags::STUDY_INSTANCE_UID,
        "the Study Instance UID is not the one of the URL",
    );
    (*study != instance.name.study).then(|| failed(instance, reason::INVALID, vec![comment]))
}

/// An instance that is not what its sender says fails (PS3.4 §B.2.3).
pub(super) fn check_named(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let named = options.named.as_ref()?;
    let wrong = if named.class != instance.sop_class {
        tags::SOP_CLASS_UID
    } else if named.instance != instance.name.instance.as_str() {
        tags::SOP_INSTANCE_UID
    } else {
        return None;
    };
    let comment = comment(wrong, "the command set names another one");
    Some(failed(instance, reason::INVALID, vec![comment]))
}

pub(super) fn failed(instance: &Instance, reason: u16, comments: Vec<String>) -> Outcome {
    Outcome::Failed {
        sop_class: Some(instance.sop_class.clone()),
        instance: Some(instance.name.instance.to_string()),
        reason,
        comments,
    }
}

pub(super) fn unreadable(rules: Rules, comment: &str) -> Outcome {
    Outcome::Failed {
        sop_class: None,
        instance: None,
        reason: reason_for_unreadable(rules),
        comments: vec![comment.to_owned()],
    }
}

pub(super) fn refused(rules: Rules, error: &ParseError) -> Outcome {
    let known = error.identifiers().cloned().unwrap_or_default();
    let (reason, comment) = match error {
        ParseError::Missing { tag, .. } => (
            reason::INVALID,
            comment(*tag, "the required attribute is missing or empty"),
        ),
        ParseError::BadUid { tag, source, .. } => {
            (reason::INVALID, comment(*tag, &source.to_string()))
        }
        // Asked for again where memory is shared; what is left is a fault of the server.
        ParseError::NoRoom { .. } => (reason::OUT_OF_RESOURCES, error.to_string()),
        ParseError::Read(_) if is_no_space(error) => {
            let comment = "there is no room in the spool now; send the instance again later";
            (reason::OUT_OF_RESOURCES, comment.to_owned())
        }
        ParseError::NotDicom
        | ParseError::Preamble
        | ParseError::Damaged { .. }
        | ParseError::Limit { .. }
        | ParseError::Read(_) => (reason_for_unreadable(rules), error.to_string()),
    };
    let mut comments = vec![comment];
    let kind = known
        .sop_class
        .as_deref()
        .and_then(NonPatientKind::of_class);
    if let (ParseError::Missing { .. }, Some(kind)) = (error, kind) {
        comments.push(format!(
            "instances of this SOP class belong to no patient: store them under /{}",
            kind.as_str()
        ));
    }
    Outcome::Failed {
        sop_class: known.sop_class,
        instance: known.instance,
        reason,
        comments,
    }
}

/// A part for which there was no memory; its SOP class and SOP instance as far as they are known.
pub(super) fn without_memory(
    (sop_class, instance): (Option<String>, Option<String>),
    error: NoMemory,
) -> Outcome {
    let comment = match error {
        NoMemory::TooLarge { .. } => format!("the metadata of the instance is too large: {error}"),
        NoMemory::Busy => format!("{error}; send the instance again later"),
    };
    Outcome::Failed {
        sop_class,
        instance,
        reason: reason::OUT_OF_RESOURCES,
        comments: vec![comment],
    }
}
