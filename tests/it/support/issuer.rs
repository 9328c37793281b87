//! A real OIDC issuer on a port of its own: it describes itself, publishes its keys, and counts who asks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::loopback::listen;
use super::signer::{AUDIENCE, Signer, seconds_from_now};

/// Counts what was asked for.
#[derive(Debug, Default)]
struct Desk {
    url: String,
    keys: Mutex<Vec<Value>>,
    closed: AtomicBool,
    held: watch::Sender<bool>,
    descriptions: AtomicUsize,
    key_sets: AtomicUsize,
}

/// A running issuer; it ends with the value.
pub(crate) struct Issuer {
    desk: Arc<Desk>,
    _runtime: Runtime,
}

impl Issuer {
    /// Starts an issuer that publishes these keys.
    pub(crate) fn start(keys: &[Value]) -> Self {
        let (runtime, listener, url) = listen();
        let desk = Arc::new(Desk {
            url,
            keys: Mutex::new(keys.to_vec()),
            ..Desk::default()
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(publish))
            .with_state(desk.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            desk,
            _runtime: runtime,
        }
    }

    /// Its name, which is also where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.desk.url
    }

    /// Replaces the published keys.
    pub(crate) fn publish(&self, keys: &[Value]) {
        *self.desk.keys.lock().unwrap() = keys.to_vec();
    }

    /// Answers 503 from now on, or no longer.
    pub(crate) fn close(&self, closed: bool) {
        self.desk.closed.store(closed, Ordering::SeqCst);
    }

    /// Whoever asks for the key set waits from now on, or no longer.
    pub(crate) fn hold(&self, held: bool) {
        self.desk.held.send_replace(held);
    }

    /// How often the description and the key set were asked for.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (
            self.desk.descriptions.load(Ordering::SeqCst),
            self.desk.key_sets.load(Ordering::SeqCst),
        )
    }

    /// Claims of one of its tokens.
    pub(crate) fn claims(&self, role: &str) -> Value {
        json!({"sub": "somebody", "iss": self.url(), "aud": [AUDIENCE, "others"], "exp": seconds_from_now(600), "roles": [role]})
    }

    /// A token of a key under its name in the set.
    pub(crate) fn token(&self, signer: &Signer, kid: &str) -> String {
        signer.token_as(signer.algorithm, Some(kid), &self.claims("reader"))
    }
}

async fn describe(State(desk): State<Arc<Desk>>) -> Result<Json<Value>, StatusCode> {
    desk.descriptions.fetch_add(1, Ordering::SeqCst);
    if desk.closed.load(Ordering::SeqCst) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(Json(
        json!({"issuer": desk.url, "jwks_uri": format!("{}/keys", desk.url)}),
    ))
}

async fn publish(State(desk): State<Arc<Desk>>) -> Json<Value> {
    desk.key_sets.fetch_add(1, Ordering::SeqCst);
    let mut held = desk.held.subscribe();
    // It fails only when the desk is gone.
    drop(held.wait_for(|held| !held).await);
    Json(json!({"keys": *desk.keys.lock().unwrap()}))
}
