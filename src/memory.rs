//! The memory budget: one number of bytes from which every buffer that a client can make grow is reserved first.
//!
//! Invariants: the sum of all reservations never exceeds the budget; a reservation is given back when it is dropped;
//! whoever waits for one waits a bounded time, and longer for an answer that is being sent; small reservations find room while large ones wait.

mod holding;
mod purpose;
mod size;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

pub use holding::holding;
pub use purpose::{NoMemory, Purpose};
pub use size::{LEAST, budget_bytes, default_bytes};
pub use waiting::{carried, patiently, waiting};

/// How long a reservation waits for room before it is refused.
const WAIT: Duration = Duration::from_secs(5);
/// Reservations up to this many bytes may use the part of the budget that is kept back for them: a page of a search is.
const SMALL: usize = 1 << 20;
/// Requests use much memory when they have more than this part of the budget; see [`when_much_is_used`].
const MUCH: usize = 16;

/// One budget in bytes, shared by all clones.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<SharedBudget>);

#[derive(Debug)]
struct SharedBudget {
    budget: usize,
    /// Part of the budget that only small reservations may use.
    kept_back: usize,
    wait: Duration,
    state: Mutex<BudgetState>,
    reserved: [AtomicUsize; Purpose::ALL.len()],
    /// Bytes of all reservations but those of caches, and whether they are much.
    used: AtomicUsize,
    /// Most that [`Self::used`] was since somebody looked.
    peak: AtomicUsize,
    much: AtomicBool,
    refused: AtomicUsize,
}

/// Called with whether requests use much memory.
static USES_MUCH: OnceLock<fn(bool)> = OnceLock::new();

/// Has a function called when requests begin to use much memory, and when they no longer do; the first one counts.
///
/// The allocator keeps what was freed for a while, in each thread. While much is used, that is memory beyond the budget.
pub fn when_much_is_used(call: fn(bool)) {
    let _ = USES_MUCH.set(call);
}

#[derive(Debug)]
struct BudgetState {
    free: usize,
    waiting: VecDeque<WaitingReservation>,
}

#[derive(Debug)]
struct WaitingReservation {
    bytes: usize,
    purpose: Purpose,
    granted: oneshot::Sender<Reservation>,
}

impl SharedBudget {
    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, state: &BudgetState, bytes: usize) -> bool {
        let kept = if bytes <= SMALL { 0 } else { self.kept_back };
        bytes <= state.free.saturating_sub(kept)
    }

    /// Notes that the reservations of requests have so many bytes now.
    fn note(&self, used: usize) {
        let much = self.budget / MUCH;
        let was = self.much.load(Ordering::Relaxed);
        let is = used > if was { much / 2 } else { much };
        if is != was
            && self.much.swap(is, Ordering::Relaxed) == was
            && let Some(call) = USES_MUCH.get()
        {
            call(is);
        }
    }

    /// The most that one reservation can have: what caches hold is never given back.
    fn most(&self) -> usize {
        let caches = self.reserved[Purpose::Caches as usize].load(Ordering::Relaxed);
        (self.budget - self.kept_back).saturating_sub(caches)
    }
}

