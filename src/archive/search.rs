//! Search: which rows match, and which of their attributes go into the answer (PS3.18 §10.6).
//!
//! Conditions on attributes that have a place in the index are the index's; the rest is matched in the stored metadata
//! of the newest instance of each row, slowly and bounded, and a warning says so.

use std::collections::BTreeSet;
use std::time::Instant;
use std::{fmt, iter};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::Archive;
use super::error::{ArchiveError, Result};
use super::paging::{Counting, Cursor, Pages, Paging, Reading, Remaining, cursor, too_many};
use crate::dicom::keys::{Column, KEYS, Level, key};
use crate::dicom::matcher;
use crate::dicom::metadata;
use crate::dicom::query::{Condition, Include, Query, TagPath};
use crate::dicom::tag;
use crate::index::{Found, TagRow, WithMetadata, indexed};
use crate::scope::Scope;
use crate::trace::Stage;

/// Largest metadata of one instance that is read back, in bytes.
const MAX_METADATA: usize = 1 << 30;
/// Rows asked of the index at a time while scanning.
const SCAN_PAGE: u64 = 500;

/// What a search answers.
pub struct Answer {
    /// Matching rows, newest first; the first ones were read.
    pub rows: BoxStream<'static, Result<Row>>,
    /// Whether there are none.
    pub empty: bool,
    /// Results behind the last row.
    pub remaining: Remaining,
    /// Where the next page begins, when there is one.
    pub next: Option<Cursor>,
    /// All results of the search, when they were to be counted.
    pub total: Option<u64>,
    /// What the client should know, as texts for `Warning: 299`.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("empty", &self.empty)
            .field("remaining", &self.remaining)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// One matching study, series or instance.
#[derive(Debug)]
pub struct Row {
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID below study level.
    pub series: Option<String>,
    /// SOP Instance UID at instance level.
    pub instance: Option<String>,
    /// What is told of it.
    pub attributes: Attributes,
}

/// Attributes in the DICOM JSON Model, their values as texts one behind the other.
#[derive(Debug, Default)]
pub struct Attributes {
    values: String,
    /// Each tag, and where its value ends.
    ends: Vec<(Tag, usize)>,
}

impl Attributes {
    /// Appends an attribute, which must not be there yet; `value` is an object with its VR.
    pub fn push(&mut self, tag: Tag, value: &str) {
        self.values.push_str(value);
        self.ends.push((tag, self.values.len()));
    }

    fn holds(&self, tag: Tag) -> bool {
        self.ends.iter().any(|(held, _)| *held == tag)
    }

    /// The object, in the order of tags.
    #[must_use]
    pub fn json(&self) -> String {
        let starts = iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let value = |(start, (tag, end)): (usize, &(Tag, usize))| {
            (*tag, self.values.get(start..*end).unwrap_or_default())
        };
        let mut members: Vec<_> = starts.zip(&self.ends).map(value).collect();
        members.sort_by_key(|(tag, _)| *tag);
        let mut text = String::with_capacity(self.values.len() + members.len() * 12 + 2);
        text.push('{');
        for (i, (tag, value)) in members.into_iter().enumerate() {
            text.push_str(if i > 0 { ",\"" } else { "\"" });
            text.push_str(&tag::hex(tag));
            text.push_str("\":");
            text.push_str(value);
        }
        text.push('}');
        text
    }
}

impl Row {
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
}

/// Which attributes a face returns.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// Always, if there is a value.
    pub default: &'a [Tag],
    /// Beside them with `includefield=all`.
    pub all: &'a [Tag],
    /// Those that are named with an empty value when there is none.
    pub required: &'a [Tag],
    /// Attributes of a lower level than the row are left out.
    pub own_level_only: bool,
}

impl Archive {
    /// Runs a search.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when more rows match than one answer may hold and no limit was asked for, when too many
    /// rows would have to be skipped or scanned, or when the index gave up after a while.
    pub async fn search(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        fields: Fields<'_>,
        paging: Paging,
    ) -> Result<Answer> {
        let plain: Vec<Condition> = query
            .conditions
            .iter()
            .filter(|c| !indexed(c, query.level, tags))
            .cloned()
            .collect();
        let wanted = Wanted::new(query, fields);
        let mut warnings = Vec::new();
        let reading = Reading {
            scope,
            query,
            tags,
            paging,
        };
        let pages = if plain.is_empty() {
            self.read_pages(&reading, wanted.metadata).await?
        } else {
            warnings.push("Attributes without an index were matched by a slow scan; an extended query tag makes them fast".to_owned());
            self.scan_pages(&reading, &plain).await?
        };
        let empty = pages.first.is_empty();
        let rows = stream::iter(pages.first.into_iter().map(Ok)).chain(pages.rest);
        Ok(Answer {
            rows: rows.map(move |row| wanted.pick(&row?)).boxed(),
            empty,
            remaining: pages.remaining,
            next: pages.end.map(|end| cursor(query.level, end)),
            total: pages.total,
            warnings,
        })
    }

