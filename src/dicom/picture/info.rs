//! What the first bytes say of a picture: its format, its sizes, what decoding it costs.

/// What the first bytes say of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureInfo {
    pub(super) format: PictureFormat,
    /// Rows (0028,0010).
    pub rows: u32,
    /// Columns (0028,0011).
    pub columns: u32,
    /// Samples per Pixel (0028,0002): 1 or 3, interleaved.
    pub samples: u16,
    /// Bits of each sample, all of them used: 8 or 16.
    pub bits: u16,
    /// Frames, one behind the other.
    pub frames: u32,
    /// Zero is white.
    pub inverted: bool,
    /// Bytes that decoding takes beside the pixels and some tables.
    pub(super) extra: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureFormat {
    Png,
    Gif,
    Bmp,
    Tiff,
}

impl PictureInfo {
    /// A picture of one frame whose zero is black.
    pub(super) fn one(
        format: PictureFormat,
        (rows, columns): (u32, u32),
        samples: u16,
        bits: u16,
    ) -> Self {
        Self {
            format,
            rows,
            columns,
            samples,
            bits,
            frames: 1,
            inverted: false,
            extra: 0,
        }
    }

    /// The media type its bytes have.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        match self.format {
            PictureFormat::Png => "image/png",
            PictureFormat::Gif => "image/gif",
            PictureFormat::Bmp => "image/bmp",
            PictureFormat::Tiff => "image/tiff",
        }
    }

    /// Bytes of its pixels.
    #[must_use]
    pub fn length(&self) -> u64 {
        u64::from(self.rows)
            .saturating_mul(self.columns.into())
            .saturating_mul((self.samples * (self.bits / 8)).into())
            .saturating_mul(self.frames.into())
    }

    /// Bytes that decoding takes at most, the pixels among them.
    #[must_use]
    pub fn cost(&self) -> u64 {
        // Four samples of the same width, some lines and tables.
        u64::from(self.rows)
            .saturating_mul(self.columns.into())
            .saturating_mul((4 * (self.bits / 8)).into())
            .saturating_add(self.length())
            .saturating_add(self.extra)
            .saturating_add(1 << 20)
    }
}
