//! Settings of the web page.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::access::Switch;

/// The web page.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Web page")]
pub struct UiConfig {
    /// Whether the server has a web page for people, which browsers that open `/` are led to.
    #[arg(long, env = "STOWAGE_UI", value_enum, default_value_t = Switch::On, global = true)]
    pub ui: Switch,
    /// Client id of the web page at the issuer; with it and an issuer people sign in there, by a code with PKCE.
    #[arg(long, env = "STOWAGE_UI_CLIENT_ID", global = true)]
    pub ui_client_id: Option<String>,
    /// Scopes that the web page asks the issuer for, separated by spaces.
    #[arg(
        long,
        env = "STOWAGE_UI_SCOPES",
        default_value = "openid profile",
        global = true
    )]
    pub ui_scopes: String,
    /// Longest life of a share link that is made on the web page; 0 for no links.
    #[arg(
        long,
        env = "STOWAGE_UI_LINK_TIME",
        value_parser = super::units::seconds,
        value_name = "TIME",
        default_value = "14d",
        global = true
    )]
    pub ui_link_time: u64,
    /// Other viewers that the web page offers to open a study in, as `Name=address`, separated by spaces; `{study}` in the address stands for the Study Instance UID.
    #[arg(
        long,
        env = "STOWAGE_UI_OPEN_IN",
        value_delimiter = ' ',
        value_name = "NAME=ADDRESS",
        global = true
    )]
    pub ui_open_in: Vec<OpenIn>,
    /// Folder with a static viewer, such as OHIF's published build, to be served at `/viewer/`.
    #[arg(long, env = "STOWAGE_VIEWER_DIR", value_name = "FOLDER", global = true)]
    pub viewer_dir: Option<PathBuf>,
}

/// Another viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIn {
    /// What people call it.
    pub name: String,
    /// Its address, with `{study}`.
    pub url: String,
}

/// It names no viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "another viewer is written as Name=address, with {{study}} in the address, such as Weasis=weasis://… or Other=https://host/viewer?study={{study}}; \
     the address must be no script and no data"
)]
pub struct OpenInError;

impl FromStr for OpenIn {
    type Err = OpenInError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, url) = text.split_once('=').ok_or(OpenInError)?;
        let scheme = url.split(':').next().unwrap_or_default();
        let runs = ["javascript", "data", "vbscript", "blob", "file"];
        let runs = runs
            .iter()
            .any(|bad| scheme.trim().eq_ignore_ascii_case(bad));
        let plain = url.bytes().all(|b| b.is_ascii_graphic());
        if name.trim().is_empty() || runs || !plain || !url.contains("{study}") {
            return Err(OpenInError);
        }
        Ok(Self {
            name: name.trim().to_owned(),
            url: url.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_viewer_has_a_name_and_an_address_that_runs_nothing() {
        let good: OpenIn = "Other=https://host/view?study={study}&a=b".parse().unwrap();
        assert_eq!(good.name, "Other");
        assert_eq!(good.url, "https://host/view?study={study}&a=b");
        for bad in [
            "",
            "Other",
            "=https://host/{study}",
            "Other=https://host/",
            "Other=javascript:alert('{study}')",
            "Other=DATA:text/html,{study}",
            "Other=https://host/{study} x",
        ] {
            assert_eq!(bad.parse::<OpenIn>(), Err(OpenInError), "{bad}");
        }
    }
}
