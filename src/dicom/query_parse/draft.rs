//! Attributes and conditions of a search while it is read.

use super::problem::QueryProblem;
use crate::dicom::query::{Condition, TagPath};

/// An attribute the query string names.
#[derive(Debug, Clone)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) path: TagPath,
    pub(super) value: &'a str,
}

/// A condition, and whether the client wrote it as a range: one time of day becomes a range too, but is none.
pub(super) struct Draft {
    pub(super) condition: Condition,
    pub(super) ranged: bool,
    /// What is wrong unless the ends turn out to belong to different days.
    pub(super) reversed: Option<QueryProblem>,
}
