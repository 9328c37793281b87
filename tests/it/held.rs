//! Attacks that were tried from outside and held, as tables: a row that is added is an attack that must hold from then on.
//!
//! Smuggled requests, heads and paths stand in `hostile::doors`, truncated and lying files in `hostile::bodies`.

mod browser;
mod floods;
mod scopes;
mod texts;
mod tokens;
