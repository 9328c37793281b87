//! TLS to peers: whom this server trusts when it calls, and what it shows (PS3.15 Annex B).
//!
//! Invariant: files are read at each call, so renewed ones hold at once; a peer without `tls` is never called over it, and the
//! other way round.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::prompt::PromptStream;

/// How a peer is called over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTls {
    /// PEM file with the roots of its certificate.
    pub(super) roots: PathBuf,
    /// PEM files with the certificate this server shows, and its key.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: &dyn std::fmt::Display| {
        format!(
            "{} must hold certificates in PEM form: {error}",
            path.display()
        )
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
    let read: Result<Vec<_>, _> = read.collect();
    match read {
        Ok(read) if read.is_empty() => Err(unreadable(&"it has none")),
        Ok(read) => Ok(read),
        Err(error) => Err(unreadable(&error)),
    }
}

impl PeerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// With the file and what is wrong.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.roots)? {
            let path = self.roots.display();
            roots
                .add(root)
                .map_err(|error| format!("{path} has a certificate that is no root: {error}"))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = builder.with_root_certificates(roots);
        let Some((certificate, key)) = &self.own else {
            return Ok(builder.with_no_client_auth());
        };
        let path = key.display();
        let read = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("{path} must hold a private key in PEM form: {error}"))?;
        builder
            .with_client_auth_cert(certificates(certificate)?, read)
            .map_err(|error| format!("{path} does not belong to its certificate: {error}"))
    }

    /// Speaks TLS on a connection to a host.
    ///
    /// # Errors
    /// When the peer is not who it should be.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: PromptStream,
    ) -> io::Result<TlsStream<PromptStream>> {
        let files = self.clone();
        let config = tokio::task::spawn_blocking(move || files.config()).await?;
        let config = config.map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}
