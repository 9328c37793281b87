//! What a de-identified data set says about itself (PS3.15 §E.1.1, PS3.3 §C.7.1.1, §C.7.6.1.1).

use dicom_core::{Tag, VR};

use super::options::{DeidentifyOptions, RetainedDates};
use super::table::EDITION;
use crate::dicom::rewrite::IMPLEMENTATION_VERSION;

/// A top-level element that is written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordElement {
    pub(super) tag: Tag,
    pub(super) value: RecordValue,
}

/// What it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordValue {
    Text(VR, String),
    /// Items of codes of the coding scheme DCM, with their meanings.
    Codes(Vec<(&'static str, &'static str)>),
}

/// All of them, ascending by tag.
pub(super) fn record(options: DeidentifyOptions) -> Vec<RecordElement> {
    // One value each: LO has 64 characters.
    let profile = format!("DICOM PS3.15 {EDITION} Basic Application Confidentiality Profile");
    let method = format!("{profile}\\{IMPLEMENTATION_VERSION}");
    let dates = match options.dates {
        RetainedDates::Removed => "REMOVED",
        RetainedDates::Full => "UNMODIFIED",
        RetainedDates::Modified => "MODIFIED",
    };
    let text = |tag, vr, text: &str| RecordElement {
        tag,
        value: RecordValue::Text(vr, text.to_owned()),
    };
    vec![
        text(Tag(0x0012, 0x0062), VR::CS, "YES"),
        text(Tag(0x0012, 0x0063), VR::LO, &method),
        RecordElement {
            tag: Tag(0x0012, 0x0064),
            value: RecordValue::Codes(options.codes()),
        },
        text(Tag(0x0028, 0x0303), VR::CS, dates),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_into_their_vr() {
        let options = "retain-uids,retain-modified-dates,retain-patient-characteristics,retain-device,retain-institution";
        for element in record(options.parse().unwrap()) {
            match element.value {
                RecordValue::Text(vr, text) => {
                    let longest = if vr == VR::CS { 16 } else { 64 };
                    assert!(
                        text.split('\\').all(|value| value.len() <= longest),
                        "{text}"
                    );
                }
                RecordValue::Codes(codes) => {
                    assert!(codes.iter().all(|(_, meaning)| meaning.len() <= 64));
                    assert_eq!(codes.len(), 6);
                }
            }
        }
    }
}
