//! Which instances of a batch may be stored by those who sent them.
//!
//! Invariant: a sender whose view is limited stores only what is inside of it, and only into studies that were inside
//! before; so nobody can pull a study into view by storing an instance of another patient into it. Who replaces must be
//! allowed to remove there, too.

use std::collections::HashMap;
use std::sync::Arc;

use super::model::{StudyCondition, Version};
use super::row_columns::{Driver, RowColumns};
use super::rows::NewInstance;
use super::sql::{Dialect, Statement};
use crate::scope::Visible;

/// What counts of one instance of a batch.
#[derive(Debug)]
pub(super) struct AdmissionCandidate {
    partition: i64,
    study: String,
    patient: Option<String>,
    visible: Visible,
    /// Where it may replace, if it does.
    replaces: Option<Visible>,
    condition: Option<Arc<StudyCondition>>,
}

impl AdmissionCandidate {
    pub(super) fn new(new: &NewInstance) -> Self {
        Self {
            partition: new.partition.0,
            study: new.packed.name().study.as_str().to_owned(),
            patient: new.packed.patient.clone(),
            visible: new.visible.clone(),
            replaces: new.replaces.as_ref().map(|one| one.visible.clone()),
            condition: new.condition.clone(),
        }
    }

    fn is_limited(&self) -> bool {
        let limited = |visible: &Visible| *visible != Visible::All;
        limited(&self.visible) || self.replaces.as_ref().is_some_and(limited)
    }
}

/// For each applicant whether it is refused, in their order; the rows of their studies must exist and be locked.
pub(super) async fn refused<D: Dialect>(
    connection: &mut D::Connection,
    applicants: &[AdmissionCandidate],
) -> Driver<Vec<bool>> {
    if !applicants.iter().any(AdmissionCandidate::is_limited) {
        return Ok(vec![false; applicants.len()]);
    }
    let mut studies: Vec<&str> = applicants.iter().map(|one| one.study.as_str()).collect();
    studies.sort_unstable();
    studies.dedup();
    // The patient of each study there is; none for a study without instances.
    let mut patients: HashMap<(i64, String), Option<String>> = HashMap::new();
    for chunk in studies.chunks(500) {
        let mut sql = Statement::<D>::new(
            "select partition, study_uid, patient_id from study where newest > 0 and study_uid in ",
        );
        sql.texts(chunk.iter().copied());
        for row in sql.rows(connection).await? {
            let key = (row.int("partition")?, row.text("study_uid")?);
            patients.insert(key, row.opt_text("patient_id")?);
        }
    }
    Ok(decide(applicants, &mut patients))
}

/// Admits one after the other, as if each were stored before the next.
fn decide(
    applicants: &[AdmissionCandidate],
    patients: &mut HashMap<(i64, String), Option<String>>,
) -> Vec<bool> {
    let mut refused = Vec::with_capacity(applicants.len());
    for one in applicants {
        let known = patients.get(&(one.partition, one.study.clone()));
        let admits = |patient: Option<&str>| {
            let mut limits = std::iter::once(&one.visible).chain(&one.replaces);
            limits.all(|visible| visible.admits(&one.study, patient))
        };
        let inside = admits(one.patient.as_deref())
            && known.is_none_or(|patient| admits(patient.as_deref()));
        if inside {
            let patient = one.patient.clone().or_else(|| known.cloned().flatten());
            patients.insert((one.partition, one.study.clone()), patient);
        }
        refused.push(!inside);
    }
    refused
}

