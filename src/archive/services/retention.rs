//! Rules that delete studies when they are old: by partition and modality, counted from arrival or Study Date.
//!
//! Invariants: without a rule nothing is deleted; of several rules the first that fits a study decides, so one that keeps can
//! stand before one that deletes; a study is deleted only as it was when it was judged, as every delete is: it lies on the
//! trash for the grace period.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::archive::{Archive, Result};
use crate::config::names::{NAME_RULE, is_name};
use crate::config::units;
use crate::index::{AgedStudy, Operation, OperationKind, OperationStatus};
use crate::scope::{Partition, PartitionName};
use crate::tasks::{Failure, Watch};

/// Longest file of rules, in bytes.
const LONGEST: usize = 1 << 20;
/// Most rules.
const RULES: usize = 1000;
/// Studies judged at a time.
const BATCH: u32 = 500;
/// Pause between two runs of a server.
const PERIOD: Duration = Duration::from_secs(3600);
/// How long a node that is gone keeps others from going on.
const LEASE: Duration = Duration::from_secs(600);
/// Name of the lease.
const RETENTION: &str = "retention";
/// What `deleteAfter` is when nothing is deleted.
const NEVER: &str = "never";
/// Seconds of a year of 365.25 days.
const YEAR: u64 = 31_557_600;

/// Since when age counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum CountFrom {
    /// The first instance of the study came.
    #[default]
    Arrival,
    /// Study Date; a study without one is not deleted.
    StudyDate,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    name: String,
    partitions: Vec<PartitionName>,
    modalities: Vec<String>,
    from: CountFrom,
    /// Age in seconds; none for ever.
    after: Option<u64>,
}

/// A rule as the file has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenRule {
    name: String,
    #[serde(default)]
    partitions: Vec<String>,
    #[serde(default)]
    modalities: Vec<String>,
    #[serde(default)]
    count_from: CountFrom,
    delete_after: String,
}

impl RetentionRule {
    /// Reads a file of rules, a JSON array.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(text: &str) -> std::result::Result<Vec<Self>, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let rules: Vec<WrittenRule> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if rules.is_empty() || rules.len() > RULES {
            return Err(format!("it must hold 1 to {RULES} rules"));
        }
        rules.into_iter().map(Self::checked).collect()
    }

    fn checked(rule: WrittenRule) -> std::result::Result<Self, String> {
        let name = rule.name;
        if !is_name(&name) {
            return Err(NAME_RULE.to_owned());
        }
        let after = match rule.delete_after.as_str() {
            NEVER => None,
            text => Some(age(text).ok_or_else(|| {
                format!("deleteAfter of {name} must be a time with its unit, such as 30d or 10y, or never")
            })?),
        };
        let partitions = rule.partitions.iter().map(|text| {
            PartitionName::parse(text).map_err(|error| format!("partitions of {name}: {error}"))
        });
        Ok(Self {
            partitions: partitions.collect::<std::result::Result<_, _>>()?,
            modalities: rule.modalities,
            from: rule.count_from,
            after,
            name,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is about a study: all of its modalities are named, and its partition is.
    fn fits(&self, study: &AgedStudy, partition: &PartitionName) -> bool {
        let named = |modality: &String| self.modalities.contains(modality);
        let by_modality = self.modalities.is_empty()
            || (!study.modalities.is_empty() && study.modalities.iter().all(named));
        by_modality && (self.partitions.is_empty() || self.partitions.contains(partition))
    }

    /// Whether the time of a study that it fits is over.
    fn is_over(&self, study: &AgedStudy, now: OffsetDateTime) -> bool {
        let from = match self.from {
            CountFrom::Arrival => Some(study.arrived),
            CountFrom::StudyDate => study.study_date.as_deref().and_then(end_of_day),
        };
        let age = from.and_then(|from| u64::try_from((now - from).whole_seconds()).ok());
        matches!((age, self.after), (Some(age), Some(after)) if age >= after)
    }
}

/// A time with its unit, in seconds.
fn age(text: &str) -> Option<u64> {
    let seconds = match text.strip_suffix('y') {
        Some(years) => years.parse::<u64>().ok()?.checked_mul(YEAR)?,
        // A plain number would be seconds, which nobody means here.
        None if text.ends_with(|c: char| c.is_ascii_digit()) => return None,
        None => units::seconds(text).ok()?,
    };
    (seconds > 0).then_some(seconds)
}

/// The end of a day, in the last time zone in which it ends.
fn end_of_day(date: &str) -> Option<OffsetDateTime> {
    const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]");
    let day = Date::parse(date.trim(), DAY).ok()?;
    let next = day.next_day()?.midnight().assume_utc();
    next.checked_add(time::Duration::hours(12))
}

/// A study whose time was over by a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredStudy {
    /// Its UID.
    pub study: String,
    /// Where it was.
    pub partition: PartitionName,
    /// The rule.
    pub rule: String,
    /// Instances that were deleted, or would be.
    pub instances: u64,
}

