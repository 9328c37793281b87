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
mod service;
mod stores;
mod web;
mod webhooks;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::auth::AuthConfig;
use crate::auth::token::{make_link, make_token};
use crate::config::{Config, TokenArgs};
use crate::http::serve::Stopped;
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
#[doc(hidden)]
pub use service::RunningService;
pub(crate) use stores::{StoreNeeds, data_folder, open, transfer_index};
use web::{links_config, scheme};
pub(crate) use webhooks::webhook;

/// Runs the server until a stop signal.
///
/// # Errors
/// When it cannot start, with one line that says what to change.
pub(crate) async fn serve(mut config: Config) -> Result<(), StartError> {
    files::prepare(&mut config);
    let traces = trace::start().map_err(|e| StartError::Config(chain(&e)))?;
    let listen = async {
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let address = listener.local_addr().map_err(StartError::Serve)?;
        // Before anybody is let in, so that who is in is never left without a word.
        Ok((address, (listener, stop_signal())))
    };
    let (service, (listener, stopped)) = RunningService::open(&config, listen).await?;
    let address = service.address();
    if let Some(file) = &config.address_file {
        write_address(file, address)?;
    }
    let scheme = scheme(&config).as_str();
    tracing::info!(%address, data = %data_folder(&config).display(), "stowage listens on {scheme}://{address}/");
    notify(ServiceState::Ready);
    let stop = async {
        stopped.await;
        notify(ServiceState::Stopping);
        service.begin_stop();
        tracing::info!("stopping: running requests may end");
    };
    if service.serve(listener, stop).await == Stopped::Cut {
        tracing::warn!("stopped while requests were running");
    }
    service.stop().await;
    traces.end().await;
    Ok(())
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
