//! One row of the map of routes.

use super::audit::kind::EventKind;
use super::place::is_partitioned;
use crate::auth::Action;

/// One row of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Method, in capitals.
    pub method: &'static str,
    /// Path below a root, with `{names}` for segments that vary.
    pub path: &'static str,
    /// What the caller must be allowed to do, all of it.
    pub actions: &'static [Action],
    /// What it is in the audit.
    pub event: EventKind,
    /// Path of the function that answers, which names it in descriptions.
    pub handler: &'static str,
}

impl Route {
    /// Whether the object is named by parameters (PS3.18 chapter 9) and not by the path.
    #[must_use]
    pub fn is_by_uri(&self) -> bool {
        self.handler == "wado_uri::retrieve_by_uri"
    }

    /// Whether what it is about belongs to patients, and so to one partition: then it is also answered below
    /// `/partitions/{partition}` of each root.
    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        is_partitioned(self.path)
    }
}
