//! Which instances of a batch may be stored by those who sent them.
//!
//! Invariant: a sender whose view is limited stores only what is inside of it, and only into studies that were inside
//! before; so nobody can pull a study into view by storing an instance of another patient into it.

use std::collections::HashMap;

use super::rows::NewInstance;
use super::sql::{Dialect, Driver, RowColumns, Statement};
use crate::scope::Visible;

/// What counts of one instance of a batch.
#[derive(Debug)]
pub(super) struct AdmissionCandidate {
    partition: i64,
    study: String,
    patient: Option<String>,
    visible: Visible,
}

impl AdmissionCandidate {
    pub(super) fn new(new: &NewInstance) -> Self {
        Self {
            partition: new.partition.0,
            study: new.packed.name().study.as_str().to_owned(),
            patient: new.packed.patient.clone(),
            visible: new.visible.clone(),
        }
    }

    fn is_limited(&self) -> bool {
        self.visible != Visible::All
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
        let admits = |patient: Option<&str>| one.visible.admits(&one.study, patient);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(study: &str, patient: &str, visible: &Visible) -> AdmissionCandidate {
        AdmissionCandidate {
            partition: 1,
            study: study.to_owned(),
            patient: (!patient.is_empty()).then(|| patient.to_owned()),
            visible: visible.clone(),
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
}
