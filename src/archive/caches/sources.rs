//! Inflated data sets of deflated instances: made once for all who read one, and kept a short while for those who go on.
//!
//! Invariants: what is kept is counted, memory in the memory budget and files in the budget of the spool; as stored bytes
//! never change, what is kept under the key of a blob cannot be stale; nobody waits for the network in a lane.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::archive::error::{ArchiveError, Result};
use crate::archive::source_read::lost_bytes;
use crate::archive::spool::SpoolRoom;
use crate::dicom::inflate::Inflated;
use crate::dicom::source::{FileSource, Source};
use crate::memory::Reservation;
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
pub(in crate::archive) struct CountedSource {
    bytes: Inflated,
    _memory: Reservation,
}

impl CountedSource {
    /// A data set with the memory that is reserved for it.
    pub(in crate::archive) fn new(bytes: Inflated, memory: Reservation) -> Self {
        Self {
            bytes,
            _memory: memory,
        }
    }
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

    /// The data set under the key of a blob, made by `make` unless it is there or being made.
    ///
    /// # Errors
    /// What `make` met; everybody who waited gets the same.
    pub(in crate::archive) async fn get(
        &self,
        key: Arc<str>,
        make: impl Future<Output = Result<CountedSource>> + Send,
    ) -> Result<OpenedSource> {
        let made = Box::pin(async {
            self.inflated.one();
            make.await.map(Arc::new)
        });
        let source = self.cache.try_get_with(key, made).await;
        Ok(source.map_err(ArchiveError::Shared)?)
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
