//! Who did what to which studies: one FHIR `AuditEvent` (R4) for each access, apart from the log.
//!
//! Invariants: every request to a service leaves exactly one event, also one that was refused or whose client went away;
//! only refusals of an address without a token are gathered when there are many. What an event is stands in the row of
//! its route, the UIDs are those that the handler reads, by the same functions, and it is written when the last byte of
//! the answer is sent. An event holds UIDs, never a name, a query or a token.

mod body;
pub(super) mod event;
mod file;
mod gather;
pub(super) mod kind;
pub(super) mod note;
pub(super) mod sink;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use text::{EventFields, MAX_NAME, MAX_STUDIES, detail, entity, request_entity, written};

pub use kind::EventKind;
pub use sink::{AuditEnd, AuditError, AuditLog, Unwritable};

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
