//! What the parts of the pixel data are by their bytes, and what the header has to say of them (PS3.18 §10.5.2).
//!
//! Invariant: a label never counts more than the bytes. Where they contradict each other, or the metadata contradicts them, there is a
//! reason and no file; what the metadata leaves out is taken from the bytes.

use dicom_core::{Tag, VR};
use serde_json::{Map, Value, json};

use super::sniff::{is_rle, video};
use super::{BulkPart, ComposeError, ComposeProblem, Composer, FilePiece, PIXEL_DATA};
use crate::dicom::codec::transfer_syntax;
use crate::dicom::codec::{self, Coding, FrameShape, RecognizedCodestream};
use crate::dicom::header::{ITEM, SEQUENCE_END, UNDEFINED};
use crate::dicom::picture::PictureInfo;
use crate::dicom::tag;

/// What a part holds by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PartContent {
    /// Nobody looked, or nothing is known of such bytes.
    #[default]
    Unknown,
    /// A codestream, and where it lies in the part.
    Stream(RecognizedCodestream, (u64, u64)),
    /// A picture that is decoded when the file is written.
    Picture(PictureInfo),
    /// A video stream.
    Video(Coding),
    /// A frame of RLE segments.
    Rle,
    /// A PDF document.
    Pdf,
    /// A picture or codestream that cannot be stored; continues "the attribute …".
    Unfit(&'static str),
}

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

/// First bytes of a part that are looked at.
pub const HEAD: usize = 256 * 1024;

impl BulkPart {
    /// Takes what the part is from its first [`HEAD`] bytes; from all of them where [`PictureInfo::needs_whole`].
    pub fn look(&mut self, head: &[u8]) {
        self.content = self.looked(head);
    }

    fn looked(&self, head: &[u8]) -> PartContent {
        if let Some(picture) = PictureInfo::look(head) {
            return picture.map_or_else(PartContent::Unfit, PartContent::Picture);
        }
        if head.starts_with(b"%PDF-") {
            return PartContent::Pdf;
        }
        if let Some(coding) = video(head) {
            return PartContent::Video(coding);
        }
        match codec::recognize(head) {
            Ok(stream) => {
                let place = codec::codestream_in_boxes(head, self.length);
                PartContent::Stream(stream, place.unwrap_or((0, self.length)))
            }
            Err(_) if is_rle(head, self.length) => PartContent::Rle,
            Err(_) if self.media.starts_with("image/") => {
                PartContent::Unfit("has a part that is not the picture its media type names")
            }
            Err(_) => PartContent::Unknown,
        }
    }

    /// Whether its bytes may be samples though they look like something: of what is told by a few bytes alone, as samples
    /// may have them by chance, no signature is known.
    fn may_be_samples(&self) -> bool {
        let octets = self.media == transfer_syntax::OCTETS && self.is_native();
        let sure = match &self.content {
            // Two bytes begin a bare JPEG XL stream.
            PartContent::Stream(stream, _) => stream.coding.media_type() != "image/jxl",
            PartContent::Picture(picture) => picture.media_type() != "image/bmp",
            PartContent::Pdf => true,
            PartContent::Video(_)
            | PartContent::Rle
            | PartContent::Unfit(_)
            | PartContent::Unknown => false,
        };
        octets && !sure
    }

    /// Whether its bytes are plain values by its label.
    pub(super) fn is_native(&self) -> bool {
        self.transfer_syntax
            .as_deref()
            .is_none_or(transfer_syntax::is_native)
    }

    /// The transfer syntax the part is labeled with.
    fn labeled(&self) -> Result<Option<Coding>, ComposeProblem> {
        let Some(uid) = self.transfer_syntax.as_deref() else {
            return Ok(None);
        };
        Coding::from_uid(uid)
            .map(Some)
            .ok_or(ComposeProblem::Pixels(
                "has a part in a transfer syntax that is not known here",
            ))
    }

