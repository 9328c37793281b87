//! What a batch is to become, and what its transaction has found out so far.

use std::collections::{BTreeMap, HashMap};

use crate::index::admission;
use crate::index::admission::AdmissionCandidate;
use crate::index::level_values::LevelValues;
use crate::index::model::{Inserted, Result, StoredBlob, Version};
use crate::index::row_columns::{Driver, RowColumns};
use crate::index::rows::{NewInstance, PendingInstance};

/// The distinct instances of a batch by study and series.
pub(super) struct InsertPlan {
    pub(super) unique: Vec<PendingInstance>,
    /// For each instance of the batch its place in `unique`, and what it is there.
    pub(super) slots: Vec<(usize, SlotRole)>,
    pub(super) studies: BTreeMap<(i64, String), Vec<usize>>,
    pub(super) series: BTreeMap<(i64, String, String), Vec<usize>>,
    /// Who wants to store each instance of the batch.
    pub(super) applicants: Vec<AdmissionCandidate>,
}

/// What an instance of a batch is among those with its name.
#[derive(Debug, Clone, Copy)]
pub(super) enum SlotRole {
    /// The one that is stored.
    Holder,
    /// One that came behind an instance with this digest.
    Duplicate([u8; 32]),
    /// One whose place another of the batch takes; `replaces` when it would have taken one itself.
    Superseded { replaces: bool },
}

/// What the transaction has found out so far.
pub(super) struct InsertProgress {
    /// Row of the study of each unique instance.
    pub(super) study_ids: Vec<i64>,
    /// Row of the series of each unique instance.
    pub(super) series_ids: Vec<i64>,
    /// Each unique instance that was there already and stays.
    pub(super) existing: HashMap<usize, Existing>,
    /// Each unique instance that takes the place of one that was there.
    pub(super) replaced: HashMap<usize, Existing>,
    /// Watermark of each unique instance that is stored now.
    pub(super) watermarks: HashMap<usize, i64>,
}

/// An instance that was there already.
pub(super) struct Existing {
    pub(super) digest: [u8; 32],
    pub(super) stored: StoredBlob,
}

/// A study or series row as the upsert returned it.
pub(super) struct UpsertedRow {
    pub(super) id: i64,
    pub(super) is_new: bool,
    pub(super) version: Version,
    pub(super) attributes: String,
    /// Modalities of a study, modality of a series.
    pub(super) modality: Option<String>,
}

impl InsertPlan {
    pub(super) fn new<'b>(batch: impl Iterator<Item = &'b NewInstance>) -> Result<Self> {
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
    pub(super) fn supersede(&mut self, at: usize, holder: usize, new: &NewInstance) -> Result<()> {
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

    /// Spreads the rows of groups over the instances of the groups.
    pub(super) fn ids_of<'p>(
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

    pub(super) fn prepared(&self, members: &[usize]) -> impl Iterator<Item = &PendingInstance> {
        members.iter().filter_map(|at| self.unique.get(*at))
    }

    /// Values of a group: what its instances say, the latest first.
    pub(super) fn merged<'p>(
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

    /// Whether a unique instance has its row from an earlier try, whose answer was lost: a key is used once.
    pub(super) fn is_own(&self, at: usize, existing: &Existing) -> bool {
        let key = &existing.stored.place.key;
        self.unique.get(at).is_some_and(|new| new.blob.0 == *key)
    }

    /// Those of `members` that are stored now.
    pub(super) fn fresh<'p>(
        &self,
        members: &'p [usize],
        progress: &'p InsertProgress,
    ) -> Vec<usize> {
        let is_fresh = |at: &&usize| !progress.existing.contains_key(at);
        members.iter().filter(is_fresh).copied().collect()
    }

    pub(super) fn report(&self, progress: &InsertProgress) -> Vec<Inserted> {
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

    /// For each instance of the batch whether what its request says of its study does not hold.
    pub(super) fn unmatched(
        &self,
        studies: &[UpsertedRow],
        progress: &InsertProgress,
    ) -> Vec<bool> {
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
}

impl InsertProgress {
    /// Watermarks of what is replaced, ascending.
    pub(super) fn replaced_watermarks(&self) -> Vec<i64> {
        let replaced = self.replaced.values();
        let mut watermarks: Vec<i64> = replaced.map(|row| row.stored.watermark).collect();
        watermarks.sort_unstable();
        watermarks
    }

    /// How many of those that are stored now are more than there were.
    pub(super) fn count_new(&self, members: &[usize]) -> i64 {
        let new = |at: &&usize| !self.replaced.contains_key(at);
        i64::try_from(members.iter().filter(new).count()).unwrap_or(i64::MAX)
    }

    pub(super) fn newest(&self, members: &[usize]) -> i64 {
        let watermarks = members.iter().filter_map(|at| self.watermarks.get(at));
        watermarks.copied().max().unwrap_or(0)
    }
}

impl UpsertedRow {
    /// Every row that was there before has a newest instance.
    pub(super) fn read(row: &impl RowColumns) -> Driver<Self> {
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