/// What a run of rules did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Studies that were looked at.
    pub judged: u64,
    /// Studies that were deleted, or would be.
    pub studies: u64,
    /// Their instances.
    pub instances: u64,
    /// The operation, when anything was deleted.
    pub operation: Option<String>,
}

/// Hears of each study that was deleted, or would be.
pub type ExpiryListener = dyn Fn(ExpiredStudy) -> BoxFuture<'static, ()> + Send + Sync;

impl Archive {
    /// Deletes the studies whose time is over by rules; with `dry_run` it only says which these are.
    ///
    /// # Errors
    /// When the index fails; what is left is found by the next run.
    pub async fn expire_by_rules(
        &self,
        rules: &[RetentionRule],
        dry_run: bool,
        heard: &ExpiryListener,
    ) -> Result<RetentionReport> {
        let now = OffsetDateTime::now_utc();
        let mut report = RetentionReport::default();
        let mut operation = None;
        let done = self
            .judge_all(rules, dry_run, heard, now, (&mut report, &mut operation))
            .await;
        if let Some(mut operation) = operation {
            operation.status = match &done {
                Ok(()) => OperationStatus::Completed,
                Err(_) => OperationStatus::Failed,
            };
            operation.percent = if done.is_ok() { 100 } else { 0 };
            operation.results = Some(results(&report));
            self.index.save_operation(&operation).await?;
            report.operation = Some(operation.id);
        }
        done.map(|()| report)
    }

    async fn judge_all(
        &self,
        rules: &[RetentionRule],
        dry_run: bool,
        heard: &ExpiryListener,
        now: OffsetDateTime,
        (report, operation): (&mut RetentionReport, &mut Option<Operation>),
    ) -> Result<()> {
        let before = latest_arrival(rules, now);
        let mut names: HashMap<Partition, PartitionName> = HashMap::new();
        let mut after = 0;
        loop {
            let studies = self.index.aged_studies(before, after, BATCH).await?;
            let Some(last) = studies.last() else {
                return Ok(());
            };
            after = last.id;
            for study in &studies {
                report.judged += 1;
                let name = match names.get(&study.partition) {
                    Some(name) => name.clone(),
                    None => {
                        let name = self.partition_name(study.partition).await?;
                        names.insert(study.partition, name.clone());
                        name
                    }
                };
                let rule = rules.iter().find(|rule| rule.fits(study, &name));
                let Some(rule) = rule.filter(|rule| rule.is_over(study, now)) else {
                    continue;
                };
                let instances = if dry_run {
                    study.instances
                } else {
                    if operation.is_none() {
                        *operation = Some(self.begin_expiry().await?);
                    }
                    self.delete_aged(study).await?
                };
                // It changed since it was judged: the next run judges it anew.
                if instances == 0 {
                    continue;
                }
                report.studies += 1;
                report.instances += instances;
                let expired = ExpiredStudy {
                    study: study.uid.to_string(),
                    partition: name,
                    rule: rule.name.clone(),
                    instances,
                };
                heard(expired).await;
            }
        }
    }

    async fn delete_aged(&self, study: &AgedStudy) -> Result<u64> {
        let deleted = self.index.delete_aged(study).await;
        let instances = self.reads.changed(deleted).await?;
        if instances > 0 {
            self.meters.expired.one();
        }
        Ok(instances)
    }

    async fn begin_expiry(&self) -> Result<Operation> {
        let operation = Operation::new(
            Operation::new_id(),
            OperationKind::Expire,
            OperationStatus::Running,
        );
        self.index.begin_operation(&operation).await?;
        Ok(operation)
    }

    /// Has rules applied once an hour, by one node for all.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn expire_for_ever(
        self,
        rules: std::sync::Arc<[RetentionRule]>,
        heard: std::sync::Arc<ExpiryListener>,
        watch: Watch,
    ) -> std::result::Result<(), Failure> {
        let mut timer = tokio::time::interval(PERIOD);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            let run = async {
                if !self.index.take_lease(RETENTION, &self.node, LEASE).await? {
                    return Ok(RetentionReport::default());
                }
                self.expire_by_rules(&rules, false, &*heard).await
            };
            match run.await {
                Ok(report) => {
                    watch.well();
                    if report.studies > 0 {
                        let (studies, instances) = (report.studies, report.instances);
                        tracing::info!(
                            studies,
                            instances,
                            "studies were deleted by rules of retention"
                        );
                    }
                }
                Err(error) => {
                    watch.failed(&error);
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the rules of retention will be applied again");
                }
            }
        }
    }
}

