use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::*;
use crate::auth::Action;
use crate::auth::RefreshPace;
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

/// An issuer on a port of its own: counts fetches, its keys can be changed.
struct Issuer {
    url: String,
    set: Arc<RwLock<String>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(keys: &[Value]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tenant", listener.local_addr().unwrap());
        let set = Arc::new(RwLock::new(json!({ "keys": keys }).to_string()));
        let fetches = Arc::new(AtomicUsize::new(0));
        let description =
            json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "more": 1}).to_string();
        let (shown, count) = (Arc::clone(&set), Arc::clone(&fetches));
        let router = Router::new()
            .route(
                "/tenant/.well-known/openid-configuration",
                get(|| async move { description }),
            )
            .route("/big", get(|| async { "x".repeat(2 * 1024 * 1024) }))
            .route(
                "/tenant/keys",
                get(move || async move {
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    shown.read().unwrap().clone()
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, set, fetches }
    }

    fn publish(&self, keys: &[Value]) {
        *self.set.write().unwrap() = json!({ "keys": keys }).to_string();
    }

    fn config(&self, pace: RefreshPace) -> AuthConfig {
        AuthConfig {
            issuer: Some(self.url.clone()),
            pace,
            ..config()
        }
    }

    fn claims(&self) -> Value {
        with("iss", self.url.clone())
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }
}

const EAGER: RefreshPace = RefreshPace {
    refresh: Duration::from_secs(600),
    greatest: Duration::from_secs(3600),
    retry: Duration::ZERO,
    first: Duration::ZERO,
};

