//! Bulk updates: what a request may change, and the change that comes of it (DICOM service).
//!
//! Invariant: a [`BulkUpdate`] either changes attributes of [`UPDATABLE`] in whole studies, or UIDs of one study, series or
//! instance; its values are ones that their VR has, and none is empty.

use dicom_core::{Tag, VR};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::amend::TextEdit;
use super::compose::{ComposeProblem, text_value};
use super::tag;
use super::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use super::validate::ValueProblem;

#[cfg(test)]
mod tests;

/// Most studies of one request.
pub const MAX_STUDIES: usize = 50;

const STUDY_UID: Tag = Tag(0x0020, 0x000D);
const SERIES_UID: Tag = Tag(0x0020, 0x000E);
const INSTANCE_UID: Tag = Tag(0x0008, 0x0018);

/// Attributes that can be changed in whole studies.
pub const UPDATABLE: &[(Tag, VR)] = &[
    (Tag(0x0008, 0x0050), VR::SH),
    (Tag(0x0008, 0x0090), VR::PN),
    (Tag(0x0008, 0x1030), VR::LO),
    (Tag(0x0010, 0x0010), VR::PN),
    (Tag(0x0010, 0x0020), VR::LO),
    (Tag(0x0010, 0x0021), VR::LO),
    (Tag(0x0010, 0x0022), VR::CS),
    (Tag(0x0010, 0x0030), VR::DA),
    (Tag(0x0010, 0x0032), VR::TM),
    (Tag(0x0010, 0x0040), VR::CS),
    (Tag(0x0010, 0x0200), VR::CS),
    (Tag(0x0010, 0x1000), VR::LO),
    (Tag(0x0010, 0x1001), VR::PN),
    (Tag(0x0010, 0x1005), VR::PN),
    (Tag(0x0010, 0x1010), VR::AS),
    (Tag(0x0010, 0x1020), VR::DS),
    (Tag(0x0010, 0x1030), VR::DS),
    (Tag(0x0010, 0x1040), VR::LO),
    (Tag(0x0010, 0x1060), VR::PN),
    (Tag(0x0010, 0x1080), VR::LO),
    (Tag(0x0010, 0x1081), VR::LO),
    (Tag(0x0010, 0x1090), VR::LO),
    (Tag(0x0010, 0x2150), VR::LO),
    (Tag(0x0010, 0x2152), VR::LO),
    (Tag(0x0010, 0x2154), VR::SH),
    (Tag(0x0010, 0x2160), VR::SH),
    (Tag(0x0010, 0x2180), VR::SH),
    (Tag(0x0010, 0x21F0), VR::LO),
    (Tag(0x0010, 0x2201), VR::LO),
    (Tag(0x0010, 0x2292), VR::LO),
    (Tag(0x0010, 0x2295), VR::LO),
    (Tag(0x0010, 0x2297), VR::PN),
    (Tag(0x0010, 0x2298), VR::CS),
    (Tag(0x0010, 0x2299), VR::LO),
    (Tag(0x0010, 0x4000), VR::LT),
    (Tag(0x0040, 0x3001), VR::LO),
];

/// Those of [`UPDATABLE`] that may have several values.
const SEVERAL: &[Tag] = &[
    Tag(0x0010, 0x1000),
    Tag(0x0010, 0x1001),
    Tag(0x0010, 0x1090),
];

/// A change of stored instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkUpdate {
    /// Whose instances; one when UIDs change.
    pub studies: Vec<StudyUid>,
    /// The change.
    pub change: InstanceChange,
}

/// What becomes of each instance of a study that a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceChange {
    /// The only series whose instances change.
    pub series: Option<SeriesUid>,
    /// The only instance that changes.
    pub instance: Option<InstanceUid>,
    /// New values, ascending by tag, UIDs among them.
    pub edits: Vec<TextEdit>,
}

/// Why a request for a bulk update is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulkUpdateProblem {
    /// The body, or a member of it, is wrong.
    #[error("{0}")]
    Body(String),
    /// Attributes that cannot be changed, or not like this.
    #[error("attributes cannot be changed as the request says")]
    Attributes(Vec<(Tag, String)>),
}

fn wrong(text: impl Into<String>) -> BulkUpdateProblem {
    BulkUpdateProblem::Body(text.into())
}

/// Reads the body of a request; member names in any case.
///
/// # Errors
/// The first [`BulkUpdateProblem`].
pub fn parse_body(body: &Value) -> Result<BulkUpdate, BulkUpdateProblem> {
    let members = body
        .as_object()
        .ok_or_else(|| wrong("The request body must be a JSON object."))?;
    let member = |name: &str| {
        let found = members
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|v| !v.is_null())
    };
    let studies = studies(member("studyInstanceUids"), member("studyInstanceUid"))?;
    let series = uid(member("seriesInstanceUid"), "seriesInstanceUid", |text| {
        SeriesUid::parse(text).ok()
    })?;
    let instance = uid(member("sopInstanceUid"), "sopInstanceUid", |text| {
        InstanceUid::parse(text).ok()
    })?;
    let change = member("changeDataset")
        .ok_or_else(|| wrong("The field 'changeDataset' in request body is missing."))?;
    let change = change
        .as_object()
        .filter(|change| !change.is_empty())
        .ok_or_else(|| {
            wrong("The field 'changeDataset' in request body must be a DICOM JSON object with at least one attribute.")
        })?;
    let edits = edits(change)?;
    let update = BulkUpdate {
        studies,
        change: InstanceChange {
            series,
            instance,
            edits,
        },
    };
    update.check()?;
    Ok(update)
}

