//! Inserting a batch: one transaction that leaves rows, counters and feed consistent.
//!
//! Invariant: whoever changes anything below a study holds its row locked, rows are locked in the order of their UIDs,
//! and the feed is locked last; so writers wait for each other in one order only.

use std::collections::{BTreeMap, HashMap};

use super::admission::{self, AdmissionCandidate};
use super::attributes::Attributes;
use super::instance_row::blob_place;
use super::model::{ChangeAction, Inserted, Result, StoredBlob, TagRow, Version, now_micros};
use super::replace;
use super::retry::retrying;
use super::rows::NewInstance;
use super::rows::{
    ColumnValue, LevelValues, PendingInstance, column_name, has_norm, name_kind, stored_keys,
};
use super::sql::{
    Dialect, Driver, RowColumns, SqlIndex, Statement, StatementBatch, TagLock, digest, lost_row,
    within,
};
use super::tag_values::TagOutcome;
use super::tags;
use super::tags::{Newer, TagPlace, TagValues};
use super::trash::{keep_shared_blobs, take_back};
use super::words::word_suffixes;
use crate::dicom::attributes::QueryLevel;
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

/// A study or series row as the upsert returned it.
struct UpsertedRow {
    id: i64,
    is_new: bool,
    version: Version,
    attributes: String,
    /// Modalities of a study, modality of a series.
    modality: Option<String>,
}

/// The distinct instances of a batch by study and series.
struct InsertPlan {
    unique: Vec<PendingInstance>,
    /// For each instance of the batch its place in `unique`, and what it is there.
    slots: Vec<(usize, SlotRole)>,
    studies: BTreeMap<(i64, String), Vec<usize>>,
    series: BTreeMap<(i64, String, String), Vec<usize>>,
    /// Who wants to store each instance of the batch.
    applicants: Vec<AdmissionCandidate>,
}

/// What an instance of a batch is among those with its name.
#[derive(Debug, Clone, Copy)]
enum SlotRole {
    /// The one that is stored.
    Holder,
    /// One that came behind an instance with this digest.
    Duplicate([u8; 32]),
    /// One whose place another of the batch takes; `replaces` when it would have taken one itself.
    Superseded { replaces: bool },
}

/// What the transaction has found out so far.
struct InsertProgress {
    /// Row of the study of each unique instance.
    study_ids: Vec<i64>,
    /// Row of the series of each unique instance.
    series_ids: Vec<i64>,
    /// Each unique instance that was there already and stays.
    existing: HashMap<usize, Existing>,
    /// Each unique instance that takes the place of one that was there.
    replaced: HashMap<usize, Existing>,
    /// Watermark of each unique instance that is stored now.
    watermarks: HashMap<usize, i64>,
}

/// An instance that was there already.
struct Existing {
    digest: [u8; 32],
    stored: StoredBlob,
}

