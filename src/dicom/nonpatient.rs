//! Non-patient instances (PS3.18 chapter 12): objects that belong to no patient, and so to no study and series.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// A resource of non-patient instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NonPatientKind {
    /// Color palettes (PS3.4 Annex X).
    ColorPalettes,
    /// Defined procedure protocols (PS3.4 Annex HH).
    DefinedProcedureProtocols,
    /// Hanging protocols (PS3.4 Annex U).
    HangingProtocols,
    /// Implant templates, their assemblies and groups (PS3.4 Annex BB).
    ImplantTemplates,
    /// Inventories, which name patients and studies (PS3.4 Annex JJ).
    Inventories,
    /// Protocol approvals (PS3.4 Annex II).
    ProtocolApprovals,
}

impl NonPatientKind {
    /// Every resource there is.
    pub const ALL: [Self; 6] = [
        Self::ColorPalettes,
        Self::DefinedProcedureProtocols,
        Self::HangingProtocols,
        Self::ImplantTemplates,
        Self::Inventories,
        Self::ProtocolApprovals,
    ];

    /// Its name in URLs (PS3.18 §12.1.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ColorPalettes => "color-palettes",
            Self::DefinedProcedureProtocols => "defined-procedure-protocols",
            Self::HangingProtocols => "hanging-protocols",
            Self::ImplantTemplates => "implant-templates",
            Self::Inventories => "inventories",
            Self::ProtocolApprovals => "protocol-approvals",
        }
    }

    /// The resource of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The resource that objects of a SOP class belong to (PS3.4 Annex GG).
    #[must_use]
    pub fn of_class(sop_class: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.classes().contains(&sop_class))
    }

    /// SOP classes of its objects.
    #[must_use]
    pub const fn classes(self) -> &'static [&'static str] {
        match self {
            Self::ColorPalettes => &["1.2.840.10008.5.1.4.39.1"],
            // CT, XA.
            Self::DefinedProcedureProtocols => &[
                "1.2.840.10008.5.1.4.1.1.200.1",
                "1.2.840.10008.5.1.4.1.1.200.7",
            ],
            Self::HangingProtocols => &["1.2.840.10008.5.1.4.38.1"],
            // Generic templates, assemblies, groups.
            Self::ImplantTemplates => &[
                "1.2.840.10008.5.1.4.43.1",
                "1.2.840.10008.5.1.4.44.1",
                "1.2.840.10008.5.1.4.45.1",
            ],
            Self::Inventories => &["1.2.840.10008.5.1.4.1.1.201.1"],
            Self::ProtocolApprovals => &["1.2.840.10008.5.1.4.1.1.200.3"],
        }
    }

    /// Whether its objects name patients: then they are for those who may see all of them.
    #[must_use]
    pub const fn names_patients(self) -> bool {
        matches!(self, Self::Inventories)
    }

    /// Attributes that a search returns beside those it names, in the order of their tags.
    #[must_use]
    pub const fn defaults(self) -> &'static [Tag] {
        match self {
            Self::ColorPalettes => &[
                tags::SPECIFIC_CHARACTER_SET,
                tags::SOP_CLASS_UID,
                tags::SOP_INSTANCE_UID,
                tags::CONTENT_LABEL,
                tags::CONTENT_DESCRIPTION,
                tags::CONTENT_CREATOR_NAME,
                tags::ALTERNATE_CONTENT_DESCRIPTION_SEQUENCE,
            ],
            Self::DefinedProcedureProtocols => &[
                tags::SPECIFIC_CHARACTER_SET,
                tags::SOP_CLASS_UID,
                tags::SOP_INSTANCE_UID,
                tags::PROTOCOL_NAME,
                tags::POTENTIAL_SCHEDULED_PROTOCOL_CODE_SEQUENCE,
                tags::MODEL_SPECIFICATION_SEQUENCE,
                tags::CONTENT_LABEL,
                tags::CONTENT_DESCRIPTION,
                tags::CONTENT_CREATOR_NAME,
            ],
            Self::HangingProtocols => &[
                tags::SPECIFIC_CHARACTER_SET,
                tags::SOP_CLASS_UID,
                tags::SOP_INSTANCE_UID,
                tags::HANGING_PROTOCOL_NAME,
                tags::HANGING_PROTOCOL_DESCRIPTION,
                tags::HANGING_PROTOCOL_LEVEL,
                tags::HANGING_PROTOCOL_CREATOR,
                tags::HANGING_PROTOCOL_CREATION_DATE_TIME,
                tags::HANGING_PROTOCOL_DEFINITION_SEQUENCE,
                tags::HANGING_PROTOCOL_USER_IDENTIFICATION_CODE_SEQUENCE,
                tags::HANGING_PROTOCOL_USER_GROUP_NAME,
                tags::NUMBER_OF_PRIORS_REFERENCED,
                tags::NUMBER_OF_SCREENS,
            ],
            Self::ImplantTemplates => &[
                tags::SPECIFIC_CHARACTER_SET,
                tags::SOP_CLASS_UID,
                tags::SOP_INSTANCE_UID,
                tags::MANUFACTURER,
                tags::IMPLANT_NAME,
                tags::IMPLANT_PART_NUMBER,
                tags::IMPLANT_SIZE,
                tags::IMPLANT_TEMPLATE_VERSION,
                tags::EFFECTIVE_DATE_TIME,
                tags::IMPLANT_TYPE_CODE_SEQUENCE,
                tags::IMPLANT_ASSEMBLY_TEMPLATE_NAME,
                tags::IMPLANT_TEMPLATE_GROUP_NAME,
            ],
            Self::Inventories => &[
                tags::SPECIFIC_CHARACTER_SET,
                tags::SOP_CLASS_UID,
                tags::SOP_INSTANCE_UID,
                tags::CONTENT_DATE,
                tags::CONTENT_TIME,
                tags::INVENTORY_PURPOSE,
                tags::INVENTORY_LEVEL,
                tags::INVENTORY_COMPLETION_STATUS,
                tags::NUMBER_OF_STUDY_RECORDS_IN_INSTANCE,
                tags::TOTAL_NUMBER_OF_STUDY_RECORDS,
            ],
            Self::ProtocolApprovals => &[
                tags::SPECIFIC_CHARACTER_SET,
                tags::SOP_CLASS_UID,
                tags::SOP_INSTANCE_UID,
                tags::APPROVAL_SEQUENCE,
                tags::APPROVAL_SUBJECT_SEQUENCE,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_known_by_its_name_and_by_each_of_its_classes() {
        for kind in NonPatientKind::ALL {
            assert_eq!(NonPatientKind::of_name(kind.as_str()), Some(kind));
            for class in kind.classes() {
                assert_eq!(NonPatientKind::of_class(class), Some(kind));
            }
        }
        assert_eq!(NonPatientKind::of_name("studies"), None);
        assert_eq!(NonPatientKind::of_class("1.2.840.10008.5.1.4.1.1.2"), None);
    }
}
