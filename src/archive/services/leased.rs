//! Operations that one node at a time works on, by a lease; when that node is gone, any other on the same index goes on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::archive::Archive;
use crate::archive::error::Result;
use crate::archive::running_work::RunningWork;
use crate::index::{Operation, OperationKind};
use crate::tasks::{Need, Watch};

/// How long a node that is gone keeps others from going on with an operation.
const LEASE: Duration = Duration::from_secs(5);
/// How often a lease is renewed.
const RENEW: Duration = Duration::from_secs(1);
/// Wait before an operation that failed, or that another node has, is taken up again.
const AGAIN: Duration = Duration::from_secs(2);

/// How far an operation is behind a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OperationStep {
    /// There is more to do.
    More,
    /// It is done.
    Done,
    /// Another node works on it, or has to.
    Elsewhere,
}

/// The next piece of an operation, by its id.
pub(super) type StepOf = for<'a> fn(&'a Archive, &'a str) -> BoxFuture<'a, Result<OperationStep>>;

impl Archive {
    /// An operation, as long as it waits or is under way.
    pub(super) async fn unfinished_operation(&self, id: &str) -> Result<Option<Operation>> {
        let operation = self.index.operation(id).await?;
        Ok(operation.filter(|operation| operation.status.is_unfinished()))
    }

    /// Takes up operations of a kind that an earlier process or another node left.
    pub(super) async fn resume_each(
        &self,
        kind: OperationKind,
        work: fn(&Self, String),
    ) -> Result<()> {
        for operation in self.index.unfinished_operations(kind).await? {
            work(self, operation.id);
        }
        Ok(())
    }

    /// Works on an operation until it is done, unless this process does already.
    pub(super) fn work_in_background(&self, what: &'static str, operation: String, step: StepOf) {
        let Some(running) = RunningWork::begin(&self.running, operation) else {
            return;
        };
        let (archive, running) = (self.clone(), Arc::new(running));
        self.tasks.supervise(what, Need::May, move |watch| {
            let (archive, running) = (archive.clone(), running.clone());
            async move {
                work(&archive, what, running.name(), &watch, step).await;
                Ok(())
            }
        });
    }
}

/// Step after step while no other node does; a failure that may pass is waited out.
async fn work(archive: &Archive, what: &'static str, operation: &str, watch: &Watch, step: StepOf) {
    let lease = format!("operation {operation}");
    let give_back = || async {
        if let Err(error) = archive.index.give_back_lease(&lease, &archive.node).await {
            tracing::debug!(%error, "the lease ends by itself");
        }
    };
    loop {
        match leased_step(archive, &lease, operation, step).await {
            Ok(OperationStep::More) => watch.well(),
            Ok(OperationStep::Done) => break,
            Ok(OperationStep::Elsewhere) => {
                give_back().await;
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                watch.failed(&error);
                tracing::warn!(
                    operation,
                    error = &error as &dyn std::error::Error,
                    "{what}: the operation will go on"
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    watch.well();
    give_back().await;
}

/// One step under the lease, which is renewed meanwhile: large instances take long.
async fn leased_step(
    archive: &Archive,
    lease: &str,
    operation: &str,
    step: StepOf,
) -> Result<OperationStep> {
    let take = || archive.index.take_lease(lease, &archive.node, LEASE);
    if !take().await? {
        let now = archive.index.operation(operation).await?;
        return Ok(match now.map(|operation| operation.status) {
            Some(status) if status.is_unfinished() => OperationStep::Elsewhere,
            _ => OperationStep::Done,
        });
    }
    let mut step = step(archive, operation);
    loop {
        tokio::select! {
            done = &mut step => return done,
            () = tokio::time::sleep(RENEW) => {
                // Whoever has lost it does nothing wrong by going on: what is done twice is counted once.
                take().await?;
            }
        }
    }
}
