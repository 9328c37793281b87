//! What somebody who looks after the archive wants to see: operations, damage, counts.

use time::OffsetDateTime;

use super::check::{MISSING, OTHER, SHORT};
use crate::archive::Archive;
use crate::archive::error::Result;
use crate::dicom::uid::InstanceName;
use crate::index::Operation;

/// A damaged instance.
#[derive(Debug, Clone)]
pub struct DamagedInstance {
    /// Its number, by which the list goes on.
    pub watermark: i64,
    /// Its UIDs.
    pub name: InstanceName,
    /// What is wrong: `missing`, `short`, `changed` or `unreadable`.
    pub problem: &'static str,
    /// When it was found, UTC.
    pub found: OffsetDateTime,
}

impl Archive {
    /// The operations that began last, the newest first.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn recent_operations(&self, limit: u32) -> Result<Vec<Operation>> {
        Ok(self.index.recent_operations(limit).await?)
    }

    /// Damaged instances above a number, ascending.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn damaged_instances(&self, after: i64, limit: u32) -> Result<Vec<DamagedInstance>> {
        let damages = self.index.damages(after, limit).await?;
        let told = |damage: crate::index::Damage| DamagedInstance {
            watermark: damage.row.watermark,
            name: damage.row.name,
            problem: match damage.problem.as_str() {
                MISSING => "missing",
                SHORT => "short",
                OTHER => "changed",
                _ => "unreadable",
            },
            found: damage.found,
        };
        Ok(damages.into_iter().map(told).collect())
    }

    /// Instances that this node has stored since it began.
    #[must_use]
    pub fn stored_instances(&self) -> u64 {
        self.meters.stored_instances()
    }
}
