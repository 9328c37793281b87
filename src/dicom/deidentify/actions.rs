//! What becomes of an element, by its tag, its VR and the chosen options.
//!
//! Invariant: an element that no rule knows to be harmless goes: private and unknown ones, curves, overlays, values whose
//! representation is unknown.

use dicom_core::{Tag, VR};

use super::options::{DeidentifyOptions, RetainedDates};
use super::table::{self, ActionRow, AttributeType, BasicAction, RetainedValue};
use crate::dicom::tag;

/// What becomes of an element whatever its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueChange {
    /// It stays; a sequence is looked through.
    Keep,
    Remove,
    Empty,
    Dummy,
    /// Each of its UIDs becomes another one.
    NewUids,
}

/// What becomes of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementChange {
    ValueChange(ValueChange),
    /// Dates and times are moved by the days of the patient, or stay; what is none becomes the other.
    Temporal {
        moved: bool,
        otherwise: ValueChange,
    },
    /// The new Patient ID of the old one.
    PatientId,
    /// The new Patient ID of the data set, as a name.
    PatientName,
}

/// The rules for one instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct ActionRules<'a> {
    pub(super) options: DeidentifyOptions,
    pub(super) sop_class: &'a str,
}

const PATIENT_NAME: Tag = Tag(0x0010, 0x0010);
const PATIENT_ID: Tag = Tag(0x0010, 0x0020);

impl ActionRules<'_> {
    /// What becomes of an element; `top` is whether it stands in no sequence.
    pub(super) fn change(&self, tag: Tag, vr: VR, top: bool) -> ElementChange {
        if is_out(tag, top) {
            return ElementChange::ValueChange(ValueChange::Remove);
        }
        match tag {
            PATIENT_ID => return ElementChange::PatientId,
            PATIENT_NAME if top => return ElementChange::PatientName,
            _ => {}
        }
        let Some(row) = table::find(tag) else {
            return ElementChange::ValueChange(unlisted(tag, vr));
        };
        let basic = self.basic(row, tag, vr, top);
        match row.retained(&self.options) {
            None => ElementChange::ValueChange(basic),
            Some(RetainedValue::Kept)
                if row.is_temporal() && self.options.dates == RetainedDates::Full =>
            {
                temporal(vr, false, basic)
            }
            Some(RetainedValue::Kept) => ElementChange::ValueChange(ValueChange::Keep),
            Some(RetainedValue::Moved) => temporal(vr, true, basic),
        }
    }

    fn basic(&self, row: ActionRow, tag: Tag, vr: VR, top: bool) -> ValueChange {
        use AttributeType::{Optional, Present, Value};
        // In sequences, and in objects of classes that are not known, what keeps every object valid.
        let kind = if top {
            table::type_of(tag, self.sop_class)
        } else {
            None
        };
        let dummy = if vr == VR::UI {
            ValueChange::NewUids
        } else {
            ValueChange::Dummy
        };
        // References are consistent with what they name: other UIDs are the dummy.
        let dummy = if tag == Tag(0x0008, 0x1111) {
            ValueChange::Keep
        } else {
            dummy
        };
        match (row.action, kind) {
            (BasicAction::X, _)
            | (
                BasicAction::Xz | BasicAction::Xd | BasicAction::Xzd | BasicAction::Xzu,
                Some(Optional),
            ) => ValueChange::Remove,
            (BasicAction::Z, _)
            | (BasicAction::Xz, _)
            | (BasicAction::Zd, Some(Optional | Present))
            | (BasicAction::Xzd | BasicAction::Xzu, Some(Present)) => ValueChange::Empty,
            (BasicAction::D | BasicAction::Xd | BasicAction::Zd | BasicAction::Xzd, _) => dummy,
            (BasicAction::U, _) => ValueChange::NewUids,
            (BasicAction::Xzu, Some(Value) | None) => ValueChange::Keep,
        }
    }
}

