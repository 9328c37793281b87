//! Tokens of a real issuer: found by discovery, its keys fetched once, followed when they rotate.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use jsonwebtoken::Algorithm;
use stowage::archive::Archive;
use stowage::auth::{AuthConfig, Authenticator, RefreshPace};
use stowage::blob::Blobs;
use stowage::config::{AuthMode, Config};
use stowage::http::audit::AuditLog;
use stowage::http::layers::CorsConfig;
use stowage::http::links::{LinksConfig, ProxyHeaders, Scheme};
use stowage::http::ui::UiSettings;
use tower::ServiceExt;

use crate::support::issuer::Issuer;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, Signer, claims, with, with_secret};

fn server_of(issuer: &Issuer) -> TestApp {
    // The issuer alone: its keys are discovered, and naming it switches access control on.
    TestApp::with(&[
        ("STOWAGE_JWT_ISSUER", issuer.url()),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ])
}

fn ask(server: &Deployment, token: &str) -> u16 {
    let request = server.request("GET", "/dicom-web/studies");
    request
        .header("Authorization", &format!("Bearer {token}"))
        .send()
        .status
}

#[test]
fn an_issuer_is_discovered_and_all_its_algorithms_are_understood() {
    let (rsa, p256, p384, ed) = (
        Signer::rsa(),
        Signer::ec(Algorithm::ES256),
        Signer::ec(Algorithm::ES384),
        Signer::ed(),
    );
    let issuer = Issuer::start(&[
        rsa.jwk("rsa"),
        p256.jwk("p256"),
        p384.jwk("p384"),
        ed.jwk("ed"),
        // What is not understood is passed over.
        json!({"kty": "post-quantum", "kid": "x"}),
        json!({"kty": "oct", "kid": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}),
    ]);
    let server = server_of(&issuer);
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    for (signer, kid, algorithm) in [
        (&rsa, "rsa", RS256),
        (&rsa, "rsa", RS384),
        (&rsa, "rsa", RS512),
        (&rsa, "rsa", PS256),
        (&rsa, "rsa", PS384),
        (&rsa, "rsa", PS512),
        (&p256, "p256", ES256),
        (&p384, "p384", ES384),
        (&ed, "ed", EdDSA),
    ] {
        let claims = issuer.claims("reader");
        let named = signer.token_as(algorithm, Some(kid), &claims);
        assert_eq!(ask(&server, &named), 200, "{algorithm:?}");
        let nameless = signer.token_as(algorithm, None, &claims);
        assert_eq!(ask(&server, &nameless), 200, "{algorithm:?} without kid");
        let other = if kid == "ed" { "rsa" } else { "ed" };
        let misnamed = signer.token_as(algorithm, Some(other), &claims);
        assert_eq!(ask(&server, &misnamed), 401, "{algorithm:?} as {other}");
    }
    // The symmetric key of the public document is nobody's secret.
    let forged = crate::support::signer::with_secret(
        crate::support::signer::SECRET.as_bytes(),
        &issuer.claims("admin"),
    );
    assert_eq!(ask(&server, &forged), 401);
    let expired = with(issuer.claims("reader"), "exp", 1);
    assert_eq!(
        ask(&server, &rsa.token_as(RS256, Some("rsa"), &expired)),
        401
    );
    assert_eq!(issuer.asked(), (1, 1), "all with one fetch");
}

#[test]
fn a_crowd_at_the_door_causes_one_fetch() {
    let signer = Signer::ed();
    let issuer = Issuer::start(&[signer.jwk("a")]);
    let server = TestApp::with(&[
        ("STOWAGE_JWT_ISSUER", issuer.url()),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ("STOWAGE_METRICS", "open"),
    ]);
    // The keys come when everybody is there.
    issuer.hold(true);
    let waiting = || {
        let metrics = server.get("/metrics").expect(200).text();
        let running = metrics
            .lines()
            .find_map(|line| line.strip_prefix("stowage_http_requests_running "));
        running.unwrap().parse::<usize>().unwrap()
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || ask(&server, &issuer.token(&signer, "a"));
        let threads: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        wait_until("a crowd waits", || waiting() >= 24);
        issuer.hold(false);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 24]);
    assert_eq!(issuer.asked(), (1, 1));
    // Names that nobody knows are not looked for again and again.
    let stranger = Signer::ed();
    for kid in 0..20 {
        let token = issuer.token(&stranger, &format!("unknown-{kid}"));
        assert_eq!(ask(&server, &token), 401);
    }
    assert!(issuer.asked().1 <= 2, "{:?}", issuer.asked());
}

#[test]
fn without_its_issuer_the_server_says_nothing_about_tokens_and_recovers() {
    let signer = Signer::ed();
    let issuer = Issuer::start(&[signer.jwk("a")]);
    issuer.close(true);
    let server = server_of(&issuer);
    let token = issuer.token(&signer, "a");
    let request = server.request("GET", "/dicom-web/studies");
    let answer = request
        .header("Authorization", &format!("Bearer {token}"))
        .send()
        .expect(503);
    assert!(answer.header("retry-after").is_some());
    issuer.close(false);
    wait_until("the keys are fetched", || ask(&server, &token) == 200);
    // Once it has keys it needs the issuer no more.
    issuer.close(true);
    assert_eq!(ask(&server, &issuer.token(&signer, "a")), 200);
}

