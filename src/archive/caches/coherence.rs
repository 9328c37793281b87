//! Whether this node may answer from what it read before (ADR 16).
//!
//! Invariants: what was read counts for [`FRESH`] at most, and on an index that other nodes write to only while this one holds
//! a lease and has heard of no change since. Whoever changed something waits until every lease has heard of it, or for
//! longer than [`FRESH`]. So what was acknowledged is seen by all; a node that stood still asks again when it goes on,
//! because the monotonic clock does not stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::index::{Index, IndexError};
use crate::tasks::{Failure, Watch};

/// How long what was read counts, and a lease: a sub-command may have repaired something meanwhile.
pub(in crate::archive) const FRESH: Duration = Duration::from_secs(1);
/// Between two renewals of a lease.
const RENEW: Duration = Duration::from_millis(300);
/// A lease that nobody needed for so long is given back.
const NEEDED: Duration = Duration::from_secs(10);
/// How much longer than [`FRESH`] others are waited for: clocks of two machines do not run at quite one rate.
const MARGIN: Duration = Duration::from_millis(100);
/// First and longest pause between two looks whether the others have heard of a change.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// When something was read.
#[derive(Debug, Clone, Copy)]
pub(in crate::archive) struct ReadAt {
    at: Instant,
    /// Changes and new leases that this node had heard of.
    changes: u64,
}

/// What this node knows of what others change.
#[derive(Clone)]
pub(in crate::archive) struct Coherence(Arc<CoherenceState>);

struct CoherenceState {
    index: Arc<dyn Index>,
    node: Arc<str>,
    /// Since when times are counted.
    start: Instant,
    /// Changes and new leases heard of.
    changes: AtomicU64,
    /// When the lease ends, in ms; 0 without one.
    lease_end: AtomicU64,
    /// When somebody asked for it last, in ms.
    needed: AtomicU64,
    wanted: Notify,
}

impl std::fmt::Debug for Coherence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coherence")
            .field("node", &self.0.node)
            .finish_non_exhaustive()
    }
}

impl Coherence {
    /// Without a lease.
    pub(in crate::archive) fn new(index: Arc<dyn Index>, node: Arc<str>) -> Self {
        Self(Arc::new(CoherenceState {
            index,
            node,
            start: Instant::now(),
            changes: AtomicU64::new(0),
            lease_end: AtomicU64::new(0),
            needed: AtomicU64::new(0),
            wanted: Notify::new(),
        }))
    }

    /// The moment before something is read.
    pub(in crate::archive) fn now(&self) -> ReadAt {
        ReadAt {
            changes: self.0.changes.load(Ordering::SeqCst),
            at: Instant::now(),
        }
    }

    /// Whether what was read at a moment counts without asking the index again.
    pub(in crate::archive) fn counts(&self, read: ReadAt) -> bool {
        let is_fresh = read.at.elapsed() < FRESH;
        if !self.0.index.is_shared() {
            return is_fresh;
        }
        let now = self.millis();
        self.0.needed.store(now, Ordering::Relaxed);
        // In this order: the number is raised before a lease is taken or kept.
        if self.0.lease_end.load(Ordering::SeqCst) <= now {
            self.0.wanted.notify_one();
            return false;
        }
        is_fresh && self.0.changes.load(Ordering::SeqCst) == read.changes
    }

    /// Returns when no other node answers from what it read before the call. Belongs behind the commit of a change of what
    /// is stored already, and before its answer.
    pub(in crate::archive) async fn announce(&self) {
        let state = &self.0;
        if !state.index.is_shared() {
            return;
        }
        let begun = Instant::now();
        match self.announced(begun).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a change could not be announced to the other nodes: waiting until they ask by themselves"
                );
                tokio::time::sleep_until((begun + FRESH + MARGIN).into()).await;
            }
        }
    }

    async fn announced(&self, begun: Instant) -> Result<(), IndexError> {
        let state = &self.0;
        let change = state.index.announce_change().await?;
        let mut pause = PAUSES.0;
        while state.index.lease_is_behind(change, &state.node).await? {
            if begun.elapsed() > FRESH + MARGIN {
                // What they read counts no longer, and without a lease the next change need not wait for them.
                let gone = state
                    .index
                    .revoke_leases_behind(change, &state.node)
                    .await?;
                tracing::info!(
                    gone,
                    "nodes did not answer, and have no lease on their caches any more"
                );
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        Ok(())
    }

    /// Holds a lease for as long as this node needs one, and hears of changes, until the process ends.
    ///
    /// # Errors
    /// When the index fails; until the next run the index is asked each time.
    pub(in crate::archive) async fn follow(&self, watch: &Watch) -> Result<(), Failure> {
        let held = self.hold(watch).await;
        self.0.lease_end.store(0, Ordering::SeqCst);
        Ok(held?)
    }

    async fn hold(&self, watch: &Watch) -> Result<(), IndexError> {
        let state = &self.0;
        loop {
            tokio::select! {
                () = state.wanted.notified() => {}
                () = watch.stopping() => return Ok(()),
            }
            let Some(mut listener) = state.index.listen(&state.node).await? else {
                return Ok(());
            };
            let mut heard = 0;
            while self.is_needed() {
                let asked = self.millis();
                let renewal = listener.renew(heard).await?;
                if renewal.is_new || renewal.newest != heard {
                    // Before others are told that this node has heard of it, and before there is a lease.
                    state.changes.fetch_add(1, Ordering::SeqCst);
                }
                // From before the database was asked: there the lease is younger.
                let end = asked + millis(FRESH);
                state.lease_end.store(end, Ordering::SeqCst);
                watch.well();
                if std::mem::replace(&mut heard, renewal.newest) != heard && !renewal.is_new {
                    continue;
                }
                tokio::select! {
                    change = listener.changed() => {
                        heard = heard.max(change?);
                        state.changes.fetch_add(1, Ordering::SeqCst);
                    }
                    () = tokio::time::sleep(RENEW) => {}
                    () = watch.stopping() => break,
                }
            }
            state.lease_end.store(0, Ordering::SeqCst);
            listener.release().await?;
        }
    }

    fn is_needed(&self) -> bool {
        let needed = self.0.needed.load(Ordering::Relaxed);
        self.millis().saturating_sub(needed) < millis(NEEDED)
    }

    fn millis(&self) -> u64 {
        millis(self.0.start.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
