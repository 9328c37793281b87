//! Tokens and fixed keys; key sets that are fetched are tested in [`key_set`].

mod key_set;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::*;
use crate::auth::Action;
use crate::auth::token::make_token;
use crate::config::{Secret, TokenArgs};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://issuer.example/tenant";

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// A signing key, the PEM of its public half, and the key set entry.
struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    public_pem: String,
}

impl Signer {
    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes())
                .unwrap(),
            public_pem: pem("PUBLIC KEY", public.as_ref()),
        }
    }

    fn ec(algorithm: Algorithm) -> Self {
        let curve = if algorithm == Algorithm::ES256 {
            &ECDSA_P256_SHA256_ASN1_SIGNING
        } else {
            &ECDSA_P384_SHA384_ASN1_SIGNING
        };
        let private = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            algorithm,
            key: EncodingKey::from_ec_der(private.as_ref()),
            public_pem: pem("PUBLIC KEY", public.as_ref()),
        }
    }

    fn ed() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(private.as_ref()),
            public_pem: pem("PUBLIC KEY", public.as_ref()),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap())
                .unwrap();
        jwk["kid"] = kid.into();
        jwk
    }

    fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        self.sign_as(self.algorithm, kid, claims)
    }

    fn sign_as(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(algorithm)
        };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn later(seconds: i64) -> i64 {
    i64::try_from(get_current_timestamp()).unwrap() + seconds
}

fn good() -> Value {
    json!({"sub": "me", "iss": ISSUER, "aud": "stowage", "exp": later(60), "roles": ["reader"]})
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = good();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn hs(claims: &Value) -> String {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap()
}

fn config() -> AuthConfig {
    AuthConfig {
        issuer: Some(ISSUER.to_owned()),
        audiences: vec!["stowage".to_owned(), "other".to_owned()],
        ..AuthConfig::default()
    }
}

fn secret_config() -> AuthConfig {
    AuthConfig {
        secret: Some(Secret::from(SECRET)),
        ..config()
    }
}

fn key_file(text: &str) -> (tempfile::NamedTempFile, AuthConfig) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = AuthConfig {
        key_file: Some(file.path().to_owned()),
        ..config()
    };
    (file, config)
}

async fn reason(verifier: &Verifier, token: &str) -> Option<TokenError> {
    match verifier.admit(token).await {
        Ok(_) => None,
        Err(AuthRefusal::Unauthenticated { reason, .. }) => Some(reason),
        Err(AuthRefusal::KeysUnavailable) => panic!("the keys are there"),
    }
}

#[tokio::test]
async fn a_good_token_is_admitted_and_remembered() {
    let verifier = Verifier::new(secret_config()).unwrap();
    let token = hs(&good());
    let caller = verifier.admit(&token).await.unwrap();
    assert_eq!(
        (caller.subject.as_deref(), caller.issuer.as_deref()),
        (Some("me"), Some(ISSUER))
    );
    assert!(caller.may(Action::Read) && !caller.may(Action::Write));
    assert!(Arc::ptr_eq(&caller, &verifier.admit(&token).await.unwrap()));
    assert_eq!(
        reason(&verifier, &hs(&with("aud", json!(["x", "other"])))).await,
        None
    );
    assert_eq!(
        reason(&verifier, &hs(&with("exp", later(-20)))).await,
        None,
        "within the leeway"
    );
    assert_eq!(
        reason(&verifier, &hs(&with("nbf", later(20)))).await,
        None,
        "within the leeway"
    );
}

#[tokio::test]
async fn every_wrong_claim_is_refused() {
    let verifier = Verifier::new(secret_config()).unwrap();
    for (claims, expected) in [
        (with("exp", later(-40)), TokenError::Expired),
        (with("nbf", later(40)), TokenError::NotYetValid),
        (with("aud", "somebody-else"), TokenError::Audience),
        (with("aud", json!(["a", "b"])), TokenError::Audience),
        (with("iss", "https://issuer.example"), TokenError::Issuer),
        (with("iss", json!([ISSUER])), TokenError::Issuer),
        (with("iss", json!([ISSUER, "x"])), TokenError::Issuer),
        (without("exp"), TokenError::MissingClaim),
        (without("aud"), TokenError::MissingClaim),
        (without("iss"), TokenError::MissingClaim),
        (with("exp", "tomorrow"), TokenError::MissingClaim),
    ] {
        assert_eq!(
            reason(&verifier, &hs(&claims)).await,
            Some(expected),
            "{claims}"
        );
    }
}

