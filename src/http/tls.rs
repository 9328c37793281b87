//! TLS: certificate and key from files, read again when they change, and clients' certificates where they are asked for.
//!
//! Invariant: files that do not fit together change nothing; what served before goes on serving, and the log says why.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::tasks::{Failure, Watch};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// Pause between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);
/// What is spoken inside of TLS, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Pause between two lines of the log about clients that failed to greet.
const TELL: Duration = Duration::from_secs(10);

/// When a client that failed to greet was told last, and how many failed since.
static FAILED: Mutex<(Option<Instant>, u64)> = Mutex::new((None, 0));

/// Tells in the log now and then with what reason no TLS could be agreed on with a client.
pub(super) fn tell_failed(reason: &dyn fmt::Display) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    let (last, since) = *failed;
    let since = since.saturating_add(1);
    if last.is_some_and(|last| last.elapsed() < TELL) {
        failed.1 = since;
        return;
    }
    *failed = (Some(Instant::now()), 0);
    drop(failed);
    tracing::warn!(%reason, since_last_told = since, "a TLS handshake failed");
}

/// The files TLS is made of, all in PEM form.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate of the server, then those between it and the root.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots that certificates of clients must lead to; without it clients need none.
    pub client_roots: Option<PathBuf>,
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path} must hold {what} in PEM form")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The files do not fit together.
    #[error("certificate and key cannot be used")]
    Mismatch(#[source] tokio_rustls::rustls::Error),
    /// The roots for clients cannot be used.
    #[error("{path} holds no root that certificates of clients could lead to")]
    ClientRoots {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: tokio_rustls::rustls::server::VerifierBuilderError,
    },
}

/// The contents of the files at one moment.
struct Contents {
    certificates: Vec<u8>,
    key: Vec<u8>,
    client_roots: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificates: read(&files.certificates)?,
            key: read(&files.key)?,
            client_roots: files.client_roots.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let roots = self.client_roots.as_deref().unwrap_or_default();
        for part in [&self.certificates, &self.key, roots] {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// What connections are greeted with, always the newest that worked.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    /// Of the files as last seen, whether they worked or not.
    seen: RwLock<blake3::Hash>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] when nothing could be served with them.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        Ok(Self {
            current: RwLock::new(Arc::new(server_config(&files, &contents)?)),
            seen: RwLock::new(contents.digest()),
            files,
        })
    }

    /// What the next connection is greeted with.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files now and then, for ever.
    ///
    /// # Errors
    /// When a look panicked.
    pub async fn follow(self: Arc<Self>, watch: Watch) -> Result<(), Failure> {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = Arc::clone(&self);
            // A file system may take its time.
            let looked = tokio::task::spawn_blocking(move || tls.look()).await;
            match looked? {
                Ok(true) => {
                    watch.well();
                    tracing::info!("the certificate was read again");
                }
                Ok(false) => {}
                Err(error) => {
                    watch.failed(&error);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the new certificate cannot be used; the old one stays"
                    );
                }
            }
        }
    }

    /// Reads the files again when they changed; whether they did and work.
    fn look(&self) -> Result<bool, TlsError> {
        // While a file is being replaced it may be missing; that is no news.
        let Ok(contents) = Contents::read(&self.files) else {
            return Ok(false);
        };
        let digest = contents.digest();
        {
            let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            if *seen == digest {
                return Ok(false);
            }
            *seen = digest;
        }
        let config = Arc::new(server_config(&self.files, &contents)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(true)
    }
}

/// The one crypto library of this program.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The first certificate of a file: the one the server shows.
///
/// # Errors
/// [`TlsError`] when there is none.
pub fn leaf(path: &Path) -> Result<CertificateDer<'static>, TlsError> {
    let mut chain = certificates(path, &read(path)?)?;
    Ok(chain.swap_remove(0))
}

fn server_config(files: &TlsFiles, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificates, &contents.certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key);
    let key = key.map_err(|_| TlsError::Unusable {
        path: files.key.clone(),
        what: "one private key without a password",
    })?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Mismatch)?;
    let builder = match (&files.client_roots, &contents.client_roots) {
        (Some(path), Some(text)) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(path, text)?);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|source| TlsError::ClientRoots {
                path: path.clone(),
                source,
            })?)
        }
        _ => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(TlsError::Mismatch)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// The certificates of a PEM text, one or several.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| TlsError::Unusable {
        path: path.to_owned(),
        what: "one certificate or more",
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Certificate and key of a new self-signed pair, in PEM form.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn write(folder: &Path, certificate: &str, key: &str) -> TlsFiles {
        let files = TlsFiles {
            certificates: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_roots: None,
        };
        std::fs::write(&files.certificates, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        files
    }

    #[test]
    fn files_that_do_not_fit_change_nothing_and_are_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let ((cert, key), (other_cert, other_key)) = (pair(), pair());
        let tls = Tls::open(write(folder.path(), &cert, &key)).unwrap();
        let first = tls.current();
        assert!(!tls.look().unwrap());
        write(folder.path(), &other_cert, &key);
        assert!(matches!(tls.look(), Err(TlsError::Mismatch(_))));
        assert!(!tls.look().unwrap(), "told once");
        assert!(Arc::ptr_eq(&first, &tls.current()));
        std::fs::remove_file(folder.path().join("key.pem")).unwrap();
        assert!(!tls.look().unwrap());
        write(folder.path(), &other_cert, &other_key);
        assert!(tls.look().unwrap());
        assert!(!Arc::ptr_eq(&first, &tls.current()));
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_without_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = pair();
        let (_, other_key) = pair();
        for (certificate, private, says) in [
            (
                key.as_str(),
                key.as_str(),
                "cert.pem must hold one certificate",
            ),
            ("", &key, "cert.pem must hold one certificate"),
            (&cert, &cert, "key.pem must hold one private key"),
            (&cert, "", "key.pem must hold one private key"),
            (&cert, &other_key, "cannot be used"),
        ] {
            let files = write(folder.path(), certificate, private);
            let error = Tls::open(files).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("BEGIN"), "{error}");
        }
        let files = TlsFiles {
            client_roots: Some(folder.path().join("none.pem")),
            ..write(folder.path(), &cert, &key)
        };
        let error = Tls::open(files).unwrap_err();
        assert!(error.to_string().contains("none.pem"), "{error}");
        let tls = Tls::open(write(folder.path(), &cert, &key)).unwrap();
        assert!(!format!("{tls:?}").contains("PRIVATE"));
    }
}
