//! What the arguments of commands name: studies, series, instances, partitions.

use crate::config::{Config, Switch};
use crate::dicom::uid::Target;
use crate::scope::PartitionName;
use crate::start::StartError;

pub(super) fn named_target(text: &str) -> Result<Target, StartError> {
    target(text).ok_or_else(|| {
        StartError::Config(format!("{text} is not a study[/series[/instance]] of UIDs"))
    })
}

pub(super) fn target(text: &str) -> Option<Target> {
    let mut uids = text.split('/');
    let target = Target::of_uids(&mut uids)?;
    uids.next().is_none().then_some(target)
}

/// Refuses a data partition that the server would not show.
pub(super) fn check_partition(
    config: &Config,
    partition: &PartitionName,
) -> Result<(), StartError> {
    if partition.is_default() || config.storage.partitions != Switch::Off {
        return Ok(());
    }
    let reason = "--partition needs STOWAGE_PARTITIONS=on, for the server too";
    Err(StartError::Config(reason.to_owned()))
}
