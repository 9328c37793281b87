//! Webhooks: `stowage webhook`, those that a file names, and the tasks that make events and send them.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::error::{StartError, chain};
use super::stores::{StoreNeeds, open};
use crate::archive::services::deliver::{Outbox, deliver_for_ever};
use crate::archive::services::events::ReceiverKind;
use crate::archive::{Archive, WebhookRow};
use crate::config::{Config, RedeliverArgs, Secret, WebhookAction};
use crate::http::links::{Network, PublicUrl};
use crate::http::webhooks::deliver::{WebhookAnswer, WebhookSender};
use crate::http::webhooks::guard::ReceiverClient;
use crate::http::webhooks::{AskedWebhook, as_json, deliveries_json, test_event};
use crate::scope::Scope;
use crate::tasks::Need;

/// Longest file of webhooks, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// How a webhook of the file is told from others.
const FILE: &str = "file";
/// Deliveries that are listed.
const LISTED: u32 = 200;

/// What sends, as configured.
fn sender(config: &Config) -> Result<WebhookSender, StartError> {
    let named = config
        .events
        .webhook_networks
        .iter()
        .map(|text| text.trim());
    let networks = named
        .filter(|text| !text.is_empty())
        .map(str::parse::<Network>);
    let networks = networks.collect::<Result<Vec<_>, _>>();
    let networks =
        networks.map_err(|e| StartError::Config(format!("STOWAGE_WEBHOOK_NETWORKS: {e}")))?;
    let wait = Duration::from_secs(config.events.webhook_wait_seconds.max(1));
    let client = ReceiverClient::new(networks, wait);
    let client = client.map_err(|e| StartError::Config(chain(&e)))?;
    let base = config
        .http
        .public_url
        .as_deref()
        .map(str::parse::<PublicUrl>);
    let base = base
        .transpose()
        .map_err(|e| StartError::Config(format!("STOWAGE_PUBLIC_URL: {e}")))?;
    let base = base.map(|url| url.service());
    Ok(WebhookSender::new(client, base))
}

/// Pauses after failures.
pub(super) fn retry(config: &Config) -> Vec<Duration> {
    let retry = config.events.webhook_retry_seconds.iter().copied();
    retry.map(Duration::from_secs).collect()
}

/// Sends what is due to receivers of a kind from now on.
pub(super) fn begin_outbox(archive: &Archive, task: &'static str, outbox: Outbox) {
    let outbox = Arc::new(outbox);
    let (sending, from) = (Arc::clone(&outbox), archive.clone());
    archive.tasks().supervise(task, Need::May, move |watch| {
        deliver_for_ever(from.clone(), Arc::clone(&sending), watch)
    });
    let meter = Arc::new(move |out: &mut _| outbox.write_meters(out));
    archive.tasks().also_meter(meter);
}

