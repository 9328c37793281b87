//! Subscribing to workitems, and the event channels of subscribers (PS3.18 §8.10, §11.10-11.13).
//!
//! A channel is a WebSocket on which one event report is sent in each text message. Invariants: a socket that takes nothing, or
//! does not answer, is dropped; what is sent is held in reserved memory.

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::refusals::refused;
use crate::archive::ArchiveError;
use crate::archive::workitems::channel::EventChannel;
use crate::archive::workitems::subscribe::{Subscriber, SubscriptionTarget};
use crate::auth::Action;
use crate::dicom::workitem::{ALL, FILTERED, ae_title};
use crate::dicom::workitem_filter::LONGEST_FILTER;
use crate::http::error::{HttpError, ProblemType};
use crate::http::extract::{RetrieveRequest, Sender};
use crate::http::represent::header_value;

/// Longest message of a client; it has nothing to say.
const LONGEST: usize = 4096;
/// Pause between two questions to a client whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// Questions that may stay without an answer.
const UNANSWERED: u32 = 3;
/// How often in a row reading of events may fail, and the pause between.
const FAILURES: u32 = 20;
const AGAIN: Duration = Duration::from_secs(1);

/// Subscribes to a workitem, to all, or to all that match a filter.
///
/// # Errors
/// 400 for a bad title or filter, 403 for the title of somebody else, 404 when there is no such workitem.
pub(in crate::http) async fn subscribe(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let (subscriber, target) = (subscriber(&ask)?, target(&ask, FilterUse::Needed)?);
    let deletion_lock = match ask.query.first("deletionlock") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => {
            let reason = "It must be true or false.";
            return Err(HttpError::invalid_query("deletionlock", reason));
        }
    };
    let archive = &ask.api.app.archive;
    let done = archive.subscribe(&scope, &subscriber, &target, deletion_lock);
    done.await.map_err(|error| refused(&ask.api, error))?;
    let url = ask.links.channel(&subscriber.aet);
    let location = [(header::CONTENT_LOCATION, header_value(&url)?)];
    Ok((StatusCode::CREATED, location).into_response())
}

/// Ends a subscription; that to all workitems ends with those to single ones.
///
/// # Errors
/// 404 when there is none.
pub(in crate::http) async fn unsubscribe(ask: RetrieveRequest) -> Result<StatusCode, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let (subscriber, target) = (subscriber(&ask)?, target(&ask, FilterUse::Ignored)?);
    let archive = &ask.api.app.archive;
    let done = archive.unsubscribe(&scope, &subscriber, &target);
    done.await.map_err(|error| refused(&ask.api, error))?;
    Ok(StatusCode::OK)
}

/// Ends a subscription to all workitems for those that will be created.
///
/// # Errors
/// 400 for a single workitem, 404 when there is no such subscription.
pub(in crate::http) async fn suspend_subscription(
    ask: RetrieveRequest,
) -> Result<StatusCode, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let (subscriber, target) = (subscriber(&ask)?, target(&ask, FilterUse::Ignored)?);
    if matches!(target, SubscriptionTarget::One(_)) {
        let reason = format!("Only {ALL} and {FILTERED} can be suspended; unsubscribe instead.");
        return Err(HttpError::bad_request(ProblemType::InvalidRequest, reason));
    }
    let archive = &ask.api.app.archive;
    let done = archive.suspend_subscription(&scope, &subscriber, &target);
    done.await.map_err(|error| refused(&ask.api, error))?;
    Ok(StatusCode::OK)
}

/// Who subscribes, by the path and the token.
fn subscriber(ask: &RetrieveRequest) -> Result<Subscriber, HttpError> {
    let aet = ask.path.aet.as_deref().and_then(ae_title);
    let aet = aet.ok_or_else(|| {
        let reason = "An AE title has 1 to 16 printable ASCII characters and no backslash.";
        HttpError::bad_request(ProblemType::InvalidRequest, reason)
    })?;
    Ok(Subscriber {
        aet: aet.to_owned(),
        owner: ask.access.owner(),
    })
}

/// Whether a filter must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FilterUse {
    Needed,
    Ignored,
}

fn target(ask: &RetrieveRequest, filter: FilterUse) -> Result<SubscriptionTarget, HttpError> {
    let uid = ask.path.workitem()?;
    match uid.as_str() {
        ALL => Ok(SubscriptionTarget::All),
        FILTERED => {
            let pairs = pairs(ask);
            let length: usize = pairs.iter().map(|(a, b)| a.len() + b.len()).sum();
            if filter == FilterUse::Needed && pairs.is_empty() {
                let reason = "It must name attributes and values: filter=PatientID=1234.";
                return Err(HttpError::invalid_query("filter", reason));
            }
            if length > LONGEST_FILTER / 2 {
                let reason = format!("It may have {} bytes at most.", LONGEST_FILTER / 2);
                return Err(HttpError::invalid_query("filter", &reason));
            }
            Ok(SubscriptionTarget::Filtered(pairs, ask.api.profile.dialect))
        }
        uid => Ok(SubscriptionTarget::One(uid.to_owned())),
    }
}

