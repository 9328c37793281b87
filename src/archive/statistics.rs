//! How much is stored, as plain data: as JSON and as gauges.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::blob::DiskSpace;
use crate::index::StatisticRow;
use crate::meter::{Exposition, MetricKind};

/// Counts of one partition, month or modality.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredCounts {
    /// Distinct Patient IDs.
    pub patients: u64,
    /// Studies.
    pub studies: u64,
    /// Series.
    pub series: u64,
    /// Instances.
    pub instances: u64,
    /// Bytes of instances as they are stored.
    pub bytes: u64,
}

impl StoredCounts {
    pub(super) fn add(&mut self, more: &Self) {
        self.patients = self.patients.saturating_add(more.patients);
        self.studies = self.studies.saturating_add(more.studies);
        self.series = self.series.saturating_add(more.series);
        self.instances = self.instances.saturating_add(more.instances);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

impl From<&StatisticRow> for StoredCounts {
    fn from(row: &StatisticRow) -> Self {
        // Negative only where fsck has something to mend.
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Self {
            patients: count(row.patients),
            studies: count(row.studies),
            series: count(row.series),
            instances: count(row.instances),
            bytes: count(row.bytes),
        }
    }
}

/// What one partition holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionStatistics {
    /// Its name.
    pub name: String,
    /// All of it.
    pub all: StoredCounts,
    /// Series, instances and bytes by modality; the empty one has none.
    pub modalities: BTreeMap<String, StoredCounts>,
    /// Studies, series, instances and bytes by year and month of arrival, such as 202611, UTC.
    pub months: BTreeMap<i64, StoredCounts>,
}

/// What is stored, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Partitions that hold something, in the order of their numbers.
    pub partitions: Vec<PartitionStatistics>,
    /// Blobs of deleted instances that are not removed yet.
    pub trash: u64,
    /// Instances whose bytes are missing or other ones than were stored.
    pub damaged: u64,
    /// The disks of this machine, by what is on them.
    pub disks: Vec<(&'static str, DiskSpace)>,
}

impl Statistics {
    /// All partitions together; a patient with studies in two counts twice.
    #[must_use]
    pub fn all(&self) -> StoredCounts {
        let mut all = StoredCounts::default();
        for partition in &self.partitions {
            all.add(&partition.all);
        }
        all
    }

    /// As JSON: what `GET /statistics` answers and `stowage stats --json` prints.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let disks = self.disks.iter().map(|(what, space)| {
            json!({ "what": what, "freeBytes": space.free, "totalBytes": space.total })
        });
        let mut value = counts_json(&self.all());
        let partitions: Vec<Value> = self.partitions.iter().map(partition_json).collect();
        value["partitions"] = partitions.into();
        value["trash"] = json!({ "blobs": self.trash });
        value["damagedInstances"] = self.damaged.into();
        value["disks"] = disks.collect::<Vec<Value>>().into();
        value
    }
}

fn counts_json(counts: &StoredCounts) -> Value {
    json!({
        "patients": counts.patients,
        "studies": counts.studies,
        "series": counts.series,
        "instances": counts.instances,
        "bytes": counts.bytes,
    })
}

fn partition_json(partition: &PartitionStatistics) -> Value {
    let modalities = partition.modalities.iter().map(|(modality, counts)| {
        json!({
            "modality": modality, "series": counts.series, "instances": counts.instances, "bytes": counts.bytes,
        })
    });
    let months = partition.months.iter().map(|(month, counts)| {
        json!({
            "month": month_text(*month), "studies": counts.studies, "series": counts.series,
            "instances": counts.instances, "bytes": counts.bytes,
        })
    });
    let mut value = counts_json(&partition.all);
    value["name"] = partition.name.clone().into();
    value["modalities"] = modalities.collect::<Vec<Value>>().into();
    value["months"] = months.collect::<Vec<Value>>().into();
    value
}

/// A month as people write it: 2026-11.
#[must_use]
pub fn month_text(month: i64) -> String {
    format!("{:04}-{:02}", month / 100, month % 100)
}

/// A gauge of several samples: its name, what it is, and which number of a sample it tells.
type Gauge<T> = (&'static str, &'static str, fn(&T) -> u64);

const OF_PARTITIONS: [Gauge<StoredCounts>; 2] = [
    (
        "stowage_stored_patients",
        "Distinct Patient IDs that are stored.",
        |counts| counts.patients,
    ),
    (
        "stowage_stored_studies",
        "Studies that are stored.",
        |counts| counts.studies,
    ),
];
const OF_MODALITIES: [Gauge<StoredCounts>; 3] = [
    (
        "stowage_stored_series",
        "Series that are stored, by modality.",
        |counts| counts.series,
    ),
    (
        "stowage_stored_instances",
        "Instances that are stored, by modality.",
        |counts| counts.instances,
    ),
    (
        "stowage_stored_bytes",
        "Bytes of instances that are stored, by modality.",
        |counts| counts.bytes,
    ),
];
const OF_MONTHS: [Gauge<StoredCounts>; 2] = [
    (
        "stowage_arrived_instances",
        "Instances that are stored, by the month in which they came.",
        |counts| counts.instances,
    ),
    (
        "stowage_arrived_bytes",
        "Bytes of instances that are stored, by the month in which they came.",
        |counts| counts.bytes,
    ),
];
const OF_DISKS: [Gauge<DiskSpace>; 2] = [
    (
        "stowage_disk_free_bytes",
        "Bytes that this node can still write, by what lies there.",
        |space| space.free,
    ),
    (
        "stowage_disk_bytes",
        "Size of the file system, by what lies there.",
        |space| space.total,
    ),
];

/// Writes the gauges.
pub(super) fn write_statistics(statistics: &Statistics, out: &mut Exposition) {
    let partitions = &statistics.partitions;
    let all = partitions.iter().map(|one| (vec![name_of(one)], &one.all));
    write_gauges(out, &OF_PARTITIONS, &all);
    let modalities = partitions.iter().flat_map(|one| {
        let labels = |modality| vec![name_of(one), ("modality", modality)];
        let counts = one.modalities.iter();
        counts.map(move |(modality, counts)| (labels(modality.clone()), counts))
    });
    write_gauges(out, &OF_MODALITIES, &modalities);
    let months = partitions.iter().flat_map(|one| {
        let labels = |month| vec![name_of(one), ("month", month)];
        let counts = one.months.iter();
        counts.map(move |(month, counts)| (labels(month_text(*month)), counts))
    });
    write_gauges(out, &OF_MONTHS, &months);
    out.single(
        "stowage_trash_blobs",
        MetricKind::Gauge,
        "Blobs of deleted instances that are not removed yet.",
        statistics.trash,
    );
    let disks = statistics.disks.iter();
    let disks = disks.map(|(what, space)| (vec![("what", (*what).to_owned())], space));
    write_gauges(out, &OF_DISKS, &disks);
}

fn name_of(partition: &PartitionStatistics) -> (&'static str, String) {
    ("partition", partition.name.clone())
}

/// Writes gauges that have the same samples, each with its labels.
fn write_gauges<'s, T: 's>(
    out: &mut Exposition,
    gauges: &[Gauge<T>],
    samples: &(impl Iterator<Item = (Vec<(&'static str, String)>, &'s T)> + Clone),
) {
    for (name, help, read) in gauges {
        out.family(name, MetricKind::Gauge, help);
        for (labels, sample) in samples.clone() {
            let labels: Vec<(&str, &str)> = labels
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            out.sample(&labels, read(sample));
        }
    }
}
