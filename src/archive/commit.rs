//! Group commit: instances of all requests that are ready at the same time go into one transaction.
//!
//! Invariant: a blob is handed over together with the duty to remove it; it is removed only when it is certain that no
//! row names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::error::{ArchiveError, Result};
use super::versions::Versions;
use crate::blob::Blobs;
use crate::fault;
use crate::index::{Index, IndexError, Inserted, NewInstance};

/// Most instances of one transaction.
const BATCH: usize = 512;
/// Submissions waiting for the next transaction.
const QUEUE: usize = 1024;
/// How long a transaction waits for instances that were announced.
const GATHER: Duration = Duration::from_millis(5);

/// A durable blob that has no row yet; dropping it removes the blob.
#[derive(Debug)]
pub struct Written {
    blobs: Blobs,
    new: Option<NewInstance>,
}

impl Written {
    /// Takes over the duty for the blob of `new`.
    #[must_use]
    pub fn new(blobs: Blobs, new: NewInstance) -> Self {
        Self {
            blobs,
            new: Some(new),
        }
    }

    /// Key of the blob.
    #[must_use]
    pub fn key(&self) -> &str {
        self.new.as_ref().map_or("", |new| new.place.key.as_str())
    }

    /// Digest of the blob.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.new.as_ref().map(|new| new.digest)
    }

    /// Gives the instance out and leaves the blob where it is.
    fn release(mut self) -> Option<NewInstance> {
        self.new.take()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Some(new) = self.new.take() {
            self.blobs.discard(new.place.key);
        }
    }
}

type Answer = std::result::Result<Vec<Inserted>, Arc<IndexError>>;

struct Submission {
    written: Vec<Written>,
    answer: oneshot::Sender<Answer>,
    /// No longer announced once it is taken from the queue.
    coming: Option<Coming>,
}

/// Hands instances to the task that commits.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Submission>,
    coming: Arc<AtomicUsize>,
}

/// Says that instances will be handed over soon, until it is dropped.
#[derive(Debug)]
pub struct Coming(Arc<AtomicUsize>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Submission({} instances)", self.written.len())
    }
}

impl Committer {
    /// Starts the task; it ends when all committers are dropped.
    #[must_use]
    pub(super) fn start(index: Arc<dyn Index>, versions: Versions) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let coming = Arc::new(AtomicUsize::new(0));
        let writer = Writer { index, versions };
        tokio::spawn(run(writer, receiver, coming.clone()));
        Self { queue, coming }
    }

    /// Says that instances will come soon, so that a transaction that could begin waits a little for them.
    #[must_use]
    pub fn announce(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(self.coming.clone())
    }

    /// How many submissions wait, and how many can.
    #[must_use]
    pub fn queue(&self) -> (usize, usize) {
        let room = self.queue.max_capacity();
        (room - self.queue.capacity().min(room), room)
    }

    /// Inserts instances whose blobs are settled; results come in their order.
    ///
    /// # Errors
    /// When the index failed: none of the instances can be relied on then.
    pub async fn commit(
        &self,
        written: Vec<Written>,
        coming: Option<Coming>,
    ) -> Result<Vec<Inserted>> {
        if written.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, result) = oneshot::channel();
        let lost = |()| ArchiveError::Lost { what: "commit" };
        self.queue
            .send(Submission {
                written,
                answer,
                coming,
            })
            .await
            .map_err(|_| lost(()))?;
        match result.await {
            Ok(Ok(inserted)) => Ok(inserted),
            Ok(Err(error)) => Err(ArchiveError::Commit(error)),
            Err(_) => Err(lost(())),
        }
    }
}

/// The index as it is written to.
struct Writer {
    index: Arc<dyn Index>,
    versions: Versions,
}

impl Writer {
    async fn insert(
        &self,
        batch: &[NewInstance],
    ) -> std::result::Result<Vec<Inserted>, IndexError> {
        let inserted = self.index.insert(batch).await;
        // Also after an error: the transaction may have been committed before the connection was lost.
        self.versions.forget();
        inserted
    }
}

async fn run(writer: Writer, mut queue: mpsc::Receiver<Submission>, coming: Arc<AtomicUsize>) {
    while let Some(first) = queue.recv().await {
        let submissions = gather(first, &mut queue, &coming).await;
        commit_together(&writer, submissions).await;
    }
}

