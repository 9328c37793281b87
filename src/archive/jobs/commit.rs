//! Group commit: instances of all requests that are ready at the same time go into one transaction.
//!
//! Invariants: a blob is handed over together with the duty to remove it; it is removed only when it is certain that no
//! row names it, also when the task that commits panics or is cut off. The queue outlives that task: what waits in it is
//! committed by the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::archive::caches::coherence::Coherence;
use crate::archive::caches::reads::ReadCaches;
use crate::archive::error::{ArchiveError, Result};
use crate::blob::Blobs;
use crate::fault;
use crate::index::{BlobPlace, Index, IndexError, Inserted, NewInstance, StudyCondition};
use crate::memory::Reservation;
use crate::tasks::{Need, Tasks, Watch};

/// Most instances of one transaction.
const BATCH: usize = 512;
/// Submissions waiting for the next transaction.
const QUEUE: usize = 1024;
/// How long a transaction waits for instances that were announced.
const GATHER: Duration = Duration::from_millis(5);

/// Keys of blobs that may have a row, remembered until they are on the trash.
const UNSURE: usize = 100_000;

/// A durable blob that has no row yet; dropping it removes the blob, unless it may have got one.
#[derive(Debug)]
pub struct DurableBlob {
    blobs: Blobs,
    new: Option<NewInstance>,
    /// Memory of what is packed.
    held: Option<Reservation>,
    /// Set while a transaction that would give it a row is under way or ended in an unknown way.
    unsure: Option<Arc<UncertainBlobs>>,
}

/// Keys of blobs of which it is not known whether they have a row.
///
/// They are put on the trash: the sweeper looks again before it removes one that a row names.
#[derive(Debug, Default)]
struct UncertainBlobs(Mutex<Vec<String>>);

impl UncertainBlobs {
    fn note(&self, mut keys: Vec<String>) {
        // Whole texts at any time.
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = UNSURE.saturating_sub(noted.len());
        if keys.len() > room {
            let count = keys.len() - room;
            tracing::warn!(
                count,
                "blobs of failed commits were left behind; fsck removes them"
            );
            keys.truncate(room);
        }
        noted.append(&mut keys);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DurableBlob {
    /// Takes over the duty for the blob of `new`.
    #[must_use]
    pub fn new(blobs: Blobs, new: NewInstance) -> Self {
        Self {
            blobs,
            new: Some(new),
            held: None,
            unsure: None,
        }
    }

    /// With the memory that it takes.
    #[must_use]
    pub fn holding(mut self, held: Reservation) -> Self {
        self.held = Some(held);
        self
    }

    /// Key of the blob.
    #[must_use]
    pub fn key(&self) -> &str {
        self.new.as_ref().map_or("", |new| new.place.key.as_str())
    }

    /// Where the instance lies.
    pub(in crate::archive) fn place(&self) -> Option<&BlobPlace> {
        self.new.as_ref().map(|new| &new.place)
    }

    /// The instance.
    pub(in crate::archive) fn instance(&self) -> Option<&NewInstance> {
        self.new.as_ref()
    }

    /// It has no row for certain.
    pub(in crate::archive) fn certain(&mut self) {
        self.unsure = None;
    }

    /// Lets it be stored only when something holds of its study.
    pub(in crate::archive) fn require(&mut self, condition: Arc<StudyCondition>) {
        if let Some(new) = &mut self.new {
            new.condition = Some(condition);
        }
    }

    /// Digest of the blob.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.new.as_ref().map(|new| new.digest)
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.as_ref().map_or(0, Reservation::bytes)
    }

    /// Gives the instance out and leaves the blob where it is.
    pub(in crate::archive) fn release(mut self) {
        self.new = None;
    }
}

impl Drop for DurableBlob {
    fn drop(&mut self) {
        let Some(new) = self.new.take() else {
            return;
        };
        match self.unsure.take() {
            None => self.blobs.discard(new.place.key),
            Some(unsure) => unsure.note(vec![new.place.key]),
        }
    }
}

/// What became of one instance.
#[derive(Debug)]
pub struct Committed {
    /// What the index says.
    pub inserted: Inserted,
    /// Its blob when no row needs it; dropping it removes the blob, which blocks.
    pub spare: Option<DurableBlob>,
}

type CommitReply = std::result::Result<Vec<Committed>, Arc<IndexError>>;

struct Submission {
    written: Vec<DurableBlob>,
    answer: oneshot::Sender<CommitReply>,
    /// No longer announced once it is taken from the queue.
    expected: Option<CommitTicket>,
}

/// Hands instances to the task that commits.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Submission>,
    expected: Arc<AtomicUsize>,
    unsure: Arc<UncertainBlobs>,
    coherence: Coherence,
}

