//! Rules of forwarding: which of what arrives is sent on to another server, and which instances that are at an event.
//!
//! Invariants: an instance goes to whoever a rule names once it is stored, and again only where it is not known that it
//! arrived; what a rule does not match never leaves.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use dicom_dictionary_std::tags;
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::Value;

use crate::archive::error::{ArchiveError, Result};
use crate::archive::services::search::paging::{CountMode, Paging};
use crate::archive::services::search::{FieldSelection, Write};
use crate::archive::{Archive, ChangeAction, FeedRange, InstanceRow, LoggedEvent};
use crate::config::names::{NAME_RULE, is_name};
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::Query;
use crate::dicom::query_parse::{self, QueryDialect, QueryResource, QueryWarning};
use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::{StudyUid, Target};
use crate::index::TagRow;
use crate::memory::{Purpose, Reservation};
use crate::scope::{PartitionName, Scope, ScopeSet};

/// Longest file of rules, in bytes.
const LONGEST: usize = 1 << 20;
/// Most rules.
const RULES: usize = 100;
/// Entries of the feed read at a time.
const PAGE: u32 = 1000;
/// Bytes that the UID of an instance takes, about.
const UID: usize = 256;
/// Most series of a study that a rule is asked about.
const SERIES: u64 = 10_000;
/// A study, to see whether keys can be asked for.
const ANY_STUDY: &str = "1.2.3";

/// When something is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ForwardWhen {
    /// As instances arrive: those, and no others of their study.
    #[default]
    Arrival,
    /// When the study is quiet: all of it.
    Quiet,
}

/// Where something is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardTarget {
    /// Another `DICOMweb` server.
    Web {
        /// Root of its service.
        url: String,
        /// A file with what it is shown.
        token_file: Option<PathBuf>,
    },
    /// A peer by its AE title.
    Peer(String),
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRule {
    name: String,
    destination: ForwardTarget,
    partition: PartitionName,
    when: ForwardWhen,
    /// Keys of a search for series; all must match.
    keys: Vec<(String, String)>,
}

/// A rule as the file has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenForwardRule {
    name: String,
    url: Option<String>,
    token_file: Option<PathBuf>,
    ae_title: Option<String>,
    partition: Option<String>,
    #[serde(default)]
    when: ForwardWhen,
    #[serde(default, rename = "match")]
    keys: BTreeMap<String, Value>,
}

