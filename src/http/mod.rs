//! HTTP: routes, media types, status codes. Knows the archive, no SQL and no object paths.
//!
//! One router for each service, nested under every root of [`profile::PROFILES`]; [`routes`] is the map.

pub mod accept;
pub mod access;
mod array;
pub mod audit;
mod behalf;
mod bulk;
mod bulk_update;
mod changefeed;
mod commitment;
pub mod content_type;
mod deidentify;
mod delete;
mod describe;
pub mod error;
mod events;
mod export;
mod extract;
mod fallbacks;
mod frames;
mod health;
pub mod layers;
pub mod links;
mod metadata;
mod metrics;
pub mod multipart;
mod nonpatient;
mod original;
mod parameters;
mod partitions;
pub mod paths;
mod place;
pub mod profile;
mod qido;
mod range;
pub mod remote;
mod rendered;
mod represent;
mod response_cache;
mod results;
mod rights;
mod route;
pub mod routes;
pub mod serve;
mod started;
mod state;
mod statistics;
mod stores_health;
mod stow;
mod tags;
pub mod tls;
mod trash;
pub mod ui;
mod viewer;
mod wado;
mod wado_uri;
pub mod webhooks;
mod workitems;

use std::any::Any;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::archive::Archive;
use crate::auth::Authenticator;
use crate::config::MetricsAccess;
use access::AuthState;
use audit::sink::AuditLog;
use describe::cache::Descriptions;
use error::HttpError;
use fallbacks::{no_method, no_route, no_route_of_partition};
use layers::{Admission, CorsConfig, Decoders, Packing, Protection};
use links::LinksConfig;
use metrics::Requests;
use place::{Mount, SEGMENT};
use profile::PROFILES;
use response_cache::MetadataResponseCache;
use routes::{ROUTES, service_routes};
use state::{ApiState, App};
use stores_health::Health;
use ui::UiSettings;
use viewer::Viewer;

/// The whole service as a router.
pub fn router(
    archive: Archive,
    links: LinksConfig,
    cors: CorsConfig,
    authenticator: &Authenticator,
    audit: &AuditLog,
    metrics: MetricsAccess,
    page: &UiSettings,
) -> Router {
    let gate = AuthState {
        authenticator: authenticator.clone(),
        audit: audit.clone(),
        links: links.clone(),
    };
    let budget = archive.budget().clone();
    let admission = Admission::new(archive.limits().requests, budget.clone(), links.clone());
    let decoders = Arc::new(Decoders::new(budget.clone(), links.clone()));
    let packing = Arc::new(Packing::new(budget, links.clone()));
    let protection = Protection {
        scheme: links.scheme,
        tokens: cors.tokens,
        cache: cors.cache,
    };
    let requests = Arc::new(Requests::new(links.clone()));
    let app = Arc::new(App {
        answers: MetadataResponseCache::new(archive.limits().metadata_cache_bytes),
        health: Health::default(),
        descriptions: Descriptions::new(archive.budget().clone()),
        archive,
        links,
        audit: audit.clone(),
        routes: ROUTES,
    });
    let mut router = Router::new()
        .route("/docs", get(describe::docs))
        .route("/health/check", get(health::check_health))
        .route("/health/ready", get(health::check_ready))
        .route("/health/live", get(health::live));
    if let Some(reported) = metrics::metrics_routes(metrics, &gate, requests.clone()) {
        router = router.merge(reported);
    }
    let viewer = Viewer::new(page);
    if let Some(viewer) = &viewer {
        router = router.merge(viewer.routes());
    }
    let mut router = router
        .merge(ui::routes(page, &gate, &admission, &requests))
        .with_state(app.clone());
    for profile in &PROFILES {
        let api = ApiState {
            app: app.clone(),
            profile,
        };
        let described = describe::description_routes()
            .method_not_allowed_fallback(no_method)
            .with_state(api.clone());
        for mount in [Mount::Root, Mount::Partition] {
            let service = service_routes(&api, mount).method_not_allowed_fallback(no_method);
            let service = match mount {
                Mount::Root => service.fallback(no_route),
                Mount::Partition => service.fallback(no_route_of_partition),
            };
            let service = service.with_state(api.clone());
            let decode = from_fn_with_state(decoders.clone(), layers::decode_content);
            let service = service.layer(decode);
            // Behind the token: whoever has none takes no room.
            let service = service.layer(from_fn_with_state(admission.clone(), layers::admit));
            let service = access::guard(service, gate.clone());
            let (path, service) = match mount {
                Mount::Root => (profile.root.to_owned(), service.merge(described.clone())),
                Mount::Partition => (format!("{}{SEGMENT}", profile.root), service),
            };
            let service = service
                .layer(from_fn_with_state(profile.errors, layers::errors))
                .layer(layers::api_versions());
            router = router.nest(&path, service);
        }
    }
    let cors = Arc::new(cors);
    let around = ServiceBuilder::new()
        .layer(from_fn(layers::request_id))
        .layer(from_fn(layers::one_vary))
        .layer(from_fn_with_state(requests, metrics::measure))
        .layer(layers::nosniff())
        .layer(from_fn_with_state(protection, layers::protect))
        .layer(from_fn_with_state(cors.clone(), layers::hosts))
        .layer(from_fn_with_state(cors, layers::cors))
        .layer(layers::vary_accept())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(layers::compression())
        .layer(from_fn_with_state(packing, layers::reserve_encoder));
    let router = match viewer {
        None => router.fallback(paths::unknown_root),
        Some(viewer) => router.fallback(move |uri: Uri, headers: HeaderMap| async move {
            viewer.or_unknown(uri, headers).await
        }),
    };
    router.layer(DefaultBodyLimit::disable()).layer(around)
}

/// The same router, which can send what webhooks are to be told.
pub fn with_webhooks(router: Router, sender: Arc<webhooks::deliver::WebhookSender>) -> Router {
    router.layer(Extension(sender))
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    HttpError::broken("a handler panicked").into_response()
}
