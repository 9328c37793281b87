//! Work in the background that a process does once at a time, by its name.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names of the work that a process does now.
pub(super) type WorkNames = Arc<Mutex<HashSet<String>>>;

/// A piece of work that this process does, and must not begin a second time before it has ended.
#[derive(Debug)]
pub(super) struct RunningWork {
    all: WorkNames,
    name: String,
}

impl RunningWork {
    /// None while it is being done.
    pub(super) fn begin(all: &WorkNames, name: String) -> Option<Self> {
        // Only what was begun is made: to drop one is to end it.
        lock(all).insert(name.clone()).then(|| Self {
            all: all.clone(),
            name,
        })
    }

    /// What it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for RunningWork {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.name);
    }
}

fn lock(names: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_begun_once_until_it_ends_however_often_it_is_asked_for() {
        let all = WorkNames::default();
        let begin = || RunningWork::begin(&all, "an export".to_owned());
        let running = begin().unwrap();
        assert!((0..3).all(|_| begin().is_none()));
        drop(running);
        assert!(begin().is_some());
    }
}
