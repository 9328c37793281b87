//! The exchange of all instances of a study for prepared ones, within one transaction.

use std::collections::BTreeMap;

use super::bulk_update_model::{UpdateCommit, UpdatePlace};
use super::delete::recount;
use super::feed_model::ChangeAction;
use super::level_rows::{
    NameRows, action_code, merged_text, push_columns, sorted_name, update_attributes,
};
use super::level_values::stored_keys;
use super::micros::now_micros;
use super::prepared::push_place;
use super::row_columns::{Driver, RowColumns};
use super::rows::InstanceLevels;
use super::sql::{Dialect, Statement, StatementBatch};
use super::tag_values::TagOutcome;
use super::tag_writes::{Newer, TagPlace, TagValues};
use super::tags_model::TagRow;
use super::trash::{Removal, keep_shared_blobs, trash_blobs};
use super::trash_model::RemovalReason;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::metadata;
use crate::dicom::uid::Target;
use crate::fault;
use crate::scope::Scope;

/// Instances whose values of tags are written at a time.
pub(super) const TAGGED: i64 = 200;
/// Largest metadata of one instance that is unpacked.
pub(super) const MAX_METADATA: usize = 1 << 28;

/// That the version that a prepared instance was made of is gone.
pub(super) const LEFT: &str = " and not exists (select 1 from instance where instance.watermark = prepared_instance.replaces)";

/// Tables that give each prepared instance the rows of its new study and series.
pub(super) const PLACES: &str = " from prepared_instance join study on study.study_uid = prepared_instance.study_uid \
     and study.partition = prepared_instance.partition \
     join series on series.series_uid = prepared_instance.series_uid and series.study_row = study.id";

/// Tables that give each prepared instance its new row, too.
pub(super) const EXCHANGED: &str = " from prepared_instance join study on study.study_uid = prepared_instance.study_uid \
     and study.partition = prepared_instance.partition \
     join series on series.series_uid = prepared_instance.series_uid and series.study_row = study.id \
     join instance on instance.sop_instance_uid = prepared_instance.sop_instance_uid \
     and instance.series_row = series.id";

/// A study that is changed.
pub(super) struct LockedStudy {
    pub(super) id: i64,
    /// It was made in this transaction.
    pub(super) is_new: bool,
    pub(super) attributes: String,
}

/// What is exchanged.
pub(super) struct Exchange<'a> {
    pub(super) scope: &'a Scope,
    pub(super) target: &'a Target,
    pub(super) place: UpdatePlace<'a>,
    /// Some of the UIDs change.
    pub(super) moves: bool,
    pub(super) levels: InstanceLevels,
}

impl Exchange<'_> {
    pub(super) async fn run<D: Dialect>(
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
            let column = super::level_values::column_name(key);
            sql.push(", source.").push(column);
            if super::level_values::has_norm(key) {
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
            let column = super::level_values::column_name(key);
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
pub(super) fn known_findings(text: &str, tags: &[TagRow]) -> Option<Vec<TagOutcome>> {
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
pub(super) async fn look<D: Dialect>(
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
pub(super) async fn copy_names<D: Dialect>(
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
