//! The start of a file and the header of one element: preamble, meta group, and which encoding the data set has.
//!
//! Invariant: nothing here trusts a label over the bytes; every length is checked against the file before it is used.

use dicom_core::dictionary::DataDictionaryEntryRef;
use dicom_core::{DataDictionary, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_encoding::Decode;
use dicom_encoding::decode::explicit_be::ExplicitVRBigEndianDecoder;
use dicom_encoding::decode::explicit_le::ExplicitVRLittleEndianDecoder;
use dicom_encoding::decode::implicit_le::ImplicitVRLittleEndianDecoder;

use super::codec::transfer_syntax::{EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, is_deflated};
use super::error::{ParseError, ParseProblem};
use super::source::SourceWindow;

/// How element headers and binary values are encoded (PS3.5 §7.1, §7.3, Annex A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Implicit VR Little Endian.
    ImplicitLittle,
    /// Explicit VR Little Endian.
    ExplicitLittle,
    /// Explicit VR Big Endian (retired).
    ExplicitBig,
}

impl Encoding {
    /// The encoding a transfer syntax demands; every unknown one is Explicit VR Little Endian (PS3.5 §A.4).
    #[must_use]
    pub fn of(transfer_syntax: &str) -> Self {
        match transfer_syntax {
            IMPLICIT_LE => Self::ImplicitLittle,
            EXPLICIT_BE => Self::ExplicitBig,
            _ => Self::ExplicitLittle,
        }
    }

    /// The transfer syntax of native data in this encoding.
    #[must_use]
    pub fn transfer_syntax(self) -> &'static str {
        match self {
            Self::ImplicitLittle => IMPLICIT_LE,
            Self::ExplicitLittle => EXPLICIT_LE,
            Self::ExplicitBig => EXPLICIT_BE,
        }
    }
}

/// The header of an element or item as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawHeader {
    pub(crate) tag: Tag,
    /// None in Implicit VR.
    pub(crate) vr: Option<VR>,
    pub(crate) length: u32,
    /// Bytes of the header itself.
    pub(crate) size: u8,
}

/// `FFFFFFFF`: the value ends with a delimiter.
pub(crate) const UNDEFINED: u32 = u32::MAX;
pub(crate) const ITEM: Tag = Tag(0xFFFE, 0xE000);
pub(crate) const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
pub(crate) const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// The decoder needs a dictionary; value representations are resolved later, from context (PS3.5 Annex A).
#[derive(Debug, Clone, Copy)]
struct NoDictionary;

impl DataDictionary for NoDictionary {
    type Entry = DataDictionaryEntryRef<'static>;

    fn by_name(&self, _: &str) -> Option<&Self::Entry> {
        None
    }

    fn by_tag(&self, _: Tag) -> Option<&Self::Entry> {
        None
    }
}

/// Decodes the header at the start of `bytes` (at least 12 of them unless the data ends); none when it is cut.
#[inline]
pub(crate) fn decode(encoding: Encoding, bytes: &[u8]) -> Option<RawHeader> {
    let explicit = bytes
        .get(4..6)
        .is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase));
    let mut cursor = bytes;
    let decoded = match encoding {
        Encoding::ExplicitLittle if explicit => {
            ExplicitVRLittleEndianDecoder::default().decode_header(&mut cursor)
        }
        Encoding::ExplicitBig if explicit => {
            ExplicitVRBigEndianDecoder::default().decode_header(&mut cursor)
        }
        Encoding::ExplicitBig => return plain_big(bytes),
        // Some writers put elements without VR into an explicit data set, and items never have one: what is not two
        // capital letters is the low half of a length.
        Encoding::ExplicitLittle | Encoding::ImplicitLittle => {
            ImplicitVRLittleEndianDecoder::with_dict(NoDictionary).decode_header(&mut cursor)
        }
    };
    let (header, size) = decoded.ok()?;
    let with_vr = explicit && encoding != Encoding::ImplicitLittle && header.tag.0 != 0xFFFE;
    Some(RawHeader {
        tag: header.tag,
        vr: with_vr.then_some(header.vr),
        length: header.len.0,
        size: u8::try_from(size).ok()?,
    })
}

