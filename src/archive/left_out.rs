//! Rows and instances that are left out of answers because they cannot be read back.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::meter::Counter;

/// Instances that are told in the log when their metadata cannot be read.
const REPORTED: usize = 1000;

/// Counts what was left out of an answer; shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct LeftOut(Arc<AtomicU64>);

impl LeftOut {
    /// How many so far; an answer that is streamed may still leave out more.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Rows and instances that could not be read back.
#[derive(Debug, Default)]
pub(super) struct UnreadableRows {
    /// How often one was left out.
    pub(super) left_out: Counter,
    reported: Mutex<HashSet<i64>>,
}

impl UnreadableRows {
    /// Counts one that is left out of an answer; the log tells it once.
    pub(super) fn note(&self, watermark: i64, left_out: &LeftOut) {
        left_out.one();
        self.left_out.one();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < REPORTED && reported.insert(watermark) {
            tracing::error!(
                watermark,
                "metadata of an instance cannot be read and is left out of answers; `stowage fsck` tells more"
            );
        }
    }
}
