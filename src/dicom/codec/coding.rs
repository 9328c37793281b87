//! The transfer syntaxes by name: UID, media type, and what each promises.
//!
//! One table holds every fact, so a syntax is added in one place.

use std::fmt;

/// A transfer syntax as the way pixel data are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coding {
    /// Implicit VR Little Endian.
    ImplicitLittleEndian,
    /// Explicit VR Little Endian.
    ExplicitLittleEndian,
    /// Encapsulated Uncompressed Explicit VR Little Endian.
    EncapsulatedUncompressed,
    /// Deflated Explicit VR Little Endian: the data set is deflated, frames inside are native.
    DeflatedDataSet,
    /// Explicit VR Big Endian (retired).
    ExplicitBigEndian,
    /// Deflated Image Frame Compression.
    DeflatedFrame,
    /// RLE Lossless.
    Rle,
    /// JPEG Baseline (Process 1), `.50`.
    JpegBaseline,
    /// JPEG Extended (Process 2 and 4), `.51`.
    JpegExtended,
    /// JPEG Full Progression (Process 10 and 12), `.55` (retired).
    JpegProgressive,
    /// JPEG Lossless (Process 14), `.57`.
    JpegLossless,
    /// JPEG Lossless, first-order prediction (Process 14, Selection Value 1), `.70`.
    JpegLosslessFirstOrder,
    /// JPEG-LS Lossless, `.80`.
    JpegLsLossless,
    /// JPEG-LS Near-Lossless, `.81`.
    JpegLsNearLossless,
    /// JPEG 2000 (Lossless Only), `.90`.
    Jpeg2000Lossless,
    /// JPEG 2000, `.91`.
    Jpeg2000,
    /// JPEG 2000 Part 2 Multi-component (Lossless Only), `.92`.
    Jpeg2000MultiLossless,
    /// JPEG 2000 Part 2 Multi-component, `.93`.
    Jpeg2000Multi,
    /// High-Throughput JPEG 2000 (Lossless Only), `.201`.
    Htj2kLossless,
    /// High-Throughput JPEG 2000 with RPCL options (Lossless Only), `.202`.
    Htj2kLosslessRpcl,
    /// High-Throughput JPEG 2000, `.203`.
    Htj2k,
    /// JPEG XL Lossless, `.110`.
    JpegXlLossless,
    /// JPEG XL JPEG Recompression, `.111`.
    JpegXlRecompression,
    /// JPEG XL, `.112`.
    JpegXl,
    /// MPEG2 Main Profile / Main Level, `.100`.
    Mpeg2Main,
    /// MPEG2 Main Profile / High Level, `.101`.
    Mpeg2High,
    /// MPEG-4 AVC/H.264 High Profile / Level 4.1, `.102`.
    Mpeg4High,
    /// MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1, `.103`.
    Mpeg4BluRay,
    /// MPEG-4 AVC/H.264 High Profile / Level 4.2 for 2D video, `.104`.
    Mpeg4High2d,
    /// MPEG-4 AVC/H.264 High Profile / Level 4.2 for 3D video, `.105`.
    Mpeg4High3d,
    /// MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2, `.106`.
    Mpeg4Stereo,
    /// HEVC/H.265 Main Profile / Level 5.1, `.107`.
    HevcMain,
    /// HEVC/H.265 Main 10 Profile / Level 5.1, `.108`.
    HevcMain10,
}

/// What is known of one transfer syntax.
struct CodingEntry {
    coding: Coding,
    uid: &'static str,
    media_type: &'static str,
    kind: CodingKind,
}

/// Coarse nature of a transfer syntax.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodingKind {
    Native,
    Lossless,
    Lossy,
    Video,
}

const fn entry(
    coding: Coding,
    uid: &'static str,
    media_type: &'static str,
    kind: CodingKind,
) -> CodingEntry {
    CodingEntry {
        coding,
        uid,
        media_type,
        kind,
    }
}

