//! The transfer syntaxes: UID, media type, how pixel data lies in each, and the codec.
//!
//! One table holds every fact, and all other code asks it, so a transfer syntax is added in one place.

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

/// Implicit VR Little Endian.
pub const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Deflated Explicit VR Little Endian.
pub const DEFLATED_LE: &str = "1.2.840.10008.1.2.1.99";
/// Explicit VR Big Endian (retired).
pub const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";

/// Uncompressed bulk data.
pub const OCTETS: &str = "application/octet-stream";

/// What is known of one transfer syntax.
#[derive(Debug)]
pub struct TransferSyntax {
    /// Its UID.
    pub uid: &'static str,
    /// How frames are coded; none where this build only passes them on.
    pub coding: Option<Coding>,
    /// Media type of one frame.
    pub media_type: &'static str,
    /// Whether the media type means this transfer syntax when none is named.
    pub is_default: bool,
    /// How pixel data lies in it.
    pub pixels: Pixels,
}

/// How pixel data lies in a transfer syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// As plain samples, not encapsulated.
    Native,
    /// As plain samples of each frame, encapsulated.
    Uncompressed,
    /// Compressed without loss.
    Lossless,
    /// Compressed; information may be lost.
    Lossy,
    /// As a video, whose fragments are cut anywhere (PS3.5 §8.2.5 to §8.2.9).
    Video,
    /// Somewhere else: the data set names it by a URL (JPIP).
    Referenced,
}

const fn row(
    uid: &'static str,
    coding: Option<Coding>,
    media_type: &'static str,
    is_default: bool,
    pixels: Pixels,
) -> TransferSyntax {
    TransferSyntax {
        uid,
        coding,
        media_type,
        is_default,
        pixels,
    }
}

/// PS3.6 table A-1 with the media types of PS3.18 tables 8.7.3-2 to 8.7.3-5; the order is that in which they are offered.
#[rustfmt::skip]
const TABLE: &[TransferSyntax] = &[
    row(IMPLICIT_LE, Some(Coding::ImplicitLittleEndian), OCTETS, false, Pixels::Native),
    row(EXPLICIT_LE, Some(Coding::ExplicitLittleEndian), OCTETS, false, Pixels::Native),
    row(DEFLATED_LE, Some(Coding::DeflatedDataSet), OCTETS, false, Pixels::Native),
    row(EXPLICIT_BE, Some(Coding::ExplicitBigEndian), OCTETS, false, Pixels::Native),
    row("1.2.840.10008.1.2.1.98", Some(Coding::EncapsulatedUncompressed), OCTETS, false, Pixels::Uncompressed),
    row("1.2.840.10008.1.2.4.70", Some(Coding::JpegLosslessFirstOrder), "image/jpeg", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.50", Some(Coding::JpegBaseline), "image/jpeg", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.51", Some(Coding::JpegExtended), "image/jpeg", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.55", Some(Coding::JpegProgressive), "image/jpeg", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.57", Some(Coding::JpegLossless), "image/jpeg", false, Pixels::Lossless),
    row("1.2.840.10008.1.2.5", Some(Coding::Rle), "image/dicom-rle", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.80", Some(Coding::JpegLsLossless), "image/jls", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.81", Some(Coding::JpegLsNearLossless), "image/jls", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.90", Some(Coding::Jpeg2000Lossless), "image/jp2", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.91", Some(Coding::Jpeg2000), "image/jp2", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.92", Some(Coding::Jpeg2000MultiLossless), "image/jpx", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.93", Some(Coding::Jpeg2000Multi), "image/jpx", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.201", Some(Coding::Htj2kLossless), "image/jphc", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.202", Some(Coding::Htj2kLosslessRpcl), "image/jphc", false, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.203", Some(Coding::Htj2k), "image/jphc", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.110", Some(Coding::JpegXlLossless), "image/jxl", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.111", Some(Coding::JpegXlRecompression), "image/jxl", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.112", Some(Coding::JpegXl), "image/jxl", false, Pixels::Lossy),
    row("1.2.840.10008.1.2.4.100", Some(Coding::Mpeg2Main), "video/mpeg", true, Pixels::Video),
    row("1.2.840.10008.1.2.4.100.1", None, "video/mpeg", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.101", Some(Coding::Mpeg2High), "video/mpeg", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.101.1", None, "video/mpeg", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.102", Some(Coding::Mpeg4High), "video/mp4", true, Pixels::Video),
    row("1.2.840.10008.1.2.4.102.1", None, "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.103", Some(Coding::Mpeg4BluRay), "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.103.1", None, "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.104", Some(Coding::Mpeg4High2d), "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.104.1", None, "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.105", Some(Coding::Mpeg4High3d), "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.105.1", None, "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.106", Some(Coding::Mpeg4Stereo), "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.106.1", None, "video/mp4", false, Pixels::Video),
    row("1.2.840.10008.1.2.4.107", Some(Coding::HevcMain), "video/h265", true, Pixels::Video),
    row("1.2.840.10008.1.2.4.108", Some(Coding::HevcMain10), "video/h265", false, Pixels::Video),
    row("1.2.840.10008.1.2.8.1", Some(Coding::DeflatedFrame), "application/x-deflate", true, Pixels::Lossless),
    row("1.2.840.10008.1.2.4.95", None, OCTETS, false, Pixels::Referenced),
    row("1.2.840.10008.1.2.4.205", None, OCTETS, false, Pixels::Referenced),
];

/// What is known of a transfer syntax.
#[must_use]
pub fn find(uid: &str) -> Option<&'static TransferSyntax> {
    TABLE.iter().find(|row| row.uid == uid)
}

