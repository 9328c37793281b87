//! Why an instance is not de-identified.
//!
//! Invariant: no message holds a value of the instance.

use crate::dicom::error::ParseError;

/// Why an instance was not de-identified.
#[derive(Debug, thiserror::Error)]
pub enum DeidentifyError {
    /// The data set cannot be read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It may name somebody in a way that cannot be taken away here.
    #[error("not de-identified: {0}")]
    Refused(#[from] DeidentifyRefusal),
}

/// What there is of an instance that cannot be taken away here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DeidentifyRefusal {
    /// Burned In Annotation (0028,0301) says so.
    #[error(
        "Burned In Annotation (0028,0301) is YES; name what to blank in the file of STOWAGE_DEIDENTIFY_PIXELS_FILE"
    )]
    BurnedIn,
    /// Pictures of this kind often have text in them.
    #[error(
        "pictures of its modality or SOP class often show text that names the patient; name what to blank, or that there is nothing, in the file of STOWAGE_DEIDENTIFY_PIXELS_FILE"
    )]
    LikelyText,
    /// Image Type or Conversion Type says that it is a copy of a screen or of paper.
    #[error(
        "it is a copy of a screen, of film or of paper, or made of other images, and may show text that names the patient; name what to blank, or that there is nothing, in the file of STOWAGE_DEIDENTIFY_PIXELS_FILE"
    )]
    Copy,
    /// A document that is not DICOM, of which nothing is known.
    #[error("the content of encapsulated documents cannot be looked into")]
    Document,
    /// An overlay in the unused bits of the pixels.
    #[error("an overlay lies in unused bits of the pixel data, which stays as it is")]
    OverlayBits,
    /// The rectangles cannot be blanked in such pixels.
    #[error(
        "rectangles can be blanked in whole samples of 8, 16 or 32 bits only, one frame after the other; these pixels are stored in another way"
    )]
    PixelLayout,
    /// The compressed pixels could not be written back as they are.
    #[error(
        "rectangles cannot be blanked in this transfer syntax without changing other pixels: only native, RLE Lossless, JPEG-LS Lossless and HTJ2K Lossless can be written back"
    )]
    TransferSyntax,
}
