//! De-identified export: files in folders, named by their new UIDs.
//!
//! Invariant: no file and no folder is named by a UID that was replaced; of what is refused nothing is written.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;

use super::deidentify::{is_refused, refusal};
use super::export::{ExportFolder, write_file};
use crate::archive::Archive;
use crate::archive::error::Result;
use crate::dicom::deidentify::DeidentifyProfile;
use crate::dicom::uid::{InstanceName, Target};
use crate::scope::Scope;

/// What became of an instance.
#[derive(Debug)]
pub enum DeidentifiedExport {
    /// It was written, so many bytes.
    Written(u64),
    /// Something of it cannot be taken away, or it cannot be read.
    Refused {
        /// Its stored UIDs.
        name: InstanceName,
        /// Why; without patient data.
        reason: String,
    },
}

impl Archive {
    /// Writes a target de-identified below a folder as `study/series/instance.dcm`, by the new UIDs.
    ///
    /// # Errors
    /// When the target does not exist, the stores fail or the folder cannot be written.
    pub async fn export_deidentified(
        &self,
        scope: &Scope,
        target: &Target,
        folder: &Path,
        profile: &Arc<DeidentifyProfile>,
        reported: &mut (dyn FnMut(DeidentifiedExport) + Send),
    ) -> Result<()> {
        let mut rows = self.instances(scope, target).await?;
        while let Some(row) = rows.next().await {
            let row = row?;
            let made = match Box::pin(self.deidentified(scope, &row, profile)).await {
                Ok(made) => made,
                Err(error) if is_refused(&error) => {
                    reported(DeidentifiedExport::Refused {
                        name: row.name,
                        reason: refusal(&error),
                    });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let length = made.file.length();
            let root = ExportFolder::open(folder)?;
            let study = root.below(made.name.study.as_str())?;
            let place = study.below(made.name.series.as_str())?;
            let file = format!("{}.dcm", made.name.instance);
            match made.file.all().await {
                Ok(content) => match write_file(&place, &file, content.chunks).await {
                    Ok(()) => reported(DeidentifiedExport::Written(length)),
                    Err(error) if is_refused(&error) => reported(DeidentifiedExport::Refused {
                        name: row.name,
                        reason: refusal(&error),
                    }),
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
