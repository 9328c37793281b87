//! Store: parts in, a report out (PS3.18 §10.5).
//!
//! A part passes five stages, a file each: `receive` keeps it in memory while it is small and there is room, else in the
//! spool; `validate` parses it once, checks it and packs its rows; `persist` makes its blob durable; `commit` gives a
//! batch of instances their rows in one transaction; `report` decides what is said of it. `request` leads a request
//! through them: parts are validated and persisted while the next one arrives. Instances are independent: one that fails
//! does not touch the others, and what was acknowledged is durable.
//!
//! Memory: everything that grows is reserved first. A part that gets none in time fails with A700, and the whole request
//! with 503 when none of its parts is stored, exactly as a part that cannot be written; what is received in vain, because
//! not even a buffer for the spool was to be had, fails the request.

mod checks;
mod commit;
mod complete;
mod composed;
mod deidentified;
mod described;
mod options;
pub(in crate::archive) mod outcome;
mod parse_memory;
mod persist;
pub mod reason;
mod receive;
mod reparse;
mod report;
mod request;
mod validate;

pub use described::BulkDataBuffer;
pub use options::{StoreOptions, SubmittedInstance};
pub use outcome::Outcome;
pub use receive::IncomingPart;
pub use report::Report;
pub use request::StoreRequest;
