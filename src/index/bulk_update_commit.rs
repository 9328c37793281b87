//! The exchange of all instances of a study for prepared ones: one transaction.
//!
//! Invariant: the locks are those of an insert, in the same order: the tags, the studies in the order of their UIDs, the feed.
//! Nobody else can change what lies below the studies between the look at what is prepared and the end.

use std::collections::BTreeMap;

use super::bulk_update_model::{UpdateCommit, UpdatePlace};
use super::delete::{DeleteIf, recount, target_rows};
use super::insert::{
    NameRows, action_code, merged_text, push_columns, sorted_name, update_attributes,
};
use super::model::{ChangeAction, TagRow, now_micros};
use super::prepared::{UNPREPARED, discard_prepared, push_place};
use super::rows::{InstanceLevels, stored_keys};
use super::scoping::{push_scope, push_visible};
use super::sql::{Dialect, Driver, RowColumns, SqlIndex, Statement, StatementBatch, TagLock};
use super::tag_values::TagOutcome;
use super::tags::{self, Newer, TagPlace, TagValues};
use super::trash::{Removal, keep_shared_blobs, trash_blobs};
use super::trash_model::RemovalReason;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::metadata;
use crate::dicom::uid::Target;
use crate::fault;
use crate::scope::Scope;

/// Instances whose values of tags are written at a time.
const TAGGED: i64 = 200;
/// Largest metadata of one instance that is unpacked.
const MAX_METADATA: usize = 1 << 28;

/// That the version that a prepared instance was made of is gone.
const LEFT: &str = " and not exists (select 1 from instance where instance.watermark = prepared_instance.replaces)";

/// Tables that give each prepared instance the rows of its new study and series.
const PLACES: &str = " from prepared_instance join study on study.study_uid = prepared_instance.study_uid \
     and study.partition = prepared_instance.partition \
     join series on series.series_uid = prepared_instance.series_uid and series.study_row = study.id";

/// Tables that give each prepared instance its new row, too.
const EXCHANGED: &str = " from prepared_instance join study on study.study_uid = prepared_instance.study_uid \
     and study.partition = prepared_instance.partition \
     join series on series.series_uid = prepared_instance.series_uid and series.study_row = study.id \
     join instance on instance.sop_instance_uid = prepared_instance.sop_instance_uid \
     and instance.series_row = series.id";

/// A study that is changed.
struct LockedStudy {
    id: i64,
    /// It was made in this transaction.
    is_new: bool,
    attributes: String,
}

/// What is exchanged.
struct Exchange<'a> {
    scope: &'a Scope,
    target: &'a Target,
    place: UpdatePlace<'a>,
    /// Some of the UIDs change.
    moves: bool,
    levels: InstanceLevels,
}

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
    let tags = tags::wanted::<D>(connection).await?;
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

