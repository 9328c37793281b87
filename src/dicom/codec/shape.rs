//! What the header says of one frame, and a frame in canonical form.
//!
//! Invariant of [`DecodedFrame`]: the data are little endian, interleaved by pixel, and exactly as long as
//! the shape says.

use super::error::CodecError;

/// Photometric Interpretation (0028,0004), PS3.3 §C.7.6.3.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Photometric {
    /// `MONOCHROME1`: gray, zero is white.
    Monochrome1,
    /// `MONOCHROME2`: gray, zero is black.
    Monochrome2,
    /// `RGB`.
    Rgb,
    /// `PALETTE COLOR`: indices into lookup tables.
    PaletteColor,
    /// `YBR_FULL`: luminance and two color differences.
    YbrFull,
    /// `YBR_FULL_422`: color differences for each second column.
    YbrFull422,
    /// `YBR_PARTIAL_420`: of video.
    YbrPartial420,
    /// `YBR_PARTIAL_422` (retired).
    YbrPartial422,
    /// `YBR_ICT`: the irreversible transform of JPEG 2000.
    YbrIct,
    /// `YBR_RCT`: the reversible transform of JPEG 2000.
    YbrRct,
    /// `XYB`: of JPEG XL.
    Xyb,
    /// Any other value, retired ones included.
    Other,
}

const TERMS: &[(Photometric, &str)] = &[
    (Photometric::Monochrome1, "MONOCHROME1"),
    (Photometric::Monochrome2, "MONOCHROME2"),
    (Photometric::Rgb, "RGB"),
    (Photometric::PaletteColor, "PALETTE COLOR"),
    (Photometric::YbrFull, "YBR_FULL"),
    (Photometric::YbrFull422, "YBR_FULL_422"),
    (Photometric::YbrPartial420, "YBR_PARTIAL_420"),
    (Photometric::YbrPartial422, "YBR_PARTIAL_422"),
    (Photometric::YbrIct, "YBR_ICT"),
    (Photometric::YbrRct, "YBR_RCT"),
    (Photometric::Xyb, "XYB"),
];

impl Photometric {
    /// Reads the term of a header; padding and letter case are ignored.
    pub fn parse(term: &str) -> Self {
        let term = term.trim_matches([' ', '\0']);
        TERMS
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(term))
            .map_or(Self::Other, |(photometric, _)| *photometric)
    }

    /// The defined term; nothing for [`Photometric::Other`].
    pub fn term(self) -> Option<&'static str> {
        TERMS
            .iter()
            .find(|(photometric, _)| *photometric == self)
            .map(|(_, name)| *name)
    }

    /// Whether a pixel is one gray value or one palette index.
    pub fn is_single_sample(self) -> bool {
        matches!(
            self,
            Self::Monochrome1 | Self::Monochrome2 | Self::PaletteColor
        )
    }

    /// Whether native pixel data hold half of the color differences (PS3.3 §C.7.6.3.1.2).
    pub fn is_subsampled(self) -> bool {
        matches!(
            self,
            Self::YbrFull422 | Self::YbrPartial422 | Self::YbrPartial420
        )
    }
}

/// What the header says of one frame (Image Pixel module, PS3.3 §C.7.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameShape {
    /// Rows (0028,0010), in pixels.
    pub rows: u32,
    /// Columns (0028,0011), in pixels.
    pub columns: u32,
    /// Samples per Pixel (0028,0002): 1, 3 or 4.
    pub samples: u16,
    /// Bits Allocated (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits Stored (0028,0101).
    pub bits_stored: u16,
    /// Bits below the sample: High Bit (0028,0102) + 1 − Bits Stored, zero in a canonical frame.
    pub low_bit: u16,
    /// The header puts overlay planes into unused bits (60xx,0102), so what lies there is no part of the sample.
    pub overlay_bits: bool,
    /// Pixel Representation (0028,0103) is 1: two's complement.
    pub signed: bool,
    /// Planar Configuration (0028,0006) is 1: one plane after the other.
    pub planar: bool,
    /// Photometric Interpretation (0028,0004).
    pub photometric: Photometric,
}

impl FrameShape {
    /// Checks that the attributes describe a picture.
    ///
    /// # Errors
    /// [`CodecError::InvalidShape`] when an attribute has no meaning or contradicts another.
    pub fn check(&self) -> Result<(), CodecError> {
        let reason = if self.rows == 0 || self.columns == 0 {
            "Rows or Columns is zero"
        } else if !matches!(self.samples, 1 | 3 | 4) {
            "Samples per Pixel is not 1, 3 or 4"
        } else if !matches!(self.bits_allocated, 1 | 8 | 16 | 32 | 64) {
            "Bits Allocated is not 1, 8, 16, 32 or 64"
        } else if self.bits_stored == 0 || self.bits_stored > self.bits_allocated {
            "Bits Stored is zero or above Bits Allocated"
        } else if self.low_bit > self.bits_allocated - self.bits_stored {
            "High Bit is above Bits Allocated"
        } else if self.samples != 1 && self.photometric.is_single_sample() {
            "Samples per Pixel does not fit the Photometric Interpretation"
        } else if self.photometric.is_subsampled() && self.samples != 3 {
            "a subsampled Photometric Interpretation needs three samples"
        } else if self.bits_allocated == 1 && self.samples != 1 {
            "single-bit pixels have one sample"
        } else {
            return Ok(());
        };
        Err(CodecError::InvalidShape { reason })
    }

