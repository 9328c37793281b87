//! What became of a part: stored, or failed with its reason code and comments (PS3.18 §I.2.2).

use super::reason;
use crate::archive::rules::{Rules, comment};
use crate::archive::spool::is_no_space;
use crate::dicom::error::ParseError;
use crate::dicom::instance::Instance;
use crate::dicom::issue::ValidationIssue;
use crate::dicom::nonpatient::NonPatientKind;
use crate::dicom::uid::InstanceName;
use crate::memory::NoMemory;

/// SOP class and SOP instance, as far as they are known.
pub(super) type SopNames = (Option<String>, Option<String>);

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
    pub(super) fn names(self) -> SopNames {
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

/// The server failed on a part, and nothing is known of it.
pub(super) fn lost_outcome() -> Outcome {
    Outcome::Failed {
        sop_class: None,
        instance: None,
        reason: reason::PROCESSING,
        comments: vec!["the server failed on this part; its log says why".to_owned()],
    }
}

/// The reason code of what is no DICOM file that can be read.
pub(super) fn reason_for_unreadable(rules: Rules) -> u16 {
    match rules {
        Rules::Standard => reason::CANNOT_UNDERSTAND,
        Rules::V1 | Rules::V2 => reason::INVALID,
    }
}

/// An instance that was read and is not stored.
pub(super) fn failed(instance: &Instance, reason: u16, comments: Vec<String>) -> Outcome {
    Outcome::Failed {
        sop_class: Some(instance.sop_class.clone()),
        instance: Some(instance.name.instance.to_string()),
        reason,
        comments,
    }
}

/// A part of which nothing could be read.
pub(super) fn unreadable(rules: Rules, comment: &str) -> Outcome {
    Outcome::Failed {
        sop_class: None,
        instance: None,
        reason: reason_for_unreadable(rules),
        comments: vec![comment.to_owned()],
    }
}

/// A part that the parser refused.
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