impl ForwardRule {
    /// Reads a file of rules, a JSON array.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(text: &str) -> std::result::Result<Vec<Self>, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let written: Vec<WrittenForwardRule> =
            serde_json::from_str(text).map_err(|e| e.to_string())?;
        if written.len() > RULES {
            return Err(format!("it must hold {RULES} rules at most"));
        }
        let mut rules: Vec<Self> = Vec::with_capacity(written.len());
        for rule in written {
            let rule = Self::checked(rule)?;
            if rules.iter().any(|other| other.name == rule.name) {
                return Err(format!("two rules have the name {}", rule.name));
            }
            rules.push(rule);
        }
        Ok(rules)
    }

    fn checked(rule: WrittenForwardRule) -> std::result::Result<Self, String> {
        let name = rule.name;
        if !is_name(&name) {
            return Err(NAME_RULE.to_owned());
        }
        let destination = match (rule.url, rule.ae_title, rule.token_file) {
            (Some(url), None, token_file) => ForwardTarget::Web { url, token_file },
            (None, Some(title), None) => ForwardTarget::Peer(title),
            (None, Some(_), Some(_)) => {
                return Err(format!("{name}: tokenFile goes with url, not with aeTitle"));
            }
            _ => {
                return Err(format!(
                    "{name} needs one of url, the root of a DICOMweb service, and aeTitle, a peer of STOWAGE_DIMSE_PEERS"
                ));
            }
        };
        let partition = rule.partition.as_deref().map(PartitionName::parse);
        let partition = partition
            .transpose()
            .map_err(|error| format!("partition of {name}: {error}"))?;
        let mut keys = Vec::new();
        for (key, value) in rule.keys {
            let value = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                _ => {
                    return Err(format!(
                        "match of {name}: the value of {key} must be a string as in a search, such as \"CT\""
                    ));
                }
            };
            keys.push((key, value));
        }
        let rule = Self {
            name,
            destination,
            partition: partition.unwrap_or_default(),
            when: rule.when,
            keys,
        };
        rule.check_keys()?;
        Ok(rule)
    }

    /// Whether a search for series understands the keys, all of them.
    fn check_keys(&self) -> std::result::Result<(), String> {
        let wrong = |reason: String| format!("match of {}: {reason}", self.name);
        let taken = ["limit", "offset", "includefield", "orderby", "cursor"];
        for (key, _) in &self.keys {
            if taken.iter().any(|other| key.eq_ignore_ascii_case(other)) {
                return Err(wrong(format!("{key} is no attribute")));
            }
        }
        let study = StudyUid::parse(ANY_STUDY).map_err(|error| wrong(error.to_string()))?;
        let (_, warnings) = self.query(study, &[]).map_err(wrong)?;
        match warnings.into_iter().next() {
            // Whoever misspells a key must not send everything.
            Some(warning) => Err(wrong(warning)),
            None => Ok(()),
        }
    }

    /// A search for the series of a study that the rule is about, and what would not be done as asked.
    fn query(
        &self,
        study: StudyUid,
        tags: &[QueryTag],
    ) -> std::result::Result<(Query, Vec<String>), String> {
        let resource = QueryResource {
            level: QueryLevel::Series,
            study: Some(study),
            series: None,
        };
        let mut keys = self.keys.clone();
        keys.push(("limit".to_owned(), SERIES.to_string()));
        let parsed = query_parse::parse(&keys, resource, QueryDialect::Standard, tags)
            .map_err(|error| error.to_string())?;
        // A key without an index is matched all the same.
        let mut warnings = parsed.warnings;
        warnings.retain(|warning| !matches!(warning, QueryWarning::NotIndexed(_)));
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok((parsed.query, warnings))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it sends to.
    #[must_use]
    pub fn destination(&self) -> &ForwardTarget {
        &self.destination
    }

    /// The partition from which it sends.
    #[must_use]
    pub fn partition(&self) -> &PartitionName {
        &self.partition
    }

    /// Kinds of the events at which it sends.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        let kinds: &[&str] = match self.when {
            ForwardWhen::Arrival => &["study.arrived", "study.updated"],
            ForwardWhen::Quiet => &["study.quiet"],
        };
        kinds.iter().map(|&kind| kind.to_owned()).collect()
    }
}

/// What is to be sent at an event.
#[derive(Debug)]
pub struct ForwardedStudy {
    /// Where it is.
    pub scope: Scope,
    /// The study.
    pub target: Target,
    /// SOP Instance UIDs; none for all.
    instances: Option<HashSet<String>>,
    /// Series Instance UIDs; none for all.
    series: Option<HashSet<String>>,
    _held: Reservation,
}

impl ForwardedStudy {
    /// Whether an instance is to be sent.
    #[must_use]
    pub fn has(&self, row: &InstanceRow) -> bool {
        let named = |set: &Option<HashSet<String>>, uid: &str| {
            set.as_ref().is_none_or(|set| set.contains(uid))
        };
        named(&self.series, row.name.series.as_str())
            && named(&self.instances, row.name.instance.as_str())
    }

    /// Whether it is known that nothing is to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let none = |set: &Option<HashSet<String>>| set.as_ref().is_some_and(HashSet::is_empty);
        none(&self.series) || none(&self.instances)
    }
}

