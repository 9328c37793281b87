//! Studies and series of a batch: upserted first, and brought up to date at the end.

use std::collections::HashMap;

use super::plan::{InsertPlan, InsertProgress, UpsertedRow};
use crate::dicom::attributes::QueryLevel;
use crate::index::attributes::Attributes;
use crate::index::level_rows::{
    NameRows, merged_text, push_cells, push_columns, rows_per_statement, sorted_name,
    study_modalities, update_attributes,
};
use crate::index::micros::now_micros;
use crate::index::row_columns::{Driver, RowColumns, lost_row};
use crate::index::sql::{Dialect, Statement, StatementBatch};

impl InsertPlan {
    /// Creates the studies that are missing and locks those that are not, in the order of `self.studies`.
    pub(super) async fn upsert_studies<D: Dialect>(
        &self,
        connection: &mut D::Connection,
    ) -> Driver<Vec<UpsertedRow>> {
        let groups: Vec<_> = self.studies.iter().collect();
        let mut rows = Vec::with_capacity(groups.len());
        for chunk in groups.chunks(rows_per_statement::<D>(QueryLevel::Study)) {
            let mut sql =
                Statement::<D>::new("insert into study (partition, study_uid, created, attributes");
            push_columns(&mut sql, QueryLevel::Study);
            sql.push(")")
                .values(chunk, |sql, ((partition, uid), members)| {
                    sql.int(*partition).push(", ").text(uid).push(", ");
                    sql.int(now_micros()).push(", ");
                    push_cells(sql, QueryLevel::Study, &self.merged(members, |p| &p.study));
                });
            sql.push(
                " on conflict (study_uid, partition) do update set version = study.version \
                 returning id, partition, study_uid, newest, version, instance_count, attributes, \
                 modalities as modality",
            );
            let mut found = HashMap::new();
            for row in sql.rows(connection).await? {
                found.insert(
                    (row.int("partition")?, row.text("study_uid")?),
                    UpsertedRow::read(&row)?,
                );
            }
            for (key, _) in chunk {
                rows.push(found.remove(*key).ok_or_else(lost_row)?);
            }
        }
        Ok(rows)
    }

