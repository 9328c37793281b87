//! Which event of DICOM's audit messages a route is (PS3.15 §A.5.3, PS3.16 CID 400); it stands in the route's row.

use axum::http::Method;
use serde_json::{Value, json};

/// Code system of DICOM's own codes.
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
/// Code system of FHIR for what DICOM has no event for.
const FHIR: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";

/// The event that a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Instances, or pictures of them, are received or sent (110104).
    Transferred,
    /// Attributes of instances are read (110103).
    Accessed,
    /// Instances are deleted (110105).
    Deleted,
    /// Deleted instances are brought back (110107).
    Restored,
    /// A workitem is created, read or changed (110111).
    Procedure,
    /// It is asked what there is, or what changed (110112).
    Query,
    /// The archive itself is configured, by query tags (110113, software configuration).
    Configuration,
    /// Instances are exported, or a link to a study is made for somebody else (110106).
    Shared,
    /// Somebody failed to say who it is (110114).
    Login,
    /// Nothing about patients is told: capabilities, query tags, operations, and what is no route at all.
    Other,
}

impl EventKind {
    /// `type` of the event, a FHIR `Coding`.
    pub(super) fn coding(self) -> Value {
        let (system, code, display) = match self {
            Self::Transferred => (DCM, "110104", "DICOM Instances Transferred"),
            Self::Accessed => (DCM, "110103", "DICOM Instances Accessed"),
            Self::Deleted => (DCM, "110105", "DICOM Study Deleted"),
            Self::Restored => (DCM, "110107", "Import"),
            Self::Procedure => (DCM, "110111", "Procedure Record"),
            Self::Query => (DCM, "110112", "Query"),
            Self::Configuration => (DCM, "110113", "Security Alert"),
            Self::Shared => (DCM, "110106", "Export"),
            Self::Login => (DCM, "110114", "User Authentication"),
            Self::Other => (FHIR, "rest", "RESTful Operation"),
        };
        json!({ "system": system, "code": code, "display": display })
    }

    /// `subtype` of the event, where its type alone says too little.
    pub(super) fn subtype(self) -> Option<Value> {
        let (code, display) = match self {
            Self::Configuration => ("110131", "Software Configuration"),
            Self::Login => ("110122", "Login"),
            _ => return None,
        };
        Some(json!([{ "system": DCM, "code": code, "display": display }]))
    }
}

/// FHIR's code of what a method does.
pub(super) fn action(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "C",
        "PUT" | "PATCH" => "U",
        "DELETE" => "D",
        _ => "R",
    }
}
