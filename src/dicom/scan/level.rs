//! What the scanner gives, and the levels that it has open.

use dicom_core::{Tag, VR};

use super::resolve::Context;
use crate::dicom::error::ParseProblem;
use crate::dicom::header::Encoding;

/// One data element with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) tag: Tag,
    /// As in the file, or resolved from the dictionary.
    pub(crate) vr: VR,
    /// Binary values are big endian.
    pub(crate) big: bool,
    pub(crate) value_at: u64,
    /// Length of the value; [`UNDEFINED`](crate::dicom::header::UNDEFINED) for sequences and encapsulated values that end with a delimiter.
    pub(crate) length: u32,
}

/// What the scanner comes across, in file order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanEvent {
    /// An element whose value is no sequence; its value can be asked for until the next event.
    Element(Element),
    SequenceStart(Element),
    ItemStart,
    ItemEnd,
    SequenceEnd,
    /// Fragments follow; the first one is the offset table.
    FragmentsStart(Element),
    Fragment {
        offset: u64,
        length: u32,
    },
    /// `end` is where the delimiter starts.
    FragmentsEnd {
        end: u64,
    },
    /// The data set is complete; `ignored` bytes behind it are not part of it.
    End {
        ignored: u64,
    },
}

/// One open level.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanLevel {
    pub(super) kind: LevelKind,
    /// Nothing inside ends behind this place.
    pub(super) end: u64,
    /// It ends there, not at a delimiter.
    pub(super) defined: bool,
    pub(super) encoding: Encoding,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum LevelKind {
    DataSet(Context),
    Sequence {
        tag: Tag,
        /// The encoding of the items has to be looked at.
        sniff: bool,
    },
    Fragments {
        tag: Tag,
    },
}

impl ScanLevel {
    /// The same place as the items of a sequence whose element has this VR in the file.
    pub(super) fn sequence(self, tag: Tag, stored: Option<VR>) -> Self {
        Self {
            kind: LevelKind::Sequence {
                tag,
                sniff: stored != Some(VR::SQ),
            },
            encoding: inside(stored, self.encoding),
            ..self
        }
    }

    /// What it means that a header does not fit into what is left.
    pub(super) fn cut(&self) -> ParseProblem {
        if self.defined {
            ParseProblem::HeaderCut
        } else {
            ParseProblem::NotClosed
        }
    }
}

/// The content of UN is Implicit VR Little Endian whatever is around it (PS3.5 §6.2.2).
fn inside(stored: Option<VR>, around: Encoding) -> Encoding {
    if stored == Some(VR::UN) {
        Encoding::ImplicitLittle
    } else {
        around
    }
}
