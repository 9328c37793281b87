//! What answers browsers and clients, as configured: links, origins, names of hosts, TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use super::error::{StartError, chain};
use crate::config::{AuthMode, Config};
use crate::http::layers::{CorsConfig, Origins};
use crate::http::links::{
    Hosts, LinksConfig, Network, ProxyHeaders, ProxyHeadersError, PublicUrl, Scheme, origin_of,
};
use crate::http::tls::{Tls, TlsFiles};

/// What the server speaks: TLS when it has a certificate.
pub(super) fn scheme(config: &Config) -> Scheme {
    match config.tls.tls_cert_file {
        Some(_) => Scheme::Https,
        None => Scheme::Http,
    }
}

/// Certificate and key, when they are configured.
pub(super) fn open_tls(config: &Config) -> Result<Option<Arc<Tls>>, StartError> {
    let pair = config.tls.pair().map_err(StartError::Config)?;
    let opened = pair.map(|(certificates, key)| {
        Tls::open(TlsFiles {
            certificates,
            key,
            client_roots: config.tls.tls_client_ca_file.clone(),
        })
    });
    let opened = opened.transpose();
    let tls = opened.map_err(|e| StartError::Config(format!("STOWAGE_TLS_*: {}", chain(&e))))?;
    Ok(tls.map(Arc::new))
}

/// Which pages and names are answered, as configured: without access control, as little as works on this machine alone.
pub(super) fn browsers(
    config: &Config,
    mode: AuthMode,
    public: Option<&PublicUrl>,
) -> Result<CorsConfig, StartError> {
    let tokens = mode != AuthMode::Off;
    let named = config.http.cors_origins.as_deref();
    let named = named.map(str::parse::<Origins>).transpose();
    let named = named.map_err(|e| StartError::Config(format!("STOWAGE_CORS_ORIGINS: {e}")))?;
    let networked = !config.listen.ip().is_loopback();
    // Where every page may call, a name keeps nobody out; and who listens for others, without access control and without
    // a public URL, has said that whoever gets here may come in.
    let any_name = tokens || named == Some(Origins::Any) || (networked && public.is_none());
    let hosts = if any_name {
        Hosts::Any
    } else {
        Hosts::local(networked, public)
    };
    let origins = match named {
        Some(origins) => origins,
        None if tokens => Origins::Any,
        None => Origins::Local {
            public: public.map(origin_of),
        },
    };
    Ok(CorsConfig {
        origins,
        hosts,
        tokens,
        cache: config.http.client_cache,
        ..CorsConfig::default()
    })
}

/// Where links point, as configured.
pub(super) fn links_config(
    config: &Config,
    address: SocketAddr,
) -> Result<LinksConfig, StartError> {
    let http = &config.http;
    let public_url = http
        .public_url
        .as_deref()
        .map(str::parse::<PublicUrl>)
        .transpose();
    let networks = http
        .trusted_proxies
        .iter()
        .map(|n| n.trim())
        .filter(|n| !n.is_empty());
    let trusted_proxies = networks
        .map(str::parse::<Network>)
        .collect::<Result<Vec<_>, _>>();
    Ok(LinksConfig {
        public_url: public_url
            .map_err(|e| StartError::Config(format!("STOWAGE_PUBLIC_URL: {e}")))?,
        trusted_proxies: trusted_proxies
            .map_err(|e| StartError::Config(format!("STOWAGE_TRUSTED_PROXIES: {e}")))?,
        proxy_headers: http.proxy_headers.parse::<ProxyHeaders>().map_err(
            |e: ProxyHeadersError| StartError::Config(format!("STOWAGE_PROXY_HEADERS: {e}")),
        )?,
        listen_port: address.port(),
        scheme: scheme(config),
    })
}
