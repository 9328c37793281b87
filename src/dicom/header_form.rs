//! How the header of a stored element is written, so that a changed one is written alike.
//!
//! Invariant: what is made here is read by the scanner as what was asked for, inside sequences that stand as UN, too.

use dicom_core::{Tag, VR};

use super::error::{ParseError, ParseProblem};
use super::explicit_vr::{self, has_short_length};
use super::header::{self, Encoding};
use super::scan::{Element, Scanner};

/// How an element's header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderForm {
    /// Implicit VR Little Endian.
    Implicit,
    /// Explicit VR, in one of the byte orders.
    Explicit {
        /// Big endian.
        big: bool,
    },
}

impl HeaderForm {
    /// That of the elements of a data set.
    pub(crate) fn of(encoding: Encoding) -> Self {
        match encoding {
            Encoding::ImplicitLittle => Self::Implicit,
            Encoding::ExplicitLittle => Self::Explicit { big: false },
            Encoding::ExplicitBig => Self::Explicit { big: true },
        }
    }

    /// How the header of an element is written, which VR it has in the file, and where it begins.
    pub(crate) fn find(
        scanner: &mut Scanner<'_>,
        element: &Element,
    ) -> Result<(Self, VR, u64), ParseError> {
        let at = element.value_at;
        let mut ways = [
            (Encoding::ExplicitLittle, &[8_u64, 12][..]),
            (Encoding::ExplicitBig, &[8, 12]),
            (Encoding::ImplicitLittle, &[8]),
        ];
        if element.big {
            ways.swap(0, 1);
        }
        for (encoding, sizes) in ways {
            for size in sizes {
                let start = at.saturating_sub(*size);
                let bytes = scanner.peek(start, 12)?;
                let found = header::decode(encoding, bytes).filter(|found| {
                    u64::from(found.size) == *size
                        && found.tag == element.tag
                        && found.length == element.length
                });
                let Some(found) = found else { continue };
                match (encoding, found.vr) {
                    (Encoding::ImplicitLittle, _) => {
                        return Ok((Self::Implicit, element.vr, start));
                    }
                    (_, Some(vr)) => {
                        let big = encoding == Encoding::ExplicitBig;
                        return Ok((Self::Explicit { big }, vr, start));
                    }
                    (Encoding::ExplicitLittle, None) => {
                        return Ok((Self::Implicit, element.vr, start));
                    }
                    (Encoding::ExplicitBig, None) => {}
                }
            }
        }
        Err(ParseError::damaged(
            Some(element.tag),
            at,
            ParseProblem::PastFile,
        ))
    }

    /// Whether numbers are big endian.
    pub(crate) fn is_big(self) -> bool {
        self == Self::Explicit { big: true }
    }

    /// Writes the header of an element.
    pub(crate) fn element(self, out: &mut Vec<u8>, tag: Tag, vr: VR, length: u32) {
        match self {
            Self::Implicit => explicit_vr::item(out, tag, length),
            Self::Explicit { big: false } => explicit_vr::head(out, tag, vr, length),
            Self::Explicit { big: true } => {
                let short = u16::try_from(length).ok().filter(|_| has_short_length(vr));
                let unknown = has_short_length(vr) && short.is_none();
                let vr = if unknown { VR::UN } else { vr };
                out.extend(tag.0.to_be_bytes());
                out.extend(tag.1.to_be_bytes());
                out.extend(vr.to_bytes());
                match short {
                    Some(length) => out.extend(length.to_be_bytes()),
                    None => {
                        out.extend([0, 0]);
                        out.extend(length.to_be_bytes());
                    }
                }
            }
        }
    }
}

/// Writes the header of an item or a delimiter.
pub(crate) fn item(out: &mut Vec<u8>, big: bool, tag: Tag, length: u32) {
    if big {
        out.extend(tag.0.to_be_bytes());
        out.extend(tag.1.to_be_bytes());
        out.extend(length.to_be_bytes());
    } else {
        explicit_vr::item(out, tag, length);
    }
}

/// The VR a sequence is written with: one that stands as UN holds implicit items and stays so.
pub(crate) fn sequence_vr(stored: VR) -> VR {
    match stored {
        VR::UN => VR::UN,
        _ => VR::SQ,
    }
}
