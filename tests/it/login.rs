//! `docs/login.md`: its settings start servers that take the tokens of each issuer as that issuer makes them, its commands
//! run as printed, and its roles file is whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stowage::auth::Action;

use crate::support::dicom::Name;
use crate::support::issuer::Issuer;
use crate::support::server::Server;
use crate::support::signer::{Signer, seconds_from_now};

const PAGE: &str = "docs/login.md";
/// Issuers that the page prints.
const PRINTED: [&str; 2] = [
    "https://id.example.org/realms/hospital",
    "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    fs::read_to_string(path).expect("the page can be read")
}

/// The blocks of a language below a heading.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let page = page();
    let section = page
        .split("\n## ")
        .find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("{PAGE} has no section {heading}"));
    let parts = section.split("```");
    // Between two fences, the language first.
    let inside = parts.skip(1).step_by(2);
    inside
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .map(str::to_owned)
        .collect()
}

/// The settings of a section, with the local issuer in place of the printed one.
fn settings(heading: &str, issuer: &Issuer) -> BTreeMap<String, String> {
    let text = blocks(heading, "ini").concat();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| {
            let mut value = value.to_owned();
            for printed in PRINTED {
                value = value.replace(printed, issuer.url());
            }
            (name.to_owned(), value)
        })
        .collect()
}

fn server(settings: &BTreeMap<String, String>) -> Server {
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .filter(|(name, _)| *name != "STOWAGE_LISTEN")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Server::with(&settings)
}

/// Statuses of a search and of a delete of nothing with a token.
fn statuses(server: &Server, token: &str) -> [u16; 2] {
    let missing = format!("/v2/studies/{}", Name::new(9499, 1, 1).study);
    [("GET", "/v2/studies"), ("DELETE", missing.as_str())].map(|(method, target)| {
        let request = server.request(method, target);
        request
            .header("Authorization", &format!("Bearer {token}"))
            .send()
            .status
    })
}

/// The claims of a printed token, good for now and of the local issuer.
fn claims(heading: &str, issuer: &Issuer) -> Value {
    let printed = blocks(heading, "json");
    let printed = printed.first().expect("a token is printed");
    let mut claims: Value = serde_json::from_str(printed).expect("its claims are JSON");
    claims["iss"] = issuer.url().into();
    claims["exp"] = seconds_from_now(600).into();
    claims
}

#[test]
fn keycloak_logs_in_as_the_page_says() {
    let signer = Signer::rsa();
    let issuer = Issuer::start(&[signer.jwk("a")]);
    let server = server(&settings("Keycloak", &issuer));
    let mut claims = claims("Keycloak", &issuer);
    let token = |claims: &Value| signer.token_as(signer.algorithm, Some("a"), claims);
    assert_eq!(statuses(&server, &token(&claims)), [204, 403]);
    claims["realm_access"]["roles"] = json!(["offline_access", "globalAdmin"]);
    assert_eq!(statuses(&server, &token(&claims)), [204, 404]);
    claims["realm_access"]["roles"] = json!(["offline_access"]);
    assert_eq!(statuses(&server, &token(&claims)), [403, 403]);
    // Without the audience mapper of the page.
    claims["aud"] = "account".into();
    assert_eq!(statuses(&server, &token(&claims)), [401, 401]);
}

#[test]
fn entra_logs_in_as_the_page_says() {
    let signer = Signer::rsa();
    let issuer = Issuer::start(&[signer.jwk("a")]);
    let server = server(&settings("Microsoft Entra", &issuer));
    let mut claims = claims("Microsoft Entra", &issuer);
    let token = |claims: &Value| signer.token_as(signer.algorithm, Some("a"), claims);
    assert_eq!(statuses(&server, &token(&claims)), [204, 403]);
    // An app that signs in as itself has no scp, and its roles by consent.
    claims.as_object_mut().expect("an object").remove("scp");
    claims["roles"] = json!(["globalAdmin"]);
    assert_eq!(statuses(&server, &token(&claims)), [204, 404]);
    claims.as_object_mut().expect("an object").remove("roles");
    assert_eq!(statuses(&server, &token(&claims)), [403, 403]);
}

#[test]
fn ohif_and_the_page_sign_in_where_the_page_says() {
    let signer = Signer::rsa();
    let issuer = Issuer::start(&[signer.jwk("a")]);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("index.html"), "<!doctype html>").expect("a file");
    let mut settings = settings("OHIF", &issuer);
    let viewer = settings
        .get_mut("STOWAGE_VIEWER_DIR")
        .expect("it is printed");
    *viewer = folder.path().to_str().expect("a path").to_owned();
    let server = server(&settings);
    let config = server.get("/viewer/app-config.js").expect(200).text();
    let client = &settings["STOWAGE_UI_CLIENT_ID"];
    assert!(
        config.contains("oidc") && config.contains(issuer.url()),
        "{config}"
    );
    assert!(config.contains(client.as_str()), "{config}");
    let page = server.get("/ui/config").expect(200).json();
    assert_eq!(page["signIn"]["issuer"], issuer.url());
    assert_eq!(page["signIn"]["clientId"], client.as_str());
}

#[test]
fn keys_are_made_used_and_revoked_as_the_page_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("dcms");
    std::os::unix::fs::symlink(samples, folder.path().join("dcms")).expect("a link");
    let file = folder.path().join("keys.json");
    let server = Server::with(&[("STOWAGE_API_KEYS_FILE", file.to_str().expect("a path"))]);
    let program = Path::new(env!("CARGO_BIN_EXE_stowage")).parent();
    let program = program.expect("a folder").display();
    let script = blocks("API keys", "bash").concat();
    let script = script.replace("http://127.0.0.1:8080", server.url());
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", &script])
        .env(
            "PATH",
            format!("{program}:{}", std::env::var("PATH").unwrap_or_default()),
        )
        .current_dir(folder.path());
    let output = command.output().expect("bash starts");
    let said = format!(
        "{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.log()
    );
    assert!(output.status.success(), "{said}");
    assert!(said.contains("research  active"), "{said}");
    assert!(said.contains("research is revoked"), "{said}");
}

#[test]
fn the_roles_file_by_example_names_every_action_and_is_taken() {
    let example = blocks("Roles", "json");
    let example = example.first().expect("a file is printed");
    let page = page();
    for action in Action::ALL {
        let name = action.as_str();
        assert!(
            example.contains(&format!("\"{name}\"")),
            "the example lacks {name}"
        );
        assert!(
            page.contains(&format!("- **`{name}`**: ")),
            "no item for {name}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roles.json");
    fs::write(&file, example).expect("a file");
    let roles = file.to_str().expect("a path");
    let server = Server::with(&[
        ("STOWAGE_API_KEYS_FILE", "keys.json"),
        ("STOWAGE_JWT_ROLES_FILE", roles),
    ]);
    let parsed: Value = serde_json::from_str(example).expect("it is JSON");
    for role in parsed["roles"].as_array().expect("roles") {
        let role = role["name"].as_str().expect("a name");
        let made = server.command(&["key", "add", &format!("a-{role}"), "--roles", role]);
        assert!(made.status.success(), "{role}");
    }
}
