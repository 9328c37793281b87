//! Opens instances for frames and bulk data; those opened lately are not read again.

use std::sync::Arc;

use crate::archive::error::{ArchiveError, Result};
use crate::archive::open_instance::OpenInstance;
use crate::archive::{Archive, describe};
use crate::dicom::uid::{InstanceName, Target};
use crate::index::InstanceRow;
use crate::scope::{Scope, Visible};
use crate::trace::Stage;

impl Archive {
    /// Opens one instance for frames and bulk data.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it does not exist in the scope.
    pub async fn open(&self, scope: &Scope, name: &InstanceName) -> Result<Arc<OpenInstance>> {
        if scope.visible != Visible::All {
            return Ok(Arc::new(self.read_open(scope, name).await?));
        }
        let key = self.reads.opened.key(scope.partition, name);
        let held = self.reads.opened.get(&key).await;
        if let Some((held, read)) = &held
            && self.reads.coherence.counts(*read)
        {
            self.meters.opened_hits.one();
            return Ok(held.clone());
        }
        let read = self.reads.coherence.now();
        let instance = match held {
            // The tables may be large, and of one version they are always the same.
            Some((held, _)) if self.is_current(scope, &held).await? => {
                self.meters.opened_revalidated.one();
                held
            }
            _ => {
                self.meters.opened_misses.one();
                Arc::new(self.read_open(scope, name).await?)
            }
        };
        let held = (instance.clone(), read);
        self.reads.opened.insert(key, held).await;
        Ok(instance)
    }

    async fn is_current(&self, scope: &Scope, instance: &OpenInstance) -> Result<bool> {
        let target = Target::Instance(instance.row.name.clone());
        let version = self.ask_version(scope, &target).await?;
        Ok(version.is_some_and(|version| version.version == instance.row.watermark))
    }
}

impl Archive {
    /// Opens the version of an instance that a row tells of; one that is neither stored now nor a first one is opened as it is
    /// now.
    pub(super) async fn open_version(
        &self,
        scope: &Scope,
        row: &InstanceRow,
    ) -> Result<Arc<OpenInstance>> {
        let now = self.open(scope, &row.name).await?;
        if now.row.watermark == row.watermark {
            return Ok(now);
        }
        match self.index.first_content(scope, row.watermark).await? {
            Some(content) => Ok(Arc::new(OpenInstance::of_content(content)?)),
            None => Ok(now),
        }
    }

    /// Reads what [`Self::open`] gives from the index.
    pub(in crate::archive) async fn read_open(
        &self,
        scope: &Scope,
        name: &InstanceName,
    ) -> Result<OpenInstance> {
        let content = Stage::Content.of(self.index.content(scope, name)).await?;
        let unknown = || ArchiveError::not_found(describe(&Target::Instance(name.clone())));
        OpenInstance::of_content(content.ok_or_else(unknown)?)
    }
}
