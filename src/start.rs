//! Start and stop: opens the stores, listens, and lets running requests end.

mod address;
mod backup;
mod deidentify;
mod dimse;
mod error;
mod files;
mod forward;
mod health;
mod keys;
mod ready;
mod retention;
mod rules;
mod stores;
mod webhooks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::archive::Archive;
use crate::archive::services::export_settings::ExportSettings;
use crate::archive::workitems::arrivals::ArrivalRule;
use crate::auth::token::{make_link, make_token};
use crate::auth::{AuthConfig, Authenticator};
use crate::blob::Destinations;
use crate::config::{AuthMode, Config, TokenArgs};
use crate::http;
use crate::http::audit::AuditLog;
use crate::http::layers::{CorsConfig, Origins};
use crate::http::links::{
    Hosts, LinksConfig, Network, ProxyHeaders, ProxyHeadersError, PublicUrl, Scheme, origin_of,
};
use crate::http::serve::{ConnectionContext, ServeTimeouts, Stopped, TransferPace};
use crate::http::tls::{Tls, TlsFiles};
use crate::http::ui::UiSettings;
use crate::tasks::Need;
use crate::trace;

use address::write_address;
pub(crate) use backup::{back_up, open_place, restore_backup};
pub use error::StartError;
use error::chain;
pub(crate) use forward::forward;
pub(crate) use health::health;
pub(crate) use keys::key;
use ready::{ServiceState, notify};
pub(crate) use retention::expire;
use rules::RulesFile;
pub(crate) use stores::{StoreNeeds, data_folder, open, transfer_index};
pub(crate) use webhooks::webhook;

/// How long a stop waits for the last commits.
const LAST_COMMITS: Duration = Duration::from_secs(10);

/// Runs the server until a stop signal.
///
/// # Errors
/// When it cannot start, with one line that says what to change.
pub(crate) async fn serve(mut config: Config) -> Result<(), StartError> {
    files::prepare(&mut config);
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
    let rules = arrival_rules(&config)?;
    let retention = retention::rules(&config)?;
    let tls = open_tls(&config)?;
    let traces = trace::start().map_err(|e| StartError::Config(chain(&e)))?;
    let exports = ExportSettings {
        destinations: Destinations::read(&config.export.export_destinations, &config.storage)?,
        give_up: Duration::from_secs(config.export.export_give_up_seconds),
    };
    let archive = open(&config, StoreNeeds::Nothing)
        .await?
        .with_exports(exports);
    check_partitions(&archive).await?;
    begin_tasks(&config, &archive);
    if let Some(rules) = rules {
        begin_arrivals(&archive, rules).await?;
    }
    archive.resume_operations().await?;
    if let Err(error) = archive.announce_start().await {
        tracing::warn!(%error, "subscribers to the worklist cannot be told of the start");
    }
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.map_err(|source| StartError::Listen {
        address: config.listen,
        source,
    })?;
    let address = listener.local_addr().map_err(StartError::Serve)?;
    let links = links_config(&config, address)?;
    let cors = browsers(&config, mode, links.public_url.as_ref())?;
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
    keys::follow(&config, &authenticator, archive.tasks());
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
    let router = http::with_webhooks(router, webhooks::begin(&config, &archive).await?);
    forward::begin(&config, &archive, &audit).await?;
    if let Some(rules) = retention {
        retention::begin(&archive, rules, &audit);
    }
    // Before anybody is let in, so that who is in is never left without a word.
    let stopped = stop_signal();
    let gateway = dimse::open(&config, &archive, &audit, tls.clone()).await?;
    drop(audit);
    if let Some(file) = &config.address_file {
        write_address(file, address)?;
    }
    let scheme = scheme(&config).as_str();
    tracing::info!(%address, data = %data_folder(&config).display(), "stowage listens on {scheme}://{address}/");
    if let Some(tls) = &tls {
        let tls = Arc::clone(tls);
        let follow = move |watch| Arc::clone(&tls).follow(watch);
        archive.tasks().supervise("certificate", Need::May, follow);
    }
    notify(ServiceState::Ready);
    let door = door(&config, &archive, proxies, tls);
    let gateway_stop = gateway.clone();
    let streams = archive.clone();
    let stop = async move {
        stopped.await;
        streams.end_streams();
        notify(ServiceState::Stopping);
        if let Some(gateway) = gateway_stop {
            gateway.stop();
        }
        tracing::info!("stopping: running requests may end");
    };
    if http::serve::serve(listener, router, door, stop).await == Stopped::Cut {
        tracing::warn!("stopped while requests were running");
    }
    if let Some(gateway) = gateway {
        gateway.stop();
        gateway.ended().await;
    }
    archive.end_channels().await;
    archive.tasks().stop(LAST_COMMITS).await;
    archive.rest().await;
    audit_end.wait().await;
    traces.end().await;
    Ok(())
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

/// Ends with an interrupt or a request to terminate; both are heard from this call on, not only while somebody waits.
fn stop_signal() -> impl Future<Output = ()> {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        let [interrupt, terminate] = signals.map(heard);
        tokio::select! {
            () = interrupt => {}
            () = terminate => {}
        }
    }
}