    /// Matches the conditions that have no index in the metadata, row after row, no further than the limits allow.
    async fn scan_pages(&self, reading: &Reading<'_>, plain: &[Condition]) -> Result<Pages> {
        let Reading {
            scope,
            query,
            tags,
            paging,
        } = reading;
        let mut asked = (*query).clone();
        asked.conditions.retain(|c| indexed(c, query.level, tags));
        asked.limit = Some(SCAN_PAGE.min(self.limits.max_scan.max(1)));
        asked.offset = 0;
        let exact = paging.counting == Counting::Exact;
        let most = self.limits.max_results;
        let mut scan = Scan::new(query.offset, query.limit.unwrap_or(most).min(most));
        let (begun, mut scanned) = (Instant::now(), 0);
        // An exact count is one of the whole search, wherever the page begins.
        let mut before = if exact { None } else { paging.before };
        let complete = loop {
            let search = self
                .index
                .search(scope, &asked, tags, WithMetadata::Yes, before);
            let page = Stage::Search.of(search).await?;
            before = page.rows.last().map(|r| r.position);
            scanned += page.rows.len() as u64;
            let plain = plain.to_vec();
            let begin = paging.before;
            // Unpacking and parsing take far longer than reading.
            let looked = tokio::task::spawn_blocking(move || {
                page.rows
                    .into_iter()
                    .try_for_each(|row| scan.look(row, &plain, begin))
                    .map(|()| scan)
            });
            scan = looked
                .await
                .map_err(|_| ArchiveError::Lost { what: "a scan" })??;
            if !page.more || before.is_none() {
                break true;
            }
            if !exact && scan.is_done() {
                break false;
            }
            if scanned >= self.limits.max_scan || begun.elapsed() >= self.limits.search_time() {
                if !exact && scan.is_full() {
                    break false;
                }
                return Err(scanned_too_far(scanned));
            }
        };
        if scan.behind > 0 && query.limit.is_none() {
            return Err(too_many(most));
        }
        Ok(scan.pages(complete, exact))
    }
}

/// A page that is being gathered by a scan.
struct Scan {
    rows: Vec<Found>,
    limit: u64,
    /// Matches still to be skipped.
    skip: u64,
    /// Matches behind the page.
    behind: u64,
    /// Matches.
    total: u64,
}

impl Scan {
    const fn new(skip: u64, limit: u64) -> Self {
        Self {
            rows: Vec::new(),
            limit,
            skip,
            behind: 0,
            total: 0,
        }
    }

