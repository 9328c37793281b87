//! How attributes are named from outside: keyword, eight hex digits, dotted paths into sequences (PS3.18 §8.3.4.1).
//!
//! Invariant: a [`TagPath`] made here has 1 to [`MAX_STEPS`] steps, and every step but the last can be a sequence.

use std::fmt;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, TagRange, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::query::{PathStep, TagPath};

/// Most steps of a path; no information object nests its searched attributes deeper.
pub const MAX_STEPS: usize = 16;

/// Why a text names no attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Neither eight hex digits nor a keyword of the dictionary, or a standard tag the dictionary lacks.
    #[error(
        "It is neither a keyword of the dictionary, in exact case, nor eight hexadecimal digits of a known attribute."
    )]
    Unknown,
    /// More steps than [`MAX_STEPS`].
    #[error("The path has more than {MAX_STEPS} steps.")]
    TooDeep,
    /// A step into an attribute that is no sequence.
    #[error("The path leads into an attribute that is not a sequence.")]
    NotASequence,
}

/// Reads one attribute id: `00100020`, `0010,0020`, `(0010,0020)` in any case, or a keyword in exact case.
///
/// # Errors
/// [`TagError::Unknown`]. A private tag in hex is always known.
pub fn parse(text: &str) -> Result<Tag, TagError> {
    if let Some(tag) = parse_hex(text) {
        let known = is_private(tag) || entry(tag).is_some();
        return if known {
            Ok(tag)
        } else {
            Err(TagError::Unknown)
        };
    }
    match StandardDataDictionary
        .by_name(text)
        .map(|entry| entry.tag_range())
    {
        Some(TagRange::Single(tag) | TagRange::Group100(tag) | TagRange::Element100(tag)) => {
            Ok(tag)
        }
        Some(TagRange::GroupLength | TagRange::PrivateCreator) | None => Err(TagError::Unknown),
    }
}

/// Reads a path of attribute ids joined by dots.
///
/// # Errors
/// [`TagError`] for an unknown id, too many steps, or a step into something that is no sequence.
pub fn parse_path(text: &str) -> Result<TagPath, TagError> {
    let mut steps = Vec::new();
    for part in text.split('.') {
        if steps.len() == MAX_STEPS {
            return Err(TagError::TooDeep);
        }
        steps.push(PathStep {
            tag: parse(part)?,
            creator: None,
        });
    }
    let (_, sequences) = steps.split_last().ok_or(TagError::Unknown)?;
    let enterable = |step: &PathStep| matches!(vr(step.tag), VR::SQ | VR::UN);
    if sequences.iter().all(enterable) {
        Ok(TagPath(steps))
    } else {
        Err(TagError::NotASequence)
    }
}

/// The VR of the dictionary, the likelier one where it depends on other attributes; UN for private and unknown tags.
#[must_use]
pub fn vr(tag: Tag) -> VR {
    match entry(tag) {
        Some((vr, _)) => vr.relaxed(),
        None if is_creator(tag) => VR::LO,
        None => VR::UN,
    }
}

/// All VRs the dictionary allows for a tag; none for private and unknown tags.
#[must_use]
pub fn allowed_vrs(tag: Tag) -> &'static [VR] {
    match entry(tag).map(|(vr, _)| vr) {
        Some(VirtualVr::Xs) => &[VR::US, VR::SS],
        Some(VirtualVr::Ox | VirtualVr::Px) => &[VR::OW, VR::OB],
        Some(VirtualVr::Lt) => &[VR::US, VR::OW],
        Some(VirtualVr::Exact(vr)) => exact(vr),
        _ if is_creator(tag) => &[VR::LO],
        _ => &[],
    }
}

/// The keyword of a tag, if the dictionary has one.
#[must_use]
pub fn keyword(tag: Tag) -> Option<&'static str> {
    entry(tag).map(|(_, keyword)| keyword)
}

/// Eight upper-case hex digits, the key of DICOM JSON.
#[must_use]
pub fn hex(tag: Tag) -> String {
    let mut name = String::with_capacity(8);
    push_hex(&mut name, tag);
    name
}

