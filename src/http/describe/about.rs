//! What is said of each handler beside its method and path: one row each.
//!
//! Invariant: every handler of the map has its row, and every row its handler (a test looks).

mod instances;
mod management;
mod row;
mod worklist;

use row::{OK, row};

pub(super) use row::{ATTRIBUTES, About};

/// Said of a handler that has no row; a test keeps it from being needed.
static UNTOLD: About = row("undescribed", "Other", "Not described", &[], OK, &[]);

/// Every row, by what its handlers are about.
pub(super) static ABOUT: [&[About]; 3] = [instances::ROWS, management::ROWS, worklist::ROWS];

/// What is said of the handler at `path`, such as `qido::search_studies`.
pub(super) fn of(path: &str) -> &'static About {
    let name = path.rsplit("::").next().unwrap_or(path).trim();
    let found = ABOUT
        .into_iter()
        .flatten()
        .find(|about| about.handler == name);
    found.unwrap_or(&UNTOLD)
}
