//! Real clients against the real binary: the three tutorials of the DICOM service and Python's `dicomweb-client`.
//!
//! The clients are scripts beside this file (`tests/tutorials`, `tests/clients`) that assert each step themselves; here
//! they are run, once per database. A script deletes what it stored, so one server serves every version in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::server::{Server, wait_until};
use crate::support::{postgres, python};

/// Versions of the DICOM service that the printed tutorials are run against.
const VERSIONS: [&str; 2] = ["v1", "v2"];

#[test]
fn curl_tutorial_works_on_sqlite() {
    curl_tutorial(None);
}

#[test]
fn python_tutorial_works_on_sqlite() {
    python_tutorial(None);
}

#[test]
fn csharp_tutorial_works_on_sqlite() {
    csharp_tutorial(None);
}

#[test]
fn the_tutorials_work_with_an_api_key_in_place_of_a_token() {
    let server = Server::with(&[("STOWAGE_API_KEYS_FILE", "keys.json")]);
    let key = server.command(&["key", "add", "tutorial", "--roles", "globalAdmin"]);
    let key = String::from_utf8(key.stdout).expect("a key is text");
    let key = key.trim();
    wait_until("the key is known", || {
        let request = server.request("GET", "/v2/studies");
        let bearer = format!("Bearer {key}");
        request.header("Authorization", &bearer).send().status == 204
    });
    let mut curl = Command::new("bash");
    curl.arg(repository("tests/tutorials/curl.sh"))
        .args([server.url(), "v2"])
        .arg(repository("dcms"));
    run(&server, curl.env("STOWAGE_TOKEN", key));
    for script in ["python.py", "csharp.py"] {
        let mut tutorial = Command::new(python::interpreter());
        tutorial
            .arg(repository("tests/tutorials").join(script))
            .args([server.url(), "v2"])
            .arg(repository("dcms"));
        run(&server, tutorial.env("STOWAGE_TOKEN", key));
    }
}

#[test]
fn python_dicomweb_client_works_on_sqlite() {
    python_dicomweb_client(None);
}

#[test]
fn every_representation_agrees_with_independent_decoders() {
    representations(None);
}

#[test]
fn every_codec_agrees_with_independent_ones() {
    let server = Server::start(None);
    let printed = run(&server, &mut script(&server, "codec_matrix.py"));
    let page = fs::read_to_string(repository("docs/codecs.md")).expect("docs/codecs.md is there");
    let rows: Vec<&str> = printed
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() > 30, "{printed}");
    for row in rows {
        assert!(page.contains(row), "docs/codecs.md lacks the row\n{row}");
    }
}

#[test]
fn only_sample_bits_count_and_the_codestream_decides() {
    let server = Server::start(None);
    run(&server, &mut script(&server, "bits_beside.py"));
}

/// Memory the server may take for 3,400 damaged frames, in KiB: far below one frame of the cap, 512 MiB. Beside busy loops four
/// decoders at once took 126 MiB.
const DAMAGED_GROWTH: u64 = 192 << 10;

#[test]
fn damaged_codestreams_are_answered() {
    // Without the frames that are kept for those who ask next: what is counted is what damage makes.
    let server = Server::with(&[("STOWAGE_FRAME_CACHE_BYTES", "0")]);
    server.reset_peak();
    let (before, program) = (server.memory("VmHWM"), server.memory("RssFile"));
    run(&server, &mut script(&server, "damaged_codestreams.py"));
    // The pages of the program itself that came into use are no memory of a frame.
    let program = server.memory("RssFile").saturating_sub(program);
    let growth = (server.memory("VmHWM") - before).saturating_sub(program);
    assert!(
        growth < DAMAGED_GROWTH,
        "{growth} KiB, and {program} KiB of the program"
    );
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    // What a codec finds in a picture of anybody is no line of the log.
    assert!(!log.contains("openjp2"), "{log}");
}

#[test]
fn requests_of_viewers_are_answered() {
    let server = Server::start(None);
    run(&server, &mut script(&server, "viewers.py"));
}

/// A script of `tests/clients` that asks for the server's address only.
fn script(server: &Server, name: &str) -> Command {
    let mut command = Command::new(python::interpreter());
    command
        .arg(repository("tests/clients").join(name))
        .arg(server.url());
    command
}

macro_rules! on_postgres {
    ($($name:ident $run:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let Some(url) = postgres::database().await else { return };
            tokio::task::spawn_blocking(move || $run(Some(&url))).await.expect("the clients are done");
        })*
    };
}

on_postgres! {
    curl_tutorial_works_on_postgres curl_tutorial;
    python_tutorial_works_on_postgres python_tutorial;
    csharp_tutorial_works_on_postgres csharp_tutorial;
    python_dicomweb_client_works_on_postgres python_dicomweb_client;
    every_representation_agrees_on_postgres representations;
}

fn representations(database: Option<&str>) {
    let server = Server::start(database);
    let mut command = Command::new(python::interpreter());
    command
        .arg(repository("tests/clients/representations.py"))
        .arg(server.url())
        .args(python::samples());
    run(&server, &mut command);
}

fn curl_tutorial(database: Option<&str>) {
    let server = Server::start(database);
    for version in VERSIONS {
        let mut command = Command::new("bash");
        command
            .arg(repository("tests/tutorials/curl.sh"))
            .args([server.url(), version])
            .arg(repository("dcms"));
        run(&server, &mut command);
    }
}

fn python_tutorial(database: Option<&str>) {
    let server = Server::start(database);
    for version in VERSIONS {
        tutorial_script(&server, "python.py", version);
    }
}

fn csharp_tutorial(database: Option<&str>) {
    let server = Server::start(database);
    // The client that the tutorial was written for speaks the prerelease version unless told otherwise.
    for version in ["v1.0-prerelease", "v1", "v2"] {
        tutorial_script(&server, "csharp.py", version);
    }
}

fn tutorial_script(server: &Server, script: &str, version: &str) {
    let mut command = Command::new(python::interpreter());
    command
        .arg(repository("tests/tutorials").join(script))
        .args([server.url(), version])
        .arg(repository("dcms"));
    run(server, &mut command);
}

fn python_dicomweb_client(database: Option<&str>) {
    let server = Server::start(database);
    let mut command = Command::new(python::interpreter());
    command
        .arg(repository("tests/clients/python_dicomweb_client.py"))
        .arg(server.url())
        .arg(repository("dcms"))
        .args(python::samples());
    run(&server, &mut command);
}

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a script to its end and returns what it printed; when it fails, the test fails with its words and those of the
/// server.
pub(crate) fn run(server: &Server, command: &mut Command) -> String {
    let output = command
        // The packages must come from the virtual environment, and nothing shall be written into the repository.
        .env_remove("PYTHONPATH")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the script's interpreter starts");
    assert!(
        output.status.success(),
        "{command:?} failed with {}\n{}{}\n--- the server's log\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.log(),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
