//! Data partitions: numbers by names, and where the blobs of each lie.
//!
//! Invariant: a blob's key says the partition of its instance, so that an index can be made again of blobs alone; keys of the
//! default partition are those of an archive that has no others.

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::partition_names::{key_in, name_in_key};
use crate::blob::{instance_key, serial_behind};
use crate::dicom::uid::InstanceName;
use crate::fault;
use crate::scope::{Partition, PartitionName, ScopeSet};

pub use crate::index::PartitionRow;

/// Most partitions of an archive: they are listed whole.
const MOST: u32 = 10_000;

impl Archive {
    /// Says whether there may be other partitions than the default one; the first call counts, without one there are none.
    pub fn switch_partitions(&self, on: bool) {
        let _ = self.partitions.on.set(on);
    }

    /// Whether there may be other partitions than the default one.
    #[must_use]
    pub fn has_partitions(&self) -> bool {
        self.partitions.on.get().copied().unwrap_or(false)
    }

    /// The partition of a name, if there is one.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn partition(&self, name: &PartitionName) -> Result<Option<Partition>> {
        if let Some(known) = self.partitions.number(name) {
            return Ok(Some(known));
        }
        let found = self.index.partition(name).await?;
        if let Some(partition) = found {
            self.partitions.learn(name, partition);
        }
        Ok(found)
    }

    /// The partition of a name, made when there is none; whichever nodes make it, it is made once.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when there are too many already, else when the index fails.
    pub async fn make_partition(&self, name: &PartitionName) -> Result<Partition> {
        if let Some(known) = self.partition(name).await? {
            return Ok(known);
        }
        let made = self.index.make_partition(name, MOST).await?;
        let partition = made.ok_or_else(|| {
            let reason = format!("There are {MOST} partitions, and there can be no more.");
            ArchiveError::invalid(reason)
        })?;
        fault::point("partition.made");
        self.partitions.learn(name, partition);
        Ok(partition)
    }

    /// The name of a partition.
    ///
    /// # Errors
    /// [`ArchiveError::Lost`] when it has none, else when the index fails.
    pub async fn partition_name(&self, partition: Partition) -> Result<PartitionName> {
        if let Some(known) = self.partitions.name(partition) {
            return Ok(known);
        }
        let found = self.index.partition_name(partition).await?;
        let name = found.ok_or(NAMELESS)?;
        self.partitions.learn(&name, partition);
        Ok(name)
    }

    /// Partitions that the caller may see, oldest first.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn partitions(&self, scopes: &ScopeSet) -> Result<Vec<PartitionRow>> {
        Ok(self.index.partitions(scopes).await?)
    }

    /// A partition besides the default one that holds something.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn used_partition(&self) -> Result<Option<PartitionName>> {
        Ok(self.index.used_partition().await?)
    }

    /// That the name of a partition is known here, which [`Self::new_key`] needs.
    ///
    /// # Errors
    /// [`ArchiveError::Lost`] when it is not: ask with [`Self::partition_name`] before.
    pub(in crate::archive) fn knows_partition(&self, partition: Partition) -> Result<()> {
        self.partitions.name(partition).map(drop).ok_or(NAMELESS)
    }

    /// A key for a new blob of an instance with that digest, of a partition whose name is known here; one that is made of another blob names it.
    pub(in crate::archive) fn new_key(
        &self,
        partition: Partition,
        (name, digest): (&InstanceName, &[u8; 32]),
        before: Option<&str>,
    ) -> String {
        let mut serial = self.blobs.serial();
        if let Some(before) = before {
            serial = serial_behind(&serial, before);
        }
        let key = instance_key(name, &serial, digest);
        let partition = self.partitions.name(partition).unwrap_or_default();
        key_in(&partition, key)
    }

    /// The partition that a key says, made when there is none.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when the key names none, else as [`Self::make_partition`].
    pub(in crate::archive) async fn partition_of_key(&self, key: &str) -> Result<Partition> {
        match name_in_key(key) {
            None => Ok(Partition::DEFAULT),
            Some(Ok(name)) => self.make_partition(&name).await,
            Some(Err(error)) => Err(ArchiveError::invalid(error.to_string())),
        }
    }
}

const NAMELESS: ArchiveError = ArchiveError::Lost {
    what: "the name of a partition",
};
