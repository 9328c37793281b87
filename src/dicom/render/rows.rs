//! One frame as rows of 8-bit gray or RGB pixels, made when they are asked for.
//!
//! The lengths of the sample data are checked once in [`DisplayRows::new`]; after that
//! any row inside the frame can be read.

use std::ops::Range;

use super::attributes::RenderAttributes;
use super::color::Ybr;
use super::error::RenderError;
use super::map::Map;
use super::overlay::Overlay;
use super::request::{Annotation, Request};
use super::samples::{SampleKind, Samples};
use super::shutter::Shutter;

/// A frame that yields its rows as they are to be displayed.
#[derive(Debug)]
pub(super) struct DisplayRows<'a> {
    samples: Samples<'a>,
    map: Map,
    range: Option<(f64, f64)>,
    shutter: Option<&'a Shutter>,
    overlays: Vec<&'a Overlay>,
}

impl<'a> DisplayRows<'a> {
    /// Chooses the pipeline of a frame and checks its length.
    pub(super) fn new(
        samples: &Samples<'a>,
        attributes: &'a RenderAttributes,
        request: &'a Request,
        range: Option<(f64, f64)>,
    ) -> Result<Self, RenderError> {
        samples.check()?;
        let (map, range) = Map::choose(samples, attributes, request, range)?;
        let presentation = request.presentation.as_ref();
        let shutter = match presentation {
            Some(presentation) => presentation.shutter.as_ref(),
            None => attributes.shutter.as_ref(),
        };
        let all = request.annotation.contains(&Annotation::Overlay);
        let activated = |overlay: &&Overlay| {
            let state = presentation.map(|presentation| &presentation.overlay_groups);
            all || state.is_some_and(|groups| groups.contains(&overlay.group))
        };
        let of_state = presentation.iter().flat_map(|state| &state.overlays);
        let planes = of_state.chain(&attributes.overlays);
        let overlays = planes.filter(activated).collect();
        Ok(Self {
            samples: *samples,
            map,
            range,
            shutter,
            overlays,
        })
    }

    /// Bytes per pixel: 1 or 3.
    pub(super) fn channels(&self) -> usize {
        match self.map {
            Map::Gray8(_) | Map::Gray16(_) | Map::Wide(_) | Map::Bits(_) => 1,
            Map::Color8(_)
            | Map::Color16(_)
            | Map::Rgb8(_)
            | Map::Rgb16(..)
            | Map::Rgb32(..)
            | Map::Ybr422(_) => 3,
        }
    }

    /// The value range that stood in for a missing VOI.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// Fills `out` with the pixels `columns` of row `row`, counted from 0.
    ///
    /// `out` holds `columns.len() * channels()` bytes.
    pub(super) fn fill(&self, row: u32, columns: Range<u32>, out: &mut [u8]) {
        self.map_row(row, &columns, out);
        if let Some(shutter) = self.shutter {
            shutter.apply(row, columns.start, out, self.channels());
        }
        for overlay in &self.overlays {
            overlay.apply(row, columns.start, out, self.channels());
        }
    }

    /// Sample bytes of some columns, `size` bytes to the pixel.
    fn bytes(&self, row: u32, columns: &Range<u32>, size: usize) -> &'a [u8] {
        // Inside the frame by the check in `new`, hence no overflow either.
        let start = (row as usize * self.samples.columns as usize + columns.start as usize) * size;
        self.samples
            .data
            .get(start..start + columns.len() * size)
            .unwrap_or(&[])
    }

    fn map_row(&self, row: u32, columns: &Range<u32>, out: &mut [u8]) {
        match &self.map {
            Map::Gray8(table) => {
                for (out, &byte) in out.iter_mut().zip(self.bytes(row, columns, 1)) {
                    *out = table.get(usize::from(byte)).copied().unwrap_or(0);
                }
            }
            Map::Gray16(table) => {
                let words = self.bytes(row, columns, 2).as_chunks::<2>().0;
                for (out, &word) in out.iter_mut().zip(words) {
                    *out = table
                        .get(usize::from(u16::from_le_bytes(word)))
                        .copied()
                        .unwrap_or(0);
                }
            }
            Map::Color8(table) => {
                let pixels = out.as_chunks_mut::<3>().0;
                for (out, &byte) in pixels.iter_mut().zip(self.bytes(row, columns, 1)) {
                    *out = table.get(usize::from(byte)).copied().unwrap_or([0; 3]);
                }
            }
            Map::Color16(table) => {
                let words = self.bytes(row, columns, 2).as_chunks::<2>().0;
                for (out, &word) in out.as_chunks_mut::<3>().0.iter_mut().zip(words) {
                    let index = usize::from(u16::from_le_bytes(word));
                    *out = table.get(index).copied().unwrap_or([0; 3]);
                }
            }
            Map::Wide(grayscale) => {
                let size = usize::from(self.samples.kind.bytes().unwrap_or(1));
                let values = self.samples.kind.values(self.bytes(row, columns, size));
                for (out, value) in out.iter_mut().zip(values) {
                    *out = grayscale.apply(value);
                }
            }
            Map::Bits(levels) => self.map_bits(row, columns, *levels, out),
            Map::Rgb8(ybr) => {
                let bytes = self.bytes(row, columns, 3);
                for (out, &byte) in out.iter_mut().zip(bytes) {
                    *out = byte;
                }
                if let Some(ybr) = ybr {
                    ybr.convert(out);
                }
            }
            Map::Rgb16(shift, ybr) => {
                let words = self.bytes(row, columns, 6).as_chunks::<2>().0;
                for (out, &word) in out.iter_mut().zip(words) {
                    *out = (u16::from_le_bytes(word) >> shift).to_le_bytes()[0];
                }
                if let Some(ybr) = ybr {
                    ybr.convert(out);
                }
            }
            Map::Rgb32(shift, ybr) => {
                let quads = self.bytes(row, columns, 12).as_chunks::<4>().0;
                for (out, &quad) in out.iter_mut().zip(quads) {
                    *out = (u32::from_le_bytes(quad) >> shift).to_le_bytes()[0];
                }
                if let Some(ybr) = ybr {
                    ybr.convert(out);
                }
            }
            Map::Ybr422(ybr) => self.map_422(row, columns, *ybr, out),
        }
    }

    fn map_bits(&self, row: u32, columns: &Range<u32>, levels: [u8; 2], out: &mut [u8]) {
        let SampleKind::Bits1 { first_bit } = self.samples.kind else {
            return;
        };
        let start = row as usize * self.samples.columns as usize
            + columns.start as usize
            + usize::from(first_bit);
        for (out, bit) in out.iter_mut().zip(start..) {
            let byte = self.samples.data.get(bit / 8).copied().unwrap_or(0);
            *out = levels[usize::from((byte >> (bit % 8)) & 1)];
        }
    }

    fn map_422(&self, row: u32, columns: &Range<u32>, ybr: Ybr, out: &mut [u8]) {
        let stride = self.samples.columns as usize * 2;
        let start = row as usize * stride;
        let row = self.samples.data.get(start..start + stride).unwrap_or(&[]);
        let pairs = row.as_chunks::<4>().0;
        for (out, column) in out.as_chunks_mut::<3>().0.iter_mut().zip(columns.clone()) {
            let Some(&[y0, y1, cb, cr]) = pairs.get(column as usize / 2) else {
                break;
            };
            *out = ybr.to_rgb(if column % 2 == 0 { y0 } else { y1 }, cb, cr);
        }
    }
}