impl Exchange<'_> {
    async fn run<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        studies: &BTreeMap<String, LockedStudy>,
        tags: &[TagRow],
    ) -> Driver<UpdateCommit> {
        let mut sql =
            Statement::<D>::new("select count(*) as instances from prepared_instance where ");
        push_place(&mut sql, self.place);
        let row = sql.row(connection).await?;
        let count = row.map_or(Ok(0), |row| row.int("instances"))?;
        if count == 0 {
            return Ok(UpdateCommit::Gone);
        }
        let ids: Vec<i64> = studies.values().map(|study| study.id).collect();
        let source = studies
            .get(self.target.study().as_str())
            .map_or(0, |study| study.id);
        let mut sql = Statement::<D>::new(
            "select coalesce(max(watermark), 0) as newest from instance where study_row in ",
        );
        sql.ints(ids.iter().copied());
        let row = sql.row(connection).await?;
        let before = row.map_or(Ok(0), |row| row.int("newest"))?;
        if self.moves {
            self.make_series::<D>(connection).await?;
            for study in studies.values().filter(|study| study.is_new) {
                copy_names::<D>(connection, self.scope, source, study.id).await?;
            }
            self.append_changes::<D>(connection, ChangeAction::Delete)
                .await?;
        }
        fault::point("update.levels");
        let entries = self.keep_originals::<D>(connection).await?;
        fault::point("update.originals");
        self.exchange_rows::<D>(connection).await?;
        fault::point("update.rows");
        for study in studies.values() {
            // A study that instances leave stays as it was.
            if !self.moves || study.id != source || studies.len() == 1 {
                self.update_study::<D>(connection, study).await?;
            }
        }
        if self.moves {
            self.update_series::<D>(connection).await?;
        }
        recount::<D>(connection, &ids).await?;
        fault::point("update.counted");
        if !tags.is_empty() {
            self.write_tags::<D>(connection, tags, before).await?;
        }
        fault::point("update.tags");
        let action = match self.moves {
            true => ChangeAction::Create,
            false => ChangeAction::Update,
        };
        self.append_changes::<D>(connection, action).await?;
        keep_shared_blobs::<D>(connection, &entries).await?;
        fault::point("update.changes");
        let mut sql = Statement::<D>::new("delete from prepared_instance where ");
        push_place(&mut sql, self.place);
        sql.run(connection).await?;
        let mut sql = Statement::<D>::new("update bulk_update_study set state = 1, instances = ");
        sql.int(count);
        sql.push(" where operation = ").text(self.place.operation);
        sql.push(" and number = ").int(self.place.number);
        sql.run(connection).await?;
        Ok(UpdateCommit::Updated(u64::try_from(count).unwrap_or(0)))
    }

    /// Appends the list of the versions that are exchanged.
    fn push_replaced<D: Dialect>(&self, sql: &mut Statement<D>) {
        sql.push("(select prepared_instance.replaces from prepared_instance where ");
        push_place(sql, self.place);
        sql.push(")");
    }

    /// Makes the series that are not there after the pattern of those that the instances come from.
    async fn make_series<D: Dialect>(&self, connection: &mut D::Connection) -> Driver<()> {
        let mut sql = Statement::<D>::new(
            "insert into series (partition, study_row, series_uid, created, attributes",
        );
        push_columns(&mut sql, QueryLevel::Series);
        sql.push(") select source.partition, moved.study_row, moved.series_uid, cast(");
        sql.int(now_micros()).push(" as bigint), source.attributes");
        for key in stored_keys(QueryLevel::Series) {
            let column = super::rows::column_name(key);
            sql.push(", source.").push(column);
            if super::rows::has_norm(key) {
                sql.push(", source.").push(column).push("_norm");
            }
        }
        sql.push(
            " from (select study.id as study_row, prepared_instance.series_uid, min(instance.series_row) as series_row \
             from prepared_instance join instance on instance.watermark = prepared_instance.replaces \
             join study on study.study_uid = prepared_instance.study_uid \
             and study.partition = prepared_instance.partition where ",
        );
        push_place(&mut sql, self.place);
        sql.push(
            " group by study.id, prepared_instance.series_uid) as moved join series as source on source.id = moved.series_row \
             where true on conflict (series_uid, study_row) do nothing",
        );
        sql.run(connection).await.map(|_| ())
    }

    /// Lets the versions that were stored be the first ones, or go to the trash where there is a first one; returns the
    /// entries there.
    async fn keep_originals<D: Dialect>(&self, connection: &mut D::Connection) -> Driver<Vec<i64>> {
        let removal = Removal {
            reason: RemovalReason::Replaced,
            since: now_micros(),
            meant: [None, None],
        };
        let entries = trash_blobs::<D>(connection, &removal, |sql| {
            sql.push(" instance.watermark in ");
            self.push_replaced(sql);
            sql.push(
                " and exists (select 1 from original where original.current = instance.watermark)",
            );
        })
        .await?;
        let mut sql = Statement::<D>::new(
            "insert into original (watermark, current, sop_class_uid, created, blob_offset, blob_length, blob_hash, \
             digest, blocks, blob_key, layout, pixel, bulk, frames, metadata) \
             select instance.watermark, instance.watermark, instance.sop_class_uid, instance.created, \
             instance.blob_offset, instance.blob_length, instance.blob_hash, instance.digest, instance.blocks, \
             instance.blob_key, \
             instance.layout, instance.pixel, instance_content.bulk, instance_content.frames, \
             instance_content.metadata from instance \
             join instance_content on instance_content.watermark = instance.watermark \
             where not exists (select 1 from original where original.current = instance.watermark) \
             and instance.watermark in ",
        );
        self.push_replaced(&mut sql);
        sql.run(connection).await?;
        Ok(entries)
    }

    /// Takes the old rows away and puts the new ones in.
    async fn exchange_rows<D: Dialect>(&self, connection: &mut D::Connection) -> Driver<()> {
        for table in [
            "delete from instance_content where watermark in ",
            "delete from instance where watermark in ",
        ] {
            let mut sql = Statement::<D>::new(table);
            self.push_replaced(&mut sql);
            sql.run(connection).await?;
        }
        let mut sql = Statement::<D>::new(
            "insert into instance (partition, study_row, series_row, sop_instance_uid, sop_class_uid, transfer_syntax, \
             created, blob_key, blob_hash, blob_offset, blob_length, digest, blocks, layout, pixel, attributes",
        );
        push_columns(&mut sql, QueryLevel::Instance);
        sql.push(
            ") select prepared_instance.partition, study.id, series.id, prepared_instance.sop_instance_uid, \
             prepared_instance.sop_class_uid, prepared_instance.transfer_syntax, (select original.created \
             from original where original.current = prepared_instance.replaces), prepared_instance.blob_key, \
             prepared_instance.blob_hash, prepared_instance.blob_offset, \
             prepared_instance.blob_length, prepared_instance.digest, prepared_instance.blocks, prepared_instance.layout, \
             prepared_instance.pixel, prepared_instance.attributes",
        );
        for key in stored_keys(QueryLevel::Instance) {
            let column = super::rows::column_name(key);
            sql.push(", prepared_instance.").push(column);
        }
        sql.push(PLACES).push(" where ");
        push_place(&mut sql, self.place);
        sql.push(" order by prepared_instance.replaces");
        sql.run(connection).await?;
        let mut sql = Statement::<D>::new(
            "insert into instance_content (watermark, bulk, frames, metadata) select instance.watermark, \
             prepared_instance.bulk, prepared_instance.frames, prepared_instance.metadata",
        );
        sql.push(EXCHANGED).push(" where ");
        push_place(&mut sql, self.place);
        sql.run(connection).await?;
        let mut sql =
            Statement::<D>::new("update original set current = (select instance.watermark");
        sql.push(EXCHANGED).push(
            " where prepared_instance.replaces = original.current) where original.current in ",
        );
        self.push_replaced(&mut sql);
        sql.run(connection).await.map(|_| ())
    }

    /// Brings attributes and names of a study up to date.
    async fn update_study<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        study: &LockedStudy,
    ) -> Driver<()> {
        let values = &self.levels.study;
        let Some(merged) = merged_text(&study.attributes, values) else {
            return Ok(());
        };
        update_attributes::<D>(connection, QueryLevel::Study, study.id, &merged, values).await?;
        let mut names = NameRows::default();
        names.replace(self.scope.partition.0, study.id, values, |_| true);
        let mut batch = StatementBatch::<D>::new();
        names.write(&mut batch);
        if let Some(name) = sorted_name(values) {
            let sql = batch.then("update study set patient_name_norm = ");
            sql.text(&name).push(" where id = ").int(study.id);
        }
        batch.run(connection).await
    }

    /// Brings attributes of the series up to date that instances came into.
    async fn update_series<D: Dialect>(&self, connection: &mut D::Connection) -> Driver<()> {
        if matches!(self.target, Target::Study(_)) {
            // Each of them has its own, which it brought along.
            return Ok(());
        }
        let mut sql = Statement::<D>::new("select distinct series.id, series.attributes");
        sql.push(PLACES).push(" where ");
        push_place(&mut sql, self.place);
        let values = &self.levels.series;
        for row in sql.rows(connection).await? {
            if let Some(merged) = merged_text(&row.text("attributes")?, values) {
                let id = row.int("id")?;
                update_attributes::<D>(connection, QueryLevel::Series, id, &merged, values).await?;
            }
        }
        Ok(())
    }

    /// Writes what the new versions say of query tags.
    async fn write_tags<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        tags: &[TagRow],
        before: i64,
    ) -> Driver<()> {
        let mut after = before;
        loop {
            let mut sql = Statement::<D>::new(
                "select instance.watermark, instance.partition, instance.study_row, instance.series_row, \
                 prepared_instance.findings",
            );
            sql.push(EXCHANGED).push(" where ");
            push_place(&mut sql, self.place);
            sql.push(" and instance.watermark > ").int(after);
            sql.push(" order by instance.watermark").limit(TAGGED);
            let rows = sql.rows(connection).await?;
            let mut values = TagValues::default();
            for row in &rows {
                let place = TagPlace {
                    partition: row.int("partition")?,
                    study: row.int("study_row")?,
                    series: row.int("series_row")?,
                    watermark: row.int("watermark")?,
                };
                after = place.watermark;
                let known = known_findings(&row.text("findings")?, tags);
                let found = match known {
                    Some(found) => found,
                    None => look::<D>(connection, after, tags).await?,
                };
                values.add(tags, &found, place);
            }
            values.write::<D>(connection, Newer::Impossible).await?;
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    /// Writes the entries of the feed: of the versions that go, or of those that came.
    async fn append_changes<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        action: ChangeAction,
    ) -> Driver<()> {
        let mut batch = StatementBatch::<D>::new();
        D::lock_feed(&mut batch);
        let sql = batch.then("with t as materialized (select ");
        sql.push(D::FEED_TIME).push(
            " as time) insert into change (time, partition, action, watermark, study_uid, series_uid, sop_instance_uid, \
             patient_id) select t.time, instance.partition, ",
        );
        sql.int(action_code(action)).push(
            ", instance.watermark, study.study_uid, series.series_uid, instance.sop_instance_uid, study.patient_id",
        );
        if action == ChangeAction::Delete {
            sql.push(
                " from prepared_instance join instance on instance.watermark = prepared_instance.replaces \
                 join series on series.id = instance.series_row join study on study.id = instance.study_row",
            );
        } else {
            sql.push(EXCHANGED);
        }
        sql.push(" cross join t where ");
        push_place(sql, self.place);
        sql.push(" order by instance.watermark");
        batch.run(connection).await
    }
}

