//! Inserting a batch: one transaction that leaves rows, counters and feed consistent.
//!
//! Invariant: whoever changes anything below a study holds its row locked, rows are locked in the order of their UIDs,
//! and the feed is locked last; so writers wait for each other in one order only.

mod existing;
mod instances;
mod levels;
mod plan;

use std::collections::HashMap;

use plan::{InsertPlan, InsertProgress};

use super::model::{Inserted, Result};
use super::retry::retrying;
use super::row_columns::Driver;
use super::rows::NewInstance;
use super::sql::{Dialect, SqlIndex, StatementBatch};
use super::tag_writes::Newer;
use super::tags_model::TagLock;
use super::timeouts::within;
use super::trash::keep_shared_blobs;
use super::{admission, replace, tag_rows};
use crate::fault;

/// Inserts a batch.
pub(super) async fn insert<D: Dialect>(
    index: &SqlIndex<D>,
    batch: &[NewInstance],
) -> Result<Vec<Inserted>> {
    let mut results = vec![Inserted::Outside; batch.len()];
    let mut open: Vec<usize> = (0..batch.len()).collect();
    // Once around, and again without those that were refused.
    while !open.is_empty() {
        let plan = InsertPlan::new(open.iter().filter_map(|at| batch.get(*at)))?;
        match retrying!(
            D,
            "an insert",
            within(index.times.insert(), plan.run(index))
        )? {
            InsertAttempt::Done(inserted) => {
                for (at, inserted) in open.drain(..).zip(inserted) {
                    if let Some(result) = results.get_mut(at) {
                        *result = inserted;
                    }
                }
            }
            InsertAttempt::Refused(refused, reason) => {
                let mut refused = refused.into_iter();
                open.retain(|at| {
                    let refused = refused.next().unwrap_or(false);
                    if refused && let Some(result) = results.get_mut(*at) {
                        *result = reason.clone();
                    }
                    !refused
                });
            }
        }
    }
    Ok(results)
}

/// What became of a plan.
enum InsertAttempt {
    /// It was carried out.
    Done(Vec<Inserted>),
    /// Nothing was changed: some instances, marked in the order of the plan, are refused for this reason.
    Refused(Vec<bool>, Inserted),
}

impl InsertPlan {
    async fn run<D: Dialect>(&self, index: &SqlIndex<D>) -> Driver<InsertAttempt> {
        let mut transaction = D::begin_write(&index.writers).await?;
        // First of all locks: whoever adds tags waits for nobody who waits for a study.
        D::lock_tags(&mut transaction, TagLock::Shared).await?;
        let tags = tag_rows::wanted::<D>(&mut transaction).await?;
        let studies = self.upsert_studies::<D>(&mut transaction).await?;
        fault::point("insert.studies");
        let refused = admission::refused::<D>(&mut transaction, &self.applicants).await?;
        if refused.contains(&true) {
            transaction.rollback().await?;
            return Ok(InsertAttempt::Refused(refused, Inserted::Outside));
        }
        let study_ids = self.ids_of(self.studies.values(), &studies);
        let series = self.upsert_series::<D>(&mut transaction, &studies).await?;
        fault::point("insert.series");
        let series_ids = self.ids_of(self.series.values(), &series);
        let mut progress = InsertProgress {
            study_ids,
            series_ids,
            existing: HashMap::new(),
            replaced: HashMap::new(),
            watermarks: HashMap::new(),
        };
        self.find_existing::<D>(&mut transaction, &series, &mut progress)
            .await?;
        let unmatched = self.unmatched(&studies, &progress);
        if unmatched.contains(&true) {
            transaction.rollback().await?;
            return Ok(InsertAttempt::Refused(unmatched, Inserted::Unmatched));
        }
        self.find_replaced(&mut progress);
        if progress.existing.len() < self.unique.len() {
            let swept = self.take_back::<D>(&mut transaction, &progress).await?;
            if swept.contains(&true) {
                transaction.rollback().await?;
                return Ok(InsertAttempt::Refused(swept, Inserted::Swept));
            }
            let removed = match progress.replaced_watermarks() {
                replaced if replaced.is_empty() => Vec::new(),
                replaced => replace::remove::<D>(&mut transaction, &replaced).await?,
            };
            // What nobody waits for an answer of comes at the end, as far as it can be one call.
            let mut last = StatementBatch::<D>::new();
            self.insert_instances::<D>(&mut transaction, &mut last, &mut progress)
                .await?;
            fault::point("insert.instances");
            self.update_levels::<D>(&mut transaction, &mut last, (&studies, &series), &progress)
                .await?;
            fault::point("insert.levels");
            let found = self.tag_findings(&tags).await;
            let values = self.tag_values(&tags, &found, &progress);
            values
                .write::<D>(&mut transaction, Newer::Impossible)
                .await?;
            fault::point("insert.tags");
            self.append_changes(&mut last, &progress);
            last.run(&mut transaction).await?;
            keep_shared_blobs::<D>(&mut transaction, &removed).await?;
            fault::point("insert.changes");
            transaction.commit().await?;
            fault::point("insert.committed");
        } else {
            transaction.rollback().await?;
        }
        Ok(InsertAttempt::Done(self.report(&progress)))
    }
}
