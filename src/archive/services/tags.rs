//! Extended query tags and the operations behind them: attributes made searchable while the server runs.
//!
//! Indexing what was stored before is an operation that one server at a time works on, by a lease; when it is gone, any
//! other on the same index goes on where it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::leased::OperationStep;
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::running_work::RunningWork;
use crate::dicom::query_tag::QueryTag;
use crate::index::{
    Operation, OperationKind, OperationStatus, TagIndexError, TagRow, TagStatus, TagsAdded,
};
use crate::scope::ScopeSet;
use crate::tasks::Need;

/// How long a server may not know of a tag that another one added.
const FRESH: Duration = Duration::from_secs(1);

/// What became of a wish to add tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddOutcome {
    /// They are being indexed by this operation.
    Started(String),
    /// One of them is there already.
    Exists(String),
    /// There would be too many.
    TooMany,
    /// Others are being indexed by this operation.
    Running(String),
}

/// What became of a wish to remove a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveOutcome {
    /// It is gone.
    Removed,
    /// It is being indexed and cannot be removed now.
    Adding,
}

impl Archive {
    /// All tags, in the order they were added.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn query_tags(&self) -> Result<Arc<Vec<TagRow>>> {
        if let Some((read, tags)) = &*self.tags.0.read().await
            && read.elapsed() < FRESH
        {
            return Ok(tags.clone());
        }
        let tags = Arc::new(self.index.tags().await?);
        *self.tags.0.write().await = Some((Instant::now(), tags.clone()));
        Ok(tags)
    }

    /// All tags as a caller may see them: of errors, those of the caller's studies are counted.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn visible_query_tags(&self, scopes: &ScopeSet) -> Result<Vec<TagRow>> {
        let mut tags = self.query_tags().await?.to_vec();
        self.count_visible(scopes, &mut tags).await?;
        Ok(tags)
    }

    /// The tag of a path as a caller may see it.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none.
    pub async fn visible_query_tag(&self, scopes: &ScopeSet, path: &str) -> Result<TagRow> {
        let mut tag = self.query_tag(path).await?;
        self.count_visible(scopes, std::slice::from_mut(&mut tag))
            .await?;
        Ok(tag)
    }

    async fn count_visible(&self, scopes: &ScopeSet, tags: &mut [TagRow]) -> Result<()> {
        if scopes.is_everything() || tags.iter().all(|tag| tag.errors == 0) {
            return Ok(());
        }
        let counts = self.index.tag_error_counts(scopes).await?;
        for tag in tags {
            tag.errors = counts.get(&tag.id).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// Tags that searches may use.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn ready_tags(&self) -> Result<Vec<TagRow>> {
        let usable = |t: &&TagRow| t.status == TagStatus::Ready && t.enabled;
        Ok(self
            .query_tags()
            .await?
            .iter()
            .filter(usable)
            .cloned()
            .collect())
    }

    /// All tags as last read, without waiting for the index: they are read again in the background when that was long ago.
    pub(in crate::archive) async fn tags_at_hand(&self) -> Arc<Vec<TagRow>> {
        let (known, fresh) = match &*self.tags.0.read().await {
            Some((read, tags)) => (tags.clone(), read.elapsed() < FRESH),
            None => (Arc::default(), false),
        };
        if !fresh && !self.tags.1.swap(true, Ordering::Relaxed) {
            let archive = self.clone();
            tokio::spawn(async move {
                // Whoever needs them to be right asks himself, and is told.
                drop(archive.query_tags().await);
                archive.tags.1.store(false, Ordering::Relaxed);
            });
        }
        known
    }

    /// The tag of a path.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none.
    pub async fn query_tag(&self, path: &str) -> Result<TagRow> {
        self.invalidate_tags().await;
        let tags = self.query_tags().await?;
        let found = tags.iter().find(|t| t.tag.path.eq_ignore_ascii_case(path));
        found
            .cloned()
            .ok_or_else(|| ArchiveError::not_found(format!("the extended query tag {path}")))
    }

    async fn invalidate_tags(&self) {
        *self.tags.0.write().await = None;
    }

    /// Adds tags and begins to index what was stored before.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn add_query_tags(&self, tags: &[QueryTag]) -> Result<AddOutcome> {
        let id = Operation::new_id();
        let paths = tags.iter().map(|t| format!("extendedquerytags/{}", t.path));
        let operation = Operation {
            resources: paths.collect(),
            ..Operation::new(
                id.clone(),
                OperationKind::Reindex,
                OperationStatus::NotStarted,
            )
        };
        let added = self.index.add_tags(tags, &operation).await?;
        self.invalidate_tags().await;
        Ok(match added {
            TagsAdded::Added => {
                self.index_in_background(id.clone());
                AddOutcome::Started(id)
            }
            TagsAdded::Exists { path } => AddOutcome::Exists(path),
            TagsAdded::TooMany => AddOutcome::TooMany,
            TagsAdded::Running { operation } => AddOutcome::Running(operation),
        })
    }

    /// Takes up what an earlier process left unfinished.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn resume_operations(&self) -> Result<()> {
        self.resume_each(OperationKind::Reindex, Self::index_in_background)
            .await?;
        for tag in self.query_tags().await?.iter() {
            if tag.status == TagStatus::Deleting {
                self.remove_in_background(tag.id);
            }
        }
        self.resume_each(OperationKind::Update, Self::update_in_background)
            .await?;
        self.resume_each(OperationKind::Export, Self::export_in_background)
            .await?;
        self.resume_each(OperationKind::Deidentify, Self::deidentify_in_background)
            .await?;
        self.resume_commitments().await
    }

    /// Indexes what was stored before, unless this process does already.
    fn index_in_background(&self, operation: String) {
        fn step<'a>(
            archive: &'a Archive,
            operation: &'a str,
        ) -> BoxFuture<'a, Result<OperationStep>> {
            Box::pin(archive.index_portion(operation))
        }
        self.work_in_background("tag indexing", operation, step);
    }

    /// Indexes the next portion of what was stored before; the index keeps the position.
    async fn index_portion(&self, operation: &str) -> Result<OperationStep> {
        let room = self.background_room();
        if self.index.index_tags(operation, &room).await? {
            return Ok(OperationStep::More);
        }
        self.invalidate_tags().await;
        tracing::info!(operation, "extended query tags are indexed");
        Ok(OperationStep::Done)
    }

    /// Ends a removal that an earlier process began, unless this process does already.
    fn remove_in_background(&self, id: i64) {
        let Some(running) = RunningWork::begin(&self.running, format!("removal of tag {id}"))
        else {
            return;
        };
        let (index, running) = (self.index.clone(), Arc::new(running));
        self.tasks.supervise("tag removal", Need::May, move |_| {
            let (index, running) = (index.clone(), running.clone());
            async move {
                index.remove_tag(id).await?;
                drop(running);
                Ok(())
            }
        });
    }

    /// Allows or forbids searches by a tag.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none.
    pub async fn enable_query_tag(&self, path: &str, enabled: bool) -> Result<()> {
        let row = self.query_tag(path).await?;
        self.index.enable_tag(row.id, enabled).await?;
        Ok(())
    }

    /// Removes a tag with its values.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none.
    pub async fn remove_query_tag(&self, path: &str) -> Result<RemoveOutcome> {
        let row = self.query_tag(path).await?;
        if row.status == TagStatus::Adding {
            return Ok(RemoveOutcome::Adding);
        }
        let index = self.index.clone();
        // In a task of its own: a client that loses patience must not leave it half done.
        let removal = tokio::spawn(async move { index.remove_tag(row.id).await }).await;
        self.invalidate_tags().await;
        let lost = |_| ArchiveError::Lost {
            what: "a removal of a query tag",
        };
        removal.map_err(lost)??;
        Ok(RemoveOutcome::Removed)
    }

    /// Instances of the caller's studies whose value of a tag could not be indexed.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is no such tag.
    pub async fn query_tag_errors(
        &self,
        scopes: &ScopeSet,
        path: &str,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<TagIndexError>> {
        let row = self.query_tag(path).await?;
        Ok(self.index.tag_errors(scopes, row.id, skip, limit).await?)
    }

    /// A long-running operation.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none of this id.
    pub async fn operation(&self, scopes: &ScopeSet, id: &str) -> Result<Operation> {
        let plain: String = id
            .chars()
            .filter(|c| *c != '-')
            .collect::<String>()
            .to_ascii_lowercase();
        let unknown = || ArchiveError::not_found("the operation");
        let operation = self.index.operation(&plain).await?.ok_or_else(unknown)?;
        match operation.kind {
            // A commitment has a service of its own, which knows whose it is; what follows arrivals never ends.
            OperationKind::Commitment | OperationKind::Arrivals => Err(unknown()),
            // It names studies, or says how many there are: whoever is limited sees those begun with the same limits.
            OperationKind::Update if !scopes.is_everything() => {
                let task = self.index.bulk_update(&operation.id).await?;
                match task.filter(|task| scopes.is_for(task.partition, &task.visible)) {
                    Some(_) => Ok(operation),
                    None => Err(unknown()),
                }
            }
            OperationKind::Export | OperationKind::Deidentify if !scopes.is_everything() => {
                let task = self.index.export(&operation.id).await?;
                match task.filter(|task| scopes.is_for(task.partition, &task.visible)) {
                    Some(_) => Ok(operation),
                    None => Err(unknown()),
                }
            }
            _ => Ok(operation),
        }
    }
}
