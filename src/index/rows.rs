//! An instance as column values, made before the transaction begins.
//!
//! Invariant: every text is bounded and free of NULs, so that no value of one instance can make the database refuse a
//! batch.

use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags::PATIENT_ID;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::error::IndexError;
use super::level_values::LevelValues;
use super::micros::to_micros;
use super::model::{BlobPlace, Replacement, Result, StudyCondition};
use super::tag_values::{TagOutcome, findings};
use super::tags_model::TagRow;
use super::words::clean;
use crate::checksum::BlockChecksums;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::error::NoParseMemory;
use crate::dicom::instance::{Attribute, BulkItem, Instance};
use crate::dicom::metadata;
use crate::dicom::parse_memory::GrantMemory;
use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::InstanceName;
use crate::scope::{Partition, Visible};

/// What an instance brings to the rows of its study and series.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct InstanceLevels {
    /// To that of its study.
    pub(super) study: LevelValues,
    /// To that of its series.
    pub(super) series: LevelValues,
}

/// What the rows of one instance hold; made where it was parsed, so that whoever commits need not.
#[derive(Debug)]
pub struct PackedInstance {
    /// Its UIDs.
    pub(super) name: InstanceName,
    /// Patient ID, when it has one.
    pub(super) patient: Option<String>,
    /// What it says of the tags there were when it was parsed.
    findings: Vec<(QueryTag, TagOutcome)>,
    /// Study values.
    pub(super) study: LevelValues,
    /// Series values.
    pub(super) series: LevelValues,
    /// Instance values.
    pub(super) instance: LevelValues,
    /// SOP Class UID.
    pub(super) sop_class: String,
    /// Transfer Syntax UID.
    pub(super) transfer_syntax: String,
    /// JSON of its layout.
    pub(super) layout: String,
    /// JSON of its pixel description.
    pub(super) pixel: Option<String>,
    /// JSON of its bulk table.
    pub(super) bulk: String,
    /// Packed frame table.
    pub(super) frames: Vec<u8>,
    /// Packed metadata.
    pub(super) metadata: Vec<u8>,
}

/// Longest metadata that is unpacked, in bytes.
const MAX_METADATA: usize = 1 << 30;
/// What is packed grows by this at most beside the metadata: values of columns and attributes of three levels.
const COLUMNS: usize = 32 << 10;

impl PackedInstance {
    /// Works out the columns of one instance, and what it says of query tags; takes a while, so it belongs on a thread that
    /// may be busy.
    ///
    /// # Errors
    /// [`NoParseMemory`] when the memory that it takes is not granted.
    pub fn new(
        instance: &Instance,
        tags: &[TagRow],
        room: Option<GrantMemory<'_>>,
    ) -> std::result::Result<Self, NoParseMemory> {
        let json = |text: serde_json::Result<String>| text.map_err(|e| NoParseMemory(e.into()));
        let item = |item: &BulkItem| item.path.len().saturating_add(128);
        let bulk: usize = instance.bulk.iter().map(item).sum();
        let fragment = |attribute: &Attribute| attribute.json.len().min(64 << 10);
        let attributes: usize = instance.attributes.iter().map(fragment).sum();
        if let Some(room) = room {
            room(COLUMNS.saturating_add(bulk.saturating_add(attributes).saturating_mul(2)))?;
        }
        let patients = instance.attributes.iter().filter(|a| a.tag == PATIENT_ID);
        let mut patients = patients.flat_map(|attribute| &attribute.values);
        let findings = findings(&instance.metadata.text, tags);
        Ok(Self {
            name: instance.name.clone(),
            patient: patients
                .by_ref()
                .map(|value| clean(value))
                .find(|value| !value.is_empty()),
            findings: tags
                .iter()
                .map(|row| row.tag.clone())
                .zip(findings)
                .collect(),
            study: LevelValues::of(QueryLevel::Study, instance),
            series: LevelValues::of(QueryLevel::Series, instance),
            instance: LevelValues::of(QueryLevel::Instance, instance),
            sop_class: clean(&instance.sop_class),
            transfer_syntax: clean(&instance.layout.transfer_syntax),
            layout: json(serde_json::to_string(&instance.layout))?,
            pixel: match &instance.pixel {
                Some(pixel) => Some(json(serde_json::to_string(pixel))?),
                None => None,
            },
            bulk: json(serde_json::to_string(&instance.bulk))?,
            frames: instance.frames.to_bytes(),
            metadata: metadata::pack(&instance.metadata, room)?,
        })
    }