/// Says that instances will be handed over soon, until it is dropped.
#[derive(Debug)]
pub struct CommitTicket(Arc<AtomicUsize>);

impl Drop for CommitTicket {
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
    pub(in crate::archive) fn start(
        index: Arc<dyn Index>,
        reads: ReadCaches,
        tasks: &Tasks,
    ) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let expected = Arc::new(AtomicUsize::new(0));
        let unsure = Arc::new(UncertainBlobs::default());
        let writer = Arc::new(IndexWriter {
            index,
            reads: reads.clone(),
            queue: tokio::sync::Mutex::new(receiver),
            expected: expected.clone(),
            unsure: unsure.clone(),
        });
        tasks.supervise("committer", Need::Must, move |watch| {
            let writer = writer.clone();
            async move {
                writer.run(&watch).await;
                Ok(())
            }
        });
        Self {
            queue,
            expected,
            unsure,
            coherence: reads.coherence,
        }
    }

    /// Says that instances will come soon, so that a transaction that could begin waits a little for them.
    #[must_use]
    pub fn announce(&self) -> CommitTicket {
        self.expected.fetch_add(1, Ordering::Relaxed);
        CommitTicket(self.expected.clone())
    }

    /// From now on the blob may have a row, until [`DurableBlob::certain`] or [`DurableBlob::release`].
    pub(in crate::archive) fn begin_unsure(&self, written: &mut DurableBlob) {
        written.unsure = Some(self.unsure.clone());
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
        written: Vec<DurableBlob>,
        expected: Option<CommitTicket>,
    ) -> Result<Vec<Committed>> {
        if written.is_empty() {
            return Ok(Vec::new());
        }
        let replaces = |new: &NewInstance| new.replaces.is_some();
        let mut new = written.iter().filter_map(|written| written.new.as_ref());
        let replaces = new.any(replaces);
        let (answer, result) = oneshot::channel();
        let lost =
            |()| ArchiveError::Commit(Arc::new(IndexError::Interrupted { what: "a commit" }));
        self.queue
            .send(Submission {
                written,
                answer,
                expected,
            })
            .await
            .map_err(|_| lost(()))?;
        let result = result.await;
        if replaces && matches!(result, Ok(Ok(_))) {
            // Here, where nobody but this request waits for the other nodes.
            self.coherence.announce().await;
        }
        match result {
            Ok(Ok(inserted)) => Ok(inserted),
            Ok(Err(error)) => Err(ArchiveError::Commit(error)),
            Err(_) => Err(lost(())),
        }
    }
}

/// The index as it is written to, and what is to be written.
struct IndexWriter {
    index: Arc<dyn Index>,
    reads: ReadCaches,
    queue: tokio::sync::Mutex<mpsc::Receiver<Submission>>,
    expected: Arc<AtomicUsize>,
    unsure: Arc<UncertainBlobs>,
}

