//! The map of a service: every method and path, the action it needs, and the handler behind it.
//!
//! Invariants: a route of a service exists only as a row of this table, so [`ROUTES`] lists all of them, and
//! `describe` tells them; whoever may not do all of the row's
//! actions is answered 403 before anything else of the request is looked at.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing;

use super::audit::kind::EventKind;
use super::behalf;
use super::error::HttpError;
use super::extract::{DEIDENTIFY, QueryPairs};
use super::place::{Mount, Place, SEGMENT};
use super::profile::PROFILES;
use super::state::ApiState;
use super::{
    bulk, bulk_update, changefeed, commitment, deidentify, delete, describe, events, export,
    frames, metadata, nonpatient, partitions, qido, rendered, statistics, stow, tags, trash, wado,
    wado_uri, webhooks, workitems,
};
use crate::auth::{Action, Caller};

pub use super::route::Route;

macro_rules! routes {
    ($($method:ident $name:literal $path:tt $($action:ident)&+ $event:ident => $handler:path;)*) => {
        /// Every route of a service.
        pub const ROUTES: &[Route] = &[
            $(Route {
                method: $name,
                path: $path,
                actions: &[$(Action::$action),+],
                event: EventKind::$event,
                handler: stringify!($handler),
            },)*
        ];

        /// The routes with their handlers.
        pub(super) fn service_routes(api: &ApiState, mount: Mount) -> Router<ApiState> {
            let mut router = Router::new();
            $(
                if mount.has($path) {
                    let handler = routing::$method($handler)
                        .layer(from_fn_with_state((api.clone(), mount), place))
                        .layer(from_fn_with_state(
                            (&[$(Action::$action),+][..], stringify!($handler)),
                            require,
                        ));
                    router = router.route($path, handler);
                }
            )*
            router
        }
    };
}

/// The map with the transactions of PS3.18 chapter 12 for each resource of non-patient instances.
///
/// Their paths are fixed, so that nothing else below a root is taken for such a resource.
macro_rules! routes_with_nonpatient {
    ([$($resource:literal)+] $($rows:tt)+) => {
        routes! {
            $($rows)+
            $(
                post "POST" (concat!("/", $resource)) Write Transferred => nonpatient::store_nonpatient;
                get "GET" (concat!("/", $resource)) Read Query => nonpatient::search_nonpatient;
                post "POST" (concat!("/", $resource, "/{instance}")) Write Transferred => nonpatient::store_nonpatient;
                get "GET" (concat!("/", $resource, "/{instance}")) Read Transferred => nonpatient::retrieve_nonpatient;
                delete "DELETE" (concat!("/", $resource, "/{instance}")) Delete Deleted => nonpatient::delete_nonpatient;
            )+
        }

        #[cfg(test)]
        const NONPATIENT: &[&str] = &[$($resource),+];
    };
}