/// Begins to make events and to send them; what routes need is returned.
pub(super) async fn begin(
    config: &Config,
    archive: &Archive,
) -> Result<Arc<WebhookSender>, StartError> {
    let sender = Arc::new(sender(config)?);
    take_file(config, archive, &sender).await?;
    let tasks = archive.tasks();
    let quiet = Duration::from_secs(config.events.quiet_seconds.max(1));
    let making = archive.clone();
    tasks.supervise("event-log", Need::May, move |watch| {
        making.clone().follow_event_log(quiet, watch)
    });
    let outbox = Outbox::new(ReceiverKind::Webhook, sender.clone(), retry(config));
    begin_outbox(archive, "webhooks", outbox);
    Ok(sender)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhooksFile {
    webhooks: Vec<FileWebhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileWebhook {
    name: String,
    url: String,
    #[serde(default)]
    events: Vec<String>,
    secret: Option<String>,
    secret_file: Option<std::path::PathBuf>,
}

/// Makes the webhooks of the file, brings those up to date that it made before, removes those that it no longer names.
async fn take_file(
    config: &Config,
    archive: &Archive,
    sender: &WebhookSender,
) -> Result<(), StartError> {
    let Some(path) = &config.events.webhooks_file else {
        return Ok(());
    };
    let wrong = |reason: String| {
        StartError::Config(format!(
            "STOWAGE_WEBHOOKS_FILE: {}: {reason}",
            path.display()
        ))
    };
    let size = std::fs::metadata(path)
        .map_err(|e| wrong(e.to_string()))?
        .len();
    if size > MAX_FILE {
        return Err(wrong("it has more than 1 MiB".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let file: WebhooksFile = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let known = archive.receivers(ReceiverKind::Webhook).await?;
    let mut kept = Vec::new();
    for asked in file.webhooks {
        let secret = match (asked.secret, &asked.secret_file) {
            (Some(secret), None) => secret,
            (None, Some(file)) => {
                let secret = Secret::from_file("secretFile", file);
                secret.map_err(|e| wrong(chain(&e)))?.expose().to_owned()
            }
            _ => {
                return Err(wrong(format!(
                    "{} needs one of secret and secretFile",
                    asked.name
                )));
            }
        };
        let asked = AskedWebhook {
            name: asked.name,
            url: asked.url,
            events: asked.events,
            secret: Some(secret),
        };
        let row = asked.row(sender, &Scope::everything(), None, FILE);
        let mut row = row.map_err(|reason| wrong(format!("{}: {reason}", asked.name)))?;
        match known.iter().find(|webhook| webhook.name == row.name) {
            Some(other) if other.origin != FILE => {
                return Err(wrong(format!(
                    "{} was made by a {} before",
                    row.name, other.origin
                )));
            }
            Some(same) => {
                row.id.clone_from(&same.id);
                let is_new =
                    (&same.url, &same.secret, &same.kinds) != (&row.url, &row.secret, &row.kinds);
                if is_new {
                    archive.change_webhook(&row).await?;
                }
            }
            None => {
                // Another node may read the same file.
                archive.add_webhook(&row).await?;
            }
        }
        kept.push(row.name);
    }
    let gone = known
        .iter()
        .filter(|one| one.origin == FILE && !kept.contains(&one.name));
    for webhook in gone {
        archive.remove_webhook(&webhook.id).await?;
    }
    Ok(())
}

/// Makes, lists, tests and removes webhooks; what is to be printed.
///
/// # Errors
/// When the stores cannot be used, or there is no such webhook.
pub(crate) async fn webhook(config: &Config, action: &WebhookAction) -> Result<String, StartError> {
    let archive = open(config, StoreNeeds::Archive).await?;
    let sender = sender(config)?;
    match action {
        WebhookAction::Add { name, url, events } => {
            let asked = AskedWebhook {
                name: name.clone(),
                url: url.clone(),
                events: events.clone(),
                secret: None,
            };
            let row = asked.row(&sender, &Scope::everything(), None, "command");
            let row = row.map_err(StartError::Config)?;
            if !archive.add_webhook(&row).await? {
                let reason =
                    format!("there is a webhook named {name} already, or there are too many");
                return Err(StartError::Config(reason));
            }
            Ok(format!("{}\n", row.secret))
        }
        WebhookAction::List { json } => {
            let webhooks = archive.receivers(ReceiverKind::Webhook).await?;
            if *json {
                let shown: Vec<_> = webhooks.iter().map(as_json).collect();
                return Ok(format!("{}\n", json!({ "webhooks": shown })));
            }
            Ok(table(
                &webhooks,
                &archive.count_deliveries(ReceiverKind::Webhook).await?,
            ))
        }
        WebhookAction::Show { name } => {
            let webhook = find(&archive, name).await?;
            let mut shown = as_json(&webhook);
            let deliveries = archive.open_deliveries(&webhook.id, LISTED).await?;
            shown["deliveries"] = deliveries_json(&deliveries);
            Ok(format!("{shown}\n"))
        }
        WebhookAction::Remove { name } => {
            archive
                .remove_webhook(&find(&archive, name).await?.id)
                .await?;
            Ok(format!("{name} is removed\n"))
        }
        WebhookAction::Enable { name } => {
            archive
                .disable_webhook(&find(&archive, name).await?.id, None)
                .await?;
            Ok(format!("{name} is told again\n"))
        }
        WebhookAction::Test { name } => {
            let webhook = find(&archive, name).await?;
            let partition = archive.partition_label(webhook.partition).await?;
            match sender
                .send(&webhook, &test_event(&webhook), &partition)
                .await
            {
                WebhookAnswer::Arrived(status) => Ok(format!("it arrived: {status}\n")),
                WebhookAnswer::Gone => Err(StartError::Config("it answered 410".to_owned())),
                WebhookAnswer::Failed(problem, _) => Err(StartError::Config(problem)),
            }
        }
        WebhookAction::Redeliver(RedeliverArgs { name, from, to }) => {
            let webhook = find(&archive, name).await?;
            let events = archive
                .redeliver(&webhook, *from, to.unwrap_or(i64::MAX))
                .await?;
            Ok(format!("{events} events are sent again\n"))
        }
    }
}

async fn find(archive: &Archive, name: &str) -> Result<WebhookRow, StartError> {
    let found = archive
        .receivers(ReceiverKind::Webhook)
        .await?
        .into_iter()
        .find(|webhook| webhook.name == name);
    found.ok_or_else(|| StartError::Config(format!("there is no webhook named {name}")))
}

fn table(webhooks: &[WebhookRow], counts: &[(String, u64, u64)]) -> String {
    let mut text = String::new();
    for webhook in webhooks {
        let counted = counts.iter().find(|(name, ..)| *name == webhook.name);
        let (waiting, dead) = counted.map_or((0, 0), |(_, waiting, dead)| (*waiting, *dead));
        let state = webhook.disabled.as_deref().unwrap_or("active");
        // Text grows.
        let _ = writeln!(
            text,
            "{} ({}): {}, {}; {waiting} waiting, {dead} given up; {state}",
            webhook.name,
            webhook.origin,
            webhook.url,
            webhook.kinds.join(","),
        );
    }
    text
}