    /// The transfer syntax of the part as a frame of the pixel data; none for native samples and pictures.
    fn coding(&self) -> Result<Option<Coding>, ComposeProblem> {
        const OTHER: ComposeProblem = ComposeProblem::Pixels(
            "has a part whose bytes are not in the transfer syntax it names",
        );
        const PICTURE: ComposeProblem = ComposeProblem::Pixels(
            "has octets that are a picture and no samples; name its media type",
        );
        const LABEL: ComposeProblem =
            ComposeProblem::Pixels("has a part whose bytes are not of the media type it names");
        let labeled = self.labeled()?.filter(|coding| {
            // Octets in a native syntax are samples, in the default one as well as in none.
            !coding.is_native()
        });
        let named_native = self.labeled()?.is_some_and(Coding::is_native);
        match &self.content {
            PartContent::Stream(stream, _) => match labeled {
                _ if named_native => Err(OTHER),
                Some(coding) if stream.fits(coding) => Ok(Some(coding)),
                Some(_) => Err(OTHER),
                None if self.may_hold(stream.coding) => Ok(Some(stream.coding)),
                None => Err(LABEL),
            },
            PartContent::Picture(_) if labeled.is_some() => Err(OTHER),
            PartContent::Picture(_) | PartContent::Pdf
                if self.media == transfer_syntax::OCTETS && !self.location.is_empty() =>
            {
                Err(PICTURE)
            }
            PartContent::Picture(picture) => match self.media.as_str() {
                media if media == picture.media_type() => Ok(None),
                "image/x-ms-bmp" if picture.media_type() == "image/bmp" => Ok(None),
                _ if self.location.is_empty() => Ok(None),
                _ => Err(LABEL),
            },
            PartContent::Video(coding) => match labeled {
                Some(labeled) if labeled.is_video() => Ok(Some(labeled)),
                Some(_) => Err(OTHER),
                None if self.media.starts_with("video/") || self.location.is_empty() => {
                    Ok(Some(*coding))
                }
                None => Err(LABEL),
            },
            PartContent::Rle if labeled.is_none_or(|coding| coding == Coding::Rle) => {
                if self.may_hold(Coding::Rle) {
                    Ok(Some(Coding::Rle))
                } else {
                    Err(LABEL)
                }
            }
            PartContent::Unfit(reason) => Err(ComposeProblem::Pixels(reason)),
            PartContent::Rle | PartContent::Pdf | PartContent::Unknown => {
                match (labeled, self.media.as_str()) {
                    // A deflated frame tells nothing of itself.
                    (Some(Coding::DeflatedFrame), _) | (None, "application/x-deflate") => {
                        Ok(Some(Coding::DeflatedFrame))
                    }
                    (Some(_), _) => Err(OTHER),
                    (None, transfer_syntax::OCTETS) => Ok(None),
                    (None, _) => Err(ComposeProblem::Pixels(
                        "has a part of a media type that is no pixel data; send application/octet-stream, a codestream that DICOM \
                     knows, PNG, GIF, BMP or TIFF",
                    )),
                }
            }
        }
    }