routes_with_nonpatient! {
    [
        "color-palettes"
        "defined-procedure-protocols"
        "hanging-protocols"
        "implant-templates"
        "inventories"
        "protocol-approvals"
    ]
    // PS3.18 §8.9
    options "OPTIONS" "/" Read Other => describe::retrieve_capabilities;
    // PS3.18 §10.5 Store, §10.6 Search
    post "POST" "/studies" Write Transferred => stow::store_instances;
    put "PUT" "/studies" Write & Delete Transferred => stow::replace_instances;
    get "GET" "/studies" Read Query => qido::search_studies;
    get "GET" "/series" Read Query => qido::search_series;
    get "GET" "/instances" Read Query => qido::search_instances;
    get "GET" "/studies/{study}/series" Read Query => qido::search_series;
    get "GET" "/studies/{study}/instances" Read Query => qido::search_instances;
    get "GET" "/studies/{study}/series/{series}/instances" Read Query => qido::search_instances;
    // dicom-service §13
    post "POST" "/studies/$bulkUpdate" Write Accessed => bulk_update::update_studies;
    // De-identified copies in another partition
    post "POST" "/studies/$deidentify" Read & Deidentify Shared => deidentify::deidentify_instances;
    // PS3.18 §10.4 Retrieve; delete beside the standard
    post "POST" "/studies/{study}" Write Transferred => stow::store_instances;
    put "PUT" "/studies/{study}" Write & Delete Transferred => stow::replace_instances;
    get "GET" "/studies/{study}" Read Transferred => wado::retrieve_instances;
    delete "DELETE" "/studies/{study}" Delete Deleted => delete::delete_target;
    get "GET" "/studies/{study}/series/{series}" Read Transferred => wado::retrieve_instances;
    delete "DELETE" "/studies/{study}/series/{series}" Delete Deleted => delete::delete_target;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}" Read Transferred => wado::retrieve_instances;
    delete "DELETE" "/studies/{study}/series/{series}/instances/{instance}" Delete Deleted => delete::delete_target;
    get "GET" "/studies/{study}/metadata" Read Accessed => metadata::retrieve_metadata;
    get "GET" "/studies/{study}/series/{series}/metadata" Read Accessed => metadata::retrieve_metadata;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/metadata" Read Accessed => metadata::retrieve_metadata;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}" Read Transferred => frames::retrieve_frames;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*bulk}" Read Transferred => bulk::retrieve_bulk;
    // PS3.18 §10.4.1.1.3 Rendered, §10.4.1.1.4 Thumbnail
    get "GET" "/studies/{study}/rendered" Read Transferred => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/series/{series}/rendered" Read Transferred => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/rendered" Read Transferred => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered" Read Transferred => rendered::retrieve_rendered;
    get "GET" "/studies/{study}/thumbnail" Read Transferred => rendered::retrieve_thumbnail;
    get "GET" "/studies/{study}/series/{series}/thumbnail" Read Transferred => rendered::retrieve_thumbnail;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/thumbnail" Read Transferred => rendered::retrieve_thumbnail;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail" Read Transferred => rendered::retrieve_thumbnail;
    // PS3.18 chapter 9
    get "GET" "/" Read Transferred => wado_uri::retrieve_by_uri;
    get "GET" "/wado" Read Transferred => wado_uri::retrieve_by_uri;
    // Bulk data of whole levels, PS3.18 §10.4.1.1.5
    get "GET" "/studies/{study}/bulkdata" Read Transferred => bulk::retrieve_all_bulk;
    get "GET" "/studies/{study}/series/{series}/bulkdata" Read Transferred => bulk::retrieve_all_bulk;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/bulkdata" Read Transferred => bulk::retrieve_all_bulk;
    get "GET" "/studies/{study}/pixeldata" Read Transferred => bulk::retrieve_pixel_data;
    get "GET" "/studies/{study}/series/{series}/pixeldata" Read Transferred => bulk::retrieve_pixel_data;
    get "GET" "/studies/{study}/series/{series}/instances/{instance}/pixeldata" Read Transferred => bulk::retrieve_pixel_data;
    // What was deleted, until the grace period is over
    get "GET" "/trash" Read & Restore Query => trash::list_trash;
    post "POST" "/trash/{entry}/restore" Read & Restore Restored => trash::restore_entry;
    post "POST" "/trash/studies/{study}/restore" Read & Restore Restored => trash::restore_study;
    // dicom-service §10
    get "GET" "/changefeed" Read Query => changefeed::read_changes;
    get "GET" "/changefeed/latest" Read Query => changefeed::read_latest_change;
    // What happens, and who is told of it
    get "GET" "/events" Read Query => events::follow_events;
    post "POST" "/webhooks" ManageWebhooks & Read Configuration => webhooks::create_webhook;
    get "GET" "/webhooks" ManageWebhooks & Read Other => webhooks::list_webhooks;
    get "GET" "/webhooks/{webhook}" ManageWebhooks & Read Other => webhooks::get_webhook;
    delete "DELETE" "/webhooks/{webhook}" ManageWebhooks & Read Configuration => webhooks::delete_webhook;
    post "POST" "/webhooks/{webhook}/test" ManageWebhooks & Read Configuration => webhooks::test_webhook;
    post "POST" "/webhooks/{webhook}/redeliver" ManageWebhooks & Read Configuration => webhooks::redeliver_events;
    // How much is stored
    get "GET" "/statistics" Read Query => statistics::read_statistics;
    // dicom-service §11, §12
    post "POST" "/extendedquerytags" ManageExtendedQueryTags Configuration => tags::add_tags;
    get "GET" "/extendedquerytags" Read Other => tags::list_tags;
    get "GET" "/extendedquerytags/{tag}" Read Other => tags::get_tag;
    patch "PATCH" "/extendedquerytags/{tag}" ManageExtendedQueryTags Configuration => tags::update_tag;
    delete "DELETE" "/extendedquerytags/{tag}" ManageExtendedQueryTags Configuration => tags::delete_tag;
    get "GET" "/extendedquerytags/{tag}/errors" Read Query => tags::list_tag_errors;
    get "GET" "/operations/{id}" Read Other => tags::get_operation;
    // dicom-service §16
    get "GET" "/partitions" Read Other => partitions::list_partitions;
    // dicom-service §15
    post "POST" "/export" Export Shared => export::export_instances;
    // PS3.18 chapter 13
    post "POST" "/commitment-requests/{transaction}" Read Query => commitment::request_commitment;
    get "GET" "/commitment-requests/{transaction}" Read Query => commitment::check_commitment;
    // PS3.18 chapter 11, dicom-service §14
    post "POST" "/workitems" Write Procedure => workitems::create_workitem;
    get "GET" "/workitems" Read Query => workitems::search_workitems;
    get "GET" "/workitems/{workitem}" Read Procedure => workitems::retrieve_workitem;
    post "POST" "/workitems/{workitem}" Write Procedure => workitems::update_workitem;
    put "PUT" "/workitems/{workitem}/state" Write Procedure => workitems::change_workitem_state;
    post "POST" "/workitems/{workitem}/cancelrequest" Write Procedure => workitems::request_workitem_cancel;
    post "POST" "/workitems/{workitem}/subscribers/{aet}" Read Procedure => workitems::subscribe;
    delete "DELETE" "/workitems/{workitem}/subscribers/{aet}" Read Procedure => workitems::unsubscribe;
    post "POST" "/workitems/{workitem}/subscribers/{aet}/suspend" Read Procedure => workitems::suspend_subscription;
    get "GET" "/subscribers/{aet}" Read Query => workitems::open_channel;
    // PS3.18 chapter 14
    get "GET" "/modality-scheduled-procedure-steps" Read Query => workitems::search_scheduled_steps;
}

