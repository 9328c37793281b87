//! Keys that tokens are checked with, and for which algorithms each is good.
//!
//! Invariant: the algorithms come from the key, never from a token; symmetric keys come from the configuration only.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::Value;

use crate::config::Secret;

/// Most keys of one set or file.
const MAX_KEYS: usize = 100;
/// Shortest secret in bytes (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;

/// Why keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// It holds a private key, which does not belong on this server.
    #[error("it holds a private key; only the public one belongs here")]
    Private,
    /// It holds a certificate.
    #[error("it holds a certificate; extract its key with `openssl x509 -pubkey -noout`")]
    Certificate,
    /// A PEM block is not an RSA, P-256, P-384 or Ed25519 key.
    #[error("it holds something else than RSA, P-256, P-384 and Ed25519 public keys in PEM form")]
    Unsupported,
    /// There is no usable key.
    #[error("it holds no key that tokens could be checked with")]
    Empty,
    /// It is not a JSON Web Key Set.
    #[error("it is not a JSON Web Key Set")]
    NotAKeySet,
}

/// One key.
pub(super) struct VerificationKey {
    /// Its name in a key set.
    pub(super) id: Option<String>,
    /// What it can verify.
    pub(super) algorithms: Vec<Algorithm>,
    /// The key itself.
    pub(super) decoding: DecodingKey,
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Key");
        shown
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// The key of HS256, HS384 and HS512 tokens; none when the secret is too short.
pub(super) fn of_secret(secret: &Secret) -> Option<VerificationKey> {
    let bytes = secret.expose().as_bytes();
    (bytes.len() >= MIN_SECRET).then(|| VerificationKey {
        id: None,
        algorithms: AlgorithmFamily::Hmac.algorithms().to_vec(),
        decoding: DecodingKey::from_secret(bytes),
    })
}

/// The public keys of a PEM text, one or several.
pub(super) fn of_pem(text: &str) -> Result<Vec<VerificationKey>, KeyError> {
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1).take(MAX_KEYS) {
        let label = block.split("-----").next().unwrap_or_default();
        if label.contains("PRIVATE KEY") {
            return Err(KeyError::Private);
        } else if label.contains("CERTIFICATE") {
            return Err(KeyError::Certificate);
        } else if !label.ends_with("PUBLIC KEY") {
            continue;
        }
        keys.push(
            of_pem_block(format!("-----BEGIN {block}").as_bytes()).ok_or(KeyError::Unsupported)?,
        );
    }
    if keys.is_empty() {
        Err(KeyError::Empty)
    } else {
        Ok(keys)
    }
}

fn of_pem_block(pem: &[u8]) -> Option<VerificationKey> {
    let key = |decoding, algorithms| VerificationKey {
        id: None,
        algorithms,
        decoding,
    };
    if let Ok(decoding) = DecodingKey::from_rsa_pem(pem) {
        return Some(key(decoding, AlgorithmFamily::Rsa.algorithms().to_vec()));
    }
    if let Ok(decoding) = DecodingKey::from_ed_pem(pem) {
        return Some(key(decoding, vec![Algorithm::EdDSA]));
    }
    let decoding = DecodingKey::from_ec_pem(pem).ok()?;
    // An uncompressed point: one byte, then two coordinates.
    let algorithm = match decoding.try_get_as_bytes().ok()?.len() {
        65 => Algorithm::ES256,
        97 => Algorithm::ES384,
        _ => return None,
    };
    Some(key(decoding, vec![algorithm]))
}

/// The usable keys of a JSON Web Key Set (RFC 7517 §5); keys of unknown kinds are passed over.
pub(super) fn of_key_set(text: &[u8]) -> Result<Vec<VerificationKey>, KeyError> {
    let set: Value = serde_json::from_slice(text).map_err(|_| KeyError::NotAKeySet)?;
    let list = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(KeyError::NotAKeySet)?;
    let keys: Vec<VerificationKey> = list.iter().take(MAX_KEYS).filter_map(of_jwk).collect();
    if keys.is_empty() {
        Err(KeyError::Empty)
    } else {
        Ok(keys)
    }
}

fn of_jwk(value: &Value) -> Option<VerificationKey> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let wrong_use = jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|used| *used != PublicKeyUse::Signature);
    let operations = jwk.common.key_operations.as_ref();
    let wrong_operations = operations.is_some_and(|list| !list.contains(&KeyOperations::Verify));
    if wrong_use || wrong_operations {
        return None;
    }
    let possible: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms(),
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(parameters)
            if parameters.curve == EllipticCurve::Ed25519 =>
        {
            &[Algorithm::EdDSA]
        }
        // A symmetric key in a public document would let everybody sign.
        _ => return None,
    };
    let stated = value
        .get("alg")
        .map(|name| name.as_str().unwrap_or_default().parse::<Algorithm>());
    let algorithms = match stated {
        None => possible.to_vec(),
        Some(Ok(algorithm)) if possible.contains(&algorithm) => vec![algorithm],
        Some(_) => return None,
    };
    Some(VerificationKey {
        id: jwk.common.key_id.clone(),
        algorithms,
        decoding: DecodingKey::from_jwk(&jwk).ok()?,
    })
}
