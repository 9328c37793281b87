//! Who did what to which studies: one FHIR `AuditEvent` (R4) for each access, apart from the log.
//!
//! Invariants: every request to a service leaves exactly one event, also one that was refused or whose client went away;
//! only refusals of an address without a token are gathered when there are many. What an event is stands in the row of
//! its route, the UIDs are those that the handler reads, by the same functions, and it is written when the last byte of
//! the answer is sent. An event holds UIDs, never a name, a query or a token.

mod body;
mod file;
mod gather;
mod kind;
pub(super) mod note;
pub(super) mod sink;
mod text;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, MatchedPath};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::extract::{QueryPairs, TargetPath};
use super::layers::RequestId;
use super::links::{LinksConfig, client_address};
use super::place::{self, SEGMENT};
use super::{routes, wado_uri};
use crate::auth::Caller;
use crate::dicom::uid::check_uid;
use crate::scope::PartitionName;
use body::Audited;
use kind::action;
use note::{Note, TouchedStudies, Uids};
use sink::QueuedEvent;
use text::{EventFields, detail, entity, request_entity, written};

pub use kind::EventKind;
pub use sink::{AuditEnd, AuditError, AuditLog, Unwritable};

/// Longest name of a caller that is written.
const MAX_NAME: usize = 256;
/// Most studies of one event.
const MAX_STUDIES: usize = 1000;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseEnd {
    /// Its last byte was sent.
    Whole,
    /// Its client went away before.
    Gone,
    /// The server could not go on.
    Failed,
}

/// An event in the making; written when it is finished or dropped.
#[derive(Debug)]
pub(super) struct AuditEvent {
    place: Option<QueuedEvent>,
    method: Method,
    route: Option<MatchedPath>,
    kind: EventKind,
    note: Note,
    request_id: Option<RequestId>,
    source: Option<IpAddr>,
    subject: Option<String>,
    issuer: Option<String>,
    /// The partition that the path names.
    partition: Option<PartitionName>,
    status: Option<StatusCode>,
    touched: TouchedStudies,
}

impl AuditEvent {
    /// Begins the event of a request; none when nothing is to be written.
    ///
    /// # Errors
    /// [`Unwritable`] when events are required and cannot be written.
    pub(super) async fn begin(
        log: &AuditLog,
        links: &LinksConfig,
        parts: &mut Parts,
    ) -> Result<Option<Self>, Unwritable> {
        let Some(place) = log.place().await? else {
            return Ok(None);
        };
        let route = parts.extensions.get::<MatchedPath>().cloned();
        let row = route
            .as_ref()
            .and_then(|route| routes::find(&parts.method, route.as_str()));
        let kind = row.map_or(EventKind::Other, |row| row.event);
        let note = Note::default();
        let by_uri = row.is_some_and(routes::Route::is_by_uri);
        note.noted().uids = named(parts, by_uri).await;
        let partition = match route.as_ref().map(MatchedPath::as_str) {
            Some(route) if route.contains(SEGMENT) => place::named(parts).await.ok(),
            _ => None,
        };
        parts.extensions.insert(note.clone());
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Some(Self {
            place: Some(place),
            method: parts.method.clone(),
            source: peer.map(|peer| client_address(links, &parts.headers, peer.0.ip())),
            request_id: parts.extensions.get().cloned(),
            route,
            kind,
            note,
            subject: None,
            issuer: None,
            partition,
            status: None,
            touched: TouchedStudies::default(),
        }))
    }

    /// Notes who it was.
    pub(super) fn admitted(&mut self, caller: &Caller) {
        self.subject.clone_from(&caller.subject);
        self.issuer.clone_from(&caller.issuer);
    }

    /// Lets the event go when refusals of its address are told together.
    pub(super) fn refused(mut self, log: &AuditLog) -> Option<Self> {
        if !log.gathers(self.source) {
            return Some(self);
        }
        self.place = None;
        None
    }

    /// Finishes the event with its answer: at once when there is nothing more to send, else with its last byte.
    pub(super) fn follow(mut self, mut response: Response) -> Response {
        self.status = Some(response.status());
        if let Some(touched) = response.extensions_mut().remove() {
            self.touched = touched;
        }
        let short = response.status().as_u16() >= 400
            || self.method == Method::HEAD
            || response.body().is_end_stream();
        if short {
            self.write(ResponseEnd::Whole, 0);
            return response;
        }
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        response.map(|body| Body::new(Audited::new(body, self, length)))
    }

    fn write(mut self, end: ResponseEnd, sent: u64) {
        if let Some(place) = self.place.take() {
            place.write(self.line(end, sent));
        }
    }

    fn line(&self, end: ResponseEnd, sent: u64) -> String {
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let route = route.filter(|route| !route.contains("__private"));
        let status = self.status.as_ref();
        let mut details = vec![
            detail("route", route.unwrap_or("-")),
            detail("method", self.method.as_str()),
            detail("status", status.map_or("-", StatusCode::as_str)),
        ];
        if let Some(partition) = &self.partition {
            details.push(detail("partition", partition.as_str()));
        }
        if sent > 0 {
            details.push(detail("bytes", &sent.to_string()));
        }
        if let Some(id) = &self.request_id {
            details.push(detail("request-id", id.as_str()));
        }
        let cut = |text: &Option<String>| {
            text.as_ref()
                .map(|text| text.chars().take(MAX_NAME).collect::<String>())
        };
        let mut who =
            json!({ "value": cut(&self.subject).unwrap_or_else(|| "anonymous".to_owned()) });
        if let (Some(who), Some(issuer)) = (who.as_object_mut(), cut(&self.issuer)) {
            who.insert("system".to_owned(), issuer.into());
        }
        let noted = self.note.noted();
        if let Some(options) = noted.deidentified {
            details.push(detail("deidentified", &options.to_string()));
        }
        written(&EventFields {
            kind: noted.kind.unwrap_or(self.kind),
            action: action(&self.method),
            outcome: outcome(self.status, end),
            who,
            source: self.source,
            entities: self.entities(&noted.uids, &details),
        })
    }

    /// The request itself, then the object it names or the studies it stored into.
    fn entities(&self, uids: &Uids, details: &[Value]) -> Vec<Value> {
        let mut entities = vec![request_entity(details)];
        let TouchedStudies(studies) = &self.touched;
        if !studies.is_empty() {
            for (study, instances) in studies.iter().take(MAX_STUDIES) {
                let count = detail("instances", &instances.to_string());
                entities.push(entity("study", study, &[count]));
            }
            return entities;
        }
        for (level, uid) in ["study", "series", "instance"].into_iter().zip(uids) {
            if let Some(uid) = uid {
                entities.push(entity(level, uid, &[]));
            }
        }
        entities
    }
}

