//! The end of a parse: checks the identifiers, builds layout, pixel description and frame table.
//!
//! Invariant: an [`Instance`] is only made of a file whose four identifiers are there and valid.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::{Origin, Parser};
use crate::dicom::codec::transfer_syntax::{is_deflated, is_native, is_video};
use crate::dicom::error::{Limit, ParseError};
use crate::dicom::frames::FrameTable;
use crate::dicom::header::RecognizedEncoding;
use crate::dicom::identifiers::Identifiers;
use crate::dicom::instance::{FileLayout, Instance, PixelElement};
use crate::dicom::issue::ValidationIssue;
use crate::dicom::json;
use crate::dicom::uid::{self, InstanceName, InstanceUid, SeriesUid, StudyUid, UidError};

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
            self.findings.push(ValidationIssue::new(
                Tag(0, 0),
                "elements are not in ascending order or repeated",
            ));
        }
        let (name, sop_class) = name_of(&self.identifiers, self.options.stands_alone)?;
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
            self.findings
                .push(ValidationIssue::new(Tag(0, 0), &comment));
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
                    self.findings.push(ValidationIssue::new(
                        tags::TRANSFER_SYNTAX_UID,
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
            let tag = tags::NUMBER_OF_FRAMES;
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
            findings.push(ValidationIssue::new(
                tags::TRANSFER_SYNTAX_UID,
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

/// Stands for the study and series of what has none.
const NO_UID: &str = "0";

/// The name of an instance and its SOP class: the identifiers it must have.
fn name_of(found: &Identifiers, alone: bool) -> Result<(InstanceName, String), ParseError> {
    fn parse<T>(
        found: &Identifiers,
        tag: Tag,
        text: Option<&String>,
        parse: impl Fn(&str) -> Result<T, UidError>,
    ) -> Result<T, ParseError> {
        let read = || Box::new(found.clone());
        let text = text.ok_or_else(|| ParseError::Missing { tag, read: read() })?;
        parse(text).map_err(|source| ParseError::BadUid {
            tag,
            read: read(),
            source,
        })
    }
    let nothing = alone.then(|| NO_UID.to_owned());
    let (study, series) = match &nothing {
        Some(nothing) => (Some(nothing), Some(nothing)),
        None => (found.study.as_ref(), found.series.as_ref()),
    };
    let (instance, sop_class) = (found.instance.as_ref(), found.sop_class.as_ref());
    let sop_class = parse(found, tags::SOP_CLASS_UID, sop_class, |text| {
        uid::check_uid(text).map(str::to_owned)
    })?;
    let name = InstanceName {
        instance: parse(found, tags::SOP_INSTANCE_UID, instance, InstanceUid::parse)?,
        study: parse(found, tags::STUDY_INSTANCE_UID, study, StudyUid::parse)?,
        series: parse(found, tags::SERIES_INSTANCE_UID, series, SeriesUid::parse)?,
    };
    Ok((name, sop_class))
}
