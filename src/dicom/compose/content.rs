//! What a bulk data part is by its first bytes.

use super::error::ComposeProblem;
use super::sniff::{is_rle, video};
use crate::dicom::codec;
use crate::dicom::codec::{Coding, RecognizedCodestream, transfer_syntax};
use crate::dicom::picture::PictureInfo;

/// What a part holds by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PartContent {
    /// Nobody looked, or nothing is known of such bytes.
    #[default]
    Unknown,
    /// A codestream, and where it lies in the part.
    Stream(RecognizedCodestream, (u64, u64)),
    /// A picture that is decoded when the file is written.
    Picture(PictureInfo),
    /// A video stream.
    Video(Coding),
    /// A frame of RLE segments.
    Rle,
    /// A PDF document.
    Pdf,
    /// A picture or codestream that cannot be stored; continues "the attribute …".
    Unfit(&'static str),
}

/// First bytes of a part that are looked at.
pub const HEAD: usize = 256 * 1024;

impl BulkPart {
    /// Takes what the part is from its first [`HEAD`] bytes; from all of them where [`PictureInfo::needs_whole`].
    pub fn look(&mut self, head: &[u8]) {
        self.content = self.looked(head);
    }

    fn looked(&self, head: &[u8]) -> PartContent {
        if let Some(picture) = PictureInfo::look(head) {
            return picture.map_or_else(PartContent::Unfit, PartContent::Picture);
        }
        if head.starts_with(b"%PDF-") {
            return PartContent::Pdf;
        }
        if let Some(coding) = video(head) {
            return PartContent::Video(coding);
        }
        match codec::recognize(head) {
            Ok(stream) => {
                let place = codec::codestream_in_boxes(head, self.length);
                PartContent::Stream(stream, place.unwrap_or((0, self.length)))
            }
            Err(_) if is_rle(head, self.length) => PartContent::Rle,
            Err(_) if self.media.starts_with("image/") => {
                PartContent::Unfit("has a part that is not the picture its media type names")
            }
            Err(_) => PartContent::Unknown,
        }
    }

    /// Whether its bytes may be samples though they look like something: of what is told by a few bytes alone, as samples
    /// may have them by chance, no signature is known.
    pub(super) fn may_be_samples(&self) -> bool {
        let octets = self.media == transfer_syntax::OCTETS && self.is_native();
        let sure = match &self.content {
            // Two bytes begin a bare JPEG XL stream.
            PartContent::Stream(stream, _) => stream.coding.media_type() != "image/jxl",
            PartContent::Picture(picture) => picture.media_type() != "image/bmp",
            PartContent::Pdf => true,
            PartContent::Video(_)
            | PartContent::Rle
            | PartContent::Unfit(_)
            | PartContent::Unknown => false,
        };
        octets && !sure
    }

    /// Whether its bytes are plain values by its label.
    pub(super) fn is_native(&self) -> bool {
        self.transfer_syntax
            .as_deref()
            .is_none_or(transfer_syntax::is_native)
    }

    /// The transfer syntax the part is labeled with.
    fn labeled(&self) -> Result<Option<Coding>, ComposeProblem> {
        let Some(uid) = self.transfer_syntax.as_deref() else {
            return Ok(None);
        };
        Coding::from_uid(uid)
            .map(Some)
            .ok_or(ComposeProblem::Pixels(
                "has a part in a transfer syntax that is not known here",
            ))
    }

