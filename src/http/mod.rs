//! HTTP: routes, media types, status codes. Knows the archive, no SQL and no object paths.
//!
//! One router for each service, nested under every root of [`profile::PROFILES`]; `service_routes` is the map.

pub mod accept;
pub mod access;
mod bulk;
mod changefeed;
pub mod content_type;
mod delete;
pub mod error;
mod extract;
mod frames;
mod health;
pub mod layers;
pub mod links;
mod metadata;
pub mod multipart;
mod parameters;
pub mod paths;
pub mod profile;
mod qido;
mod range;
mod rendered;
mod represent;
pub mod serve;
mod stow;
mod tags;
mod wado;
mod wado_uri;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::archive::Archive;
use crate::auth::Authenticator;
use error::{HttpError, Slug};
use layers::CorsConfig;
use links::LinksConfig;
use profile::{PROFILES, Profile};

/// Media type of DICOM JSON, bare: a charset parameter breaks clients (spec/clients.md rule 9).
pub(crate) const DICOM_JSON: &str = "application/dicom+json";

/// What all handlers share.
#[derive(Debug)]
pub struct App {
    pub(crate) archive: Archive,
    pub(crate) links: LinksConfig,
}

/// One face of the server: the app and how this root answers.
#[derive(Debug, Clone)]
pub(crate) struct Face {
    pub(crate) app: Arc<App>,
    pub(crate) profile: &'static Profile,
}

/// The whole service as a router.
pub fn router(
    archive: Archive,
    links: LinksConfig,
    cors: CorsConfig,
    authenticator: &Authenticator,
) -> Router {
    let app = Arc::new(App { archive, links });
    let mut router = Router::new()
        .route("/", get(health::welcome))
        .route("/health/check", get(health::check_health))
        .with_state(app.clone());
    for profile in &PROFILES {
        let face = Face {
            app: app.clone(),
            profile,
        };
        let service = service_routes()
            .fallback(no_route)
            .method_not_allowed_fallback(no_method)
            .with_state(face);
        let service = access::guard(service, authenticator)
            .layer(from_fn_with_state(profile.errors, layers::errors))
            .layer(layers::api_versions());
        router = router.nest(profile.root, service);
    }
    let around = ServiceBuilder::new()
        .layer(from_fn(layers::request_id))
        .layer(layers::nosniff())
        .layer(from_fn_with_state(Arc::new(cors), layers::cors))
        .layer(layers::vary_accept())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(layers::compression());
    router
        .fallback(paths::unknown_root)
        .layer(DefaultBodyLimit::disable())
        .layer(around)
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    HttpError::broken("a handler panicked").into_response()
}

/// Every route of a service.
fn service_routes() -> Router<Face> {
    use wado::retrieve_instances;
    Router::new()
        // PS3.18 §10.5 Store, §10.6 Search
        .route(
            "/studies",
            post(stow::store_instances).get(qido::search_studies),
        )
        .route("/series", get(qido::search_series))
        .route("/instances", get(qido::search_instances))
        .route("/studies/{study}/series", get(qido::search_series))
        .route("/studies/{study}/instances", get(qido::search_instances))
        .route(
            "/studies/{study}/series/{series}/instances",
            get(qido::search_instances),
        )
        // PS3.18 §10.4 Retrieve; delete beside the standard
        .route(
            "/studies/{study}",
            post(stow::store_instances)
                .get(retrieve_instances)
                .delete(delete::delete_target),
        )
        .route(
            "/studies/{study}/series/{series}",
            get(retrieve_instances).delete(delete::delete_target),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}",
            get(retrieve_instances).delete(delete::delete_target),
        )
        .route(
            "/studies/{study}/metadata",
            get(metadata::retrieve_metadata),
        )
        .route(
            "/studies/{study}/series/{series}/metadata",
            get(metadata::retrieve_metadata),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/metadata",
            get(metadata::retrieve_metadata),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}",
            get(frames::retrieve_frames),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*bulk}",
            get(bulk::retrieve_bulk),
        )
        // PS3.18 §10.4.1.1.3 Rendered, §10.4.1.1.4 Thumbnail
        .route(
            "/studies/{study}/rendered",
            get(rendered::retrieve_rendered),
        )
        .route(
            "/studies/{study}/series/{series}/rendered",
            get(rendered::retrieve_rendered),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/rendered",
            get(rendered::retrieve_rendered),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered",
            get(rendered::retrieve_rendered),
        )
        .route(
            "/studies/{study}/thumbnail",
            get(rendered::retrieve_thumbnail),
        )
        .route(
            "/studies/{study}/series/{series}/thumbnail",
            get(rendered::retrieve_thumbnail),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/thumbnail",
            get(rendered::retrieve_thumbnail),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail",
            get(rendered::retrieve_thumbnail),
        )
        // PS3.18 chapter 9
        .route("/", get(wado_uri::retrieve_by_uri))
        .route("/wado", get(wado_uri::retrieve_by_uri))
        // Bulk data of whole levels, PS3.18 §10.4.1.1.5
        .route("/studies/{study}/bulkdata", get(bulk::retrieve_all_bulk))
        .route(
            "/studies/{study}/series/{series}/bulkdata",
            get(bulk::retrieve_all_bulk),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/bulkdata",
            get(bulk::retrieve_all_bulk),
        )
        .route("/studies/{study}/pixeldata", get(bulk::retrieve_pixel_data))
        .route(
            "/studies/{study}/series/{series}/pixeldata",
            get(bulk::retrieve_pixel_data),
        )
        .route(
            "/studies/{study}/series/{series}/instances/{instance}/pixeldata",
            get(bulk::retrieve_pixel_data),
        )
        // dicom-service §10
        .route("/changefeed", get(changefeed::read_changes))
        .route("/changefeed/latest", get(changefeed::read_latest_change))
        // dicom-service §11, §12
        .route(
            "/extendedquerytags",
            post(tags::add_tags).get(tags::list_tags),
        )
        .route(
            "/extendedquerytags/{tag}",
            get(tags::get_tag)
                .patch(tags::update_tag)
                .delete(tags::delete_tag),
        )
        .route(
            "/extendedquerytags/{tag}/errors",
            get(tags::list_tag_errors),
        )
        .route("/operations/{id}", get(tags::get_operation))
}

async fn no_route() -> HttpError {
    HttpError::new(Slug::NotFound, "There is no such resource.")
}

async fn no_method() -> HttpError {
    HttpError::bare(Slug::MethodNotAllowed)
}
