//! What the parts of the pixel data are by their bytes, and what the header has to say of them (PS3.18 §10.5.2).
//!
//! Invariant: a label never counts more than the bytes. Where they contradict each other, or the metadata contradicts them, there is a
//! reason and no file; what the metadata leaves out is taken from the bytes.

use super::content::PartContent;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde_json::{Map, Value, json};

use super::content::BulkPart;
use super::error::{ComposeError, ComposeProblem};
use crate::dicom::codec;
use crate::dicom::codec::{Coding, FrameShape};
use crate::dicom::data_set::element;
use crate::dicom::tag;

/// Pixel data as it goes into the file.
#[derive(Debug, Default)]
pub(super) struct ComposedPixels {
    /// Transfer syntax of the file, when codestreams name one.
    pub(super) coding: Option<Coding>,
    /// The parts are decoded to native frames.
    pub(super) pictures: bool,
    /// What the metadata leaves out.
    pub(super) derived: Vec<(Tag, Value)>,
}

/// Judges the parts of the pixel data of a data set.
///
/// # Errors
/// [`ComposeError::Attribute`] of the pixel data, or of an attribute that says something else than the bytes.
pub(super) fn validated(
    data_set: &Map<String, Value>,
    parts: &[&BulkPart],
) -> Result<ComposedPixels, ComposeError> {
    let failed = |problem| ComposeError::Attribute {
        path: tag::hex(tags::PIXEL_DATA),
        problem,
    };
    let Some(first) = parts.first() else {
        return Ok(ComposedPixels::default());
    };
    let header = PixelHeader(data_set);
    let fits = header.fits(parts);
    if fits == Some(true) && parts.iter().all(|part| part.may_be_samples()) {
        return Ok(ComposedPixels::default());
    }
    let coding = first.coding().map_err(failed)?;
    let samples = coding.is_none() && !matches!(first.content, PartContent::Picture(_));
    if samples && fits != Some(true) {
        let reason = if fits.is_none() {
            "has samples, and the metadata does not say how many: Rows, Columns, Samples per Pixel, Bits Allocated and \
             Photometric Interpretation are needed"
        } else {
            "has not as many bytes as Rows, Columns, Samples per Pixel, Bits Allocated and Number of Frames say"
        };
        return Err(failed(ComposeProblem::Pixels(reason)));
    }
    for part in parts {
        let alike = part.coding().map_err(failed)? == coding
            && shape_of(part).map(size) == shape_of(first).map(size);
        if !alike {
            let reason = "has parts of different kinds or sizes; send frames that are alike";
            return Err(failed(ComposeProblem::Pixels(reason)));
        }
    }
    let mut pixels = ComposedPixels {
        coding,
        pictures: matches!(first.content, PartContent::Picture(_)),
        derived: Vec::new(),
    };
    if let Some(shape) = shape_of(first) {
        let frames = parts.iter().map(|part| match part.content {
            PartContent::Picture(picture) => u64::from(picture.frames),
            _ => 1,
        });
        header.describe(&shape, frames.sum(), &mut pixels.derived)?;
        let lossy = parts.iter().any(|part| {
            matches!(&part.content, PartContent::Stream(stream, _) if stream.lossy == Some(true))
        });
        if lossy {
            let bytes: u64 = parts.iter().map(|part| part.length).sum();
            let ratio = ratio(&shape, parts.len(), bytes);
            header.lossy(coding, &ratio, &mut pixels.derived)?;
        }
    }
    Ok(pixels)
}

fn size(shape: FrameShape) -> (u32, u32, u16, u16) {
    (shape.rows, shape.columns, shape.samples, shape.bits_stored)
}

/// The attributes of the picture in a part, as far as its bytes tell them.
fn shape_of(part: &BulkPart) -> Option<FrameShape> {
    match &part.content {
        PartContent::Stream(stream, _) => Some(stream.shape),
        PartContent::Picture(picture) => Some(FrameShape {
            rows: picture.rows,
            columns: picture.columns,
            samples: picture.samples,
            bits_allocated: picture.bits,
            bits_stored: picture.bits,
            low_bit: 0,
            overlay_bits: false,
            signed: false,
            planar: false,
            photometric: match picture.samples {
                1 if picture.inverted => codec::Photometric::Monochrome1,
                1 => codec::Photometric::Monochrome2,
                _ => codec::Photometric::Rgb,
            },
        }),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio of byte counts; requests are far below 2^52 bytes"
)]
fn ratio(shape: &FrameShape, frames: usize, bytes: u64) -> String {
    let plain = shape.frame_bytes() as f64 * frames as f64;
    format!("{:.2}", plain / bytes.max(1) as f64)
}

