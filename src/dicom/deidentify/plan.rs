//! Plans the de-identified file of a stored one, in the transfer syntax that it has.
//!
//! Invariants: of the stored file nothing is copied that was not decided upon: no preamble, no meta group, nothing behind the
//! data set; pixel data stays byte for byte unless rectangles are blanked; memory is asked for before it is taken.

use dicom_core::{Tag, VR};

use super::actions::{ActionRules, ElementChange, ValueChange};
use super::dummy::{self, DummyValue};
use super::error::{DeidentifyError, DeidentifyRefusal};
use super::facts::InstanceFacts;
use super::output::FileOutput;
use super::profile::DeidentifyProfile;
use super::pseudonym::moved;
use super::record::{RecordElement, RecordValue, record};
use crate::dicom::error::ParseError;
use crate::dicom::header::{self, Encoding, ITEM, ITEM_END, SEQUENCE_END, UNDEFINED};
use crate::dicom::header_form::{HeaderForm, sequence_vr};
use crate::dicom::instance::FileLayout;
use crate::dicom::limits::ParseLimits;
use crate::dicom::parse_memory::GrantMemory;
use crate::dicom::rewrite::{FileSegment, named_group};
use crate::dicom::scan::{Element, ScanEvent, Scanner};
use crate::dicom::source::{Source, SourceWindow};
use crate::dicom::uid::InstanceName;

const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
/// Elements up to this size are read while planning; larger ones become runs of the source.
const SMALL: u64 = 4096;
/// Longest value that is looked into.
const LONGEST: u32 = 64 << 10;

/// Which instance is de-identified.
#[derive(Debug, Clone, Copy)]
pub struct DeidentifySubject<'a> {
    /// SOP Class UID.
    pub sop_class: &'a str,
    /// Its UIDs.
    pub name: &'a InstanceName,
    /// What it says about patient and pixels.
    pub facts: &'a InstanceFacts,
}

/// What becomes of Pixel Data (7FE0,0010).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelData<'a> {
    /// It stays, byte for byte.
    Kept,
    /// Native frames that the caller makes, each of as many bytes.
    Native {
        /// How many.
        frames: u32,
        /// Bytes of one.
        length: u64,
    },
    /// Encapsulated frames that the caller makes, of these lengths, one fragment each.
    Encapsulated(&'a [u32]),
}

/// UIDs of the new instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deidentified {
    /// The file in pieces, preamble and meta group first.
    pub segments: Vec<FileSegment>,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
    /// SOP Instance UID.
    pub instance: String,
}

/// Plans the new file; `source` is the stored file, or its inflated data set when the layout says deflated: then all pieces
/// but the first are still to be deflated.
///
/// # Errors
/// As the parser: the source has to be the file that was parsed. [`ParseError::Read`] when there is no memory.
pub fn plan(
    source: &dyn Source,
    layout: &FileLayout,
    subject: DeidentifySubject<'_>,
    profile: &DeidentifyProfile,
    pixels: PixelData<'_>,
    limits: ParseLimits,
    room: GrantMemory<'_>,
) -> Result<Deidentified, DeidentifyError> {
    let mut window = SourceWindow::new(source);
    let start = match layout.deflated {
        true => 0,
        false => layout.dataset_offset,
    };
    let recognized = header::recognize(&mut window, start, Some(&layout.transfer_syntax))?;
    let instance = profile.new_uid(subject.name.instance.as_str());
    let meta = named_group(subject.sop_class, &instance, &layout.transfer_syntax)
        .map_err(ParseError::Read)?;
    let patient = match subject.facts.patient_id.as_str() {
        // Nobody is named: what one study has belongs together all the same.
        "" => subject.name.study.as_str(),
        patient => patient,
    };
    let mut planner = DeidentifyPlanner {
        scanner: Scanner::new(window, start, recognized.encoding, limits),
        encoding: recognized.encoding,
        rules: ActionRules {
            options: profile.options,
            sop_class: subject.sop_class,
        },
        profile,
        subject,
        days: profile.key.days(patient),
        pixels,
        pending: record(profile.options).into_iter().peekable(),
        output: FileOutput::new(meta, limits.kept, room),
        levels: Vec::new(),
    };
    planner.run()?;
    Ok(Deidentified {
        segments: planner.output.finish(),
        study: profile.new_uid(subject.name.study.as_str()),
        series: profile.new_uid(subject.name.series.as_str()),
        instance,
    })
}

struct DeidentifyPlanner<'a, 'e> {
    scanner: Scanner<'a>,
    encoding: Encoding,
    rules: ActionRules<'e>,
    profile: &'e DeidentifyProfile,
    subject: DeidentifySubject<'e>,
    /// By how many days dates are moved.
    days: i64,
    pixels: PixelData<'e>,
    /// Elements that are written anew.
    pending: std::iter::Peekable<std::vec::IntoIter<RecordElement>>,
    output: FileOutput<'e>,
    /// Sequences and items around the element at hand, by whether they are big endian.
    levels: Vec<bool>,
}