/// Takes what is in the queue, and what is announced if it comes in time: a sync of the disk costs more than the wait.
async fn gather(
    first: Submission,
    queue: &mut mpsc::Receiver<Submission>,
    coming: &AtomicUsize,
) -> Vec<Submission> {
    let end = Instant::now() + GATHER;
    let mut count = first.written.len();
    let mut submissions = vec![first.arrived()];
    while count < BATCH {
        let next = match queue.try_recv() {
            Ok(next) => Some(next),
            Err(_) if coming.load(Ordering::Relaxed) == 0 => None,
            Err(_) => timeout_at(end, queue.recv()).await.ok().flatten(),
        };
        let Some(next) = next else { break };
        count += next.written.len();
        submissions.push(next.arrived());
    }
    submissions
}

impl Submission {
    fn arrived(mut self) -> Self {
        drop(self.coming.take());
        self
    }
}

async fn commit_together(writer: &Writer, submissions: Vec<Submission>) {
    let batch: Vec<NewInstance> = submissions
        .iter()
        .flat_map(|s| s.written.iter().filter_map(|w| w.new.clone()))
        .collect();
    match writer.insert(&batch).await {
        Ok(inserted) => {
            let mut inserted = inserted.into_iter();
            for submission in submissions {
                let mine: Vec<Inserted> =
                    inserted.by_ref().take(submission.written.len()).collect();
                settle(submission, Ok(mine));
            }
        }
        // One refused row must not fail the instances of others.
        Err(IndexError::Database { .. }) if submissions.len() > 1 => {
            for submission in submissions {
                let mine: Vec<NewInstance> = submission
                    .written
                    .iter()
                    .filter_map(|w| w.new.clone())
                    .collect();
                let result = writer.insert(&mine).await.map_err(Arc::new);
                give_back(&writer.index, submission, result).await;
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for submission in submissions {
                give_back(&writer.index, submission, Err(error.clone())).await;
            }
        }
    }
}

async fn give_back(index: &Arc<dyn Index>, submission: Submission, result: Answer) {
    // A full disk is a refusal, so it is certain that no row names the blobs; and nothing could be noted anyway.
    if let Err(error) = &result
        && matches!(**error, IndexError::Full(_))
    {
        drop(submission.written);
        let _ = submission.answer.send(result);
        return;
    }
    if result.is_err() {
        // The transaction may have been committed before the connection was lost: the sweeper looks again before it
        // removes a key, and fsck finds what could not even be noted.
        let keys: Vec<String> = submission
            .written
            .iter()
            .map(|w| w.key().to_owned())
            .collect();
        if let Err(error) = index.discard(&keys).await {
            tracing::warn!(count = keys.len(), %error, "blobs of a failed commit were left behind; fsck removes them");
        }
    }
    settle(submission, result);
}

/// Keeps the blobs that have a row or may have one, removes the others, and answers.
fn settle(submission: Submission, result: Answer) {
    fault::point("commit.done");
    match &result {
        Ok(inserted) => {
            for (written, inserted) in submission.written.into_iter().zip(inserted) {
                match inserted {
                    Inserted::Stored { .. } => drop(written.release()),
                    Inserted::Exists { .. } | Inserted::Outside => drop(written),
                }
            }
        }
        Err(_) => submission
            .written
            .into_iter()
            .for_each(|w| drop(w.release())),
    }
    fault::point("commit.settled");
    // The client may have gone; what was committed stays.
    let _ = submission.answer.send(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(coming: Option<Coming>) -> Submission {
        let (answer, _) = oneshot::channel();
        Submission {
            written: Vec::new(),
            answer,
            coming,
        }
    }

    fn announced(count: &Arc<AtomicUsize>) -> Coming {
        count.fetch_add(1, Ordering::Relaxed);
        Coming(count.clone())
    }

    #[tokio::test]
    async fn a_transaction_waits_for_what_is_announced() {
        let coming = Arc::new(AtomicUsize::new(0));
        let (sender, mut queue) = mpsc::channel(QUEUE);
        let first = submission(Some(announced(&coming)));
        let second = submission(Some(announced(&coming)));
        tokio::spawn(async move { sender.send(second).await });
        let gathered = gather(first, &mut queue, &coming).await;
        assert_eq!(gathered.len(), 2);
        assert_eq!(coming.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_transaction_does_not_wait_for_what_never_comes() {
        let coming = Arc::new(AtomicUsize::new(0));
        let (sender, mut queue) = mpsc::channel(QUEUE);
        let broken = announced(&coming);
        let gathered = gather(submission(None), &mut queue, &coming).await;
        assert_eq!(gathered.len(), 1);
        drop(broken);
        sender.try_send(submission(None)).unwrap();
        let gathered = gather(submission(None), &mut queue, &coming).await;
        assert_eq!(gathered.len(), 2);
    }
}
