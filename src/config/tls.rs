//! Settings of TLS.

use std::path::PathBuf;

use clap::Args;

/// TLS; without a certificate the server speaks plain HTTP.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsConfig {
    /// PEM file with the certificate of the server and those between it and the root; read again when it changes.
    #[arg(long, env = "STOWAGE_TLS_CERT_FILE", global = true)]
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    #[arg(long, env = "STOWAGE_TLS_KEY_FILE", global = true)]
    pub tls_key_file: Option<PathBuf>,
    /// PEM file with roots: clients must show a certificate that leads to one of them.
    #[arg(long, env = "STOWAGE_TLS_CLIENT_CA_FILE", global = true)]
    pub tls_client_ca_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Certificate and key; none when neither is set.
    ///
    /// # Errors
    /// A sentence that says which setting is missing.
    pub fn pair(&self) -> Result<Option<(PathBuf, PathBuf)>, String> {
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(certificate), Some(key)) => Ok(Some((certificate.clone(), key.clone()))),
            (Some(_), None) => Err("STOWAGE_TLS_CERT_FILE needs STOWAGE_TLS_KEY_FILE".to_owned()),
            (None, Some(_)) => Err("STOWAGE_TLS_KEY_FILE needs STOWAGE_TLS_CERT_FILE".to_owned()),
            (None, None) if self.tls_client_ca_file.is_some() => Err(
                "STOWAGE_TLS_CLIENT_CA_FILE needs STOWAGE_TLS_CERT_FILE and STOWAGE_TLS_KEY_FILE"
                    .to_owned(),
            ),
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_tls_is_none() {
        let file = || Some(PathBuf::from("x"));
        let tls = |cert, key, roots| TlsConfig {
            tls_cert_file: cert,
            tls_key_file: key,
            tls_client_ca_file: roots,
        };
        assert!(tls(None, None, None).pair().unwrap().is_none());
        assert!(tls(file(), file(), file()).pair().unwrap().is_some());
        for (half, missing) in [
            (tls(file(), None, None), "STOWAGE_TLS_KEY_FILE"),
            (tls(None, file(), file()), "STOWAGE_TLS_CERT_FILE"),
            (tls(None, None, file()), "STOWAGE_TLS_CERT_FILE"),
        ] {
            assert!(half.pair().unwrap_err().contains(missing));
        }
    }
}
