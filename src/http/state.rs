//! What handlers share: the app, and how the root of a request answers.

use std::sync::Arc;

use super::audit::sink::AuditLog;
use super::describe::cache::Descriptions;
use super::links::LinksConfig;
use super::profile::ApiProfile;
use super::response_cache::MetadataResponseCache;
use super::route::Route;
use super::stores_health::Health;
use crate::archive::Archive;

/// Media type of DICOM JSON, bare: a charset parameter breaks clients (spec/clients.md rule 9).
pub(crate) const DICOM_JSON: &str = "application/dicom+json";

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) archive: Archive,
    pub(crate) links: LinksConfig,
    pub(super) answers: MetadataResponseCache,
    pub(super) audit: AuditLog,
    pub(super) health: Health,
    pub(super) descriptions: Descriptions,
    /// Every route of a service, for descriptions.
    pub(super) routes: &'static [Route],
}

/// A root of the API: the app and how this root answers.
#[derive(Debug, Clone)]
pub(crate) struct ApiState {
    pub(crate) app: Arc<App>,
    pub(crate) profile: &'static ApiProfile,
}
