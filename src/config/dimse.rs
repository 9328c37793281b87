//! Settings of the DIMSE gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::units;

/// The DIMSE gateway; off without an address.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "DIMSE")]
pub struct DimseConfig {
    /// Address to listen on for DIMSE associations, for example `0.0.0.0:11112`; off when absent.
    #[arg(long, env = "STOWAGE_DIMSE_LISTEN", global = true)]
    pub dimse_listen: Option<SocketAddr>,
    /// Address to listen on for DIMSE over TLS, for example `0.0.0.0:2762`, with the certificate of `STOWAGE_TLS_CERT_FILE`; off when absent.
    #[arg(long, env = "STOWAGE_DIMSE_TLS_LISTEN", global = true)]
    pub dimse_tls_listen: Option<SocketAddr>,
    /// File to write `host:port` to once the gateway listens (for port 0).
    #[arg(long, env = "STOWAGE_DIMSE_ADDRESS_FILE", global = true)]
    pub dimse_address_file: Option<PathBuf>,
    /// AE title of this server; associations that call another one are rejected.
    #[arg(
        long,
        env = "STOWAGE_DIMSE_AE_TITLE",
        default_value = "STOWAGE",
        global = true
    )]
    pub dimse_ae_title: String,
    /// JSON file of the peers that may associate, with their addresses and rights; `any` lets everybody in.
    #[arg(long, env = "STOWAGE_DIMSE_PEERS", global = true)]
    pub dimse_peers: Option<String>,
    /// Associations at the same time; one address has almost half of them at most.
    #[arg(
        long,
        env = "STOWAGE_DIMSE_ASSOCIATIONS",
        default_value_t = 128,
        global = true
    )]
    pub dimse_associations: usize,
    /// Seconds without a byte from a peer, or taken by it, before its association is aborted.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_DIMSE_IDLE_SECONDS",
        default_value_t = 300,
        global = true
    )]
    pub dimse_idle_seconds: u64,
    /// Seconds an association may last, between two messages.
    #[arg(
        long,
        value_parser = units::seconds,
        value_name = "TIME",
        env = "STOWAGE_DIMSE_ASSOCIATION_SECONDS",
        default_value_t = 86400,
        global = true
    )]
    pub dimse_association_seconds: u64,
}
