//! The text of an audit event: a FHIR `AuditEvent` on one line.

use std::net::IpAddr;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::gather::RefusalSummary;
use super::kind::EventKind;

/// Longest name of a caller that is written.
pub(super) const MAX_NAME: usize = 256;
/// Most studies of one event.
pub(super) const MAX_STUDIES: usize = 1000;

/// What stands in an event.
pub(super) struct EventFields<'a> {
    pub(super) kind: EventKind,
    pub(super) action: &'a str,
    pub(super) outcome: (&'a str, &'a str),
    pub(super) who: Value,
    pub(super) source: Option<IpAddr>,
    pub(super) entities: Vec<Value>,
}

pub(super) fn written(event: &EventFields<'_>) -> String {
    let now = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default();
    let mut agent = json!({ "who": { "identifier": event.who }, "requestor": true });
    if let (Some(agent), Some(source)) = (agent.as_object_mut(), event.source) {
        agent.insert(
            "network".to_owned(),
            json!({ "address": source.to_string(), "type": "2" }),
        );
    }
    let mut text = json!({
        "resourceType": "AuditEvent",
        "type": event.kind.coding(),
        "action": event.action,
        "recorded": now,
        "outcome": event.outcome.0,
        "outcomeDesc": event.outcome.1,
        "agent": [agent],
        "source": { "observer": { "display": "stowage" }, "type": [{ "system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4" }] },
        "entity": event.entities,
    });
    if let (Some(text), Some(subtype)) = (text.as_object_mut(), event.kind.subtype()) {
        text.insert("subtype".to_owned(), subtype);
    }
    let mut line = text.to_string();
    line.push('\n');
    line
}

/// The event of refusals that were gathered.
pub(super) fn gathered_line(gathered: &RefusalSummary) -> String {
    let since = gathered.since.format(&Rfc3339).unwrap_or_default();
    let details = [
        detail("refusals", &gathered.count.to_string()),
        detail("since", &since),
        detail("status", "401"),
    ];
    written(&EventFields {
        kind: EventKind::Login,
        action: "E",
        outcome: ("8", "not authenticated; refusals of one address, counted"),
        who: json!({ "value": "anonymous" }),
        source: gathered.source,
        entities: vec![request_entity(&details)],
    })
}

pub(super) fn request_entity(details: &[Value]) -> Value {
    json!({ "type": { "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "2", "display": "System Object" }, "detail": details })
}

pub(super) fn entity(level: &str, uid: &str, details: &[Value]) -> Value {
    let mut entity = json!({
        "what": { "identifier": { "system": "urn:dicom:uid", "value": format!("urn:oid:{uid}") } },
        "name": level,
    });
    if let (Some(entity), false) = (entity.as_object_mut(), details.is_empty()) {
        entity.insert("detail".to_owned(), details.into());
    }
    entity
}

pub(super) fn detail(name: &str, value: &str) -> Value {
    json!({ "type": name, "valueString": value })
}