    /// What it brings to the rows of its study and series, as JSON: of these attributes, or of all.
    ///
    /// # Errors
    /// None that is known; the writer's signature has one.
    pub fn levels(&self, only: Option<&[Tag]>) -> serde_json::Result<String> {
        let of = |level, values: &LevelValues| match only {
            Some(tags) => values.limited(level, tags),
            None => values.clone(),
        };
        serde_json::to_string(&InstanceLevels {
            study: of(QueryLevel::Study, &self.study),
            series: of(QueryLevel::Series, &self.series),
        })
    }

    /// What the parser found of the query tags there were, as JSON.
    pub(super) fn findings_text(&self) -> serde_json::Result<String> {
        let named = |(tag, outcome): &(QueryTag, TagOutcome)| {
            let creator = tag.private_creator.clone().unwrap_or_default();
            (tag.path.clone(), creator, outcome.clone())
        };
        let all: Vec<_> = self.findings.iter().map(named).collect();
        serde_json::to_string(&all)
    }

    /// Its UIDs.
    #[must_use]
    pub fn name(&self) -> &InstanceName {
        &self.name
    }

    /// Bytes of memory it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let levels = [&self.study, &self.series, &self.instance];
        let levels: usize = levels.map(|level| level.bytes()).iter().sum();
        levels
            .saturating_add(self.bulk.len())
            .saturating_add(self.frames.len())
            .saturating_add(self.metadata.len())
            .saturating_add(4096)
    }

    /// What it says of each tag, in their order; a tag that came after the parser is looked up in the metadata, which may
    /// take a while.
    pub(super) fn findings(&self, tags: &[TagRow]) -> Vec<TagOutcome> {
        let known = |row: &TagRow| {
            let found = self.findings.iter().find(|(tag, _)| *tag == row.tag);
            found.map(|(_, finding)| finding.clone())
        };
        let known: Option<Vec<TagOutcome>> = tags.iter().map(known).collect();
        known.unwrap_or_else(|| match metadata::unpack(&self.metadata, MAX_METADATA) {
            Ok(metadata) => findings(&metadata.text, tags),
            Err(_) => vec![TagOutcome::Nothing; tags.len()],
        })
    }

    /// Whether the parser looked for all of these tags.
    pub(super) fn knows(&self, tags: &[TagRow]) -> bool {
        let known = |row: &TagRow| self.findings.iter().any(|(tag, _)| *tag == row.tag);
        tags.iter().all(known)
    }
}

/// One instance, ready to be inserted.
pub(super) struct PendingInstance {
    /// Partition it is stored in.
    pub(super) partition: Partition,
    /// What its rows hold.
    pub(super) packed: Arc<PackedInstance>,
    /// Blob key and its hash, first byte, length.
    pub(super) blob: (String, i64, i64, i64),
    /// BLAKE3 of its bytes.
    pub(super) digest: [u8; 32],
    /// Checksums of the blocks of its bytes.
    pub(super) blocks: Option<Vec<u8>>,
    /// How it takes the place of what has its UIDs.
    pub(super) replaces: Option<Replacement>,
    /// When its study is to be deleted by itself, in microseconds since 1970.
    pub(super) expires: Option<i64>,
    /// Its blob comes off the trash.
    pub(super) restores: bool,
}

impl std::ops::Deref for PendingInstance {
    type Target = PackedInstance;

    fn deref(&self) -> &PackedInstance {
        &self.packed
    }
}

impl PendingInstance {
    /// Joins one instance and its place.
    pub(super) fn new(new: &NewInstance) -> Result<Self> {
        const INVALID: IndexError = IndexError::Corrupt {
            what: "a new instance",
        };
        let number = |value: u64| i64::try_from(value).map_err(|_| INVALID);
        Ok(Self {
            partition: new.partition,
            packed: Arc::clone(&new.packed),
            blob: (
                new.place.key.clone(),
                blob_hash(&new.place.key),
                number(new.place.offset)?,
                number(new.place.length)?,
            ),
            digest: new.digest,
            blocks: new.place.blocks.as_ref().map(BlockChecksums::to_bytes),
            replaces: new.replaces.clone(),
            expires: new.expires.map(to_micros),
            restores: new.restores,
        })
    }
}

/// What a blob key is looked up by.
pub(super) fn blob_hash(key: &str) -> i64 {
    let hash = blake3::hash(key.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// An instance whose blob is durable and that wants a row.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Partition it is stored in.
    pub partition: Partition,
    /// Which studies its sender may store into.
    pub visible: Visible,
    /// What its rows hold.
    pub packed: Arc<PackedInstance>,
    /// Where its bytes are.
    pub place: BlobPlace,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
    /// Set when it takes the place of what has its UIDs.
    pub replaces: Option<Replacement>,
    /// When its study is to be deleted by itself; none for never.
    pub expires: Option<OffsetDateTime>,
    /// What must hold of its study; the instances of one request share it.
    pub condition: Option<Arc<StudyCondition>>,
    /// Its blob lies on the trash, and is to come off it.
    pub restores: bool,
}
