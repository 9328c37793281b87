//! Who may do what: every route for every kind of caller, and what a caller can learn of what is not theirs.

mod api_keys;
mod browsers;
mod headers;
mod identity;
mod limited;
mod links;
mod scopes;
mod table;
mod told;
mod transport;