/// Adds the eight digits of [`hex`] to a text.
#[inline]
pub(crate) fn push_hex(text: &mut String, tag: Tag) {
    text.push_str(std::str::from_utf8(&hex_digits(tag)).unwrap_or_default());
}

/// The eight digits of [`hex`]; written for every attribute of every result, so without the machinery of formatting.
pub(crate) fn hex_digits(tag: Tag) -> [u8; 8] {
    let number = u32::from(tag.0) << 16 | u32::from(tag.1);
    let mut digits = [0; 8];
    for (digit, shift) in digits.iter_mut().zip([28, 24, 20, 16, 12, 8, 4, 0]) {
        let nibble = (number >> shift & 0xF) as u8;
        *digit = nibble + if nibble < 10 { b'0' } else { b'A' - 10 };
    }
    digits
}

/// The tag of exactly eight hex digits.
#[must_use]
pub fn from_hex(name: &str) -> Option<Tag> {
    let sound = name.len() == 8 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u32::from_str_radix(name, 16).ok().filter(|_| sound)?;
    let [a, b, c, d] = number.to_be_bytes();
    Some(Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Whether the group is odd (PS3.5 §7.8).
#[must_use]
pub fn is_private(tag: Tag) -> bool {
    tag.0 & 1 == 1
}

/// Whether the tag is a private creator, (gggg,0010-00FF) (PS3.5 §7.8.1).
#[must_use]
pub fn is_creator(tag: Tag) -> bool {
    is_private(tag) && (0x10..=0xFF).contains(&tag.1)
}

/// The private creator element that reserves the block of a private attribute; none when the tag is in no block.
#[must_use]
pub fn creator_of(tag: Tag) -> Option<Tag> {
    let block = tag.1 >> 8;
    (is_private(tag) && (0x10..=0xFF).contains(&block)).then_some(Tag(tag.0, block))
}

impl From<Tag> for TagPath {
    fn from(tag: Tag) -> Self {
        Self(vec![PathStep { tag, creator: None }])
    }
}

impl TagPath {
    /// The one tag of a path that leads into no sequence and needs no creator.
    #[must_use]
    pub fn single(&self) -> Option<Tag> {
        match self.0.as_slice() {
            [PathStep { tag, creator: None }] => Some(*tag),
            _ => None,
        }
    }
}

/// Keywords joined by dots; hex where there is no keyword.
impl fmt::Display for TagPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            match keyword(step.tag) {
                Some(keyword) => f.write_str(keyword)?,
                None => f.write_str(&hex(step.tag))?,
            }
        }
        Ok(())
    }
}

fn parse_hex(text: &str) -> Option<Tag> {
    let bare = text
        .strip_prefix('(')
        .and_then(|t| t.strip_suffix(')'))
        .unwrap_or(text);
    let (group, element) = match bare.len() {
        8 => bare.split_at_checked(4)?,
        9 => bare.split_once(',')?,
        _ => return None,
    };
    let number = |digits: &str| {
        let hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if hex {
            u16::from_str_radix(digits, 16).ok()
        } else {
            None
        }
    };
    Some(Tag(number(group)?, number(element)?))
}

/// The dictionary's entry, without the generic ones for group lengths and private creators.
fn entry(tag: Tag) -> Option<(VirtualVr, &'static str)> {
    let entry = StandardDataDictionary.by_tag(tag)?;
    match entry.tag_range() {
        TagRange::GroupLength | TagRange::PrivateCreator => None,
        TagRange::Single(_) | TagRange::Group100(_) | TagRange::Element100(_) => {
            Some((entry.vr, entry.alias))
        }
    }
}