    /// Takes a row that matches; one before the position where the page begins is only counted.
    fn look(&mut self, row: Found, conditions: &[Condition], begin: Option<i64>) -> Result<()> {
        if !matches_all(&row, conditions)? {
            return Ok(());
        }
        self.total += 1;
        if begin.is_some_and(|begin| row.position >= begin) {
        } else if self.skip > 0 {
            self.skip -= 1;
        } else if !self.is_full() {
            self.rows.push(row);
        } else {
            self.behind += 1;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows.len() as u64 >= self.limit
    }

    /// The page is full and something lies behind it.
    fn is_done(&self) -> bool {
        self.is_full() && self.behind > 0
    }

    fn pages(self, complete: bool, exact: bool) -> Pages {
        let remaining = match (complete, self.behind) {
            (true, 0) => Remaining::Nothing,
            (true, behind) => Remaining::Exactly(behind),
            (false, behind) => Remaining::MoreThan(behind.saturating_sub(1)),
        };
        let last = self.rows.last().map(|row| row.position);
        Pages {
            end: last.filter(|_| remaining != Remaining::Nothing),
            first: self.rows,
            rest: stream::empty().boxed(),
            remaining,
            total: (exact && complete).then_some(self.total),
        }
    }
}

fn scanned_too_far(scanned: u64) -> ArchiveError {
    let reason = format!(
        "{scanned} rows were scanned for an attribute that has no index: add a condition on an indexed attribute, or make it an extended query tag"
    );
    ArchiveError::TooLarge { reason }
}

fn matches_all(row: &Found, conditions: &[Condition]) -> Result<bool> {
    let Some(object) = metadata_object(row)? else {
        return Ok(false);
    };
    Ok(conditions.iter().all(|c| matcher::matches(c, &object)))
}

fn metadata_object(row: &Found) -> Result<Option<serde_json::Value>> {
    let corrupt = || crate::index::IndexError::Corrupt {
        what: "the metadata of an instance",
    };
    let Some(packed) = &row.metadata else {
        return Ok(None);
    };
    let unpacked = metadata::unpack(packed, MAX_METADATA).map_err(|_| corrupt())?;
    Ok(Some(
        serde_json::from_str(&unpacked.text).map_err(|_| corrupt())?,
    ))
}

/// What is taken from each row.
struct Wanted {
    level: Level,
    tags: BTreeSet<Tag>,
    paths: Vec<TagPath>,
    required: Vec<Tag>,
    everything: bool,
    metadata: WithMetadata,
}

impl Wanted {
    fn new(query: &Query, fields: Fields<'_>) -> Self {
        let mut tags: BTreeSet<Tag> = fields.default.iter().copied().collect();
        let mut paths = Vec::new();
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
                everything = query.level == Level::Instance && fields.own_level_only;
                tags.extend(fields.all);
            }
        }
        if query.study.is_some() || query.level > Level::Study {
            tags.insert(tags::STUDY_INSTANCE_UID);
        }
        if query.series.is_some() || query.level > Level::Series {
            tags.insert(tags::SERIES_INSTANCE_UID);
        }
        if fields.own_level_only {
            tags.retain(|tag| {
                key(*tag).is_none_or(|k| k.level <= query.level || returned_anywhere(*tag))
            });
        }
        let elsewhere =
            everything || !paths.is_empty() || tags.iter().any(|tag| !in_index(*tag, query.level));
        let metadata = if elsewhere {
            WithMetadata::Yes
        } else {
            WithMetadata::No
        };
        Self {
            level: query.level,
            tags,
            paths,
            required: fields.required.to_vec(),
            everything,
            metadata,
        }
    }

    fn pick(&self, found: &Found) -> Result<Row> {
        let corrupt = |_| crate::index::IndexError::Corrupt {
            what: "the attributes of a row",
        };
        let levels = iter::once(&found.study)
            .chain(&found.series)
            .chain(&found.instance);
        let levels = levels.map(|text| serde_json::from_str::<Members<'_>>(text));
        let levels: Vec<_> = levels
            .collect::<std::result::Result<_, _>>()
            .map_err(corrupt)?;
        let known = |tag| levels.iter().rev().find_map(|members| members.value(tag));
        let object = if self.metadata == WithMetadata::Yes {
            metadata_object(found)?
        } else {
            None
        };
        let mut attributes = Attributes::default();
        for tag in &self.tags {
            if let Some(value) = computed(*tag, found, self.level) {
                attributes.push(*tag, &value);
            } else if let Some(value) = known(*tag) {
                attributes.push(*tag, value.get());
            } else if let Some(value) = object.as_ref().and_then(|o| o.get(tag::hex(*tag))) {
                attributes.push(*tag, &json(value));
            } else if self.required.contains(tag)
                && let Some(key) = key(*tag)
            {
                attributes.push(*tag, &format!(r#"{{"vr":"{}"}}"#, key.vr.to_string()));
            }
        }
        if let Some(whole) = &object {
            let mut picked = serde_json::Map::new();
            matcher::project(whole, &self.paths, &mut picked);
            if let (true, Some(object)) = (self.everything, whole.as_object()) {
                picked.extend(
                    object
                        .iter()
                        .filter(|(_, v)| v.get("BulkDataURI").is_none())
                        .map(|(k, v)| (k.clone(), v.clone())),
                );
            }
            for (name, value) in picked {
                if let Some(tag) = tag::from_hex(&name).filter(|tag| !attributes.holds(*tag)) {
                    attributes.push(tag, &json(&value));
                }
            }
        }
        Ok(Row {
            study: found.study_uid.clone(),
            series: found.series_uid.clone(),
            instance: found.instance_uid.clone(),
            attributes,
        })
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
fn in_index(tag: Tag, level: Level) -> bool {
    returned_anywhere(tag) || key(tag).is_some_and(|k| k.level <= level)
}

/// The attributes of one level of a row, as they are stored.
struct Members<'t>(Vec<(Tag, &'t RawValue)>);

impl<'t> Members<'t> {
    fn value(&self, tag: Tag) -> Option<&'t RawValue> {
        let mut members = self.0.iter();
        members.find_map(|(found, value)| (*found == tag).then_some(*value))
    }
}

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("attributes by tag")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Members<'de>, A::Error> {
        let mut members = Vec::with_capacity(24);
        while let Some((name, value)) = map.next_entry::<&str, &RawValue>()? {
            let tag = tag::from_hex(name).ok_or_else(|| A::Error::custom("no tag"))?;
            members.push((tag, value));
        }
        Ok(Members(members))
    }
}

/// Attributes the index maintains or the answer makes up.
fn computed(tag: Tag, found: &Found, level: Level) -> Option<String> {
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
        tags::SERIES_INSTANCE_UID if level > Level::Study => uid(found.series_uid.as_ref()?),
        tags::SOP_INSTANCE_UID if level > Level::Series => uid(found.instance_uid.as_ref()?),
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
pub fn keys_of(level: Level) -> Vec<Tag> {
    let own = |k: &&crate::dicom::keys::Key| {
        k.level == level && !matches!(k.column, Some(Column::Computed(_)))
    };
    KEYS.iter().filter(own).map(|k| k.tag).collect()
}
