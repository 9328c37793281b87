//! Transactions that met a deadlock run again.

use std::time::Duration;

/// How often a transaction that met a deadlock runs again.
pub(super) const ATTEMPTS: u32 = 8;

/// Runs a write until it no longer is a victim of concurrency.
macro_rules! retrying {
    ($dialect:ty, $what:literal, $attempt:expr) => {{
        let mut attempt = 0;
        loop {
            match $attempt.await {
                Err(error)
                    if attempt < $crate::index::retry::ATTEMPTS
                        && <$dialect>::is_conflict(&error) =>
                {
                    attempt += 1;
                    $crate::index::retry::pause(attempt).await;
                }
                result => break result.map_err($crate::index::sql::failed::<$dialect>($what)),
            }
        }
    }};
}
pub(super) use retrying;

/// Waits a random while, longer with each attempt, so that two victims do not meet again.
pub(super) async fn pause(attempt: u32) {
    let most = 5_u64 << attempt.min(6);
    tokio::time::sleep(Duration::from_millis(rand::random_range(1..=most))).await;
}
