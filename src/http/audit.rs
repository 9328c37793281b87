//! Who did what to which studies: one FHIR `AuditEvent` (R4) for each access, apart from the log.
//!
//! Invariants: every request to a service leaves exactly one event, also one that was refused or whose client went away;
//! an event holds UIDs, never a name, a query or a token.

mod sink;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::layers::RequestId;
use super::links::{LinksConfig, client_address};
use crate::auth::Caller;
use crate::dicom::uid::check_uid;

pub use sink::{AuditError, AuditLog};

/// Longest name of a caller that is written.
const MAX_NAME: usize = 256;
/// Most studies of one event.
const MAX_STUDIES: usize = 1000;

/// The studies a store touched, with the number of instances of each; handlers leave it in their answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched(pub(super) BTreeMap<String, u64>);

/// An event in the making; written when it is finished or dropped.
#[derive(Debug)]
pub(super) struct Event {
    log: AuditLog,
    method: Method,
    route: Option<MatchedPath>,
    target: [Option<String>; 3],
    request_id: Option<RequestId>,
    source: Option<IpAddr>,
    subject: Option<String>,
    issuer: Option<String>,
    written: bool,
}

impl Event {
    /// Begins the event of a request; none when nothing is to be written.
    pub(super) fn begin(log: &AuditLog, links: &LinksConfig, request: &Request) -> Option<Self> {
        if !log.is_on() {
            return None;
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Some(Self {
            log: log.clone(),
            method: request.method().clone(),
            route: request.extensions().get().cloned(),
            target: target(request.uri()),
            request_id: request.extensions().get().cloned(),
            source: peer.map(|peer| client_address(links, request.headers(), peer.0.ip())),
            subject: None,
            issuer: None,
            written: false,
        })
    }

    /// Notes who it was.
    pub(super) fn admitted(&mut self, caller: &Caller) {
        self.subject.clone_from(&caller.subject);
        self.issuer.clone_from(&caller.issuer);
    }

    /// The finished event as a line, to be written by whoever calls.
    pub(super) fn finish(mut self, response: &Response) -> String {
        self.written = true;
        let touched = response.extensions().get::<Touched>();
        self.line(Some(response.status()), touched)
    }

    fn line(&self, status: Option<StatusCode>, touched: Option<&Touched>) -> String {
        let route = self.route.as_ref().map_or("-", MatchedPath::as_str);
        let (code, display) = kind(&self.method, route);
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        let (outcome, description) = outcome(status);
        let mut details = vec![
            detail("route", route),
            detail("method", self.method.as_str()),
            detail("status", status.as_ref().map_or("-", StatusCode::as_str)),
        ];
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
        let mut agent = json!({ "who": { "identifier": who }, "requestor": true });
        if let (Some(agent), Some(source)) = (agent.as_object_mut(), self.source) {
            agent.insert(
                "network".to_owned(),
                json!({ "address": source.to_string(), "type": "2" }),
            );
        }
        let event = json!({
            "resourceType": "AuditEvent",
            "type": { "system": "http://dicom.nema.org/resources/ontology/DCM", "code": code, "display": display },
            "action": action(&self.method),
            "recorded": now,
            "outcome": outcome,
            "outcomeDesc": description,
            "agent": [agent],
            "source": { "observer": { "display": "stowage" }, "type": [{ "system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4" }] },
            "entity": self.entities(touched, &details),
        });
        let mut line = event.to_string();
        line.push('\n');
        line
    }

    /// The request itself, then the object it names or the studies it stored into.
    fn entities(&self, touched: Option<&Touched>, details: &[Value]) -> Vec<Value> {
        let request = json!({ "type": { "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "2", "display": "System Object" }, "detail": details });
        let mut entities = vec![request];
        if let Some(Touched(studies)) = touched.filter(|touched| !touched.0.is_empty()) {
            for (study, instances) in studies.iter().take(MAX_STUDIES) {
                let count = detail("instances", &instances.to_string());
                entities.push(entity("study", study, &[count]));
            }
            return entities;
        }
        for (level, uid) in ["study", "series", "instance"]
            .into_iter()
            .zip(&self.target)
        {
            if let Some(uid) = uid {
                entities.push(entity(level, uid, &[]));
            }
        }
        entities
    }
}

impl Drop for Event {
    /// The client went away before there was an answer: what it asked for may have happened.
    fn drop(&mut self) {
        if !self.written {
            self.log.write_now(self.line(None, None));
        }
    }
}

fn entity(level: &str, uid: &str, details: &[Value]) -> Value {
    let mut entity = json!({
        "what": { "identifier": { "system": "urn:dicom:uid", "value": format!("urn:oid:{uid}") } },
        "name": level,
    });
    if let (Some(entity), false) = (entity.as_object_mut(), details.is_empty()) {
        entity.insert("detail".to_owned(), details.into());
    }
    entity
}

fn detail(name: &str, value: &str) -> Value {
    json!({ "type": name, "valueString": value })
}

/// The event of DICOM's audit messages (PS3.16 CID 400) that a route is.
fn kind(method: &Method, route: &str) -> (&'static str, &'static str) {
    let last = route.rsplit('/').next().unwrap_or_default();
    if method == Method::DELETE {
        return ("110105", "DICOM Study Deleted");
    }
    if method != Method::GET && method != Method::HEAD {
        return ("110104", "DICOM Instances Transferred");
    }
    match last {
        "studies" | "series" | "instances" | "changefeed" | "latest" => ("110112", "Query"),
        "metadata" => ("110103", "DICOM Instances Accessed"),
        _ => ("110104", "DICOM Instances Transferred"),
    }
}

fn action(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "C",
        "PUT" | "PATCH" => "U",
        "DELETE" => "D",
        _ => "R",
    }
}

/// FHIR's outcome code, and what it means in words.
fn outcome(status: Option<StatusCode>) -> (&'static str, &'static str) {
    match status.map(|status| status.as_u16()) {
        None => ("12", "the client went away before the answer"),
        Some(401) => ("8", "not authenticated"),
        Some(403) => ("8", "not allowed"),
        Some(status) if status >= 500 => ("12", "failed"),
        Some(status) if status >= 400 => ("4", "refused"),
        Some(202) => ("4", "done in part or with warnings"),
        Some(_) => ("0", "done"),
    }
}

/// Study, series and instance that a path or a WADO-URI query names, as far as they are UIDs.
fn target(uri: &Uri) -> [Option<String>; 3] {
    let uid = |text: &str| check_uid(text).ok().map(str::to_owned);
    let mut target = [None, None, None];
    let mut segments = uri.path().split('/').peekable();
    while let Some(segment) = segments.next() {
        let at = ["studies", "series", "instances"]
            .iter()
            .position(|word| *word == segment);
        if let (Some(place), Some(next)) = (at.and_then(|at| target.get_mut(at)), segments.peek()) {
            *place = uid(next);
        }
    }
    for pair in uri.query().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let names = ["studyUID", "seriesUID", "objectUID"];
        let at = names
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name));
        if let Some(place) = at
            .and_then(|at| target.get_mut(at))
            .filter(|place| place.is_none())
        {
            *place = uid(value);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uids_are_taken_out_of_paths_and_queries() {
        let told = |uri: &str| {
            let target = target(&uri.parse().unwrap());
            target
                .map(|uid| uid.unwrap_or_else(|| "-".to_owned()))
                .join(" ")
        };
        assert_eq!(
            told("/studies/1.2/series/1.3/instances/1.4/frames/1"),
            "1.2 1.3 1.4"
        );
        assert_eq!(told("/studies/DOE%5EJOHN/metadata"), "- - -");
        assert_eq!(told("/studies?PatientName=DOE&StudyDate=1"), "- - -");
        assert_eq!(
            told("/wado?requestType=WADO&studyUID=1.2&objectUID=1.4"),
            "1.2 - 1.4"
        );
        assert_eq!(told("/wado?studyUID=DOE"), "- - -");
    }

    #[test]
    fn routes_have_the_event_of_the_dicom_audit_message() {
        for (method, route, code) in [
            (Method::GET, "/studies", "110112"),
            (Method::GET, "/studies/{study}/series", "110112"),
            (Method::GET, "/studies/{study}", "110104"),
            (Method::GET, "/studies/{study}/metadata", "110103"),
            (Method::POST, "/studies", "110104"),
            (Method::DELETE, "/studies/{study}", "110105"),
            (Method::GET, "/changefeed", "110112"),
        ] {
            assert_eq!(kind(&method, route).0, code, "{method} {route}");
        }
    }
}