#[test]
fn rotation_is_followed_and_old_keys_end_with_it() {
    let (old, new) = (Signer::rsa(), Signer::ed());
    let issuer = Issuer::start(&[old.jwk("old")]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(rotate(&issuer, &old, &new));
}

/// A server in this process, which looks for new keys without a pause.
async fn rotate(issuer: &Issuer, old: &Signer, new: &Signer) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.storage.data_dir = folder.path().to_owned();
    let blobs = Blobs::connect(&config.storage).await.unwrap();
    let url = format!("sqlite://{}", folder.path().join("index.sqlite").display());
    let options = stowage::index::IndexOptions::default();
    let index = stowage::index::open(&url, &options).await.unwrap();
    let archive = Archive::new(index, blobs, config.limits.clone());
    let auth = AuthConfig {
        issuer: Some(issuer.url().to_owned()),
        audiences: vec![AUDIENCE.to_owned()],
        pace: RefreshPace {
            retry: Duration::ZERO,
            ..RefreshPace::default()
        },
        ..AuthConfig::default()
    };
    let gate = Authenticator::new(&auth, AuthMode::Jwt).unwrap();
    let links = LinksConfig {
        public_url: None,
        trusted_proxies: Vec::new(),
        proxy_headers: ProxyHeaders::default(),
        listen_port: 80,
        scheme: Scheme::Http,
    };
    let router = stowage::http::router(
        archive,
        links,
        CorsConfig::default(),
        &gate,
        &AuditLog::default(),
        stowage::config::MetricsAccess::Token,
        &UiSettings {
            config: config.ui.clone(),
            signed_in: true,
            api_keys: false,
            issuer: Some(issuer.url().to_owned()),
        },
    );
    let router = Arc::new(router);
    let ask = |token: String| {
        let router = Arc::clone(&router);
        async move {
            let request = Request::get("/dicom-web/studies")
                .header("Host", "localhost")
                .header("Authorization", format!("Bearer {token}"))
                .body(Body::empty())
                .unwrap();
            let router = Arc::unwrap_or_clone(router);
            router.oneshot(request).await.unwrap().status().as_u16()
        }
    };
    let of_old = issuer.token(old, "old");
    assert_eq!(ask(of_old.clone()).await, 200);
    assert_eq!(ask(issuer.token(new, "new")).await, 401);
    // Both for a while, as issuers do.
    issuer.publish(&[old.jwk("old"), new.jwk("new")]);
    assert_eq!(ask(issuer.token(new, "new")).await, 200);
    assert_eq!(ask(of_old.clone()).await, 200);
    // The old key is withdrawn: a token that was good and remembered is so no more.
    let newest = Signer::ed();
    issuer.publish(&[new.jwk("new"), newest.jwk("newest")]);
    assert_eq!(ask(issuer.token(&newest, "newest")).await, 200);
    assert_eq!(ask(of_old).await, 401);
}

#[test]
fn settings_of_tokens_fail_closed() {
    let settings = |more: &[(&str, &str)]| {
        let base = [
            ("STOWAGE_JWT_SECRET", SECRET),
            ("STOWAGE_JWT_ISSUER", ISSUER),
            ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ];
        TestApp::with(&[&base, more].concat())
    };
    let token = |claims: &serde_json::Value| with_secret(SECRET.as_bytes(), claims);
    let name = Name::new(742, 1, 1);
    let store = |server: &Deployment, claims: &serde_json::Value| {
        let request = server.request("POST", "/dicom-web/studies");
        let request = request.header("Content-Type", "application/dicom");
        let request = request.header("Authorization", &format!("Bearer {}", token(claims)));
        request.body(name.small().bytes).send().status
    };
    let found = |server: &Deployment, claims: &serde_json::Value| {
        let request = server.request("GET", "/dicom-web/studies").accept("*/*");
        let answer = request
            .header("Authorization", &format!("Bearer {}", token(claims)))
            .send()
            .expect(200);
        answer.json().as_array().map(Vec::len)
    };
    // A limit behind a path: what stands there and cannot be read leaves nothing.
    let server = settings(&[("STOWAGE_JWT_PATIENTS_CLAIM", "ext.patients")]);
    assert_eq!(store(&server, &claims("admin")), 200);
    assert_eq!(found(&server, &claims("admin")), Some(1));
    for ext in [
        json!(null),
        json!("x"),
        json!([]),
        json!({"patients": null}),
        json!({}),
    ] {
        let limited = with(claims("admin"), "ext", ext.clone());
        assert_eq!(found(&server, &limited), Some(0), "{ext}");
    }
    // A limit that the issuer forgets.
    let server = settings(&[("STOWAGE_JWT_LIMITS", "required")]);
    let limited = with(claims("admin"), "dicom_studies", name.study.as_str());
    assert_eq!(store(&server, &limited), 200);
    assert_eq!(found(&server, &limited), Some(1));
    assert_eq!(found(&server, &claims("admin")), Some(0));
    let misspelt = with(claims("admin"), "Dicom_Studies", name.study.as_str());
    assert_eq!(found(&server, &misspelt), Some(0));
    // Another kind of token, and one of several issuers.
    let server = settings(&[("STOWAGE_JWT_TYPE", "at+jwt")]);
    let status = |token: &str| ask(&server, token);
    assert_eq!(status(&token(&claims("admin"))), 401);
    let server = settings(&[]);
    let listed = with(claims("admin"), "iss", json!([ISSUER]));
    assert_eq!(ask(&server, &token(&listed)), 401);
    assert_eq!(ask(&server, &token(&claims("admin"))), 200);
}