    /// Checks that the attributes describe a canonical frame.
    pub(super) fn check_canonical(&self) -> Result<(), CodecError> {
        self.check()?;
        let reason = if self.planar {
            "a canonical frame is interleaved by pixel"
        } else if self.low_bit != 0 || self.overlay_bits {
            "a canonical frame holds nothing but samples"
        } else if self.photometric.is_subsampled() {
            "a canonical frame is not subsampled"
        } else if matches!(self.photometric, Photometric::YbrRct | Photometric::YbrIct) {
            "YBR_RCT and YBR_ICT exist inside codestreams only"
        } else {
            return Ok(());
        };
        Err(CodecError::InvalidShape { reason })
    }

    /// The canonical form of this shape: samples in the low bits, pixel by pixel.
    pub(super) fn canonical(&self, photometric: Photometric) -> Self {
        Self {
            planar: false,
            low_bit: 0,
            overlay_bits: false,
            photometric,
            ..*self
        }
    }

    /// This shape with what a codestream says of its own picture (PS3.5 §8.2: the stream decides).
    ///
    /// Bits Stored stays while the stream is wider but within Bits Allocated: only the samples tell whether they need
    /// more (see [`super::samples::frame`]).
    ///
    /// # Errors
    /// [`CodecError::Mismatch`] when the stream has a number of components that no pixel has.
    pub(super) fn declared(&self, stream: &CodestreamShape) -> Result<Self, CodecError> {
        let samples = u16::try_from(stream.components).unwrap_or(u16::MAX);
        let precision = u16::try_from(stream.precision).unwrap_or(u16::MAX);
        if !matches!(samples, 1 | 3 | 4) {
            return Err(CodecError::Mismatch {
                what: "Samples per Pixel",
                header: u64::from(self.samples),
                stream: u64::from(samples),
            });
        }
        let photometric = match samples {
            _ if samples == self.samples => self.photometric,
            1 => Photometric::Monochrome2,
            3 => Photometric::Rgb,
            _ => Photometric::Other,
        };
        let (bits_allocated, bits_stored, low_bit) = if precision > self.bits_allocated {
            match (self.bits_allocated, precision) {
                // Single bits that came as whole samples: they may be packed again once they have been seen.
                (1, ..=8) => (1, 1, 0),
                (_, ..=8) => (8, precision, 0),
                (_, ..=16) => (16, precision, 0),
                (_, ..=32) => (32, precision, 0),
                _ => {
                    return Err(CodecError::Mismatch {
                        what: "Bits Allocated",
                        header: u64::from(self.bits_allocated),
                        stream: u64::from(stream.precision),
                    });
                }
            }
        } else if precision <= self.bits_stored {
            (self.bits_allocated, precision.max(1), 0)
        } else {
            (self.bits_allocated, self.bits_stored, self.low_bit)
        };
        let declared = Self {
            rows: stream.rows,
            columns: stream.columns,
            samples,
            bits_allocated,
            bits_stored,
            low_bit,
            photometric,
            planar: self.planar && samples > 1,
            ..*self
        };
        declared.check()?;
        Ok(declared)
    }

    /// What a decoded frame is that this shape, made of the header alone, did not promise; nothing when they agree.
    pub fn disagreement(&self, decoded: &Self) -> Option<String> {
        let pairs = [
            ("Rows", self.rows, decoded.rows),
            ("Columns", self.columns, decoded.columns),
            (
                "Samples per Pixel",
                self.samples.into(),
                decoded.samples.into(),
            ),
            (
                "Bits Stored",
                self.bits_stored.into(),
                decoded.bits_stored.into(),
            ),
        ];
        let differing: Vec<String> = pairs
            .iter()
            .filter(|(_, header, stream)| header != stream)
            .map(|(what, header, stream)| {
                format!("{what} is {header} in the header and {stream} in the codestream")
            })
            .collect();
        (!differing.is_empty()).then(|| {
            format!(
                "{}; the codestream decides (PS3.5 section 8.2)",
                differing.join(", ")
            )
        })
    }

    /// Number of samples in the canonical frame.
    pub fn sample_count(&self) -> u64 {
        // Two u32 fill at most 64 bits, the third factor may not: saturate, every limit is far below.
        (u64::from(self.rows) * u64::from(self.columns)).saturating_mul(u64::from(self.samples))
    }

    /// Bytes of the frame in canonical form; single-bit frames are packed.
    pub fn frame_bytes(&self) -> u64 {
        if self.bits_allocated == 1 {
            self.sample_count().div_ceil(8)
        } else {
            self.sample_count()
                .saturating_mul(u64::from(self.bits_allocated / 8))
        }
    }

    /// Bytes of one sample in canonical form; zero for packed single bits.
    pub(super) fn sample_bytes(&self) -> usize {
        usize::from(self.bits_allocated / 8)
    }

