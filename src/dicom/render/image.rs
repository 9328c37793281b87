//! A picture of eight bits, and the formats it is written in.

/// Media type of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Baseline JPEG.
    Jpeg,
    /// PNG, 8 bit.
    Png,
    /// GIF.
    Gif,
}

impl ImageFormat {
    /// The media type, as it stands in `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
        }
    }
}

/// An 8-bit picture: rows top to bottom, 1 (gray) or 3 (RGB) bytes per pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) channels: usize,
    pub(super) data: Vec<u8>,
}
