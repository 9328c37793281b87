//! The whole service, opened as configured: all but the listener, so that a test has in its process what the binary has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;

use super::error::{StartError, chain};
use super::rules::RulesFile;
use super::stores::{StoreNeeds, open};
use super::web::{browsers, links_config, open_tls};
use super::{dimse, forward, keys, retention, webhooks};
use crate::archive::Archive;
use crate::archive::services::export_settings::ExportSettings;
use crate::archive::workitems::arrivals::ArrivalRule;
use crate::auth::{AuthConfig, Authenticator};
use crate::blob::Destinations;
use crate::config::{AuthMode, Config};
use crate::dimse::Listening;
use crate::http;
use crate::http::audit::{AuditEnd, AuditLog};
use crate::http::links::Network;
use crate::http::serve::{ConnectionContext, Connections, ServeTimeouts, Stopped, TransferPace};
use crate::http::tls::Tls;
use crate::http::ui::UiSettings;
use crate::tasks::Need;

/// How long a stop waits for the last commits.
const LAST_COMMITS: Duration = Duration::from_secs(10);

/// A service that answers requests, and its tasks beside them.
pub struct RunningService {
    address: SocketAddr,
    archive: Archive,
    connections: Connections,
    gateway: Option<Listening>,
    audit_end: AuditEnd,
}

impl RunningService {
    /// Opens the stores, then what answers on the address that `listen` brings, with whatever else that brings.
    ///
    /// # Errors
    /// When it cannot start, with one line that says what to change.
    pub async fn open<L>(
        config: &Config,
        listen: impl Future<Output = Result<(SocketAddr, L), StartError>>,
    ) -> Result<(Self, L), StartError> {
        let mode = config.auth_mode().map_err(StartError::Config)?;
        if mode == AuthMode::Off && !config.listen.ip().is_loopback() {
            tracing::warn!(listen = %config.listen, "access control is off on a public address: everybody may read, store and delete");
        }
        if let Some(folder) = &config.ui.viewer_dir
            && !folder.join("index.html").is_file()
        {
            let folder = folder.display();
            return Err(StartError::Config(format!(
                "STOWAGE_VIEWER_DIR: the folder {folder} holds no index.html"
            )));
        }
        let rules = arrival_rules(config)?;
        let retention = retention::rules(config)?;
        let tls = open_tls(config)?;
        let exports = ExportSettings {
            destinations: Destinations::read(&config.export.export_destinations, &config.storage)?,
            give_up: Duration::from_secs(config.export.export_give_up_seconds),
        };
        let archive = open(config, StoreNeeds::Nothing)
            .await?
            .with_exports(exports);
        check_partitions(&archive).await?;
        begin_tasks(config, &archive);
        if let Some(rules) = rules {
            begin_arrivals(&archive, rules).await?;
        }
        archive.resume_operations().await?;
        if let Err(error) = archive.announce_start().await {
            tracing::warn!(%error, "subscribers to the worklist cannot be told of the start");
        }
        let (address, listening) = listen.await?;
        let links = links_config(config, address)?;
        let cors = browsers(config, mode, links.public_url.as_ref())?;
        let proxies = links.trusted_proxies.clone();
        let authenticator = AuthConfig::of_settings(&config.access)
            .and_then(|access| Authenticator::new(&access, mode));
        let authenticator = authenticator.map_err(|e| StartError::Config(chain(&e)))?;
        let keys = authenticator.clone();
        archive.tasks().supervise("keys", Need::May, move |watch| {
            let keys = keys.clone();
            async move {
                keys.follow_keys(&|failure| match failure {
                    None => watch.well(),
                    Some(failure) => watch.failed(failure),
                })
                .await;
                Ok(())
            }
        });
        keys::follow(config, &authenticator, archive.tasks());
        let audit = AuditLog::open(&config.access.audit_settings(), archive.tasks());
        let (audit, audit_end) = audit.map_err(|e| StartError::Config(chain(&e)))?;
        let router = http::router(
            archive.clone(),
            links,
            cors,
            &authenticator,
            &audit,
            config.http.metrics,
            &UiSettings {
                config: config.ui.clone(),
                signed_in: mode == AuthMode::Jwt,
                api_keys: config.access.api_keys_file.is_some(),
                issuer: config.access.jwt_issuer.clone(),
            },
        );
        let router = http::with_webhooks(router, webhooks::begin(config, &archive).await?);
        forward::begin(config, &archive, &audit).await?;
        if let Some(rules) = retention {
            retention::begin(&archive, rules, &audit);
        }
        let gateway = dimse::open(config, &archive, &audit, tls.clone()).await?;
        drop(audit);
        if let Some(tls) = &tls {
            let tls = Arc::clone(tls);
            let follow = move |watch| Arc::clone(&tls).follow(watch);
            archive.tasks().supervise("certificate", Need::May, follow);
        }
        let connections = Connections::new(router, door(config, &archive, proxies, tls));
        let service = Self {
            address,
            archive,
            connections,
            gateway,
            audit_end,
        };
        Ok((service, listening))
    }

