//! The map of a service: every method and path, the action it needs, and the handler behind it.
//!
//! Invariants: a route of a service exists only as a row of this table, so [`ROUTES`] lists all of them, and
//! `describe` tells them; whoever may not do the row's
//! action is answered 403 before anything else of the request is looked at.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing;

use super::error::HttpError;
use super::{
    Face, bulk, changefeed, delete, describe, frames, metadata, qido, rendered, stow, tags, wado,
    wado_uri,
};
use crate::auth::{Action, Caller};

/// One row of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Method, in capitals.
    pub method: &'static str,
    /// Path below a root, with `{names}` for segments that vary.
    pub path: &'static str,
    /// What the caller must be allowed to do.
    pub action: Action,
    /// Path of the function that answers, which names it in descriptions.
    pub handler: &'static str,
}

macro_rules! routes {
    ($($method:ident $name:literal $path:literal $action:ident => $handler:path;)*) => {
        /// Every route of a service.
        pub const ROUTES: &[Route] = &[
            $(Route {
                method: $name,
                path: $path,
                action: Action::$action,
                handler: stringify!($handler),
            },)*
        ];

        /// The routes with their handlers.
        pub(super) fn service_routes() -> Router<Face> {
            Router::new()
                $(.route(
                    $path,
                    routing::$method($handler)
                        .layer(from_fn_with_state(Action::$action, require)),
                ))*
        }
    };
}

routes! {
    // PS3.18 §8.9
    options "OPTIONS" "/" Read => describe::retrieve_capabilities;
    // PS3.18 §10.5 Store, §10.6 Search
    post "POST" "/studies" Write => stow::store_instances;
    get "GET" "/studies" Read => qido::search_studies;
    get "GET" "/series" Read => qido::search_series;
    get "GET" "/instances" Read => qido::search_instances;
    get "GET" "/studies/{study}/series" Read => qido::search_series;
    get "GET" "/studies/{study}/instances" Read => qido::search_instances;
    get "GET" "/studies/{study}/series/{series}/instances" Read => qido::search_instances;
    // PS3.18 §10.4 Retrieve; delete beside the standard
    post "POST" "/studies/{study}" Write => stow::store_instances;
    get "GET" "/studies/{study}" Read => wado::retrieve_instances;
    delete "DELETE" "/studies/{study}" Delete => delete::delete_target;
    get "GET" "/studies/{study}/series/{series}" Read => wado::retrieve_instances;
    delete "DELETE" "/studies/{study}/series/{series}" Delete => delete::delete_target;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}" Read => wado::retrieve_instances;
    delete "DELETE" "/studies/{study}/series/{series}/instances/{instance}" Delete => delete::delete_target;
    get "GET" "/studies/{study}/metadata" Read => metadata::retrieve_metadata;
    get "GET" "/studies/{study}/series/{series}/metadata" Read => metadata::retrieve_metadata;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/metadata" Read => metadata::retrieve_metadata;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}" Read => frames::retrieve_frames;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*bulk}" Read => bulk::retrieve_bulk;
    // PS3.18 §10.4.1.1.3 Rendered, §10.4.1.1.4 Thumbnail
    get "GET" "/studies/{study}/rendered" Read => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/series/{series}/rendered" Read => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/rendered" Read => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered" Read => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/thumbnail" Read => rendered::retrieve_thumbnail;
    get "GET" "/studies/{study}/series/{series}/thumbnail" Read => rendered::retrieve_thumbnail;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/thumbnail" Read => rendered::retrieve_thumbnail;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail" Read => rendered::retrieve_thumbnail;
    // PS3.18 chapter 9
    get "GET" "/" Read => wado_uri::retrieve_by_uri;
    get "GET" "/wado" Read => wado_uri::retrieve_by_uri;
    // Bulk data of whole levels, PS3.18 §10.4.1.1.5
    get "GET" "/studies/{study}/bulkdata" Read => bulk::retrieve_all_bulk;
    get "GET" "/studies/{study}/series/{series}/bulkdata" Read => bulk::retrieve_all_bulk;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/bulkdata" Read => bulk::retrieve_all_bulk;
    get "GET" "/studies/{study}/pixeldata" Read => bulk::retrieve_pixel_data;
    get "GET" "/studies/{study}/series/{series}/pixeldata" Read => bulk::retrieve_pixel_data;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/pixeldata" Read => bulk::retrieve_pixel_data;
    // dicom-service §10
    get "GET" "/changefeed" Read => changefeed::read_changes;
    get "GET" "/changefeed/latest" Read => changefeed::read_latest_change;
    // dicom-service §11, §12
    post "POST" "/extendedquerytags" ManageExtendedQueryTags => tags::add_tags;
    get "GET" "/extendedquerytags" Read => tags::list_tags;
    get "GET" "/extendedquerytags/{tag}" Read => tags::get_tag;
    patch "PATCH" "/extendedquerytags/{tag}" ManageExtendedQueryTags => tags::update_tag;
    delete "DELETE" "/extendedquerytags/{tag}" ManageExtendedQueryTags => tags::delete_tag;
    get "GET" "/extendedquerytags/{tag}/errors" Read => tags::list_tag_errors;
    get "GET" "/operations/{id}" Read => tags::get_operation;
}

async fn require(State(action): State<Action>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Arc<Caller>>() {
        Some(caller) if caller.may(action) => next.run(request).await,
        Some(_) => HttpError::forbidden().into_response(),
        None => HttpError::broken("a route without the auth layer").into_response(),
    }
}
