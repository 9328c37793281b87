//! Data partitions.

use async_trait::async_trait;

use crate::index::model::{PartitionRow, Result};
use crate::scope::{Partition, PartitionName, ScopeSet};

/// Data partitions by name; they are never renamed and never removed.
#[async_trait]
pub trait Partitions: Send + Sync {
    /// The partition of a name.
    async fn partition(&self, name: &PartitionName) -> Result<Option<Partition>>;

    /// The name of a partition.
    async fn partition_name(&self, partition: Partition) -> Result<Option<PartitionName>>;

    /// The partition of a name, made when there is none; however many make it, it is made once. None when it would be one
    /// more than `most`.
    async fn make_partition(&self, name: &PartitionName, most: u32) -> Result<Option<Partition>>;

    /// Partitions that the caller may see, oldest first. Where single patients or studies are granted in every partition,
    /// those that hold some of them.
    async fn partitions(&self, scopes: &ScopeSet) -> Result<Vec<PartitionRow>>;

    /// A partition besides the default one that holds a study or a workitem.
    async fn used_partition(&self) -> Result<Option<PartitionName>>;
}