    /// Likewise for series.
    pub(super) async fn upsert_series<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        studies: &[UpsertedRow],
    ) -> Driver<Vec<UpsertedRow>> {
        let study_ids: HashMap<_, _> = self
            .studies
            .keys()
            .zip(studies.iter().map(|s| s.id))
            .collect();
        let mut groups = Vec::with_capacity(self.series.len());
        for ((partition, study, series), members) in &self.series {
            let id = study_ids.get(&(*partition, study.clone()));
            let id = *id.ok_or_else(lost_row)?;
            groups.push((*partition, id, series, members));
        }
        let mut rows = Vec::with_capacity(groups.len());
        for chunk in groups.chunks(rows_per_statement::<D>(QueryLevel::Series)) {
            let mut sql = Statement::<D>::new(
                "insert into series (partition, study_row, series_uid, created, attributes",
            );
            push_columns(&mut sql, QueryLevel::Series);
            sql.push(")")
                .values(chunk, |sql, (partition, study, uid, members)| {
                    sql.int(*partition).push(", ").int(*study).push(", ");
                    sql.text(uid).push(", ").int(now_micros()).push(", ");
                    push_cells(
                        sql,
                        QueryLevel::Series,
                        &self.merged(members, |p| &p.series),
                    );
                });
            sql.push(
                " on conflict (series_uid, study_row) do update set version = series.version \
                 returning id, study_row, series_uid, newest, version, instance_count, attributes, modality",
            );
            let mut found = HashMap::new();
            for row in sql.rows(connection).await? {
                found.insert(
                    (row.int("study_row")?, row.text("series_uid")?),
                    UpsertedRow::read(&row)?,
                );
            }
            for (_, study, uid, _) in chunk {
                let key = (*study, (*uid).clone());
                rows.push(found.remove(&key).ok_or_else(lost_row)?);
            }
        }
        Ok(rows)
    }

    /// Brings attributes, names, counters, modalities and versions of studies and series up to date.
    pub(super) async fn update_levels<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        last: &mut StatementBatch<D>,
        (studies, series): (&[UpsertedRow], &[UpsertedRow]),
        progress: &InsertProgress,
    ) -> Driver<()> {
        let mut counts: Vec<(i64, i64, i64)> = Vec::new();
        let mut new_series: HashMap<i64, i64> = HashMap::new();
        let mut stale_modalities: Vec<i64> = Vec::new();
        for (members, row) in self.series.values().zip(series) {
            let fresh = self.fresh(members, progress);
            let Some(first) = fresh.first() else {
                continue;
            };
            let values = self.merged(&fresh, |p| &p.series);
            let study = progress.study_ids.get(*first).copied().unwrap_or(0);
            if row.is_new {
                *new_series.entry(study).or_default() += 1;
                stale_modalities.push(study);
            } else if let Some(merged) = merged_text(&row.attributes, &values) {
                update_attributes::<D>(connection, QueryLevel::Series, row.id, &merged, &values)
                    .await?;
                let modality = values.text(QueryLevel::Series, "modality");
                if modality.is_some() && modality != row.modality.as_deref() {
                    stale_modalities.push(study);
                }
            }
            let more = progress.count_new(&fresh);
            counts.push((row.id, more, progress.newest(&fresh)));
        }
        update_series_counts(last, &counts);

        let mut modalities = study_modalities::<D>(connection, &stale_modalities).await?;
        let mut names = NameRows::default();
        let mut counts: Vec<StudyCounts> = Vec::new();
        for ((key, members), row) in self.studies.iter().zip(studies) {
            let fresh = self.fresh(members, progress);
            if fresh.is_empty() {
                continue;
            }
            let values = self.merged(&fresh, |p| &p.study);
            if row.is_new {
                names.add(key.0, row.id, &values, |_| true);
            } else if let Some(merged) = merged_text(&row.attributes, &values) {
                update_attributes::<D>(connection, QueryLevel::Study, row.id, &merged, &values)
                    .await?;
                let stored = Attributes::parse(&row.attributes).unwrap_or_default();
                let changed = |name: &str| stored.get(name) != values.attributes.get(name);
                names.replace(key.0, row.id, &values, changed);
            }
            counts.push(StudyCounts {
                id: row.id,
                instances: progress.count_new(&fresh),
                series: new_series.get(&row.id).copied().unwrap_or(0),
                newest: progress.newest(&fresh),
                modalities: modalities
                    .remove(&row.id)
                    .or_else(|| row.modality.clone())
                    .unwrap_or_default(),
                name: sorted_name(&values),
                expires: self.prepared(&fresh).last().and_then(|new| new.expires),
            });
        }
        names.write(last);
        update_study_counts(last, &counts);
        Ok(())
    }
}

/// Counters to add to a study.
struct StudyCounts {
    id: i64,
    instances: i64,
    series: i64,
    newest: i64,
    modalities: String,
    /// What the study is sorted by; none leaves it as it is.
    name: Option<String>,
    /// When it is to be deleted: what the last one says.
    expires: Option<i64>,
}

fn update_series_counts<D: Dialect>(last: &mut StatementBatch<D>, counts: &[(i64, i64, i64)]) {
    for chunk in counts.chunks(500) {
        let sql = last.then("update series set version = ");
        sql.push(D::NEXT_VERSION).push(
            ", instance_count = series.instance_count + v.column2, newest = v.column3 from (",
        );
        sql.values(chunk, |sql, (id, instances, newest)| {
            sql.int(*id)
                .push(", ")
                .int(*instances)
                .push(", ")
                .int(*newest);
        });
        sql.push(") as v where series.id = v.column1");
    }
}

fn update_study_counts<D: Dialect>(last: &mut StatementBatch<D>, counts: &[StudyCounts]) {
    for chunk in counts.chunks(500) {
        let sql = last.then("update study set version = ");
        sql.push(D::NEXT_VERSION).push(
            ", instance_count = study.instance_count + v.column2, series_count = study.series_count + v.column3, \
             newest = v.column4, modalities = v.column5, \
             patient_name_norm = coalesce(v.column6, study.patient_name_norm), expires = v.column7 from (",
        );
        sql.values(chunk, |sql, counts| {
            sql.int(counts.id)
                .push(", ")
                .int(counts.instances)
                .push(", ");
            sql.int(counts.series)
                .push(", ")
                .int(counts.newest)
                .push(", ");
            sql.text(&counts.modalities)
                .push(", ")
                .opt_text(counts.name.as_deref())
                .push(", ")
                .opt_int(counts.expires);
        });
        sql.push(") as v where study.id = v.column1");
    }
}
