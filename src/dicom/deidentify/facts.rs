//! What a data set says about its patient and its pixels, read before anything is changed.

use dicom_core::{Tag, VR};

use crate::dicom::charset::Charset;
use crate::dicom::error::ParseError;
use crate::dicom::header;
use crate::dicom::instance::FileLayout;
use crate::dicom::limits::ParseLimits;
use crate::dicom::scan::{Element, ScanEvent, Scanner};
use crate::dicom::source::{Source, SourceWindow};

/// Longest value that is looked at, in bytes.
const LONGEST: u32 = 1024;

/// What is known of an instance; texts are trimmed, those without a value empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceFacts {
    /// (0010,0020)
    pub patient_id: String,
    /// (0008,0060)
    pub modality: String,
    /// (0008,0008), all values.
    pub image_type: String,
    /// (0008,0064)
    pub conversion_type: String,
    /// (0008,0070)
    pub manufacturer: String,
    /// (0008,1090)
    pub model: String,
    /// (0028,0301)
    pub burned_in: String,
    /// (0028,0010)
    pub rows: u16,
    /// (0028,0011)
    pub columns: u16,
    /// One of (7FE0,0008), (7FE0,0009), (7FE0,0010) is there.
    pub has_pixels: bool,
    /// (60xx,0102) is not zero: an overlay in bits of the pixels.
    pub overlay_bits: bool,
    /// How texts outside of sequences are encoded.
    pub(super) charset: Charset,
}

impl InstanceFacts {
    /// Reads them.
    pub(super) fn read(
        source: &dyn Source,
        layout: &FileLayout,
        limits: ParseLimits,
    ) -> Result<Self, ParseError> {
        let mut window = SourceWindow::new(source);
        let start = match layout.deflated {
            true => 0,
            false => layout.dataset_offset,
        };
        let recognized = header::recognize(&mut window, start, Some(&layout.transfer_syntax))?;
        let mut scanner = Scanner::new(window, start, recognized.encoding, limits);
        let (mut facts, mut depth) = (Self::default(), 0_usize);
        loop {
            match scanner.next()? {
                ScanEvent::SequenceStart(_) => depth = depth.saturating_add(1),
                ScanEvent::SequenceEnd => depth = depth.saturating_sub(1),
                ScanEvent::FragmentsStart(element) if depth == 0 => facts.note_pixels(element.tag),
                ScanEvent::Element(element) if depth == 0 => {
                    facts.note(&mut scanner, &element)?;
                }
                ScanEvent::End { .. } => break,
                _ => {}
            }
        }
        Ok(facts)
    }

    fn note_pixels(&mut self, tag: Tag) {
        self.has_pixels |= matches!(tag, Tag(0x7FE0, 0x0008..=0x0010));
    }

    fn note(&mut self, scanner: &mut Scanner<'_>, element: &Element) -> Result<(), ParseError> {
        self.note_pixels(element.tag);
        if element.length > LONGEST {
            return Ok(());
        }
        let overlay = |tag: Tag| tag.0 & 0xFF00 == 0x6000 && tag.1 == 0x0102;
        let charset = self.charset;
        let text = match element.tag {
            Tag(0x0008, 0x0005) => {
                self.charset = Charset::from_terms(&scanner.value(element)?).0;
                return Ok(());
            }
            Tag(0x0028, 0x0010) => {
                self.rows = number(scanner, element)?;
                return Ok(());
            }
            Tag(0x0028, 0x0011) => {
                self.columns = number(scanner, element)?;
                return Ok(());
            }
            tag if overlay(tag) => {
                self.overlay_bits |= number(scanner, element)? != 0;
                return Ok(());
            }
            Tag(0x0010, 0x0020) => &mut self.patient_id,
            Tag(0x0008, 0x0060) => &mut self.modality,
            Tag(0x0008, 0x0008) => &mut self.image_type,
            Tag(0x0008, 0x0064) => &mut self.conversion_type,
            Tag(0x0008, 0x0070) => &mut self.manufacturer,
            Tag(0x0008, 0x1090) => &mut self.model,
            Tag(0x0028, 0x0301) => &mut self.burned_in,
            _ => return Ok(()),
        };
        let raw = scanner.value(element)?;
        let decoded = charset.decode(VR::LO, &raw);
        *text = decoded.trim_matches([' ', '\0']).to_owned();
        Ok(())
    }
}

fn number(scanner: &mut Scanner<'_>, element: &Element) -> Result<u16, ParseError> {
    let value = scanner.value(element)?;
    let bytes = value.first_chunk::<2>().copied().unwrap_or_default();
    Ok(match element.big {
        true => u16::from_be_bytes(bytes),
        false => u16::from_le_bytes(bytes),
    })
}