/// Studies that arrived later than this need not be looked at.
fn latest_arrival(rules: &[RetentionRule], now: OffsetDateTime) -> OffsetDateTime {
    let ages = rules.iter().filter_map(|rule| match rule.from {
        CountFrom::Arrival => rule.after,
        CountFrom::StudyDate => rule.after.map(|_| 0),
    });
    let least = i64::try_from(ages.min().unwrap_or(u64::MAX)).unwrap_or(i64::MAX);
    now.checked_sub(time::Duration::seconds(least))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn results(report: &RetentionReport) -> String {
    json!({ "studies": report.studies, "instances": report.instances }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::uid::StudyUid;

    fn study(modalities: &[&str], days: i64, date: Option<&str>) -> AgedStudy {
        AgedStudy {
            id: 1,
            partition: Partition::DEFAULT,
            uid: StudyUid::parse("1.2").unwrap(),
            version: 1,
            arrived: now() - time::Duration::days(days),
            study_date: date.map(str::to_owned),
            modalities: modalities.iter().map(|m| (*m).to_owned()).collect(),
            instances: 3,
        }
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    /// The rule by which a study goes.
    fn goes<'r>(rules: &'r [RetentionRule], study: &AgedStudy, partition: &str) -> Option<&'r str> {
        let partition = PartitionName::parse(partition).unwrap();
        let rule = rules.iter().find(|rule| rule.fits(study, &partition))?;
        rule.is_over(study, now()).then_some(rule.name())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = RetentionRule::read(
            r#"[{"name": "trial", "partitions": ["trial-7"], "deleteAfter": "never"},
                {"name": "ultrasound", "modalities": ["US", "SR"], "deleteAfter": "2y"},
                {"name": "old", "countFrom": "studyDate", "deleteAfter": "10y"}]"#,
        )
        .unwrap();
        let cases = [
            (study(&["US"], 731, None), "north", Some("ultrasound")),
            (study(&["US"], 730, None), "north", None),
            (study(&["US", "SR"], 800, None), "north", Some("ultrasound")),
            (study(&["US"], 9000, None), "trial-7", None),
            // A CT beside makes it another study, which the last rule keeps.
            (study(&["CT", "US"], 800, None), "north", None),
            (study(&["CT"], 1, Some("20160101")), "north", Some("old")),
            (study(&["CT"], 9000, Some("20260101")), "north", None),
            (study(&["CT"], 9000, None), "north", None),
            (study(&["CT"], 9000, Some("nonsense")), "north", None),
            (study(&[], 9000, Some("20000101")), "north", Some("old")),
        ];
        for (study, partition, expected) in cases {
            assert_eq!(goes(&rules, &study, partition), expected, "{study:?}");
        }
        assert_eq!(latest_arrival(&rules, now()), now());
        assert!(latest_arrival(&rules[..2], now()) < now() - time::Duration::days(700));
        assert_eq!(
            latest_arrival(&rules[..1], now()),
            OffsetDateTime::UNIX_EPOCH
        );
    }

    #[test]
    fn rules_that_are_not_certain_are_refused() {
        for text in [
            "[]",
            "{}",
            r#"[{"name": "a"}]"#,
            r#"[{"name": "a", "deleteAfter": "30"}]"#,
            r#"[{"name": "a", "deleteAfter": "0d"}]"#,
            r#"[{"name": "a", "deleteAfter": "soon"}]"#,
            r#"[{"name": "a b", "deleteAfter": "1d"}]"#,
            r#"[{"name": "a", "deleteAfter": "1d", "modality": ["CT"]}]"#,
            r#"[{"name": "a", "deleteAfter": "1d", "partitions": ["../x"]}]"#,
            r#"[{"name": "a", "deleteAfter": "1d", "countFrom": "birth"}]"#,
        ] {
            assert!(RetentionRule::read(text).is_err(), "{text}");
        }
        let rules = RetentionRule::read(r#"[{"name": "a", "deleteAfter": "36h"}]"#).unwrap();
        assert_eq!(rules[0].after, Some(129_600));
    }
}
