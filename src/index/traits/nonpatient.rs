//! Instances that belong to no patient.

use async_trait::async_trait;

use crate::dicom::nonpatient::NonPatientKind;
use crate::index::model::Result;
use crate::index::nonpatient_model::{
    NewNonPatient, NonPatientInserted, NonPatientRow, StoredNonPatient,
};
use crate::index::workitems_model::FoundWorkitem;
use crate::scope::Scope;

/// Non-patient instances.
#[async_trait]
pub trait NonPatient: Send + Sync {
    /// Stores one in the partition of a scope, unless something has its UID there.
    async fn insert_nonpatient(
        &self,
        scope: &Scope,
        new: &NewNonPatient,
    ) -> Result<NonPatientInserted>;

    /// The one of a UID.
    async fn nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &str,
    ) -> Result<Option<NonPatientRow>>;

    /// The file of one that was found.
    async fn nonpatient_file(&self, id: i64) -> Result<Option<Vec<u8>>>;

    /// Removes the one of a UID; false when there is none.
    async fn delete_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &str,
    ) -> Result<bool>;

    /// Those of a resource, newest first, below `before`, at most `limit`.
    async fn find_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        before: i64,
        limit: u32,
    ) -> Result<Vec<FoundWorkitem>>;

    /// Packed metadata of those that were found.
    async fn nonpatient_metadata(&self, ids: &[i64]) -> Result<Vec<(i64, Vec<u8>)>>;

    /// Those of all partitions, oldest first, behind `after`, at most `limit`.
    async fn all_nonpatient(&self, after: i64, limit: u32) -> Result<Vec<StoredNonPatient>>;
}
