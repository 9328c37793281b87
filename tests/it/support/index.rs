//! An index on each back end, and instances built without a file.

use std::sync::Arc;

use dicom_core::{Tag, VR};
use stowage::checksum::ContentSums;
use stowage::dicom::attributes::key;
use stowage::dicom::frames::FrameTable;
use stowage::dicom::instance::{
    Attribute, BulkItem, FileLayout, Instance, Metadata, PixelDescription, PixelElement,
};
use stowage::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use stowage::index::{
    BlobPlace, Index, IndexOptions, Inserted, NewInstance, PackedInstance, Replacement,
    StudyCondition, open,
};
use stowage::scope::{Partition, Visible};
use tempfile::TempDir;

/// An open index that nobody else uses.
pub(crate) struct TestIndex {
    /// The index.
    pub(crate) index: Arc<dyn Index>,
    /// Where it is.
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

impl std::ops::Deref for TestIndex {
    type Target = dyn Index;

    fn deref(&self) -> &Self::Target {
        &*self.index
    }
}

/// Few connections, a third of them for writing, and no limit to what a call takes: many tests run at once.
fn options() -> IndexOptions {
    IndexOptions {
        max_connections: 18,
        call_time: std::time::Duration::from_secs(600),
        acquire_timeout: std::time::Duration::from_secs(60),
        ..IndexOptions::default()
    }
}

/// An index in an `SQLite` file.
pub(crate) async fn sqlite() -> TestIndex {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("index.sqlite").display());
    TestIndex {
        index: open(&url, &options()).await.unwrap(),
        url,
        _folder: Some(folder),
    }
}

/// An index in a throw-away Postgres; none when there is no Postgres.
pub(crate) async fn postgres() -> Option<TestIndex> {
    let url = super::postgres::database().await?;
    Some(TestIndex {
        index: open(&url, &options()).await.unwrap(),
        url,
        _folder: None,
    })
}

/// An instance in the making.
#[derive(Clone)]
pub(crate) struct Sample {
    partition: Partition,
    visible: Visible,
    name: InstanceName,
    attributes: Vec<(Tag, VR, String)>,
    blob: Option<(String, u64)>,
    replaces: Option<Replacement>,
    condition: Option<Arc<StudyCondition>>,
    expires: Option<time::OffsetDateTime>,
    restores: bool,
}

/// UIDs from small numbers.
pub(crate) fn name(study: u32, series: u32, instance: u32) -> InstanceName {
    InstanceName {
        study: StudyUid::parse(&format!("1.2.{study}")).unwrap(),
        series: SeriesUid::parse(&format!("1.2.{study}.{series}")).unwrap(),
        instance: InstanceUid::parse(&format!("1.2.{study}.{series}.{instance}")).unwrap(),
    }
}

/// The study, series or instance of small numbers.
pub(crate) fn target(study: u32, series: Option<u32>, instance: Option<u32>) -> Target {
    let name = name(study, series.unwrap_or(0), instance.unwrap_or(0));
    match (series, instance) {
        (None, _) => Target::Study(name.study),
        (_, None) => Target::Series(name.study, name.series),
        _ => Target::Instance(name),
    }
}

impl Sample {
    /// An instance without attributes.
    pub(crate) fn new(study: u32, series: u32, instance: u32) -> Self {
        Self {
            partition: Partition::DEFAULT,
            visible: Visible::All,
            name: name(study, series, instance),
            attributes: Vec::new(),
            blob: None,
            replaces: None,
            condition: None,
            expires: None,
            restores: false,
        }
    }

    /// In another partition.
    pub(crate) fn partition(mut self, partition: i64) -> Self {
        self.partition = Partition(partition);
        self
    }

    /// Sent by somebody who may store into these only.
    pub(crate) fn sent_by(mut self, visible: Visible) -> Self {
        self.visible = visible;
        self
    }

    /// That takes the place of what has its UIDs.
    pub(crate) fn replacing(mut self) -> Self {
        self.replaces = Some(Replacement {
            visible: Visible::All,
            identical: true,
        });
        self
    }

    /// Whose study is to be deleted then.
    pub(crate) fn until(mut self, time: time::OffsetDateTime) -> Self {
        self.expires = Some(time);
        self
    }

    /// Of a request that says something of the study.
    pub(crate) fn when(mut self, condition: &Arc<StudyCondition>) -> Self {
        self.condition = Some(condition.clone());
        self
    }

    /// Whose blob comes off the trash.
    pub(crate) fn restored(mut self) -> Self {
        self.restores = true;
        self
    }

    /// With bytes in a shared blob.
    pub(crate) fn blob(mut self, key: &str, offset: u64) -> Self {
        self.blob = Some((key.to_owned(), offset));
        self
    }