/// For each applicant whether what its request says of its study does not hold; `stored` tells the version of a study that
/// is there, `own` which applicants have their row from an earlier try.
pub(super) fn unmatched(
    applicants: &[AdmissionCandidate],
    stored: impl Fn(i64, &str) -> Option<Version>,
    own: impl Fn(usize) -> bool,
) -> Vec<bool> {
    let all = || (0..).zip(applicants);
    // Whose answer was lost has changed the version itself.
    let tried: Vec<&Arc<StudyCondition>> = all()
        .filter(|(at, _)| own(*at))
        .filter_map(|(_, one)| one.condition.as_ref())
        .collect();
    let mut first: HashMap<(i64, &str), &Arc<StudyCondition>> = HashMap::new();
    let holds = |one: &AdmissionCandidate, condition: &StudyCondition| {
        condition.holds(stored(one.partition, &one.study))
    };
    let mut unmatched = Vec::with_capacity(applicants.len());
    for one in applicants {
        let Some(condition) = &one.condition else {
            unmatched.push(false);
            continue;
        };
        let mut fits =
            tried.iter().any(|tried| Arc::ptr_eq(tried, condition)) || holds(one, condition);
        if fits && **condition != StudyCondition::Exists {
            let holder = first
                .entry((one.partition, &one.study))
                .or_insert(condition);
            fits = Arc::ptr_eq(holder, condition);
        }
        unmatched.push(!fits);
    }
    unmatched
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(study: &str, patient: &str, visible: &Visible) -> AdmissionCandidate {
        AdmissionCandidate {
            partition: 1,
            study: study.to_owned(),
            patient: (!patient.is_empty()).then(|| patient.to_owned()),
            visible: visible.clone(),
            replaces: None,
            condition: None,
        }
    }

    #[test]
    fn a_limited_sender_stores_only_inside_of_its_view() {
        let p = Visible::Only {
            patients: vec!["P".to_owned()],
            studies: vec!["1.9".to_owned()],
        };
        let mut known = HashMap::from([
            ((1, "1.1".to_owned()), Some("P".to_owned())),
            ((1, "1.2".to_owned()), Some("Q".to_owned())),
            ((1, "1.3".to_owned()), None),
            ((1, "1.9".to_owned()), Some("Q".to_owned())),
        ]);
        let batch = [
            (applicant("1.1", "P", &p), false),
            (applicant("1.1", "Q", &p), true),
            (applicant("1.1", "", &p), true),
            (applicant("1.2", "P", &p), true),
            (applicant("1.3", "P", &p), true),
            (applicant("1.4", "P", &p), false),
            (applicant("1.4", "Q", &p), true),
            (applicant("1.9", "Q", &p), false),
            (applicant("1.2", "P", &Visible::All), false),
            (applicant("1.2", "P", &p), false),
            (applicant("1.5", "Q", &Visible::All), false),
            (applicant("1.5", "P", &p), true),
        ];
        let (batch, expected): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        assert_eq!(decide(&batch, &mut known), expected);
    }

    #[test]
    fn who_replaces_must_be_allowed_to_remove_there() {
        let p = Visible::Only {
            patients: vec!["P".to_owned()],
            studies: Vec::new(),
        };
        let mut known = HashMap::from([
            ((1, "1.1".to_owned()), Some("P".to_owned())),
            ((1, "1.2".to_owned()), Some("Q".to_owned())),
        ]);
        let replacing = |study: &str, patient: &str| AdmissionCandidate {
            replaces: Some(p.clone()),
            ..applicant(study, patient, &Visible::All)
        };
        let batch = [
            replacing("1.1", "P"),
            replacing("1.2", "Q"),
            replacing("1.2", "P"),
            replacing("1.3", "P"),
        ];
        assert_eq!(decide(&batch, &mut known), [false, true, true, false]);
    }

    #[test]
    fn of_two_who_name_the_same_version_the_first_one_is_admitted() {
        let version = Version {
            version: 7,
            instances: 2,
        };
        let named = |version| Arc::new(StudyCondition::OneOf(vec![version]));
        let (one, two) = (named(version), named(version));
        let old = named(Version {
            version: 6,
            instances: 2,
        });
        let there = Arc::new(StudyCondition::Exists);
        let with = |study: &str, condition: Option<&Arc<StudyCondition>>| AdmissionCandidate {
            condition: condition.cloned(),
            ..applicant(study, "P", &Visible::All)
        };
        let batch = [
            with("1.1", Some(&old)),
            with("1.1", Some(&one)),
            with("1.1", Some(&two)),
            with("1.1", Some(&one)),
            with("1.1", None),
            with("1.1", Some(&there)),
            with("1.2", Some(&there)),
        ];
        let stored = |_, study: &str| (study == "1.1").then_some(version);
        let expected = [true, false, true, false, false, false, true];
        assert_eq!(unmatched(&batch, stored, |_| false), expected);
        // The first one was carried out, and its answer was lost.
        let expected = [false, true, true, true, false, false, true];
        assert_eq!(unmatched(&batch, stored, |at| at == 0), expected);
    }
}
