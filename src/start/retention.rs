//! Rules of retention: read once, applied by a task of the server or by `stowage expire`, told to the audit trail.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures_util::FutureExt;

use super::error::{StartError, chain};
use super::rules::RulesFile;
use super::stores::{StoreNeeds, open};
use crate::archive::Archive;
use crate::archive::services::retention::{
    ExpiredStudy, ExpiryListener, RetentionReport, RetentionRule,
};
use crate::config::Config;
use crate::http::audit::{AuditLog, EventKind, ForeignAccess};
use crate::tasks::Need;

/// The rules that the settings name.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn rules(config: &Config) -> Result<Option<Arc<[RetentionRule]>>, StartError> {
    let Some(file) = &config.storage.retention_rules else {
        return Ok(None);
    };
    let rules = RulesFile::new("STOWAGE_RETENTION_RULES", file).read(RetentionRule::read)?;
    Ok(Some(rules.into()))
}

/// Has the rules applied from now on.
pub(super) fn begin(archive: &Archive, rules: Arc<[RetentionRule]>, audit: &AuditLog) {
    let expiring = archive.clone();
    let heard: Arc<ExpiryListener> = Arc::from(listener(audit.clone()));
    let run = move |watch| {
        let archive = expiring.clone();
        archive.expire_for_ever(rules.clone(), heard.clone(), watch)
    };
    archive.tasks().supervise("retention", Need::May, run);
}

/// Writes an event for each study that was deleted.
fn listener(audit: AuditLog) -> Box<ExpiryListener> {
    Box::new(move |study| {
        let audit = audit.clone();
        async move {
            if audit.is_on() {
                audit.write_foreign(access(study)).await;
            }
        }
        .boxed()
    })
}

fn access(expired: ExpiredStudy) -> ForeignAccess {
    ForeignAccess {
        kind: EventKind::Deleted,
        action: "D",
        outcome: ("0", "done"),
        subject: "retention".to_owned(),
        system: "task",
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        details: vec![
            ("rule", expired.rule),
            ("partition", expired.partition.to_string()),
        ],
        studies: BTreeMap::from([(expired.study, expired.instances)]),
    }
}

/// Applies the rules once.
///
/// # Errors
/// When there are none, or the stores or the audit trail cannot be used.
pub(crate) async fn expire(
    config: &Config,
    dry_run: bool,
    heard: impl Fn(&ExpiredStudy) + Send + Sync + 'static,
) -> Result<RetentionReport, StartError> {
    let rules = rules(config)?.ok_or_else(|| {
        StartError::Config("there are no rules: set STOWAGE_RETENTION_RULES to a file".to_owned())
    })?;
    let archive = open(config, StoreNeeds::Archive).await?;
    let audit = AuditLog::open(&config.access.audit_settings(), archive.tasks());
    let (audit, end) = audit.map_err(|e| StartError::Config(chain(&e)))?;
    let written = listener(audit.clone());
    let both: Box<ExpiryListener> = Box::new(move |study| {
        heard(&study);
        if dry_run {
            return async {}.boxed();
        }
        written(study)
    });
    let report = archive.expire_by_rules(&rules, dry_run, &*both).await;
    // Whatever was deleted is written down, however it ended.
    drop((both, audit));
    end.wait().await;
    Ok(report?)
}
