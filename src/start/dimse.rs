//! The DIMSE gateway: opened as configured, its accesses told to the audit trail of HTTP.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::address::write_address;
use super::error::StartError;
use crate::archive::Archive;
use crate::config::Config;
use crate::dimse::audit::{Deed, DimseAccess, DimseOutcome, Trail};
use crate::dimse::{self, CurrentTls, Listening};
use crate::http::audit::{AuditLog, EventKind, ForeignAccess};
use crate::http::tls::Tls;

/// Opens the gateway, if it is configured.
///
/// # Errors
/// With the setting to change.
pub(super) async fn open(
    config: &Config,
    archive: &Archive,
    audit: &AuditLog,
    tls: Option<Arc<Tls>>,
) -> Result<Option<Listening>, StartError> {
    let trail: Arc<dyn Trail> = Arc::new(Events(audit.clone()));
    let time_limit = Duration::from_secs(config.http.shutdown_seconds);
    let opened = dimse::listen(&config.dimse, archive, trail, tls.map(current), time_limit).await;
    let opened = opened.map_err(|error| StartError::Config(error.to_string()))?;
    let first = opened.as_ref().and_then(|opened| opened.addresses().next());
    if let (Some((address, _)), Some(file)) = (first, &config.dimse.dimse_address_file) {
        write_address(file, address)?;
    }
    Ok(opened)
}

/// The certificate of HTTP, without its protocols inside of TLS.
fn current(tls: Arc<Tls>) -> CurrentTls {
    Arc::new(move || {
        let mut config = (*tls.current()).clone();
        config.alpn_protocols.clear();
        Arc::new(config)
    })
}

/// The audit trail as the gateway sees it.
#[derive(Debug)]
struct Events(AuditLog);

impl Trail for Events {
    fn is_blocked(&self) -> bool {
        self.0.is_blocked()
    }

    fn write(&self, access: DimseAccess) -> BoxFuture<'static, ()> {
        let log = self.0.clone();
        async move {
            if log.is_on() {
                log.write_foreign(foreign(access)).await;
            }
        }
        .boxed()
    }
}

fn foreign(access: DimseAccess) -> ForeignAccess {
    let (kind, action) = match access.deed {
        Deed::Stored => (EventKind::Transferred, "C"),
        Deed::Retrieved => (EventKind::Transferred, "R"),
        Deed::Searched => (EventKind::Query, "E"),
        Deed::Refused => (EventKind::Login, "E"),
    };
    let mut details = vec![("service", access.service.to_owned())];
    details.extend(access.destination.map(|title| ("destination", title)));
    ForeignAccess {
        kind,
        action,
        outcome: match access.outcome {
            DimseOutcome::Done => ("0", "done"),
            DimseOutcome::Partly => ("4", "done in part or with warnings"),
            DimseOutcome::Refused => ("4", "refused"),
            DimseOutcome::NotAllowed => ("8", "not allowed"),
            DimseOutcome::Failed => ("12", "failed"),
        },
        subject: access.peer,
        system: "AE title",
        source: access.address,
        details,
        studies: access.studies,
    }
}