impl DeidentifyPlanner<'_, '_> {
    fn run(&mut self) -> Result<(), DeidentifyError> {
        loop {
            match self.scanner.next()? {
                ScanEvent::Element(element) => self.element(&element)?,
                ScanEvent::SequenceStart(element) => self.sequence(&element)?,
                ScanEvent::ItemStart => {
                    let big = self.is_big();
                    self.output.item(big, ITEM, UNDEFINED)?;
                    self.levels.push(big);
                }
                ScanEvent::ItemEnd => self.close(ITEM_END)?,
                ScanEvent::SequenceEnd => self.close(SEQUENCE_END)?,
                ScanEvent::FragmentsStart(element) => self.fragments(&element)?,
                ScanEvent::Fragment { .. } | ScanEvent::FragmentsEnd { .. } => {}
                ScanEvent::End { .. } => break,
            }
        }
        Ok(self.insert_before(None)?)
    }

    fn is_top(&self) -> bool {
        self.levels.is_empty()
    }

    fn is_big(&self) -> bool {
        self.levels.last().copied().unwrap_or(false)
    }

    /// Writes the new elements that come before a top-level one, or all that are left.
    fn insert_before(&mut self, tag: Option<Tag>) -> Result<(), ParseError> {
        if !self.is_top() {
            return Ok(());
        }
        let form = HeaderForm::of(self.encoding);
        while let Some(element) = self
            .pending
            .next_if(|element| tag.is_none_or(|tag| element.tag < tag))
        {
            match &element.value {
                RecordValue::Text(vr, text) => {
                    self.output
                        .element(form, element.tag, *vr, text.as_bytes())?;
                }
                RecordValue::Codes(codes) => self.output.codes(form, element.tag, codes)?,
            }
        }
        Ok(())
    }

    fn element(&mut self, element: &Element) -> Result<(), DeidentifyError> {
        self.insert_before(Some(element.tag))?;
        let top = self.is_top();
        if top && self.is_replaced(element)? {
            return Ok(());
        }
        let tag = element.tag;
        let plain = match self.rules.change(tag, element.vr, top) {
            ElementChange::ValueChange(plain) => plain,
            ElementChange::Temporal { moved, otherwise } => {
                match self.temporal(element, moved)? {
                    Some(text) => return Ok(self.replace(element, text.as_bytes())?),
                    // All of it, or nothing.
                    None => otherwise,
                }
            }
            ElementChange::PatientId => {
                let old = match top {
                    true => self.subject.facts.patient_id.clone(),
                    false => self.patient_id(element)?,
                };
                let new = self.profile.key.patient(&old);
                return Ok(self.replace(element, new.as_bytes())?);
            }
            ElementChange::PatientName => {
                let new = self.profile.key.patient(&self.subject.facts.patient_id);
                return Ok(self.replace(element, new.as_bytes())?);
            }
        };
        match plain {
            ValueChange::Keep => self.keep(element)?,
            ValueChange::Remove => {}
            ValueChange::Empty => self.replace(element, &[])?,
            ValueChange::Dummy => self.dummy(element)?,
            ValueChange::NewUids => {
                let text = self.text(element)?.unwrap_or_default();
                let new: Vec<String> = text
                    .split('\\')
                    .map(|uid| uid.trim_matches([' ', '\0']))
                    .map(|uid| match uid {
                        "" => String::new(),
                        uid => self.profile.new_uid(uid),
                    })
                    .collect();
                self.replace(element, new.join("\\").as_bytes())?;
            }
        }
        Ok(())
    }

    /// The text of an element that is no text of a character set; none when it is too long.
    fn text(&mut self, element: &Element) -> Result<Option<String>, ParseError> {
        if element.length > LONGEST {
            return Ok(None);
        }
        let raw = self.scanner.value(element)?;
        Ok(Some(String::from_utf8_lossy(&raw).into_owned()))
    }

    /// A Patient ID in a sequence.
    fn patient_id(&mut self, element: &Element) -> Result<String, ParseError> {
        if element.length > LONGEST {
            return Ok(String::new());
        }
        let raw = self.scanner.value(element)?;
        let text = self.subject.facts.charset.decode(VR::LO, &raw);
        Ok(text.trim_matches([' ', '\0']).to_owned())
    }

    /// The dates or times of an element as they are to be; none when one of them is none.
    fn temporal(
        &mut self,
        element: &Element,
        is_moved: bool,
    ) -> Result<Option<String>, ParseError> {
        let Some(text) = self.text(element)? else {
            return Ok(None);
        };
        let days = if is_moved { self.days } else { 0 };
        let values = text.trim_end_matches([' ', '\0']).split('\\');
        let new: Option<Vec<String>> = values
            .map(|value| {
                let new = moved(element.vr, value, days);
                // What stays is written as it was.
                if is_moved {
                    new
                } else {
                    new.map(|_| value.to_owned())
                }
            })
            .collect();
        Ok(new.map(|values| values.join("\\")))
    }

