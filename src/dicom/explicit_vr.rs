//! Headers of Explicit VR Little Endian, written (PS3.5 §7.1.2).

use dicom_core::{Tag, VR};

/// Writes the header of an element; a value too long for a short VR goes out as UN (PS3.5 §6.2.2).
pub(crate) fn head(out: &mut Vec<u8>, tag: Tag, vr: VR, length: u32) {
    let short = u16::try_from(length).ok().filter(|_| has_short_length(vr));
    let vr = if has_short_length(vr) && short.is_none() {
        VR::UN
    } else {
        vr
    };
    out.extend(tag.0.to_le_bytes());
    out.extend(tag.1.to_le_bytes());
    out.extend(vr.to_bytes());
    match short {
        Some(length) => out.extend(length.to_le_bytes()),
        None => {
            out.extend([0, 0]);
            out.extend(length.to_le_bytes());
        }
    }
}

/// Writes the header of an item or a delimiter.
pub(crate) fn item(out: &mut Vec<u8>, tag: Tag, length: u32) {
    out.extend(tag.0.to_le_bytes());
    out.extend(tag.1.to_le_bytes());
    out.extend(length.to_le_bytes());
}

/// What makes a value of odd length even.
pub(crate) fn padding(vr: VR) -> u8 {
    let text = !matches!(
        vr,
        VR::UI | VR::OB | VR::UN | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV
    );
    if text { b' ' } else { 0 }
}

/// VRs with a 16-bit length.
pub(crate) fn has_short_length(vr: VR) -> bool {
    !matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}
