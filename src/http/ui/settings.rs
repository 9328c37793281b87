//! How the page is set up.

use crate::config::{OpenIn, UiConfig};

/// How the page is set up.
#[derive(Debug, Clone)]
pub struct UiSettings {
    /// The settings.
    pub config: UiConfig,
    /// Whether people must say who they are.
    pub signed_in: bool,
    /// Whether API keys are taken beside tokens.
    pub api_keys: bool,
    /// `iss` of tokens; where people sign in when a client id is set.
    pub issuer: Option<String>,
}

impl UiSettings {
    /// Where pages may send requests beside this server, as a Content-Security-Policy names it: the issuer, or nowhere.
    pub(in crate::http) fn connects_to(&self) -> String {
        let issuer = self.issuer.as_deref().and_then(origin);
        let issuer = issuer.filter(|_| self.config.ui_client_id.is_some());
        issuer.map_or_else(String::new, |issuer| format!(" {issuer}"))
    }

    /// Other viewers that a study can be opened in.
    pub(super) fn open_in(&self) -> Vec<OpenIn> {
        let own = self.config.viewer_dir.as_ref().map(|_| OpenIn {
            name: "OHIF".to_owned(),
            url: "../viewer/viewer?StudyInstanceUIDs={study}".to_owned(),
        });
        let named = self.config.ui_open_in.iter().cloned();
        named.chain(own).collect()
    }
}

/// Scheme, host and port of a URL, when they cannot leave their place in a header.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let known = ["http", "https"].contains(&scheme);
    (known && !host.is_empty() && host.bytes().all(sound)).then(|| format!("{scheme}://{host}"))
}
