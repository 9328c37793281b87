//! Storage commitment over the web: requests under a Transaction UID, and their results (PS3.18 chapter 13).
//!
//! A request is an operation of the index, so that it outlives the process that took it: whoever sweeps takes up what a node
//! that is gone left. Invariants: a result is for who asked, with the limits of the request; no work holds a database connection.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::oneshot;

use super::commitment::CommitmentFailure;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::running_work::RunningWork;
use crate::archive::{Archive, Version};
use crate::dicom::commitment::{
    AskedCommitment, CommitmentResult, FailureReason, InstanceReference, MOST, ReferencedSeries,
    ReferencedStudy, ReportedSeries, ReportedStudy,
};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use crate::fault;
use crate::index::{InstanceRow, Operation, OperationKind, OperationStatus};
use crate::memory::{Purpose, Reservation};
use crate::scope::{Partition, Scope, Visible};

/// Blobs read at the same time for one request.
const AT_ONCE: usize = 4;
/// How long a node that is gone keeps others from going on with its requests.
const LEASE: Duration = Duration::from_secs(60);
/// How often a lease is renewed.
const RENEW: Duration = Duration::from_secs(15);
/// Bytes that an instance takes in a report and its text, about.
const EACH: usize = 1024;
/// Bytes reserved for a request that is taken up again.
const RESUMED: usize = 4 << 20;
/// Results forgotten at a time.
const FORGOTTEN: u32 = 500;

/// Who asks, as it stands beside a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitmentCaller {
    /// Whose token it is.
    owner: Option<String>,
    partition: i64,
    /// Patients and studies it is limited to.
    limits: Option<(Vec<String>, Vec<String>)>,
}

/// A request, and later its result, as the operation keeps it.
#[derive(Serialize, Deserialize)]
struct KeptCommitment {
    caller: CommitmentCaller,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<AskedCommitment>,
    /// A data set in DICOM JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

/// How far a request is.
#[derive(Debug)]
pub enum Commitment {
    /// It is worked on.
    Working,
    /// The data set that is told, in DICOM JSON.
    Done(String),
}

/// What became of a new request.
#[derive(Debug)]
pub enum CommitmentBegun {
    /// It is worked on; ends when that is over.
    Working(oneshot::Receiver<()>),
    /// Its transaction UID is in use.
    InUse,
}

impl CommitmentCaller {
    /// A caller, with the limits that its request has.
    #[must_use]
    pub fn new(owner: Option<String>, scope: &Scope) -> Self {
        let limits = match &scope.visible {
            Visible::All => None,
            Visible::Only { patients, studies } => {
                let sorted = |list: &[String]| {
                    let mut list = list.to_vec();
                    list.sort_unstable();
                    list
                };
                Some((sorted(patients), sorted(studies)))
            }
        };
        Self {
            owner,
            partition: scope.partition.0,
            limits,
        }
    }

    fn scope(&self) -> Scope {
        Scope {
            partition: Partition(self.partition),
            visible: match &self.limits {
                None => Visible::All,
                Some((patients, studies)) => Visible::Only {
                    patients: patients.clone(),
                    studies: studies.clone(),
                },
            },
        }
    }
}

/// Id of the operation of a transaction.
fn operation_id(partition: Partition, transaction: &str) -> String {
    let named = format!("commitment {} {transaction}", partition.0);
    let hash = blake3::hash(named.as_bytes()).to_hex();
    hash.get(..32).unwrap_or_default().to_owned()
}

fn lost(error: &serde_json::Error) -> ArchiveError {
    tracing::error!(%error, "a request for storage commitment cannot be read or written");
    ArchiveError::Lost {
        what: "a request for storage commitment",
    }
}

/// Name of the lease of who works on a request.
fn lease_of(operation: &Operation) -> String {
    format!("commitment {}", operation.id)
}

/// The failure reason that an error is told as.
fn failure_of(error: &ArchiveError) -> FailureReason {
    Some(CommitmentFailure::of(error).code())
}

/// Told of what is not there.
const ABSENT: FailureReason = Some(CommitmentFailure::NoSuchInstance.code());

impl Archive {
    /// Takes a request; `held` is the memory that it takes.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when it means more than [`MOST`] instances, [`ArchiveError::Busy`] when too many are worked
    /// on, and when the index fails.
    pub async fn request_commitment(
        &self,
        caller: CommitmentCaller,
        transaction: &str,
        request: AskedCommitment,
        mut held: Reservation,
    ) -> Result<CommitmentBegun> {
        let place = self.commitments.clone().try_acquire_owned();
        let place = place.map_err(|_| ArchiveError::Busy {
            what: "other requests for storage commitment",
        })?;
        let meant = self.meant(&caller.scope(), &request).await?;
        if meant > MOST {
            let reason = format!(
                "the request means {meant} instances, and one may mean {MOST} at most: ask for fewer studies at a time"
            );
            return Err(ArchiveError::TooLarge { reason });
        }
        held.grow_to(held.bytes() + meant * EACH).await?;
        let id = operation_id(Partition(caller.partition), transaction);
        let kept = KeptCommitment {
            caller,
            request: Some(request),
            report: None,
        };
        let operation = Operation {
            results: Some(serde_json::to_string(&kept).map_err(|error| lost(&error))?),
            ..Operation::new(id, OperationKind::Commitment, OperationStatus::Running)
        };
        if !self.index.begin_operation(&operation).await? {
            return Ok(CommitmentBegun::InUse);
        }
        fault::point("commitment.begun");
        let (done, ended) = oneshot::channel();
        let archive = self.clone();
        tokio::spawn(async move {
            let _held = (place, held);
            if let Some(_running) = archive.begin_commitment_work(&operation) {
                archive.carry_out(operation, kept).await;
            }
            drop(done);
        });
        Ok(CommitmentBegun::Working(ended))
    }