    /// With an attribute of the index; an empty value is no value, a backslash separates values.
    pub(crate) fn with(mut self, tag: u32, value: &str) -> Self {
        let tag = Tag(
            u16::try_from(tag >> 16).unwrap(),
            u16::try_from(tag & 0xFFFF).unwrap(),
        );
        let vr = key(tag).map_or(VR::LO, |key| key.vr);
        self.attributes.retain(|(known, ..)| *known != tag);
        self.attributes.push((tag, vr, value.to_owned()));
        self.attributes.sort_by_key(|(tag, ..)| *tag);
        self
    }

    /// Digest of what stands for its bytes.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let text = format!("{:?}{:?}{:?}", self.partition, self.name, self.attributes);
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// Key of its blob.
    pub(crate) fn key(&self) -> String {
        match &self.blob {
            Some((key, _)) => key.clone(),
            None => format!(
                "{}/{}-{:02x?}",
                self.partition.0,
                self.name.instance,
                &self.digest()[..4]
            ),
        }
    }

    /// What the index is given.
    pub(crate) fn build(&self) -> NewInstance {
        let offset = self.blob.as_ref().map_or(0, |(_, offset)| *offset);
        let packed = PackedInstance::new(&self.instance(), &[], None).unwrap();
        NewInstance {
            partition: self.partition,
            visible: self.visible.clone(),
            packed: Arc::new(packed),
            place: BlobPlace {
                key: self.key(),
                offset,
                length: 1350,
                blocks: Some(ContentSums::of(&[7; 1350]).blocks),
            },
            digest: self.digest(),
            replaces: self.replaces.clone(),
            condition: self.condition.clone(),
            expires: self.expires,
            restores: self.restores,
        }
    }

    /// What a walk over it would find.
    pub(crate) fn instance(&self) -> Instance {
        let (attributes, metadata) = self.parsed();
        Instance {
            name: self.name.clone(),
            sop_class: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
            layout: FileLayout {
                transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
                dataset_offset: 350,
                deflated: false,
                dataset_length: 1000,
                part10: true,
            },
            attributes,
            metadata,
            bulk: vec![BulkItem {
                path: "7FE00010".to_owned(),
                vr: "OW".to_owned(),
                offset: 700,
                length: 600,
                encapsulated: false,
            }],
            frames: FrameTable::default(),
            pixel: Some(PixelDescription {
                rows: 10,
                columns: 30,
                samples_per_pixel: 1,
                photometric: "MONOCHROME2".to_owned(),
                planar: 0,
                bits_allocated: 16,
                bits_stored: 12,
                high_bit: 11,
                representation: 0,
                frames: 1,
                lossy: false,
                overlay_bits: false,
                element: PixelElement::Integer,
            }),
            findings: Vec::new(),
        }
    }

    fn parsed(&self) -> (Vec<Attribute>, Metadata) {
        let mut text = String::from("{");
        let mut attributes = Vec::new();
        for (tag, vr, value) in &self.attributes {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&format!("\"{:04X}{:04X}\":", tag.group(), tag.element()));
            let start = text.len();
            text.push_str(&fragment(*vr, value));
            attributes.push(Attribute {
                tag: *tag,
                vr: *vr,
                values: value
                    .split('\\')
                    .filter(|v| !v.is_empty())
                    .map(str::to_owned)
                    .collect(),
                json: start..text.len(),
            });
        }
        text.push('}');
        let metadata = Metadata {
            text,
            ..Metadata::default()
        };
        (attributes, metadata)
    }
}

/// DICOM JSON of one attribute.
pub(crate) fn fragment(vr: VR, value: &str) -> String {
    let vr = vr.to_string();
    let values: Vec<String> = value
        .split('\\')
        .filter(|value| !value.is_empty())
        .map(|value| match vr {
            "PN" => {
                let groups = value
                    .split('=')
                    .zip(["Alphabetic", "Ideographic", "Phonetic"]);
                let groups = groups.filter(|(group, _)| !group.is_empty());
                let groups: Vec<String> = groups
                    .map(|(group, name)| format!("\"{name}\":{}", serde_json::json!(group)))
                    .collect();
                format!("{{{}}}", groups.join(","))
            }
            "IS" => value.to_owned(),
            _ => serde_json::json!(value).to_string(),
        })
        .collect();
    if values.is_empty() {
        format!("{{\"vr\":\"{vr}\"}}")
    } else {
        format!("{{\"vr\":\"{vr}\",\"Value\":[{}]}}", values.join(","))
    }
}

/// Inserts and expects every instance to be stored; returns the watermarks.
pub(crate) async fn store(index: &TestIndex, samples: &[Sample]) -> Vec<i64> {
    let batch: Vec<NewInstance> = samples.iter().map(Sample::build).collect();
    let inserted = index.insert(&batch).await.unwrap();
    let watermark = |inserted: Inserted| match inserted {
        Inserted::Stored { watermark } | Inserted::Replaced { watermark } => watermark,
        Inserted::Superseded | Inserted::Unmatched | Inserted::Swept => {
            panic!("an instance has no row")
        }
        Inserted::Exists { .. } => panic!("an instance exists already"),
        Inserted::Outside => panic!("an instance is outside of the sender's limits"),
    };
    inserted.into_iter().map(watermark).collect()
}
