//! What this process knows of data partitions by name, and how a blob's key says its partition.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use crate::scope::{Partition, PartitionName, PartitionNameError};

/// What keys begin with in other partitions than the default one.
const FOLDER: &str = "partitions/";

/// What is known of partitions here; they are never renamed, so it holds for ever.
#[derive(Debug, Default)]
pub(super) struct PartitionNames {
    /// Whether there may be others than the default one; once said.
    pub(super) on: OnceLock<bool>,
    known: RwLock<KnownPartitions>,
}

#[derive(Debug, Default)]
struct KnownPartitions {
    by_name: HashMap<PartitionName, Partition>,
    by_number: HashMap<Partition, PartitionName>,
}

impl PartitionNames {
    pub(super) fn number(&self, name: &PartitionName) -> Option<Partition> {
        if name.is_default() {
            return Some(Partition::DEFAULT);
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_name.get(name).copied()
    }

    pub(super) fn name(&self, partition: Partition) -> Option<PartitionName> {
        if partition == Partition::DEFAULT {
            return Some(PartitionName::default());
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_number.get(&partition).cloned()
    }

    pub(super) fn learn(&self, name: &PartitionName, partition: Partition) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.by_name.insert(name.clone(), partition);
        known.by_number.insert(partition, name.clone());
    }
}

/// A key in a partition; that of the default one is the key itself.
pub(super) fn key_in(partition: &PartitionName, key: String) -> String {
    if partition.is_default() {
        key
    } else {
        format!("{FOLDER}{partition}/{key}")
    }
}

/// The partition that a key names; none for the default one.
pub(super) fn name_in_key(
    key: &str,
) -> Option<std::result::Result<PartitionName, PartitionNameError>> {
    let (name, _) = key.strip_prefix(FOLDER)?.split_once('/')?;
    Some(PartitionName::parse(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_partition() {
        let named = |key: &str| name_in_key(key).map(|name| name.unwrap().to_string());
        assert_eq!(named("aa/1.2/1.3/1.4.00.dcm"), None);
        let north = named("partitions/north-1/aa/1.2/1.3/1.4.00.dcm");
        assert_eq!(north.as_deref(), Some("north-1"));
        assert!(name_in_key("partitions/a b/aa/1.2.dcm").unwrap().is_err());
        assert_eq!(named("partitions/file.dcm"), None);
        let north = PartitionName::parse("north").unwrap();
        let key = "aa/1.2/1.3/1.4.00.dcm".to_owned();
        assert_eq!(key_in(&PartitionName::default(), key.clone()), key);
        let other = key_in(&north, key);
        assert_eq!(named(&other).as_deref(), Some("north"));
    }
}
