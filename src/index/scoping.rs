//! Conditions that keep a statement within a scope.

use super::sql::{Dialect, Statement};
use crate::dicom::normalize;
use crate::scope::{Scope, Visible};

/// Appends the conditions of the scope on `study`.
pub(super) fn push_scope<D: Dialect>(sql: &mut Statement<D>, scope: &Scope) {
    sql.push(" and study.partition = ").int(scope.partition.0);
    push_visible(sql, scope);
}

/// Appends what limits `study` to those the caller may see.
pub(super) fn push_visible<D: Dialect>(sql: &mut Statement<D>, scope: &Scope) {
    let Visible::Only { patients, studies } = &scope.visible else {
        return;
    };
    sql.push(" and (1 = 0");
    if !studies.is_empty() {
        sql.push(" or study.study_uid in ")
            .texts(studies.iter().map(String::as_str));
    }
    if !patients.is_empty() {
        // The normalized column has the index, the text itself decides.
        let normalized: Vec<String> = patients.iter().map(|id| normalize::text(id)).collect();
        sql.push(" or (study.patient_id_norm in ")
            .texts(normalized.iter().map(String::as_str));
        sql.push(" and study.patient_id in ")
            .texts(patients.iter().map(String::as_str))
            .push(")");
    }
    sql.push(")");
}

/// Appends what limits the table of this prefix to rows of workitems that the caller may see.
pub(super) fn push_workitem_visible<D: Dialect>(
    sql: &mut Statement<D>,
    scope: &Scope,
    table: &'static str,
) {
    let Visible::Only { patients, studies } = &scope.visible else {
        return;
    };
    sql.push(" and (1 = 0");
    for (column, list) in [("study_uid in ", studies), ("patient_id in ", patients)] {
        if !list.is_empty() {
            sql.push(" or ").push(table).push(column);
            sql.texts(list.iter().map(String::as_str));
        }
    }
    sql.push(")");
}