fn studies(
    several: Option<&Value>,
    one: Option<&Value>,
) -> Result<Vec<StudyUid>, BulkUpdateProblem> {
    let given = several.or(one).ok_or_else(|| {
        wrong("The field 'studyInstanceUids' in request body is missing: name 1 to 50 studies.")
    })?;
    let list = match given {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    if list.is_empty() || list.len() > MAX_STUDIES {
        return Err(wrong(format!(
            "The field 'studyInstanceUids' in request body has {} studies: it must have 1 to {MAX_STUDIES}.",
            list.len()
        )));
    }
    let mut studies = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let study = value.as_str().and_then(|text| StudyUid::parse(text).ok());
        let study = study.ok_or_else(|| {
            wrong(format!(
                "The field 'studyInstanceUids[{at}]' in request body is not a valid UID."
            ))
        })?;
        if !studies.contains(&study) {
            studies.push(study);
        }
    }
    Ok(studies)
}

fn uid<T>(
    value: Option<&Value>,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, BulkUpdateProblem> {
    let Some(value) = value else {
        return Ok(None);
    };
    let uid = value.as_str().and_then(parse);
    let uid = uid.ok_or_else(|| {
        wrong(format!(
            "The field '{name}' in request body is not a valid UID."
        ))
    })?;
    Ok(Some(uid))
}

/// Whether an attribute is one of the three UIDs.
#[must_use]
pub fn is_uid(tag: Tag) -> bool {
    [STUDY_UID, SERIES_UID, INSTANCE_UID].contains(&tag)
}

fn edits(change: &Map<String, Value>) -> Result<Vec<TextEdit>, BulkUpdateProblem> {
    let (mut edits, mut failed) = (Vec::new(), Vec::new());
    for (name, element) in change {
        let tag = tag::from_hex(name).ok_or_else(|| {
            wrong("A name in 'changeDataset' is no attribute: attributes are named by eight hexadecimal digits.")
        })?;
        match edit(tag, element) {
            Ok(edit) => edits.push(edit),
            Err(reason) => failed.push((tag, reason)),
        }
    }
    failed.sort_by_key(|(tag, _)| *tag);
    if !failed.is_empty() {
        return Err(BulkUpdateProblem::Attributes(failed));
    }
    edits.sort_by_key(|edit| edit.tag);
    if edits.windows(2).any(|two| match two {
        [one, other] => one.tag == other.tag,
        _ => false,
    }) {
        return Err(wrong("'changeDataset' names an attribute twice."));
    }
    Ok(edits)
}

fn edit(tag: Tag, element: &Value) -> Result<TextEdit, String> {
    let vr = if is_uid(tag) {
        VR::UI
    } else {
        let known = UPDATABLE.iter().find(|(known, _)| *known == tag);
        let (_, vr) = known.ok_or("Updating the tag is not supported.")?;
        *vr
    };
    let element = element
        .as_object()
        .ok_or("It must be an object with 'vr' and 'Value'.")?;
    if let Some(given) = element.get("vr")
        && given.as_str() != Some(vr.to_string())
    {
        return Err(format!("Value representation must be {vr}."));
    }
    let values = match element.get("Value") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(values)) => values.as_slice(),
        Some(_) => return Err("Its 'Value' must be an array.".to_owned()),
    };
    if values.len() > 1 && !SEVERAL.contains(&tag) {
        return Err(ValueProblem::Multiplicity.to_string());
    }
    let bytes = text_value(vr, values).map_err(|problem| match problem {
        ComposeProblem::Rule(problem) => problem.to_string(),
        _ => format!("Value cannot be one of {vr}."),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| "Value is no text.".to_owned())?;
    let text = text.trim_end_matches([' ', '\0']);
    if text.split('\\').all(|value| value.trim().is_empty()) {
        return Err("An attribute cannot be set to null: send a value.".to_owned());
    }
    Ok(TextEdit {
        tag,
        vr,
        text: text.to_owned(),
    })
}

