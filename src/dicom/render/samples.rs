//! The decoded frame a picture is made of, and how its bytes read as numbers.

use super::error::RenderError;

/// How the bytes of [`Samples::data`] hold one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// Unsigned 8 bit.
    U8,
    /// Signed 8 bit.
    I8,
    /// Unsigned 16 bit, little endian.
    U16,
    /// Signed 16 bit, little endian.
    I16,
    /// Unsigned 32 bit, little endian.
    U32,
    /// Signed 32 bit, little endian.
    I32,
    /// Float Pixel Data (7FE0,0008), little endian.
    F32,
    /// Double Float Pixel Data (7FE0,0009), little endian.
    F64,
    /// One bit per pixel, least significant bit first, rows not padded.
    Bits1 {
        /// Bits of the first byte that belong to the frame before.
        first_bit: u8,
    },
}

impl SampleKind {
    /// Bytes of one sample; `None` for packed bits.
    pub(super) fn bytes(self) -> Option<u8> {
        match self {
            Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::F64 => Some(8),
            Self::Bits1 { .. } => None,
        }
    }

    /// The samples of 32 and 64 bit kinds as numbers.
    pub(super) fn values(self, bytes: &[u8]) -> Box<dyn Iterator<Item = f64> + '_> {
        let quads = || bytes.as_chunks::<4>().0.iter();
        match self {
            Self::U32 => Box::new(quads().map(|&b| f64::from(u32::from_le_bytes(b)))),
            Self::I32 => Box::new(quads().map(|&b| f64::from(i32::from_le_bytes(b)))),
            Self::F32 => Box::new(quads().map(|&b| f64::from(f32::from_le_bytes(b)))),
            Self::F64 => Box::new(
                bytes
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|&b| f64::from_le_bytes(b)),
            ),
            Self::U8 | Self::I8 | Self::U16 | Self::I16 | Self::Bits1 { .. } => {
                Box::new(std::iter::empty())
            }
        }
    }
}

/// Photometric Interpretation (0028,0004), PS3.3 §C.7.6.3.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplePhotometric {
    /// Lowest value is white.
    Monochrome1,
    /// Lowest value is black.
    Monochrome2,
    /// Indices into three lookup tables.
    PaletteColor,
    /// Red, green, blue.
    Rgb,
    /// Luminance and chrominance, full range.
    YbrFull,
    /// As `YbrFull`, chrominance halved horizontally.
    YbrFull422,
    /// Luminance 16-235, chrominance halved horizontally (retired).
    YbrPartial422,
    /// Luminance 16-235, chrominance halved both ways.
    YbrPartial420,
    /// JPEG 2000 irreversible transform; its decoder has undone it.
    YbrIct,
    /// JPEG 2000 reversible transform; its decoder has undone it.
    YbrRct,
}

impl SamplePhotometric {
    /// Reads the attribute's value; `None` for a term with no rule here.
    pub fn parse(value: &str) -> Option<Self> {
        Some(match value.trim_matches([' ', '\0']) {
            "MONOCHROME1" => Self::Monochrome1,
            "MONOCHROME2" => Self::Monochrome2,
            "PALETTE COLOR" => Self::PaletteColor,
            // A JPEG XL decoder has turned XYB into RGB.
            "RGB" | "XYB" => Self::Rgb,
            "YBR_FULL" => Self::YbrFull,
            "YBR_FULL_422" => Self::YbrFull422,
            "YBR_PARTIAL_422" => Self::YbrPartial422,
            "YBR_PARTIAL_420" => Self::YbrPartial420,
            "YBR_ICT" => Self::YbrIct,
            "YBR_RCT" => Self::YbrRct,
            _ => return None,
        })
    }
}

/// One decoded frame: `rows` × `columns` pixels, samples interleaved.
///
/// `YbrFull422` and `YbrPartial422` frames of 8 bit may also hold two bytes per
/// pixel in the native order Y Y CB CR (PS3.5 §8.2.1); the length tells them apart.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// Rows (0028,0010).
    pub rows: u32,
    /// Columns (0028,0011).
    pub columns: u32,
    /// Samples per Pixel (0028,0002).
    pub samples: u16,
    /// Kind of one sample.
    pub kind: SampleKind,
    /// Bits Stored (0028,0101); higher bits are ignored.
    pub bits_stored: u16,
    /// What the samples mean, after decoding.
    pub photometric: SamplePhotometric,
    /// Little endian samples, rows top to bottom.
    pub data: &'a [u8],
}

impl Samples<'_> {
    /// Checks that the frame has pixels, and all its bytes.
    pub(super) fn check(&self) -> Result<(), RenderError> {
        let Self { rows, columns, .. } = *self;
        if rows == 0 || columns == 0 {
            return Err(RenderError::NoPixels { rows, columns });
        }
        let needed = self.needed_bytes()?;
        if u64::try_from(self.data.len()).unwrap_or(u64::MAX) < needed {
            return Err(RenderError::ShortFrame {
                actual: self.data.len(),
                needed,
            });
        }
        Ok(())
    }

    /// Bytes that the shape of the frame asks for.
    fn needed_bytes(&self) -> Result<u64, RenderError> {
        let pixels = u64::from(self.rows) * u64::from(self.columns);
        if self.is_native_422() {
            return Ok(pixels.saturating_mul(2));
        }
        let count = pixels.saturating_mul(u64::from(self.samples));
        match self.kind {
            SampleKind::Bits1 { first_bit } if self.samples == 1 && first_bit < 8 => {
                Ok(pixels.saturating_add(u64::from(first_bit)).div_ceil(8))
            }
            SampleKind::Bits1 { .. } => Err(RenderError::Unsupported {
                what: "1-bit color, or starting past their first byte",
            }),
            kind => Ok(count.saturating_mul(u64::from(kind.bytes().unwrap_or(1)))),
        }
    }

    /// Whether two pixels share their chrominance bytes (PS3.5 §8.2.1).
    pub(super) fn is_native_422(&self) -> bool {
        let pixels = u64::from(self.rows) * u64::from(self.columns);
        matches!(
            self.photometric,
            SamplePhotometric::YbrFull422 | SamplePhotometric::YbrPartial422
        ) && self.samples == 3
            && self.kind == SampleKind::U8
            && self.columns.is_multiple_of(2)
            && u64::try_from(self.data.len()).is_ok_and(|len| len < pixels.saturating_mul(3))
    }

    /// Every value a sample of up to 16 bits can hold, in the order of its bytes.
    pub(super) fn stored_values(&self) -> Option<Vec<i32>> {
        let (bits, signed) = match self.kind {
            SampleKind::U8 => (8, false),
            SampleKind::I8 => (8, true),
            SampleKind::U16 => (16, false),
            SampleKind::I16 => (16, true),
            SampleKind::U32
            | SampleKind::I32
            | SampleKind::F32
            | SampleKind::F64
            | SampleKind::Bits1 { .. } => return None,
        };
        let stored = match self.bits_stored {
            0 => bits,
            bits_stored => u32::from(bits_stored).min(bits),
        };
        let size = 1_i32 << stored;
        Some(
            (0..1_i32 << bits)
                .map(|raw| match raw & (size - 1) {
                    value if signed && value >= size / 2 => value - size,
                    value => value,
                })
                .collect(),
        )
    }
}
