//! Which VRs hold text of the character set, and which have several values.

use dicom_core::VR;

/// Whether values of the VR are in the Specific Character Set (PS3.5 §6.1.2.3).
#[must_use]
pub fn takes_charset(vr: VR) -> bool {
    matches!(
        vr,
        VR::SH | VR::LO | VR::ST | VR::LT | VR::UT | VR::UC | VR::PN
    )
}

/// Whether a backslash separates values of a text VR (PS3.5 §6.2).
#[must_use]
pub fn splits(vr: VR) -> bool {
    !matches!(vr, VR::ST | VR::LT | VR::UT | VR::UR)
}