/// PS3.6 table A-1 with the media types of PS3.18 tables 8.7.3-2 to 8.7.3-5.
#[rustfmt::skip]
const TABLE: &[CodingEntry] = &[
    entry(Coding::ImplicitLittleEndian, "1.2.840.10008.1.2", "application/octet-stream", CodingKind::Native),
    entry(Coding::ExplicitLittleEndian, "1.2.840.10008.1.2.1", "application/octet-stream", CodingKind::Native),
    entry(Coding::EncapsulatedUncompressed, "1.2.840.10008.1.2.1.98", "application/octet-stream", CodingKind::Native),
    entry(Coding::DeflatedDataSet, "1.2.840.10008.1.2.1.99", "application/octet-stream", CodingKind::Native),
    entry(Coding::ExplicitBigEndian, "1.2.840.10008.1.2.2", "application/octet-stream", CodingKind::Native),
    entry(Coding::DeflatedFrame, "1.2.840.10008.1.2.8.1", "application/x-deflate", CodingKind::Lossless),
    entry(Coding::Rle, "1.2.840.10008.1.2.5", "image/dicom-rle", CodingKind::Lossless),
    entry(Coding::JpegBaseline, "1.2.840.10008.1.2.4.50", "image/jpeg", CodingKind::Lossy),
    entry(Coding::JpegExtended, "1.2.840.10008.1.2.4.51", "image/jpeg", CodingKind::Lossy),
    entry(Coding::JpegProgressive, "1.2.840.10008.1.2.4.55", "image/jpeg", CodingKind::Lossy),
    entry(Coding::JpegLossless, "1.2.840.10008.1.2.4.57", "image/jpeg", CodingKind::Lossless),
    entry(Coding::JpegLosslessFirstOrder, "1.2.840.10008.1.2.4.70", "image/jpeg", CodingKind::Lossless),
    entry(Coding::JpegLsLossless, "1.2.840.10008.1.2.4.80", "image/jls", CodingKind::Lossless),
    entry(Coding::JpegLsNearLossless, "1.2.840.10008.1.2.4.81", "image/jls", CodingKind::Lossy),
    entry(Coding::Jpeg2000Lossless, "1.2.840.10008.1.2.4.90", "image/jp2", CodingKind::Lossless),
    entry(Coding::Jpeg2000, "1.2.840.10008.1.2.4.91", "image/jp2", CodingKind::Lossy),
    entry(Coding::Jpeg2000MultiLossless, "1.2.840.10008.1.2.4.92", "image/jpx", CodingKind::Lossless),
    entry(Coding::Jpeg2000Multi, "1.2.840.10008.1.2.4.93", "image/jpx", CodingKind::Lossy),
    entry(Coding::Htj2kLossless, "1.2.840.10008.1.2.4.201", "image/jphc", CodingKind::Lossless),
    entry(Coding::Htj2kLosslessRpcl, "1.2.840.10008.1.2.4.202", "image/jphc", CodingKind::Lossless),
    entry(Coding::Htj2k, "1.2.840.10008.1.2.4.203", "image/jphc", CodingKind::Lossy),
    entry(Coding::JpegXlLossless, "1.2.840.10008.1.2.4.110", "image/jxl", CodingKind::Lossless),
    entry(Coding::JpegXlRecompression, "1.2.840.10008.1.2.4.111", "image/jxl", CodingKind::Lossy),
    entry(Coding::JpegXl, "1.2.840.10008.1.2.4.112", "image/jxl", CodingKind::Lossy),
    entry(Coding::Mpeg2Main, "1.2.840.10008.1.2.4.100", "video/mpeg", CodingKind::Video),
    entry(Coding::Mpeg2High, "1.2.840.10008.1.2.4.101", "video/mpeg", CodingKind::Video),
    entry(Coding::Mpeg4High, "1.2.840.10008.1.2.4.102", "video/mp4", CodingKind::Video),
    entry(Coding::Mpeg4BluRay, "1.2.840.10008.1.2.4.103", "video/mp4", CodingKind::Video),
    entry(Coding::Mpeg4High2d, "1.2.840.10008.1.2.4.104", "video/mp4", CodingKind::Video),
    entry(Coding::Mpeg4High3d, "1.2.840.10008.1.2.4.105", "video/mp4", CodingKind::Video),
    entry(Coding::Mpeg4Stereo, "1.2.840.10008.1.2.4.106", "video/mp4", CodingKind::Video),
    entry(Coding::HevcMain, "1.2.840.10008.1.2.4.107", "video/H265", CodingKind::Video),
    entry(Coding::HevcMain10, "1.2.840.10008.1.2.4.108", "video/H265", CodingKind::Video),
];

