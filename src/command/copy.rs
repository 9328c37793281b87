//! `stowage copy`: studies of another `DICOMweb` server into this archive, and a comparison of both.
//!
//! De-identified, what comes is stored under new UIDs, made by the key of the old ones, and nothing of the rest is.
//!
//! Invariants: an instance is in the journal only after it is durably stored; at the end of each study what the other server
//! lists is compared with what is here, by number and by the digests of the bytes that came, or by the new UIDs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::copy_run::CopyRun;
use super::output::{Verdict, say, say_where};
use super::remote::{remote_failed, server};
use super::target::check_partition;

use crate::archive::ingest::{Outcome, StoreOptions, reason};
use crate::archive::{Archive, ArchiveError};
use crate::config::{Config, CopyArgs};
use crate::dicom::deidentify::DeidentifyProfile;
use crate::dicom::uid::{InstanceUid, SeriesUid, StudyUid, Target};
use crate::http::remote::backoff::Backoff;
use crate::http::remote::connection::RemoteServer;
use crate::http::remote::error::RemoteError;
use crate::http::remote::retrieve::ReceivedInstance;
use crate::http::remote::search::RemoteStudy;
use crate::memory::NoMemory;
use crate::scope::Scope;
use crate::start::{StartError, StoreNeeds, open};

/// Instances beyond those that were listed that a series may have got meanwhile.
const MORE: usize = 16;

/// What a copy works with.
struct Copying<'a> {
    server: &'a RemoteServer,
    archive: &'a Archive,
    options: &'a StoreOptions,
    scope: &'a Scope,
    names: StoredNames,
    parallel: usize,
    retries: u32,
    /// Requests for instances at the same time.
    slots: &'a Semaphore,
    run: &'a Mutex<CopyRun>,
}

/// The UIDs under which what comes is stored.
struct StoredNames(Option<Arc<DeidentifyProfile>>);

impl StoredNames {
    fn of(&self, uid: &str) -> String {
        match &self.0 {
            Some(profile) => profile.new_uid(uid),
            None => uid.to_owned(),
        }
    }

    fn study(&self, study: &StudyUid) -> StudyUid {
        StudyUid::parse(&self.of(study.as_str())).unwrap_or_else(|_| study.clone())
    }

    fn series(&self, series: &SeriesUid) -> SeriesUid {
        SeriesUid::parse(&self.of(series.as_str())).unwrap_or_else(|_| series.clone())
    }

    fn instance(&self, instance: &InstanceUid) -> InstanceUid {
        InstanceUid::parse(&self.of(instance.as_str())).unwrap_or_else(|_| instance.clone())
    }

    /// Whether what is stored are the bytes that came.
    fn are_those_that_came(&self) -> bool {
        self.0.is_none()
    }
}

/// What is known of an instance: the digest of what came, or why it is not here.
type CopiedInstance = (InstanceUid, Result<[u8; 32], String>);

/// `stowage copy`.
///
/// # Errors
/// When the other server, the stores or the journal cannot be used.
pub(super) async fn copy(config: &Config, arguments: &CopyArgs) -> Result<Verdict, StartError> {
    let server = server(&arguments.from, &arguments.remote)?;
    check_partition(config, &arguments.partition)?;
    let studies = arguments.studies.iter().map(|text| {
        let wrong = |_| StartError::Config(format!("{text} is no Study Instance UID"));
        StudyUid::parse(text).map_err(wrong)
    });
    let studies: Vec<StudyUid> = studies.collect::<Result<_, _>>()?;
    for key in &arguments.query {
        if !key.contains('=') {
            let reason = format!("{key} is no key of a search: such as PatientID=4711");
            return Err(StartError::Config(reason));
        }
    }
    let archive = open(config, StoreNeeds::Nothing).await?;
    say_where(config);
    let profile = arguments.deidentify;
    let profile = profile.map(|options| archive.deidentification(options));
    let profile = profile.transpose()?;
    let partition = archive.make_partition(&arguments.partition).await?;
    let mut place = format!("{}\t{}", server.url(), arguments.partition);
    if let Some(profile) = &profile {
        // With another key or other options something else would be stored.
        let key = profile.key.fingerprint();
        place = format!("{place}\t{} {key}", profile.options);
    }
    let journal = arguments.journal.as_deref().map(Path::to_owned);
    let run = CopyRun::begin(journal, &archive, server.url(), place).await?;
    let run = Mutex::new(run);
    let parallel = usize::from(arguments.remote.parallel);
    let copying = Copying {
        server: &server,
        archive: &archive,
        options: &StoreOptions {
            deidentify: profile.clone(),
            ..StoreOptions::unlimited(partition)
        },
        scope: &Scope {
            partition,
            ..Scope::everything()
        },
        names: StoredNames(profile),
        parallel,
        retries: arguments.remote.retries,
        slots: &Semaphore::new(parallel),
        run: &run,
    };
    let copied = Box::pin(copying.copy_all(&studies, &arguments.query)).await;
    let copied = copied.map_err(|error| remote_failed(&server, error));
    let run = run.into_inner().unwrap_or_else(PoisonError::into_inner);
    run.end(copied).await
}

