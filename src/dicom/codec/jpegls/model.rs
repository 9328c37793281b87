//! A JPEG-LS image: its geometry, its samples, the order of its components, and what an encoder is asked for.

/// Largest number of components in a frame this module codes.
pub(super) const MAX_COMPONENTS: usize = 4;

/// Geometry and coding bounds of a JPEG-LS image (T.87 §C.2.2, §C.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Samples per line, 1 to 65,535.
    pub columns: u32,
    /// Lines, 1 to 65,535.
    pub rows: u32,
    /// Samples per pixel, 1 to 4.
    pub components: u8,
    /// Bits per sample, 2 to 16.
    pub precision: u8,
    /// Largest difference between a coded and an original sample; 0 is lossless.
    ///
    /// [`read_info`](super::read_info) gives the value of the first scan, [`decode()`](super::decode()) the largest of all scans.
    pub near: u8,
}

impl Info {
    /// Bytes one sample takes in [`JpegLsImage::samples`]: 1 up to 8 bits of precision, else 2.
    #[must_use]
    pub const fn bytes_per_sample(&self) -> usize {
        if self.precision <= 8 { 1 } else { 2 }
    }

    /// Bytes the decoded samples of the whole image take.
    #[must_use]
    pub const fn samples_bytes(&self) -> u64 {
        // At most 65,535 × 65,535 × 4 × 2, far below the range of u64.
        self.columns as u64
            * self.rows as u64
            * self.components as u64
            * self.bytes_per_sample() as u64
    }
}

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JpegLsImage {
    /// Geometry as the headers gave it.
    pub info: Info,
    /// Unsigned code values, pixel by pixel, the components of a pixel together.
    ///
    /// One byte per sample up to 8 bits of precision, else two, little endian.
    pub samples: Vec<u8>,
}

/// Order of the components in the coded stream (ILV, T.87 §C.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interleave {
    /// One scan per component.
    None,
    /// One scan, the components alternate line by line.
    Line,
    /// One scan, the components alternate sample by sample.
    Sample,
}

/// What [`encode()`](super::encode()) is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeParams {
    /// Samples per line, 1 to 65,535.
    pub columns: u32,
    /// Lines, 1 to 65,535.
    pub rows: u32,
    /// Samples per pixel, 1 to 4.
    pub components: u8,
    /// Bits per sample, 2 to 16; every sample must be below 2 to this power.
    pub precision: u8,
    /// Largest allowed difference, 0 (lossless) to the smaller of 255 and half the largest sample.
    pub near: u8,
    /// Order of the components; a single component is always written as [`Interleave::None`].
    pub interleave: Interleave,
}
