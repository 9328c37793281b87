//! What lets one burst of a body through at a time.

use std::sync::atomic::{AtomicBool, Ordering};

/// Lets one burst through at a time, because multer reads whatever its stream has ready.
///
/// Both ends live in one task; the atomics are only there to be `Sync`.
#[derive(Debug, Default)]
pub(super) struct Valve {
    open: AtomicBool,
    pub(super) body_is_pending: AtomicBool,
}

impl Valve {
    /// Closes the valve and forgets what the body said.
    pub(super) fn reset(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.body_is_pending.store(false, Ordering::Relaxed);
    }

    /// Lets one burst through.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Whether the body itself had nothing ready, so that it will wake the task.
    pub(super) fn body_is_pending(&self) -> bool {
        self.body_is_pending.load(Ordering::Relaxed)
    }

    pub(super) fn pass(&self) -> bool {
        self.open.swap(false, Ordering::Relaxed)
    }
}