/// The row of a method and a template that the router matched, root included; a HEAD is answered by the row of its GET.
#[must_use]
pub(super) fn find(method: &Method, matched: &str) -> Option<&'static Route> {
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let path = below_root(matched)?;
    ROUTES
        .iter()
        .find(|route| route.method == method && route.path == path)
}

/// The methods of a template that the router matched, root included.
pub(super) fn methods(matched: &str) -> Vec<&'static str> {
    let mut methods = Vec::new();
    let Some(path) = below_root(matched) else {
        return methods;
    };
    for route in ROUTES.iter().filter(|route| route.path == path) {
        methods.push(route.method);
        if route.method == "GET" {
            methods.push("HEAD");
        }
    }
    methods
}

/// A template without its root and the partition behind it; `/` for the root itself.
fn below_root(matched: &str) -> Option<&str> {
    let below = |root: &str| {
        let path = matched.strip_prefix(root)?;
        (path.is_empty() || path.starts_with('/')).then_some(path)
    };
    let path = PROFILES.iter().find_map(|profile| below(profile.root))?;
    let path = path.strip_prefix(SEGMENT).unwrap_or(path);
    Some(if path.is_empty() { "/" } else { path })
}

/// Finds the partition of a request before its handler runs.
async fn place(
    State((api, mount)): State<(ApiState, Mount)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let archive = &api.app.archive;
    let found = match mount {
        Mount::Partition => Place::of_path(archive, &mut parts).await,
        Mount::Root => {
            let matched = parts.extensions.get::<MatchedPath>();
            let row = matched.and_then(|matched| find(&parts.method, matched.as_str()));
            // What a root can do is no business of a partition.
            let partitioned = row.is_none_or(|row| row.is_partitioned() && row.method != "OPTIONS");
            Place::unnamed(archive, api.profile, partitioned)
        }
    };
    match found {
        Ok(found) => {
            parts.extensions.insert(found);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    }
}

/// The handler that de-identifies instances for those who ask for it.
const DEIDENTIFIER: &str = "wado::retrieve_instances";

async fn require(
    State((actions, handler)): State<(&'static [Action], &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(caller) = request.extensions().get::<Arc<Caller>>() else {
        return HttpError::broken("a route without the auth layer").into_response();
    };
    let deidentified = asks_for_deidentified(&request);
    let actions = match deidentified && handler == DEIDENTIFIER {
        true => &[Action::Deidentify][..],
        false => actions,
    };
    match actions.iter().find(|action| !caller.may(**action)) {
        // Whoever asks for de-identified data gets nothing else from a route that knows nothing of it.
        None if deidentified && handler != DEIDENTIFIER => {
            let reason = "Only instances are de-identified: those of a study, those of a series, or one; no metadata, frames, rendered images, bulk data or search.";
            HttpError::invalid_query(DEIDENTIFY, reason).into_response()
        }
        None => behalf::run(caller.clone(), request, next).await,
        Some(missing) => HttpError::forbidden(missing.as_str()).into_response(),
    }
}

/// Whether a request has the parameter; of a query that cannot be read the handler says what is wrong.
fn asks_for_deidentified(request: &Request) -> bool {
    let pairs = QueryPairs::of_uri(request.uri());
    pairs.is_ok_and(|pairs| pairs.first(DEIDENTIFY).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::nonpatient::NonPatientKind;

    #[test]
    fn every_resource_of_non_patient_instances_has_routes() {
        assert_eq!(NONPATIENT, NonPatientKind::ALL.map(NonPatientKind::as_str));
    }

    #[test]
    fn every_row_is_found_by_what_the_router_matched_and_nothing_else_is() {
        for profile in &PROFILES {
            for route in ROUTES {
                let method = Method::from_bytes(route.method.as_bytes()).unwrap();
                let found = find(&method, &format!("{}{}", profile.root, route.path));
                assert_eq!(found, Some(route));
            }
            for route in ROUTES.iter().filter(|route| route.is_partitioned()) {
                let method = Method::from_bytes(route.method.as_bytes()).unwrap();
                let matched = format!("{}/partitions/{{partition}}{}", profile.root, route.path);
                assert_eq!(find(&method, &matched), Some(route));
            }
            assert_eq!(find(&Method::GET, profile.root).unwrap().path, "/");
        }
        let head = find(&Method::HEAD, "/v2/studies").unwrap();
        assert_eq!(head.event, EventKind::Query);
        for (method, path) in [
            (Method::PATCH, "/v2/studies"),
            (Method::GET, "/v2x/studies"),
            (Method::GET, "/v2/studies/1.2"),
            (Method::GET, "/metrics"),
        ] {
            assert_eq!(find(&method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn the_event_of_a_row_is_what_it_does() {
        let of = |method: &Method, path: &str| find(method, &format!("/v2{path}")).unwrap().event;
        for (method, path, event) in [
            (Method::GET, "/studies", EventKind::Query),
            (Method::GET, "/studies/{study}/series", EventKind::Query),
            (Method::GET, "/studies/{study}", EventKind::Transferred),
            (
                Method::GET,
                "/studies/{study}/metadata",
                EventKind::Accessed,
            ),
            (Method::POST, "/studies", EventKind::Transferred),
            (Method::PUT, "/studies/{study}", EventKind::Transferred),
            (Method::DELETE, "/studies/{study}", EventKind::Deleted),
            (
                Method::POST,
                "/trash/studies/{study}/restore",
                EventKind::Restored,
            ),
            (Method::GET, "/changefeed", EventKind::Query),
            (Method::POST, "/extendedquerytags", EventKind::Configuration),
            (
                Method::DELETE,
                "/extendedquerytags/{tag}",
                EventKind::Configuration,
            ),
            (Method::GET, "/extendedquerytags", EventKind::Other),
            (Method::GET, "/operations/{id}", EventKind::Other),
        ] {
            assert_eq!(of(&method, path), event, "{method} {path}");
        }
    }
}
