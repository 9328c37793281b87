//! The queue before frames are decoded, encoded and drawn: fair between those who ask, small work first.
//!
//! Invariants: who asks for little does not wait until others were given much; large work never takes all places; a
//! place is given back when it is dropped; whoever waits, waits a bounded time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::{ArchiveError, Result};

/// How long anybody waits for a place before he is told to come again.
const WAIT: Duration = Duration::from_secs(60);
/// Work of more samples than this is large.
const LARGE: u64 = 4 << 20;
/// What the smallest work counts for.
const LEAST: u64 = 64 << 10;
/// Callers that are remembered before those who wait for nothing are forgotten.
const CALLERS: usize = 1000;

tokio::task_local! {
    static CALLER: u64;
}

/// Does work for a caller, who is known by a number.
pub fn on_behalf_of<F: Future>(caller: u64, work: F) -> impl Future<Output = F::Output> {
    CALLER.scope(caller, work)
}

/// As [`on_behalf_of`], at once.
pub fn now_on_behalf_of<T>(caller: u64, work: impl FnOnce() -> T) -> T {
    CALLER.sync_scope(caller, work)
}

/// Who the work that is being done is for.
fn caller() -> u64 {
    CALLER.try_with(|caller| *caller).unwrap_or_default()
}

/// The queue, shared by all clones.
#[derive(Debug, Clone)]
pub(super) struct FairQueue(Arc<SharedQueue>);

#[derive(Debug)]
struct SharedQueue {
    state: Mutex<QueueState>,
    places: usize,
}

#[derive(Debug)]
struct QueueState {
    /// Places that are free, and how many of them large work may take.
    free: usize,
    free_large: usize,
    waiting: Vec<WaitingRequest>,
    /// How far the work has come, in samples, if each caller had a server of his own.
    clock: u64,
    /// Up to where each caller's work reaches.
    reached: HashMap<u64, u64>,
}

#[derive(Debug)]
struct WaitingRequest {
    begins: u64,
    ends: u64,
    large: bool,
    granted: oneshot::Sender<QueuePlace>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct QueuePlace {
    queue: FairQueue,
    large: bool,
}

impl FairQueue {
    /// A queue with so many places, of which large work may take `large`, and half at most.
    pub(super) fn new(places: usize, large: usize) -> Self {
        let places = places.max(2);
        Self(Arc::new(SharedQueue {
            state: Mutex::new(QueueState {
                free: places,
                free_large: large.clamp(1, places / 2),
                waiting: Vec::new(),
                clock: 0,
                reached: HashMap::new(),
            }),
            places,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for work on so many samples.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`] when there is none in time.
    pub(super) async fn enter(&self, samples: u64) -> Result<QueuePlace> {
        let busy = ArchiveError::Busy {
            what: "pictures for others",
        };
        let waiting = self.wait(caller(), samples);
        match tokio::time::timeout(WAIT, waiting).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(busy),
        }
    }

    fn wait(&self, caller: u64, samples: u64) -> oneshot::Receiver<QueuePlace> {
        let (granted, waiting) = oneshot::channel();
        let mut state = self.lock();
        let before = state.reached.get(&caller).copied().unwrap_or(0);
        let begins = before.max(state.clock);
        let ends = begins.saturating_add(samples.max(LEAST));
        state.reached.insert(caller, ends);
        state.waiting.push(WaitingRequest {
            begins,
            ends,
            large: samples > LARGE,
            granted,
        });
        drop(state);
        self.grant();
        waiting
    }

    /// Gives free places to those whose work would end first.
    fn grant(&self) {
        let mut given = Vec::new();
        let mut state = self.lock();
        state.waiting.retain(|waiting| !waiting.granted.is_closed());
        while state.free > 0 {
            let may = |waiting: &WaitingRequest| !waiting.large || state.free_large > 0;
            let next = (0..)
                .zip(&state.waiting)
                .filter(|(_, waiting)| may(waiting))
                .min_by_key(|(_, waiting)| waiting.ends)
                .map(|(at, _): (usize, _)| at);
            let Some(at) = next else { break };
            let next = state.waiting.remove(at);
            state.free -= 1;
            state.free_large -= usize::from(next.large);
            state.clock = state.clock.max(next.begins);
            given.push(next);
        }
        let idle = state.free == self.0.places && state.waiting.is_empty();
        if idle || state.reached.len() > CALLERS {
            let clock = state.clock;
            state.reached.retain(|_, reached| *reached > clock && !idle);
        }
        drop(state);
        // Outside of the lock: the place of one who has gone comes back at once.
        for WaitingRequest { large, granted, .. } in given {
            let queue = self.clone();
            drop(granted.send(QueuePlace { queue, large }));
        }
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.free += 1;
        state.free_large += usize::from(self.large);
        drop(state);
        self.queue.grant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: u64 = 8192 * 8192;

    fn ready(waiting: &mut oneshot::Receiver<QueuePlace>) -> Option<QueuePlace> {
        waiting.try_recv().ok()
    }

    #[test]
    fn large_work_leaves_room_for_small() {
        let queue = FairQueue::new(4, 9);
        let mut large: Vec<_> = (0..40).map(|_| queue.wait(1, BIG)).collect();
        let held: Vec<QueuePlace> = large.iter_mut().filter_map(ready).collect();
        assert_eq!(held.len(), 2);
        let mut small = queue.wait(2, 100);
        assert!(ready(&mut small).is_some());
    }

    #[test]
    fn who_asks_for_little_is_before_those_who_had_much() {
        let queue = FairQueue::new(2, 1);
        let mut all: Vec<_> = (0..10).map(|_| queue.wait(1, 1 << 20)).collect();
        let mut held: Vec<QueuePlace> = all.iter_mut().filter_map(ready).collect();
        assert_eq!(held.len(), 2);
        let mut other = queue.wait(2, 1 << 20);
        assert!(ready(&mut other).is_none());
        held.pop();
        assert!(
            ready(&mut other).is_some(),
            "it was the turn of the other one"
        );
    }

    #[test]
    fn the_places_of_those_who_left_come_back() {
        let queue = FairQueue::new(2, 1);
        let mut first = queue.wait(1, 1);
        let held = ready(&mut first);
        drop((0..100).map(|_| queue.wait(1, BIG)).collect::<Vec<_>>());
        let mut next = queue.wait(2, BIG);
        let next = ready(&mut next);
        assert!(held.is_some() && next.is_some());
        drop((held, next));
        let state = queue.lock();
        assert_eq!((state.free, state.free_large), (2, 1));
        assert!(state.waiting.is_empty() && state.reached.is_empty());
    }
}