/// What a prepared instance was found to say of the tags; none when it was not looked for one of them.
fn known_findings(text: &str, tags: &[TagRow]) -> Option<Vec<TagOutcome>> {
    let known: Vec<(String, String, TagOutcome)> = serde_json::from_str(text).ok()?;
    let find = |row: &TagRow| {
        let creator = row.tag.private_creator.as_deref().unwrap_or_default();
        let found = known
            .iter()
            .find(|(path, of, _)| *path == row.tag.path && of == creator);
        found.map(|(_, _, outcome)| outcome.clone())
    };
    tags.iter().map(find).collect()
}

/// Looks into the metadata of an instance for tags that came after it was prepared.
async fn look<D: Dialect>(
    connection: &mut D::Connection,
    watermark: i64,
    tags: &[TagRow],
) -> Driver<Vec<TagOutcome>> {
    let mut sql = Statement::<D>::new("select metadata from instance_content where watermark = ");
    sql.int(watermark);
    let row = sql.row(connection).await?;
    let packed = row.map_or_else(|| Ok(Vec::new()), |row| row.blob("metadata"))?;
    let tags = tags.to_vec();
    let looked =
        tokio::task::spawn_blocking(move || match metadata::unpack(&packed, MAX_METADATA) {
            Ok(metadata) => super::tag_values::findings(&metadata.text, &tags),
            Err(_) => vec![TagOutcome::Nothing; tags.len()],
        });
    Ok(looked.await.unwrap_or_default())
}

/// Gives a new study the names of the one its instances come from.
async fn copy_names<D: Dialect>(
    connection: &mut D::Connection,
    scope: &Scope,
    from: i64,
    to: i64,
) -> Driver<()> {
    for (insert, rest) in [
        (
            "insert into study_name (partition, kind, text, study_row) select cast(",
            " as bigint) from study_name where study_row = ",
        ),
        (
            "insert into study_name_word (partition, kind, text, study_row) select cast(",
            " as bigint) from study_name_word where study_row = ",
        ),
    ] {
        let mut sql = Statement::<D>::new(insert);
        sql.int(scope.partition.0)
            .push(" as bigint), kind, text, cast(")
            .int(to);
        sql.push(rest).int(from);
        sql.run(connection).await?;
    }
    Ok(())
}