#[tokio::test]
async fn tokens_that_are_none_are_refused() {
    let verifier = Verifier::new(secret_config()).unwrap();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!(
        "{}.{}.",
        part(json!({"alg": "none", "typ": "JWT"})),
        part(good())
    );
    let critical = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..Header::new(Algorithm::HS256)
    };
    let critical = encode(
        &critical,
        &good(),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap();
    let other_secret = EncodingKey::from_secret(b"another secret that is long enough");
    let other_secret = encode(&Header::new(Algorithm::HS256), &good(), &other_secret).unwrap();
    let mut changed = hs(&good()).into_bytes();
    let at = changed.len() - 5;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    for (token, expected) in [
        (none.as_str(), TokenError::Malformed),
        (&none.replace("none", "None"), TokenError::Malformed),
        (&critical, TokenError::Malformed),
        (&other_secret, TokenError::Signature),
        (
            std::str::from_utf8(&changed).unwrap(),
            TokenError::Signature,
        ),
        ("", TokenError::Missing),
        ("None", TokenError::Malformed),
        ("a.b.c", TokenError::Malformed),
        ("..", TokenError::Malformed),
        (&"a".repeat(MAX_TOKEN + 1), TokenError::Malformed),
    ] {
        assert_eq!(reason(&verifier, token).await, Some(expected), "{token}");
    }
}

#[tokio::test]
async fn each_kind_of_key_file_checks_its_algorithms_only() {
    let signers = [
        Signer::rsa(),
        Signer::ec(Algorithm::ES256),
        Signer::ec(Algorithm::ES384),
        Signer::ed(),
    ];
    for (index, signer) in signers.iter().enumerate() {
        let (_file, config) = key_file(&signer.public_pem);
        let verifier = Verifier::new(config).unwrap();
        for (other_index, other) in signers.iter().enumerate() {
            let found = reason(&verifier, &other.sign(Some("ignored"), &good())).await;
            let expected = (index != other_index).then_some(TokenError::Algorithm);
            assert_eq!(
                found, expected,
                "{:?} under {:?}",
                other.algorithm, signer.algorithm
            );
        }
        // The public key is no secret, whatever the token says.
        let confused = EncodingKey::from_secret(signer.public_pem.as_bytes());
        let confused = encode(&Header::new(Algorithm::HS256), &good(), &confused).unwrap();
        assert_eq!(
            reason(&verifier, &confused).await,
            Some(TokenError::Algorithm)
        );
    }
    let (_file, config) = key_file(&signers[0].public_pem);
    let verifier = Verifier::new(config).unwrap();
    for algorithm in [
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ] {
        assert_eq!(
            reason(&verifier, &signers[0].sign_as(algorithm, None, &good())).await,
            None,
            "{algorithm:?}"
        );
    }
    assert_eq!(
        reason(&verifier, &Signer::rsa().sign(None, &good())).await,
        Some(TokenError::Signature)
    );
    let all = signers
        .iter()
        .map(|signer| signer.public_pem.clone())
        .collect::<Vec<_>>()
        .concat();
    let (_file, config) = key_file(&all);
    let verifier = Verifier::new(config).unwrap();
    for signer in &signers {
        assert_eq!(
            reason(&verifier, &signer.sign(None, &good())).await,
            None,
            "{:?}",
            signer.algorithm
        );
    }
}

