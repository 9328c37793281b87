//! `GET /events`: what happens to studies and workitems, as Server-Sent Events (WHATWG HTML §9.2).
//!
//! Invariants: nothing waits in memory for a client: each stream reads its events when those before were taken; a client that
//! comes back with `Last-Event-ID` misses nothing that is kept.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Extension;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::HttpError;
use super::extract::RetrieveRequest;
use super::webhooks::KINDS;
use super::webhooks::message::cloud_event;
use crate::archive::{Archive, kinds_cover};
use crate::auth::Action;
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;
use crate::shares::{Share, ShareHolder};

/// Events read at a time.
const PAGE: u32 = 64;
/// Memory of a page while it is sent.
const PAGE_BYTES: usize = PAGE as usize * 2048;
/// A line for clients and proxies that take silence for an end.
const BEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts; then its client comes back, with a token that is looked at again.
const LONGEST: Duration = Duration::from_secs(600);
/// The header in which a client says what it has.
const LAST_EVENT_ID: &str = "last-event-id";

/// A stream of events.
struct EventStream {
    archive: Archive,
    scope: Scope,
    partition: String,
    base: Option<String>,
    kinds: Vec<String>,
    after: i64,
    news: watch::Receiver<i64>,
    closing: CancellationToken,
    ends: Instant,
    ready: VecDeque<Bytes>,
    held: Option<Reservation>,
    _share: Share,
}

/// Follows events from now on, or from behind `Last-Event-ID`.
///
/// # Errors
/// 400 for a kind or number that is none, 503 when there are too many streams.
pub(super) async fn follow_events(
    ask: RetrieveRequest,
    Extension(subject): Extension<ShareHolder>,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let archive = ask.api.app.archive.clone();
    let kinds = kinds(&ask)?;
    let (share, closing) = archive.open_stream(&subject)?;
    let news = archive.event_news();
    let (oldest, newest) = archive.logged_bounds().await?;
    let last = ask.headers.get(LAST_EVENT_ID);
    let last = last
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let last = last.or_else(|| ask.query.first("lastEventId").map(str::to_owned));
    let last = last.map(|text| {
        let number = text.trim().parse::<i64>().ok();
        number
            .filter(|number| (0..=newest).contains(number))
            .ok_or_else(|| {
                HttpError::invalid_query(
                    "lastEventId",
                    "It must be the id of an event of this server.",
                )
            })
    });
    let after = last.transpose()?;
    // Tells at once that the stream is there, and what was missed for ever.
    let mut first = String::from("retry: 2000\n\n");
    if after.is_some_and(|after| after.saturating_add(1) < oldest) {
        first.push_str(&format!(
            "event: stowage.gap\ndata: {{\"oldest\":{oldest}}}\n\n"
        ));
    }
    let stream = EventStream {
        partition: archive.partition_label(scope.partition).await?,
        base: ask.api.app.links.service_base(),
        scope,
        kinds,
        after: after.unwrap_or(newest),
        news,
        closing,
        ends: Instant::now() + LONGEST,
        ready: VecDeque::from([Bytes::from(first)]),
        held: None,
        archive,
        _share: share,
    };
    let body = Body::from_stream(stream::unfold(stream, EventStream::next));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would gather what is to be sent at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Kinds of events that are asked for; all when none are.
fn kinds(ask: &RetrieveRequest) -> Result<Vec<String>, HttpError> {
    let Some(asked) = ask.query.first("types") else {
        return Ok(vec!["study.*".to_owned(), "workitem.*".to_owned()]);
    };
    let kinds: Vec<String> = asked
        .split(',')
        .map(|kind| kind.trim().to_owned())
        .collect();
    let known = |kind: &String| {
        let one = std::slice::from_ref(kind);
        let mut offered = KINDS.iter().filter(|known| !known.starts_with("instance"));
        offered.any(|known| kinds_cover(one, known))
    };
    if kinds.iter().all(known) {
        return Ok(kinds);
    }
    let reason = "It must be kinds of events such as study.arrived or study.*, separated by commas; what happens to \
         single instances is in the change feed.";
    Err(HttpError::invalid_query("types", reason))
}

impl EventStream {
    /// The next piece of the body; none at its end.
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Self)> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some((Ok(piece), self));
            }
            self.held = None;
            if self.closing.is_cancelled() || Instant::now() >= self.ends {
                return None;
            }
            self.news.borrow_and_update();
            match self.read().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Some((Err(std::io::Error::other(error)), self)),
            }
            let beat = (Instant::now() + BEAT).min(self.ends);
            let closing = self.closing.clone();
            let waited = tokio::select! {
                waited = timeout_at(beat, self.news.changed()) => waited.is_ok(),
                () = closing.cancelled() => true,
            };
            if !waited && Instant::now() < self.ends {
                self.ready.push_back(Bytes::from_static(b":\n\n"));
            }
        }
    }

    /// Reads the next events; whether there were any, of whatever kind.
    async fn read(&mut self) -> crate::archive::Result<bool> {
        let held = self.archive.budget().reserve(Purpose::Answers, PAGE_BYTES);
        let events = self.archive.logged_events(&self.scope, self.after, PAGE);
        let (held, events) = (held.await?, events.await?);
        let Some(last) = events.last() else {
            return Ok(false);
        };
        self.after = last.sequence;
        for event in events
            .iter()
            .filter(|event| kinds_cover(&self.kinds, &event.kind))
        {
            let data = cloud_event(event, &self.partition, self.base.as_deref());
            let text = format!(
                "id: {}\nevent: {}\ndata: {data}\n\n",
                event.sequence, event.kind
            );
            self.ready.push_back(Bytes::from(text));
        }
        self.held = Some(held);
        Ok(true)
    }
}
