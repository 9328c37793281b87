//! Failure and warning reasons (PS3.18 §I.2.2, dicom-service §3).

/// Processing failure.
pub const PROCESSING: u16 = 0x0110;
/// Duplicate SOP instance.
pub const DUPLICATE: u16 = 0x0111;
/// Not authorized: the study is not one the sender may store into.
pub const NOT_AUTHORIZED: u16 = 0x0124;
/// Out of resources.
pub const OUT_OF_RESOURCES: u16 = 0xA700;
/// Data set does not match the rules.
pub const INVALID: u16 = 0xA900;
/// Cannot understand.
pub const CANNOT_UNDERSTAND: u16 = 0xC000;
/// The same instance is stored already (DICOM service).
pub const EXISTS: u16 = 0xB00E;
/// Warning: the data set has attributes that do not keep the rules (DICOM service v2).
pub const ATTRIBUTE_WARNING: u16 = 1;
/// Warning: data set does not match SOP class.
pub const NOT_MATCHING_CLASS: u16 = 0xB007;