#[tokio::test]
async fn keys_are_discovered_and_rotation_is_followed() {
    let (old, new) = (Signer::ec(Algorithm::ES256), Signer::rsa());
    let issuer = Issuer::start(&[old.jwk("old")]).await;
    let verifier = Verifier::new(issuer.config(EAGER)).unwrap();
    let old_token = old.sign(Some("old"), &issuer.claims());
    assert_eq!(reason(&verifier, &old_token).await, None);
    assert_eq!(reason(&verifier, &old_token).await, None);
    assert_eq!(issuer.fetches(), 1);
    let new_token = new.sign(Some("new"), &issuer.claims());
    assert_eq!(
        reason(&verifier, &new_token).await,
        Some(TokenError::UnknownKey)
    );
    issuer.publish(&[new.jwk("new")]);
    assert_eq!(reason(&verifier, &new_token).await, None);
    assert_eq!(
        reason(&verifier, &old_token).await,
        Some(TokenError::UnknownKey),
        "the remembered token went too"
    );
    // Keys that vanish by accident stay in force.
    issuer.publish(&[]);
    assert_eq!(
        reason(&verifier, &old.sign(Some("odd"), &issuer.claims())).await,
        Some(TokenError::UnknownKey)
    );
    assert_eq!(
        reason(&verifier, &new.sign(Some("new"), &issuer.claims())).await,
        None
    );
    // Tokens that do not name their key.
    assert_eq!(
        reason(&verifier, &new.sign(None, &issuer.claims())).await,
        None
    );
    let next = Signer::rsa();
    issuer.publish(&[next.jwk("next")]);
    assert_eq!(
        reason(&verifier, &next.sign(None, &issuer.claims())).await,
        None
    );
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_per_pause() {
    let signer = Signer::ec(Algorithm::ES256);
    let issuer = Issuer::start(&[signer.jwk("k")]).await;
    let pace = RefreshPace {
        retry: Duration::from_secs(3600),
        ..EAGER
    };
    let verifier = Arc::new(Verifier::new(issuer.config(pace)).unwrap());
    let mut tasks = Vec::new();
    for number in 0..50 {
        let token = signer.sign(Some(&format!("unknown{number}")), &issuer.claims());
        let verifier = Arc::clone(&verifier);
        tasks.push(tokio::spawn(async move { reason(&verifier, &token).await }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), Some(TokenError::UnknownKey));
    }
    assert!(
        issuer.fetches() <= 50,
        "each may look while there are no keys"
    );
    let before = issuer.fetches();
    for number in 0..20 {
        let token = signer.sign(Some(&format!("x{number}")), &issuer.claims());
        assert_eq!(
            reason(&verifier, &token).await,
            Some(TokenError::UnknownKey)
        );
    }
    assert_eq!(issuer.fetches(), before);
}

#[tokio::test]
async fn requests_that_wait_for_the_first_keys_share_one_fetch() {
    let signer = Signer::ec(Algorithm::ES256);
    let issuer = Issuer::start(&[signer.jwk("k")]).await;
    let pace = RefreshPace {
        first: Duration::from_secs(5),
        ..RefreshPace::default()
    };
    let verifier = Arc::new(Verifier::new(issuer.config(pace)).unwrap());
    let token = signer.sign(Some("k"), &issuer.claims());
    let all = (0..50).map(|_| reason(&verifier, &token));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(Option::is_none));
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn old_keys_are_believed_only_after_a_look_for_newer_ones() {
    let (old, new) = (Signer::ec(Algorithm::ES256), Signer::ed());
    let issuer = Issuer::start(&[old.jwk("old")]).await;
    let pace = RefreshPace {
        // As after a quiet night: the keys are old whenever they are asked for.
        refresh: Duration::ZERO,
        ..EAGER
    };
    let verifier = Verifier::new(issuer.config(pace)).unwrap();
    let of_old = |number: u32| {
        let mut claims = issuer.claims();
        claims["sub"] = number.to_string().into();
        old.sign(Some("old"), &claims)
    };
    assert_eq!(reason(&verifier, &of_old(1)).await, None);
    issuer.publish(&[new.jwk("new")]);
    // The very first token after the key was withdrawn, and one that was remembered.
    for number in [2, 1] {
        assert_eq!(
            reason(&verifier, &of_old(number)).await,
            Some(TokenError::UnknownKey)
        );
    }
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_are_believed_for_a_time() {
    let signer = Signer::ed();
    for (greatest, expected) in [(Duration::from_secs(3600), true), (Duration::ZERO, false)] {
        let issuer = Issuer::start(&[signer.jwk("k")]).await;
        let pace = RefreshPace {
            refresh: Duration::ZERO,
            greatest,
            ..EAGER
        };
        let verifier = Verifier::new(issuer.config(pace)).unwrap();
        let source = verifier.source.clone().unwrap();
        source.current().await;
        // From here on the issuer says nothing that is understood.
        *issuer.set.write().unwrap() = "gone".to_owned();
        let token = signer.sign(Some("k"), &issuer.claims());
        let admitted = verifier.admit(&token).await;
        assert_eq!(admitted.is_ok(), expected, "{admitted:?}");
        if !expected {
            assert_eq!(admitted.unwrap_err(), AuthRefusal::KeysUnavailable);
        }
    }
}

#[tokio::test]
async fn keys_are_fetched_by_a_timer_without_any_request() {
    let signer = Signer::ed();
    let issuer = Issuer::start(&[signer.jwk("k")]).await;
    let pace = RefreshPace {
        refresh: Duration::ZERO,
        ..EAGER
    };
    let verifier = Arc::new(Verifier::new(issuer.config(pace)).unwrap());
    let follow = Arc::clone(&verifier);
    let task = tokio::spawn(async move { follow.follow_keys(&|_| ()).await });
    while issuer.fetches() < 3 {
        tokio::task::yield_now().await;
    }
    task.abort();
    // Without an issuer there is nothing to follow.
    Verifier::new(secret_config())
        .unwrap()
        .follow_keys(&|_| ())
        .await;
}

#[tokio::test]
async fn where_a_type_is_set_other_tokens_are_refused() {
    let config = AuthConfig {
        token_type: Some("at+jwt".to_owned()),
        ..secret_config()
    };
    let verifier = Verifier::new(config).unwrap();
    let of = |typ: Option<&str>| {
        let header = Header {
            typ: typ.map(str::to_owned),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        encode(&header, &good(), &key).unwrap()
    };
    for good in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(reason(&verifier, &of(Some(good))).await, None, "{good}");
    }
    for other in [None, Some("JWT"), Some("at"), Some("")] {
        assert_eq!(
            reason(&verifier, &of(other)).await,
            Some(TokenError::Type),
            "{other:?}"
        );
    }
    let any = Verifier::new(secret_config()).unwrap();
    assert_eq!(reason(&any, &of(None)).await, None);
}

#[tokio::test]
async fn without_keys_nothing_is_said_about_tokens() {
    let signer = Signer::ec(Algorithm::ES256);
    let token = signer.sign(Some("k"), &good());
    let issuer = Issuer::start(&[]).await;
    let elsewhere = format!("{}/", issuer.url);
    let big = issuer.url.replace("/tenant", "/big");
    for config in [
        issuer.config(EAGER),
        // The description names another issuer.
        AuthConfig {
            issuer: Some(elsewhere),
            ..issuer.config(EAGER)
        },
        AuthConfig {
            jwks: Some(big),
            ..issuer.config(EAGER)
        },
        AuthConfig {
            jwks: Some("http://127.0.0.1:1/keys".to_owned()),
            ..issuer.config(EAGER)
        },
        AuthConfig {
            jwks: Some("/nowhere/keys.json".to_owned()),
            ..issuer.config(EAGER)
        },
    ] {
        let verifier = Verifier::new(config.clone()).unwrap();
        assert_eq!(
            verifier.admit(&token).await.unwrap_err(),
            AuthRefusal::KeysUnavailable,
            "{config:?}"
        );
    }
}

#[tokio::test]
async fn a_key_set_may_be_a_file_beside_other_keys() {
    let signer = Signer::ed();
    let file = tempfile::NamedTempFile::new().unwrap();
    let symmetric =
        json!({"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256"});
    let mut encrypting = Signer::rsa().jwk("enc");
    encrypting["use"] = "enc".into();
    let mut mislabelled = signer.jwk("wrong");
    mislabelled["alg"] = "RS256".into();
    let odd = json!({"kty": "XYZ", "kid": "odd"});
    let set = json!({"keys": [odd, symmetric, encrypting, mislabelled, signer.jwk("k"), 7]});
    std::fs::write(file.path(), set.to_string()).unwrap();
    let jwks = Some(file.path().display().to_string());
    let verifier = Verifier::new(AuthConfig {
        jwks: jwks.clone(),
        ..config()
    })
    .unwrap();
    assert_eq!(
        reason(&verifier, &signer.sign(Some("k"), &good())).await,
        None
    );
    assert_eq!(
        reason(&verifier, &signer.sign(Some("wrong"), &good())).await,
        Some(TokenError::UnknownKey)
    );
    let symmetric = Header {
        kid: Some("s".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let symmetric = encode(
        &symmetric,
        &good(),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap();
    assert_eq!(
        reason(&verifier, &symmetric).await,
        Some(TokenError::UnknownKey)
    );
    let both = Verifier::new(AuthConfig {
        jwks,
        ..secret_config()
    })
    .unwrap();
    assert_eq!(reason(&both, &hs(&good())).await, None);
    assert_eq!(
        reason(&both, &hs(&with("exp", 1))).await,
        Some(TokenError::Expired)
    );
    assert_eq!(reason(&both, &signer.sign(Some("k"), &good())).await, None);
}
