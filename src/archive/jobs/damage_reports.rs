//! Reports of blobs that could not be read as they should, on their way to whoever looks at them.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

/// Reports of damage that wait; more are lost, and found by the next read or the scrub.
const REPORTS: usize = 1024;

/// Keys of blobs that could not be read as they should.
pub(in crate::archive) type Reports = Arc<Mutex<mpsc::Receiver<String>>>;

/// A channel for [`Reports`].
pub(in crate::archive) fn reports() -> (mpsc::Sender<String>, Reports) {
    let (sender, receiver) = mpsc::channel(REPORTS);
    (sender, Arc::new(Mutex::new(receiver)))
}
