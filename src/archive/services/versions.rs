//! Versions of studies, series and instances, for their `ETag`.

use crate::archive::error::{ArchiveError, Result};
use crate::archive::{Archive, describe};
use crate::dicom::uid::Target;
use crate::index::Version;
use crate::scope::{Scope, Visible};
use crate::trace::Stage;

impl Archive {
    /// Version of a target for its `ETag`.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it does not exist in the scope.
    pub async fn version(&self, scope: &Scope, target: &Target) -> Result<Version> {
        // Stores of other nodes change versions of studies and series, and are not announced.
        let may_keep = matches!(target, Target::Instance(_)) || !self.index.is_shared();
        if scope.visible != Visible::All || !may_keep {
            return self.read_version(scope, target).await;
        }
        let key = self.reads.versions.key(scope.partition, target);
        if let Some((version, read)) = self.reads.versions.get(&key).await
            && self.reads.coherence.counts(read)
        {
            return Ok(version);
        }
        let read = self.reads.coherence.now();
        let version = self.read_version(scope, target).await?;
        self.reads.versions.insert(key, (version, read)).await;
        Ok(version)
    }

    async fn read_version(&self, scope: &Scope, target: &Target) -> Result<Version> {
        let version = self.ask_version(scope, target).await?;
        version.ok_or_else(|| ArchiveError::not_found(describe(target)))
    }

    /// What the index says now; none when the target does not exist in the scope.
    pub(in crate::archive) async fn ask_version(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<Option<Version>> {
        let asked = self.index.version(scope, target);
        Ok(Stage::Version.of(asked).await?)
    }
}