/// A date or time stays or moves; what the options would clean or keep of another VR is not looked into.
fn temporal(vr: VR, moved: bool, otherwise: ValueChange) -> ElementChange {
    match vr {
        VR::DA | VR::TM | VR::DT => ElementChange::Temporal { moved, otherwise },
        // Timezone Offset From UTC.
        VR::SH if !moved => ElementChange::ValueChange(ValueChange::Keep),
        _ => ElementChange::ValueChange(otherwise),
    }
}

/// What goes whatever the table says.
fn is_out(tag: Tag, top: bool) -> bool {
    let Tag(group, element) = tag;
    // Private elements, groups that are none, curves and overlays (PS3.15 §E.1.1, Table E.1-1).
    let family = !group.is_multiple_of(2) || matches!(group & 0xFF00, 0x5000 | 0x6000);
    // What says how it was de-identified is written anew.
    let record = matches!(tag, Tag(0x0012, 0x0062..=0x0064) | Tag(0x0028, 0x0303));
    // Encrypted Attributes may be what was taken out before; the padding may be anything.
    let hidden = matches!(tag, Tag(0x0400, 0x0500..=0x0520) | Tag(0xFFFC, 0xFFFC));
    // Pictures in sequences, and pixels of old standards.
    let pictures = group >> 8 == 0x7F && (!top || group != 0x7FE0);
    family || record || hidden || pictures || element == 0
}