fn exact(vr: VR) -> &'static [VR] {
    const ALL: &[VR] = &[
        VR::AE,
        VR::AS,
        VR::AT,
        VR::CS,
        VR::DA,
        VR::DS,
        VR::DT,
        VR::FL,
        VR::FD,
        VR::IS,
        VR::LO,
        VR::LT,
        VR::OB,
        VR::OD,
        VR::OF,
        VR::OL,
        VR::OV,
        VR::OW,
        VR::PN,
        VR::SH,
        VR::SL,
        VR::SQ,
        VR::SS,
        VR::ST,
        VR::SV,
        VR::TM,
        VR::UC,
        VR::UI,
        VR::UL,
        VR::UN,
        VR::UR,
        VR::US,
        VR::UT,
        VR::UV,
    ];
    ALL.iter()
        .position(|candidate| *candidate == vr)
        .and_then(|at| ALL.get(at..=at))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_in_every_spelling() {
        for text in ["00100020", "0010,0020", "(0010,0020)", "PatientID"] {
            assert_eq!(parse(text), Ok(Tag(0x0010, 0x0020)), "{text}");
        }
        assert_eq!(parse("0020000d"), Ok(Tag(0x0020, 0x000D)));
        assert_eq!(parse("60020010"), Ok(Tag(0x6002, 0x0010)));
        assert_eq!(parse("OverlayRows"), Ok(Tag(0x6000, 0x0010)));
        assert_eq!(parse("00091001"), Ok(Tag(0x0009, 0x1001)));
        for text in [
            "patientid",
            "PATIENTID",
            "0010002",
            "001000200",
            "00100020 ",
            "+0100020",
            "(00100020",
            "00100099",
            "",
            "0010-0020",
            "００100020",
            "GenericGroupLength",
            "PrivateCreator",
            "00100000",
            "0x100020",
            "Patient ID",
            "é",
        ] {
            assert_eq!(parse(text), Err(TagError::Unknown), "{text}");
        }
    }

    #[test]
    fn paths_lead_through_sequences() {
        let path = parse_path("RequestAttributesSequence.00400009").unwrap();
        assert_eq!(
            path.to_string(),
            "RequestAttributesSequence.ScheduledProcedureStepID"
        );
        assert_eq!(path.0[1].tag, Tag(0x0040, 0x0009));
        assert_eq!(path.single(), None);
        assert_eq!(
            parse_path("00191008.00100020").unwrap().to_string(),
            "00191008.PatientID"
        );
        assert_eq!(parse_path("PatientID.StudyID"), Err(TagError::NotASequence));
        assert_eq!(
            parse_path("RequestAttributesSequence."),
            Err(TagError::Unknown)
        );
        assert_eq!(parse_path("."), Err(TagError::Unknown));
        let deep = vec!["00400275"; MAX_STEPS].join(".");
        assert!(parse_path(&deep).is_ok());
        assert_eq!(
            parse_path(&format!("{deep}.00400275")),
            Err(TagError::TooDeep)
        );
        assert_eq!(
            parse_path("PatientID").unwrap().single(),
            Some(Tag(0x0010, 0x0020))
        );
    }

    #[test]
    fn the_dictionary_gives_representations() {
        assert_eq!(vr(Tag(0x0010, 0x0010)), VR::PN);
        assert_eq!(vr(Tag(0x0028, 0x0106)), VR::US);
        assert_eq!(vr(Tag(0x0009, 0x0010)), VR::LO);
        assert_eq!(vr(Tag(0x0009, 0x1001)), VR::UN);
        assert_eq!(allowed_vrs(Tag(0x0028, 0x0106)), [VR::US, VR::SS]);
        assert_eq!(allowed_vrs(Tag(0x0010, 0x0020)), [VR::LO]);
        assert!(allowed_vrs(Tag(0x0009, 0x1001)).is_empty());
    }

    #[test]
    fn private_blocks_are_found() {
        assert_eq!(creator_of(Tag(0x0019, 0x1008)), Some(Tag(0x0019, 0x0010)));
        assert_eq!(creator_of(Tag(0x0019, 0x0010)), None);
        assert_eq!(creator_of(Tag(0x0018, 0x1008)), None);
        assert!(is_creator(Tag(0x0019, 0x00FF)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-Fa-f.,()]{0,24}|.{0,24}") {
            if let Ok(path) = parse_path(&text) {
                prop_assert_eq!(parse_path(&path.to_string()), Ok(path));
            }
        }
    }
}
