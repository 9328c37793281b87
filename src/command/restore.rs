//! `stowage restore`: what was deleted comes back from the trash, or is listed.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::{Verdict, say, say_where};
use crate::archive::services::restore::RestoreTarget;
use crate::archive::{Archive, ArchiveError, RemovalReason, TrashEntry, TrashFilter};
use crate::config::{Config, RestoreArgs};
use crate::dicom::uid::StudyUid;
use crate::scope::Scope;
use crate::start::{StartError, StoreNeeds, open};

/// Entries asked for at a time.
const PAGE: u32 = 200;

/// `stowage restore`.
///
/// # Errors
/// When the stores cannot be used, or a target is neither a UID nor a number.
pub(super) async fn restore(
    config: &Config,
    arguments: &RestoreArgs,
) -> Result<Verdict, StartError> {
    let targets = arguments.targets.iter().map(|text| {
        let wrong = || {
            let reason = format!(
                "{text} is neither the UID of a study nor the number of an entry: see `stowage restore --list`"
            );
            StartError::Config(reason)
        };
        target(text).ok_or_else(wrong)
    });
    let targets: Vec<RestoreTarget> = targets.collect::<Result<_, _>>()?;
    let archive = open(config, StoreNeeds::Archive).await?;
    say_where(config);
    let scope = Scope::everything();
    if arguments.list {
        list(&archive, &scope).await?;
    }
    let mut verdict = Verdict::Well;
    for (text, target) in arguments.targets.iter().zip(targets) {
        if !restore_one(&archive, &scope, text, target).await? {
            verdict = Verdict::Wrong;
        }
    }
    Ok(verdict)
}

/// A UID has a dot, the number of an entry has none.
fn target(text: &str) -> Option<RestoreTarget> {
    if text.contains('.') {
        return Some(RestoreTarget::Study(StudyUid::parse(text).ok()?));
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    number.map(RestoreTarget::Entry)
}

/// Whether everything came back.
async fn restore_one(
    archive: &Archive,
    scope: &Scope,
    text: &str,
    target: RestoreTarget,
) -> Result<bool, StartError> {
    let report = match archive.restore(scope, target).await {
        Err(error @ ArchiveError::NotFound { .. }) => {
            say(&format!("{text}: {error}"));
            return Ok(false);
        }
        report => report?,
    };
    for (instance, reason) in &report.problems {
        say(&format!("{instance}: {reason}"));
    }
    say(&format!(
        "{text}: {} instances restored, {} stored anyway, {} left on the trash",
        report.restored, report.stored, report.left
    ));
    Ok(report.left == 0)
}

async fn list(archive: &Archive, scope: &Scope) -> Result<(), StartError> {
    let mut filter = TrashFilter {
        limit: PAGE,
        ..TrashFilter::default()
    };
    loop {
        let entries = archive.trash(scope, &filter).await?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        filter.before = Some(last.id);
        for entry in &entries {
            say(&line(archive, entry));
        }
    }
}

/// One entry; UIDs, counts and times only.
fn line(archive: &Archive, entry: &TrashEntry) -> String {
    let target = &entry.target;
    let mut place = target.study().to_string();
    for uid in [
        target.series().map(ToString::to_string),
        target.instance().map(ToString::to_string),
    ]
    .into_iter()
    .flatten()
    {
        place.push('/');
        place.push_str(&uid);
    }
    let reason = match entry.reason {
        RemovalReason::Deleted => "deleted",
        RemovalReason::Expired => "expired",
        RemovalReason::Replaced => "replaced",
    };
    format!(
        "{}: {place}, {reason} {}, {} series, {} instances, {} bytes, until {}",
        entry.id,
        moment(entry.since),
        entry.series,
        entry.instances,
        entry.bytes,
        moment(archive.restorable_until(entry))
    )
}

fn moment(time: OffsetDateTime) -> String {
    let time = time.replace_nanosecond(0).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_study_or_the_number_of_an_entry() {
        let study = StudyUid::parse("1.2.3").unwrap();
        assert_eq!(target("1.2.3"), Some(RestoreTarget::Study(study)));
        assert_eq!(target("17"), Some(RestoreTarget::Entry(17)));
        for text in ["", "0", "-1", "1.2.x", "study", "1/2"] {
            assert_eq!(target(text), None, "{text}");
        }
    }
}
