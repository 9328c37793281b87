//! The exchange of all instances of a study for prepared ones: one transaction.
//!
//! Invariant: the locks are those of an insert, in the same order: the tags, the studies in the order of their UIDs, the feed.
//! Nobody else can change what lies below the studies between the look at what is prepared and the end.

use std::collections::BTreeMap;

use super::bulk_update_model::{UpdateCommit, UpdatePlace};
use super::delete::{DeleteIf, target_rows};
use super::exchange::{EXCHANGED, Exchange, LEFT, LockedStudy};
use super::level_rows::push_columns;
use super::micros::now_micros;
use super::prepared::{UNPREPARED, discard_prepared, push_place};
use super::row_columns::{Driver, RowColumns};
use super::scoping::{push_scope, push_visible};
use super::sql::{Dialect, SqlIndex, Statement};
use super::tag_rows;
use super::tags_model::{TagLock, TagRow};
use crate::dicom::attributes::QueryLevel;
use crate::dicom::uid::Target;
use crate::fault;
use crate::scope::Scope;

/// Exchanges all instances of a target for those that are prepared.
pub(super) async fn commit<D: Dialect>(
    index: &SqlIndex<D>,
    scope: &Scope,
    target: &Target,
    place: UpdatePlace<'_>,
) -> Driver<UpdateCommit> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let ended = match begin::<D>(&mut transaction, scope, target, place).await? {
        Ok((exchange, studies, tags)) => {
            exchange.run::<D>(&mut transaction, &studies, &tags).await?
        }
        Err(ended) => ended,
    };
    match ended {
        UpdateCommit::Updated(_) => {
            fault::point("update.exchanged");
            transaction.commit().await?;
            fault::point("update.committed");
        }
        UpdateCommit::Unprepared | UpdateCommit::Refused | UpdateCommit::Gone => {
            transaction.rollback().await?;
        }
    }
    Ok(ended)
}

type Begun<'a> = (Exchange<'a>, BTreeMap<String, LockedStudy>, Vec<TagRow>);

/// Locks everything and looks whether the exchange is possible.
async fn begin<'a, D: Dialect>(
    connection: &mut D::Connection,
    scope: &'a Scope,
    target: &'a Target,
    place: UpdatePlace<'a>,
) -> Driver<Result<Begun<'a>, UpdateCommit>> {
    D::lock_tags(connection, TagLock::Shared).await?;
    let tags = tag_rows::wanted::<D>(connection).await?;
    let mut sql = Statement::<D>::new(
        "select levels from bulk_update_study where state = 0 and operation = ",
    );
    sql.text(place.operation)
        .push(" and number = ")
        .int(place.number);
    let Some(row) = sql.row(connection).await? else {
        return Ok(Err(UpdateCommit::Gone));
    };
    let levels = row.opt_text("levels")?.unwrap_or_default();
    let levels = serde_json::from_str(&levels).unwrap_or_default();
    let mut sql = Statement::<D>::new(
        "select distinct prepared_instance.study_uid from prepared_instance where ",
    );
    push_place(&mut sql, place);
    let source = target.study().as_str();
    let mut uids = vec![source.to_owned()];
    for row in sql.rows(connection).await? {
        uids.push(row.text("study_uid")?);
    }
    uids.sort_unstable();
    uids.dedup();
    let mut studies = BTreeMap::new();
    for uid in uids {
        let locked = if uid == source {
            lock::<D>(connection, scope, &uid).await?
        } else {
            make::<D>(connection, scope, target, &uid).await?
        };
        let Some(locked) = locked else {
            return Ok(Err(UpdateCommit::Gone));
        };
        studies.insert(uid, locked);
    }
    // What may not be seen is as what stands in the way.
    for study in studies.values() {
        let mut sql = Statement::<D>::new("select study.id from study where study.id = ");
        sql.int(study.id);
        push_visible(&mut sql, &scope.visible);
        if sql.row(connection).await?.is_none() {
            return Ok(Err(UpdateCommit::Refused));
        }
    }
    let Some(rows) = target_rows::<D>(connection, scope, target, DeleteIf::Asked).await? else {
        return Ok(Err(UpdateCommit::Gone));
    };
    let mut sql = Statement::<D>::new("select instance.watermark from instance where");
    rows.push(&mut sql);
    sql.push(UNPREPARED).push(" limit 1");
    if sql.row(connection).await?.is_some() {
        return Ok(Err(UpdateCommit::Unprepared));
    }
    // What was deleted or replaced meanwhile has no place any more.
    discard_prepared::<D>(connection, place, LEFT).await?;
    let mut sql = Statement::<D>::new(
        "select count(*) as moved from prepared_instance join instance on instance.watermark = prepared_instance.replaces \
         join series on series.id = instance.series_row join study on study.id = instance.study_row \
         where (study.study_uid <> prepared_instance.study_uid or series.series_uid <> prepared_instance.series_uid \
         or instance.sop_instance_uid <> prepared_instance.sop_instance_uid) and ",
    );
    push_place(&mut sql, place);
    let moved = sql.row(connection).await?;
    let moves = moved.map_or(Ok(0), |row| row.int("moved"))? > 0;
    if moves {
        let mut sql = Statement::<D>::new("select instance.watermark");
        sql.push(EXCHANGED).push(" where ");
        push_place(&mut sql, place);
        sql.push(" limit 1");
        if sql.row(connection).await?.is_some() {
            return Ok(Err(UpdateCommit::Refused));
        }
    }
    let exchange = Exchange {
        scope,
        target,
        place,
        moves,
        levels,
    };
    Ok(Ok((exchange, studies, tags)))
}

