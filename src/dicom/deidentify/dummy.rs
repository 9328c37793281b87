//! Values that mean nothing, one for each VR, and items of sequences that must not be empty.

use dicom_core::{Tag, VR};

/// A dummy element; all of them are ASCII, and the same in each byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DummyElement {
    pub(super) tag: Tag,
    pub(super) vr: VR,
    pub(super) value: DummyValue,
}

/// What it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DummyValue {
    Text(&'static str),
    /// So many bytes of zero.
    Zeros(u8),
    /// One item.
    Item(&'static [DummyElement]),
}

use DummyValue::{Item, Text, Zeros};

/// What stands for a text that was removed.
const REMOVED: &str = "REMOVED";

/// The dummy of a VR; none of a sequence.
pub(super) fn value(vr: VR) -> Option<DummyValue> {
    Some(match vr {
        VR::AE | VR::CS | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT => {
            Text(REMOVED)
        }
        VR::AS => Text("000Y"),
        VR::DA => Text("19000101"),
        VR::DT => Text("19000101000000"),
        VR::TM => Text("000000"),
        VR::DS | VR::IS => Text("0"),
        VR::UR => Text("http://removed.invalid"),
        // Instance UIDs become others; of what else is one there is none that means nothing.
        VR::UI => Text(""),
        VR::US | VR::SS | VR::UN => Zeros(2),
        VR::UL | VR::SL | VR::FL | VR::AT => Zeros(4),
        VR::FD | VR::SV | VR::UV | VR::OB | VR::OW | VR::OF | VR::OL | VR::OD | VR::OV => Zeros(8),
        VR::SQ => return None,
    })
}

const fn element(group: u16, number: u16, vr: VR, value: DummyValue) -> DummyElement {
    DummyElement {
        tag: Tag(group, number),
        vr,
        value,
    }
}

/// A code that means nothing (PS3.3 §8.8).
const CODE: &[DummyElement] = &[
    element(0x0008, 0x0100, VR::SH, Text(REMOVED)),
    element(0x0008, 0x0102, VR::SH, Text("99STOWAGE")),
    element(0x0008, 0x0104, VR::LO, Text(REMOVED)),
];

/// Comment, as the concept of a content item.
const COMMENT: &[DummyElement] = &[
    element(0x0008, 0x0100, VR::SH, Text("121106")),
    element(0x0008, 0x0102, VR::SH, Text("DCM")),
    element(0x0008, 0x0104, VR::LO, Text("Comment")),
];

/// An operator, by a code.
const OPERATOR: &[DummyElement] = &[element(0x0040, 0x1101, VR::SQ, Item(CODE))];

/// A flow of video.
const FLOW: &[DummyElement] = &[element(0x0034, 0x0002, VR::OB, Zeros(8))];

/// Who verified a report.
const OBSERVER: &[DummyElement] = &[
    element(0x0040, 0xA027, VR::LO, Text(REMOVED)),
    element(0x0040, 0xA030, VR::DT, Text("19000101000000")),
    element(0x0040, 0xA075, VR::PN, Text(REMOVED)),
];

/// A text in place of the tree of a report.
const CONTENT: &[DummyElement] = &[
    element(0x0040, 0xA010, VR::CS, Text("CONTAINS")),
    element(0x0040, 0xA040, VR::CS, Text("TEXT")),
    element(0x0040, 0xA043, VR::SQ, Item(COMMENT)),
    element(0x0040, 0xA160, VR::UT, Text(REMOVED)),
];

/// A text about no channel of a waveform.
const WAVEFORM: &[DummyElement] = &[
    element(0x0040, 0xA0B0, VR::US, Zeros(4)),
    element(0x0070, 0x0006, VR::ST, Text(REMOVED)),
];

/// A text in the corner of a picture.
const GRAPHIC_TEXT: &[DummyElement] = &[
    element(0x0070, 0x0004, VR::CS, Text("DISPLAY")),
    element(0x0070, 0x0006, VR::ST, Text(REMOVED)),
    element(0x0070, 0x0014, VR::FL, Zeros(8)),
    element(0x0070, 0x0015, VR::CS, Text("N")),
];

/// A layer of a presentation state.
const GRAPHIC: &[DummyElement] = &[
    element(0x0070, 0x0002, VR::CS, Text(REMOVED)),
    element(0x0070, 0x0008, VR::SQ, Item(GRAPHIC_TEXT)),
];

/// The one item of a sequence that must not be empty; none leaves the sequence empty.
pub(super) fn item(tag: Tag) -> Option<&'static [DummyElement]> {
    Some(match tag {
        // Institution Code, Person Identification Code.
        Tag(0x0008, 0x0082) | Tag(0x0040, 0x1101) => CODE,
        // Operator Identification.
        Tag(0x0008, 0x1072) => OPERATOR,
        // Flow Identifier.
        Tag(0x0034, 0x0001) => FLOW,
        // Verifying Observer.
        Tag(0x0040, 0xA073) => OBSERVER,
        // Content.
        Tag(0x0040, 0xA730) => CONTENT,
        // Waveform Annotation.
        Tag(0x0040, 0xB020) => WAVEFORM,
        // Graphic Annotation.
        Tag(0x0070, 0x0001) => GRAPHIC,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::temporal;

    #[test]
    fn dummies_are_values_of_their_vr() {
        let text = |vr| match value(vr) {
            Some(Text(text)) => text,
            _ => "",
        };
        for vr in [VR::DA, VR::DT, VR::TM] {
            assert!(temporal::stored(vr, text(vr)).is_some(), "{vr}");
        }
        assert!(text(VR::AE).len() <= 16 && text(VR::SH).len() <= 16 && text(VR::CS).len() <= 16);
        assert_eq!(value(VR::SQ), None);
    }
}
