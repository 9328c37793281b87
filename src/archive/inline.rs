//! Values that stand in the metadata itself, served as those that are served by URI.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::Archive;
use super::error::{ArchiveError, Result};
use super::lanes::Lane;
use super::services::frames::BulkValue;
use crate::dicom::inline::{InlineSearch, InlineValue, at_path};
use crate::dicom::uid::InstanceName;
use crate::scope::Scope;

/// Values that are taken out of the text at a time; each has a kilobyte or less.
const BATCH: usize = 64;

impl Archive {
    /// The value at a path that no `BulkDataURI` names, as it stands in the metadata.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it is not there either.
    pub async fn inline_value(
        &self,
        scope: &Scope,
        name: &InstanceName,
        path: &str,
    ) -> Result<BulkValue> {
        let subject = self.subject(scope, name).await?;
        let wanted = path.trim_matches('/').to_ascii_uppercase();
        let found = self.read_text(&subject, move |text| Ok(at_path(text.as_str(), &wanted)));
        let found = found.await?;
        found
            .map(held)
            .ok_or_else(|| ArchiveError::not_found("the bulk data"))
    }

    /// All values that stand in the metadata of an instance, at any depth.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is no such instance, [`ArchiveError::Memory`] without room for its metadata.
    pub async fn inline_values(
        &self,
        scope: &Scope,
        name: &InstanceName,
    ) -> Result<BoxStream<'static, Result<BulkValue>>> {
        let subject = self.subject(scope, name).await?;
        let text = self.text(&subject).await?;
        let archive = self.clone();
        let batches = stream::try_unfold(InlineSearch::default(), move |mut search| {
            let (archive, text) = (archive.clone(), text.clone());
            async move {
                if search.is_done() {
                    return Ok(None);
                }
                let found = archive.lanes().run(Lane::Text, move || {
                    let found = search.next(text.as_str(), BATCH);
                    Ok::<_, ArchiveError>((found, search))
                });
                found.await.map(Some)
            }
        });
        let values = batches.map_ok(|found| stream::iter(found.into_iter().map(|v| Ok(held(v)))));
        Ok(values.try_flatten().boxed())
    }
}

fn held(value: InlineValue) -> BulkValue {
    BulkValue::held(value.path, value.vr, Bytes::from(value.bytes))
}
