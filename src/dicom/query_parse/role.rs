//! Which attributes a resource can be searched by, in each dialect.

use dicom_core::{Tag, VR};

use super::super::attributes::{self, QueryLevel};
use super::super::query::TagPath;
use super::super::query_tag::QueryTag;
use super::super::tag;
use super::{ParameterName, QueryReader, QueryWarning, Reason};

/// What an attribute is to this search.
pub(super) enum AttributeRole {
    /// A key with an index, or one whose values the index returns anyway.
    Key(TagPath, VR),
    /// To be looked for in stored JSON.
    Stored(TagPath, VR),
    /// Left out, with a warning.
    LeftOut(fn(ParameterName) -> QueryWarning),
}

impl<'a> QueryReader<'a> {
    /// The keys of the DICOM service: attributes with a column and extended query tags, where the resource has them.
    pub(super) fn service_role(&self, path: &TagPath) -> Result<AttributeRole, Reason> {
        let first = path.0.first().ok_or(Reason::NotSearchable)?;
        if let Some(tag) = self.query_tag(path) {
            return if self.searched_here(tag.level) {
                Ok(AttributeRole::Key(tag.tag_path(), tag.vr))
            } else {
                Err(Reason::NotSearchable)
            };
        }
        let key = attributes::key(first.tag).filter(|key| self.searched_here(key.level));
        match key {
            Some(key) if path.0.len() == 1 && key.column.is_some() => {
                Ok(AttributeRole::Key(path.clone(), key.vr))
            }
            Some(_) if path.0.len() > 1 => Ok(AttributeRole::Stored(path.clone(), leaf_vr(path))),
            _ => Err(Reason::NotSearchable),
        }
    }

    pub(super) fn standard_role(&self, path: &TagPath) -> AttributeRole {
        /// Attributes that a search never matches, or that no stored object has.
        const NOT_MATCHED: &[Tag] = &[
            Tag(0x0008, 0x0005),
            Tag(0x0008, 0x0052),
            Tag(0x0008, 0x0053),
            Tag(0x0008, 0x0054),
            Tag(0x0008, 0x0056),
            Tag(0x0008, 0x0058),
            Tag(0x0008, 0x0062),
            Tag(0x0008, 0x0201),
            Tag(0x0008, 0x1190),
            Tag(0x0020, 0x1200),
            Tag(0x0020, 0x1202),
            Tag(0x0020, 0x1204),
        ];
        const MODALITY: Tag = Tag(0x0008, 0x0060);
        const MODALITIES: Tag = Tag(0x0008, 0x0061);
        if let Some(tag) = self.query_tag(path) {
            return if tag.level <= self.resource.level {
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
            Some(key) if key.level > self.resource.level && key.tag == MODALITY => {
                AttributeRole::Key(TagPath::from(MODALITIES), VR::CS)
            }
            Some(key) if key.level > self.resource.level && key.column.is_some() => {
                AttributeRole::LeftOut(QueryWarning::LowerLevel)
            }
            Some(key) if single && key.column.is_some() => AttributeRole::Key(path.clone(), key.vr),
            _ => AttributeRole::Stored(path.clone(), leaf_vr(path)),
        }
    }

    /// The extended query tag that a path names: a private one by the tag it was added with, or by its creator.
    fn query_tag(&self, path: &TagPath) -> Option<&'a QueryTag> {
        self.tags
            .iter()
            .find(|tag| path.single() == Some(tag.tag) || *path == tag.tag_path())
    }

    /// Whether the DICOM service searches attributes of a level at this resource: not below it, nor named in the path.
    fn searched_here(&self, level: QueryLevel) -> bool {
        let named = match level {
            QueryLevel::Study => self.resource.study.is_some(),
            QueryLevel::Series => self.resource.series.is_some(),
            QueryLevel::Instance => false,
        };
        level <= self.resource.level && !named
    }
}

pub(super) fn leaf_vr(path: &TagPath) -> VR {
    path.0.last().map_or(VR::UN, |step| {
        if step.creator.is_some() {
            VR::UN
        } else {
            tag::vr(step.tag)
        }
    })
}
