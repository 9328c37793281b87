//! Metadata of all instances of a study, series or instance, as parts of an answer.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream};

use super::search::WrittenRow;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::texts::{LeftOut, StoredText, TextPart, corrupt};
use crate::archive::{Archive, describe};
use crate::dicom::instance::Metadata;
use crate::dicom::members::Malformed;
use crate::dicom::uid::Target;
use crate::index::{IndexError, InstanceRow};
use crate::memory::Reservation;
use crate::scope::Scope;

/// Writes the metadata of an instance; called where it keeps no request waiting.
pub type WriteInstance =
    Arc<dyn Fn(&InstanceRow, Metadata) -> std::result::Result<WrittenRow, Malformed> + Send + Sync>;

impl Archive {
    /// Metadata of all instances of a target, oldest first, the first of which were read.
    ///
    /// An instance of a study or series whose metadata cannot be read is left out.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when the target does not exist in the scope.
    pub async fn metadata(
        &self,
        scope: &Scope,
        target: &Target,
        write: WriteInstance,
    ) -> Result<(BoxStream<'static, Result<TextPart>>, LeftOut)> {
        let rows = self.instances(scope, target).await?;
        let asked = rows.map_ok(|row| (row.watermark, row)).boxed();
        let left_out = LeftOut::default();
        let (archive, counted) = (self.clone(), left_out.clone());
        let alone = matches!(target, Target::Instance(_));
        let work = move |row: InstanceRow, stored, held: &mut Reservation| {
            let whole = held.bytes();
            let held = held.split(whole);
            let made = match stored {
                StoredText::There(metadata) => write(&row, metadata)
                    .and_then(|(url, pieces)| Self::begin_part(url, pieces, held))
                    .map_err(corrupt),
                StoredText::Gone => return Ok(None),
                StoredText::Damaged => Err(ArchiveError::Index(IndexError::Corrupt {
                    what: "the metadata of an instance",
                })),
                StoredText::TooLarge(error) => Err(error.into()),
            };
            match made {
                Ok(part) => Ok(Some(part)),
                Err(error) => {
                    archive.meters.unreadable.note(row.watermark, &counted);
                    if alone { Err(error) } else { Ok(None) }
                }
            }
        };
        let parts = self.with_metadata(scope, asked, Arc::new(|_| 0), Arc::new(work));
        let mut parts = parts.try_filter_map(|part| async { Ok(part) }).boxed();
        // What is deleted between the look at its rows and the read of its metadata was not there.
        let first = parts.try_next().await?;
        if first.is_none() && left_out.count() == 0 {
            return Err(ArchiveError::not_found(describe(target)));
        }
        let first = stream::iter(first.map(Ok));
        Ok((first.chain(parts).boxed(), left_out))
    }
}
