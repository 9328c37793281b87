//! API keys: `stowage key`, and the task that follows their file while a server runs.

use std::fmt::Write;

use serde_json::json;

use super::error::{StartError, chain};
use crate::auth::api_keys::{KeyEntry, KeyFileError, KeyLimits, add_key, list_keys, revoke_key};
use crate::auth::{AuthConfig, Authenticator};
use crate::config::{Config, KeyAction, KeyArgs};
use crate::tasks::{Need, Tasks};

/// Makes, lists or revokes keys; what is to be printed.
///
/// # Errors
/// When no file of keys is configured, or it cannot be used as was asked.
pub(crate) fn key(config: &Config, action: &KeyAction) -> Result<String, StartError> {
    let said = |error: KeyFileError| StartError::Config(chain(&error));
    let path = config.access.api_keys_file.as_deref();
    let path = path.ok_or(KeyFileError::NoFile).map_err(said)?;
    match action {
        KeyAction::Add(arguments) => {
            let access = AuthConfig::of_settings(&config.access);
            let roles = access.map_err(|e| StartError::Config(chain(&e)))?.roles;
            let key = add_key(path, &roles.names(), &arguments.name, &limits(arguments));
            Ok(format!("{}\n", key.map_err(said)?))
        }
        KeyAction::List { json: true } => {
            let keys = list_keys(path).map_err(said)?;
            let keys: Vec<_> = keys.iter().map(as_json).collect();
            Ok(format!("{}\n", json!({ "keys": keys })))
        }
        KeyAction::List { json: false } => Ok(table(&list_keys(path).map_err(said)?)),
        KeyAction::Revoke { name } => {
            revoke_key(path, name).map_err(said)?;
            Ok(format!("{name} is revoked\n"))
        }
    }
}

fn limits(arguments: &KeyArgs) -> KeyLimits {
    KeyLimits {
        roles: arguments.roles.clone(),
        patients: arguments.patients.clone(),
        studies: arguments.studies.clone(),
        partitions: arguments.partitions.clone(),
        read_only: arguments.read_only,
        seconds: Some(arguments.expires).filter(|seconds| *seconds > 0),
    }
}

fn as_json(key: &KeyEntry) -> serde_json::Value {
    json!({
        "name": key.name,
        "id": key.id,
        "state": key.state().as_str(),
        "roles": key.roles,
        "patients": key.patients,
        "studies": key.studies,
        "readOnly": key.read_only,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
    })
}

fn table(keys: &[KeyEntry]) -> String {
    let widest = keys.iter().map(|key| key.name.len()).max();
    let width = widest.unwrap_or(0).max(4);
    let mut text = format!(
        "{:width$}  {:7}  {:20}  RIGHTS\n",
        "NAME", "STATE", "EXPIRES"
    );
    for key in keys {
        let expires = key.expires.as_deref().unwrap_or("never");
        let mut rights = key.roles.join(",");
        if key.read_only {
            rights.push_str(", reading only");
        }
        for (what, limit) in [("patients", &key.patients), ("studies", &key.studies)] {
            if let Some(limit) = limit {
                rights.push_str(&format!(", {what} {}", limit.join(" ")));
            }
        }
        let (name, state) = (&key.name, key.state().as_str());
        // Text grows.
        let _ = writeln!(text, "{name:width$}  {state:7}  {expires:20}  {rights}");
    }
    text
}

/// Follows the file of keys, where one is named.
pub(super) fn follow(config: &Config, authenticator: &Authenticator, tasks: &Tasks) {
    let Some(keys) = authenticator.api_keys() else {
        return;
    };
    if let Some(path) = &config.access.api_keys_file {
        let path = path.display();
        match keys {
            0 => tracing::warn!("no API keys: the file {path} is not there or holds none"),
            keys => tracing::info!(keys, "API keys were read from {path}"),
        }
    }
    let authenticator = authenticator.clone();
    tasks.supervise("api-keys", Need::May, move |watch| {
        let authenticator = authenticator.clone();
        async move {
            authenticator
                .follow_api_keys(&|looked| match looked {
                    Ok(keys) => {
                        watch.well();
                        tracing::info!(keys, "the API keys were read again");
                    }
                    Err(error) => {
                        watch.failed(error);
                        tracing::warn!(
                            error = error as &dyn std::error::Error,
                            "the file of API keys cannot be used; the keys that were read before stay in force"
                        );
                    }
                })
                .await;
            Ok(())
        }
    });
}
