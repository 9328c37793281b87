//! API keys: made by the commands, used beside tokens, listed and revoked without a restart, and written down.

use std::path::Path;

use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with_secret};

/// The setting that names the file of keys.
const FILE: &str = "STOWAGE_API_KEYS_FILE";

/// A file in a folder, as a setting has it.
fn file(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    path.to_str().expect("a folder with a name").to_owned()
}

/// What a sub-command printed, or what it said when it failed.
fn printed(server: &Deployment, arguments: &[&str]) -> Result<String, String> {
    let output = server.command(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        code => Err(format!("{code:?}: {}", text(&output.stderr))),
    }
}

fn key(server: &Deployment, arguments: &[&str]) -> String {
    printed(server, &[&["key", "add"], arguments].concat()).unwrap()
}

fn ask(server: &Deployment, method: &str, target: &str, token: &str) -> Response {
    let request = server.request(method, target).accept("*/*");
    request
        .header("Authorization", &format!("Bearer {token}"))
        .send()
}

fn store(server: &Deployment, name: &Name, token: &str) -> u16 {
    let request = server.request("POST", "/v2/studies");
    let request = request
        .header("Authorization", &format!("Bearer {token}"))
        .header("Content-Type", "application/dicom");
    request.body(name.small().bytes).send().status
}

#[test]
fn a_key_works_beside_tokens_until_it_is_revoked_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, audit) = (
        file(folder.path(), "keys.json"),
        file(folder.path(), "audit.jsonl"),
    );
    let server = TestApp::with(&[
        (FILE, &keys),
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ("STOWAGE_ACCESS_TOKEN_IN_QUERY", "on"),
        ("STOWAGE_AUDIT", &audit),
    ]);
    let token = with_secret(SECRET.as_bytes(), &claims("reader"));
    ask(&server, "GET", "/v2/studies", &token).expect(204);
    // The server was started without the file; what comes is known soon.
    let (writer, reader) = (
        key(&server, &["ct-1", "--roles", "writer"]),
        key(
            &server,
            &["report", "--roles", "reader", "--expires", "30d"],
        ),
    );
    assert!(writer.starts_with("stowage_") && writer != reader);
    wait_until("the keys are known", || {
        ask(&server, "GET", "/v2/studies", &reader).status == 204
    });
    let name = Name::new(9401, 1, 1);
    assert_eq!(store(&server, &name, &reader), 403);
    assert_eq!(store(&server, &name, &writer), 200);
    ask(&server, "GET", "/v2/studies", &token).expect(200);
    for root in ["/dicom-web", "/v1", "/v2"] {
        ask(&server, "GET", &format!("{root}/studies"), &reader).expect(200);
    }
    // It does not belong into a URL, where a token may stand.
    let by_query = |token: &str| server.get(&format!("/v2/studies?access_token={token}"));
    by_query(&token).expect(200);
    let refused = by_query(&reader).expect(401);
    assert!(
        refused.text().contains("never in a URL"),
        "{}",
        refused.text()
    );

    assert_eq!(
        printed(&server, &["key", "revoke", "report"]).unwrap(),
        "report is revoked"
    );
    wait_until("the key is revoked", || {
        ask(&server, "GET", "/v2/studies", &reader).status == 401
    });
    let refused = ask(&server, "GET", "/v2/studies", &reader).expect(401);
    let challenge = refused.header("www-authenticate").unwrap();
    assert_eq!(
        challenge,
        format!(
            "Bearer authorization_uri=\"{ISSUER}\", resource_id=\"{AUDIENCE}\", realm=\"{AUDIENCE}\", \
             error=\"invalid_token\", error_description=\"The API key was revoked\""
        )
    );
    let more = Name::new(9402, 1, 1);
    assert_eq!(store(&server, &more, &writer), 200, "the other key goes on");
    ask(&server, "GET", "/v2/studies", &token).expect(200);

    // An event is written after its answer.
    let mut who = Vec::new();
    wait_until("both stores are written down", || {
        let events = std::fs::read_to_string(&audit).unwrap();
        assert!(!events.contains("stowage_"), "{events}");
        let whole = events.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        let stored = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let stored = stored.filter(|event| event["action"] == "C" && event["outcome"] == "0");
        who = stored
            .map(|event| event["agent"][0]["who"]["identifier"].clone())
            .collect();
        who.len() >= 2
    });
    assert_eq!(who.len(), 2);
    assert_eq!(who[0]["value"], "ct-1");
    assert_eq!(who[0]["system"], "urn:stowage:api-key");
}