impl Copying<'_> {
    fn run(&self) -> MutexGuard<'_, CopyRun> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn copy_all(&self, named: &[StudyUid], query: &[String]) -> Result<(), RemoteError> {
        let budget = self.archive.budget();
        let mut studies = Vec::new();
        let mut held = Vec::new();
        if named.is_empty() {
            let list = self.server.studies(query, budget).await?;
            if list.unusable > 0 {
                let count = list.unusable;
                self.run().differ(&format!(
                    "{count} results of the search have no Study Instance UID"
                ));
            }
            studies.extend(list.found.iter().cloned());
            held.push(list);
        }
        for uid in named {
            let key = format!("StudyInstanceUID={uid}");
            let list = self.server.studies(&[key], budget).await?;
            match list.found.into_iter().find(|study| study.uid == *uid) {
                Some(study) => studies.push(study),
                None => self
                    .run()
                    .fail(uid.as_str(), "the server has no such study"),
            }
        }
        say(&format!(
            "{} studies at {}",
            studies.len(),
            self.server.url()
        ));
        self.run().studies = studies.len();
        let mut copied = stream::iter(studies)
            .map(|study| async move { Box::pin(self.copy_study(&study)).await })
            .buffer_unordered(self.parallel);
        while let Some(done) = copied.next().await {
            done?;
        }
        Ok(())
    }

    async fn copy_study(&self, study: &RemoteStudy) -> Result<(), RemoteError> {
        let uid = &study.uid;
        let budget = self.archive.budget();
        let list = match self.server.instances(uid, budget).await {
            Ok(list) => list,
            Err(error) => return self.give_up(uid.as_str(), error),
        };
        self.run().expect(list.found.len());
        let mut series: BTreeMap<String, (SeriesUid, Vec<InstanceUid>)> = BTreeMap::new();
        for instance in &list.found {
            let of_series = series.entry(instance.series.to_string());
            let (_, instances) = of_series.or_insert_with(|| (instance.series.clone(), Vec::new()));
            instances.push(instance.uid.clone());
        }
        let mut copied = stream::iter(series.into_values())
            .map(|(series, instances)| async move {
                Box::pin(self.copy_series(uid, &series, instances)).await
            })
            .buffer_unordered(self.parallel);
        let mut all = HashMap::new();
        while let Some(done) = copied.next().await {
            for (instance, result) in done? {
                if let Err(reason) = &result {
                    self.run().fail(&format!("{uid}/{instance}"), reason);
                }
                all.insert(self.names.instance(&instance), result.ok());
            }
        }
        drop(copied);
        if list.unusable > 0 {
            let count = list.unusable;
            self.run()
                .differ(&format!("{uid}: {count} listed instances have no UIDs"));
        }
        let listed = list.found.len();
        if let Some(counted) = study.instances.filter(|counted| *counted != listed as u64) {
            self.run().differ(&format!(
                "{uid}: the other server counts {counted} instances and lists {listed}"
            ));
        }
        self.compare(&self.names.study(uid), all).await
    }

    /// Says what is not here as it came.
    async fn compare(
        &self,
        study: &StudyUid,
        mut all: HashMap<InstanceUid, Option<[u8; 32]>>,
    ) -> Result<(), RemoteError> {
        let target = Target::Study(study.clone());
        match self.archive.instances(self.scope, &target).await {
            Err(ArchiveError::NotFound { .. }) => {}
            rows => {
                let mut rows = rows?;
                while let Some(row) = rows.next().await {
                    let row = row?;
                    let instance = &row.name.instance;
                    if let Some(Some(digest)) = all.remove(instance)
                        && digest != row.digest
                        && self.names.are_those_that_came()
                    {
                        self.run().differ(&format!(
                            "{study}/{instance}: here are other bytes than came from the other server"
                        ));
                    }
                }
            }
        }
        for (instance, digest) in all {
            if digest.is_some() {
                self.run().differ(&format!(
                    "{study}/{instance}: it was copied, and is not here now"
                ));
            }
        }
        Ok(())
    }

    /// Notes that something could not be had; an error when nothing else could be either.
    fn give_up(&self, what: &str, error: RemoteError) -> Result<(), RemoteError> {
        let reason = error.to_string();
        self.stop_for(error)?;
        self.run().fail(what, &reason);
        Ok(())
    }

    /// The error as one of the whole copy, when it is one.
    fn stop_for(&self, error: RemoteError) -> Result<(), RemoteError> {
        let ours = match &error {
            RemoteError::Archive(error) => !matches!(
                error,
                ArchiveError::TooLarge { .. } | ArchiveError::Memory(_) | ArchiveError::Busy { .. }
            ),
            error => error.is_final(),
        };
        if ours {
            return Err(error);
        }
        let mut run = self.run();
        run.note_unreachable(error.may_pass().is_some());
        if run.is_hopeless() {
            let reason = format!(
                "three times in a row, however often each was tried: {error}; the same command goes on where this one ended \
                 when it has a --journal"
            );
            return Err(RemoteError::Passing(reason));
        }
        Ok(())
    }

    async fn copy_series(
        &self,
        study: &StudyUid,
        series: &SeriesUid,
        instances: Vec<InstanceUid>,
    ) -> Result<Vec<CopiedInstance>, RemoteError> {
        let mut copied = Vec::with_capacity(instances.len());
        let mut pending = HashMap::new();
        for instance in instances {
            let names = &self.names;
            let (study, series) = (names.study(study), names.series(series));
            let stored = names.instance(&instance);
            match self.run().known(&study, &series, &stored) {
                Some(digest) => copied.push((instance, Ok(digest))),
                None => drop(pending.insert(stored.to_string(), instance)),
            }
        }
        if pending.is_empty() {
            return Ok(copied);
        }
        let path = format!("/studies/{study}/series/{series}");
        // What is missing of a series is asked for one by one, so that nothing comes twice.
        if copied.is_empty()
            && let Some(reason) = self
                .copy_whole(study, &path, &mut pending, &mut copied)
                .await?
        {
            let failed = pending.into_values();
            copied.extend(failed.map(|instance| (instance, Err(reason.clone()))));
            return Ok(copied);
        }
        let path = &path;
        let mut one_by_one = stream::iter(pending.into_values())
            .map(|instance| async move {
                let path = format!("{path}/instances/{instance}");
                let stored = self.names.instance(&instance).to_string();
                let mut pending = HashMap::from([(stored, instance.clone())]);
                let mut copied = Vec::new();
                let reason = self.copy_whole(study, &path, &mut pending, &mut copied);
                let reason = reason.await?;
                let copied = copied.pop().unwrap_or_else(|| {
                    let other = || "the server sent another instance than was asked for".to_owned();
                    (instance, Err(reason.unwrap_or_else(other)))
                });
                Ok::<CopiedInstance, RemoteError>(copied)
            })
            .buffer_unordered(self.parallel);
        while let Some(one) = one_by_one.next().await {
            copied.push(one?);
        }
        Ok(copied)
    }

    /// Retrieves what lies at a path as long as nothing of it came; the reason when it could not be had at all.
    async fn copy_whole(
        &self,
        study: &StudyUid,
        path: &str,
        pending: &mut HashMap<String, InstanceUid>,
        copied: &mut Vec<CopiedInstance>,
    ) -> Result<Option<String>, RemoteError> {
        let options = StoreOptions {
            study: Some(study.clone()),
            ..self.options.clone()
        };
        let wanted = pending.len();
        let most = if wanted == 1 && path.contains("/instances/") {
            1
        } else {
            wanted.saturating_add(MORE)
        };
        let mut backoff = Backoff::new(self.retries);
        loop {
            let slot = self.slots.acquire().await;
            let mut crowded = false;
            let mut reported = |received: ReceivedInstance| {
                crowded |= self.take(received, pending, copied);
            };
            let done = self
                .server
                .retrieve(path, most, self.archive, &options, &mut reported)
                .await;
            drop(slot);
            let error = match done {
                Ok(()) if !crowded || pending.len() < wanted => return Ok(None),
                // There was no room for any of it.
                Ok(()) => RemoteError::Archive(NoMemory::Busy.into()),
                Err(error) => error,
            };
            if pending.is_empty() {
                return Ok(None);
            }
            let pause = error.may_pass().and_then(|asked| backoff.pause(asked));
            match pause {
                Some(pause) if pending.len() == wanted => tokio::time::sleep(pause).await,
                // The rest is asked for one by one.
                _ if pending.len() < wanted => return Ok(None),
                _ => {
                    let reason = error.to_string();
                    self.stop_for(error)?;
                    return Ok(Some(reason));
                }
            }
        }
    }

    /// Notes what came; whether there was no room for it.
    fn take(
        &self,
        received: ReceivedInstance,
        pending: &mut HashMap<String, InstanceUid>,
        copied: &mut Vec<CopiedInstance>,
    ) -> bool {
        match received.outcome {
            Outcome::Stored { name, .. } => {
                let mut run = self.run();
                run.store(&name, received.digest, received.bytes);
                if let Some(instance) = pending.remove(name.instance.as_str()) {
                    copied.push((instance, Ok(received.digest)));
                }
            }
            Outcome::Failed {
                reason: reason::OUT_OF_RESOURCES,
                ..
            } => return true,
            Outcome::Failed {
                instance, comments, ..
            } => {
                // Of what could not be de-identified, the old one is named.
                let instance = instance.and_then(|instance| {
                    let stored = pending.remove(&instance);
                    stored.or_else(|| pending.remove(&self.names.of(&instance)))
                });
                // One without a name is asked for alone, and then has one.
                let instance = match instance {
                    None if pending.len() == 1 => {
                        pending.drain().next().map(|(_, instance)| instance)
                    }
                    instance => instance,
                };
                if let Some(instance) = instance {
                    copied.push((instance, Err(comments.join("; "))));
                }
            }
        }
        false
    }
}
