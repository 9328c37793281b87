//! Rows of the instances of a batch, values of their tags, and entries of the feed.

use std::collections::HashMap;

use super::plan::{InsertPlan, InsertProgress};
use crate::dicom::attributes::QueryLevel;
use crate::index::feed_model::ChangeAction;
use crate::index::level_rows::{action_code, push_cells, push_columns, rows_per_statement};
use crate::index::micros::now_micros;
use crate::index::row_columns::{Driver, RowColumns, lost_row};
use crate::index::sql::{Dialect, Statement, StatementBatch};
use crate::index::tag_values::TagOutcome;
use crate::index::tag_writes::{TagPlace, TagValues};
use crate::index::tags_model::TagRow;

impl InsertPlan {
    /// Inserts the rows of the new instances; what belongs to the last ones beside their rows is left to `last`.
    pub(super) async fn insert_instances<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        last: &mut StatementBatch<D>,
        progress: &mut InsertProgress,
    ) -> Driver<()> {
        let all: Vec<usize> = (0..self.unique.len()).collect();
        let fresh = self.fresh(&all, progress);
        for chunk in fresh.chunks(rows_per_statement::<D>(QueryLevel::Instance)) {
            last.run(connection).await?;
            let sql = self.instance_statement::<D>(chunk, progress);
            let mut by_key = HashMap::new();
            for row in sql.rows(connection).await? {
                let key = (row.int("series_row")?, row.text("sop_instance_uid")?);
                by_key.insert(key, row.int("watermark")?);
            }
            let mut content = Vec::with_capacity(chunk.len());
            for at in chunk {
                let (Some(new), Some(series)) =
                    (self.unique.get(*at), progress.series_ids.get(*at))
                else {
                    continue;
                };
                let key = (*series, new.name.instance.as_str().to_owned());
                let watermark = by_key.remove(&key).ok_or_else(lost_row)?;
                progress.watermarks.insert(*at, watermark);
                content.push((watermark, new));
            }
            let sql = last.then("insert into instance_content (watermark, bulk, frames, metadata)");
            sql.values(&content, |sql, (watermark, new)| {
                sql.int(*watermark).push(", ").text(&new.bulk).push(", ");
                sql.blob(&new.frames).push(", ").blob(&new.metadata);
            });
        }
        Ok(())
    }

    pub(super) fn instance_statement<D: Dialect>(
        &self,
        chunk: &[usize],
        progress: &InsertProgress,
    ) -> Statement<D> {
        let mut sql = Statement::<D>::new(
            "insert into instance (partition, study_row, series_row, sop_instance_uid, sop_class_uid, \
             transfer_syntax, created, blob_key, blob_hash, blob_offset, blob_length, digest, blocks, layout, pixel, attributes",
        );
        push_columns(&mut sql, QueryLevel::Instance);
        let now = now_micros();
        let rows = chunk.iter().filter_map(|at| {
            let new = self.unique.get(*at)?;
            Some((
                new,
                *progress.study_ids.get(*at)?,
                *progress.series_ids.get(*at)?,
            ))
        });
        sql.push(")").values(rows, |sql, (new, study, series)| {
            sql.int(new.partition.0)
                .push(", ")
                .int(study)
                .push(", ")
                .int(series)
                .push(", ");
            sql.text(new.name.instance.as_str())
                .push(", ")
                .text(&new.sop_class)
                .push(", ");
            sql.text(&new.transfer_syntax)
                .push(", ")
                .int(now)
                .push(", ");
            let (key, hash, offset, length) = &new.blob;
            sql.text(key)
                .push(", ")
                .int(*hash)
                .push(", ")
                .int(*offset)
                .push(", ")
                .int(*length);
            sql.push(", ")
                .blob(&new.digest)
                .push(", ")
                .opt_blob(new.blocks.as_deref())
                .push(", ")
                .text(&new.layout)
                .push(", ");
            sql.opt_text(new.pixel.as_deref()).push(", ");
            push_cells(sql, QueryLevel::Instance, &new.instance);
        });
        sql.push(" returning watermark, series_row, sop_instance_uid");
        sql
    }

    /// What each instance says of each tag; looks into metadata only for tags that came after the parser.
    pub(super) async fn tag_findings(&self, tags: &[TagRow]) -> Vec<Vec<TagOutcome>> {
        let mut found = Vec::with_capacity(self.unique.len());
        for new in &self.unique {
            if new.knows(tags) {
                found.push(new.findings(tags));
                continue;
            }
            let (packed, tags) = (new.packed.clone(), tags.to_vec());
            let looked = tokio::task::spawn_blocking(move || packed.findings(&tags));
            found.push(looked.await.unwrap_or_default());
        }
        found
    }

    /// Values of query tags that the new instances bring along.
    pub(super) fn tag_values(
        &self,
        tags: &[TagRow],
        found: &[Vec<TagOutcome>],
        progress: &InsertProgress,
    ) -> TagValues {
        let mut values = TagValues::default();
        if tags.is_empty() {
            return values;
        }
        for (at, new) in self.unique.iter().enumerate() {
            let place = || {
                Some(TagPlace {
                    partition: new.partition.0,
                    study: *progress.study_ids.get(at)?,
                    series: *progress.series_ids.get(at)?,
                    watermark: *progress.watermarks.get(&at)?,
                })
            };
            if let (Some(place), Some(found)) = (place(), found.get(at)) {
                values.add(tags, found, place);
            }
        }
        values
    }

    pub(super) fn append_changes<D: Dialect>(
        &self,
        last: &mut StatementBatch<D>,
        progress: &InsertProgress,
    ) {
        let change = |(at, watermark): (&usize, &i64)| {
            let study = progress.study_ids.get(*at)?;
            let action = match progress.replaced.contains_key(at) {
                true => ChangeAction::Update,
                false => ChangeAction::Create,
            };
            Some((*watermark, *study, &self.unique.get(*at)?.name, action))
        };
        let mut changes: Vec<_> = progress.watermarks.iter().filter_map(change).collect();
        changes.sort_unstable_by_key(|(watermark, ..)| *watermark);
        D::lock_feed(last);
        for chunk in changes.chunks(500) {
            let sql = last.then("with t as materialized (select ");
            sql.push(D::FEED_TIME).push(
                " as time) insert into change (time, partition, action, watermark, study_uid, series_uid, sop_instance_uid, \
                 patient_id) select t.time, study.partition, v.column5, \
                 v.column1, study.study_uid, v.column3, v.column4, study.patient_id from (",
            );
            sql.values(chunk, |sql, (watermark, study, name, action)| {
                sql.int(*watermark).push(", ").int(*study).push(", ");
                sql.text(name.series.as_str())
                    .push(", ")
                    .text(name.instance.as_str())
                    .push(", ")
                    .int(action_code(*action));
            });
            sql.push(") as v join study on study.id = v.column2 cross join t order by v.column1");
        }
    }
}
