//! Rows of studies and series as statements write them.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::feed_model::ChangeAction;
use super::level_values::{
    ColumnValue, LevelValues, column_name, has_norm, name_kind, stored_keys,
};
use super::row_columns::{Driver, RowColumns};
use super::sql::{Dialect, Statement, StatementBatch};
use super::words::word_suffixes;
use crate::dicom::attributes::QueryLevel;

/// Number of an action in `change.action`.
pub(super) fn action_code(action: ChangeAction) -> i64 {
    match action {
        ChangeAction::Create => 0,
        ChangeAction::Delete => 1,
        ChangeAction::Update => 2,
    }
}

pub(super) fn rows_per_statement<D: Dialect>(level: QueryLevel) -> usize {
    // Cells may be bound twice (norm); the identities and the wide columns are about twenty.
    let columns = stored_keys(level).len() * 2 + 20;
    (D::MAX_BINDS / columns).clamp(1, 200)
}

pub(super) fn push_columns<D: Dialect>(sql: &mut Statement<D>, level: QueryLevel) {
    for key in stored_keys(level) {
        sql.push(", ").push(column_name(key));
        if has_norm(key) {
            sql.push(", ").push(column_name(key)).push("_norm");
        }
    }
}

pub(super) fn push_cells<D: Dialect>(
    sql: &mut Statement<D>,
    level: QueryLevel,
    values: &LevelValues,
) {
    sql.text(&values.attributes.to_text());
    for (key, cell) in stored_keys(level).iter().zip(&values.cells) {
        sql.push(", ");
        match cell {
            ColumnValue::Number(number) => {
                sql.opt_int(*number);
            }
            ColumnValue::Text(text, norm) => {
                sql.opt_text(text.as_deref());
                if has_norm(key) {
                    sql.push(", ").opt_text(norm.as_deref());
                }
            }
        }
    }
}

/// The stored attributes with newer ones taken over; none when that changes nothing.
pub(super) fn merged_text(stored: &str, values: &LevelValues) -> Option<String> {
    let mut merged = Attributes::parse(stored).unwrap_or_default();
    merged.merge(&values.attributes);
    let text = merged.to_text();
    (text != stored).then_some(text)
}

pub(super) async fn update_attributes<D: Dialect>(
    connection: &mut D::Connection,
    level: QueryLevel,
    id: i64,
    attributes: &str,
    values: &LevelValues,
) -> Driver<()> {
    let mut sql = Statement::<D>::new(match level {
        QueryLevel::Study => "update study set attributes = ",
        QueryLevel::Series => "update series set attributes = ",
        QueryLevel::Instance => return Ok(()),
    });
    sql.text(attributes);
    for (key, cell) in stored_keys(level).iter().zip(&values.cells) {
        let name = column_name(key);
        match cell {
            ColumnValue::Number(Some(number)) => {
                sql.push(", ").push(name).push(" = ").int(*number);
            }
            ColumnValue::Text(Some(text), norm) => {
                sql.push(", ").push(name).push(" = ").text(text);
                if let Some(norm) = norm {
                    sql.push(", ").push(name).push("_norm = ").text(norm);
                }
            }
            ColumnValue::Number(None) | ColumnValue::Text(None, _) => {}
        }
    }
    sql.push(" where id = ").int(id);
    sql.run(connection).await.map(|_| ())
}

/// Modalities of studies, each sorted and joined by backslashes.
pub(super) async fn study_modalities<D: Dialect>(
    connection: &mut D::Connection,
    studies: &[i64],
) -> Driver<HashMap<i64, String>> {
    let mut found: HashMap<i64, Vec<String>> = studies.iter().map(|id| (*id, Vec::new())).collect();
    for chunk in studies.chunks(500) {
        let mut sql = Statement::<D>::new(
            "select distinct study_row, modality from series where study_row in ",
        );
        sql.ints(chunk.iter().copied());
        sql.push(" and modality is not null");
        for row in sql.rows(connection).await? {
            let modality = row.text("modality")?;
            found
                .entry(row.int("study_row")?)
                .or_default()
                .push(modality);
        }
    }
    let joined = found.into_iter().map(|(id, mut modalities)| {
        modalities.sort_unstable();
        (id, modalities.join("\\"))
    });
    Ok(joined.collect())
}

/// The name of the patient that a study is sorted by.
pub(super) fn sorted_name(values: &LevelValues) -> Option<String> {
    let mut names = values.names.iter();
    let patient = names.find(|name| name.kind == name_kind("patient_name"))?;
    patient.groups.first().cloned()
}

/// Rows of the name tables to write for the studies of a batch.
#[derive(Default)]
pub(super) struct NameRows {
    /// Study and kind.
    stale: Vec<(i64, i64)>,
    /// Partition, study, kind and folded group.
    groups: Vec<(i64, i64, i64, String)>,
}

impl NameRows {
    pub(super) fn add(
        &mut self,
        partition: i64,
        study: i64,
        values: &LevelValues,
        wanted: impl Fn(&str) -> bool,
    ) {
        for name in values.names.iter().filter(|name| wanted(&name.attribute)) {
            let rows = name.groups.iter().cloned();
            self.groups
                .extend(rows.map(|group| (partition, study, name.kind, group)));
        }
    }

    pub(super) fn replace(
        &mut self,
        partition: i64,
        study: i64,
        values: &LevelValues,
        changed: impl Fn(&str) -> bool,
    ) {
        let filled = values.names.iter().filter(|name| !name.groups.is_empty());
        let changed_names = filled.filter(|name| changed(&name.attribute));
        self.stale
            .extend(changed_names.map(|name| (study, name.kind)));
        self.add(partition, study, values, changed);
    }

    pub(super) fn write<D: Dialect>(&self, last: &mut StatementBatch<D>) {
        for (study, kind) in &self.stale {
            for table in ["delete from study_name", "delete from study_name_word"] {
                let sql = last.then(table).push(" where study_row = ");
                sql.int(*study).push(" and kind = ").int(*kind);
            }
        }
        for chunk in self.groups.chunks(500) {
            let sql = last.then("insert into study_name (partition, study_row, kind, text)");
            sql.values(chunk, |sql, (partition, study, kind, text)| {
                sql.int(*partition)
                    .push(", ")
                    .int(*study)
                    .push(", ")
                    .int(*kind)
                    .push(", ")
                    .text(text);
            });
        }
        let mut words: Vec<(i64, i64, i64, String)> = Vec::new();
        for (partition, study, kind, group) in &self.groups {
            let suffixes = word_suffixes(group).into_iter();
            words.extend(suffixes.map(|text| (*partition, *study, *kind, text)));
        }
        words.sort_unstable();
        words.dedup();
        for chunk in words.chunks(500) {
            let sql = last.then("insert into study_name_word (partition, study_row, kind, text)");
            sql.values(chunk, |sql, (partition, study, kind, text)| {
                sql.int(*partition)
                    .push(", ")
                    .int(*study)
                    .push(", ")
                    .int(*kind)
                    .push(", ")
                    .text(text);
            });
        }
    }
}