/// The pairs of a filter: `filter=key=value,key=value`, or each as a parameter of its own as in the edition of 2019.
fn pairs(ask: &RetrieveRequest) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in ask.query.searched() {
        if name.eq_ignore_ascii_case("deletionlock") {
            continue;
        }
        if !name.eq_ignore_ascii_case("filter") {
            pairs.push((name, value));
            continue;
        }
        for piece in value.split(',') {
            match (piece.split_once('='), pairs.last_mut()) {
                (Some((key, value)), _) => pairs.push((key.trim().to_owned(), value.to_owned())),
                // A comma within a value.
                (None, Some((_, before))) => {
                    before.push(',');
                    before.push_str(piece);
                }
                (None, None) => pairs.push((piece.to_owned(), String::new())),
            }
        }
    }
    pairs
}

/// Opens the event channel of a subscriber.
///
/// # Errors
/// 400 when it is no WebSocket handshake, 403 for the title of somebody else, 410 when events after `since` are forgotten, 503
/// when there are too many channels.
pub(in crate::http) async fn open_channel(
    ask: RetrieveRequest,
    sender: Sender,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let subscriber = subscriber(&ask)?;
    let upgrade = upgrade.map_err(|_| {
        let reason =
            "An event channel is a WebSocket: ask for an upgrade (RFC 6455), over HTTP/1.1.";
        HttpError::bad_request(ProblemType::InvalidRequest, reason)
    })?;
    let since = ask.query.first("since").map(|text| {
        let number = text
            .trim()
            .parse::<i64>()
            .ok()
            .filter(|number| *number >= 0);
        let reason = "It must be the number of an event, 0 or more.";
        number.ok_or_else(|| HttpError::invalid_query("since", reason))
    });
    let since = since.transpose()?;
    let archive = ask.api.app.archive.clone();
    let channel = archive.open_channel(&scope, &subscriber, since, &sender.subject);
    let channel = channel.await.map_err(|error| refused(&ask.api, error))?;
    let idle = Duration::from_secs(archive.limits().idle_seconds.max(1));
    let closing = archive.channels_close();
    let upgrade = upgrade
        .max_message_size(LONGEST)
        .max_frame_size(LONGEST)
        .read_buffer_size(LONGEST);
    Ok(upgrade.on_upgrade(async move |socket| {
        archive.serve_channel(serve(socket, channel, closing, idle));
    }))
}

/// Sends events until one of both ends goes; `idle` is how long a client may take for a message.
async fn serve(
    mut socket: WebSocket,
    mut channel: EventChannel,
    closing: CancellationToken,
    idle: Duration,
) {
    let mut ping = interval(PING.min(idle));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut failures) = (Instant::now(), 0);
    loop {
        // Looked at before events are read: what was written before the end is sent.
        let last = closing.is_cancelled();
        let messages = match channel.next().await {
            Ok(messages) => messages,
            // Memory and database may be there again in a moment.
            Err(_) if failures < FAILURES && !last => {
                failures += 1;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => {
                unreadable(&error);
                let _ = timeout(idle, socket.send(goodbye(close_code::AGAIN))).await;
                break;
            }
        };
        failures = 0;
        let none = messages.texts.is_empty();
        if !send(&mut socket, &mut channel, messages.texts, idle).await {
            break;
        }
        if !none {
            // Whoever takes messages is there.
            heard = Instant::now();
            continue;
        }
        if last {
            let _ = timeout(idle, socket.send(goodbye(close_code::AWAY))).await;
            break;
        }
        tokio::select! {
            () = channel.news() => {}
            () = closing.cancelled() => {}
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => heard = Instant::now(),
            },
            _ = ping.tick() => {
                let silent = heard.elapsed() > PING.min(idle) * UNANSWERED;
                let asked = Message::Ping(bytes::Bytes::new());
                if silent || !matches!(timeout(idle, socket.send(asked)).await, Ok(Ok(()))) {
                    break;
                }
            }
        }
    }
    channel.end().await;
}

fn unreadable(error: &ArchiveError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(
        error,
        "an event channel is closed: its events cannot be read"
    );
}

/// Sends messages; false when the socket does not take them.
async fn send(
    socket: &mut WebSocket,
    channel: &mut EventChannel,
    texts: Vec<(i64, String)>,
    idle: Duration,
) -> bool {
    for (sequence, text) in texts {
        match timeout(idle, socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => channel.sent(sequence),
            _ => return false,
        }
    }
    true
}

fn goodbye(code: u16) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: "".into(),
    }))
}
