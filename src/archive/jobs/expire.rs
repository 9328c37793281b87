//! Studies that were stored for a time are deleted when it is over (dicom-service-current §2).
//!
//! Invariant: a study is deleted only while its time is over in the transaction that deletes it; a store that comes before
//! decides anew.

use time::OffsetDateTime;

use crate::archive::{Archive, Result, describe};
use crate::dicom::uid::Target;

/// Studies asked for at a time.
const BATCH: u32 = 100;

impl Archive {
    /// Deletes the studies whose time is over; returns how many.
    ///
    /// # Errors
    /// When the index fails; what is left is found by the next run.
    pub async fn expire(&self) -> Result<u64> {
        let moment = OffsetDateTime::now_utc();
        let mut gone = 0;
        loop {
            let expired = self.index.expired(moment, BATCH).await?;
            if expired.is_empty() {
                return Ok(gone);
            }
            for study in &expired {
                let removed = self.index.delete_expired(study, moment).await;
                let instances = self.reads.changed(removed).await?;
                if instances == 0 {
                    continue;
                }
                gone += 1;
                self.meters.expired.one();
                let study = describe(&Target::Study(study.1.clone()));
                tracing::info!(study, instances, "a study was deleted: its time was over");
            }
        }
    }
}