/// Those that frames have a media type of their own in, in the order in which they are offered.
pub fn with_frame_media() -> impl Iterator<Item = &'static TransferSyntax> {
    TABLE.iter().filter(|row| row.media_type != OCTETS)
}

/// Whether pixel data lies in a transfer syntax as plain samples, never encapsulated.
#[must_use]
pub fn is_native(uid: &str) -> bool {
    find(uid).is_some_and(|row| row.pixels == Pixels::Native)
}

/// Whether it holds a video: the fragments are cut anywhere, frames cannot be told apart.
#[must_use]
pub fn is_video(uid: &str) -> bool {
    find(uid).is_some_and(|row| row.pixels == Pixels::Video)
}

/// Whether the whole data set is deflated (PS3.5 §A.5, PS3.5 §A.7, §A.4.12).
#[must_use]
pub fn is_deflated(uid: &str) -> bool {
    uid == DEFLATED_LE || find(uid).is_some_and(|row| row.pixels == Pixels::Referenced)
}

/// Media type of one frame.
#[must_use]
pub fn frame_media(uid: &str) -> &'static str {
    find(uid).map_or(OCTETS, |row| row.media_type)
}

impl Coding {
    /// Finds the coding of a transfer syntax UID; trailing padding is ignored.
    pub fn from_uid(uid: &str) -> Option<Self> {
        let uid = uid.trim_end_matches(['\0', ' ']);
        find(uid).and_then(|row| row.coding)
    }

    /// All known codings, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().filter_map(|row| row.coding)
    }

    fn row(self) -> &'static TransferSyntax {
        // Every variant has its row (tested), so the fallback is never taken.
        TABLE
            .iter()
            .find(|row| row.coding == Some(self))
            .unwrap_or(&TABLE[0])
    }

    /// The transfer syntax UID.
    pub fn uid(self) -> &'static str {
        self.row().uid
    }

    /// The media type of one frame in this coding (PS3.18 §8.7.3).
    pub fn media_type(self) -> &'static str {
        self.row().media_type
    }

    /// Whether frames are plain samples, without compression of each frame.
    pub fn is_native(self) -> bool {
        matches!(self.row().pixels, Pixels::Native | Pixels::Uncompressed)
    }

    /// Whether the coding is a video: passed through, never decoded here.
    pub fn is_video(self) -> bool {
        self.row().pixels == Pixels::Video
    }

    /// Whether pixel data in this syntax may have lost information.
    ///
    /// `.91`, `.203` and `.112` may hold lossless streams too; the header says which.
    pub fn is_lossy_syntax(self) -> bool {
        matches!(self.row().pixels, Pixels::Lossy | Pixels::Video)
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
        assert_eq!(uids.len(), Coding::HevcMain10 as usize + 1);
        let mut all: Vec<_> = TABLE.iter().map(|row| row.uid).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), TABLE.len());
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
        assert_eq!(of("1.2.840.10008.1.2.4.108"), "video/h265");
        assert_eq!(of("1.2.840.10008.1.2.1"), "application/octet-stream");
    }

    #[test]
    fn every_question_is_answered_from_the_table() {
        for uid in [IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE] {
            assert!(is_native(uid), "{uid}");
            assert_eq!(frame_media(uid), OCTETS);
        }
        // Encapsulated Uncompressed holds samples as they are, but in fragments.
        assert!(!is_native("1.2.840.10008.1.2.1.98"));
        assert!(Coding::EncapsulatedUncompressed.is_native());
        for last in ["100", "100.1", "102", "103.1", "106.1", "107", "108"] {
            let uid = format!("1.2.840.10008.1.2.4.{last}");
            assert!(is_video(&uid) && !is_native(&uid), "{uid}");
            assert!(frame_media(&uid).starts_with("video/"), "{uid}");
        }
        for uid in [
            DEFLATED_LE,
            "1.2.840.10008.1.2.4.95",
            "1.2.840.10008.1.2.4.205",
        ] {
            assert!(is_deflated(uid), "{uid}");
        }
        assert!(!is_deflated(EXPLICIT_LE) && !is_deflated("1.2.840.10008.1.2.8.1"));
        for uid in ["", "1.2.3", "1.2.840.10008.1.2.4.50"] {
            assert!(!is_native(uid) && !is_video(uid), "{uid}");
        }
        let mut defaults: Vec<_> = with_frame_media()
            .filter(|row| row.is_default)
            .map(|row| row.media_type)
            .collect();
        defaults.sort_unstable();
        let mut media: Vec<_> = with_frame_media().map(|row| row.media_type).collect();
        media.sort_unstable();
        media.dedup();
        assert_eq!(defaults, media, "each media type has one default");
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
