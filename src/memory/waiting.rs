//! Who may wait for memory longer than others: an answer of which bytes were sent cannot be asked for again.
//!
//! A new request that waits in vain is told to come again; an answer that waits in vain breaks off, and all that was
//! made and sent of it is lost. So whoever polls the body of an answer does it in [`patiently`], and work that it has
//! done on the blocking pool takes that along with [`carried`].

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

thread_local! {
    static WAIT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Puts back what was before, also after a panic.
struct Before(Duration);

impl Drop for Before {
    fn drop(&mut self) {
        WAIT.set(self.0);
    }
}

/// Runs something whose reservations may wait at least so long.
pub fn patiently<T>(wait: Duration, run: impl FnOnce() -> T) -> T {
    let _before = Before(WAIT.replace(wait));
    run()
}

/// A future whose reservations may wait at least so long.
pub async fn waiting<T>(wait: Duration, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| patiently(wait, || future.as_mut().poll(context))).await
}

/// Work for another thread, where it may wait as long as here.
pub fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let wait = wait_here();
    move || patiently(wait, work)
}

/// How long whoever runs on this thread now may wait at least.
pub(super) fn wait_here() -> Duration {
    WAIT.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryBudget, NoMemory, Purpose};

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn an_answer_that_began_waits_longer_than_a_new_request_and_not_for_ever() {
        let budget = MemoryBudget::with_wait(8 << 20, SHORT);
        let held = budget.try_reserve(Purpose::Rows, 7 << 20).unwrap();
        let large = || budget.reserve(Purpose::Rows, 7 << 20);
        let refused = waiting(3 * SHORT, large()).await;
        assert_eq!(refused.unwrap_err(), NoMemory::Busy);
        // New ones come and are refused while it waits.
        let freed = async {
            for _ in 0..3 {
                assert_eq!(large().await.unwrap_err(), NoMemory::Busy);
            }
            drop(held);
        };
        let (granted, ()) = tokio::join!(waiting(LONG, large()), freed);
        assert_eq!(granted.unwrap().bytes(), 7 << 20);
        assert_eq!(wait_here(), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_a_request_began_waits_longer_once_its_answer_is_waiting() {
        let budget = MemoryBudget::with_wait(8 << 20, SHORT);
        let held = budget.try_reserve(Purpose::Rows, 7 << 20).unwrap();
        let mut reserving = pin!(budget.reserve(Purpose::Rows, 7 << 20));
        let first = poll_fn(|cx| std::task::Poll::Ready(reserving.as_mut().poll(cx).is_pending()));
        assert!(first.await);
        let freed = async {
            for _ in 0..3 {
                let refused = budget.reserve(Purpose::Rows, 7 << 20).await;
                assert_eq!(refused.unwrap_err(), NoMemory::Busy);
            }
            drop(held);
        };
        let (granted, ()) = tokio::join!(waiting(LONG, reserving), freed);
        granted.unwrap();
    }

    #[test]
    fn work_on_another_thread_waits_as_long() {
        let work = patiently(LONG, || carried(wait_here));
        assert_eq!(std::thread::spawn(work).join().unwrap(), LONG);
        assert_eq!(wait_here(), Duration::ZERO);
    }
}