impl MemoryBudget {
    /// A budget of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self::with_wait(bytes, WAIT)
    }

    /// A budget whose reservations wait at most `wait`.
    #[must_use]
    pub fn with_wait(bytes: usize, wait: Duration) -> Self {
        Self(Arc::new(SharedBudget {
            budget: bytes,
            kept_back: bytes / 8,
            wait,
            state: Mutex::new(BudgetState {
                free: bytes,
                waiting: VecDeque::new(),
            }),
            reserved: Default::default(),
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            much: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
        }))
    }

    /// Bytes there are in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.budget
    }

    /// Bytes reserved for a purpose now.
    #[must_use]
    pub fn reserved(&self, purpose: Purpose) -> usize {
        self.0.reserved[purpose as usize].load(Ordering::Relaxed)
    }

    /// Most bytes that all but caches had reserved at a time since this was last asked.
    #[must_use]
    pub fn take_peak(&self) -> usize {
        let used = self.0.used.load(Ordering::Relaxed);
        self.0.peak.swap(used, Ordering::Relaxed).max(used)
    }

    /// How many reservations were refused since the start.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for room.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        !self.0.lock().waiting.is_empty()
    }

    /// A reservation of nothing, to be grown.
    #[must_use]
    pub fn nothing(&self, purpose: Purpose) -> Reservation {
        Reservation {
            budget: self.clone(),
            purpose,
            bytes: 0,
        }
    }

    /// Reserves at once or not at all.
    ///
    /// # Errors
    /// [`NoMemory`] when there is no room.
    pub fn try_reserve(&self, purpose: Purpose, bytes: usize) -> Result<Reservation, NoMemory> {
        let shared = &*self.0;
        if bytes > shared.most() {
            return Err(self.refuse(bytes));
        }
        let mut state = shared.lock();
        let overtakes = bytes > SMALL && !state.waiting.is_empty();
        if overtakes || !shared.fits(&state, bytes) {
            drop(state);
            return Err(self.refuse(bytes));
        }
        state.free -= bytes;
        drop(state);
        Ok(self.granted(purpose, bytes))
    }

    /// Reserves, and waits a bounded time until there is room: longer within [`patiently`].
    ///
    /// # Errors
    /// [`NoMemory`] when there can be no room, or is none in time.
    pub async fn reserve(&self, purpose: Purpose, bytes: usize) -> Result<Reservation, NoMemory> {
        let shared = &*self.0;
        if bytes > shared.most() {
            return Err(self.refuse(bytes));
        }
        // Whoever goes, in time or not, is in nobody's way any more.
        let _gone = WaiterGuard(self);
        let mut waiting = {
            let mut state = shared.lock();
            let overtakes = bytes > SMALL && !state.waiting.is_empty();
            if !overtakes && shared.fits(&state, bytes) {
                state.free -= bytes;
                drop(state);
                return Ok(self.granted(purpose, bytes));
            }
            let (granted, waiting) = oneshot::channel();
            state.waiting.push_back(WaitingReservation {
                bytes,
                purpose,
                granted,
            });
            waiting
        };
        let begun = tokio::time::Instant::now();
        loop {
            let wait = shared.wait.max(waiting::wait_here());
            match tokio::time::timeout_at(begun + wait, &mut waiting).await {
                Ok(Ok(reservation)) => return Ok(reservation),
                // Its answer began to be sent meanwhile.
                Err(_) if waiting::wait_here() > wait => {}
                _ => return Err(self.refuse(bytes)),
            }
        }
    }

    /// Reserves on a thread that may block, within a Tokio runtime.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn reserve_blocking(
        &self,
        purpose: Purpose,
        bytes: usize,
    ) -> Result<Reservation, NoMemory> {
        match self.try_reserve(purpose, bytes) {
            Err(NoMemory::Busy) => match tokio::runtime::Handle::try_current() {
                Ok(runtime) => runtime.block_on(self.reserve(purpose, bytes)),
                Err(_) => Err(NoMemory::Busy),
            },
            done => done,
        }
    }

    fn granted(&self, purpose: Purpose, bytes: usize) -> Reservation {
        self.0.reserved[purpose as usize].fetch_add(bytes, Ordering::Relaxed);
        if purpose != Purpose::Caches {
            let used = self.0.used.fetch_add(bytes, Ordering::Relaxed);
            let used = used.saturating_add(bytes);
            self.0.peak.fetch_max(used, Ordering::Relaxed);
            self.0.note(used);
        }
        Reservation {
            budget: self.clone(),
            purpose,
            bytes,
        }
    }

    fn refuse(&self, asked: usize) -> NoMemory {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        match self.0.most() {
            budget if asked > budget => NoMemory::TooLarge { asked, budget },
            _ => NoMemory::Busy,
        }
    }

    fn give_back(&self, purpose: Purpose, bytes: usize) {
        self.0.reserved[purpose as usize].fetch_sub(bytes, Ordering::Relaxed);
        if purpose != Purpose::Caches {
            let used = self.0.used.fetch_sub(bytes, Ordering::Relaxed);
            self.0.note(used.saturating_sub(bytes));
        }
        let mut given = Vec::new();
        let mut state = self.0.lock();
        state.free += bytes;
        // In their order, but the small ones do not wait behind a large one that does not fit yet.
        let mut at = 0;
        let mut held_up = false;
        while let Some(next) = state.waiting.get(at) {
            let (bytes, small) = (next.bytes, next.bytes <= SMALL);
            if next.granted.is_closed() {
                state.waiting.remove(at);
            } else if (small || !held_up) && self.0.fits(&state, bytes) {
                state.free -= bytes;
                given.extend(state.waiting.remove(at));
            } else {
                held_up = true;
                at += 1;
            }
        }
        drop(state);
        // Outside of the lock: a waiter that has gone gives its reservation back by dropping it.
        for WaitingReservation {
            bytes,
            purpose,
            granted,
        } in given
        {
            drop(granted.send(self.granted(purpose, bytes)));
        }
    }
}

