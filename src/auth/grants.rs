//! On what each action is allowed: what roles and scopes add up to, and what limits take away.

use std::collections::BTreeMap;

use super::action::Action;
use crate::scope::{PartitionName, Visible};

/// On what one action is allowed: what is granted in every partition, and what in single ones besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// In every partition; none where partitions are named only.
    pub everywhere: Option<Visible>,
    /// By the name of the partition.
    pub within: BTreeMap<PartitionName, Visible>,
}

impl Grant {
    /// On what it is allowed in a partition; none when not there.
    #[must_use]
    pub fn visible_in(&self, partition: &PartitionName) -> Option<Visible> {
        match (self.everywhere.clone(), self.within.get(partition).cloned()) {
            (Some(one), Some(other)) => Some(union(one, other)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn add(&mut self, partition: Option<PartitionName>, visible: Visible) {
        let known = match &partition {
            None => self.everywhere.take(),
            Some(name) => self.within.remove(name),
        };
        let visible = match known {
            None => visible,
            Some(known) => union(known, visible),
        };
        match partition {
            None => self.everywhere = Some(visible),
            Some(name) => drop(self.within.insert(name, visible)),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Visible> {
        self.everywhere.iter_mut().chain(self.within.values_mut())
    }
}

/// On what each action is allowed; an action without entry is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grants([Option<Grant>; Action::ALL.len()]);

impl Grants {
    /// Every action on everything.
    pub(super) fn everything() -> Self {
        Self(Action::ALL.map(|_| {
            Some(Grant {
                everywhere: Some(Visible::All),
                within: BTreeMap::new(),
            })
        }))
    }

    /// On what an action is allowed.
    pub(super) fn of(&self, action: Action) -> Option<&Grant> {
        let at = Action::ALL.iter().position(|one| *one == action)?;
        self.0.get(at)?.as_ref()
    }

    /// Takes every action away but reading, de-identified too.
    pub(super) fn keep_reading(&mut self) {
        for (action, entry) in Action::ALL.into_iter().zip(&mut self.0) {
            if !matches!(action, Action::Read | Action::Deidentify) {
                *entry = None;
            }
        }
    }

    fn entry(&mut self, action: Action) -> Option<&mut Option<Grant>> {
        let at = Action::ALL.iter().position(|one| *one == action);
        at.and_then(|at| self.0.get_mut(at))
    }

    /// Adds what is granted in every partition.
    pub(super) fn add(&mut self, action: Action, visible: Visible) {
        if let Some(entry) = self.entry(action) {
            entry.get_or_insert_default().add(None, visible);
        }
    }

    pub(super) fn merge(&mut self, action: Action, grant: &Grant) {
        let Some(entry) = self.entry(action) else {
            return;
        };
        let known = entry.get_or_insert_default();
        if let Some(everywhere) = &grant.everywhere {
            known.add(None, everywhere.clone());
        }
        for (name, visible) in &grant.within {
            known.add(Some(name.clone()), visible.clone());
        }
    }

    /// Leaves these partitions only.
    pub(super) fn keep_partitions(&mut self, partitions: &[PartitionName]) {
        for grant in self.0.iter_mut().flatten() {
            let kept = partitions.iter().filter_map(|name| {
                let visible = grant.visible_in(name)?;
                Some((name.clone(), visible))
            });
            *grant = Grant {
                within: kept.collect(),
                everywhere: None,
            };
        }
    }

    /// Takes away what is granted on everything.
    pub(super) fn leave_limited(&mut self) {
        for visible in self.0.iter_mut().flatten().flat_map(Grant::all) {
            if *visible == Visible::All {
                *visible = Visible::nothing();
            }
        }
    }

    pub(super) fn limit(&mut self, limit: &Visible) {
        for visible in self.0.iter_mut().flatten().flat_map(Grant::all) {
            *visible = intersection(visible, limit);
        }
    }
}

fn union(one: Visible, other: Visible) -> Visible {
    match (one, other) {
        (Visible::All, _) | (_, Visible::All) => Visible::All,
        (
            Visible::Only {
                mut patients,
                mut studies,
            },
            Visible::Only {
                patients: p,
                studies: s,
            },
        ) => {
            patients.extend(p);
            studies.extend(s);
            Visible::Only { patients, studies }
        }
    }
}

/// What both allow. A patient of one and a study of the other may overlap; that is left out, so it is never too much.
fn intersection(one: &Visible, other: &Visible) -> Visible {
    match (one, other) {
        (Visible::All, limit) | (limit, Visible::All) => limit.clone(),
        (
            Visible::Only { patients, studies },
            Visible::Only {
                patients: p,
                studies: s,
            },
        ) => {
            let both = |a: &[String], b: &[String]| {
                a.iter().filter(|item| b.contains(item)).cloned().collect()
            };
            Visible::Only {
                patients: both(patients, p),
                studies: both(studies, s),
            }
        }
    }
}
