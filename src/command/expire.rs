//! `stowage expire`: the rules of retention, now or only to see what they would do.

use super::output::{Verdict, say, say_where};
use crate::archive::services::retention::ExpiredStudy;
use crate::config::Config;
use crate::start::{self, StartError};

/// `stowage expire`.
///
/// # Errors
/// When there are no rules, or the stores cannot be used.
pub(super) async fn expire(config: &Config, dry_run: bool) -> Result<Verdict, StartError> {
    let heard = |study: &ExpiredStudy| {
        let ExpiredStudy {
            study,
            partition,
            rule,
            instances,
        } = study;
        say(&format!(
            "{study} of {partition}: {instances} instances, by the rule {rule}"
        ));
    };
    let report = start::expire(config, dry_run, heard).await?;
    say_where(config);
    if let Some(operation) = &report.operation {
        say(&format!("operation {operation}"));
    }
    let done = if dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    say(&format!(
        "{} studies judged: {} with {} instances {done}",
        report.judged, report.studies, report.instances
    ));
    Ok(Verdict::Well)
}