/// Locks the study that is updated.
async fn lock<D: Dialect>(
    connection: &mut D::Connection,
    scope: &Scope,
    uid: &str,
) -> Driver<Option<LockedStudy>> {
    let mut sql = Statement::<D>::new(
        "select study.id, study.attributes from study where study.study_uid = ",
    );
    sql.text(uid);
    push_scope(&mut sql, scope);
    sql.push(D::FOR_UPDATE);
    let row = sql.row(connection).await?;
    let locked = |row: D::Row| {
        Ok(LockedStudy {
            id: row.int("id")?,
            is_new: false,
            attributes: row.text("attributes")?,
        })
    };
    row.map(locked).transpose()
}

/// Locks the study that instances come into; one that is not there is made after the pattern of the one they come from.
async fn make<D: Dialect>(
    connection: &mut D::Connection,
    scope: &Scope,
    target: &Target,
    uid: &str,
) -> Driver<Option<LockedStudy>> {
    let mut sql = Statement::<D>::new(
        "insert into study (partition, study_uid, created, patient_name_norm, expires, attributes",
    );
    push_columns(&mut sql, QueryLevel::Study);
    sql.push(") select study.partition, cast(").text(uid);
    sql.push(" as text), cast(").int(now_micros());
    sql.push(" as bigint), study.patient_name_norm, ");
    // The whole study goes on under another name.
    sql.push(match target {
        Target::Study(_) => "study.expires",
        Target::Series(..) | Target::Instance(_) => "null",
    });
    sql.push(", study.attributes");
    push_columns(&mut sql, QueryLevel::Study);
    sql.push(" from study where study.partition = ")
        .int(scope.partition.0);
    sql.push(" and study.study_uid = ")
        .text(target.study().as_str());
    sql.push(
        " on conflict (study_uid, partition) do update set version = study.version \
         returning id, newest, attributes",
    );
    let row = sql.row(connection).await?;
    let made = |row: D::Row| {
        Ok(LockedStudy {
            id: row.int("id")?,
            is_new: row.int("newest")? == 0,
            attributes: row.text("attributes")?,
        })
    };
    row.map(made).transpose()
}