#[test]
fn keys_alone_switch_access_control_on_and_limit_their_bearers() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file(folder.path(), "keys.json");
    let mut server = TestApp::with(&[(FILE, &keys)]);
    let refused = server.get("/v2/studies").expect(401);
    assert_eq!(
        refused.header("www-authenticate"),
        Some("Bearer realm=\"stowage\"")
    );
    let (one, other) = (Name::new(9411, 1, 1), Name::new(9412, 1, 1));
    let admin = key(&server, &["admin", "--roles", "globalAdmin"]);
    let limited = key(
        &server,
        &[
            "ward",
            "--roles",
            "globalAdmin",
            "--study",
            one.study.as_str(),
            "--read-only",
        ],
    );
    server.restart();
    for name in [&one, &other] {
        assert_eq!(store(&server, name, &admin), 200);
    }
    let found = ask(&server, "GET", "/v2/studies", &limited)
        .expect(200)
        .json();
    assert_eq!(found.as_array().unwrap().len(), 1);
    let study = |name: &Name| format!("/v2/studies/{}", name.study);
    ask(&server, "GET", &study(&other), &limited).expect(404);
    ask(&server, "DELETE", &study(&one), &limited).expect(403);
    assert_eq!(store(&server, &one, &limited), 403);
    // What is no key of this server is refused, whatever it looks like.
    let token = with_secret(SECRET.as_bytes(), &claims("admin"));
    for wrong in [
        &token,
        "stowage_",
        "stowage_0_0",
        "nonsense",
        &admin[..admin.len() - 1],
    ] {
        ask(&server, "GET", "/v2/studies", wrong).expect(401);
    }
    ask(&server, "DELETE", &study(&one), &admin).expect(204);
    // A file that is taken away locks everybody out.
    std::fs::remove_file(&keys).unwrap();
    wait_until("no key is good", || {
        ask(&server, "GET", "/v2/studies", &admin).status == 401
    });
}

#[test]
fn the_log_has_no_key_and_says_when_the_file_cannot_be_understood() {
    let server = Server::with(&[
        (FILE, "keys.json"),
        ("STOWAGE_LOG", "stowage=trace,hyper=trace,info"),
    ]);
    let admin = key(&server, &["admin", "--roles", "globalAdmin"]);
    let gone = key(&server, &["gone", "--roles", "reader"]);
    wait_until("the keys are known", || {
        ask(&server, "GET", "/v2/studies", &admin).status == 204
    });
    ask(&server, "GET", "/v2/studies", &gone).expect(204);
    let name = Name::new(9421, 1, 1);
    assert_eq!(store(&server, &name, &gone), 403);
    assert_eq!(store(&server, &name, &admin), 200);
    printed(&server, &["key", "revoke", "gone"]).unwrap();
    wait_until("the key is revoked", || {
        ask(&server, "GET", "/v2/studies", &gone).status == 401
    });
    // A file that cannot be understood locks nobody out.
    let file = server.data().parent().unwrap().join("keys.json");
    std::fs::write(&file, "{ \"keys\": [").unwrap();
    wait_until("the file is read", || {
        server.log().contains("stay in force")
    });
    ask(&server, "GET", "/v2/studies", &admin).expect(200);
    let log = server.log();
    assert!(!log.contains(&admin) && !log.contains(&gone), "{log}");
}

#[test]
fn keys_are_listed_without_their_secrets_and_mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file(folder.path(), "keys.json");
    let server = TestApp::with(&[(FILE, &keys)]);
    let made = key(
        &server,
        &[
            "ct-1",
            "--roles",
            "writer",
            "--patient",
            "P 1",
            "--expires",
            "0",
        ],
    );
    key(&server, &["gone", "--roles", "reader,deleter"]);
    printed(&server, &["key", "revoke", "gone"]).unwrap();
    let table = printed(&server, &["key", "list"]).unwrap();
    assert!(table.contains("ct-1  active   never"), "{table}");
    assert!(table.contains("writer, patients P 1"), "{table}");
    assert!(table.contains("gone  revoked"), "{table}");
    let list = printed(&server, &["key", "list", "--json"]).unwrap();
    let listed: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(listed["keys"][0]["state"], "active");
    assert_eq!(listed["keys"][1]["roles"], json!(["reader", "deleter"]));
    let secret = made.rsplit_once('_').unwrap().1;
    assert!(!table.contains(secret) && !list.contains(secret));
    for (arguments, says) in [
        (
            &["add", "ct-1", "--roles", "reader"][..],
            "Some(3): stowage: there is a key named ct-1",
        ),
        (
            &["add", "x", "--roles", "raeder"],
            "there is no role raeder; known are",
        ),
        (&["add", "x"], "Some(2)"),
        (
            &["add", "x", "--roles", "reader", "--study", "1.a"],
            "is not a Study Instance UID",
        ),
        (&["add", "a b", "--roles", "reader"], "a key's name has"),
        (&["revoke", "gone"], "there is no key named gone"),
    ] {
        let said = printed(&server, &[&["key"], arguments].concat()).unwrap_err();
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let unset = server.command_with(&[(FILE, "")], &["key", "list"]);
    assert!(!unset.status.success());
    let broken = file(folder.path(), "broken.json");
    std::fs::write(&broken, "[1]").unwrap();
    let said = server.command_with(&[(FILE, &broken)], &["serve"]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.status.code() == Some(3) && text.contains("broken.json"),
        "{text}"
    );
}
