//! What a search answers for a row: which attributes are taken from the index, which from metadata.
//!
//! Invariants: of the metadata only what is sent is copied; no attribute is there twice; what a file says of where it can be
//! had is not told.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde::Serialize;

use crate::dicom::attributes::{ColumnSearch, KEYS, QueryLevel, key};
use crate::dicom::matcher::Projection;
use crate::dicom::members::{Malformed, members};
use crate::dicom::merge::{MergedJson, is_of_server};
use crate::dicom::query::{Include, Query, TagPath};
use crate::index::MatchedRow;

/// One matching study, series or instance.
#[derive(Debug)]
pub struct ResultRow {
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID below study level.
    pub series: Option<String>,
    /// SOP Instance UID at instance level.
    pub instance: Option<String>,
    /// What is told of it: elements of the DICOM JSON Model as texts.
    pub attributes: BTreeMap<Tag, String>,
    /// A data set all of whose other attributes are told too.
    pub others: Option<String>,
}

impl ResultRow {
    /// Segments of the row's place below the root: `studies`, UID, `series`, UID, `instances`, UID.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        let study = ["studies", self.study.as_str()];
        let series = self.series.iter().flat_map(|uid| ["series", uid.as_str()]);
        let instance = self
            .instance
            .iter()
            .flat_map(|uid| ["instances", uid.as_str()]);
        study.into_iter().chain(series).chain(instance)
    }

    /// The object in the DICOM JSON Model.
    ///
    /// # Errors
    /// [`Malformed`] when the stored data set is no DICOM JSON.
    pub fn into_json(self) -> Result<MergedJson, Malformed> {
        MergedJson::new(self.attributes, self.others)
    }
}

/// Which attributes a face returns.
#[derive(Debug, Clone, Copy)]
pub struct FieldSelection<'a> {
    /// Always, if there is a value.
    pub default: &'a [Tag],
    /// Beside them with `includefield=all`.
    pub all: &'a [Tag],
    /// Those that are named with an empty value when there is none.
    pub required: &'a [Tag],
    /// Attributes of a lower level than the row are left out.
    pub own_level_only: bool,
}

/// What is taken from each row.
pub(in crate::archive) struct RowSelection {
    level: QueryLevel,
    tags: BTreeSet<Tag>,
    paths: Projection,
    required: Vec<Tag>,
    everything: bool,
    /// Whether some of it has no place in the index.
    pub(in crate::archive) metadata: bool,
}

impl RowSelection {
    pub(in crate::archive) fn new(query: &Query, fields: FieldSelection<'_>) -> Self {
        let mut tags: BTreeSet<Tag> = fields.default.iter().copied().collect();
        let mut paths: Vec<TagPath> = Vec::new();
        let mut everything = false;
        let mut name = |path: &TagPath| match path.0.as_slice() {
            [step] if step.creator.is_none() => {
                tags.insert(step.tag);
            }
            _ => paths.push(path.clone()),
        };
        query.conditions.iter().for_each(|c| name(&c.path));
        match &query.include {
            Include::Fields(named) => named.iter().for_each(&mut name),
            Include::All => {
                everything = query.level == QueryLevel::Instance && fields.own_level_only;
                tags.extend(fields.all);
            }
        }
        if query.study.is_some() || query.level > QueryLevel::Study {
            tags.insert(tags::STUDY_INSTANCE_UID);
        }
        if query.series.is_some() || query.level > QueryLevel::Series {
            tags.insert(tags::SERIES_INSTANCE_UID);
        }
        if fields.own_level_only {
            tags.retain(|tag| {
                key(*tag).is_none_or(|k| k.level <= query.level || returned_anywhere(*tag))
            });
        }
        let metadata =
            everything || !paths.is_empty() || tags.iter().any(|tag| !in_index(*tag, query.level));
        Self {
            level: query.level,
            tags,
            paths: Projection::new(&paths),
            required: fields.required.to_vec(),
            everything,
            metadata,
        }
    }

    /// Bytes that what is taken of a row may need beside its metadata, which has so many.
    pub(in crate::archive) fn copied(&self, metadata: usize) -> usize {
        if self.everything || self.paths.is_empty() {
            metadata
        } else {
            // A text that grows is copied into one of twice its size.
            metadata.saturating_mul(3)
        }
    }

