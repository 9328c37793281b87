//! Lanes: how much work of one kind runs on the blocking pool at a time.
//!
//! Invariants: work of one kind never takes the places of another; a place is held until the work has really ended, also
//! when nobody waits for it any more; whoever waits for a place waits a bounded time; nobody who has a place waits for
//! the network, for another place, or for anything that needs one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ArchiveError, Result};
use crate::trace;

/// How long work waits for a place before the request is told to come again.
const WAIT: Duration = Duration::from_secs(60);

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Parses parts that arrive, with what is packed of them, and files composed of metadata.
    Ingest,
    /// Reading, inflating and rewriting what is stored.
    Retrieve,
    /// Decoding and encoding of frames, pictures.
    Codec,
    /// Packing, unpacking and writing of metadata, JSON and XML.
    Text,
}

impl Lane {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Retrieve, Self::Codec, Self::Text];

    /// The label in metrics and errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Retrieve => "retrieve",
            Self::Codec => "codec",
            Self::Text => "text",
        }
    }

    /// Said to whom there was no place in time.
    const fn busy(self) -> &'static str {
        match self {
            Self::Ingest => "what others store",
            Self::Retrieve => "what others retrieve",
            Self::Codec => "pictures for others",
            Self::Text => "metadata for others",
        }
    }

    /// Places on a machine with this many processors: twice and more where the work waits for disks too.
    fn width(self, cores: usize) -> usize {
        match self {
            Self::Ingest | Self::Retrieve => cores.saturating_mul(4).max(8),
            Self::Codec => cores.max(2),
            Self::Text => cores.saturating_mul(2).max(4),
        }
    }
}

/// A place in a lane, until it is dropped.
#[derive(Debug)]
pub struct LanePlace {
    _permit: OwnedSemaphorePermit,
}

/// All lanes, shared by all clones.
#[derive(Debug, Clone)]
pub struct Lanes(Arc<[(Arc<Semaphore>, usize); Lane::ALL.len()]>);

impl Lanes {
    /// Lanes for a machine with this many processors.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self(Arc::new(Lane::ALL.map(|lane| {
            let width = lane.width(cores);
            (Arc::new(Semaphore::new(width)), width)
        })))
    }

    /// Places there are in a lane.
    #[must_use]
    pub fn width(&self, lane: Lane) -> usize {
        self.0[lane as usize].1
    }

    /// Places that are taken now.
    #[must_use]
    pub fn busy(&self, lane: Lane) -> usize {
        let (places, width) = &self.0[lane as usize];
        width.saturating_sub(places.available_permits())
    }

    /// A place in a lane.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`] when there is none in time.
    pub async fn enter(&self, lane: Lane) -> Result<LanePlace> {
        self.enter_within(lane, WAIT).await
    }

    async fn enter_within(&self, lane: Lane, wait: Duration) -> Result<LanePlace> {
        let places = self.0[lane as usize].0.clone();
        match tokio::time::timeout(wait, places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(LanePlace { _permit: permit }),
            _ => Err(ArchiveError::Busy { what: lane.busy() }),
        }
    }

    /// Runs work on the blocking pool when there is a place in its lane.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`] when there is no place in time, [`ArchiveError::Lost`] when the work panics, and what the
    /// work returns.
    pub async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = self.enter(lane).await?;
        let work = crate::memory::carried(move || {
            let _place = place;
            work()
        });
        let done = tokio::task::spawn_blocking(trace::carried_work(work));
        let lost = |_| ArchiveError::Lost {
            what: lane.as_str(),
        };
        done.await.map_err(lost)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_full_lane_does_not_stop_the_others_and_is_told() {
        let lanes = Lanes::new(1);
        let mut held = Vec::new();
        for _ in 0..lanes.width(Lane::Retrieve) {
            held.push(lanes.enter(Lane::Retrieve).await.unwrap());
        }
        assert_eq!(lanes.busy(Lane::Retrieve), lanes.width(Lane::Retrieve));
        let refused = lanes.enter_within(Lane::Retrieve, Duration::ZERO).await;
        assert!(matches!(refused, Err(ArchiveError::Busy { .. })));
        assert_eq!(lanes.run(Lane::Ingest, || Ok(7)).await.unwrap(), 7);
        held.pop();
        assert_eq!(lanes.run(Lane::Retrieve, || Ok(8)).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_place_is_held_until_the_work_ends() {
        let lanes = Lanes::new(1);
        let (ended, waits) = mpsc::channel::<()>();
        let (began, begins) = mpsc::channel();
        let work = tokio::spawn({
            let lanes = lanes.clone();
            async move {
                lanes
                    .run(Lane::Text, move || {
                        began.send(()).unwrap();
                        waits.recv().unwrap();
                        Ok(())
                    })
                    .await
            }
        });
        let begun = tokio::task::spawn_blocking(move || begins.recv());
        begun.await.unwrap().unwrap();
        work.abort();
        assert!(work.await.unwrap_err().is_cancelled());
        assert_eq!(lanes.busy(Lane::Text), 1);
        ended.send(()).unwrap();
        while lanes.busy(Lane::Text) > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_gives_the_place_back() {
        let lanes = Lanes::new(1);
        let lost = lanes.run::<()>(Lane::Codec, || panic!("a defect")).await;
        assert!(matches!(lost, Err(ArchiveError::Lost { what: "codec" })));
        assert_eq!(lanes.busy(Lane::Codec), 0);
    }
}
