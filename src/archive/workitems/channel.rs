//! Event channels: what was written for a subscriber, read in order by whoever holds its socket.
//!
//! Invariants: nothing waits in memory for a socket: each reads its events when it has sent those before, so a slow one costs
//! nobody else; an event is sent once on a channel, and channels of any node send the same.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::Archive;
use super::super::error::ArchiveError;
use super::subscribe::Subscriber;
use super::{WorkitemError, WorkitemResult, ago};
use crate::dicom::workitem::ALL;
use crate::dicom::workitem_events::{Event, LONGEST_EVENT, message};
use crate::index::EventRow;
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;
use crate::shares::{Share, ShareHolder};
use crate::tasks::{Failure, Watch};

/// Events read at a time.
const PAGE: u32 = 7;
/// Memory of a page while it is sent.
const PAGE_BYTES: usize = 2 * PAGE as usize * (LONGEST_EVENT + 1024);
/// Pause between two looks for events of other nodes.
const LOOK: Duration = Duration::from_millis(250);
/// How long open channels may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(5);
/// Events forgotten in one transaction.
const SWEPT: u32 = 500;

/// A channel that may be opened.
#[derive(Debug)]
pub struct EventChannel {
    archive: Archive,
    scope: Scope,
    aet: String,
    /// Events up to this one were sent.
    sent: i64,
    news: watch::Receiver<u64>,
    _share: Share,
}

/// Messages of a channel, with the memory they take.
#[derive(Debug)]
pub struct Messages {
    /// Each with its number.
    pub texts: Vec<(i64, String)>,
    _held: Reservation,
}

impl Archive {
    /// Makes a channel: behind the event `since`, or behind what was sent on the last one.
    ///
    /// # Errors
    /// [`WorkitemError`] when the title belongs to somebody else, events behind `since` are forgotten, or there is no room.
    pub async fn open_channel(
        &self,
        scope: &Scope,
        subscriber: &Subscriber,
        since: Option<i64>,
        subject: &ShareHolder,
    ) -> WorkitemResult<EventChannel> {
        let share = self.channels.0.room.try_take(subject, None, 1);
        let share = share.map_err(|_| ArchiveError::Busy {
            what: "event channels of others",
        })?;
        let mut sent = self.enter(scope.partition, subscriber).await?;
        if let Some(since) = since {
            let (oldest, newest) = self.index.event_bounds().await?;
            if since > newest {
                return Err(WorkitemError::NoEvent(newest));
            }
            if since.saturating_add(1) < oldest {
                return Err(WorkitemError::Forgotten(oldest));
            }
            sent = since;
        }
        Ok(EventChannel {
            archive: self.clone(),
            scope: scope.clone(),
            aet: subscriber.aet.clone(),
            sent,
            news: self.channels.0.news.subscribe(),
            _share: share,
        })
    }

    /// Runs what serves a channel, beside the requests.
    pub fn serve_channel(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.channels.0.running.spawn(work);
    }

    /// When the server stops.
    #[must_use]
    pub fn channels_close(&self) -> CancellationToken {
        self.channels.0.closing.clone()
    }

    /// Tells all subscribers that the service is there again.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn announce_start(&self) -> super::super::Result<()> {
        let event = Event::service("RESTARTED");
        self.index.announce(&event).await?;
        self.channels.wake();
        Ok(())
    }

    /// Tells all subscribers that the service goes, and closes the channels when that was sent.
    pub async fn end_channels(&self) {
        if self.channels.used().0 > 0 {
            let event = Event::service("GOING DOWN");
            let announced = self.index.announce(&event);
            // A database that is silent does not keep the server from its end.
            let announced = tokio::time::timeout(FAREWELL, announced).await;
            if !matches!(announced, Ok(Ok(()))) {
                tracing::warn!("subscribers cannot be told that the service ends");
            }
        }
        self.channels.0.closing.cancel();
        self.channels.wake();
        self.channels.0.running.close();
        let ended = tokio::time::timeout(FAREWELL, self.channels.0.running.wait()).await;
        if ended.is_err() {
            tracing::warn!("event channels were cut off");
        }
    }

    /// Looks for events of other nodes for ever; ends at once where there are none.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn follow_events(self, watch: Watch) -> std::result::Result<(), Failure> {
        if !self.index.is_shared() {
            return Ok(());
        }
        let mut known = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            if self.channels.used().0 == 0 {
                continue;
            }
            match self.index.event_bounds().await {
                Ok((_, newest)) => {
                    watch.well();
                    if newest != known {
                        known = newest;
                        self.channels.wake();
                    }
                }
                Err(error) => watch.failed(&error),
            }
        }
    }

    /// Forgets events that are older than they are kept.
    pub(in crate::archive) async fn sweep_events(&self) -> super::super::Result<()> {
        let Some(before) = ago(self.limits.event_time()) else {
            return Ok(());
        };
        while self.index.forget_events(before, SWEPT).await? >= u64::from(SWEPT) {}
        Ok(())
    }
}

impl EventChannel {
    /// The next messages; none for now when the list is empty.
    ///
    /// # Errors
    /// When there is no memory, or the index fails.
    pub async fn next(&mut self) -> super::super::Result<Messages> {
        self.news.borrow_and_update();
        let held = self.archive.budget.reserve(Purpose::Answers, PAGE_BYTES);
        let mut held = held.await?;
        let index = &self.archive.index;
        let events = index
            .workitem_events(&self.scope, &self.aet, self.sent, PAGE)
            .await?;
        let reported = |event: EventRow| {
            let uid = event.uid.as_deref().unwrap_or(ALL);
            let text = message(event.kind, uid, event.sequence, &event.content);
            (event.sequence, text)
        };
        let texts: Vec<(i64, String)> = events.into_iter().map(reported).collect();
        held.shrink_to(texts.iter().map(|(_, text)| text.len()).sum());
        Ok(Messages { texts, _held: held })
    }

    /// Notes that an event was sent.
    pub fn sent(&mut self, sequence: i64) {
        self.sent = sequence;
    }

    /// Returns when there may be something new.
    pub async fn news(&mut self) {
        // The sender lives as long as the archive, and so as long as this.
        let _ = self.news.changed().await;
    }

    /// Remembers what was sent, for the next channel of the subscriber.
    pub async fn end(self) {
        let (index, partition) = (&self.archive.index, self.scope.partition);
        let noted = index.note_sent(partition, &self.aet, self.sent).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "it cannot be noted what was sent on an event channel");
        }
    }
}
