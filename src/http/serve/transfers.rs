//! Bodies on their way: those whose client sends or takes too little are let go, and under pressure the one that has let
//! the server wait for longest.
//!
//! A stream of HTTP/2 may stand still while its connection goes on, and then nobody asks its body for anything; so one task
//! looks at all of them now and then. An answer that is let go gives back its file, memory and room at once; the stream itself is
//! reset when its client wants more. A request body that is let go ends with an error.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::meters::METERS;
use super::pace::{Credit, TransferPace};
use crate::memory::{self, MemoryBudget};
use crate::shares::ShareHolder;

/// Most bytes of a stream among others that are handed on at once, which are what a slow client must take in time.
const PIECE: usize = 16 * 1024;
/// Pause between two looks at all transfers.
const LOOK: Duration = Duration::from_millis(250);
/// Most transfers that are let go at one look because memory is waited for.
const AT_ONCE: usize = 64;

/// All bodies on their way.
#[derive(Debug)]
pub(super) struct Transfers {
    pace: TransferPace,
    next: AtomicU64,
    all: Mutex<HashMap<u64, Weak<BodyTransfer>>>,
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct BodyTransfer {
    number: u64,
    of: Weak<Transfers>,
    /// How long an answer may wait for memory for its next bytes.
    memory_wait: Duration,
    /// Known once the token was looked at.
    subject: Arc<OnceLock<ShareHolder>>,
    ended: AtomicBool,
    state: Mutex<TransferState>,
}

#[derive(Debug)]
struct TransferState {
    credit: Credit,
    /// Since when the client is waited for; none while the server is.
    since: Option<Instant>,
    /// Of an answer, until it was let go.
    body: Option<Body>,
    /// Taken from the body and not handed on yet.
    rest: Bytes,
    /// Who waits for the client's next bytes.
    waiting: Option<Waker>,
}

impl BodyTransfer {
    fn lock(&self) -> MutexGuard<'_, TransferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn was_let_go(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// How long the client is waited for by now, and whether that is too long.
    fn waits(&self, now: Instant) -> Option<(Duration, bool)> {
        let state = self.lock();
        let waited = now.saturating_duration_since(state.since?);
        Some((waited, waited >= state.credit.time_limit()))
    }

