//! What `upload` and `copy` share: the other server as the command line names it.

use std::time::Duration;

use super::output::say;
use crate::config::{Config, RemoteArgs, Secret};
use crate::http::remote::connection::{RemoteServer, RemoteSettings, RemoteToken, TOKEN_VARIABLE};
use crate::http::remote::error::RemoteError;
use crate::memory::{MemoryBudget, budget_bytes};
use crate::start::StartError;

/// The other server.
pub(super) fn server(url: &str, arguments: &RemoteArgs) -> Result<RemoteServer, StartError> {
    let set = std::env::var(TOKEN_VARIABLE).ok();
    let set = set.filter(|token| !token.is_empty());
    let token = match (set, &arguments.token_file) {
        (Some(_), Some(_)) => {
            let reason = format!("{TOKEN_VARIABLE} and --token-file are both set: set one of them");
            return Err(StartError::Config(reason));
        }
        (Some(token), None) => RemoteToken::Value(Secret::from(token.as_str())),
        (None, Some(file)) => RemoteToken::File(file.clone()),
        (None, None) => RemoteToken::None,
    };
    let server = RemoteServer::new(RemoteSettings {
        url: url.to_owned(),
        token,
        idle: Duration::from_secs(arguments.idle.max(1)),
        retries: arguments.retries,
    });
    let server = server.map_err(|error| StartError::Config(error.to_string()))?;
    if server.shows_token_to_others() {
        say("the token goes over http, where everybody on the way can read it: use https");
    }
    Ok(server)
}

/// Memory for answers, where there is no archive.
pub(super) fn budget(config: &Config) -> MemoryBudget {
    MemoryBudget::new(budget_bytes(config.limits.memory_bytes))
}

/// Why a command cannot go on.
pub(super) fn remote_failed(server: &RemoteServer, error: RemoteError) -> StartError {
    match error {
        RemoteError::Archive(error) => error.into(),
        RemoteError::Setup(reason) => StartError::Config(reason),
        error => StartError::Config(format!("{}: {error}", server.url())),
    }
}
