//! What a request means: store, retrieve, search, delete, follow.
//!
//! Uses `index`, `blob` and `dicom`; knows nothing of HTTP or SQL. Invariants: a row implies its blob; what was
//! acknowledged is durable; memory of a request is bounded by configuration, never by the size of an object.

mod assembled;
mod bitpack;
mod buffer;
pub mod caches;
pub mod content;
mod cut;
pub mod error;
mod event_channels;
pub mod fields;
mod frame_shape;
pub mod ingest;
mod inline;
pub mod jobs;
pub mod lanes;
pub mod left_out;
mod meters;
mod metrics;
pub mod open_instance;
mod partition_names;
pub mod queue;
pub mod represent;
mod reserve;
pub mod rules;
mod running_work;
pub mod services;
mod source_read;
mod spool;
pub mod statistics;
pub mod texts;
pub mod workitems;
pub mod zip;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::blob::Blobs;
use crate::config::Limits;
use crate::dicom::deidentify::DeidentifyProfile;
use crate::dicom::inflate::{DiskRoom, SpooledFile};
use crate::index::Index;
use crate::memory::{self, MemoryBudget, Purpose, Reservation};
use crate::scope::Scope;
use crate::shares::Shares;
use crate::tasks::Tasks;
use crate::trace::Stage;
use jobs::commit::Committer;

// What the layer above needs of the layers below, so that it need not reach past this one.
pub use crate::blob::BlobError;
pub use crate::index::{
    AfterFailure, Change, ChangeAction, ChangeState, DeliveryState, FeedRange, IndexError,
    InstanceRow, LoggedEvent, Operation, OperationKind, OperationStatus, RemovalReason,
    Replacement, SERVICE_KINDS, StudyCondition, TagRow, TagStatus, TrashEntry, TrashFilter,
    Version, WebhookDelivery, WebhookRow, kinds_cover, service_kind,
};
pub use error::{ArchiveError, Result};

/// Threads that may wait for an object store at the same time.
const REMOTE: usize = 64;
/// Requests for storage commitment that are worked on at the same time.
const COMMITMENTS: usize = 32;
/// How long the stores may take to say that they are well.
const HEALTH: Duration = Duration::from_secs(10);

/// The archive: index, blobs and the limits of using them.
#[derive(Clone)]
pub struct Archive {
    index: Arc<dyn Index>,
    blobs: Blobs,
    limits: Arc<Limits>,
    /// Makes a file for a deflated data set that is too large for memory.
    inflate_to: Arc<dyn Fn() -> io::Result<SpooledFile> + Send + Sync>,
    committer: Committer,
    /// Extended query tags as last read.
    tags: Arc<caches::tags::TagCache>,
    /// Data partitions by name.
    partitions: Arc<partition_names::PartitionNames>,
    /// Rows and tables of instances.
    reads: caches::reads::ReadCaches,
    /// Inflated data sets.
    sources: caches::sources::SourceCache,
    /// Plans that wait for an object store at the same time.
    remote: Arc<Semaphore>,
    /// Decoded and encoded frames.
    maker: caches::frames::FrameCache,
    /// Turns of large instances, which may wait for memory while they have some.
    turns: Arc<Semaphore>,
    /// Room in the spool for all requests.
    spool: spool::SpoolBudget,
    /// What every buffer that a client can make grow is reserved from.
    budget: MemoryBudget,
    /// What the caches may hold at most.
    _caches: Arc<Reservation>,
    /// Work of each kind on the blocking pool at the same time.
    lanes: lanes::Lanes,
    /// Store requests at the same time.
    stores: Shares,
    /// Event channels of subscribers to workitems.
    channels: event_channels::EventChannels,
    /// Requests for storage commitment that are worked on at the same time.
    commitments: Arc<Semaphore>,
    meters: Arc<meters::ArchiveMeters>,
    /// Names this process where one of several does work for all.
    node: Arc<str>,
    /// Operations this process works on or waits for.
    running: running_work::WorkNames,
    tasks: Tasks,
    /// Blobs that could not be read as they should.
    reports: jobs::damage_reports::Reports,
    /// How long what was deleted can be restored.
    grace: Duration,
    /// Where exports may go.
    exports: Arc<services::export_settings::ExportSettings>,
    /// How instances can be de-identified.
    deidentification: Option<Arc<DeidentifyProfile>>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("blobs", &self.blobs)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Counts a cache of so many bytes that lives as long as the process, as that of the index.
    pub(crate) fn count_cache(&self, bytes: usize) {
        let mut cache = self.budget.nothing(Purpose::Caches);
        // A small part of the budget, of which nothing else but caches was reserved yet.
        if cache.try_grow_to(bytes).is_ok() {
            std::mem::forget(cache);
        }
    }