/// Takes those who no longer wait from the queue, when it is dropped, and lets those behind them pass.
struct WaiterGuard<'a>(&'a MemoryBudget);

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.0.give_back(Purpose::Background, 0);
    }
}

/// Memory that is reserved until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    purpose: Purpose,
    bytes: usize,
}

impl Reservation {
    /// Bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// In a debug build, fails when what was made takes more than was reserved for it: whoever makes it reserves too little.
    #[track_caller]
    pub fn must_cover(&self, bytes: usize) {
        debug_assert!(
            bytes <= self.bytes,
            "{bytes} bytes were made of {}, and {} are reserved",
            self.purpose.as_str(),
            self.bytes
        );
    }

    /// Takes over what another one of the same budget has.
    pub fn merge(&mut self, mut other: Self) {
        let bytes = std::mem::take(&mut other.bytes);
        if other.purpose != self.purpose {
            self.budget.0.reserved[other.purpose as usize].fetch_sub(bytes, Ordering::Relaxed);
            self.budget.0.reserved[self.purpose as usize].fetch_add(bytes, Ordering::Relaxed);
        }
        self.bytes += bytes;
    }

    /// Grows to at least `bytes` bytes in all, at once or not at all.
    ///
    /// # Errors
    /// As [`MemoryBudget::try_reserve`].
    pub fn try_grow_to(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let Some(more) = self.missing(bytes)? else {
            return Ok(());
        };
        let more = self.budget.try_reserve(self.purpose, more)?;
        self.merge(more);
        Ok(())
    }

    /// Grows to at least `bytes` bytes in all.
    ///
    /// # Errors
    /// As [`MemoryBudget::reserve`].
    pub async fn grow_to(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let Some(more) = self.missing(bytes)? else {
            return Ok(());
        };
        let more = self.budget.reserve(self.purpose, more).await?;
        self.merge(more);
        Ok(())
    }

    /// Grows to at least `bytes` bytes in all, on a thread that may block.
    ///
    /// # Errors
    /// As [`MemoryBudget::reserve`].
    pub fn grow_to_blocking(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let Some(more) = self.missing(bytes)? else {
            return Ok(());
        };
        let more = self.budget.reserve_blocking(self.purpose, more)?;
        self.merge(more);
        Ok(())
    }

    /// Gives back what is above `bytes` bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less > 0) {
            self.bytes = bytes;
            self.budget.give_back(self.purpose, less);
        }
    }

    /// Splits `bytes` bytes off, or all there are when that is less.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: self.budget.clone(),
            purpose: self.purpose,
            bytes,
        }
    }

    /// Bytes that are missing to `bytes`; what can never fit is refused here, whatever it has already.
    fn missing(&self, bytes: usize) -> Result<Option<usize>, NoMemory> {
        if bytes > self.budget.0.most() {
            return Err(self.budget.refuse(bytes));
        }
        Ok(bytes.checked_sub(self.bytes).filter(|more| *more > 0))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.purpose, self.bytes);
        }
    }
}
