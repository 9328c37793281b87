//! Forwarding: rules of a file, kept as receivers of the outbox, each sent to by STOW-RS or C-STORE.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use time::OffsetDateTime;

use super::error::StartError;
use super::rules::RulesFile;
use super::stores::{StoreNeeds, open};
use super::webhooks::{begin_outbox, retry};
use crate::archive::services::deliver::{Attempt, DeliverySender, Outbox};
use crate::archive::services::events::{MOST_WEBHOOKS, ReceiverKind, new_receiver_id};
use crate::archive::services::forward::{ForwardRule, ForwardTarget, ForwardedStudy};
use crate::archive::{Archive, ArchiveError, LoggedEvent, WebhookRow};
use crate::config::{Config, ForwardAction, RedeliverArgs};
use crate::dimse::client::PeerClient;
use crate::http::audit::{AuditLog, EventKind, ForeignAccess};
use crate::http::remote::connection::{RemoteServer, RemoteSettings, RemoteToken};
use crate::http::remote::error::RemoteError;
use crate::http::remote::stored::SentStudy;
use crate::http::webhooks::deliveries_json;
use crate::scope::{Scope, Visible};

/// Time within which something must move on the way to another `DICOMweb` server.
const IDLE: Duration = Duration::from_secs(60);
/// Deliveries that are listed.
const LISTED: u32 = 200;

/// The other side of a rule.
enum OtherServer {
    Web(Box<RemoteServer>),
    Peer(Box<PeerClient>),
}

/// A rule with its other side.
struct ForwardRoute {
    rule: ForwardRule,
    to: OtherServer,
}

/// Sends what arrived by rules.
struct Forwarder {
    archive: Archive,
    audit: AuditLog,
    /// By names of rows.
    routes: HashMap<String, ForwardRoute>,
}

/// How a study was sent.
enum ForwardFailure {
    /// It may go well later; how long the other side asks to be left alone.
    Later(String, Option<Duration>),
    Archive(ArchiveError),
}

impl From<ArchiveError> for ForwardFailure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

/// The rules that the settings name, each with its other side.
fn routes(config: &Config, archive: &Archive) -> Result<Vec<ForwardRoute>, StartError> {
    let Some(file) = &config.events.forward_rules else {
        return Ok(Vec::new());
    };
    let file = RulesFile::new("STOWAGE_FORWARD_RULES", file);
    let wrong = |reason: String| file.wrong(&reason);
    let mut routes = Vec::new();
    for rule in file.read(ForwardRule::read)? {
        let name = rule.name();
        let to = match rule.destination() {
            ForwardTarget::Web { url, token_file } => {
                let server = RemoteServer::new(RemoteSettings {
                    url: url.clone(),
                    token: token_file
                        .clone()
                        .map_or(RemoteToken::None, RemoteToken::File),
                    idle: IDLE,
                    // The outbox tries again.
                    retries: 0,
                });
                let server = server.map_err(|error| wrong(format!("{name}: {error}")))?;
                if server.shows_token_to_others() {
                    tracing::warn!(
                        rule = name,
                        "a token goes over http, where everybody on the way can read it: use https"
                    );
                }
                OtherServer::Web(Box::new(server))
            }
            ForwardTarget::Peer(title) => {
                let peer = PeerClient::new(&config.dimse, title);
                let peer = peer.map_err(|error| wrong(format!("{name}: {error}")))?;
                OtherServer::Peer(Box::new(peer.within(archive.budget().clone())))
            }
        };
        if !rule.partition().is_default() && !archive.has_partitions() {
            let reason = format!("{name}: its partition needs STOWAGE_PARTITIONS=on");
            return Err(wrong(reason));
        }
        routes.push(ForwardRoute { rule, to });
    }
    Ok(routes)
}

/// Begins to forward what arrives from now on.
pub(super) async fn begin(
    config: &Config,
    archive: &Archive,
    audit: &AuditLog,
) -> Result<(), StartError> {
    let routes = routes(config, archive)?;
    take_rules(archive, &routes).await?;
    if routes.is_empty() {
        return Ok(());
    }
    let row_name = |name: &str| ReceiverKind::Forward.row_name(name);
    let named = routes
        .into_iter()
        .map(|route| (row_name(route.rule.name()), route));
    let forwarder = Forwarder {
        archive: archive.clone(),
        audit: audit.clone(),
        routes: named.collect(),
    };
    let outbox = Outbox::new(ReceiverKind::Forward, Arc::new(forwarder), retry(config));
    begin_outbox(archive, "forward", outbox);
    Ok(())
}

