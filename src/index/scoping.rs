//! Conditions that keep a statement within a scope.

use super::sql::{Dialect, Statement};
use crate::dicom::normalize;
use crate::scope::{Scope, ScopeSet, Visible};

/// Appends the conditions of the scope on `study`.
pub(super) fn push_scope<D: Dialect>(sql: &mut Statement<D>, scope: &Scope) {
    sql.push(" and study.partition = ").int(scope.partition.0);
    push_visible(sql, &scope.visible);
}

/// Appends what limits `study` to those that a member of the set admits.
pub(super) fn push_scopes<D: Dialect>(sql: &mut Statement<D>, scopes: &ScopeSet) {
    push_any(sql, scopes, "study.partition = ", push_visible);
}

/// Appends the conditions of the set, the partition in the column that `partition` ends with, the studies as `visible` says.
pub(super) fn push_any<D: Dialect>(
    sql: &mut Statement<D>,
    scopes: &ScopeSet,
    partition: &'static str,
    visible: impl Fn(&mut Statement<D>, &Visible),
) {
    if scopes.is_everything() {
        return;
    }
    if let (None, [scope]) = (&scopes.everywhere, scopes.within.as_slice()) {
        sql.push(" and ").push(partition).int(scope.partition.0);
        visible(sql, &scope.visible);
        return;
    }
    sql.push(" and (1 = 0");
    if let Some(everywhere) = &scopes.everywhere {
        sql.push(" or (1 = 1");
        visible(sql, everywhere);
        sql.push(")");
    }
    for scope in &scopes.within {
        sql.push(" or (").push(partition).int(scope.partition.0);
        visible(sql, &scope.visible);
        sql.push(")");
    }
    sql.push(")");
}

/// Appends what limits `study` to those the caller may see.
pub(super) fn push_visible<D: Dialect>(sql: &mut Statement<D>, visible: &Visible) {
    let Visible::Only { patients, studies } = visible else {
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