/// What the metadata says.
struct PixelHeader<'a>(&'a Map<String, Value>);

impl PixelHeader<'_> {
    /// The first value as text; none when there is none.
    fn text(&self, wanted: Tag) -> Option<String> {
        match element(self.0, wanted)?.get("Value")?.get(0)? {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn number(&self, wanted: Tag) -> Option<u64> {
        self.text(wanted)?.parse().ok()
    }

    /// Whether native samples of the described shape are as long as the parts together, padding apart; nothing when the
    /// shape is not described.
    fn fits(&self, parts: &[&BulkPart]) -> Option<bool> {
        let term = self.text(tags::PHOTOMETRIC_INTERPRETATION)?;
        // Two pixels share their color differences (PS3.3 §C.7.6.3.1.2).
        let shared = codec::Photometric::parse(&term).is_subsampled();
        let samples = self.number(tags::SAMPLES_PER_PIXEL)?;
        let stored = if shared { 2 } else { samples };
        let frames = self.number(tags::NUMBER_OF_FRAMES).unwrap_or(1);
        let bits = [tags::ROWS, tags::COLUMNS, tags::BITS_ALLOCATED]
            .into_iter()
            .try_fold(frames, |product, tag| {
                Some(product.saturating_mul(self.number(tag)?))
            })?;
        let found = parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.length));
        let fits = |samples: u64| {
            let bytes = bits.saturating_mul(samples).div_ceil(8);
            found == bytes || found == bytes.saturating_add(bytes % 2)
        };
        // What is labeled as shared may hold all samples.
        Some(fits(stored) || fits(samples))
    }

    /// Adds what is missing, and compares what is there.
    fn describe(
        &self,
        shape: &FrameShape,
        frames: u64,
        derived: &mut Vec<(Tag, Value)>,
    ) -> Result<(), ComposeError> {
        const STREAM: &str = "says something else than the bytes of the pixel data";
        let contradicted = |tag: Tag| ComposeError::Attribute {
            path: tag::hex(tag),
            problem: ComposeProblem::Pixels(STREAM),
        };
        let mut same = |tag: Tag, vr: &str, value: u64| match self.text(tag) {
            None if vr == "IS" => {
                let element = json!({ "vr": vr, "Value": [value.to_string()] });
                derived.push((tag, element));
                Ok(())
            }
            None => {
                derived.push((tag, json!({ "vr": vr, "Value": [value] })));
                Ok(())
            }
            Some(_) if self.number(tag) == Some(value) => Ok(()),
            Some(_) => Err(contradicted(tag)),
        };
        same(tags::SAMPLES_PER_PIXEL, "US", shape.samples.into())?;
        same(tags::ROWS, "US", shape.rows.into())?;
        same(tags::COLUMNS, "US", shape.columns.into())?;
        if frames > 1 || self.text(tags::NUMBER_OF_FRAMES).is_some() {
            same(tags::NUMBER_OF_FRAMES, "IS", frames)?;
        }
        let (allocated, stored) = (tags::BITS_ALLOCATED, tags::BITS_STORED);
        let precision = u64::from(shape.bits_stored);
        let cell = self
            .number(allocated)
            .unwrap_or(shape.bits_allocated.into());
        if cell < precision {
            return Err(contradicted(allocated));
        }
        let bits = self.number(stored).unwrap_or(precision);
        // A stream may hold whole cells, never fewer bits than are said to be stored.
        if bits > precision || (bits < precision && precision != cell) {
            return Err(contradicted(stored));
        }
        same(allocated, "US", cell)?;
        same(stored, "US", bits)?;
        let mut missing = |tag: Tag, element: Value| {
            if self.text(tag).is_none() {
                derived.push((tag, element));
            }
        };
        missing(tags::HIGH_BIT, us(bits.saturating_sub(1)));
        missing(tags::PIXEL_REPRESENTATION, us(shape.signed.into()));
        if shape.samples > 1 {
            missing(tags::PLANAR_CONFIGURATION, us(0));
        }
        let photometric = tags::PHOTOMETRIC_INTERPRETATION;
        match self.text(photometric) {
            None => {
                let term = shape.photometric.term().unwrap_or("RGB");
                missing(photometric, json!({ "vr": "CS", "Value": [term] }));
                Ok(())
            }
            Some(term) => {
                let single = codec::Photometric::parse(&term).is_single_sample();
                if single == (shape.samples == 1) {
                    Ok(())
                } else {
                    Err(contradicted(photometric))
                }
            }
        }
    }

    /// What is to be said of pixels that lost something (PS3.3 §C.7.6.1.1.5).
    fn lossy(
        &self,
        coding: Option<Coding>,
        ratio: &str,
        derived: &mut Vec<(Tag, Value)>,
    ) -> Result<(), ComposeError> {
        let flag = tags::LOSSY_IMAGE_COMPRESSION;
        match self.text(flag).as_deref() {
            None => derived.push((flag, json!({ "vr": "CS", "Value": ["01"] }))),
            Some("01") => {}
            Some(_) => {
                return Err(ComposeError::Attribute {
                    path: tag::hex(flag),
                    problem: ComposeProblem::Pixels(
                        "says that nothing was lost, but the pixel data is compressed with loss",
                    ),
                });
            }
        }
        let ratios = tags::LOSSY_IMAGE_COMPRESSION_RATIO;
        if self.text(ratios).is_none() {
            derived.push((ratios, json!({ "vr": "DS", "Value": [ratio] })));
        }
        let methods = tags::LOSSY_IMAGE_COMPRESSION_METHOD;
        let method = coding.and_then(Coding::lossy_method);
        if let Some(method) = method.filter(|_| self.text(methods).is_none()) {
            derived.push((methods, json!({ "vr": "CS", "Value": [method] })));
        }
        Ok(())
    }
}