impl Coding {
    /// Finds the coding of a transfer syntax UID; trailing padding is ignored.
    pub fn from_uid(uid: &str) -> Option<Self> {
        let uid = uid.trim_end_matches(['\0', ' ']);
        TABLE
            .iter()
            .find(|entry| entry.uid == uid)
            .map(|entry| entry.coding)
    }

    /// All known codings, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| entry.coding)
    }

    fn entry(self) -> &'static CodingEntry {
        // Every variant has its row (tested), so the fallback is never taken.
        TABLE
            .iter()
            .find(|entry| entry.coding == self)
            .unwrap_or(&TABLE[0])
    }

    /// The transfer syntax UID.
    pub fn uid(self) -> &'static str {
        self.entry().uid
    }

    /// The media type of one frame in this coding (PS3.18 §8.7.3).
    pub fn media_type(self) -> &'static str {
        self.entry().media_type
    }

    /// Whether frames are plain samples, without compression of each frame.
    pub fn is_native(self) -> bool {
        self.entry().kind == CodingKind::Native
    }

    /// Whether the coding is a video: passed through, never decoded here.
    pub fn is_video(self) -> bool {
        self.entry().kind == CodingKind::Video
    }

    /// Whether pixel data in this syntax may have lost information.
    ///
    /// `.91`, `.203` and `.112` may hold lossless streams too; the header says which.
    pub fn is_lossy_syntax(self) -> bool {
        matches!(self.entry().kind, CodingKind::Lossy | CodingKind::Video)
    }

    /// The term for Lossy Image Compression Method (0028,2114), if any.
    ///
    /// Defined terms of PS3.3 §C.7.6.1.1.5.1.
    pub fn lossy_method(self) -> Option<&'static str> {
        match self {
            Self::JpegBaseline | Self::JpegExtended | Self::JpegProgressive => Some("ISO_10918_1"),
            Self::JpegLsNearLossless => Some("ISO_14495_1"),
            Self::Jpeg2000 | Self::Jpeg2000Multi => Some("ISO_15444_1"),
            Self::Htj2k => Some("ISO_15444_15"),
            Self::JpegXl | Self::JpegXlRecompression => Some("ISO_18181_1"),
            _ => None,
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uid_leads_back_to_its_coding() {
        for coding in Coding::all() {
            assert_eq!(Coding::from_uid(coding.uid()), Some(coding));
        }
        let mut uids: Vec<_> = Coding::all().map(Coding::uid).collect();
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), TABLE.len());
        assert_eq!(TABLE.len(), Coding::HevcMain10 as usize + 1);
    }

    #[test]
    fn a_padded_uid_is_found_and_an_unknown_one_is_not() {
        assert_eq!(Coding::from_uid("1.2.840.10008.1.2.5\0"), Some(Coding::Rle));
        assert_eq!(Coding::from_uid("1.2.840.10008.1.2.4.5"), None);
        assert_eq!(Coding::from_uid(""), None);
    }

    #[test]
    fn media_types_follow_the_standard() {
        let of = |uid| Coding::from_uid(uid).unwrap().media_type();
        assert_eq!(of("1.2.840.10008.1.2.4.80"), "image/jls");
        assert_eq!(of("1.2.840.10008.1.2.5"), "image/dicom-rle");
        assert_eq!(of("1.2.840.10008.1.2.4.203"), "image/jphc");
        assert_eq!(of("1.2.840.10008.1.2.4.108"), "video/H265");
        assert_eq!(of("1.2.840.10008.1.2.1"), "application/octet-stream");
    }

    #[test]
    fn lossy_syntaxes_are_marked() {
        for coding in Coding::all().filter(|coding| coding.lossy_method().is_some()) {
            assert!(coding.is_lossy_syntax(), "{coding}");
        }
        assert!(!Coding::Jpeg2000Lossless.is_lossy_syntax());
        assert!(Coding::Mpeg2Main.is_lossy_syntax());
    }
}
