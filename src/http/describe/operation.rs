//! The operations of a service: each row of the map with what is to be said of it.

use std::collections::HashSet;

use super::about::{self, About};
use crate::dicom::nonpatient::NonPatientKind;
use crate::http::route::Route;

/// A row of the map with what is to be said of it.
pub(super) struct RouteOperation {
    /// Unique among all operations: `searchSeriesOfStudy`.
    pub(super) id: String,
    pub(super) route: &'static Route,
    pub(super) about: &'static About,
}

impl RouteOperation {
    /// Names of the varying segments, in their order.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.route.path.split('/').filter_map(path_parameter)
    }
}

/// The name of a segment that varies; none of a fixed one.
pub(super) fn path_parameter(segment: &'static str) -> Option<&'static str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    Some(name.trim_start_matches('*'))
}

/// Every operation of a service, in the order of the map; asking for this list is not one of them (PS3.18 Annex H).
pub(super) fn operations(routes: &'static [Route]) -> Vec<RouteOperation> {
    let mut ids = HashSet::new();
    let described = routes.iter().filter(|route| route.method != "OPTIONS");
    described
        .map(|route| {
            let about = about::of(route.handler);
            let mut id = camel_case(about.handler);
            // Each resource of non-patient instances has the same handlers.
            let first = route.path.split('/').nth(1).unwrap_or_default();
            if let Some(kind) = NonPatientKind::of_name(first) {
                let resource = capitalised(&camel_case(&kind.as_str().replace('-', "_")));
                id = id.replace("Nonpatient", &resource);
            }
            let levels = ["frames", "instance", "series", "study"];
            let has = |name: &str| {
                route
                    .path
                    .split('/')
                    .any(|s| path_parameter(s) == Some(name))
            };
            if let Some(level) = levels.into_iter().find(|level| has(level)) {
                id.push_str("Of");
                id.push_str(&capitalised(level));
            }
            while !ids.insert(id.clone()) {
                let last = route.path.rsplit('/').next().unwrap_or_default();
                id.push_str("At");
                id.push_str(&capitalised(last.trim_matches(['{', '}', '*'])));
            }
            RouteOperation { id, route, about }
        })
        .collect()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |id, word| id + &capitalised(word))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