/// Makes a row of each rule, and removes those of rules that there are no more.
async fn take_rules(archive: &Archive, routes: &[ForwardRoute]) -> Result<(), StartError> {
    let known = archive.receivers(ReceiverKind::Forward).await?;
    let mut kept = Vec::new();
    for ForwardRoute { rule, .. } in routes {
        let row = row(archive, rule).await?;
        let same = known.iter().find(|one| one.name == row.name);
        match same {
            Some(same) if same.partition == row.partition => {
                if (&same.url, &same.kinds) != (&row.url, &row.kinds) {
                    let id = same.id.clone();
                    archive
                        .change_webhook(&WebhookRow { id, ..row.clone() })
                        .await?;
                }
            }
            _ => {
                if let Some(other) = same {
                    archive.remove_webhook(&other.id).await?;
                }
                // Another node may read the same file.
                archive.add_webhook(&row).await?;
            }
        }
        kept.push(row.name);
    }
    let made = archive.receivers(ReceiverKind::Forward).await?;
    if let Some(lost) = kept
        .iter()
        .find(|name| made.iter().all(|row| row.name != **name))
    {
        let name = ReceiverKind::Forward.name_of(lost).unwrap_or_default();
        return Err(StartError::Config(format!(
            "STOWAGE_FORWARD_RULES: there is no place for {name}: {MOST_WEBHOOKS} webhooks and rules are the most"
        )));
    }
    for gone in known.iter().filter(|one| !kept.contains(&one.name)) {
        archive.remove_webhook(&gone.id).await?;
    }
    Ok(())
}

async fn row(archive: &Archive, rule: &ForwardRule) -> Result<WebhookRow, StartError> {
    Ok(WebhookRow {
        id: new_receiver_id(),
        name: ReceiverKind::Forward.row_name(rule.name()),
        partition: archive.make_partition(rule.partition()).await?,
        url: match rule.destination() {
            ForwardTarget::Web { url, .. } => url.clone(),
            ForwardTarget::Peer(title) => format!("dicom:{title}"),
        },
        secret: String::new(),
        kinds: rule.kinds(),
        owner: None,
        visible: Visible::All,
        origin: ReceiverKind::FORWARD.to_owned(),
        created: OffsetDateTime::now_utc(),
        disabled: None,
        cursor: 0,
    })
}

impl DeliverySender for Forwarder {
    fn serves(&self, receiver: &WebhookRow) -> bool {
        self.routes.contains_key(&receiver.name)
    }

    fn attempt<'a>(
        &'a self,
        receiver: &'a WebhookRow,
        event: &'a LoggedEvent,
        partition: &'a str,
    ) -> BoxFuture<'a, Attempt> {
        async move {
            let Some(route) = self.routes.get(&receiver.name) else {
                let reason = "the rules of this node do not have it";
                return Attempt::Failed(reason.to_owned(), None);
            };
            let scope = Scope {
                partition: receiver.partition,
                visible: Visible::All,
            };
            match self.forward(route, scope, event).await {
                Ok(None) => Attempt::Arrived,
                Ok(Some(sent)) => {
                    let study = event.study.clone().unwrap_or_default();
                    self.note(route, study, partition, &sent).await;
                    match problem(&sent) {
                        None => Attempt::Arrived,
                        Some(problem) => Attempt::Failed(problem, None),
                    }
                }
                // It was deleted: nothing is left to be sent.
                Err(ForwardFailure::Archive(ArchiveError::NotFound { .. })) => Attempt::Arrived,
                Err(ForwardFailure::Archive(error)) => Attempt::Failed(error.to_string(), None),
                Err(ForwardFailure::Later(problem, pause)) => Attempt::Failed(problem, pause),
            }
        }
        .boxed()
    }
}

impl Forwarder {
    /// Sends what a rule sends at an event; none when that is nothing.
    async fn forward(
        &self,
        route: &ForwardRoute,
        scope: Scope,
        event: &LoggedEvent,
    ) -> Result<Option<SentStudy>, ForwardFailure> {
        let outgoing = self.archive.outgoing(&route.rule, scope, event).await?;
        let Some(outgoing) = outgoing.filter(|outgoing| !outgoing.is_empty()) else {
            return Ok(None);
        };
        let sent = match &route.to {
            OtherServer::Web(server) => {
                let sent = server.send_stored(&self.archive, &outgoing).await;
                sent.map_err(|error| match error {
                    RemoteError::Archive(error) => ForwardFailure::Archive(error),
                    RemoteError::Refused { pause, .. } => {
                        ForwardFailure::Later(error.to_string(), pause)
                    }
                    error => ForwardFailure::Later(error.to_string(), None),
                })?
            }
            OtherServer::Peer(peer) => self.send_to_peer(peer, &outgoing).await?,
        };
        Ok(Some(sent))
    }

