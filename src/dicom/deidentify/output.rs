//! The pieces of the new file as they are made.
//!
//! Invariant: memory is asked for before it is taken, and never more than the limit.

use std::ops::RangeInclusive;

use dicom_core::{Tag, VR};

use super::dummy::{DummyElement, DummyValue};
use crate::dicom::error::{Limit, ParseError};
use crate::dicom::explicit_vr::padding;
use crate::dicom::header::{ITEM, ITEM_END, SEQUENCE_END, UNDEFINED};
use crate::dicom::header_form::{self, HeaderForm};
use crate::dicom::parse_memory::{GrantMemory, SteppedMemory};
use crate::dicom::rewrite::FileSegment;

/// What is written.
pub(super) struct FileOutput<'e> {
    segments: Vec<FileSegment>,
    /// Bytes not yet made a segment.
    bytes: Vec<u8>,
    /// Memory of bytes that are made.
    memory: SteppedMemory<'e>,
}

impl<'e> FileOutput<'e> {
    /// Begins with the bytes before the data set.
    pub(super) fn new(meta: Vec<u8>, limit: u64, room: GrantMemory<'e>) -> Self {
        Self {
            segments: vec![FileSegment::Bytes(meta)],
            bytes: Vec::new(),
            memory: SteppedMemory::new(limit, room),
        }
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Vec<FileSegment> {
        self.flush();
        self.segments
    }

    /// Writes the header of an element.
    pub(super) fn header(
        &mut self,
        form: HeaderForm,
        tag: Tag,
        vr: VR,
        length: u32,
    ) -> Result<(), ParseError> {
        self.take(16)?;
        form.element(&mut self.bytes, tag, vr, length);
        Ok(())
    }

    /// Writes an element, padded.
    pub(super) fn element(
        &mut self,
        form: HeaderForm,
        tag: Tag,
        vr: VR,
        value: &[u8],
    ) -> Result<(), ParseError> {
        let odd = value.len() % 2;
        let too_long = || ParseError::limit(Some(tag), 0, Limit::Value, u64::from(UNDEFINED));
        let length = u32::try_from(value.len() + odd).map_err(|_| too_long())?;
        self.header(form, tag, vr, length)?;
        self.raw(value)?;
        if odd == 1 {
            self.bytes.push(padding(vr));
        }
        Ok(())
    }

    /// Writes bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        self.take(bytes.len().saturating_add(1))?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes the header of an item or a delimiter.
    pub(super) fn item(&mut self, big: bool, tag: Tag, length: u32) -> Result<(), ParseError> {
        self.take(8)?;
        header_form::item(&mut self.bytes, big, tag, length);
        Ok(())
    }

    /// A sequence of codes of the scheme DCM.
    pub(super) fn codes(
        &mut self,
        form: HeaderForm,
        tag: Tag,
        codes: &[(&str, &str)],
    ) -> Result<(), ParseError> {
        let big = form.is_big();
        self.header(form, tag, VR::SQ, UNDEFINED)?;
        for (code, meaning) in codes {
            self.item(big, ITEM, UNDEFINED)?;
            self.element(form, Tag(0x0008, 0x0100), VR::SH, code.as_bytes())?;
            self.element(form, Tag(0x0008, 0x0102), VR::SH, b"DCM")?;
            self.element(form, Tag(0x0008, 0x0104), VR::LO, meaning.as_bytes())?;
            self.item(big, ITEM_END, 0)?;
        }
        self.item(big, SEQUENCE_END, 0)
    }

    /// The one item of a sequence whose header is written, and its end; items in it are as deep as the constants are.
    pub(super) fn dummy_item(
        &mut self,
        form: HeaderForm,
        item: &[DummyElement],
    ) -> Result<(), ParseError> {
        let big = form.is_big();
        self.item(big, ITEM, UNDEFINED)?;
        for element in item {
            let (tag, vr) = (element.tag, element.vr);
            match element.value {
                DummyValue::Text(text) => self.element(form, tag, vr, text.as_bytes())?,
                DummyValue::Zeros(count) => {
                    self.element(form, tag, vr, &vec![0; usize::from(count)])?;
                }
                DummyValue::Item(inner) => {
                    self.header(form, tag, VR::SQ, UNDEFINED)?;
                    self.dummy_item(form, inner)?;
                }
            }
        }
        self.item(big, ITEM_END, 0)?;
        self.item(big, SEQUENCE_END, 0)
    }

    /// Takes over a range of the source.
    pub(super) fn copy(&mut self, from: u64, to: u64) -> Result<(), ParseError> {
        self.take(64)?;
        self.flush();
        self.segments.push(FileSegment::Copy {
            offset: from,
            length: to.saturating_sub(from),
        });
        Ok(())
    }

    /// Frames that the caller makes.
    pub(super) fn frames(
        &mut self,
        numbers: RangeInclusive<u32>,
        length: u64,
    ) -> Result<(), ParseError> {
        self.take(64)?;
        self.flush();
        self.segments.push(FileSegment::Frames { numbers, length });
        Ok(())
    }

    /// Asks for the memory of bytes to be made.
    fn take(&mut self, bytes: usize) -> Result<(), ParseError> {
        self.memory.take(bytes, 0)
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.segments
                .push(FileSegment::Bytes(std::mem::take(&mut self.bytes)));
        }
    }
}
