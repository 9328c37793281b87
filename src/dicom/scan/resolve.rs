//! The value representation of elements that carry none, or UN (PS3.5 §6.2.2, Annex A).
//!
//! Invariant: what the dictionary does not know, and what is private, stays UN.

use dicom_core::dictionary::{DataDictionaryEntry, VirtualVr};
use dicom_core::{DataDictionary, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

/// What representations depend on, per data set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    /// Pixel Representation (0028,0103) is 1.
    signed: bool,
    /// The first number of LUT Descriptor (0028,3002) is 1.
    single_entry_lut: bool,
}

impl Context {
    /// Whether later elements depend on the value of this one.
    pub(super) fn needs(tag: Tag) -> bool {
        matches!(tag, Tag(0x0028, 0x0103 | 0x3002))
    }

    /// Takes the first number of such an element.
    pub(super) fn note(&mut self, tag: Tag, value: u16) {
        match tag.1 {
            0x0103 => self.signed = value == 1,
            _ => self.single_entry_lut = value == 1,
        }
    }

    /// The representation of an element without one (PS3.5 §A.1).
    pub(super) fn resolve(self, tag: Tag) -> VR {
        if tag.0 & 1 == 1 {
            let creator = (0x0010..=0x00FF).contains(&tag.1);
            return if creator { VR::LO } else { VR::UN };
        }
        match StandardDataDictionary
            .by_tag(tag)
            .map(DataDictionaryEntry::vr)
        {
            Some(VirtualVr::Exact(vr)) => vr,
            Some(VirtualVr::Xs) if self.signed => VR::SS,
            Some(VirtualVr::Xs) => VR::US,
            Some(VirtualVr::Lt) if self.single_entry_lut => VR::US,
            Some(VirtualVr::Lt | VirtualVr::Ox | VirtualVr::Px) => VR::OW,
            _ => VR::UN,
        }
    }
}
