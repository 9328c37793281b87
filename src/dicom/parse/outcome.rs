//! The end of a parse: checks the identifiers, builds layout, pixel description and frame table.
//!
//! Invariant: an [`Instance`] is only made of a file whose four identifiers are there and valid.

use dicom_core::Tag;

use super::{Origin, Parser, finding};
use crate::dicom::codec::transfer_syntax::{is_deflated, is_native, is_video};
use crate::dicom::error::{Limit, ParseError};
use crate::dicom::frames::FrameTable;
use crate::dicom::header::RecognizedEncoding;
use crate::dicom::instance::{FileLayout, Instance, PixelElement, ValidationIssue};
use crate::dicom::json;

impl Parser<'_, '_> {
    /// Checks the identifiers and puts the result together.
    pub(super) fn finish(mut self, ignored: u64) -> Result<Instance, ParseError> {
        self.json
            .make_room_to_close(&self.ledger)
            .map_err(|error| error.with_identifiers(&self.identifiers))?;
        let moves = self.json.close_data_set();
        if !moves.is_empty() {
            for attribute in &mut self.attributes {
                attribute.json = json::moved(&moves, &attribute.json);
            }
            self.attributes
                .retain(|attribute| !attribute.json.is_empty());
            self.attributes.sort_by_key(|attribute| attribute.tag);
            self.findings.push(finding(
                Tag(0, 0),
                "elements are not in ascending order or repeated",
            ));
        }
        let (name, sop_class) = self.identifiers.check()?;
        let attributes = &mut self.attributes;
        let metadata = self.json.finish(|at, count| {
            for attribute in attributes
                .iter_mut()
                .filter(|attribute| attribute.json.start >= at)
            {
                attribute.json.start = attribute.json.start.saturating_add(count);
                attribute.json.end = attribute.json.end.saturating_add(count);
            }
        });
        if ignored > 0 {
            let comment = format!("{ignored} bytes behind the data set are ignored");
            self.findings.push(finding(Tag(0, 0), &comment));
        }
        let position = self.scanner.position();
        let mut layout = self
            .origin
            .layout(position, self.fragments.is_some(), &mut self.findings);
        let element = self.native.map(|native| native.element);
        let element = element.or(self.fragments.as_ref().map(|_| PixelElement::Integer));
        let pixel = element.map(|element| self.pixels.describe(element));
        let frames = match (self.fragments, self.native, &pixel) {
            (Some(mut fragments), _, _) => {
                fragments.declared = self.pixels.frames;
                fragments.video = is_video(&layout.transfer_syntax);
                fragments.extended = self.extended.0.zip(self.extended.1);
                if is_native(&layout.transfer_syntax) {
                    self.findings.push(finding(
                        Tag(0x0002, 0x0010),
                        "names no syntax for encapsulated pixel data",
                    ));
                }
                fragments.into_table(&mut self.findings)
            }
            (None, Some(native), Some(pixel)) => {
                let swap = native.swap(&mut self.scanner, pixel.bits_allocated)?;
                self.pixels
                    .native_table(native, swap, pixel, &mut layout, &mut self.findings)
            }
            (None, _, _) => FrameTable::none(),
        };
        if frames.count() > self.options.limits.frames {
            let allowed = self.options.limits.frames.into();
            let tag = Tag(0x0028, 0x0008);
            let error = ParseError::limit(Some(tag), position, Limit::Frames, allowed);
            return Err(error.with_identifiers(&self.identifiers));
        }
        Ok(Instance {
            name,
            sop_class,
            layout,
            attributes: self.attributes,
            metadata,
            bulk: self.bulk,
            frames,
            pixel,
            findings: self.findings,
        })
    }
}

impl Origin {
    fn layout(
        &self,
        end: u64,
        encapsulated: bool,
        findings: &mut Vec<ValidationIssue>,
    ) -> FileLayout {
        let RecognizedEncoding { encoding, agrees } = self.recognized;
        let deflated = self.opening.label.as_deref().is_some_and(is_deflated);
        let agrees = agrees && deflated == self.deflated;
        if !agrees {
            findings.push(finding(
                Tag(0x0002, 0x0010),
                "does not agree with the encoding of the data set",
            ));
        }
        let label = self.opening.label.clone();
        let named = label.is_some();
        // A wrong label still says how encapsulated pixels are compressed.
        let right = label.filter(|label| agrees || (encapsulated && !is_native(label)));
        let start = if self.deflated {
            0
        } else {
            self.opening.dataset_offset
        };
        FileLayout {
            part10: self.opening.prefixed && agrees && named,
            transfer_syntax: right.unwrap_or_else(|| encoding.transfer_syntax().to_owned()),
            dataset_offset: self.opening.dataset_offset,
            deflated: self.deflated,
            dataset_length: end.saturating_sub(start),
        }
    }
}
