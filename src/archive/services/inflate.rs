//! Opens the data sets of deflated instances for positional reads, and the stored bytes below them.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use futures_util::TryStreamExt;

use crate::archive::Archive;
use crate::archive::caches::sources::{CountedSource, OpenedSource};
use crate::archive::error::Result;
use crate::archive::lanes::Lane;
use crate::archive::source_read::lost_bytes;
use crate::archive::spool::{SpoolRoom, stored_failure};
use crate::blob::OpenBlob;
use crate::dicom::inflate::{IN_MEMORY, Inflated, inflate};
use crate::dicom::instance::FileLayout;
use crate::dicom::source::{FileSource, Source};
use crate::index::InstanceRow;
use crate::memory::Purpose;

impl Archive {
    /// A new file in the spool, which is gone when it is closed.
    pub(in crate::archive) async fn spool_file(&self) -> Result<File> {
        let blobs = self.blobs.clone();
        let made = self.lanes().run(Lane::Retrieve, move || {
            let spooled = blobs.spool()?;
            spooled.file().and_then(File::try_clone).map_err(lost_bytes)
        });
        made.await
    }

    /// The inflated data set of a deflated file that is not stored.
    ///
    /// # Errors
    /// When it cannot be read, or there is no room for it.
    pub(in crate::archive) async fn inflated_file(
        &self,
        file: OpenedSource,
        layout: &FileLayout,
    ) -> Result<OpenedSource> {
        let local = async { Ok((file, None)) };
        Ok(Arc::new(self.inflate(local, layout).await?))
    }

    /// Inflates a file, which is opened when there is room for what comes of it.
    async fn inflate(
        &self,
        local: impl Future<Output = Result<(OpenBlob, Option<SpoolRoom>)>> + Send,
        layout: &FileLayout,
    ) -> Result<CountedSource> {
        let length = layout.dataset_length;
        // It grows in memory that doubles when it is full; a file takes room in the spool as it grows.
        let bytes = usize::try_from(length.min(IN_MEMORY)).unwrap_or(usize::MAX);
        let memory = self.reserve(Purpose::Inflated, bytes.saturating_mul(2));
        let mut memory = memory.await?;
        if length > IN_MEMORY {
            // What others only keep makes way before it begins, for later it cannot ask them.
            drop(self.spool_room(length).await?);
        }
        let (stored, _received) = local.await?;
        let (start, cap) = (layout.dataset_offset, self.limits.max_inflated_bytes);
        let make = self.inflate_to.clone();
        let inflated = self.lanes().run(Lane::Retrieve, move || {
            let spool = || make();
            let inflated = inflate(&*stored, start, cap, Some(&spool)).map_err(stored_failure)?;
            Ok(match inflated {
                Inflated::Memory(mut bytes) => {
                    bytes.shrink_to_fit();
                    Inflated::Memory(bytes)
                }
                file @ Inflated::File(..) => file,
            })
        });
        let bytes = inflated.await?;
        let in_memory = bytes.as_slice().map_or(0, <[u8]>::len);
        memory.must_cover(in_memory);
        memory.shrink_to(in_memory);
        Ok(CountedSource::new(bytes, memory))
    }

    /// The stored bytes on the local disk: those of an object store are received first, outside of any lane.
    pub(in crate::archive) async fn local(
        &self,
        row: &InstanceRow,
    ) -> Result<(OpenBlob, Option<SpoolRoom>)> {
        let place = &row.place;
        if !self.blobs.is_remote() {
            return Ok((self.open_checked(place).await?, None));
        }
        let room = self.spool_room(place.length).await?;
        let file = self.spool_file().await?;
        let mut chunks = self.range(place, 0, place.length).await?.chunks;
        while let Some(chunk) = chunks.try_next().await? {
            let mut to = file.try_clone().map_err(lost_bytes)?;
            let written = self.lanes().run(Lane::Retrieve, move || {
                to.write_all(&chunk).map_err(lost_bytes)
            });
            written.await?;
        }
        let source = FileSource::new(file).map_err(lost_bytes)?;
        Ok((Arc::new(source), Some(room)))
    }

    /// The inflated data set of a deflated instance, for positional reads.
    ///
    /// # Errors
    /// When it cannot be read, or there is no room for it.
    pub(in crate::archive) async fn inflated(&self, row: &InstanceRow) -> Result<OpenedSource> {
        let key: Arc<str> = Arc::from(row.place.key.as_str());
        let made = self.inflate(self.local(row), &row.layout);
        self.sources.get(key, made).await
    }
}
