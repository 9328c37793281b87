//! The pages for users do what they say: their commands are run as printed, against the real binary.
//!
//! A page's blocks of one language are one script, run in a folder that holds `dcms`. Only the server's address and, for
//! the second version, the path of the service are replaced. In the shell, the comment above each curl names its status.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::python;
use crate::support::server::Server;

/// Address that the pages print.
const PRINTED: &str = "http://127.0.0.1:8080";

/// Stands before a page's shell commands: every curl leaves its answer's status, the last one if there were several.
const SHELL: &str = r#"
set -euo pipefail
curl() {
    command curl --silent --show-error --max-time 60 --dump-header headers "$@" >body
    sed -n 's/^HTTP\/[0-9.]* \([0-9]*\).*/\1/p' headers | tail -n 1 >>statuses
}
"#;

#[test]
fn commands_of_the_readme_answer_as_printed() {
    shell_page(&Server::start(None), "README.md", "v2");
}

#[test]
fn commands_of_the_curl_page_answer_as_printed() {
    let server = Server::start(None);
    for version in ["v2", "v1"] {
        shell_page(&server, "docs/tutorials/curl.md", version);
    }
}

#[test]
fn code_of_the_python_page_runs_as_printed() {
    let server = Server::start(None);
    for version in ["v2", "v1"] {
        let code = script(&server, "docs/tutorials/python.md", "python", version);
        let folder = folder();
        let mut command = Command::new(python::interpreter());
        command.args(["-c", &code]).env_remove("PYTHONPATH");
        let output = run(command.current_dir(folder.path()));
        assert!(
            output.status.success(),
            "{}\n{}",
            told(&output),
            server.log()
        );
    }
}

#[test]
fn the_worklist_page_runs_as_printed() {
    let server = Server::start(None);
    let page = "docs/tutorials/worklist.md";
    shell_page(&server, page, "v2");
    let code = script(&server, page, "python", "v2");
    let folder = folder();
    let mut command = Command::new(python::interpreter());
    command.args(["-c", &code]).env_remove("PYTHONPATH");
    let output = run(command.current_dir(folder.path()));
    assert!(
        output.status.success(),
        "{}\n{}",
        told(&output),
        server.log()
    );
}

fn shell_page(server: &Server, page: &str, version: &str) {
    let commands = script(server, page, "bash", version);
    let expected: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|comment| comment.len() == 3 && comment.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    assert!(expected.len() > 5, "the commands of {page} were not found");
    let folder = folder();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{SHELL}{commands}")]);
    let output = run(command.current_dir(folder.path()));
    let statuses = fs::read_to_string(folder.path().join("statuses")).unwrap_or_default();
    let statuses: Vec<&str> = statuses.lines().collect();
    assert!(
        output.status.success() && statuses == expected,
        "{page} at {version}: statuses {statuses:?}, printed {expected:?}; the last answer was {:?}\n{}\n{}",
        fs::read_to_string(folder.path().join("body")),
        told(&output),
        server.log(),
    );
}

/// The page's blocks of a language in one, speaking to the server.
fn script(server: &Server, page: &str, language: &str, version: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).expect("the page can be read");
    let mut inside = false;
    let mut code = String::new();
    for line in text.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = !inside && fence == language;
        } else if inside {
            code.push_str(line);
            code.push('\n');
        }
    }
    code.replace(&format!("{PRINTED}/v2"), &format!("{PRINTED}/{version}"))
        .replace(PRINTED, server.url())
}

/// A folder as the pages expect it: the samples lie in `dcms`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("dcms");
    symlink(samples, folder.path().join("dcms")).expect("the samples can be linked");
    folder
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the page's interpreter starts")
}

fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