    /// Takes it; `stored` is the metadata of the row's newest instance.
    pub(in crate::archive) fn pick(
        &self,
        found: &MatchedRow,
        stored: Option<String>,
    ) -> Result<ResultRow, Malformed> {
        let mut attributes = BTreeMap::new();
        for tag in &self.tags {
            if let Some(value) = computed(*tag, found, self.level) {
                attributes.insert(*tag, value);
            }
        }
        // The innermost level comes first: what is there is kept.
        let levels = [&found.instance, &found.series].into_iter().flatten();
        for text in levels.chain([&found.study]) {
            self.take(text, &mut attributes)?;
        }
        if let Some(stored) = stored.as_ref().filter(|_| !self.everything) {
            self.take(stored, &mut attributes)?;
            self.paths.copy(stored, &mut attributes)?;
        }
        for tag in &self.required {
            if let (true, Some(key)) = (self.tags.contains(tag), key(*tag)) {
                let empty = || format!(r#"{{"vr":"{}"}}"#, key.vr.to_string());
                attributes.entry(*tag).or_insert_with(empty);
            }
        }
        Ok(ResultRow {
            study: found.study_uid.clone(),
            series: found.series_uid.clone(),
            instance: found.instance_uid.clone(),
            attributes,
            others: stored.filter(|_| self.everything),
        })
    }

    /// Copies what is wanted of a data set, whose tags ascend, and is not there yet.
    fn take(&self, data_set: &str, out: &mut BTreeMap<Tag, String>) -> Result<(), Malformed> {
        let last = self.tags.last().copied();
        for member in members(data_set) {
            let (tag, element) = member?;
            if Some(tag) > last {
                break;
            }
            if self.tags.contains(&tag) && !is_of_server(tag) {
                out.entry(tag).or_insert_with(|| element.json().to_owned());
            }
        }
        Ok(())
    }
}

/// Attributes of the data set as a whole, that every level may carry.
fn returned_anywhere(tag: Tag) -> bool {
    matches!(
        tag,
        tags::SPECIFIC_CHARACTER_SET
            | tags::INSTANCE_AVAILABILITY
            | tags::TIMEZONE_OFFSET_FROM_UTC
            | tags::RETRIEVE_URL
    )
}

/// Whether a row of this level carries the attribute without its metadata.
fn in_index(tag: Tag, level: QueryLevel) -> bool {
    returned_anywhere(tag) || key(tag).is_some_and(|k| k.level <= level)
}

/// Attributes the index maintains or the answer makes up.
fn computed(tag: Tag, found: &MatchedRow, level: QueryLevel) -> Option<String> {
    let uid = |uid: &str| format!(r#"{{"vr":"UI","Value":[{}]}}"#, json(uid));
    let number = |number: i64| format!(r#"{{"vr":"IS","Value":[{number}]}}"#);
    Some(match tag {
        tags::MODALITIES_IN_STUDY => {
            format!(r#"{{"vr":"CS","Value":{}}}"#, json(&found.modalities))
        }
        tags::NUMBER_OF_STUDY_RELATED_SERIES => number(found.study_series),
        tags::NUMBER_OF_STUDY_RELATED_INSTANCES => number(found.study_instances),
        tags::NUMBER_OF_SERIES_RELATED_INSTANCES => number(found.series_instances?),
        tags::INSTANCE_AVAILABILITY => r#"{"vr":"CS","Value":["ONLINE"]}"#.to_owned(),
        tags::SPECIFIC_CHARACTER_SET => r#"{"vr":"CS","Value":["ISO_IR 192"]}"#.to_owned(),
        tags::STUDY_INSTANCE_UID => uid(&found.study_uid),
        tags::SERIES_INSTANCE_UID if level > QueryLevel::Study => uid(found.series_uid.as_ref()?),
        tags::SOP_INSTANCE_UID if level > QueryLevel::Series => uid(found.instance_uid.as_ref()?),
        _ => return None,
    })
}

/// A value as JSON text.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    match serde_json::to_string(value) {
        Ok(text) => text,
        Err(error) => unreachable!("texts and JSON values are always written: {error}"),
    }
}

/// Tags of the keys of a level, for `includefield=all`.
#[must_use]
pub fn keys_of(level: QueryLevel) -> Vec<Tag> {
    let own = |k: &&crate::dicom::attributes::AttributeKey| {
        k.level == level && !matches!(k.column, Some(ColumnSearch::Computed(_)))
    };
    KEYS.iter().filter(own).map(|k| k.tag).collect()
}