impl Archive {
    /// What a rule sends at an event; none when the event is not about a study.
    ///
    /// # Errors
    /// When the index fails or there is no memory for it now.
    pub async fn outgoing(
        &self,
        rule: &ForwardRule,
        scope: Scope,
        event: &LoggedEvent,
    ) -> Result<Option<ForwardedStudy>> {
        let study = event
            .study
            .as_deref()
            .and_then(|uid| StudyUid::parse(uid).ok());
        let Some(study) = study else {
            return Ok(None);
        };
        let mut held = self.budget.nothing(Purpose::Background);
        let instances = match rule.when {
            ForwardWhen::Quiet => None,
            ForwardWhen::Arrival => Some(
                self.arrived_instances(&scope, &study, event, &mut held)
                    .await?,
            ),
        };
        let nothing = instances.as_ref().is_some_and(HashSet::is_empty);
        let series = if nothing || rule.keys.is_empty() {
            None
        } else {
            Some(
                self.matching_series(rule, &scope, &study, &mut held)
                    .await?,
            )
        };
        Ok(Some(ForwardedStudy {
            scope,
            target: Target::Study(study),
            instances,
            series,
            _held: held,
        }))
    }

    /// Instances of a study that an event tells of as new or changed.
    async fn arrived_instances(
        &self,
        scope: &Scope,
        study: &StudyUid,
        event: &LoggedEvent,
        held: &mut Reservation,
    ) -> Result<HashSet<String>> {
        // It was written by this server.
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let number = |name: &str| data.get(name).and_then(Value::as_i64);
        let (Some(first), Some(last)) = (number("firstSequence"), number("lastSequence")) else {
            return Ok(HashSet::new());
        };
        let scopes = ScopeSet::from(scope);
        let mut found = HashSet::new();
        let mut after = first.saturating_sub(1);
        loop {
            let range = FeedRange::Following { after, limit: PAGE };
            let changes = self.index.changes(&scopes, &range).await?;
            let Some(newest) = changes.last() else { break };
            after = newest.sequence;
            held.grow_to(
                held.bytes()
                    .saturating_add(changes.len().saturating_mul(UID)),
            )
            .await?;
            for change in changes {
                let fits = change.sequence <= last
                    && change.action != ChangeAction::Delete
                    && change.name.study == *study;
                if fits {
                    found.insert(change.name.instance.to_string());
                }
            }
            if after >= last {
                break;
            }
        }
        Ok(found)
    }

    /// Series of a study that a rule is about.
    async fn matching_series(
        &self,
        rule: &ForwardRule,
        scope: &Scope,
        study: &StudyUid,
        held: &mut Reservation,
    ) -> Result<HashSet<String>> {
        let tags: Vec<TagRow> = self.ready_tags().await?;
        let known: Vec<QueryTag> = tags.iter().map(|row| row.tag.clone()).collect();
        let query = rule.query(study.clone(), &known);
        let (query, _) = query.map_err(ArchiveError::invalid)?;
        let found = Arc::new(Mutex::new(HashSet::new()));
        let noted = Arc::clone(&found);
        let write: Write = Arc::new(move |row| {
            let mut found = noted.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(row.series);
            Ok((String::new(), Box::new(None::<Vec<u8>>)))
        });
        let fields = FieldSelection {
            default: &[tags::SERIES_INSTANCE_UID],
            all: &[],
            required: &[],
            own_level_only: true,
        };
        let paging = Paging {
            before: None,
            counting: CountMode::Bounded,
        };
        let answer = self.search(scope, &query, &tags, fields, paging, write);
        let mut answer = answer.await?;
        let mut count = 0_u64;
        while let Some(part) = answer.parts.try_next().await? {
            held.grow_to(held.bytes().saturating_add(UID)).await?;
            count = count.saturating_add(1);
            drop(part);
        }
        if count >= SERIES || answer.left_out.count() > 0 {
            let reason =
                "it cannot be said of all series of the study whether the rule is about them";
            return Err(ArchiveError::invalid(reason));
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *found))
    }
}
