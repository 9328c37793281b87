//! Workitems made of what arrives: when a study is quiet, each rule that fits it makes one.
//!
//! One node at a time follows the change feed, by a lease; how far it is stands in the index as an operation, so that another
//! node or a restarted one goes on there. Invariants: a rule makes one workitem of a study, because its UID is made from
//! both; the place that is kept is behind nothing that is still open; what was stored before the first rules came makes none.

use std::collections::BTreeMap;
use std::time::Duration;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::WorkitemError;
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::config::names::{NAME_RULE, is_name};
use crate::dicom::attributes::QueryLevel;
use crate::dicom::data_set::JsonDataSet;
use crate::dicom::query::{Case, Condition, Include, Matching, Query, TagPath};
use crate::dicom::query_parse::QueryDialect;
use crate::dicom::temporal::moment_of;
use crate::dicom::uid::{StudyUid, Target};
use crate::fault;
use crate::index::{
    ChangeAction, FeedRange, MatchedRow, Operation, OperationKind, OperationStatus,
};
use crate::memory::{Purpose, Reservation};
use crate::scope::{Partition, Scope, ScopeSet};
use crate::tasks::{Failure, Watch};

/// Pause between two looks at the feed.
const LOOK: Duration = Duration::from_secs(1);
/// How long a node that is gone keeps others from going on.
const LEASE: Duration = Duration::from_secs(30);
/// Name of the lease, and id of the operation.
const ARRIVALS: &str = "arrivals";
/// Entries of the feed read at a time.
const PAGE: u32 = 1000;
/// Most studies that are waited for; more wait in the feed.
const OPEN: usize = 100_000;
/// Memory of a study that is waited for.
const ENTRY: usize = 512;
/// Instances that a workitem lists; of more it names the series alone.
const LISTED: usize = 2000;
/// Memory of a workitem that is made.
const ROOM: usize = 4 << 20;
/// Longest file of rules, in bytes.
const LONGEST: usize = 1 << 20;
/// Most rules.
const RULES: usize = 100;

/// A rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArrivalRule {
    /// Names it; a part of the UIDs of its workitems.
    name: String,
    /// How long nothing must have come into the study.
    quiet_seconds: u64,
    /// Modalities of which the study must have one; none for any.
    #[serde(default)]
    modalities: Vec<String>,
    /// What its workitems have, in DICOM JSON, over what is taken from the study.
    #[serde(default)]
    workitem: Map<String, Value>,
}

impl ArrivalRule {
    /// Reads a file of rules, a JSON array.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(text: &str) -> std::result::Result<Vec<Self>, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let rules: Vec<Self> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if rules.is_empty() || rules.len() > RULES {
            return Err(format!("it must hold 1 to {RULES} rules"));
        }
        for (at, rule) in rules.iter().enumerate() {
            let name = &rule.name;
            if !is_name(name) {
                return Err(NAME_RULE.to_owned());
            }
            if rules.iter().take(at).any(|other| other.name == *name) {
                return Err(format!("two rules have the name {name}"));
            }
            if !(1..=86_400).contains(&rule.quiet_seconds) {
                return Err(format!("quietSeconds of {name} must be 1 to 86400"));
            }
        }
        Ok(rules)
    }

    fn fits(&self, modalities: &[String]) -> bool {
        let any = |wanted: &String| modalities.iter().any(|one| one == wanted);
        self.modalities.is_empty() || self.modalities.iter().any(any)
    }

    fn is_due(&self, last: OffsetDateTime, now: OffsetDateTime) -> bool {
        now - last >= Duration::from_secs(self.quiet_seconds)
    }

    /// UID of its workitem of a study (PS3.5 §B.2).
    fn uid(&self, study: &str) -> String {
        let hash = blake3::hash(format!("{ARRIVALS} {} {study}", self.name).as_bytes());
        let mut bytes = [0; 16];
        for (byte, from) in bytes.iter_mut().zip(hash.as_bytes()) {
            *byte = *from;
        }
        format!("2.25.{}", u128::from_be_bytes(bytes))
    }
}

