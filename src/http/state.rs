//! What handlers share: the app, and how the root of a request answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::audit::sink::AuditLog;
use super::describe::cache::Descriptions;
use super::links::LinksConfig;
use super::profile::ApiProfile;
use super::response_cache::MetadataResponseCache;
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
}

/// A root of the API: the app and how this root answers.
#[derive(Debug, Clone)]
pub(crate) struct ApiState {
    pub(crate) app: Arc<App>,
    pub(crate) profile: &'static ApiProfile,
}

/// How long an answer is good for others: everybody may ask, and a question to an object store costs money.
const FRESH: Duration = Duration::from_secs(1);

/// What the stores said last; whoever asks meanwhile waits for the same answer.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<(Instant, Result<(), String>)>>);

impl Health {
    pub(super) async fn of(&self, app: &App) -> Result<(), String> {
        let mut last = self.0.lock().await;
        if let Some((at, said)) = &*last
            && at.elapsed() < FRESH
        {
            return said.clone();
        }
        let said = app.archive.check().await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "not healthy");
            error.to_string()
        });
        *last = Some((Instant::now(), said.clone()));
        said
    }
}
