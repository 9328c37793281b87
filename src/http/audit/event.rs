//! The event of one request, from its begin to the last byte of its answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, MatchedPath};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::kind::{EventKind, action};
use super::note::{Note, TouchedStudies, Uids};
use super::sink::{AuditLog, QueuedEvent, Unwritable};
use super::text::{EventFields, MAX_NAME, MAX_STUDIES, detail, entity, request_entity, written};
use crate::auth::Caller;
use crate::dicom::uid::check_uid;
use crate::http::extract::{QueryPairs, TargetPath};
use crate::http::layers::RequestId;
use crate::http::links::{LinksConfig, client_address};
use crate::http::place::{self, SEGMENT};
use crate::http::route::Route;
use crate::http::{routes, wado_uri};
use crate::scope::PartitionName;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseEnd {
    /// Its last byte was sent.
    Whole,
    /// Its client went away before.
    Gone,
    /// The server could not go on.
    Failed,
}

/// An event in the making; written when it is finished or dropped.
#[derive(Debug)]
pub(in crate::http) struct AuditEvent {
    place: Option<QueuedEvent>,
    pub(super) method: Method,
    route: Option<MatchedPath>,
    kind: EventKind,
    note: Note,
    request_id: Option<RequestId>,
    source: Option<IpAddr>,
    subject: Option<String>,
    issuer: Option<String>,
    /// The partition that the path names.
    partition: Option<PartitionName>,
    pub(super) status: Option<StatusCode>,
    pub(super) touched: TouchedStudies,
}

impl AuditEvent {
    /// Begins the event of a request; none when nothing is to be written.
    ///
    /// # Errors
    /// [`Unwritable`] when events are required and cannot be written.
    pub(in crate::http) async fn begin(
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
        let by_uri = row.is_some_and(Route::is_by_uri);
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
    pub(in crate::http) fn admitted(&mut self, caller: &Caller) {
        self.subject.clone_from(&caller.subject);
        self.issuer.clone_from(&caller.issuer);
    }

    /// Lets the event go when refusals of its address are told together.
    pub(in crate::http) fn refused(mut self, log: &AuditLog) -> Option<Self> {
        if !log.gathers(self.source) {
            return Some(self);
        }
        self.place = None;
        None
    }

    pub(super) fn write(mut self, end: ResponseEnd, sent: u64) {
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
