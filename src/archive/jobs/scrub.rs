//! The scrub: reads every stored byte now and then and compares it with the digest taken when it was stored.
//!
//! One node at a time does it, slowly; how far it is stands in the index as an operation, so that another node or a
//! restarted one goes on there. Invariant: it only reads blobs; what it finds is remembered as damage, and stands in the log and
//! in the operation's results.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;

use crate::archive::services::check::{Fault, check_blob};
use crate::archive::{Archive, ArchiveError, Result, describe};
use crate::blob::CHUNK;
use crate::checksum::ContentHasher;
use crate::dicom::uid::Target;
use crate::index::{InstanceRow, Operation, OperationKind, OperationStatus};
use crate::tasks::{Failure, Watch};

/// Rows between two notes of the progress.
const PORTION: u32 = 100;
/// Time after which progress is noted at the latest.
const NOTE: Duration = Duration::from_secs(20);
/// Damaged instances of a round that the log names: a volume that is not mounted damages all of them.
const NAMED: u64 = 100;
/// How long a node that is gone keeps others from going on.
const LEASE: Duration = Duration::from_secs(120);
/// Longest pause between two looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(60);

/// What one round has seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ScrubTotals {
    instances: u64,
    bytes: u64,
    problems: u64,
}

impl ScrubTotals {
    fn read(operation: &Operation) -> Self {
        let results = operation.results.as_deref();
        let results = results.and_then(|r| serde_json::from_str::<serde_json::Value>(r).ok());
        let number = |name: &str| results.as_ref().and_then(|r| r.get(name)?.as_u64());
        Self {
            instances: number("instances").unwrap_or(0),
            bytes: number("bytes").unwrap_or(0),
            problems: number("problems").unwrap_or(0),
        }
    }

    fn write(self) -> String {
        json!({ "instances": self.instances, "bytes": self.bytes, "problems": self.problems })
            .to_string()
    }
}

