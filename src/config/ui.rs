//! Settings of the web page.

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
}