fn us(value: u64) -> Value {
    json!({ "vr": "US", "Value": [value] })
}

/// What a lone part without a place becomes in a data set that has neither pixel data nor a document.
pub(super) fn lone(
    data_set: &Map<String, Value>,
    part: &BulkPart,
) -> Result<Vec<(Tag, Value)>, ComposeError> {
    const TAKEN: [Tag; 4] = [
        tags::FLOAT_PIXEL_DATA,
        tags::DOUBLE_FLOAT_PIXEL_DATA,
        tags::PIXEL_DATA,
        tags::ENCAPSULATED_DOCUMENT,
    ];
    let failed = |problem| ComposeError::Attribute {
        path: tag::hex(tags::PIXEL_DATA),
        problem,
    };
    if TAKEN.iter().any(|tag| element(data_set, *tag).is_some()) {
        return Err(failed(ComposeProblem::NoPart));
    }
    let here = json!({ "vr": "OB", "BulkDataURI": "" });
    match part.content {
        PartContent::Pdf => {
            let mut elements = vec![(tags::ENCAPSULATED_DOCUMENT, here)];
            if element(data_set, tags::ENCAPSULATED_DOCUMENT_LENGTH).is_none() {
                let length = json!({ "vr": "UL", "Value": [part.length] });
                elements.push((tags::ENCAPSULATED_DOCUMENT_LENGTH, length));
            }
            if element(data_set, tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT).is_none() {
                let kind = json!({ "vr": "LO", "Value": ["application/pdf"] });
                elements.push((tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, kind));
            }
            Ok(elements)
        }
        PartContent::Stream(..) | PartContent::Picture(_) | PartContent::Video(_) => {
            Ok(vec![(tags::PIXEL_DATA, here)])
        }
        PartContent::Unfit(reason) => Err(failed(ComposeProblem::Pixels(reason))),
        PartContent::Rle | PartContent::Unknown => Err(failed(ComposeProblem::Pixels(
            "is a part that is neither a picture, a video nor a PDF; give it a Content-Location and refer to it",
        ))),
    }
}

/// Whether an element has no value.
pub(super) fn is_empty(element: &Value) -> bool {
    let value = element.get("Value").and_then(Value::as_array);
    let none = value.is_none_or(|values| values.iter().all(|value| value.is_null() || value == ""));
    none && element.get("BulkDataURI").is_none() && element.get("InlineBinary").is_none()
}