    /// Whether the media type is one of those under which such codestreams are sent.
    fn may_hold(&self, coding: Coding) -> bool {
        const FAMILIES: &[&[&str]] = &[
            &["image/jpeg", "image/jpg", "image/pjpeg", "image/jll"],
            &["image/jls", "image/x-jls"],
            &[
                "image/jp2",
                "image/jpx",
                "image/j2c",
                "image/j2k",
                "image/jpeg2000",
                "image/jph",
                "image/jphc",
                "image/x-jphc",
            ],
            &["image/jxl"],
            &["image/dicom-rle", "image/x-dicom-rle"],
        ];
        let own = match coding.media_type() {
            "image/jpx" | "image/jphc" => "image/jp2",
            media => media,
        };
        let family = FAMILIES.iter().find(|family| family.contains(&own));
        self.location.is_empty()
            || family.is_some_and(|family| family.contains(&self.media.as_str()))
    }
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
        path: tag::hex(PIXEL_DATA),
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
        match self.0.get(&tag::hex(wanted))?.get("Value")?.get(0)? {
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
        let term = self.text(Tag(0x0028, 0x0004))?;
        // Two pixels share their color differences (PS3.3 §C.7.6.3.1.2).
        let shared = codec::Photometric::parse(&term).is_subsampled();
        let samples = self.number(Tag(0x0028, 0x0002))?;
        let stored = if shared { 2 } else { samples };
        let frames = self.number(Tag(0x0028, 0x0008)).unwrap_or(1);
        let bits = [
            Tag(0x0028, 0x0010),
            Tag(0x0028, 0x0011),
            Tag(0x0028, 0x0100),
        ]
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
        same(Tag(0x0028, 0x0002), "US", shape.samples.into())?;
        same(Tag(0x0028, 0x0010), "US", shape.rows.into())?;
        same(Tag(0x0028, 0x0011), "US", shape.columns.into())?;
        if frames > 1 || self.text(Tag(0x0028, 0x0008)).is_some() {
            same(Tag(0x0028, 0x0008), "IS", frames)?;
        }
        let (allocated, stored) = (Tag(0x0028, 0x0100), Tag(0x0028, 0x0101));
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
        missing(Tag(0x0028, 0x0102), us(bits.saturating_sub(1)));
        missing(Tag(0x0028, 0x0103), us(shape.signed.into()));
        if shape.samples > 1 {
            missing(Tag(0x0028, 0x0006), us(0));
        }
        let photometric = Tag(0x0028, 0x0004);
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
        let flag = Tag(0x0028, 0x2110);
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
        let ratios = Tag(0x0028, 0x2112);
        if self.text(ratios).is_none() {
            derived.push((ratios, json!({ "vr": "DS", "Value": [ratio] })));
        }
        let methods = Tag(0x0028, 0x2114);
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
    const TAKEN: [&str; 4] = ["7FE00008", "7FE00009", "7FE00010", "00420011"];
    let failed = |problem| ComposeError::Attribute {
        path: tag::hex(PIXEL_DATA),
        problem,
    };
    if TAKEN.iter().any(|key| data_set.contains_key(*key)) {
        return Err(failed(ComposeProblem::NoPart));
    }
    let here = json!({ "vr": "OB", "BulkDataURI": "" });
    match part.content {
        PartContent::Pdf => {
            let mut elements = vec![(Tag(0x0042, 0x0011), here)];
            if !data_set.contains_key("00420015") {
                let length = json!({ "vr": "UL", "Value": [part.length] });
                elements.push((Tag(0x0042, 0x0015), length));
            }
            if !data_set.contains_key("00420012") {
                let kind = json!({ "vr": "LO", "Value": ["application/pdf"] });
                elements.push((Tag(0x0042, 0x0012), kind));
            }
            Ok(elements)
        }
        PartContent::Stream(..) | PartContent::Picture(_) | PartContent::Video(_) => {
            Ok(vec![(PIXEL_DATA, here)])
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

impl Composer<'_> {
    /// Encapsulated frames, one fragment each; the offset table is empty.
    pub(super) fn fragments(&mut self, tag: Tag, numbers: &[usize]) -> Result<(), ComposeError> {
        self.header(tag, VR::OB, UNDEFINED);
        self.delimiter(ITEM, 0);
        for number in numbers {
            let part = self.bulk.part(*number);
            let (offset, length) = match part.map(|part| (&part.content, part.length)) {
                Some((PartContent::Stream(_, place), _)) => *place,
                Some((_, length)) => (0, length),
                None => (0, 0),
            };
            let padded = self.checked(length.saturating_add(length % 2))?;
            self.delimiter(ITEM, padded);
            self.cut();
            self.pieces.push(FilePiece::Part {
                number: *number,
                offset,
                length,
            });
            if length % 2 == 1 {
                self.bytes.push(0);
            }
        }
        self.delimiter(SEQUENCE_END, 0);
        Ok(())
    }

    /// Native frames, decoded when they are written.
    pub(super) fn pictures(&mut self, tag: Tag, numbers: &[usize]) -> Result<(), ComposeError> {
        let mut pictures = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(PartContent::Picture(picture)) =
                self.bulk.part(*number).map(|part| &part.content)
            {
                pictures.push((*number, *picture));
            }
        }
        let total = pictures.iter().fold(0_u64, |sum, (_, picture)| {
            sum.saturating_add(picture.length())
        });
        let length = self.checked(total.saturating_add(total % 2))?;
        let wide = pictures
            .first()
            .is_some_and(|(_, picture)| picture.bits > 8);
        self.header(tag, if wide { VR::OW } else { VR::OB }, length);
        self.cut();
        for (number, picture) in pictures {
            self.pieces.push(FilePiece::Picture(number, picture));
        }
        if total % 2 == 1 {
            self.bytes.push(0);
        }
        Ok(())
    }
}
