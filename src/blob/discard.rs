//! Blobs without a row that are still to be removed, in the order they were given up.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Removed at a time.
const MOST: usize = 64;

/// Keys of blobs to be removed.
#[derive(Debug, Default)]
pub(super) struct Discards {
    queue: Mutex<DiscardQueue>,
    /// Told whenever some are gone.
    done: Notify,
}

#[derive(Debug, Default)]
struct DiscardQueue {
    keys: VecDeque<String>,
    /// Somebody removes them.
    running: bool,
    /// Keys ever put into the queue, and how many of them are done with.
    added: u64,
    removed: u64,
}

impl Discards {
    fn queue(&self) -> MutexGuard<'_, DiscardQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key; true when nobody removes any and the caller has to begin.
    pub(super) fn add(&self, key: String) -> bool {
        let mut queue = self.queue();
        queue.keys.push_back(key);
        queue.added += 1;
        !std::mem::replace(&mut queue.running, true)
    }

    /// The next keys to remove; none when whoever removes them may end.
    pub(super) fn next(&self) -> Option<Vec<String>> {
        let mut queue = self.queue();
        let most = queue.keys.len().min(MOST);
        let next: Vec<String> = queue.keys.drain(..most).collect();
        queue.running = !next.is_empty();
        queue.running.then_some(next)
    }

    /// Notes that so many keys are done with.
    pub(super) fn finish(&self, count: u64) {
        self.queue().removed += count;
        self.done.notify_waiters();
    }

    /// Waits until every key that was added so far is done with.
    pub(super) async fn finished(&self) {
        let wanted = self.queue().added;
        loop {
            let done = self.done.notified();
            if self.queue().removed >= wanted {
                return;
            }
            done.await;
        }
    }
}
