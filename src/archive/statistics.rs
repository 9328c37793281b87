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
    pub(super) fn add(&mut self, row: &StatisticRow) {
        // Negative only where fsck has something to mend.
        let more = |number: i64| u64::try_from(number).unwrap_or(0);
        self.patients = self.patients.saturating_add(more(row.patients));
        self.studies = self.studies.saturating_add(more(row.studies));
        self.series = self.series.saturating_add(more(row.series));
        self.instances = self.instances.saturating_add(more(row.instances));
        self.bytes = self.bytes.saturating_add(more(row.bytes));
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
            let more = &partition.all;
            all.patients = all.patients.saturating_add(more.patients);
            all.studies = all.studies.saturating_add(more.studies);
            all.series = all.series.saturating_add(more.series);
            all.instances = all.instances.saturating_add(more.instances);
            all.bytes = all.bytes.saturating_add(more.bytes);
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

/// Writes the gauges.
pub(super) fn write_statistics(statistics: &Statistics, out: &mut Exposition) {
    type OfCounts = fn(&StoredCounts) -> u64;
    let of_partition: [(&'static str, &'static str, OfCounts); 2] = [
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
    for (name, help, read) in of_partition {
        out.family(name, MetricKind::Gauge, help);
        for partition in &statistics.partitions {
            out.sample(&[("partition", &partition.name)], read(&partition.all));
        }
    }
    let of_modality: [(&'static str, &'static str, OfCounts); 3] = [
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
    for (name, help, read) in of_modality {
        out.family(name, MetricKind::Gauge, help);
        for partition in &statistics.partitions {
            for (modality, counts) in &partition.modalities {
                let labels = [
                    ("partition", partition.name.as_str()),
                    ("modality", modality),
                ];
                out.sample(&labels, read(counts));
            }
        }
    }
    let of_month: [(&'static str, &'static str, OfCounts); 2] = [
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
    for (name, help, read) in of_month {
        out.family(name, MetricKind::Gauge, help);
        for partition in &statistics.partitions {
            for (month, counts) in &partition.months {
                let month = month_text(*month);
                let labels = [("partition", partition.name.as_str()), ("month", &month)];
                out.sample(&labels, read(counts));
            }
        }
    }
    out.single(
        "stowage_trash_blobs",
        MetricKind::Gauge,
        "Blobs of deleted instances that are not removed yet.",
        statistics.trash,
    );
    type Space = fn(&DiskSpace) -> u64;
    let of_disk: [(&'static str, &'static str, Space); 2] = [
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
    for (name, help, read) in of_disk {
        out.family(name, MetricKind::Gauge, help);
        for (what, space) in &statistics.disks {
            out.sample(&[("what", what)], read(space));
        }
    }
}