    async fn send_to_peer(
        &self,
        peer: &PeerClient,
        outgoing: &ForwardedStudy,
    ) -> Result<SentStudy, ForwardFailure> {
        let mut sent = SentStudy::default();
        let skip = |row: &_| !outgoing.has(row);
        let done = peer
            .send_within(
                &self.archive,
                &outgoing.scope,
                &outgoing.target,
                &skip,
                &mut |delivery| match delivery.failure {
                    None => sent.arrived = sent.arrived.saturating_add(1),
                    Some(reason) => sent.refuse(reason),
                },
            )
            .await;
        match done {
            Ok(()) => Ok(sent),
            Err(crate::dimse::client::ClientError::Archive(error)) => Err(error.into()),
            Err(error) => Err(ForwardFailure::Later(error.to_string(), None)),
        }
    }

    /// Tells the audit trail that instances left.
    async fn note(&self, route: &ForwardRoute, study: String, partition: &str, sent: &SentStudy) {
        if !self.audit.is_on() || sent.arrived == 0 {
            return;
        }
        let to = match route.rule.destination() {
            ForwardTarget::Web { url, .. } => url.clone(),
            ForwardTarget::Peer(title) => title.clone(),
        };
        self.audit
            .write_foreign(ForeignAccess {
                kind: EventKind::Transferred,
                action: "R",
                outcome: ("0", "sent"),
                subject: "forward".to_owned(),
                system: "task",
                source: IpAddr::V4(Ipv4Addr::LOCALHOST),
                details: vec![
                    ("rule", route.rule.name().to_owned()),
                    ("to", to),
                    ("partition", partition.to_owned()),
                ],
                studies: BTreeMap::from([(study, sent.arrived)]),
            })
            .await;
    }
}

/// What did not arrive, and why; none when everything did.
fn problem(sent: &SentStudy) -> Option<String> {
    if sent.refused == 0 {
        return None;
    }
    let all = sent.arrived.saturating_add(sent.refused);
    let mut text = format!("{} of {all} instances did not arrive", sent.refused);
    for (reason, count) in &sent.reasons {
        // Text grows.
        let _ = write!(text, "; {count}: {reason}");
    }
    Some(text)
}

/// Lists rules of forwarding with what waits, shows one, or sends again; what is to be printed.
///
/// # Errors
/// When the stores cannot be used, or there is no such rule.
pub(crate) async fn forward(config: &Config, action: &ForwardAction) -> Result<String, StartError> {
    let archive = open(config, StoreNeeds::Archive).await?;
    match action {
        ForwardAction::List { json } => {
            let rules = archive.receivers(ReceiverKind::Forward).await?;
            let counts = archive.count_deliveries(ReceiverKind::Forward).await?;
            let counted = |row: &WebhookRow| {
                let name = ReceiverKind::Forward.name_of(&row.name).unwrap_or_default();
                let counted = counts.iter().find(|(other, ..)| other == name);
                let (waiting, dead) =
                    counted.map_or((0, 0), |(_, waiting, dead)| (*waiting, *dead));
                (name.to_owned(), waiting, dead)
            };
            if *json {
                let shown: Vec<_> = rules
                    .iter()
                    .map(|row| {
                        let (name, waiting, dead) = counted(row);
                        json!({
                            "name": name, "to": row.url, "events": row.kinds, "waiting": waiting, "givenUp": dead,
                        })
                    })
                    .collect();
                return Ok(format!("{}\n", json!({ "rules": shown })));
            }
            let mut text = String::new();
            for row in &rules {
                let (name, waiting, dead) = counted(row);
                let (to, kinds) = (&row.url, row.kinds.join(","));
                // Text grows.
                let _ = writeln!(
                    text,
                    "{name}: {to}, {kinds}; {waiting} waiting, {dead} given up"
                );
            }
            Ok(text)
        }
        ForwardAction::Show { name } => {
            let rule = find(&archive, name).await?;
            let deliveries = archive.open_deliveries(&rule.id, LISTED).await?;
            let shown = json!({
                "name": name, "to": rule.url, "events": rule.kinds, "deliveries": deliveries_json(&deliveries),
            });
            Ok(format!("{shown}\n"))
        }
        ForwardAction::Redeliver(RedeliverArgs { name, from, to }) => {
            let rule = find(&archive, name).await?;
            let last = to.unwrap_or(i64::MAX);
            let events = archive.redeliver(&rule, *from, last).await?;
            Ok(format!("what came with {events} events is sent again\n"))
        }
    }
}

async fn find(archive: &Archive, name: &str) -> Result<WebhookRow, StartError> {
    let row_name = ReceiverKind::Forward.row_name(name);
    let found = archive
        .receivers(ReceiverKind::Forward)
        .await?
        .into_iter()
        .find(|row| row.name == row_name);
    found.ok_or_else(|| {
        StartError::Config(format!(
            "there is no rule of forwarding named {name}: see stowage forward list"
        ))
    })
}