impl Archive {
    /// Scrubs once in each `period`, with `pace` bytes in a second at most, until the process ends.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn scrub_for_ever(
        self,
        period: Duration,
        pace: u64,
        watch: Watch,
    ) -> std::result::Result<(), Failure> {
        let holder = self.blobs.serial();
        let mut timer = tokio::time::interval(LOOK.min(period));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            match self.scrub(&holder, period, pace).await {
                Ok(()) => watch.well(),
                Err(error) => {
                    watch.failed(&error);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the scrub will go on"
                    );
                }
            }
        }
    }

    /// Goes on with the round that is under way, or begins one when it is time.
    async fn scrub(&self, holder: &str, period: Duration, pace: u64) -> Result<()> {
        if !self.index.take_lease("scrub", holder, LEASE).await? {
            return Ok(());
        }
        let unfinished = self
            .index
            .unfinished_operations(OperationKind::Scrub)
            .await?;
        let mut operation = match unfinished.into_iter().next() {
            Some(operation) => operation,
            None => match self.begin_scrub(period).await? {
                Some(operation) => operation,
                None => return Ok(()),
            },
        };
        while self.scrub_portion(&mut operation, holder, pace).await? {
            // Another node may have taken over while this one was asleep.
            if !self.index.take_lease("scrub", holder, LEASE).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A new round, unless one began within `period`: its lease lasts that long and nobody renews it.
    async fn begin_scrub(&self, period: Duration) -> Result<Option<Operation>> {
        let round = self.blobs.serial();
        if !self.index.take_lease("scrub round", &round, period).await? {
            return Ok(None);
        }
        let operation = Operation {
            results: Some(ScrubTotals::default().write()),
            ..Operation::new(
                Operation::new_id(),
                OperationKind::Scrub,
                OperationStatus::Running,
            )
        };
        self.index.begin_operation(&operation).await?;
        tracing::info!(
            operation = operation.id,
            "a scrub of all stored bytes begins"
        );
        Ok(Some(operation))
    }

    /// Checks some instances and notes how far it is; false at the end.
    async fn scrub_portion(
        &self,
        operation: &mut Operation,
        holder: &str,
        pace: u64,
    ) -> Result<bool> {
        let mut tally = ScrubTotals::read(operation);
        let rows = self
            .index
            .all_instances(operation.position, PORTION)
            .await?;
        let more = !rows.is_empty();
        let watermarks: Vec<i64> = rows.iter().map(|row| row.watermark).collect();
        let damaged = self.index.damaged_among(&watermarks).await?;
        let begun = tokio::time::Instant::now();
        for row in rows {
            let is_whole = self.scrub_one(&row, (holder, pace), &mut tally).await?;
            if is_whole && damaged.contains(&row.watermark) {
                self.clear_damage(&[row.watermark]).await?;
            }
            operation.position = row.watermark;
            if begun.elapsed() > NOTE {
                break;
            }
        }
        operation.percent = self.scrub_percent(operation.position).await?;
        if !more {
            operation.status = OperationStatus::Completed;
            operation.percent = 100;
        }
        operation.results = Some(tally.write());
        self.index.save_operation(operation).await?;
        if more {
            tracing::debug!(
                operation = operation.id,
                percent = operation.percent,
                "scrubbing"
            );
        } else {
            let ScrubTotals {
                instances,
                bytes,
                problems,
            } = tally;
            tracing::info!(
                operation = operation.id,
                instances,
                bytes,
                problems,
                "the scrub is done"
            );
        }
        Ok(more)
    }

    /// Checks one instance; whether it is whole.
    async fn scrub_one(
        &self,
        row: &InstanceRow,
        (holder, pace): (&str, u64),
        tally: &mut ScrubTotals,
    ) -> Result<bool> {
        let found = match check_blob(&self.blobs, &row.place, None).await {
            None => self.compare_slowly(row, holder, pace).await?,
            found => found,
        };
        // Deleted or mended in the meantime: it was not checked, and nothing is wrong.
        if found.is_some() && !self.is_stored(row).await? {
            return Ok(false);
        }
        tally.instances += 1;
        tally.bytes = tally.bytes.saturating_add(row.place.length);
        let Some(found) = found else {
            return Ok(true);
        };
        tally.problems += 1;
        let problem = found.problem();
        let is_news = match found {
            Fault::Damage(problem) => self.remember_damage(row, problem).await?,
            Fault::Away(_) => true,
        };
        if !is_news {
            return Ok(false);
        }
        if tally.problems <= NAMED {
            let instance = describe(&Target::Instance(row.name.clone()));
            tracing::error!(
                instance,
                key = row.place.key,
                problem,
                "the scrub found damage"
            );
        } else if tally.problems == NAMED + 1 {
            tracing::error!("more damage is counted but not named: `stowage fsck` tells all of it");
        }
        Ok(false)
    }

    /// Compares the digest of a blob, read at the pace that is allowed, and keeps the lease meanwhile; takes the checksums of
    /// its blocks where its row is older than they are.
    async fn compare_slowly(
        &self,
        row: &InstanceRow,
        holder: &str,
        pace: u64,
    ) -> Result<Option<Fault>> {
        let place = &row.place;
        let opened = self
            .blobs
            .stream(&place.key, place.offset, place.length)
            .await;
        let mut chunks = match opened {
            Ok(chunks) => chunks,
            Err(error) => return Ok(Some(Fault::of(error))),
        };
        let mut hasher = ContentHasher::default();
        let mut owed = 0;
        let mut kept = tokio::time::Instant::now();
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Ok(Some(Fault::of(error))),
            };
            hasher.update(&chunk);
            owed += chunk.len();
            // A pause lasts a millisecond at least.
            if owed >= CHUNK {
                tokio::time::sleep(pause(std::mem::take(&mut owed) as u64, pace)).await;
            }
            // One object may take longer than the lease lasts.
            if kept.elapsed() > NOTE {
                kept = tokio::time::Instant::now();
                if !self.index.take_lease("scrub", holder, LEASE).await? {
                    return Err(ArchiveError::Busy {
                        what: "another node, which scrubs now",
                    });
                }
            }
        }
        tokio::time::sleep(pause(owed as u64, pace)).await;
        let sums = hasher.finalize();
        let fault = Fault::of_digest(&sums.digest, &row.digest);
        if fault.is_none() && place.blocks.is_none() {
            self.index.keep_blocks(row.watermark, &sums.blocks).await?;
        }
        Ok(fault)
    }

    /// How much of the index lies before a position.
    async fn scrub_percent(&self, position: i64) -> Result<u8> {
        let newest = self.index.newest_watermark().await?.max(1);
        let share = position.clamp(0, newest).saturating_mul(99) / newest;
        Ok(u8::try_from(share).unwrap_or(99))
    }
}

/// How long reading so many bytes shall take.
fn pause(length: u64, pace: u64) -> Duration {
    match pace {
        0 => Duration::ZERO,
        _ => Duration::from_micros(length.saturating_mul(1_000_000) / pace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_read_back_and_the_pace_is_kept() {
        let tally = ScrubTotals {
            instances: 3,
            bytes: 4,
            problems: 1,
        };
        let operation = Operation {
            results: Some(tally.write()),
            ..Operation::new(
                String::new(),
                OperationKind::Scrub,
                OperationStatus::Running,
            )
        };
        assert_eq!(ScrubTotals::read(&operation), tally);
        assert_eq!(pause(10 << 20, 5 << 20), Duration::from_secs(2));
        assert_eq!(pause(1, 0), Duration::ZERO);
    }
}
