//! Versions of studies, series and instances, for their `ETag`.

use std::time::Instant;

use crate::archive::caches::instances::FRESH;
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
        if scope.visible != Visible::All || self.index.is_shared() {
            return self.read_version(scope, target).await;
        }
        let key = self.versions.key(scope.partition, target);
        if let Some((version, asked)) = self.versions.get(&key).await
            && asked.elapsed() < FRESH
        {
            return Ok(version);
        }
        let asked = Instant::now();
        let version = self.read_version(scope, target).await?;
        self.versions.insert(key, (version, asked)).await;
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
