//! How much is stored: of each partition, by modality and by month of arrival; trash, damage, free disk.
//!
//! Invariant: these are counts of all patients, for whoever may read everything; nobody else is told any of them.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::statistics::{PartitionStatistics, Statistics, StoredCounts};
use crate::scope::Partition;
use crate::tasks::{Failure, Watch};

/// Pause between two looks for the gauges.
const LOOK: Duration = Duration::from_secs(15);

impl Archive {
    /// What is stored now.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn statistics(&self) -> Result<Statistics> {
        let mut partitions: BTreeMap<i64, PartitionStatistics> = BTreeMap::new();
        for row in self.index.statistics().await? {
            let partition = partitions.entry(row.partition).or_default();
            let counts = StoredCounts::from(&row);
            partition.all.add(&counts);
            if row.series != 0 || row.instances != 0 || row.bytes != 0 {
                let modality = partition.modalities.entry(row.modality);
                modality.or_default().add(&StoredCounts {
                    patients: 0,
                    studies: 0,
                    ..counts
                });
            }
            if row.month != 0 {
                partition.months.entry(row.month).or_default().add(&counts);
            }
        }
        for (number, partition) in &mut partitions {
            partition.name = self.partition_label(Partition(*number)).await?;
        }
        let blobs = self.blobs.clone();
        // A file system may take its time.
        let disks = tokio::task::spawn_blocking(move || blobs.disks()).await;
        Ok(Statistics {
            partitions: partitions.into_values().collect(),
            trash: self.index.count_trash().await?,
            damaged: self.index.count_damaged().await?,
            disks: disks.unwrap_or_default(),
        })
    }

    /// The name of a partition.
    pub async fn partition_label(&self, partition: Partition) -> Result<String> {
        match self.partition_name(partition).await {
            Ok(name) => Ok(name.to_string()),
            Err(ArchiveError::Lost { .. }) => Ok(partition.0.to_string()),
            Err(error) => Err(error),
        }
    }

    /// Keeps the gauges of what is stored up to date, for ever.
    ///
    /// # Errors
    /// Never; the task tells of failures itself.
    pub async fn follow_statistics(self, watch: Watch) -> std::result::Result<(), Failure> {
        let mut timer = tokio::time::interval(LOOK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            let looked = async {
                self.index.add_up_statistics().await?;
                self.statistics().await
            };
            match looked.await {
                Ok(statistics) => {
                    watch.well();
                    let last = self.meters.stored_now.lock();
                    *last.unwrap_or_else(PoisonError::into_inner) = Some(statistics);
                }
                Err(error) => watch.failed(&error),
            }
        }
    }
}
