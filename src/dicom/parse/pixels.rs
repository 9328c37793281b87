//! Pixel data of the instance: how it is to be read, and its frame table when it is native.
//!
//! Invariant: rows, columns and the like are arithmetic here, never a size to allocate.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use crate::dicom::charset::Charset;
use crate::dicom::codec::transfer_syntax::{EXPLICIT_LE, is_native};
use crate::dicom::endian::pixel_swap_width;
use crate::dicom::error::ParseError;
use crate::dicom::frames::{ByteRange, FrameTable};
use crate::dicom::instance::{FileLayout, PixelDescription, PixelElement};
use crate::dicom::issue::ValidationIssue;
use crate::dicom::json;
use crate::dicom::scan::Scanner;

/// Top-level pixel data that is not encapsulated.
#[derive(Clone, Copy)]
pub(super) struct NativePixels {
    pub(super) element: PixelElement,
    pub(super) vr: VR,
    pub(super) big: bool,
    pub(super) place: ByteRange,
}

impl NativePixels {
    /// Bytes that change places for little endian; 1 when none do.
    pub(super) fn swap(
        &self,
        scanner: &mut Scanner<'_>,
        bits_allocated: u16,
    ) -> Result<u8, ParseError> {
        if !self.big {
            return Ok(1);
        }
        let ByteRange { offset, length } = self.place;
        pixel_swap_width(self.vr, bits_allocated, length, |at, count| {
            let bytes = scanner.bytes(offset.saturating_add(at), count)?;
            Ok(bytes.into_owned())
        })
    }
}

/// Overlay Bit Position (60xx,0102).
fn is_overlay_position(tag: Tag) -> bool {
    tag.1 == 0x0102 && tag.0 & 0xFFE1 == 0x6000
}

impl PixelElement {
    /// The pixel element with this tag.
    #[must_use]
    pub fn of(tag: Tag) -> Option<Self> {
        match tag {
            tags::PIXEL_DATA => Some(Self::Integer),
            tags::FLOAT_PIXEL_DATA => Some(Self::Float),
            tags::DOUBLE_FLOAT_PIXEL_DATA => Some(Self::Double),
            _ => None,
        }
    }
}

/// The values of group 0028 that say how pixels are to be read, as far as they are there.
#[derive(Debug, Default)]
pub(super) struct PixelAttributes {
    rows: Option<u32>,
    columns: Option<u32>,
    samples: Option<u32>,
    planar: Option<u32>,
    allocated: Option<u32>,
    stored: Option<u32>,
    high_bit: Option<u32>,
    representation: Option<u32>,
    pub(super) frames: Option<u32>,
    photometric: String,
    lossy: bool,
    overlay_bits: bool,
}

impl PixelAttributes {
    /// Whether an element says how pixels are to be read.
    pub(super) fn wants(tag: Tag) -> bool {
        tag.0 == 0x0028 || is_overlay_position(tag)
    }

    pub(super) fn note(&mut self, tag: Tag, vr: VR, big: bool, bytes: &[u8], charset: &Charset) {
        let first = || {
            json::values(vr, big, bytes, charset)
                .into_iter()
                .next()
                .unwrap_or_default()
        };
        if is_overlay_position(tag) {
            self.overlay_bits |= first().parse() != Ok(0_u32);
            return;
        }
        let slot = match tag.1 {
            0x0002 => &mut self.samples,
            0x0004 => {
                self.photometric = first();
                return;
            }
            0x0006 => &mut self.planar,
            0x0008 => &mut self.frames,
            0x0010 => &mut self.rows,
            0x0011 => &mut self.columns,
            0x0100 => &mut self.allocated,
            0x0101 => &mut self.stored,
            0x0102 => &mut self.high_bit,
            0x0103 => &mut self.representation,
            0x2110 => {
                self.lossy = first() == "01";
                return;
            }
            _ => return,
        };
        *slot = first().trim_start_matches('+').parse().ok();
    }

    pub(super) fn describe(&self, element: PixelElement) -> PixelDescription {
        let short = |value: Option<u32>, default: u16| {
            value.map_or(default, |value| u16::try_from(value).unwrap_or(0))
        };
        let allocated = match element {
            PixelElement::Integer => short(self.allocated, 0),
            PixelElement::Float => 32,
            PixelElement::Double => 64,
        };
        PixelDescription {
            rows: self.rows.unwrap_or(0),
            columns: self.columns.unwrap_or(0),
            samples_per_pixel: short(self.samples, 1),
            photometric: self.photometric.clone(),
            planar: short(self.planar, 0),
            bits_allocated: allocated,
            bits_stored: short(self.stored, allocated),
            high_bit: short(self.high_bit, allocated.saturating_sub(1)),
            representation: short(self.representation, 0),
            frames: self.frames.filter(|frames| *frames > 0).unwrap_or(1),
            lossy: self.lossy,
            overlay_bits: self.overlay_bits,
            element,
        }
    }

    /// Frames of native pixel data: as many as are declared and complete.
    pub(super) fn native_table(
        &self,
        native: NativePixels,
        swap: u8,
        pixel: &PixelDescription,
        layout: &mut FileLayout,
        findings: &mut Vec<ValidationIssue>,
    ) -> FrameTable {
        let pixels = u128::from(pixel.rows).saturating_mul(pixel.columns.into());
        let full = pixels
            .saturating_mul(pixel.samples_per_pixel.into())
            .saturating_mul(pixel.bits_allocated.into());
        let frames = u128::from(pixel.frames);
        let bits = u128::from(native.place.length).saturating_mul(8);
        // Two chroma samples for two pixels (PS3.3 §C.7.6.3.1.2); some writers leave the label on full RGB.
        let halved = pixel.photometric.ends_with("_422") && full.saturating_mul(frames) > bits;
        let frame_bits = if halved { full / 3 * 2 } else { full };
        let complete = bits.checked_div(frame_bits).unwrap_or(0);
        if !is_native(&layout.transfer_syntax) && complete >= frames && frames > 0 {
            findings.push(ValidationIssue::new(
                tags::TRANSFER_SYNTAX_UID,
                "names a compressed syntax, but the pixel data is native",
            ));
            layout.transfer_syntax = EXPLICIT_LE.to_owned();
            layout.part10 = false;
        }
        if frame_bits == 0 {
            findings.push(ValidationIssue::new(
                tags::PIXEL_DATA,
                "rows, columns or bits allocated are missing",
            ));
        } else if complete < frames {
            findings.push(ValidationIssue::new(
                tags::NUMBER_OF_FRAMES,
                "says more frames than the pixel data holds",
            ));
        }
        let wanted = if self.frames.is_some_and(|frames| frames > 0) {
            frames
        } else {
            complete.max(1)
        };
        let count = u32::try_from(wanted.min(complete)).unwrap_or(u32::MAX);
        FrameTable::native(
            native.place,
            u64::try_from(frame_bits).unwrap_or(0),
            count,
            swap,
        )
    }
}
