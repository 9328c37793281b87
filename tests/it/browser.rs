//! Stories of the web page in a real Chromium, each a script of `tests/ui` against a server of its own.
//!
//! A browser that is missing is a failure: `tests/run` installs it.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::clients::{repository, run};
use crate::support::python;
use crate::support::server::Server;

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
fn the_viewer_shows_the_pixels_that_the_server_renders_and_goes_by_keys_too() {
    story(&Server::start(None), "viewer.py", &[]);
}

#[test]
fn files_and_folders_are_uploaded_through_trouble_and_refusals_are_told() {
    story(&Server::start(None), "upload.py", &[]);
}

#[test]
fn a_token_stays_in_memory_and_what_it_forbids_is_not_on_the_page() {
    let server = Server::with(&[SECRET]);
    let token = |arguments: &[&str]| {
        let output = server.command(&[&["token"], arguments].concat());
        let text = String::from_utf8(output.stdout).expect("a token is text");
        text.trim().to_owned()
    };
    let tokens = [token(&[]), token(&["--patient", "MINE", "--read-only"])];
    story(&server, "signin.py", &tokens);
    let log = server.log();
    assert!(tokens.iter().all(|token| !log.contains(token)), "{log}");
}
