//! `stowage health`: asks a running server whether it is well, for container health checks.
//!
//! Invariant: over TLS only the very certificate of the configured file is believed, whatever name it has, because the
//! question goes to this machine.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};

use super::error::{StartError, chain};
use crate::config::Config;
use crate::http::tls::{leaf, provider};

/// Longest time for the whole question.
const TIME_LIMIT: Duration = Duration::from_secs(8);

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HealthReply {
    /// Status 200.
    Well,
    /// Another status.
    Unwell,
    /// It runs, and talks only to clients with a certificate.
    NotToYou,
}

/// Asks the server on the configured address for its health.
///
/// # Errors
/// When it cannot be reached or says it is not healthy.
pub(crate) async fn health(config: &Config) -> Result<(), StartError> {
    let unhealthy = |reason: String| StartError::Unhealthy(reason);
    let asked = tokio::time::timeout(TIME_LIMIT, ask(config)).await;
    match asked.map_err(|_| unhealthy("the server is silent".to_owned()))? {
        Ok(HealthReply::Well | HealthReply::NotToYou) => Ok(()),
        Ok(HealthReply::Unwell) => Err(unhealthy(
            "the server answered that a store cannot be used".to_owned(),
        )),
        Err(error) => Err(unhealthy(error)),
    }
}

async fn ask(config: &Config) -> Result<HealthReply, String> {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let reported = |e: io::Error| e.to_string();
    let stream = TcpStream::connect(address).await.map_err(reported)?;
    let Some((certificates, _)) = config.tls.pair()? else {
        return question(stream).await.map_err(reported);
    };
    let pinned = Pinned {
        leaf: leaf(&certificates).map_err(|e| chain(&e))?,
        provider: provider(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let client = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let handshaken = connector.connect(ServerName::IpAddress(address.ip().into()), stream);
    let answered = match handshaken.await {
        Ok(stream) => question(stream).await,
        Err(error) => Err(error),
    };
    answered.or_else(|error| {
        if wants_certificate(&error) {
            Ok(HealthReply::NotToYou)
        } else {
            Err(reported(error))
        }
    })
}

async fn question(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<HealthReply> {
    let text = b"GET /health/check HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(text).await?;
    stream.flush().await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(match head.get(9..12) {
        Some(b"200") => HealthReply::Well,
        _ => HealthReply::Unwell,
    })
}

/// Whether the server closed because no certificate was shown to it.
fn wants_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(Error::AlertReceived(AlertDescription::CertificateRequired))
    )
}

/// Believes one certificate.
#[derive(Debug)]
struct Pinned {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.leaf {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(
                "the server shows another certificate than the configured file".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