    /// Where it was said to listen.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers a request of a connection of its own, without a socket; none when there is no room for a connection.
    pub async fn answer(&self, peer: SocketAddr, request: Request) -> Option<Response> {
        self.connections.answer(peer, request).await
    }

    /// Answers connections until `stop` is there, then lets running requests end.
    pub(super) async fn serve(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> Stopped {
        self.connections.serve(listener, stop).await
    }

    /// Ends what would keep connections for as long as their clients like.
    pub fn begin_stop(&self) {
        self.archive.end_streams();
        if let Some(gateway) = &self.gateway {
            gateway.stop();
        }
    }

    /// Ends the tasks, when no requests run any more.
    pub async fn stop(self) {
        let Self {
            archive,
            connections,
            gateway,
            audit_end,
            ..
        } = self;
        if let Some(gateway) = gateway {
            gateway.stop();
            gateway.ended().await;
        }
        archive.end_channels().await;
        archive.tasks().stop(LAST_COMMITS).await;
        archive.rest().await;
        // Whoever can write an event must be gone.
        drop(connections);
        audit_end.wait().await;
    }
}

/// Rules by which workitems are made of what arrives.
fn arrival_rules(config: &Config) -> Result<Option<Arc<[ArrivalRule]>>, StartError> {
    let Some(file) = &config.limits.workitem_rules else {
        return Ok(None);
    };
    let rules = RulesFile::new("STOWAGE_WORKITEM_RULES", file).read(ArrivalRule::read)?;
    Ok(Some(rules.into()))
}

/// Makes workitems of what arrives from now on.
async fn begin_arrivals(archive: &Archive, rules: Arc<[ArrivalRule]>) -> Result<(), StartError> {
    archive.begin_arrivals().await?;
    let following = archive.clone();
    archive
        .tasks()
        .supervise("arrivals", Need::May, move |watch| {
            following.clone().follow_arrivals(rules.clone(), watch)
        });
    Ok(())
}

/// That nothing is hidden because partitions are switched off.
async fn check_partitions(archive: &Archive) -> Result<(), StartError> {
    if archive.has_partitions() {
        return Ok(());
    }
    match archive.used_partition().await? {
        None => Ok(()),
        Some(name) => Err(StartError::Config(format!(
            "STOWAGE_PARTITIONS is off, but the partition {name} holds studies, workitems or non-patient instances, which \
             nobody could reach: set it to on, or delete them first"
        ))),
    }
}

/// Begins what the stores need beside the requests.
fn begin_tasks(config: &Config, archive: &Archive) {
    let tasks = archive.tasks();
    let period = Duration::from_secs(config.storage.sweep_seconds.max(1));
    let grace = config.storage.trash_grace();
    let sweeping = archive.clone();
    tasks.supervise("sweeper", Need::May, move |watch| {
        sweeping.clone().sweep_for_ever(period, grace, watch)
    });
    let looking = archive.clone();
    tasks.supervise("damage", Need::May, move |watch| {
        looking.clone().follow_damage(watch)
    });
    let hearing = archive.clone();
    tasks.supervise("changes", Need::May, move |watch| {
        hearing.clone().follow_changes(watch)
    });
    let following = archive.clone();
    tasks.supervise("events", Need::May, move |watch| {
        following.clone().follow_events(watch)
    });
    let counting = archive.clone();
    tasks.supervise("statistics", Need::May, move |watch| {
        counting.clone().follow_statistics(watch)
    });
    if let Some(period) = config.storage.scrub_period() {
        let pace = config.storage.scrub_bytes_per_second;
        let scrubbing = archive.clone();
        tasks.supervise("scrub", Need::May, move |watch| {
            scrubbing.clone().scrub_for_ever(period, pace, watch)
        });
    }
}

/// What connections are served with.
fn door(
    config: &Config,
    archive: &Archive,
    proxies: Vec<Network>,
    tls: Option<Arc<Tls>>,
) -> ConnectionContext {
    let pace = TransferPace {
        idle: Duration::from_secs(config.limits.idle_seconds.max(1)),
        slow: Duration::from_secs(config.http.slow_seconds.max(1)),
        least: config.http.least_bytes_per_second,
    };
    ConnectionContext {
        time_limit: ServeTimeouts {
            head: Duration::from_secs(config.http.head_seconds.max(1)),
            pace,
            stop: Duration::from_secs(config.http.shutdown_seconds),
        },
        connections: config.http.connections,
        proxies,
        tls,
        budget: archive.budget().clone(),
        tasks: archive.tasks().clone(),
    }
}