/// A study into which something came.
#[derive(Debug, Clone)]
struct OpenStudy {
    /// Where in the feed that began.
    first: i64,
    last: OffsetDateTime,
    /// Rules that are done with it, by their places.
    done: Vec<usize>,
}

/// What the node that has the lease knows.
#[derive(Debug)]
struct Following {
    operation: Operation,
    /// How far the feed was read.
    after: i64,
    open: BTreeMap<(Partition, String), OpenStudy>,
    /// Memory of what is open.
    held: Reservation,
}

impl Following {
    /// The place from which on another process would have to read.
    fn place(&self) -> i64 {
        let first = self
            .open
            .values()
            .map(|study| study.first.saturating_sub(1));
        first.min().unwrap_or(self.after)
    }
}

impl Archive {
    /// Notes where the feed ends, unless it was noted before: what comes from now on is looked at.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn begin_arrivals(&self) -> Result<()> {
        self.begin_following().await.map(drop)
    }

    /// Follows the feed and makes workitems until the process ends.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn follow_arrivals(
        self,
        rules: std::sync::Arc<[ArrivalRule]>,
        watch: Watch,
    ) -> std::result::Result<(), Failure> {
        let mut timer = tokio::time::interval(LOOK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut following = None;
        loop {
            timer.tick().await;
            match self.look_at_arrivals(&rules, &mut following).await {
                Ok(()) => watch.well(),
                Err(error) => {
                    // What is known may be behind what was done.
                    following = None;
                    watch.failed(&error);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "workitems of what arrives will be made later"
                    );
                }
            }
        }
    }

    async fn look_at_arrivals(
        &self,
        rules: &[ArrivalRule],
        following: &mut Option<Following>,
    ) -> Result<()> {
        if !self.index.take_lease(ARRIVALS, &self.node, LEASE).await? {
            *following = None;
            return Ok(());
        }
        let known = match following {
            Some(known) => known,
            None => following.insert(self.begin_following().await?),
        };
        self.read_arrivals(known).await?;
        let now = OffsetDateTime::now_utc();
        let mut due = Vec::new();
        for (study, open) in &known.open {
            let ready = (0..)
                .zip(rules)
                .filter(|(at, rule)| !open.done.contains(at) && rule.is_due(open.last, now));
            due.extend(ready.map(|(at, _): (usize, _)| (study.clone(), at)));
        }
        for (study, at) in due {
            if let Some(rule) = rules.get(at) {
                self.apply(rule, study.0, &study.1).await?;
            }
            if let Some(open) = known.open.get_mut(&study) {
                open.done.push(at);
            }
        }
        known.open.retain(|_, open| open.done.len() < rules.len());
        known.held.shrink_to(known.open.len() * ENTRY);
        let place = known.place();
        if place != known.operation.position {
            known.operation.position = place;
            self.index.save_operation(&known.operation).await?;
        }
        Ok(())
    }

    /// Goes on where the one before was, or begins at the end of the feed.
    async fn begin_following(&self) -> Result<Following> {
        let operation = match self.index.operation(ARRIVALS).await? {
            Some(operation) => operation,
            None => {
                let newest = self.index.latest_change(&ScopeSet::everything()).await?;
                let operation = Operation {
                    position: newest.map_or(0, |change| change.sequence),
                    ..Operation::new(
                        ARRIVALS.to_owned(),
                        OperationKind::Arrivals,
                        OperationStatus::Running,
                    )
                };
                self.index.begin_operation(&operation).await?;
                operation
            }
        };
        Ok(Following {
            after: operation.position,
            operation,
            open: BTreeMap::new(),
            held: self.budget.nothing(Purpose::Background),
        })
    }

    async fn read_arrivals(&self, known: &mut Following) -> Result<()> {
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        while known.open.len() < OPEN {
            let most = (known.open.len() + page) * ENTRY;
            if most > known.held.bytes() {
                known.held.grow_to(most).await?;
            }
            let range = FeedRange::Following {
                after: known.after,
                limit: PAGE,
            };
            let changes = self.index.changes(&ScopeSet::everything(), &range).await?;
            let Some(newest) = changes.last() else { break };
            known.after = newest.sequence;
            for change in changes {
                if change.action == ChangeAction::Delete {
                    continue;
                }
                let study = (change.partition, change.name.study.to_string());
                let open = known.open.entry(study).or_insert_with(|| OpenStudy {
                    first: change.sequence,
                    last: change.timestamp,
                    done: Vec::new(),
                });
                open.last = open.last.max(change.timestamp);
            }
        }
        Ok(())
    }

    /// Makes the workitem of a rule, if the study is there and fits; one that exists is left alone.
    async fn apply(&self, rule: &ArrivalRule, partition: Partition, study: &str) -> Result<()> {
        let Ok(uid) = StudyUid::parse(study) else {
            return Ok(());
        };
        let scope = Scope {
            partition,
            ..Scope::everything()
        };
        let Some(found) = self.arrived(&scope, &uid).await? else {
            return Ok(());
        };
        if !rule.fits(&found.modalities) {
            return Ok(());
        }
        let mut held = self.budget.nothing(Purpose::Background);
        held.grow_to(ROOM).await?;
        let inputs = match self.inputs(&scope, uid).await {
            Ok(inputs) => inputs,
            Err(ArchiveError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let start = moment_of(OffsetDateTime::now_utc());
        let item = workitem(rule, study, &found.study, &inputs, &start);
        fault::point("arrivals.found");
        let uid = rule.uid(study);
        let created = self.create_workitem(&scope, item, Some(uid), QueryDialect::Standard, held);
        match created.await {
            Ok(_) | Err(WorkitemError::Exists) => {
                self.meters.arrivals.one();
            }
            Err(WorkitemError::Archive(error)) => return Err(error),
            // It would be refused for ever.
            Err(error) => {
                tracing::error!(rule = rule.name, %error, "a rule makes workitems that cannot be created");
            }
        }
        fault::point("arrivals.created");
        Ok(())
    }

    async fn arrived(&self, scope: &Scope, study: &StudyUid) -> Result<Option<MatchedRow>> {
        let query = Query {
            level: QueryLevel::Study,
            study: None,
            series: None,
            conditions: vec![Condition {
                path: TagPath::from(tags::STUDY_INSTANCE_UID),
                vr: VR::UI,
                matching: Matching::Single(study.to_string()),
                case: Case::Sensitive,
            }],
            include: Include::Fields(Vec::new()),
            limit: Some(1),
            offset: 0,
            order: None,
        };
        let page = self
            .index
            .search(scope, &query, &[], None, ROOM / 4)
            .await?;
        Ok(page.rows.into_iter().next())
    }

    /// Items of the Input Information Sequence (0040,4021), one for each series.
    async fn inputs(&self, scope: &Scope, study: StudyUid) -> Result<Vec<Value>> {
        let target = Target::Study(study.clone());
        let version = self.ask_version(scope, &target).await?;
        let instances = version.map_or(0, |version| version.instances);
        let listed = usize::try_from(instances).is_ok_and(|instances| instances <= LISTED);
        let mut rows = self.instances(scope, &target).await?;
        let mut series: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        while let Some(row) = rows.try_next().await? {
            let references = series.entry(row.name.series.to_string()).or_default();
            if listed {
                references.push(json!({
                    "00081150": { "vr": "UI", "Value": [row.sop_class] },
                    "00081155": { "vr": "UI", "Value": [row.name.instance.as_str()] },
                }));
            }
        }
        let item = |(uid, references): (String, Vec<Value>)| {
            let mut item = json!({
                "0020000D": { "vr": "UI", "Value": [study.as_str()] },
                "0020000E": { "vr": "UI", "Value": [uid] },
                "0040E020": { "vr": "CS", "Value": ["DICOM"] },
            });
            if let (false, Some(item)) = (references.is_empty(), item.as_object_mut()) {
                let references = json!({ "vr": "SQ", "Value": references });
                item.insert("00081199".to_owned(), references);
            }
            item
        };
        Ok(series.into_iter().map(item).collect())
    }
}

/// What of the study's attributes a workitem has.
const TAKEN: [&str; 7] = [
    "00080050", "00100010", "00100020", "00100021", "00100030", "00100040", "00101010",
];

/// A workitem for a study: what is known of it, and over that what the rule says.
fn workitem(
    rule: &ArrivalRule,
    study: &str,
    attributes: &str,
    inputs: &[Value],
    start: &str,
) -> JsonDataSet {
    let known: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
    let mut item = JsonDataSet::new();
    for name in TAKEN {
        if let Some(value) = known.get(name) {
            item.insert(name.to_owned(), value.clone());
        }
    }
    let mut set = |name: &str, value: Value| item.insert(name.to_owned(), value);
    set("0020000D", json!({ "vr": "UI", "Value": [study] }));
    set("00404005", json!({ "vr": "DT", "Value": [start] }));
    set("00404021", json!({ "vr": "SQ", "Value": inputs }));
    set("00404041", json!({ "vr": "CS", "Value": ["READY"] }));
    set("00741000", json!({ "vr": "CS", "Value": ["SCHEDULED"] }));
    set("00741200", json!({ "vr": "CS", "Value": ["MEDIUM"] }));
    set("00741204", json!({ "vr": "LO", "Value": [rule.name] }));
    for (name, value) in &rule.workitem {
        item.insert(name.to_ascii_uppercase(), value.clone());
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_what_is_wrong_is_said() {
        let text = r#"[{"name": "liver", "quietSeconds": 60, "modalities": ["CT"],
            "workitem": {"00741204": {"vr": "LO", "Value": ["Segment the liver"]}}}]"#;
        let rules = ArrivalRule::read(text).unwrap();
        assert!(rules[0].fits(&["CT".to_owned(), "SR".to_owned()]));
        assert!(!rules[0].fits(&["MR".to_owned()]));
        for (text, expected) in [
            ("{}", "expected a sequence"),
            ("[]", "1 to 100 rules"),
            (r#"[{"name": "a"}]"#, "quietSeconds"),
            (r#"[{"name": "a", "quietSeconds": 0}]"#, "1 to 86400"),
            (r#"[{"name": "a b", "quietSeconds": 5}]"#, "letters"),
            (
                r#"[{"name": "a", "quietSeconds": 5, "when": 1}]"#,
                "unknown field",
            ),
            (
                r#"[{"name": "a", "quietSeconds": 5}, {"name": "a", "quietSeconds": 6}]"#,
                "two rules",
            ),
        ] {
            let error = ArrivalRule::read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_workitem_has_what_is_known_of_the_study_and_what_the_rule_says() {
        let text = r#"[{"name": "liver", "quietSeconds": 60, "workitem": {"00741200": {"vr": "CS", "Value": ["HIGH"]}}}]"#;
        let rules = ArrivalRule::read(text).unwrap();
        let attributes =
            r#"{"00100020":{"vr":"LO","Value":["P1"]},"00081030":{"vr":"LO","Value":["Abdomen"]}}"#;
        let item = workitem(&rules[0], "1.2.3", attributes, &[], "20260101");
        assert_eq!(item["00100020"]["Value"][0], "P1");
        assert_eq!(item["00741200"]["Value"][0], "HIGH");
        assert_eq!(item["00741204"]["Value"][0], "liver");
        assert_eq!(item["00404005"]["Value"][0], "20260101");
        assert!(!item.contains_key("00081030"));
        assert_eq!(rules[0].uid("1.2.3"), rules[0].uid("1.2.3"));
        assert_ne!(rules[0].uid("1.2.3"), rules[0].uid("1.2.4"));
        assert!(crate::dicom::uid::check_uid(&rules[0].uid("1.2.3")).is_ok());
    }
}