impl IndexWriter {
    async fn run(&self, watch: &Watch) {
        let mut queue = self.queue.lock().await;
        // What a run before this one left behind.
        self.put_unsure_on_trash().await;
        loop {
            let first = tokio::select! {
                first = queue.recv() => first,
                // Whoever is served until then is done; what waits is taken, and then there is no more.
                () = watch.stopping(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            };
            let Some(first) = first else { return };
            let submissions = gather(first, &mut queue, &self.expected).await;
            if self.commit_together(submissions).await {
                watch.well();
            }
            self.put_unsure_on_trash().await;
        }
    }

    async fn insert(
        &self,
        batch: &[NewInstance],
    ) -> std::result::Result<Vec<Inserted>, IndexError> {
        fault::point("commit.begun");
        let inserted = self.index.insert(batch).await;
        // Also after an error: the transaction may have been committed before the connection was lost.
        match batch.iter().any(|new| new.replaces.is_some()) {
            true => self.reads.forget(),
            false => self.reads.added(),
        }
        inserted
    }

    /// Commits submissions in one transaction, or each by itself when that is refused; false when the index failed.
    async fn commit_together(&self, mut submissions: Vec<Submission>) -> bool {
        for written in submissions.iter_mut().flat_map(|s| &mut s.written) {
            written.unsure = Some(self.unsure.clone());
        }
        let batch: Vec<NewInstance> = submissions
            .iter()
            .flat_map(|s| s.written.iter().filter_map(|w| w.new.clone()))
            .collect();
        match self.insert(&batch).await {
            Ok(inserted) => {
                let mut inserted = inserted.into_iter();
                for submission in submissions {
                    let count = submission.written.len();
                    complete(submission, Ok(inserted.by_ref().take(count).collect()));
                }
                true
            }
            // One refused row must not fail the instances of others.
            Err(IndexError::Database { .. }) if submissions.len() > 1 => {
                for submission in submissions {
                    let mine: Vec<NewInstance> = submission
                        .written
                        .iter()
                        .filter_map(|w| w.new.clone())
                        .collect();
                    let result = self.insert(&mine).await.map_err(Arc::new);
                    complete(submission, result);
                }
                true
            }
            Err(error) => {
                let error = Arc::new(error);
                for submission in submissions {
                    complete(submission, Err(error.clone()));
                }
                false
            }
        }
    }

    /// Lets the sweeper see to blobs that may have a row; what cannot be noted now is tried behind the next commit.
    async fn put_unsure_on_trash(&self) {
        let keys = self.unsure.take();
        if keys.is_empty() {
            return;
        }
        if let Err(error) = self.index.discard(&keys).await {
            tracing::warn!(count = keys.len(), %error, "blobs of a failed commit are not on the trash yet");
            self.unsure.note(keys);
        }
    }
}

/// Takes what is in the queue, and what is announced if it comes in time: a sync of the disk costs more than the wait.
async fn gather(
    first: Submission,
    queue: &mut mpsc::Receiver<Submission>,
    expected: &AtomicUsize,
) -> Vec<Submission> {
    let end = Instant::now() + GATHER;
    let mut count = first.written.len();
    let mut submissions = vec![first.arrived()];
    while count < BATCH {
        let next = match queue.try_recv() {
            Ok(next) => Some(next),
            Err(_) if expected.load(Ordering::Relaxed) == 0 => None,
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
        drop(self.expected.take());
        self
    }
}

/// Keeps the blobs that have a row or may have one, gives the others back, and answers.
fn complete(submission: Submission, result: std::result::Result<Vec<Inserted>, Arc<IndexError>>) {
    fault::point("commit.done");
    let answer = match result {
        Ok(inserted) => {
            let both = submission.written.into_iter().zip(inserted);
            let committed = |(mut written, inserted): (DurableBlob, Inserted)| {
                written.certain();
                let spare = match inserted {
                    Inserted::Stored { .. } | Inserted::Replaced { .. } => {
                        written.release();
                        None
                    }
                    Inserted::Exists { .. }
                    | Inserted::Outside
                    | Inserted::Superseded
                    | Inserted::Unmatched
                    | Inserted::Swept => Some(written),
                };
                Committed { inserted, spare }
            };
            Ok(both.map(committed).collect())
        }
        Err(error) => {
            // A full disk is a refusal, so it is certain that no row names the blobs; and nothing could be noted anyway.
            let refused = matches!(*error, IndexError::Full(_));
            for mut written in submission.written {
                if refused {
                    written.certain();
                }
                drop(written);
            }
            Err(error)
        }
    };
    fault::point("commit.settled");
    // The client may have gone; what was committed stays.
    let _ = submission.answer.send(answer);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(expected: Option<CommitTicket>) -> Submission {
        let (answer, _) = oneshot::channel();
        Submission {
            written: Vec::new(),
            answer,
            expected,
        }
    }

    fn announced(count: &Arc<AtomicUsize>) -> CommitTicket {
        count.fetch_add(1, Ordering::Relaxed);
        CommitTicket(count.clone())
    }

    #[tokio::test]
    async fn a_transaction_waits_for_what_is_announced() {
        let expected = Arc::new(AtomicUsize::new(0));
        let (sender, mut queue) = mpsc::channel(QUEUE);
        let first = submission(Some(announced(&expected)));
        let second = submission(Some(announced(&expected)));
        tokio::spawn(async move { sender.send(second).await });
        let gathered = gather(first, &mut queue, &expected).await;
        assert_eq!(gathered.len(), 2);
        assert_eq!(expected.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_transaction_does_not_wait_for_what_never_comes() {
        let expected = Arc::new(AtomicUsize::new(0));
        let (sender, mut queue) = mpsc::channel(QUEUE);
        let broken = announced(&expected);
        let gathered = gather(submission(None), &mut queue, &expected).await;
        assert_eq!(gathered.len(), 1);
        drop(broken);
        sender.try_send(submission(None)).unwrap();
        let gathered = gather(submission(None), &mut queue, &expected).await;
        assert_eq!(gathered.len(), 2);
    }
}