/// Tag and 32-bit length in big endian order: items, which dicom-encoding's item decoder refuses where a delimiter has a
/// length (seen in real files), and elements without VR.
fn plain_big(bytes: &[u8]) -> Option<RawHeader> {
    let (group, rest) = bytes.split_first_chunk::<2>()?;
    let (element, rest) = rest.split_first_chunk::<2>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    Some(RawHeader {
        tag: Tag(u16::from_be_bytes(*group), u16::from_be_bytes(*element)),
        vr: None,
        length: u32::from_be_bytes(*length),
        size: 8,
    })
}

/// What stands before the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Transfer Syntax UID of the meta group, if it has one.
    pub(crate) label: Option<String>,
    /// First byte behind the meta group.
    pub(crate) dataset_offset: u64,
    /// Preamble and prefix are there.
    pub(crate) prefixed: bool,
}

const PREAMBLE: u64 = 128;
/// More elements than this are no meta group.
const META_ELEMENTS: usize = 256;

/// Reads preamble, prefix and meta group, whichever of them are there.
///
/// With `plain` the preamble must be empty or that of a TIFF file: nothing else is known to need it (PS3.10 §7.1), and a
/// program could stand there.
pub(crate) fn open(window: &mut SourceWindow<'_>, plain: bool) -> Result<Opening, ParseError> {
    let prefixed = window.peek(PREAMBLE, 4)? == b"DICM";
    if plain && prefixed && !is_plain(window.peek(0, 128)?) {
        return Err(ParseError::Preamble);
    }
    let start = if prefixed {
        PREAMBLE + 4
    } else if window.peek(0, 4)? == b"DICM" {
        4
    } else {
        0
    };
    let mut opening = Opening {
        label: None,
        dataset_offset: start,
        prefixed,
    };
    read_meta(window, &mut opening)?;
    if start == 0 && opening.dataset_offset == 0 && !starts_data_set(window)? {
        return Err(ParseError::NotDicom);
    }
    Ok(opening)
}