#[test]
fn configurations_that_cannot_tell_tokens_apart_do_not_start() {
    let start = |config: AuthConfig| Verifier::new(config).map(|_| ()).unwrap_err();
    assert!(matches!(
        start(AuthConfig::default()),
        AuthConfigError::NoKey
    ));
    let named = AuthConfig {
        issuer: Some("me".to_owned()),
        ..AuthConfig::default()
    };
    assert!(matches!(start(named), AuthConfigError::NoKey));
    let short = AuthConfig {
        secret: Some(Secret::from("short")),
        ..config()
    };
    assert!(matches!(start(short), AuthConfigError::ShortSecret));
    let open = AuthConfig {
        audiences: Vec::new(),
        ..config()
    };
    assert!(matches!(start(open), AuthConfigError::NoAudience));
    let gone = AuthConfig {
        key_file: Some("/nowhere/key.pem".into()),
        ..config()
    };
    assert!(matches!(
        start(gone),
        AuthConfigError::KeyFile {
            source: KeyError::Unreadable(_),
            ..
        }
    ));
    for (text, expected) in [
        (pem("PRIVATE KEY", b"x"), "private"),
        (pem("CERTIFICATE", b"x"), "certificate"),
        (pem("PUBLIC KEY", b"x"), "something else"),
        ("nothing".to_owned(), "no key"),
    ] {
        let (_file, config) = key_file(&text);
        let AuthConfigError::KeyFile { source, .. } = start(config) else {
            panic!("{text}")
        };
        assert!(source.to_string().contains(expected), "{source}");
    }
}

#[test]
fn the_challenge_is_the_one_of_the_contract() {
    let verifier = Verifier::new(secret_config()).unwrap();
    let challenge = |reason| match verifier.refuse(reason) {
        AuthRefusal::Unauthenticated { challenge, .. } => challenge,
        AuthRefusal::KeysUnavailable => String::new(),
    };
    let base = format!(
        "Bearer authorization_uri=\"{ISSUER}\", resource_id=\"stowage\", realm=\"stowage\""
    );
    assert_eq!(challenge(TokenError::Missing), base);
    assert_eq!(
        challenge(TokenError::Expired),
        format!("{base}, error=\"invalid_token\", error_description=\"The token expired\"")
    );
    let odd = AuthConfig {
        issuer: Some("a\"b\r\n\\c".to_owned()),
        audiences: vec!["*".to_owned()],
        ..secret_config()
    };
    let verifier = Verifier::new(odd).unwrap();
    let AuthRefusal::Unauthenticated { challenge, .. } = verifier.refuse(TokenError::Missing)
    else {
        panic!()
    };
    assert_eq!(
        challenge,
        "Bearer authorization_uri=\"abc\", realm=\"stowage\""
    );
}

#[tokio::test]
async fn made_tokens_are_admitted() {
    let config = secret_config();
    let arguments = TokenArgs {
        subject: "tester".to_owned(),
        roles: vec!["writer".to_owned()],
        seconds: 60,
        ..TokenArgs::default()
    };
    let token = make_token(&config, &arguments).unwrap();
    let caller = Verifier::new(config.clone())
        .unwrap()
        .admit(&token)
        .await
        .unwrap();
    assert_eq!(caller.subject.as_deref(), Some("tester"));
    assert!(caller.may(Action::Write) && !caller.may(Action::Delete) && !caller.is_limited());
    let unknown = TokenArgs {
        roles: vec!["king".to_owned()],
        ..arguments.clone()
    };
    assert!(make_token(&config, &unknown).is_err());
    assert!(
        make_token(
            &AuthConfig {
                secret: None,
                ..config.clone()
            },
            &arguments
        )
        .is_err()
    );
    assert!(
        make_token(
            &AuthConfig {
                secret: Some(Secret::from("short")),
                ..config
            },
            &arguments
        )
        .is_err()
    );
}

#[test]
fn remembered_tokens_are_bounded_and_forgotten() {
    let mut seen = TokenCache::default();
    let caller = Arc::new(Caller::unrestricted());
    let entry = |until| TokenEntry {
        caller: Arc::clone(&caller),
        generation: 1,
        until,
    };
    for number in 0..=MAX_SEEN {
        seen.put(*blake3::hash(&number.to_le_bytes()).as_bytes(), entry(100));
    }
    assert_eq!((seen.entries.len(), seen.order.len()), (MAX_SEEN, MAX_SEEN));
    let (first, last) = (
        blake3::hash(&0_usize.to_le_bytes()),
        blake3::hash(&MAX_SEEN.to_le_bytes()),
    );
    assert!(seen.get(first.as_bytes(), 1, 50).is_none());
    assert!(seen.get(last.as_bytes(), 1, 50).is_some());
    assert!(
        seen.get(last.as_bytes(), 1, 100).is_none(),
        "its time is over"
    );
    assert!(
        seen.get(last.as_bytes(), 2, 50).is_none(),
        "the keys changed"
    );
}
