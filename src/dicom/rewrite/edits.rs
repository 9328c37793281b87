//! What a rewritten file is to have that the stored one has not.

use dicom_core::{Tag, VR};

/// What the new file is to have that the stored one has not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// Transfer Syntax UID of the new file; all of them but Implicit VR and Big Endian can be written.
    pub transfer_syntax: String,
    /// Changes of top-level elements other than the pixel data, each tag at most once, in any order.
    pub elements: Vec<Edit>,
    /// What becomes of Pixel Data (7FE0,0010).
    pub pixels: PixelEdit,
}

impl Edits {
    /// No change but the encoding.
    #[must_use]
    pub fn none(transfer_syntax: &str) -> Self {
        Self {
            transfer_syntax: transfer_syntax.to_owned(),
            ..Self::default()
        }
    }
}

/// One change of a top-level element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Which one.
    pub tag: Tag,
    /// Its new VR and value in little endian order, padded here; none removes it.
    pub value: Option<(VR, Vec<u8>)>,
}

/// What becomes of the pixel data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PixelEdit {
    /// It stays; native data is put in little endian order.
    #[default]
    Keep,
    /// Native frames one after another, `length` bytes in all.
    Native {
        /// OB or OW.
        vr: VR,
        /// How many frames the caller will write.
        frames: u32,
        /// Bytes of all frames, without padding.
        length: u64,
    },
    /// Encapsulated frames of these lengths, one fragment each.
    Encapsulated {
        /// Bytes of each frame's codestream, without padding.
        lengths: Vec<u32>,
    },
}