    /// Writes the new pixel data in place of the old, if it is replaced; offsets of old fragments mean nothing then.
    fn is_replaced(&mut self, element: &Element) -> Result<bool, DeidentifyError> {
        match (self.pixels, element.tag) {
            (PixelData::Encapsulated(_), Tag(0x7FE0, 0x0001..=0x0003)) => Ok(true),
            (PixelData::Native { frames, length }, PIXEL_DATA) => {
                let all = length.saturating_mul(u64::from(frames));
                let behind = u64::from(element.length).checked_sub(all);
                if behind.is_none_or(|behind| behind > 1) {
                    return Err(DeidentifyRefusal::PixelLayout.into());
                }
                let (form, stored, _) = HeaderForm::find(&mut self.scanner, element)?;
                let output = &mut self.output;
                output.header(form, element.tag, stored, element.length)?;
                output.frames(1..=frames, all)?;
                if behind == Some(1) {
                    output.raw(&[0])?;
                }
                Ok(true)
            }
            // Native pixels in a file whose transfer syntax is encapsulated.
            (PixelData::Encapsulated(_), PIXEL_DATA) => Err(DeidentifyRefusal::PixelLayout.into()),
            _ => Ok(false),
        }
    }

    /// A sequence: looked through, or replaced as a whole.
    fn sequence(&mut self, element: &Element) -> Result<(), DeidentifyError> {
        self.insert_before(Some(element.tag))?;
        let change = self.rules.change(element.tag, VR::SQ, self.is_top());
        if change == ElementChange::ValueChange(ValueChange::Remove) {
            return Ok(self.scanner.skip_sequence()?);
        }
        let (form, stored, _) = HeaderForm::find(&mut self.scanner, element)?;
        // What stands as UN is Implicit VR inside (PS3.5 §6.2.2).
        let inner = match stored {
            VR::UN => HeaderForm::Implicit,
            _ => form,
        };
        let (vr, output) = (sequence_vr(stored), &mut self.output);
        if change == ElementChange::ValueChange(ValueChange::Keep) {
            output.header(form, element.tag, vr, UNDEFINED)?;
            self.levels.push(inner.is_big());
            return Ok(());
        }
        let dummy = match change {
            ElementChange::ValueChange(ValueChange::Dummy) => dummy::item(element.tag),
            _ => None,
        };
        match dummy {
            Some(item) => {
                output.header(form, element.tag, vr, UNDEFINED)?;
                output.dummy_item(inner, item)?;
            }
            None => output.header(form, element.tag, vr, 0)?,
        }
        Ok(self.scanner.skip_sequence()?)
    }

    /// An encapsulated value: pixel data of the instance stays or is replaced, all else goes.
    fn fragments(&mut self, element: &Element) -> Result<(), DeidentifyError> {
        self.insert_before(Some(element.tag))?;
        let is_pixels = self.is_top() && element.tag == PIXEL_DATA;
        let (form, stored, start) = HeaderForm::find(&mut self.scanner, element)?;
        let end = self.scanner.skip_fragments()?;
        match self.pixels {
            _ if !is_pixels => {}
            PixelData::Kept => self.output.copy(start, end)?,
            PixelData::Native { .. } => return Err(DeidentifyRefusal::PixelLayout.into()),
            PixelData::Encapsulated(lengths) => {
                let (big, output) = (form.is_big(), &mut self.output);
                output.header(form, PIXEL_DATA, stored, UNDEFINED)?;
                // An empty offset table: one fragment is one frame.
                output.item(big, ITEM, 0)?;
                for (number, length) in (1_u32..).zip(lengths) {
                    let odd = length % 2;
                    output.item(big, ITEM, length.saturating_add(odd))?;
                    output.frames(number..=number, u64::from(*length))?;
                    if odd == 1 {
                        output.raw(&[0])?;
                    }
                }
                output.item(big, SEQUENCE_END, 0)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, element: &Element) -> Result<(), ParseError> {
        let (_, _, start) = HeaderForm::find(&mut self.scanner, element)?;
        let end = element.value_at.saturating_add(u64::from(element.length));
        let length = end.saturating_sub(start);
        if length > SMALL {
            return self.output.copy(start, end);
        }
        let raw = self.scanner.bytes(start, length)?;
        self.output.raw(&raw)
    }

    /// Writes an element with another value.
    fn replace(&mut self, element: &Element, value: &[u8]) -> Result<(), ParseError> {
        let (form, ..) = HeaderForm::find(&mut self.scanner, element)?;
        self.output.element(form, element.tag, element.vr, value)
    }

    fn dummy(&mut self, element: &Element) -> Result<(), ParseError> {
        match dummy::value(element.vr) {
            Some(DummyValue::Text(text)) => self.replace(element, text.as_bytes()),
            Some(DummyValue::Zeros(count)) => {
                let zeros = [0; 8];
                let value = zeros.get(..usize::from(count)).unwrap_or(&zeros);
                self.replace(element, value)
            }
            Some(DummyValue::Item(_)) | None => self.replace(element, &[]),
        }
    }

    /// Marks the end of an item or a sequence.
    fn close(&mut self, tag: Tag) -> Result<(), ParseError> {
        let big = self.is_big();
        self.levels.pop();
        self.output.item(big, tag, 0)
    }
}
