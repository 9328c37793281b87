//! Inflated data sets of deflated instances: made once for all who read one, and kept a short while for those who go on.
//!
//! Invariants: what is kept is counted, memory in the memory budget and files in the budget of the spool; as stored bytes
//! never change, what is kept under the key of a blob cannot be stale; nobody waits for the network in a lane.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use moka::future::Cache;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::services::retrieve::lost_bytes;
use crate::archive::spool::{SpoolRoom, stored_failure};
use crate::blob::OpenBlob;
use crate::dicom::inflate::{IN_MEMORY, Inflated, inflate};
use crate::dicom::instance::FileLayout;
use crate::dicom::source::{FileSource, Source};
use crate::index::InstanceRow;
use crate::memory::{Purpose, Reservation};
use crate::meter::Counter;

/// How long a data set is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(20);
/// Most bytes of kept data sets in memory, unless the memory budget is small.
pub(in crate::archive) const MOST: u64 = 64 << 20;
/// What a data set in a file counts for in the cache: so many are kept at most that they make up [`MOST`].
const FILE: u32 = 1 << 20;

/// A data set, open for reading.
pub(in crate::archive) type OpenedSource = Arc<dyn Source + Send + Sync>;

/// The data sets.
#[derive(Debug, Clone)]
pub(in crate::archive) struct SourceCache {
    cache: Cache<Arc<str>, Arc<CountedSource>>,
    /// How often a data set was inflated.
    inflated: Arc<Counter>,
}

/// A data set with the room it takes.
#[derive(Debug)]
struct CountedSource {
    bytes: Inflated,
    _memory: Reservation,
}

impl Source for CountedSource {
    fn len(&self) -> u64 {
        self.bytes.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.bytes.read_at(offset, buf)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.bytes.as_slice()
    }
}

impl SourceCache {
    /// Keeps at most `most` bytes in memory.
    pub(in crate::archive) fn new(most: u64) -> Self {
        let weigh = |_: &Arc<str>, source: &Arc<CountedSource>| match &source.bytes {
            Inflated::Memory(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX).max(1024),
            Inflated::File(..) => FILE,
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(most)
            .time_to_idle(IDLE)
            .build();
        Self {
            cache,
            inflated: Arc::default(),
        }
    }

    /// How often a data set was inflated.
    pub(in crate::archive) fn inflated(&self) -> u64 {
        self.inflated.get()
    }

    /// Gives back the room of those that nobody reads.
    pub(in crate::archive) async fn invalidate_all(&self) {
        self.cache.invalidate_all();
        self.cache.run_pending_tasks().await;
    }
}

/// A file of the spool with the room it takes.
#[derive(Debug)]
pub(in crate::archive) struct SpooledSource {
    file: FileSource,
    _room: SpoolRoom,
}

impl SpooledSource {
    /// A file that is complete.
    pub(in crate::archive) fn new(file: File, room: SpoolRoom) -> Result<Self> {
        let file = FileSource::new(file).map_err(lost_bytes)?;
        Ok(Self { file, _room: room })
    }
}

impl Source for SpooledSource {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }
}

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

    /// The inflated data set of a deflated instance, for positional reads.
    ///
    /// # Errors
    /// When it cannot be read, or there is no room for it.
    pub(in crate::archive) async fn inflated(&self, row: &InstanceRow) -> Result<OpenedSource> {
        let key: Arc<str> = Arc::from(row.place.key.as_str());
        let made = Box::pin(async {
            self.sources.inflated.one();
            let made = self.inflate(self.local(row), &row.layout);
            made.await.map(Arc::new)
        });
        let source = self.sources.cache.try_get_with(key, made).await;
        Ok(source.map_err(ArchiveError::Shared)?)
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
        Ok(CountedSource {
            bytes,
            _memory: memory,
        })
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
}
