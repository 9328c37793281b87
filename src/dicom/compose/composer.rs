//! A data set as the pieces of a file: elements in order, bulk data by its parts.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use serde_json::{Map, Value};

use super::content::PartContent;
use super::error::{ComposeError, ComposeProblem};
use super::parts::BulkParts;
use super::pixels::is_empty;
use super::value;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::explicit_vr::padding;
use crate::dicom::header::{ITEM, ITEM_END, SEQUENCE_END, UNDEFINED};
use crate::dicom::picture::PictureInfo;
use crate::dicom::{explicit_vr, tag};

/// Longest value of an element with a 32-bit length.
const LONGEST: u64 = 0xFFFF_FFFE;

/// Most pieces of one file: elements times the parts that each is made of.
const PIECES: usize = 200_000;

/// A piece of the file, to be written in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePiece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// All bytes of the bulk data part with this number.
    Bulk(usize),
    /// Some bytes of a part.
    Part {
        /// Its number.
        number: usize,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The pixels of the picture in a part.
    Picture(usize, PictureInfo),
}

/// What is still to be written, innermost last.
pub(super) enum ComposeStep<'a> {
    /// Elements of a data set in the order of their tags.
    Elements(std::vec::IntoIter<(Tag, &'a Value)>),
    /// Items of a sequence.
    Items(std::slice::Iter<'a, Value>),
    /// The end of an item.
    ItemEnd,
}

pub(super) struct Composer<'a> {
    pub(super) bulk: &'a BulkParts,
    pub(super) encapsulated: bool,
    /// The pixel data is decoded when it is written.
    pub(super) pictures: bool,
    /// Elements that the metadata leaves out.
    pub(super) derived: &'a [(Tag, Value)],
    pub(super) pieces: Vec<FilePiece>,
    pub(super) bytes: Vec<u8>,
    /// The element at hand below those of the sequences it lies in.
    pub(super) path: Vec<Tag>,
}

impl<'a> Composer<'a> {
    pub(super) fn run(&mut self, data_set: &'a Map<String, Value>) -> Result<(), ComposeError> {
        let mut steps = vec![ComposeStep::Elements(self.sorted(data_set, true)?)];
        while let Some(step) = steps.pop() {
            match step {
                ComposeStep::Elements(mut rest) => {
                    let Some((tag, element)) = rest.next() else {
                        continue;
                    };
                    steps.push(ComposeStep::Elements(rest));
                    self.path.push(tag);
                    if let Some(items) = self.element(tag, element)? {
                        steps.push(ComposeStep::Items(items));
                    } else {
                        self.path.pop();
                    }
                }
                ComposeStep::Items(mut rest) => {
                    let Some(item) = rest.next() else {
                        self.delimiter(SEQUENCE_END, 0);
                        self.path.pop();
                        continue;
                    };
                    steps.push(ComposeStep::Items(rest));
                    self.delimiter(ITEM, UNDEFINED);
                    steps.push(ComposeStep::ItemEnd);
                    match item {
                        Value::Object(item) => {
                            steps.push(ComposeStep::Elements(self.sorted(item, false)?));
                        }
                        Value::Null => {}
                        _ => return Err(self.failure(ComposeProblem::Value)),
                    }
                }
                ComposeStep::ItemEnd => self.delimiter(ITEM_END, 0),
            }
        }
        Ok(())
    }

    fn failure(&self, problem: ComposeProblem) -> ComposeError {
        let steps: Vec<String> = self.path.iter().map(|tag| tag::hex(*tag)).collect();
        ComposeError::Attribute {
            path: steps.join("."),
            problem,
        }
    }

    /// The elements of a data set that go into the file, in order.
    fn sorted(
        &self,
        data_set: &'a Map<String, Value>,
        top: bool,
    ) -> Result<std::vec::IntoIter<(Tag, &'a Value)>, ComposeError> {
        let mut elements = Vec::with_capacity(data_set.len());
        for (name, element) in data_set {
            let tag = tag::from_hex(name).ok_or_else(|| ComposeError::Attribute {
                path: name
                    .chars()
                    .take(64)
                    .filter(|c| c.is_ascii_graphic())
                    .collect(),
                problem: ComposeProblem::Name,
            })?;
            let left_out = tag.0 == 0x0002
                || tag.1 == 0
                || tag.0 == 0xFFFE
                || tag == tags::SPECIFIC_CHARACTER_SET
                || (top && tag == tags::AVAILABLE_TRANSFER_SYNTAX_UID);
            if !left_out {
                elements.push((tag, element));
            }
        }
        if top {
            elements.push((tags::SPECIFIC_CHARACTER_SET, &UTF8));
            let missing = |tag: Tag| data_set.get(&tag::hex(tag)).is_none_or(is_empty);
            for (tag, element) in self.derived {
                if missing(*tag) {
                    // An element without a value gives way.
                    elements.retain(|(other, _)| other != tag);
                    elements.push((*tag, element));
                }
            }
        }
        elements.sort_unstable_by_key(|(tag, _)| *tag);
        Ok(elements.into_iter())
    }

    /// Writes an element; the items of a sequence are left to the caller.
    fn element(
        &mut self,
        tag: Tag,
        element: &'a Value,
    ) -> Result<Option<std::slice::Iter<'a, Value>>, ComposeError> {
        let vr = element.get("vr").and_then(Value::as_str);
        let vr: VR = vr.and_then(|vr| vr.parse().ok()).ok_or_else(|| {
            let letters = vr.and_then(|vr| <[u8; 2]>::try_from(vr.as_bytes()).ok());
            let letters = letters.filter(|letters| letters.iter().all(u8::is_ascii_alphanumeric));
            self.failure(letters.map_or(ComposeProblem::Vr, ComposeProblem::UnknownVr))
        })?;
        if let Some(uri) = element.get("BulkDataURI") {
            let uri = uri
                .as_str()
                .ok_or_else(|| self.failure(ComposeProblem::Value))?;
            self.bulk(tag, vr, uri)?;
            return Ok(None);
        }
        let values = match element.get("Value") {
            None | Some(Value::Null) => [].iter(),
            Some(Value::Array(values)) => values.iter(),
            Some(_) => return Err(self.failure(ComposeProblem::Value)),
        };
        if vr == VR::SQ {
            self.header(tag, vr, UNDEFINED);
            return Ok(Some(values));
        }
        let bytes = match element.get("InlineBinary") {
            Some(text) => value::inline(text),
            None => value::encode(vr, values.as_slice()),
        };
        let mut bytes = bytes.map_err(|problem| self.failure(problem))?;
        if bytes.len() % 2 == 1 {
            bytes.push(padding(vr));
        }
        let length = self.checked(bytes.len() as u64)?;
        self.header(tag, vr, length);
        self.bytes.append(&mut bytes);
        Ok(None)
    }

    pub(super) fn checked(&self, length: u64) -> Result<u32, ComposeError> {
        u32::try_from(length)
            .ok()
            .filter(|length| u64::from(*length) <= LONGEST)
            .ok_or_else(|| self.failure(ComposeProblem::TooLong))
    }

    /// The value is what the parts of this location hold.
    pub(super) fn bulk(&mut self, tag: Tag, vr: VR, uri: &str) -> Result<(), ComposeError> {
        let bulk = self.bulk;
        let numbers = bulk.find(uri);
        if numbers.is_empty() {
            return Err(self.failure(ComposeProblem::NoPart));
        }
        if self.pieces.len().saturating_add(2 * numbers.len()) > PIECES {
            return Err(self.failure(ComposeProblem::TooManyPieces));
        }
        if tag == tags::PIXEL_DATA {
            if self.path.len() > 1 {
                // Nobody could tell in which transfer syntax it is: that of the file is the main pixel data's.
                let samples = numbers.iter().all(|number| {
                    let part = bulk.part(*number);
                    part.is_some_and(|part| {
                        part.media == transfer_syntax::OCTETS && part.is_native()
                    })
                });
                if !samples {
                    return Err(self.failure(ComposeProblem::NotPixels));
                }
            } else if self.encapsulated {
                return self.fragments(tag, numbers);
            } else if self.pictures {
                return self.pictures(tag, numbers);
            }
        }
        let total = numbers
            .iter()
            .filter_map(|number| bulk.part(*number))
            .fold(0_u64, |sum, part| sum.saturating_add(part.length));
        let length = self.checked(total + total % 2)?;
        self.header(tag, vr, length);
        for number in numbers {
            self.cut();
            self.pieces.push(FilePiece::Bulk(*number));
        }
        if total % 2 == 1 {
            self.bytes.push(padding(vr));
        }
        Ok(())
    }

    /// Ends the piece of bytes at hand.
    pub(super) fn cut(&mut self) {
        if !self.bytes.is_empty() {
            self.pieces
                .push(FilePiece::Bytes(std::mem::take(&mut self.bytes)));
        }
    }

    pub(super) fn delimiter(&mut self, tag: Tag, length: u32) {
        explicit_vr::item(&mut self.bytes, tag, length);
    }

    pub(super) fn header(&mut self, tag: Tag, vr: VR, length: u32) {
        explicit_vr::head(&mut self.bytes, tag, vr, length);
    }
}

/// The value of (0008,0005) in every file made here.
pub(super) static UTF8: std::sync::LazyLock<Value> =
    std::sync::LazyLock::new(|| serde_json::json!({ "vr": "CS", "Value": ["ISO_IR 192"] }));

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
