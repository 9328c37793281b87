//! `stowage stats`: how much is stored, as a table or as JSON.

use std::fmt::Write as _;

use indicatif::{DecimalBytes, HumanCount};

use super::output::{Verdict, say};
use crate::archive::statistics::{PartitionStatistics, Statistics, StoredCounts, month_text};
use crate::config::Config;
use crate::start::{StartError, StoreNeeds, open};

/// Prints how much is stored.
///
/// # Errors
/// When the stores cannot be used.
pub(super) async fn stats(config: &Config, json: bool) -> Result<Verdict, StartError> {
    let archive = open(config, StoreNeeds::Archive).await?;
    let statistics = archive.statistics().await?;
    if json {
        say(&statistics.to_json().to_string());
    } else {
        say(text(&statistics).trim_end());
    }
    Ok(Verdict::Well)
}

fn text(statistics: &Statistics) -> String {
    let mut text = String::new();
    for partition in &statistics.partitions {
        write_partition(&mut text, partition);
    }
    if statistics.partitions.len() != 1 {
        text.push_str("all partitions\n");
        text.push_str(&line("", &statistics.all(), true));
    }
    // Text grows.
    let _ = writeln!(text, "trash: {} blobs", HumanCount(statistics.trash));
    let damaged = HumanCount(statistics.damaged);
    let _ = writeln!(text, "damaged: {damaged} instances");
    for (what, space) in &statistics.disks {
        let (free, total) = (DecimalBytes(space.free), DecimalBytes(space.total));
        let _ = writeln!(text, "disk of the {what}: {free} of {total} free");
    }
    text
}

fn write_partition(text: &mut String, partition: &PartitionStatistics) {
    let _ = writeln!(text, "partition {}", partition.name);
    text.push_str(&line("", &partition.all, true));
    text.push_str("  by modality\n");
    for (modality, counts) in &partition.modalities {
        let name = if modality.is_empty() {
            "none"
        } else {
            modality
        };
        text.push_str(&line(name, counts, false));
    }
    text.push_str("  by month of arrival\n");
    for (month, counts) in &partition.months {
        text.push_str(&line(&month_text(*month), counts, false));
    }
}

fn line(name: &str, counts: &StoredCounts, with_patients: bool) -> String {
    let mut parts = Vec::new();
    if with_patients {
        parts.push(format!("{} patients", HumanCount(counts.patients)));
    }
    if with_patients || counts.studies > 0 {
        parts.push(format!("{} studies", HumanCount(counts.studies)));
    }
    parts.push(format!("{} series", HumanCount(counts.series)));
    parts.push(format!("{} instances", HumanCount(counts.instances)));
    parts.push(DecimalBytes(counts.bytes).to_string());
    let parts = parts.join(", ");
    if name.is_empty() {
        format!("  {parts}\n")
    } else {
        format!("    {name:8} {parts}\n")
    }
}