    /// How many instances a request means; studies that are not there count as one.
    async fn meant(&self, scope: &Scope, request: &AskedCommitment) -> Result<usize> {
        let mut meant = request.named();
        for study in &request.studies {
            let Ok(uid) = StudyUid::parse(&study.study) else {
                continue;
            };
            let targets = match study.series.as_slice() {
                [] => vec![Target::Study(uid)],
                series => series
                    .iter()
                    .filter(|series| series.instances.is_empty())
                    .filter_map(|series| SeriesUid::parse(&series.series).ok())
                    .map(|series| Target::Series(uid.clone(), series))
                    .collect(),
            };
            for target in &targets {
                let version: Option<Version> = self.ask_version(scope, target).await?;
                let instances = version.map_or(0, |version| version.instances);
                meant = meant.saturating_add(usize::try_from(instances).unwrap_or(0));
            }
        }
        Ok(meant)
    }

    /// Takes a request on, unless this process works on it already.
    fn begin_commitment_work(&self, operation: &Operation) -> Option<RunningWork> {
        RunningWork::begin(&self.running, lease_of(operation))
    }

    /// Works on a request until its result is written, unless another node does.
    async fn carry_out(&self, mut operation: Operation, kept: KeptCommitment) {
        let lease = lease_of(&operation);
        let (index, node) = (self.index.clone(), self.node.clone());
        let (scope, request) = (kept.caller.scope(), kept.request.unwrap_or_default());
        let work = async {
            if !index.take_lease(&lease, &node, LEASE).await? {
                return Ok(());
            }
            let renewed = async {
                loop {
                    tokio::time::sleep(RENEW).await;
                    match index.take_lease(&lease, &node, LEASE).await {
                        Ok(true) => {}
                        _ => return,
                    }
                }
            };
            let report = tokio::select! {
                report = self.report(&scope, &request) => report,
                () = renewed => return Ok(()),
            };
            fault::point("commitment.looked");
            let kept = KeptCommitment {
                caller: kept.caller,
                request: None,
                report: Some(report.to_json()),
            };
            operation.status = OperationStatus::Completed;
            operation.percent = 100;
            operation.results = Some(serde_json::to_string(&kept).map_err(|error| lost(&error))?);
            index.save_operation(&operation).await?;
            fault::point("commitment.told");
            index.give_back_lease(&lease, &node).await?;
            Ok::<(), ArchiveError>(())
        };
        if let Err(error) = work.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a request for storage commitment will be taken up again"
            );
        }
    }

    async fn report(&self, scope: &Scope, request: &AskedCommitment) -> CommitmentResult {
        let looked = stream::iter(request.instances.clone())
            .map(|reference| async move {
                let (class, instance) = (&reference.class, &reference.instance);
                let committed = self.commit_instance(scope, class, instance).await;
                let failure = committed.err().map(CommitmentFailure::code);
                (reference, failure)
            })
            .buffered(AT_ONCE);
        let mut report = CommitmentResult {
            instances: looked.collect().await,
            studies: Vec::with_capacity(request.studies.len()),
        };
        for study in &request.studies {
            report.studies.push(self.reported_study(scope, study).await);
        }
        report
    }

    async fn reported_study(&self, scope: &Scope, study: &ReferencedStudy) -> ReportedStudy {
        let mut reported = ReportedStudy {
            study: study.study.clone(),
            failure: None,
            series: Vec::new(),
        };
        let Ok(uid) = StudyUid::parse(&study.study) else {
            reported.failure = ABSENT;
            return reported;
        };
        if study.series.is_empty() {
            match self.all_of(scope, &Target::Study(uid)).await {
                Ok(series) => reported.series = series,
                Err(error) => reported.failure = failure_of(&error),
            }
            return reported;
        }
        for series in &study.series {
            reported
                .series
                .push(self.reported_series(scope, &uid, series).await);
        }
        reported
    }

    async fn reported_series(
        &self,
        scope: &Scope,
        study: &StudyUid,
        series: &ReferencedSeries,
    ) -> ReportedSeries {
        let mut reported = ReportedSeries {
            series: series.series.clone(),
            failure: None,
            instances: Vec::new(),
        };
        let Ok(uid) = SeriesUid::parse(&series.series) else {
            reported.failure = ABSENT;
            return reported;
        };
        if series.instances.is_empty() {
            let target = Target::Series(study.clone(), uid);
            match self.all_of(scope, &target).await {
                Ok(all) => reported.instances = all.into_iter().flat_map(|s| s.instances).collect(),
                Err(error) => reported.failure = failure_of(&error),
            }
            return reported;
        }
        let looked = stream::iter(series.instances.clone())
            .map(|reference| {
                let (study, series) = (study.clone(), uid.clone());
                async move {
                    let failure = self.named(scope, (study, series), &reference).await;
                    (reference, failure)
                }
            })
            .buffered(AT_ONCE);
        reported.instances = looked.collect().await;
        reported
    }

    /// Looks at an instance where it is said to be.
    async fn named(
        &self,
        scope: &Scope,
        (study, series): (StudyUid, SeriesUid),
        reference: &InstanceReference,
    ) -> FailureReason {
        let Ok(instance) = InstanceUid::parse(&reference.instance) else {
            return ABSENT;
        };
        let target = Target::Instance(InstanceName {
            study,
            series,
            instance,
        });
        let found = async { self.instances(scope, &target).await?.try_next().await };
        match found.await {
            Ok(None) => ABSENT,
            Ok(Some(row)) if row.sop_class != reference.class => {
                Some(CommitmentFailure::Conflict.code())
            }
            Ok(Some(row)) => self.failure_of_row(&row).await,
            Err(error) => failure_of(&error),
        }
    }

    /// Looks at the bytes of an instance.
    async fn failure_of_row(&self, row: &InstanceRow) -> FailureReason {
        let committed = self.commit_row(row).await;
        committed.err().map(CommitmentFailure::code)
    }

    /// Looks at everything of a study or series, in the order of its arrival.
    async fn all_of(&self, scope: &Scope, target: &Target) -> Result<Vec<ReportedSeries>> {
        let rows = self.instances(scope, target).await?;
        // As many as memory was reserved for.
        let looked = rows
            .take(MOST)
            .map_ok(|row| async move {
                let failure = self.failure_of_row(&row).await;
                Ok::<_, ArchiveError>((row, failure))
            })
            .try_buffered(AT_ONCE);
        let mut looked = std::pin::pin!(looked);
        let mut all: Vec<ReportedSeries> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((row, failure)) = looked.try_next().await? {
            let reference = InstanceReference {
                class: row.sop_class,
                instance: row.name.instance.to_string(),
            };
            let series = row.name.series.to_string();
            let at = *places.entry(series.clone()).or_insert_with(|| {
                all.push(ReportedSeries {
                    series,
                    failure: None,
                    instances: Vec::new(),
                });
                all.len() - 1
            });
            if let Some(known) = all.get_mut(at) {
                known.instances.push((reference, failure));
            }
        }
        Ok(all)
    }

    /// How far a request is.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none of this caller.
    pub async fn commitment(
        &self,
        caller: &CommitmentCaller,
        transaction: &str,
    ) -> Result<Commitment> {
        let unknown = || ArchiveError::not_found("the request for storage commitment");
        let id = operation_id(Partition(caller.partition), transaction);
        let operation = self.index.operation(&id).await?.ok_or_else(unknown)?;
        let text = operation.results.unwrap_or_default();
        let kept: KeptCommitment = serde_json::from_str(&text).map_err(|error| lost(&error))?;
        if kept.caller != *caller {
            return Err(unknown());
        }
        Ok(kept.report.map_or(Commitment::Working, Commitment::Done))
    }

    /// Takes up requests that nobody works on.
    ///
    /// # Errors
    /// When the index fails.
    pub(in crate::archive) async fn resume_commitments(&self) -> Result<()> {
        let unfinished = self.index.unfinished_operations(OperationKind::Commitment);
        for operation in unfinished.await? {
            // Before it waits for a place: what has to wait is not begun anew by each look.
            let Some(running) = self.begin_commitment_work(&operation) else {
                continue;
            };
            let archive = self.clone();
            tokio::spawn(async move {
                let _running = running;
                let mut held = archive.budget.nothing(Purpose::Background);
                let place = archive.commitments.clone().acquire_owned().await;
                let room = held.grow_to(RESUMED).await;
                let text = operation.results.as_deref().unwrap_or_default();
                let kept = serde_json::from_str(text).map_err(|error| lost(&error));
                if let (Ok(_), Ok(()), Ok(kept)) = (&place, room, kept) {
                    archive.carry_out(operation, kept).await;
                }
            });
        }
        Ok(())
    }

    /// Forgets results that are old.
    ///
    /// # Errors
    /// When the index fails.
    pub(in crate::archive) async fn sweep_commitments(&self) -> Result<()> {
        let Some(kept) = self.limits.commitment_time() else {
            return Ok(());
        };
        let before = OffsetDateTime::now_utc() - kept;
        let kind = OperationKind::Commitment;
        while self
            .index
            .forget_operations(kind, before, FORGOTTEN)
            .await?
            > 0
        {}
        Ok(())
    }
}