/// Whether a preamble is empty, or begins like a TIFF or `BigTIFF` file of either byte order.
fn is_plain(preamble: &[u8]) -> bool {
    let tiff: [&[u8]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
    preamble.iter().all(|byte| *byte == 0) || tiff.iter().any(|magic| preamble.starts_with(magic))
}

/// Steps over the elements of group 0002; its group length is only believed where it agrees or where the next bytes
/// cannot be told apart (a deflated stream).
fn read_meta(window: &mut SourceWindow<'_>, opening: &mut Opening) -> Result<(), ParseError> {
    let mut position = opening.dataset_offset;
    let mut announced_end = None;
    for _ in 0..META_ELEMENTS {
        if announced_end == Some(position) {
            break;
        }
        let bytes = window.peek(position, 12)?;
        if bytes.get(..2) != Some(&[2, 0]) {
            break;
        }
        let cut = |problem| ParseError::damaged(Some(Tag(2, 0)), position, problem);
        let header =
            decode(Encoding::ExplicitLittle, bytes).ok_or_else(|| cut(ParseProblem::HeaderCut))?;
        let value_at = position.saturating_add(u64::from(header.size));
        let end = value_at.saturating_add(u64::from(header.length));
        if end > window.len() {
            return Err(ParseError::damaged(
                Some(header.tag),
                position,
                ParseProblem::PastFile,
            ));
        }
        match header.tag.1 {
            0x0000 => {
                let value = window.peek(value_at, 4)?;
                announced_end = value
                    .first_chunk::<4>()
                    .filter(|_| header.length == 4)
                    .map(|b| end.saturating_add(u64::from(u32::from_le_bytes(*b))));
            }
            0x0010 if header.length <= 128 => {
                let value = window.peek(value_at, usize::try_from(header.length).unwrap_or(0))?;
                opening.label = std::str::from_utf8(value)
                    .ok()
                    .map(|text| text.trim_matches([' ', '\0']).to_owned())
                    .filter(|text| !text.is_empty());
            }
            _ => {}
        }
        position = end;
    }
    opening.dataset_offset = position;
    Ok(())
}

/// Whether a file without prefix and meta group starts like a data set.
fn starts_data_set(window: &mut SourceWindow<'_>) -> Result<bool, ParseError> {
    let length = window.len();
    let bytes = window.peek(0, 12)?;
    let Some(encoding) = sniff(bytes, None) else {
        return Ok(false);
    };
    let Some(header) = decode(encoding, bytes) else {
        return Ok(false);
    };
    let known = StandardDataDictionary.by_tag(header.tag).is_some();
    Ok(known
        && (0x0004..=0x0020).contains(&header.tag.0)
        && (header.length == UNDEFINED || u64::from(header.length) < length))
}

/// The encoding of the data set that starts with `bytes`: the label's where the bytes do not contradict it.
///
/// An explicit header has two letters at bytes 4 and 5 that are a VR; the byte order is the one in which the first
/// group number (almost always 0008) is small.
pub(crate) fn sniff(bytes: &[u8], label: Option<&str>) -> Option<Encoding> {
    let little = u16::from_le_bytes(*bytes.first_chunk()?);
    let big = little.swap_bytes();
    let vr = bytes.get(4..)?.first_chunk::<2>()?;
    let known_vr = VR::from_binary(*vr).is_some();
    let letters = vr.iter().all(u8::is_ascii_uppercase);
    Some(match label.map(Encoding::of) {
        Some(Encoding::ImplicitLittle) if !known_vr => Encoding::ImplicitLittle,
        Some(Encoding::ExplicitLittle) if letters && big != 0x0008 => Encoding::ExplicitLittle,
        Some(Encoding::ExplicitBig) if letters && little != 0x0008 => Encoding::ExplicitBig,
        _ if known_vr && big < little => Encoding::ExplicitBig,
        _ if known_vr => Encoding::ExplicitLittle,
        _ if little <= big || little == 0x0008 => Encoding::ImplicitLittle,
        // Implicit VR Big Endian was never a transfer syntax; an explicit label is the better guess then.
        Some(encoding) => encoding,
        None => return None,
    })
}

/// The encoding of a data set, and whether the label tells the truth about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecognizedEncoding {
    pub(crate) encoding: Encoding,
    pub(crate) agrees: bool,
}

impl Opening {
    /// Whether the data set is deflated: the label says so and the bytes are no plain element.
    pub(crate) fn is_deflated(&self, window: &mut SourceWindow<'_>) -> Result<bool, ParseError> {
        let bytes = window.peek(self.dataset_offset, 6)?;
        let plain = bytes.starts_with(&[8, 0])
            && bytes
                .get(4..)
                .and_then(<[u8]>::first_chunk)
                .is_some_and(|vr| VR::from_binary(*vr).is_some());
        Ok(!plain && self.label.as_deref().is_some_and(is_deflated))
    }

    /// Tells the encoding of the (inflated) data set at `offset`.
    pub(crate) fn recognize(
        &self,
        window: &mut SourceWindow<'_>,
        offset: u64,
    ) -> Result<RecognizedEncoding, ParseError> {
        recognize(window, offset, self.label.as_deref())
    }
}

/// Tells the encoding of the data set at `offset`, believing the label unless the bytes contradict it.
pub(crate) fn recognize(
    window: &mut SourceWindow<'_>,
    offset: u64,
    label: Option<&str>,
) -> Result<RecognizedEncoding, ParseError> {
    let bytes = window.peek(offset, 12)?;
    let reported = label.map(Encoding::of);
    let encoding = match sniff(bytes, label) {
        Some(encoding) => encoding,
        // Too short for an element: what follows will say so.
        None if bytes.len() < 8 => reported.unwrap_or(Encoding::ExplicitLittle),
        None => {
            return Err(ParseError::damaged(
                None,
                offset,
                ParseProblem::UnknownEncoding,
            ));
        }
    };
    Ok(RecognizedEncoding {
        encoding,
        agrees: reported.is_none_or(|reported| reported == encoding),
    })
}
