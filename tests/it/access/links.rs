//! Links with a token: one study, for reading, for a time; only where they are wanted, and never in a log.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::prelude::*;
use crate::support::signer::{
    AUDIENCE, ISSUER, SECRET, claims, seconds_from_now, with, with_secret,
};

const AUTH: [(&str, &str); 3] = [
    ("STOWAGE_JWT_SECRET", SECRET),
    ("STOWAGE_JWT_ISSUER", ISSUER),
    ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
];

/// A server with two studies.
fn server(more: &[(&str, &str)]) -> (TestApp, Name, Name) {
    let server = TestApp::with(&[&AUTH, more].concat());
    let (one, other) = fill(&server);
    (server, one, other)
}

/// Stores two studies.
fn fill(server: &Deployment) -> (Name, Name) {
    let names = (Name::new(730, 1, 1), Name::new(731, 1, 1));
    let admin = with_secret(SECRET.as_bytes(), &claims("admin"));
    for name in [&names.0, &names.1] {
        let request = server.request("POST", "/dicom-web/studies");
        let request = request.header("Authorization", &format!("Bearer {admin}"));
        let request = request.header("Content-Type", "application/dicom");
        request.body(name.small().bytes).send().expect(200);
    }
    names
}

fn printed(server: &Deployment, arguments: &[&str]) -> String {
    let output = server.command(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn claims_of(token: &str) -> Value {
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

#[test]
fn a_share_link_reads_one_study_until_it_expires() {
    let (server, shared, other) = server(&[("STOWAGE_ACCESS_TOKEN_IN_QUERY", "on")]);
    let link = printed(
        &server,
        &[
            "token",
            "--study",
            &shared.study,
            "--link",
            "--seconds",
            "60",
        ],
    );
    let (path, token) = link.split_once("?access_token=").unwrap();
    assert!(
        path.ends_with(&format!("/dicom-web{}", shared.study_path())),
        "{link}"
    );
    let open = |path: &str, token: &str| {
        server
            .request("GET", &format!("{path}?access_token={token}"))
            .accept("*/*")
            .send()
    };
    let study = format!("/dicom-web{}", shared.study_path());
    for tail in [
        "",
        "/metadata",
        "/series",
        "/instances",
        "/rendered",
        "/thumbnail",
    ] {
        let answer = open(&format!("{study}{tail}"), token).expect(200);
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let kept = answer.header("cache-control").unwrap();
        assert!(
            kept.contains("private") || kept.contains("no-store"),
            "{tail}: {kept}"
        );
        assert!(!answer.text().contains(token), "{tail} repeats the token");
    }
    open(&format!("/dicom-web{}", other.study_path()), token).expect(404);
    let found = open("/dicom-web/studies", token).expect(200).json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    // Nothing but reading, wherever the token stands.
    let bearer = format!("Bearer {token}");
    let delete = server
        .request("DELETE", &study)
        .header("Authorization", &bearer)
        .send();
    assert_eq!(delete.status, 403);
    let delete = server
        .request("DELETE", &format!("{study}?access_token={token}"))
        .send();
    assert_eq!(delete.status, 401);
    // The same token when its time is over, and with its time stretched by somebody else.
    let made = claims_of(token);
    let left = made["exp"].as_i64().unwrap() - seconds_from_now(0);
    assert!((50..=60).contains(&left), "{left}");
    let expired = with_secret(
        SECRET.as_bytes(),
        &with(made.clone(), "exp", seconds_from_now(-60)),
    );
    let answer = open(&study, &expired).expect(401);
    assert!(answer.text().contains("expired"), "{}", answer.text());
    let stretched = with_secret(&[b'x'; 32], &with(made, "exp", seconds_from_now(9999)));
    open(&study, &stretched).expect(401);
}

#[test]
fn no_token_is_in_the_log_however_it_came() {
    for setting in ["off", "on"] {
        let more = [
            ("STOWAGE_ACCESS_TOKEN_IN_QUERY", setting),
            ("STOWAGE_LOG", "stowage=trace,hyper=trace,info"),
        ];
        let server = Server::with(&[&AUTH[..], &more].concat());
        let (name, _) = fill(&server);
        let study = format!("/dicom-web{}", name.study_path());
        let good = with_secret(SECRET.as_bytes(), &claims("reader"));
        let expired = with(claims("reader"), "exp", seconds_from_now(-60));
        let expired = with_secret(SECRET.as_bytes(), &expired);
        let stranger = with_secret(&[b'x'; 32], &claims("reader"));
        let tokens = [good, expired, stranger];
        for token in &tokens {
            let bearer = format!("Bearer {token}");
            for method in ["GET", "HEAD", "POST", "DELETE"] {
                for query in [
                    format!("?access_token={token}"),
                    format!("?limit=1&access_token={token}"),
                    format!("?access_token={token}&access_token={token}"),
                ] {
                    let request = server.request(method, &format!("{study}{query}"));
                    request.accept("*/*").send();
                }
                let request = server.request(method, &format!("{study}/metadata"));
                request.header("Authorization", &bearer).send();
            }
        }
        let log = server.log();
        assert!(log.contains("stowage::request: answered"), "{log}");
        for secret in tokens.iter().map(String::as_str).chain(["access_token"]) {
            assert!(!log.contains(secret), "{setting}: {secret} is in the log");
        }
    }
}

#[test]
fn a_token_in_the_query_is_looked_at_only_where_configured() {
    for (setting, reads) in [("off", 401), ("on", 200)] {
        let (server, name, _) = server(&[("STOWAGE_ACCESS_TOKEN_IN_QUERY", setting)]);
        let token = with_secret(SECRET.as_bytes(), &claims("admin"));
        let study = format!("/dicom-web{}", name.study_path());
        let status =
            |method: &str, target: &str| server.request(method, target).accept("*/*").send().status;
        assert_eq!(
            status("GET", &format!("{study}?access_token={token}")),
            reads
        );
        assert_eq!(
            status("HEAD", &format!("{study}?access_token={token}")),
            reads
        );
        assert_eq!(
            status("GET", &format!("/v2/studies?limit=1&access_token={token}")),
            reads
        );
        // Never for what changes something, whatever the token allows; never two at a time.
        assert_eq!(
            status("DELETE", &format!("{study}?access_token={token}")),
            401
        );
        assert_eq!(
            status("POST", &format!("/v2/studies?access_token={token}")),
            401
        );
        let twice = format!("{study}?access_token={token}&access_token={token}");
        assert_eq!(status("GET", &twice), 401);
        // A token in the header counts alone.
        let both = server.request("GET", &format!("{study}?access_token={token}"));
        assert_eq!(both.header("Authorization", "Bearer x").send().status, 401);
    }
    let open = TestApp::with(&[
        ("STOWAGE_ACCESS_TOKEN_IN_QUERY", "off"),
        ("STOWAGE_JWT_SECRET", SECRET),
    ]);
    let refused = open.command(&["token", "--study", "1.2", "--link"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("STOWAGE_ACCESS_TOKEN_IN_QUERY"),
        "{said}"
    );
}

#[test]
fn a_printed_token_opens_what_it_says() {
    let (server, name, other) = server(&[]);
    let status = |token: &str, method: &str, name: &Name| {
        let request = server.request(method, &format!("/v2{}", name.study_path()));
        request
            .header("Authorization", &format!("Bearer {token}"))
            .accept("*/*")
            .send()
            .status
    };
    let all = printed(&server, &["token"]);
    assert_eq!(status(&all, "GET", &name), 200);
    let reader = printed(&server, &["token", "--roles", "reader", "--subject", "me"]);
    assert_eq!(claims_of(&reader)["sub"], "me");
    assert_eq!(status(&reader, "DELETE", &name), 403);
    let one = printed(&server, &["token", "--study", &name.study]);
    assert_eq!(status(&one, "GET", &other), 404);
    assert_eq!(status(&one, "DELETE", &other), 404);
    assert_eq!(status(&one, "DELETE", &name), 204);
    let nobody = printed(&server, &["token", "--patient", "nobody"]);
    assert_eq!(status(&nobody, "GET", &other), 404);
    let unknown = server.command(&["token", "--roles", "king"]);
    assert!(!unknown.status.success());
}
