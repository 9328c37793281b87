//! Key sets that are fetched: discovery, rotation, failures.

use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use super::*;
use crate::auth::RefreshPace;

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