    /// The transfer syntax of the part as a frame of the pixel data; none for native samples and pictures.
    pub(super) fn coding(&self) -> Result<Option<Coding>, ComposeProblem> {
        const OTHER: ComposeProblem = ComposeProblem::Pixels(
            "has a part whose bytes are not in the transfer syntax it names",
        );
        const PICTURE: ComposeProblem = ComposeProblem::Pixels(
            "has octets that are a picture and no samples; name its media type",
        );
        const LABEL: ComposeProblem =
            ComposeProblem::Pixels("has a part whose bytes are not of the media type it names");
        let labeled = self.labeled()?.filter(|coding| {
            // Octets in a native syntax are samples, in the default one as well as in none.
            !coding.is_native()
        });
        let named_native = self.labeled()?.is_some_and(Coding::is_native);
        match &self.content {
            PartContent::Stream(stream, _) => match labeled {
                _ if named_native => Err(OTHER),
                Some(coding) if stream.fits(coding) => Ok(Some(coding)),
                Some(_) => Err(OTHER),
                None if self.may_hold(stream.coding) => Ok(Some(stream.coding)),
                None => Err(LABEL),
            },
            PartContent::Picture(_) if labeled.is_some() => Err(OTHER),
            PartContent::Picture(_) | PartContent::Pdf
                if self.media == transfer_syntax::OCTETS && !self.location.is_empty() =>
            {
                Err(PICTURE)
            }
            PartContent::Picture(picture) => match self.media.as_str() {
                media if media == picture.media_type() => Ok(None),
                "image/x-ms-bmp" if picture.media_type() == "image/bmp" => Ok(None),
                _ if self.location.is_empty() => Ok(None),
                _ => Err(LABEL),
            },
            PartContent::Video(coding) => match labeled {
                Some(labeled) if labeled.is_video() => Ok(Some(labeled)),
                Some(_) => Err(OTHER),
                None if self.media.starts_with("video/") || self.location.is_empty() => {
                    Ok(Some(*coding))
                }
                None => Err(LABEL),
            },
            PartContent::Rle if labeled.is_none_or(|coding| coding == Coding::Rle) => {
                if self.may_hold(Coding::Rle) {
                    Ok(Some(Coding::Rle))
                } else {
                    Err(LABEL)
                }
            }
            PartContent::Unfit(reason) => Err(ComposeProblem::Pixels(reason)),
            PartContent::Rle | PartContent::Pdf | PartContent::Unknown => {
                match (labeled, self.media.as_str()) {
                    // A deflated frame tells nothing of itself.
                    (Some(Coding::DeflatedFrame), _) | (None, "application/x-deflate") => {
                        Ok(Some(Coding::DeflatedFrame))
                    }
                    (Some(_), _) => Err(OTHER),
                    (None, transfer_syntax::OCTETS) => Ok(None),
                    (None, _) => Err(ComposeProblem::Pixels(
                        "has a part of a media type that is no pixel data; send application/octet-stream, a codestream that DICOM \
                     knows, PNG, GIF, BMP or TIFF",
                    )),
                }
            }
        }
    }

    /// Whether the media type is one of those under which such codestreams are sent.
    fn may_hold(&self, coding: Coding) -> bool {
        const FAMILIES: &[&[&str]] = &[
            &["image/jpeg", "image/jpg", "image/pjpeg", "image/jll"],
            &["image/jls", "image/x-jls"],
            &[
                "image/jp2",
                "image/jpx",
                "image/j2c",
                "image/j2k",
                "image/jpeg2000",
                "image/jph",
                "image/jphc",
                "image/x-jphc",
            ],
            &["image/jxl"],
            &["image/dicom-rle", "image/x-dicom-rle"],
        ];
        let own = match coding.media_type() {
            "image/jpx" | "image/jphc" => "image/jp2",
            media => media,
        };
        let family = FAMILIES.iter().find(|family| family.contains(&own));
        self.location.is_empty()
            || family.is_some_and(|family| family.contains(&self.media.as_str()))
    }
}

/// What is known of a bulk data part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPart {
    /// Content-Location.
    pub location: String,
    /// Media type in lower case, without parameters.
    pub media: String,
    /// Parameter `transfer-syntax` of the media type.
    pub transfer_syntax: Option<String>,
    /// Bytes.
    pub length: u64,
    /// What it is by its bytes.
    pub content: PartContent,
}