impl InsertPlan {
    fn new<'b>(batch: impl Iterator<Item = &'b NewInstance>) -> Result<Self> {
        let mut plan = Self {
            unique: Vec::new(),
            slots: Vec::new(),
            studies: BTreeMap::new(),
            series: BTreeMap::new(),
            applicants: Vec::new(),
        };
        // Of each name its place in `unique`, and that of its holder in `slots`.
        let mut seen: HashMap<_, (usize, usize)> = HashMap::new();
        for (slot, new) in batch.enumerate() {
            plan.applicants.push(AdmissionCandidate::new(new));
            let at = plan.unique.len();
            let name = (new.partition, &new.packed.name);
            if let Some((first, holder)) = seen.get_mut(&name) {
                let first = *first;
                if new.replaces.is_none() {
                    let digest = plan.unique.get(first).map(|first| first.digest);
                    plan.slots
                        .push((first, SlotRole::Duplicate(digest.unwrap_or_default())));
                    continue;
                }
                plan.supersede(first, std::mem::replace(holder, slot), new)?;
                plan.slots.push((first, SlotRole::Holder));
                continue;
            }
            seen.insert(name, (at, slot));
            plan.slots.push((at, SlotRole::Holder));
            plan.unique.push(PendingInstance::new(new)?);
            let study = new.packed.name.study.as_str().to_owned();
            let series = new.packed.name.series.as_str().to_owned();
            let of_study = (new.partition.0, study.clone());
            plan.studies.entry(of_study).or_default().push(at);
            let of_series = (new.partition.0, study, series);
            plan.series.entry(of_series).or_default().push(at);
        }
        Ok(plan)
    }

    /// Lets an instance take the place of an earlier one of the batch, behind all that came so far.
    fn supersede(&mut self, at: usize, holder: usize, new: &NewInstance) -> Result<()> {
        let Some(pending) = self.unique.get_mut(at) else {
            return Ok(());
        };
        let before = std::mem::replace(pending, PendingInstance::new(new)?);
        if let Some((_, role)) = self.slots.get_mut(holder) {
            *role = SlotRole::Superseded {
                replaces: before.replaces.is_some(),
            };
        }
        let study = new.packed.name.study.as_str().to_owned();
        let series = new.packed.name.series.as_str().to_owned();
        let of_study = self.studies.get_mut(&(new.partition.0, study.clone()));
        let of_series = self.series.get_mut(&(new.partition.0, study, series));
        // The latest value wins.
        for members in of_study.into_iter().chain(of_series) {
            members.retain(|member| *member != at);
            members.push(at);
        }
        Ok(())
    }

    async fn run<D: Dialect>(&self, index: &SqlIndex<D>) -> Driver<InsertAttempt> {
        let mut transaction = D::begin_write(&index.writers).await?;
        // First of all locks: whoever adds tags waits for nobody who waits for a study.
        D::lock_tags(&mut transaction, TagLock::Shared).await?;
        let tags = tags::wanted::<D>(&mut transaction).await?;
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

    /// Spreads the rows of groups over the instances of the groups.
    fn ids_of<'p>(
        &self,
        groups: impl Iterator<Item = &'p Vec<usize>>,
        rows: &[UpsertedRow],
    ) -> Vec<i64> {
        let mut ids = vec![0; self.unique.len()];
        for (members, row) in groups.zip(rows) {
            for member in members {
                if let Some(id) = ids.get_mut(*member) {
                    *id = row.id;
                }
            }
        }
        ids
    }

    fn prepared(&self, members: &[usize]) -> impl Iterator<Item = &PendingInstance> {
        members.iter().filter_map(|at| self.unique.get(*at))
    }

    /// Values of a group: what its instances say, the latest first.
    fn merged<'p>(
        &'p self,
        members: &[usize],
        level: impl Fn(&'p PendingInstance) -> &'p LevelValues,
    ) -> LevelValues {
        let mut merged = LevelValues::default();
        for newer in self.prepared(members).map(level) {
            merged.merge(newer);
        }
        merged
    }

    /// Creates the studies that are missing and locks those that are not, in the order of `self.studies`.
    async fn upsert_studies<D: Dialect>(
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
    async fn upsert_series<D: Dialect>(
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

    /// Finds the instances that are there already; only series that are not new can hold any.
    async fn find_existing<D: Dialect>(
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

    /// Whether a unique instance has its row from an earlier try, whose answer was lost: a key is used once.
    fn is_own(&self, at: usize, existing: &Existing) -> bool {
        let key = &existing.stored.place.key;
        self.unique.get(at).is_some_and(|new| new.blob.0 == *key)
    }

    /// For each instance of the batch whether what its request says of its study does not hold.
    fn unmatched(&self, studies: &[UpsertedRow], progress: &InsertProgress) -> Vec<bool> {
        let there = self.studies.keys().zip(studies);
        let there: HashMap<(i64, &str), Version> = there
            .filter(|(_, row)| !row.is_new)
            .map(|((partition, study), row)| ((*partition, study.as_str()), row.version))
            .collect();
        let own = |slot: usize| {
            let slot = self.slots.get(slot);
            let found = slot.and_then(|(at, _)| Some((*at, progress.existing.get(at)?)));
            found.is_some_and(|(at, existing)| self.is_own(at, existing))
        };
        let stored = |partition, study: &str| there.get(&(partition, study)).copied();
        admission::unmatched(&self.applicants, stored, own)
    }

    /// Tells those that stay from those that are replaced.
    fn find_replaced(&self, progress: &mut InsertProgress) {
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

    /// Those of `members` that are stored now.
    fn fresh<'p>(&self, members: &'p [usize], progress: &'p InsertProgress) -> Vec<usize> {
        let is_fresh = |at: &&usize| !progress.existing.contains_key(at);
        members.iter().filter(is_fresh).copied().collect()
    }

    /// Takes the blobs of those that are restored off the trash; tells for each instance of the batch whether its blob is
    /// not there any more, or as good as gone.
    async fn take_back<D: Dialect>(
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

    /// Inserts the rows of the new instances; what belongs to the last ones beside their rows is left to `last`.
    async fn insert_instances<D: Dialect>(
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

    fn instance_statement<D: Dialect>(
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

    /// Brings attributes, names, counters, modalities and versions of studies and series up to date.
    async fn update_levels<D: Dialect>(
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

    /// What each instance says of each tag; looks into metadata only for tags that came after the parser.
    async fn tag_findings(&self, tags: &[TagRow]) -> Vec<Vec<TagOutcome>> {
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
    fn tag_values(
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

    fn append_changes<D: Dialect>(&self, last: &mut StatementBatch<D>, progress: &InsertProgress) {
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

    fn report(&self, progress: &InsertProgress) -> Vec<Inserted> {
        let outcome = |(at, role): &(usize, SlotRole)| {
            let existing = progress.existing.get(at);
            let exists = |row: &Existing| Inserted::Exists {
                digest: row.digest,
                stored: Some(row.stored.clone()),
            };
            match role {
                SlotRole::Holder => match (progress.watermarks.get(at), existing) {
                    (Some(watermark), _) if progress.replaced.contains_key(at) => {
                        Inserted::Replaced {
                            watermark: *watermark,
                        }
                    }
                    (Some(watermark), _) => Inserted::Stored {
                        watermark: *watermark,
                    },
                    // What an earlier try or a rebuild of the index made of this very instance.
                    (None, Some(row)) if self.is_own(*at, row) => Inserted::Stored {
                        watermark: row.stored.watermark,
                    },
                    (None, Some(row)) => exists(row),
                    (None, None) => Inserted::Superseded,
                },
                SlotRole::Duplicate(digest) => existing.map_or_else(
                    || Inserted::Exists {
                        digest: *digest,
                        stored: None,
                    },
                    exists,
                ),
                SlotRole::Superseded { replaces: true } => Inserted::Superseded,
                // What was there was there before it; its row has gone meanwhile.
                SlotRole::Superseded { replaces: false } => {
                    let before = existing.or_else(|| progress.replaced.get(at));
                    before.map_or(Inserted::Superseded, |row| Inserted::Exists {
                        digest: row.digest,
                        stored: None,
                    })
                }
            }
        };
        self.slots.iter().map(outcome).collect()
    }
}

impl InsertProgress {
    /// Watermarks of what is replaced, ascending.
    fn replaced_watermarks(&self) -> Vec<i64> {
        let replaced = self.replaced.values();
        let mut watermarks: Vec<i64> = replaced.map(|row| row.stored.watermark).collect();
        watermarks.sort_unstable();
        watermarks
    }

    /// How many of those that are stored now are more than there were.
    fn count_new(&self, members: &[usize]) -> i64 {
        let new = |at: &&usize| !self.replaced.contains_key(at);
        i64::try_from(members.iter().filter(new).count()).unwrap_or(i64::MAX)
    }

    fn newest(&self, members: &[usize]) -> i64 {
        let watermarks = members.iter().filter_map(|at| self.watermarks.get(at));
        watermarks.copied().max().unwrap_or(0)
    }
}

impl UpsertedRow {
    /// Every row that was there before has a newest instance.
    fn read(row: &impl RowColumns) -> Driver<Self> {
        Ok(Self {
            id: row.int("id")?,
            is_new: row.int("newest")? == 0,
            version: Version {
                version: row.int("version")?,
                instances: row.int("instance_count")?,
            },
            attributes: row.text("attributes")?,
            modality: row.opt_text("modality")?,
        })
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

/// Number of an action in `change.action`.
pub(super) fn action_code(action: ChangeAction) -> i64 {
    match action {
        ChangeAction::Create => 0,
        ChangeAction::Delete => 1,
        ChangeAction::Update => 2,
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

fn rows_per_statement<D: Dialect>(level: QueryLevel) -> usize {
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
    fn add(
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
