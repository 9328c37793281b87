//! Keys that sign tokens, and tokens of every kind, good and bad.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

/// Issuer of tokens of a configured key.
pub(crate) const ISSUER: &str = "urn:stowage:test";
/// Audience of all tokens.
pub(crate) const AUDIENCE: &str = "stowage";
/// A secret of the length that is needed.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A new RSA key of 2048 bits in PEM form: the private half, and the public one.
pub(crate) fn rsa_key() -> (String, String) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    (
        pem("PRIVATE KEY", private.as_ref()),
        pem("PUBLIC KEY", public.as_ref()),
    )
}

/// A key that signs.
pub(crate) struct Signer {
    /// Algorithm when none is named.
    pub(crate) algorithm: Algorithm,
    key: EncodingKey,
    /// Its public half in PEM form.
    pub(crate) public: String,
}

impl Signer {
    /// RSA of 2048 bits.
    pub(crate) fn rsa() -> Self {
        let (private, public) = rsa_key();
        Self {
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(),
            public,
        }
    }

    /// A curve, by its algorithm: ES256 or ES384.
    pub(crate) fn ec(algorithm: Algorithm) -> Self {
        let curve = match algorithm {
            Algorithm::ES256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            _ => &ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        let private = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            algorithm,
            key: EncodingKey::from_ec_der(private.as_ref()),
            public: pem("PUBLIC KEY", public.as_ref()),
        }
    }

    /// Ed25519.
    pub(crate) fn ed() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(private.as_ref()),
            public: pem("PUBLIC KEY", public.as_ref()),
        }
    }

    /// Its entry in a key set, without an algorithm: an RSA key is good for several.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = kid.into();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    }

    /// A token of these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_as(self.algorithm, None, claims)
    }

    /// A token of these claims with another algorithm of the key, and its name.
    pub(crate) fn token_as(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        claims: &Value,
    ) -> String {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(algorithm)
        };
        encode(&header, claims, &self.key).unwrap()
    }
}

/// Claims of somebody with a role, good for ten minutes.
pub(crate) fn claims(role: &str) -> Value {
    json!({"sub": "somebody", "iss": ISSUER, "aud": AUDIENCE, "exp": seconds_from_now(600), "roles": [role]})
}

/// The same with another value for one claim.
pub(crate) fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

/// A time as it stands in tokens.
pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    i64::try_from(get_current_timestamp()).unwrap() + seconds
}

/// A token signed with a secret.
pub(crate) fn with_secret(secret: &[u8], claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret);
    encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// A token that says it needs no signature.
pub(crate) fn unsigned(claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#);
    let body = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("{header}.{body}.")
}

/// Bytes in PEM form.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap());
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
