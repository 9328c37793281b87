//! Which attributes a resource can be searched by, in each dialect.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::super::attributes::{self, QueryLevel};
use super::super::query::{QueryDialect, QueryResource, TagPath};
use super::super::query_tag::QueryTag;
use super::super::tag;
use super::super::workitem;
use super::draft::Named;
use super::problem::{ParameterName, QueryWarning, Reason};

/// What an attribute is to this search.
pub(super) enum AttributeRole {
    /// A key with an index, or one whose values the index returns anyway.
    Key(TagPath, VR),
    /// To be looked for in stored JSON.
    Stored(TagPath, VR),
    /// Left out, with a warning.
    LeftOut(fn(ParameterName) -> QueryWarning),
}

/// The keys of the DICOM service: attributes with a column and extended query tags, where the resource has them.
pub(super) fn of_service(
    path: &TagPath,
    resource: &QueryResource,
    tags: &[QueryTag],
) -> Result<AttributeRole, Reason> {
    let first = path.0.first().ok_or(Reason::NotSearchable)?;
    if let Some(tag) = query_tag(path, tags) {
        return if searched_here(tag.level, resource) {
            Ok(AttributeRole::Key(tag.tag_path(), tag.vr))
        } else {
            Err(Reason::NotSearchable)
        };
    }
    let key = attributes::key(first.tag).filter(|key| searched_here(key.level, resource));
    match key {
        Some(key) if path.0.len() == 1 && key.column.is_some() => {
            Ok(AttributeRole::Key(path.clone(), key.vr))
        }
        Some(_) if path.0.len() > 1 => Ok(AttributeRole::Stored(path.clone(), leaf_vr(path))),
        _ => Err(Reason::NotSearchable),
    }
}

/// The keys of the standard: every attribute, as far as a search can match it.
pub(super) fn of_standard(
    path: &TagPath,
    resource: &QueryResource,
    tags: &[QueryTag],
) -> AttributeRole {
    /// Attributes that a search never matches, or that no stored object has.
    const NOT_MATCHED: &[Tag] = &[
        tags::SPECIFIC_CHARACTER_SET,
        tags::QUERY_RETRIEVE_LEVEL,
        tags::QUERY_RETRIEVE_VIEW,
        tags::RETRIEVE_AE_TITLE,
        tags::INSTANCE_AVAILABILITY,
        tags::FAILED_SOP_INSTANCE_UID_LIST,
        tags::SOP_CLASSES_IN_STUDY,
        tags::TIMEZONE_OFFSET_FROM_UTC,
        tags::RETRIEVE_URL,
        tags::NUMBER_OF_PATIENT_RELATED_STUDIES,
        tags::NUMBER_OF_PATIENT_RELATED_SERIES,
        tags::NUMBER_OF_PATIENT_RELATED_INSTANCES,
    ];
    if let Some(tag) = query_tag(path, tags) {
        return if tag.level <= resource.level {
            AttributeRole::Key(tag.tag_path(), tag.vr)
        } else {
            AttributeRole::LeftOut(QueryWarning::LowerLevel)
        };
    }
    let Some(first) = path.0.first() else {
        return AttributeRole::LeftOut(QueryWarning::NotMatched);
    };
    let single = path.0.len() == 1;
    match attributes::key(first.tag) {
        _ if single && NOT_MATCHED.contains(&first.tag) => {
            AttributeRole::LeftOut(QueryWarning::NotMatched)
        }
        Some(key) if key.level > resource.level && key.tag == tags::MODALITY => {
            AttributeRole::Key(TagPath::from(tags::MODALITIES_IN_STUDY), VR::CS)
        }
        Some(key) if key.level > resource.level && key.column.is_some() => {
            AttributeRole::LeftOut(QueryWarning::LowerLevel)
        }
        Some(key) if single && key.column.is_some() => AttributeRole::Key(path.clone(), key.vr),
        _ => AttributeRole::Stored(path.clone(), leaf_vr(path)),
    }
}

/// The extended query tag that a path names: a private one by the tag it was added with, or by its creator.
fn query_tag<'a>(path: &TagPath, tags: &'a [QueryTag]) -> Option<&'a QueryTag> {
    tags.iter()
        .find(|tag| path.single() == Some(tag.tag) || *path == tag.tag_path())
}

/// Whether the DICOM service searches attributes of a level at this resource: not below it, nor named in the path.
fn searched_here(level: QueryLevel, resource: &QueryResource) -> bool {
    let named = match level {
        QueryLevel::Study => resource.study.is_some(),
        QueryLevel::Series => resource.series.is_some(),
        QueryLevel::Instance => false,
    };
    level <= resource.level && !named
}

/// The keys of workitems (PS3.4 Table CC.2.5-3); the standard has every attribute matched where it stands.
pub(super) fn of_workitem(
    named: &Named<'_>,
    dialect: QueryDialect,
) -> Result<AttributeRole, Reason> {
    let path = &named.path;
    let first = path.0.first().ok_or(Reason::NotSearchable)?;
    if dialect == QueryDialect::Service {
        if !workitem::is_key(first.tag) {
            return Err(Reason::NotSearchable);
        }
        if named.value.trim().is_empty() {
            return Err(Reason::NoValue);
        }
    }
    // Who has claimed a workitem is nobody's business.
    if first.tag == tags::TRANSACTION_UID || first.tag == tags::SPECIFIC_CHARACTER_SET {
        return Ok(AttributeRole::LeftOut(QueryWarning::NotMatched));
    }
    Ok(AttributeRole::Key(path.clone(), leaf_vr(path)))
}

fn leaf_vr(path: &TagPath) -> VR {
    path.0.last().map_or(VR::UN, |step| {
        if step.creator.is_some() {
            VR::UN
        } else {
            tag::vr(step.tag)
        }
    })
}