    fn let_go(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        state.since = None;
        let gone = (state.body.take(), std::mem::take(&mut state.rest));
        let waiting = state.waiting.take();
        drop(state);
        // Outside of the lock: what is dropped may take others.
        drop(gone);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl Drop for BodyTransfer {
    fn drop(&mut self) {
        if let Some(all) = self.of.upgrade() {
            all.lock().remove(&self.number);
        }
    }
}

impl Transfers {
    pub(super) fn new(pace: TransferPace) -> Arc<Self> {
        Arc::new(Self {
            pace,
            next: AtomicU64::new(0),
            all: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<BodyTransfer>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(
        self: &Arc<Self>,
        subject: &Arc<OnceLock<ShareHolder>>,
        body: Option<Body>,
    ) -> Arc<BodyTransfer> {
        let transfer = Arc::new(BodyTransfer {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            of: Arc::downgrade(self),
            memory_wait: self.pace.idle,
            subject: Arc::clone(subject),
            ended: AtomicBool::new(false),
            state: Mutex::new(TransferState {
                credit: Credit::new(self.pace),
                // Of an answer the client may take the first bytes now; a request body waits until it is asked for.
                since: body.is_some().then(Instant::now),
                body,
                rest: Bytes::new(),
                waiting: None,
            }),
        });
        self.lock()
            .insert(transfer.number, Arc::downgrade(&transfer));
        transfer
    }

    /// Watches the body of a request.
    pub(super) fn receive(
        self: &Arc<Self>,
        body: Body,
        subject: &Arc<OnceLock<ShareHolder>>,
    ) -> (Body, Arc<BodyTransfer>) {
        let transfer = self.begin(subject, None);
        let received = Received {
            body,
            transfer: Arc::clone(&transfer),
        };
        (Body::new(received), transfer)
    }

    /// Watches the body of an answer; `piecewise` when the socket does not show how much of it was taken.
    pub(super) fn send(
        self: &Arc<Self>,
        body: Body,
        subject: &Arc<OnceLock<ShareHolder>>,
        piecewise: bool,
    ) -> Body {
        Body::new(Sent {
            transfer: self.begin(subject, Some(body)),
            piece: if piecewise { PIECE } else { usize::MAX },
        })
    }

    /// Those whose client is waited for, the longest wait first, and whether that is too long.
    fn waiting(&self, subject: Option<&ShareHolder>) -> Vec<(Duration, bool, Arc<BodyTransfer>)> {
        let all: Vec<Arc<BodyTransfer>> = self.lock().values().filter_map(Weak::upgrade).collect();
        let now = Instant::now();
        let of =
            |transfer: &BodyTransfer| subject.is_none_or(|s| transfer.subject.get() == Some(s));
        let mut waiting: Vec<_> = all
            .into_iter()
            .filter(|transfer| of(transfer))
            .filter_map(|transfer| {
                let (waited, too_long) = transfer.waits(now)?;
                Some((waited, too_long, transfer))
            })
            .collect();
        waiting.sort_by_key(|(waited, ..)| std::cmp::Reverse(*waited));
        waiting
    }

    /// Lets the transfer go that has let the server wait for longest, of one subject or of all; false when nobody has for long.
    pub(super) fn make_way(&self, subject: Option<&ShareHolder>) -> bool {
        let waiting = self.waiting(subject);
        let Some((waited, _, transfer)) = waiting.first() else {
            return false;
        };
        if *waited < self.pace.way() {
            return false;
        }
        METERS.crowded.one();
        transfer.let_go();
        true
    }

    /// Looks at all transfers for ever.
    pub(super) async fn watch(self: Arc<Self>, budget: MemoryBudget) {
        loop {
            tokio::time::sleep(LOOK).await;
            let pressed = budget.is_waited_for();
            let mut way = if pressed { AT_ONCE } else { 0 };
            for (waited, too_long, transfer) in self.waiting(None) {
                if too_long {
                    METERS.slow.one();
                } else if way > 0 && waited >= self.pace.way() {
                    way -= 1;
                    METERS.crowded.one();
                } else {
                    continue;
                }
                transfer.let_go();
            }
        }
    }
}

fn too_slow() -> axum::Error {
    axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

/// The body of a request.
struct Received {
    body: Body,
    transfer: Arc<BodyTransfer>,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, transfer } = &mut *self;
        if transfer.was_let_go() {
            return Poll::Ready(Some(Err(too_slow())));
        }
        let polled = Pin::new(body).poll_frame(cx);
        let mut state = transfer.lock();
        let Poll::Ready(ready) = polled else {
            state.since.get_or_insert_with(Instant::now);
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let waited = state.since.take().map(|since| since.elapsed());
        let bytes = match &ready {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        state.credit.moved(waited.unwrap_or_default(), bytes);
        Poll::Ready(ready)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // Nobody waits for the rest any more.
        let mut state = self.transfer.lock();
        state.since = None;
        state.waiting = None;
    }
}

/// The body of an answer.
struct Sent {
    transfer: Arc<BodyTransfer>,
    piece: usize,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = self.transfer.lock();
        let TransferState {
            credit,
            since,
            body,
            rest,
            ..
        } = &mut *state;
        let Some(body) = body else {
            return Poll::Ready(Some(Err(too_slow())));
        };
        let waited = since.take().map(|since| since.elapsed());
        credit.moved(waited.unwrap_or_default(), 0);
        if rest.is_empty() {
            // By then the slowest of those who hold memory and take nothing were let go.
            let wait = self.transfer.memory_wait;
            match memory::patiently(wait, || Pin::new(body).poll_frame(cx)) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => *rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return other,
            }
        }
        let piece = rest.split_to(rest.len().min(self.piece));
        credit.moved(Duration::ZERO, piece.len());
        *since = Some(Instant::now());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.transfer.lock();
        let body = state.body.as_ref();
        state.rest.is_empty() && body.is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.transfer.lock();
        let Some(body) = &state.body else {
            return SizeHint::default();
        };
        let (mut hint, rest) = (http_body::Body::size_hint(body), state.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::memory::{NoMemory, Purpose};

    #[tokio::test]
    async fn an_answer_on_its_way_waits_longer_for_memory_than_a_request() {
        let budget = MemoryBudget::with_wait(64 << 20, Duration::from_millis(20));
        let most = || budget.try_reserve(Purpose::Rows, 50 << 20).unwrap();
        let answer = |idle: Duration| {
            let budget = budget.clone();
            let parts = stream::iter(0..2).then(move |_| {
                let budget = budget.clone();
                async move {
                    let held = budget.reserve(Purpose::Rows, 40 << 20).await?;
                    Ok::<_, NoMemory>(memory::holding(vec![0; 10], held))
                }
            });
            let pace = TransferPace {
                idle,
                slow: idle,
                least: 1000,
            };
            let transfers = Transfers::new(pace);
            let body = transfers.send(Body::from_stream(parts), &Arc::default(), false);
            (transfers, body.into_data_stream())
        };
        let held = most();
        let (transfers, mut sent) = answer(Duration::from_secs(600));
        let freed = async {
            for _ in 0..3 {
                assert!(budget.reserve(Purpose::Rows, 40 << 20).await.is_err());
            }
            let waited = transfers.waiting(None);
            assert!(waited.is_empty(), "it is not its client that is slow");
            drop(held);
        };
        let (first, ()) = tokio::join!(sent.next(), freed);
        assert_eq!(first.unwrap().unwrap().len(), 10);
        // Not for ever: then it breaks off.
        let held = most();
        let (_, mut sent) = answer(Duration::from_millis(60));
        assert!(sent.next().await.unwrap().is_err());
        drop(held);
    }
}
