//! Whose a file is, as far as its first bytes tell: for who may store some studies only, before the rest has arrived.
//!
//! Invariant: what is told here is what a parse over the whole file finds; where that is not certain, nothing is told.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::charset::Charset;
use super::error::ParseError;
use super::header::{self, Encoding};
use super::json;
use super::limits::ParseLimits;
use super::scan::{ScanEvent, Scanner};
use super::source::{Source, SourceWindow};

/// Bytes that are enough for the identifiers of nearly every file.
pub const HEAD: usize = 64 << 10;

/// Whose a file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// SOP Class UID, where the file has one.
    pub sop_class: Option<String>,
    /// SOP Instance UID, where the file has one.
    pub instance: Option<String>,
    /// Patient ID, where the file has one.
    pub patient: Option<String>,
    /// Study Instance UID.
    pub study: String,
}

/// The owner of the file that begins with these bytes; none when they do not tell, or when the file is deflated.
#[must_use]
pub fn owner(head: &[u8], limits: ParseLimits) -> Option<Owner> {
    read(head, limits).ok().flatten()
}

/// The SOP Instance UID of the file that begins with these bytes, by its data set or else its meta information; none when it
/// is no DICOM file, or one of no instance (a DICOMDIR).
#[must_use]
pub fn instance_uid(head: &[u8], limits: ParseLimits) -> Option<String> {
    let (class, instance) = meta_uids(head).unwrap_or_default();
    if class.as_deref() == Some(MEDIA_DIRECTORY) {
        return None;
    }
    let owner = owner(head, limits);
    owner.and_then(|owner| owner.instance).or(instance)
}

/// Media Storage Directory Storage.
const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";
/// More elements than this are no meta group.
const META_ELEMENTS: usize = 256;

/// Media Storage SOP Class UID and SOP Instance UID of the meta information (PS3.10 §7.1).
fn meta_uids(head: &[u8]) -> Option<(Option<String>, Option<String>)> {
    let mut rest = head.get(128..)?.strip_prefix(b"DICM")?;
    let (mut class, mut instance) = (None, None);
    for _ in 0..META_ELEMENTS {
        let Some(found) = header::decode(Encoding::ExplicitLittle, rest) else {
            break;
        };
        if found.tag.0 != 2 {
            break;
        }
        let start = usize::from(found.size);
        let length = usize::try_from(found.length).unwrap_or(usize::MAX);
        let Some(value) = rest.get(start..start.saturating_add(length)) else {
            break;
        };
        let text = || {
            let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\0']);
            Some(text.to_owned()).filter(|text| !text.is_empty())
        };
        match found.tag {
            tags::MEDIA_STORAGE_SOP_CLASS_UID => class = text(),
            tags::MEDIA_STORAGE_SOP_INSTANCE_UID => instance = text(),
            _ => {}
        }
        rest = rest.get(start.saturating_add(length)..).unwrap_or_default();
    }
    Some((class, instance))
}

fn read(head: &[u8], limits: ParseLimits) -> Result<Option<Owner>, ParseError> {
    let source: &dyn Source = &head;
    let mut window = SourceWindow::new(source);
    let opening = header::open(&mut window, false)?;
    if opening.is_deflated(&mut window)? {
        return Ok(None);
    }
    let start = opening.dataset_offset;
    let recognized = opening.recognize(&mut window, start)?;
    let mut scanner = Scanner::new(window, start, recognized.encoding, limits);
    let mut owner = Owner::default();
    let mut depth = 0_usize;
    loop {
        let element = match scanner.next()? {
            ScanEvent::Element(element) => element,
            ScanEvent::SequenceStart(_) => {
                depth = depth.saturating_add(1);
                continue;
            }
            ScanEvent::SequenceEnd => {
                depth = depth.saturating_sub(1);
                continue;
            }
            ScanEvent::ItemStart | ScanEvent::ItemEnd => continue,
            ScanEvent::FragmentsStart(_)
            | ScanEvent::Fragment { .. }
            | ScanEvent::FragmentsEnd { .. }
            | ScanEvent::End { .. } => return Ok(None),
        };
        if depth > 0 {
            continue;
        }
        let Tag(group, _) = element.tag;
        let wanted = [
            tags::SOP_CLASS_UID,
            tags::SOP_INSTANCE_UID,
            tags::PATIENT_ID,
            tags::STUDY_INSTANCE_UID,
        ];
        if group > 0x0020 {
            return Ok(None);
        }
        if !wanted.contains(&element.tag) {
            continue;
        }
        let bytes = scanner.value(&element)?;
        if !bytes.is_ascii() {
            return Ok(None);
        }
        let vr = match element.vr {
            VR::UN if element.tag == tags::PATIENT_ID => VR::LO,
            VR::UN => VR::UI,
            vr => vr,
        };
        let charset = Charset::default_repertoire();
        let values = json::values(vr, element.big, &bytes, &charset);
        let value = values.into_iter().find(|value| !value.is_empty());
        match element.tag {
            tags::SOP_CLASS_UID => owner.sop_class = value,
            tags::SOP_INSTANCE_UID => owner.instance = value,
            tags::PATIENT_ID => owner.patient = value,
            _ => {
                let Some(study) = value else { return Ok(None) };
                owner.study = study;
                return Ok(Some(owner));
            }
        }
    }
}
