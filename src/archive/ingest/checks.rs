//! What an instance must be to be stored by its sender: of the study of the URL, what the sender says it is, and within the
//! sender's limits.

use dicom_dictionary_std::tags;

use super::options::StoreOptions;
use super::outcome::{Outcome, failed};
use super::reason;
use crate::archive::rules::comment;
use crate::dicom::head::Owner;
use crate::dicom::instance::Instance;
use crate::scope::Visible;

/// Said of every instance outside of the sender's limits, whether its study exists or not.
pub(super) const NOT_YOURS: &str =
    "the token allows storing for certain patients or studies only, and this is none of them";

/// Why an instance must not be stored with these options; none when it may be.
pub(super) fn check(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    check_study(options, instance)
        .or_else(|| check_named(options, instance))
        .or_else(|| check_visible(options, instance))
}

/// An instance of a study that is not the sender's to store into fails before anything is written.
fn check_visible(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let mut attributes = instance.attributes.iter();
    let patient = attributes.find(|attribute| attribute.tag == tags::PATIENT_ID);
    let patient = patient.and_then(|patient| patient.values.iter().find(|id| !id.is_empty()));
    let study = instance.name.study.as_str();
    let admitted = options.visible.admits(study, patient.map(String::as_str));
    (!admitted).then(|| failed(instance, reason::NOT_AUTHORIZED, vec![NOT_YOURS.to_owned()]))
}

/// As [`check_visible`], for a file whose first bytes are there. Without a Patient ID in them it is certain only for a
/// sender who is limited to studies.
pub(super) fn check_owner(visible: &Visible, owner: Owner) -> Option<Outcome> {
    let Visible::Only { patients, .. } = visible else {
        return None;
    };
    let certain = owner.patient.is_some() || patients.is_empty();
    let admitted = visible.admits(&owner.study, owner.patient.as_deref());
    (certain && !admitted).then(|| Outcome::Failed {
        sop_class: owner.sop_class,
        instance: owner.instance,
        reason: reason::NOT_AUTHORIZED,
        comments: vec![NOT_YOURS.to_owned()],
    })
}

/// An instance of another study than the one in the URL fails.
fn check_study(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let study = options.study.as_ref()?;
    let comment = comment(
        tags::STUDY_INSTANCE_UID,
        "the Study Instance UID is not the one of the URL",
    );
    (*study != instance.name.study).then(|| failed(instance, reason::INVALID, vec![comment]))
}

/// An instance that is not what its sender says fails (PS3.4 §B.2.3).
fn check_named(options: &StoreOptions, instance: &Instance) -> Option<Outcome> {
    let named = options.named.as_ref()?;
    let wrong = if named.class != instance.sop_class {
        tags::SOP_CLASS_UID
    } else if named.instance != instance.name.instance.as_str() {
        tags::SOP_INSTANCE_UID
    } else {
        return None;
    };
    let comment = comment(wrong, "the command set names another one");
    Some(failed(instance, reason::INVALID, vec![comment]))
}