impl BulkUpdate {
    /// Whether scope and attributes belong together.
    fn check(&self) -> Result<(), BulkUpdateProblem> {
        let change = &self.change;
        let has = |tag| change.edits.iter().any(|edit| edit.tag == tag);
        let uids = change.edits.iter().filter(|edit| is_uid(edit.tag)).count();
        let scoped = change.series.is_some() || change.instance.is_some();
        if uids == 0 {
            return match scoped {
                true => Err(wrong(
                    "Attributes other than UIDs can be changed in whole studies only: leave out 'seriesInstanceUid' and 'sopInstanceUid'.",
                )),
                false => Ok(()),
            };
        }
        if uids < change.edits.len() {
            return Err(wrong(
                "UIDs and other attributes cannot be changed in one request: send two, one after the other.",
            ));
        }
        if self.studies.len() > 1 {
            return Err(wrong(
                "UIDs can be changed in one study at a time: name one in 'studyInstanceUids'.",
            ));
        }
        let needs: (&[Tag], &str) = match (&change.series, &change.instance) {
            (None, None) => (
                &[STUDY_UID],
                "To change the UID of a study, 'changeDataset' must have 0020000D alone; for 0020000E name 'seriesInstanceUid', for 00080018 'sopInstanceUid', too.",
            ),
            (Some(_), None) => (
                &[STUDY_UID, SERIES_UID],
                "To change the UID of a series, 'changeDataset' must have 0020000D and 0020000E; for 00080018 name 'sopInstanceUid', too.",
            ),
            (Some(_), Some(_)) => (
                &[STUDY_UID, SERIES_UID, INSTANCE_UID],
                "To change the UID of an instance, 'changeDataset' must have 0020000D, 0020000E and 00080018.",
            ),
            (None, Some(_)) => {
                return Err(wrong(
                    "The field 'seriesInstanceUid' in request body is missing: it must be there with 'sopInstanceUid'.",
                ));
            }
        };
        let (tags, text) = needs;
        match tags.len() == uids && tags.iter().all(|tag| has(*tag)) {
            true => Ok(()),
            false => Err(wrong(text)),
        }
    }
}

/// A change as text.
#[derive(Serialize, Deserialize)]
struct KeptChange {
    series: Option<String>,
    instance: Option<String>,
    /// Tag, VR and text.
    edits: Vec<(String, String, String)>,
}

impl InstanceChange {
    /// As text that [`Self::from_text`] reads.
    ///
    /// # Errors
    /// None that is known; the writer's signature has one.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let edit = |edit: &TextEdit| {
            let vr = edit.vr.to_string().to_owned();
            (tag::hex(edit.tag), vr, edit.text.clone())
        };
        serde_json::to_string(&KeptChange {
            series: self.series.as_ref().map(SeriesUid::to_string),
            instance: self.instance.as_ref().map(InstanceUid::to_string),
            edits: self.edits.iter().map(edit).collect(),
        })
    }

    /// Reads what [`Self::to_text`] wrote; none when it is something else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let kept: KeptChange = serde_json::from_str(text).ok()?;
        let edit = |(tag, vr, text): (String, String, String)| {
            Some(TextEdit {
                tag: tag::from_hex(&tag)?,
                vr: vr.parse().ok()?,
                text,
            })
        };
        let series = kept.series.map(|uid| SeriesUid::parse(&uid)).transpose();
        let instance = kept.instance.map(|uid| InstanceUid::parse(&uid));
        Some(Self {
            series: series.ok()?,
            instance: instance.transpose().ok()?,
            edits: kept.edits.into_iter().map(edit).collect::<Option<_>>()?,
        })
    }

    /// The instances of a study that change.
    #[must_use]
    pub fn target(&self, study: StudyUid) -> Target {
        match (&self.series, &self.instance) {
            (None, _) => Target::Study(study),
            (Some(series), None) => Target::Series(study, series.clone()),
            (Some(series), Some(instance)) => Target::Instance(InstanceName {
                study,
                series: series.clone(),
                instance: instance.clone(),
            }),
        }
    }

    /// Whether UIDs change.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.edits.iter().any(|edit| is_uid(edit.tag))
    }

    /// The new text of an attribute.
    #[must_use]
    pub fn text(&self, tag: Tag) -> Option<&str> {
        let edit = self.edits.iter().find(|edit| edit.tag == tag);
        edit.map(|edit| edit.text.as_str())
    }

    /// Whether the new UIDs are those that the instances of a target have.
    #[must_use]
    pub fn stays(&self, target: &Target) -> bool {
        let same = |tag, uid: Option<&str>| match (self.text(tag), uid) {
            (Some(new), Some(uid)) => new == uid,
            (new, _) => new.is_none(),
        };
        self.moves()
            && same(STUDY_UID, Some(target.study().as_str()))
            && same(SERIES_UID, target.series().map(SeriesUid::as_str))
            && same(INSTANCE_UID, target.instance().map(InstanceUid::as_str))
    }

    /// The study that instances come into, when that changes.
    #[must_use]
    pub fn new_study(&self) -> Option<&str> {
        self.text(STUDY_UID)
    }

    /// The SOP Instance UID of an instance afterwards.
    #[must_use]
    pub fn instance_uid<'a>(&'a self, before: &'a InstanceUid) -> &'a str {
        self.text(INSTANCE_UID).unwrap_or(before.as_str())
    }
}
