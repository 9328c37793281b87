//! Instances that are there already: those that stay, and those whose places are taken.

use std::collections::HashMap;

use super::plan::{Existing, InsertPlan, InsertProgress, UpsertedRow};
use crate::fault;
use crate::index::instance_row::blob_place;
use crate::index::model::StoredBlob;
use crate::index::row_columns::{Driver, RowColumns, digest};
use crate::index::sql::{Dialect, Statement};
use crate::index::trash::take_back;

impl InsertPlan {
    /// Finds the instances that are there already; only series that are not new can hold any.
    pub(super) async fn find_existing<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        series: &[UpsertedRow],
        progress: &mut InsertProgress,
    ) -> Driver<()> {
        let old = self
            .series
            .values()
            .zip(series)
            .filter(|(_, row)| !row.is_new);
        let asked: Vec<(usize, i64, &str)> = old
            .flat_map(|(members, row)| members.iter().map(|at| (*at, row.id)))
            .filter_map(|(at, id)| Some((at, id, self.unique.get(at)?.name.instance.as_str())))
            .collect();
        let by_key: HashMap<_, _> = asked
            .iter()
            .map(|(at, id, uid)| ((*id, *uid), *at))
            .collect();
        for chunk in asked.chunks(500) {
            let mut sql = Statement::<D>::new(
                "select series_row, sop_instance_uid, watermark, digest, blocks, blob_key, blob_offset, blob_length, \
                 (select count(*) from damage where damage.watermark = instance.watermark) as damages from instance \
                 where (sop_instance_uid, series_row) in (",
            );
            sql.values(chunk, |sql, (_, id, uid)| {
                sql.text(uid).push(", ").int(*id);
            });
            sql.push(")");
            for row in sql.rows(connection).await? {
                let uid = row.text("sop_instance_uid")?;
                if let Some(at) = by_key.get(&(row.int("series_row")?, uid.as_str())) {
                    let existing = Existing {
                        digest: digest(&row)?,
                        stored: stored_blob(&row)?,
                    };
                    progress.existing.insert(*at, existing);
                }
            }
        }
        Ok(())
    }

    /// Tells those that stay from those that are replaced.
    pub(super) fn find_replaced(&self, progress: &mut InsertProgress) {
        let (replaced, existing) = std::mem::take(&mut progress.existing)
            .into_iter()
            .partition(|(at, existing)| {
                let new = self.unique.get(*at);
                let replaces = new.and_then(|new| Some((new, new.replaces.as_ref()?)));
                let replaces = replaces.is_some_and(|(new, replacement)| {
                    replacement.identical || new.digest != existing.digest
                });
                replaces && !self.is_own(*at, existing)
            });
        progress.existing = existing;
        progress.replaced = replaced;
    }

    /// Takes the blobs of those that are restored off the trash; tells for each instance of the batch whether its blob is
    /// not there any more, or as good as gone.
    pub(super) async fn take_back<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        progress: &InsertProgress,
    ) -> Driver<Vec<bool>> {
        let restored = |at: usize| {
            let new = self.unique.get(at).filter(|new| new.restores);
            new.filter(|_| !progress.existing.contains_key(&at))
        };
        let all = (0..self.unique.len()).filter_map(restored);
        let mut keys: Vec<&str> = all.map(|new| new.blob.0.as_str()).collect();
        if keys.is_empty() {
            return Ok(vec![false; self.slots.len()]);
        }
        keys.sort_unstable();
        let taken = take_back::<D>(connection, &keys).await?;
        fault::point("insert.restored");
        let swept = |at: usize| restored(at).is_some_and(|new| !taken.contains(&new.blob.0));
        Ok(self.slots.iter().map(|(at, _)| swept(*at)).collect())
    }
}

/// Reads where the bytes of an instance lie.
fn stored_blob(row: &impl RowColumns) -> Driver<StoredBlob> {
    Ok(StoredBlob {
        watermark: row.int("watermark")?,
        place: blob_place(row)?,
        damaged: row.int("damages")? > 0,
    })
}
