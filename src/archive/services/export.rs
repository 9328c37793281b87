//! Export: stored bytes as files in folders.
//!
//! Invariant: a file that is there already with the right bytes is kept, so what was broken off is simply started again.

use std::path::Path;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
pub(super) use crate::blob::ExportFolder;
use crate::dicom::uid::Target;
use crate::scope::Scope;

impl Archive {
    /// Writes the stored bytes of a target below a folder as `study/series/instance.dcm`; files that are there already with
    /// the right bytes are kept. Returns how many instances there are.
    ///
    /// # Errors
    /// When the target does not exist, the stores fail or the folder cannot be written.
    pub async fn export(
        &self,
        scope: &Scope,
        target: &Target,
        folder: &Path,
        reported: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64> {
        let mut rows = self.instances(scope, target).await?;
        let mut count = 0;
        while let Some(row) = rows.next().await {
            let row = row?;
            let name = &row.name;
            let root = ExportFolder::open(folder)?;
            let study = root.below(name.study.as_str())?;
            let place = study.below(name.series.as_str())?;
            let file = format!("{}.dcm", name.instance);
            let (there, known, length) = (place.clone(), file.clone(), row.place.length);
            let digest = tokio::task::spawn_blocking(move || there.digest(&known, length)).await;
            let lost = |_| ArchiveError::Lost { what: "export" };
            if digest.map_err(lost)? != Some(row.digest) {
                let content = self.stored(&row).await?;
                write_file(&place, &file, content.chunks).await?;
            }
            count += 1;
            reported(row.place.length);
        }
        Ok(count)
    }
}

/// Writes a file, in place of what has its name.
pub(super) async fn write_file(
    folder: &ExportFolder,
    name: &str,
    mut chunks: BoxStream<'static, Result<Bytes>>,
) -> Result<()> {
    let mut written = folder.create(name)?;
    while let Some(chunk) = chunks.try_next().await? {
        written.append(&chunk)?;
    }
    Ok(written.finish()?)
}