/// An access that came another way than by HTTP.
#[derive(Debug)]
pub struct ForeignAccess {
    /// What it was.
    pub kind: EventKind,
    /// FHIR's code of what was done: C, R, U, D or E.
    pub action: &'static str,
    /// FHIR's outcome code, and what it means in words.
    pub outcome: (&'static str, &'static str),
    /// Who it was.
    pub subject: String,
    /// What kind of name that is.
    pub system: &'static str,
    /// Where it came from.
    pub source: IpAddr,
    /// How it came, and what else there is to tell.
    pub details: Vec<(&'static str, String)>,
    /// Studies with the number of their instances.
    pub studies: BTreeMap<String, u64>,
}

impl AuditLog {
    /// Whether events are required and cannot be written now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.is_required() && self.is_failing()
    }

    /// Writes the event of an access that came another way; one that cannot be written is counted as lost.
    pub async fn write_foreign(&self, access: ForeignAccess) {
        let Ok(Some(place)) = self.place().await else {
            return;
        };
        let details = access.details.iter();
        let details: Vec<Value> = details.map(|(name, value)| detail(name, value)).collect();
        let subject: String = access.subject.chars().take(MAX_NAME).collect();
        let mut entities = vec![request_entity(&details)];
        for (study, instances) in access.studies.iter().take(MAX_STUDIES) {
            let count = detail("instances", &instances.to_string());
            entities.push(entity("study", study, &[count]));
        }
        place.write(written(&EventFields {
            kind: access.kind,
            action: access.action,
            outcome: access.outcome,
            who: json!({ "value": subject, "system": access.system }),
            source: Some(access.source),
            entities,
        }));
    }
}

impl Drop for AuditEvent {
    /// The client went away before there was an answer: what it asked for may have happened.
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.write(self.line(ResponseEnd::Gone, 0));
        }
    }
}

/// Study, series and instance that a request names, read as its handler reads them.
async fn named(parts: &mut Parts, by_uri: bool) -> Uids {
    let uid = |text: Option<&str>| Some(check_uid(text?).ok()?.to_owned());
    if by_uri {
        let query = QueryPairs::of_uri(&parts.uri).unwrap_or_default();
        return wado_uri::named(&query).map(uid);
    }
    let path = TargetPath::of_parts(parts).await.unwrap_or_default();
    path.named().map(uid)
}

/// FHIR's outcome code, and what it means in words.
fn outcome(status: Option<StatusCode>, end: ResponseEnd) -> (&'static str, &'static str) {
    match (status.map(|status| status.as_u16()), end) {
        (None, _) => ("12", "the client went away before the answer"),
        (Some(401), _) => ("8", "not authenticated"),
        (Some(403 | 421), _) => ("8", "not allowed"),
        (Some(status), _) if status >= 500 => ("12", "failed"),
        (Some(status), _) if status >= 400 => ("4", "refused"),
        (Some(_), ResponseEnd::Gone) => ("12", "the client went away before the end of the answer"),
        (Some(_), ResponseEnd::Failed) => ("12", "the answer broke off before its end"),
        (Some(202), ResponseEnd::Whole) => ("4", "done in part or with warnings"),
        (Some(_), ResponseEnd::Whole) => ("0", "done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_broke_off_is_no_success() {
        let reported = |status: u16, end| outcome(StatusCode::from_u16(status).ok(), end).0;
        assert_eq!(reported(200, ResponseEnd::Whole), "0");
        assert_eq!(reported(200, ResponseEnd::Gone), "12");
        assert_eq!(reported(206, ResponseEnd::Failed), "12");
        assert_eq!(reported(202, ResponseEnd::Whole), "4");
        assert_eq!(reported(403, ResponseEnd::Whole), "8");
        assert_eq!(outcome(None, ResponseEnd::Gone).0, "12");
    }
}