async fn heard(signal: std::io::Result<Signal>) {
    match signal {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// Makes a token for the configured secret, or a link with one.
///
/// # Errors
/// When no secret is configured, or the arguments fit neither.
pub(crate) fn token(config: &Config, arguments: &TokenArgs) -> Result<String, StartError> {
    let access = AuthConfig::of_settings(&config.access);
    let access = access.map_err(|e| StartError::Config(chain(&e)))?;
    let made = match &arguments.link {
        None => make_token(&access, arguments),
        Some(template) => {
            let links = links_config(config, config.listen)?;
            let server = match &links.public_url {
                Some(url) => url.as_str().to_owned(),
                None => format!("{}://{}", scheme(config).as_str(), config.listen),
            };
            make_link(&access, arguments, template, &server)
        }
    };
    made.map_err(|e| StartError::Config(chain(&e)))
}

/// What the server speaks: TLS when it has a certificate.
fn scheme(config: &Config) -> Scheme {
    match config.tls.tls_cert_file {
        Some(_) => Scheme::Https,
        None => Scheme::Http,
    }
}

/// Certificate and key, when they are configured.
fn open_tls(config: &Config) -> Result<Option<Arc<Tls>>, StartError> {
    let pair = config.tls.pair().map_err(StartError::Config)?;
    let opened = pair.map(|(certificates, key)| {
        Tls::open(TlsFiles {
            certificates,
            key,
            client_roots: config.tls.tls_client_ca_file.clone(),
        })
    });
    let opened = opened.transpose();
    let tls = opened.map_err(|e| StartError::Config(format!("STOWAGE_TLS_*: {}", chain(&e))))?;
    Ok(tls.map(Arc::new))
}

/// Which pages and names are answered, as configured: without access control, as little as works on this machine alone.
fn browsers(
    config: &Config,
    mode: AuthMode,
    public: Option<&PublicUrl>,
) -> Result<CorsConfig, StartError> {
    let tokens = mode != AuthMode::Off;
    let named = config.http.cors_origins.as_deref();
    let named = named.map(str::parse::<Origins>).transpose();
    let named = named.map_err(|e| StartError::Config(format!("STOWAGE_CORS_ORIGINS: {e}")))?;
    let networked = !config.listen.ip().is_loopback();
    // Where every page may call, a name keeps nobody out; and who listens for others, without access control and without
    // a public URL, has said that whoever gets here may come in.
    let any_name = tokens || named == Some(Origins::Any) || (networked && public.is_none());
    let hosts = if any_name {
        Hosts::Any
    } else {
        Hosts::local(networked, public)
    };
    let origins = match named {
        Some(origins) => origins,
        None if tokens => Origins::Any,
        None => Origins::Local {
            public: public.map(origin_of),
        },
    };
    Ok(CorsConfig {
        origins,
        hosts,
        tokens,
        cache: config.http.client_cache,
        ..CorsConfig::default()
    })
}

/// Where links point, as configured.
fn links_config(config: &Config, address: SocketAddr) -> Result<LinksConfig, StartError> {
    let http = &config.http;
    let public_url = http
        .public_url
        .as_deref()
        .map(str::parse::<PublicUrl>)
        .transpose();
    let networks = http
        .trusted_proxies
        .iter()
        .map(|n| n.trim())
        .filter(|n| !n.is_empty());
    let trusted_proxies = networks
        .map(str::parse::<Network>)
        .collect::<Result<Vec<_>, _>>();
    Ok(LinksConfig {
        public_url: public_url
            .map_err(|e| StartError::Config(format!("STOWAGE_PUBLIC_URL: {e}")))?,
        trusted_proxies: trusted_proxies
            .map_err(|e| StartError::Config(format!("STOWAGE_TRUSTED_PROXIES: {e}")))?,
        proxy_headers: http.proxy_headers.parse::<ProxyHeaders>().map_err(
            |e: ProxyHeadersError| StartError::Config(format!("STOWAGE_PROXY_HEADERS: {e}")),
        )?,
        listen_port: address.port(),
        scheme: scheme(config),
    })
}
