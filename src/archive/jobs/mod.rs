//! What runs beside the requests: the committer, the sweeper, the scrubber, repairs.

pub mod commit;
pub(super) mod damage_reports;
mod expire;
pub(super) mod heal;
pub mod scrub;
pub mod sweep;
