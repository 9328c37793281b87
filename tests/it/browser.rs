//! Stories of the web page in a real Chromium, each a script of `tests/ui` against a server of its own.
//!
//! A browser that is missing is a failure: `tests/run` installs it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::clients::{repository, run};
use crate::support::python;
use crate::support::server::{Server, wait_until};

/// A secret for tokens.
const SECRET: (&str, &str) = ("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef");

/// One browser at a time: each draws with all processors there are.
static BROWSER: Mutex<()> = Mutex::new(());

fn story(server: &Server, name: &str, arguments: &[String]) {
    let _turn = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(python::interpreter());
    command
        .arg(repository("tests/ui").join(name))
        .arg(server.url())
        .args(arguments);
    run(server, &mut command);
}

#[test]
fn studies_are_found_looked_through_and_deleted_by_pointer_and_by_keys() {
    story(&Server::start(None), "studies.py", &[]);
}

#[test]
fn what_was_deleted_comes_back_and_administration_shows_what_goes_on() {
    let server = Server::start(None);
    let folder = server.data().display().to_string();
    story(&server, "oversee.py", &[folder]);
}

#[test]
fn the_viewer_shows_the_pixels_that_the_server_renders_and_goes_by_keys_too() {
    story(&Server::start(None), "viewer.py", &[]);
}

#[test]
fn a_menu_leads_from_one_data_partition_to_another() {
    story(
        &Server::with(&[("STOWAGE_PARTITIONS", "on")]),
        "partitions.py",
        &[],
    );
}

#[test]
fn three_planes_of_a_volume_show_its_samples_where_they_lie() {
    story(&Server::start(None), "mpr.py", &[]);
}

#[test]
fn the_page_costs_no_more_than_its_budgets() {
    story(&Server::start(None), "budgets.py", &[]);
}

#[test]
fn files_and_folders_are_uploaded_through_trouble_and_refusals_are_told() {
    story(&Server::start(None), "upload.py", &[]);
}

/// A program that runs beside a story, ended with it.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn people_sign_in_at_an_issuer_by_a_code_with_pkce() {
    let (name, secret) = SECRET;
    let mut issuer = Command::new(python::interpreter())
        .arg(repository("tests/ui/issuer.py"))
        .arg(secret)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the issuer starts");
    let printed = BufReader::new(issuer.stdout.take().expect("its output"));
    let _issuer = Beside(issuer);
    let url = printed.lines().next().and_then(Result::ok);
    let url = url.expect("its address");
    let server = Server::with(&[
        (name, secret),
        ("STOWAGE_JWT_ISSUER", &url),
        ("STOWAGE_JWT_AUDIENCE", "stowage"),
        ("STOWAGE_UI_CLIENT_ID", "page"),
    ]);
    story(&server, "oidc.py", &[url]);
    assert!(!server.log().contains("eyJ"), "{}", server.log());
}

/// Files of the upload during which the server is killed.
const FILES: u64 = 10_000;

#[test]
fn an_upload_of_ten_thousand_files_survives_that_the_server_is_killed() {
    let mut server = Server::start(None);
    // The page knows this address.
    let address = server.address().to_owned();
    server.set("STOWAGE_LISTEN", Some(&address));
    let _turn = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut script = Command::new(python::interpreter())
        .arg(repository("tests/ui/crash.py"))
        .args([server.url(), &FILES.to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the script's interpreter starts");
    wait_until("a part is stored", || {
        stored(&server) > FILES / 10 || script.try_wait().expect("a child").is_some()
    });
    let before = stored(&server);
    server.kill();
    server.wait();
    let mut said = BufReader::new(script.stdout.take().expect("its output")).lines();
    let first = said.next().and_then(Result::ok);
    assert_eq!(first.as_deref(), Some("away"));
    server.restart();
    for line in said.map_while(Result::ok) {
        println!("{line}");
    }
    let ended = script.wait().expect("a child");
    assert!(ended.success(), "{ended}\n{}", server.log());
    assert!(before < FILES, "it was over before the server was killed");
    assert_eq!(stored(&server), FILES);
}

/// How many instances there are.
fn stored(server: &Server) -> u64 {
    let request = server.request("GET", "/dicom-web/instances?limit=0");
    let request = request.accept("application/dicom+json");
    let counted = request.header("Prefer", "count=exact").send().expect(200);
    let total = counted.header("x-total-count").map(str::parse);
    total.expect("a number").expect("a number")
}

#[test]
fn a_token_stays_in_memory_and_what_it_forbids_is_not_on_the_page() {
    // Who may do everything has a token, who may see one patient an API key: the page makes no difference.
    let mut server = Server::with(&[SECRET, ("STOWAGE_API_KEYS_FILE", "keys.json")]);
    let printed = |arguments: &[&str]| {
        let output = server.command(arguments);
        let text = String::from_utf8(output.stdout).expect("a token is text");
        text.trim().to_owned()
    };
    let key = [
        "key",
        "add",
        "ward",
        "--roles",
        "globalReader",
        "--patient",
        "MINE",
    ];
    let tokens = [
        printed(&["token"]),
        printed(&key),
        printed(&["token", "--roles", "deleter"]),
    ];
    server.terminate();
    server.wait();
    server.restart();
    story(&server, "signin.py", &tokens);
    let log = server.log();
    assert!(tokens.iter().all(|token| !log.contains(token)), "{log}");
}