    /// Joins the stores; starts the task that commits.
    #[must_use]
    pub fn new(index: Arc<dyn Index>, blobs: Blobs, mut limits: Limits) -> Self {
        let bytes = memory::budget_bytes(limits.memory_bytes);
        let budget = MemoryBudget::new(bytes);
        // Each cache keeps an eighth of the budget at most, so that small budgets have room for requests too.
        let share = bytes as u64 / 8;
        limits.frame_cache_bytes = limits.frame_cache_bytes.min(share);
        limits.metadata_cache_bytes = limits.metadata_cache_bytes.min(share);
        let opened = caches::reads::OPENED.min(share);
        let rows = caches::reads::ROWS.min(share);
        // Frames are not counted here: each has its own reservation, in the cache too.
        let cached = limits.metadata_cache_bytes + opened + rows;
        let mut caches = budget.nothing(Purpose::Caches);
        let cached = usize::try_from(cached).unwrap_or(usize::MAX);
        if let Err(error) = caches.try_grow_to(cached) {
            unreachable!("half of the budget is free at the start: {error}");
        }
        let spool = spool::SpoolBudget::new(limits.spool_bytes);
        let (spools, room) = (blobs.clone(), spool.clone());
        // The name goes with the spool file; the open handle keeps the bytes until the last read.
        let inflate_to = move || {
            let file = spools.spool().map_err(io::Error::other)?;
            let room: Box<dyn DiskRoom> = Box::new(room.nothing());
            Ok((file.file().and_then(File::try_clone)?, room))
        };
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let node: Arc<str> = Arc::from(blobs.serial());
        let reads = caches::reads::ReadCaches::new((opened, rows), index.clone(), node.clone());
        let tasks = Tasks::default();
        let lanes = lanes::Lanes::new(cores);
        let (reporter, reports) = jobs::damage_reports::reports();
        blobs.report_to(reporter);
        Self {
            spool,
            committer: Committer::start(index.clone(), reads.clone(), &tasks),
            tags: Arc::default(),
            partitions: Arc::default(),
            reads,
            sources: caches::sources::SourceCache::new(caches::sources::MOST.min(share)),
            remote: Arc::new(Semaphore::new(REMOTE)),
            maker: caches::frames::FrameCache::new(&limits, lanes.clone(), budget.bytes()),
            // One for each GiB, so that all of them together seldom wait for each other.
            turns: Arc::new(Semaphore::new((bytes >> 30).clamp(1, 8))),
            lanes,
            commitments: Arc::new(Semaphore::new(COMMITMENTS)),
            meters: Arc::default(),
            node,
            running: Arc::default(),
            tasks,
            reports,
            grace: Duration::ZERO,
            exports: Arc::default(),
            deidentification: None,
            stores: Shares::new(limits.store_requests as u64),
            channels: event_channels::EventChannels::new(limits.channels),
            limits: Arc::new(limits),
            budget,
            _caches: Arc::new(caches),
            inflate_to: Arc::new(inflate_to),
            index,
            blobs,
        }
    }

    /// Says how long the sweeper leaves what was deleted.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long the sweeper leaves what was deleted.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What every buffer that a client can make grow is reserved from, before it grows.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Where work goes that would keep the threads of requests busy.
    #[must_use]
    pub fn lanes(&self) -> &lanes::Lanes {
        &self.lanes
    }

    /// What runs beside the requests.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Removes a study, series or instance for every reader at once; its bytes go later. Returns how many instances.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when the target does not exist in the scope.
    pub async fn delete(&self, scope: &Scope, target: &crate::dicom::uid::Target) -> Result<u64> {
        let removed = Stage::Delete.of(self.index.delete(scope, target)).await;
        match self.reads.changed(removed).await? {
            0 => Err(ArchiveError::not_found(describe(target))),
            removed => Ok(removed),
        }
    }

    /// Hears of what other nodes change, so that what was read can be kept, until the process ends.
    ///
    /// # Errors
    /// When the index fails; until the next call the index is asked each time.
    pub async fn follow_changes(
        self,
        watch: crate::tasks::Watch,
    ) -> std::result::Result<(), crate::tasks::Failure> {
        self.reads.coherence.follow(&watch).await
    }

    /// Whether index and blob store can be used, and the tasks that requests depend on run.
    ///
    /// # Errors
    /// What cannot be used.
    pub async fn check(&self) -> Result<()> {
        // A store that is silent is as good as one that is away, and whoever asks wants an answer.
        let asked = tokio::time::timeout(HEALTH, async {
            self.index.ping().await?;
            Ok::<_, ArchiveError>(self.blobs.probe().await?)
        });
        let busy = |_| ArchiveError::Busy {
            what: "a store that does not answer",
        };
        asked.await.map_err(busy)??;
        match self.tasks.down() {
            None => Ok(()),
            Some(task) => Err(ArchiveError::Down { task }),
        }
    }
}

/// Names a target for an error message; UIDs only.
#[must_use]
pub fn describe(target: &crate::dicom::uid::Target) -> String {
    use crate::dicom::uid::Target;
    match target {
        Target::Study(study) => format!("the study {study}"),
        Target::Series(study, series) => format!("the series {series} of the study {study}"),
        Target::Instance(name) => {
            format!(
                "the instance {} of the series {} of the study {}",
                name.instance, name.series, name.study
            )
        }
    }
}