/// An element that the table does not have.
fn unlisted(tag: Tag, vr: VR) -> ValueChange {
    match vr {
        VR::UN => ValueChange::Remove,
        _ if tag::keyword(tag).is_none() => ValueChange::Remove,
        // The table has every name of the standard that names somebody; a new one, or a name where none belongs, is none.
        VR::PN => ValueChange::Empty,
        _ => ValueChange::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    const SC: &str = "1.2.840.10008.5.1.4.1.1.7";

    fn change(options: &str, class: &str, tag: Tag, top: bool) -> ElementChange {
        let rules = ActionRules {
            options: options.parse().unwrap(),
            sop_class: class,
        };
        rules.change(tag, tag::vr(tag), top)
    }

    #[test]
    fn actions_are_resolved_by_the_type_in_the_object() {
        use ValueChange::{Dummy, Empty, Keep, NewUids, Remove};
        for (class, tag, top, expected) in [
            // Content Date, Z/D: type 2C, 1, in a sequence, unknown.
            (CT, Tag(0x0008, 0x0023), true, Empty),
            (
                "1.2.840.10008.5.1.4.1.1.2.1",
                Tag(0x0008, 0x0023),
                true,
                Dummy,
            ),
            (CT, Tag(0x0008, 0x0023), false, Dummy),
            ("1.2.3", Tag(0x0008, 0x0023), true, Dummy),
            // Institution Name, X/Z/D.
            (CT, Tag(0x0008, 0x0080), true, Remove),
            (CT, Tag(0x0008, 0x0080), false, Dummy),
            // Acquisition Date, X/Z.
            (CT, Tag(0x0008, 0x0022), true, Remove),
            ("1.2.3", Tag(0x0008, 0x0022), true, Empty),
            // Device Serial Number, X/Z/D.
            (
                "1.2.840.10008.5.1.4.1.1.2.1",
                Tag(0x0018, 0x1000),
                true,
                Dummy,
            ),
            // Referenced Image Sequence, X/Z/U*.
            (CT, Tag(0x0008, 0x1140), true, Remove),
            (CT, Tag(0x0008, 0x1140), false, Keep),
            ("1.2.3", Tag(0x0008, 0x1140), true, Keep),
            (CT, Tag(0x0020, 0x000D), true, NewUids),
            (CT, Tag(0x0008, 0x1155), false, NewUids),
            (CT, Tag(0x006A, 0x0003), true, NewUids),
            (CT, Tag(0x0010, 0x4000), true, Remove),
            (CT, Tag(0x0008, 0x0050), true, Empty),
            (CT, Tag(0x0028, 0x0010), true, Keep),
        ] {
            let expected = ElementChange::ValueChange(expected);
            assert_eq!(change("", class, tag, top), expected, "{class} {tag} {top}");
        }
    }

    #[test]
    fn options_keep_what_is_theirs() {
        let kept = ElementChange::ValueChange(ValueChange::Keep);
        for (option, tag) in [
            ("retain-uids", Tag(0x0020, 0x000D)),
            ("retain-patient-characteristics", Tag(0x0010, 0x0040)),
            ("retain-patient-characteristics", Tag(0x0010, 0x1010)),
            ("retain-device", Tag(0x0018, 0x1000)),
            ("retain-institution", Tag(0x0008, 0x0080)),
            ("retain-full-dates", Tag(0x0008, 0x0201)),
        ] {
            assert_eq!(change(option, CT, tag, true), kept, "{option} {tag}");
            assert_ne!(change("", CT, tag, true), kept, "{tag}");
        }
        let study_date = Tag(0x0008, 0x0020);
        for (option, moved) in [
            ("retain-full-dates", false),
            ("retain-modified-dates", true),
        ] {
            let otherwise = ValueChange::Empty;
            let expected = ElementChange::Temporal { moved, otherwise };
            assert_eq!(change(option, CT, study_date, true), expected);
        }
        // Allergies and AE titles would have to be cleaned: they go.
        let gone = ElementChange::ValueChange(ValueChange::Remove);
        for (option, tag) in [
            ("retain-patient-characteristics", Tag(0x0010, 0x2110)),
            ("retain-device", Tag(0x0008, 0x0055)),
            // The birth date is no characteristic.
            ("retain-full-dates", Tag(0x0400, 0x0310)),
        ] {
            assert_eq!(change(option, CT, tag, true), gone, "{option} {tag}");
        }
        let birth = ElementChange::ValueChange(ValueChange::Empty);
        let all = "retain-full-dates,retain-patient-characteristics";
        assert_eq!(change(all, CT, Tag(0x0010, 0x0030), true), birth);
    }

    #[test]
    fn what_is_not_known_goes() {
        let gone = ElementChange::ValueChange(ValueChange::Remove);
        let all = "retain-uids,retain-full-dates,retain-patient-characteristics,retain-device,retain-institution";
        for tag in [
            Tag(0x0009, 0x0010),
            Tag(0x0029, 0x1001),
            Tag(0x0001, 0x0001),
            Tag(0x5000, 0x3000),
            Tag(0x501E, 0x0005),
            Tag(0x6000, 0x3000),
            Tag(0x6002, 0x4000),
            Tag(0x6000, 0x0010),
            Tag(0x0010, 0xFFF0),
            Tag(0x0400, 0x0500),
            Tag(0x0400, 0x0561),
            Tag(0xFFFA, 0xFFFA),
            Tag(0xFFFC, 0xFFFC),
            Tag(0x0088, 0x0200),
            Tag(0x0012, 0x0063),
            Tag(0x7F00, 0x0010),
        ] {
            assert_eq!(change(all, SC, tag, true), gone, "{tag}");
        }
        let pixels = Tag(0x7FE0, 0x0010);
        assert_eq!(
            change("", SC, pixels, true),
            ElementChange::ValueChange(ValueChange::Keep)
        );
        assert_eq!(change("", SC, pixels, false), gone);
        let rules = ActionRules {
            options: DeidentifyOptions::default(),
            sop_class: SC,
        };
        // A name in an element that the table does not have, and a value nobody can read.
        let body_part = Tag(0x0018, 0x0015);
        assert_eq!(
            rules.change(body_part, VR::PN, true),
            ElementChange::ValueChange(ValueChange::Empty)
        );
        assert_eq!(rules.change(body_part, VR::UN, true), gone);
        // Waveforms and functional groups are no curves.
        for tag in [Tag(0x5400, 0x0100), Tag(0x5200, 0x9229)] {
            assert_eq!(
                change("", SC, tag, true),
                ElementChange::ValueChange(ValueChange::Keep)
            );
        }
    }
}