    /// The length of the canonical frame, if within the limits.
    ///
    /// # Errors
    /// [`CodecError::InvalidShape`] or [`CodecError::TooLarge`].
    pub(super) fn checked_len(&self, limits: &FrameLimits) -> Result<usize, CodecError> {
        self.check()?;
        let bytes = self.frame_bytes();
        if bytes > limits.max_frame_bytes {
            return Err(CodecError::TooLarge {
                bytes,
                limit: limits.max_frame_bytes,
            });
        }
        usize::try_from(bytes).map_err(|_| CodecError::TooLarge {
            bytes,
            limit: limits.max_frame_bytes,
        })
    }
}

/// What a codestream says of the picture in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodestreamShape {
    pub rows: u32,
    pub columns: u32,
    pub components: u32,
    /// Bits of one sample.
    pub precision: u32,
}

/// Bounds on what a single frame may cost.
///
/// Codecs need working memory besides the frame: measured, up to five times the frame, with JPEG 2000
/// about eight bytes for each sample, with lossless JPEG of color images ten times when encoding.
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    /// Largest decoded frame, in bytes; larger ones are refused before anything is allocated.
    pub max_frame_bytes: u64,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 512 << 20,
        }
    }
}

/// A decoded frame: little endian, interleaved by pixel, as long as its shape says.
///
/// Each sample is a value of Bits Stored bits, extended to Bits Allocated by its sign; what the stored form had in
/// other bits is gone (PS3.5 §8.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedFrame {
    /// The attributes that describe `data`; `planar` is false.
    pub shape: FrameShape,
    /// The samples.
    pub data: Vec<u8>,
}

impl DecodedFrame {
    /// Takes samples that are in canonical form.
    ///
    /// # Errors
    /// [`CodecError::InvalidShape`], also when the shape is not canonical (planar or subsampled);
    /// [`CodecError::FrameLength`] when the bytes do not match the shape.
    pub fn new(shape: FrameShape, data: Vec<u8>) -> Result<Self, CodecError> {
        let frame = Self { shape, data };
        frame.check()?;
        Ok(frame)
    }

    pub(super) fn check(&self) -> Result<(), CodecError> {
        self.shape.check_canonical()?;
        let found = self.data.len() as u64;
        if found != self.shape.frame_bytes() {
            return Err(CodecError::FrameLength {
                expected: self.shape.frame_bytes(),
                found,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray() -> FrameShape {
        FrameShape {
            rows: 3,
            columns: 5,
            samples: 1,
            bits_allocated: 16,
            bits_stored: 12,
            low_bit: 0,
            overlay_bits: false,
            signed: false,
            planar: false,
            photometric: Photometric::Monochrome2,
        }
    }

    #[test]
    fn photometric_terms_round_trip_and_padding_is_ignored() {
        for (photometric, term) in TERMS {
            assert_eq!(Photometric::parse(term), *photometric);
            assert_eq!(photometric.term(), Some(*term));
        }
        assert_eq!(Photometric::parse("RGB "), Photometric::Rgb);
        assert_eq!(Photometric::parse("ycck"), Photometric::Other);
        assert_eq!(Photometric::Other.term(), None);
    }

    #[test]
    fn lengths_cover_bits_bytes_and_overflow() {
        assert_eq!(gray().frame_bytes(), 30);
        let bit = FrameShape {
            bits_allocated: 1,
            bits_stored: 1,
            ..gray()
        };
        assert_eq!(bit.frame_bytes(), 2);
        let huge = FrameShape {
            rows: u32::MAX,
            columns: u32::MAX,
            samples: 4,
            bits_allocated: 64,
            bits_stored: 64,
            photometric: Photometric::Other,
            ..gray()
        };
        assert_eq!(huge.frame_bytes(), u64::MAX);
        assert!(matches!(
            huge.checked_len(&FrameLimits::default()),
            Err(CodecError::TooLarge { .. })
        ));
    }

    #[test]
    fn contradicting_attributes_are_refused() {
        let bad = [
            FrameShape { rows: 0, ..gray() },
            FrameShape {
                samples: 2,
                ..gray()
            },
            FrameShape {
                bits_allocated: 12,
                ..gray()
            },
            FrameShape {
                bits_stored: 17,
                ..gray()
            },
            FrameShape {
                bits_stored: 0,
                ..gray()
            },
            FrameShape {
                samples: 3,
                ..gray()
            },
            FrameShape {
                photometric: Photometric::YbrFull422,
                ..gray()
            },
        ];
        for shape in bad {
            assert!(shape.check().is_err(), "{shape:?}");
        }
        assert!(gray().check().is_ok());
    }

    #[test]
    fn a_frame_is_as_long_as_its_shape() {
        assert!(DecodedFrame::new(gray(), vec![0; 30]).is_ok());
        assert!(DecodedFrame::new(gray(), vec![0; 31]).is_err());
        let planar = FrameShape {
            planar: true,
            ..gray()
        };
        assert!(DecodedFrame::new(planar, vec![0; 30]).is_err());
    }
}
