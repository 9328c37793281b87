//! De-identification through the real binary: files of an export, compared with what other tools make of the originals; and
//! the page about it, as printed.

mod copy;
mod operation;
mod pixels;
mod retrieve;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::prelude::*;
use crate::support::python;

/// The key of the tests.
pub(super) const KEY: &str = "a key of sixteen bytes or more";

/// Originals of the pydicom package; two of them are refused.
const SAMPLES: [&str; 7] = [
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "liver_1frame.dcm",
    "reportsi.dcm",
    "rtplan.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "image_dfl.dcm",
];

pub(super) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A file with a text, in the server's folder.
pub(super) fn write(server: &Deployment, name: &str, text: &str) -> String {
    let path = server.data().join("..").join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn script(arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/deidentified.py");
    let mut command = Command::new(python::interpreter());
    let output = command.arg(path).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The studies of a server.
fn studies(server: &Deployment) -> Vec<String> {
    let found = server.get("/dicom-web/studies").expect(200).json();
    let uid = |study: &serde_json::Value| study["0020000D"]["Value"][0].as_str().map(str::to_owned);
    found.as_array().unwrap().iter().filter_map(uid).collect()
}

/// What two other tools would change is changed, in files of CT, MR, segmentation, report and plan.
#[test]
fn two_other_tools_find_nothing_left() {
    let server = TestApp::start(None);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (originals, made) = (path("originals"), path("made"));
    let samples: Vec<PathBuf> = SAMPLES.iter().map(|name| python::sample(name)).collect();
    let mut arguments = vec!["make", originals.as_str()];
    arguments.extend(samples.iter().map(|path| path.to_str().unwrap()));
    script(&arguments);
    let imported = server.command(&["import", &originals]);
    assert!(imported.status.success(), "{}", said(&imported));
    let key = write(&server, "deidentify.key", KEY);
    let settings = [("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str())];
    let mut export = vec!["export", "--deidentify", "--to", made.as_str()];
    let studies = studies(&server);
    export.extend(studies.iter().map(String::as_str));
    let exported = server.command_with(&settings, &export);
    // Two pictures may show text.
    assert_eq!(exported.status.code(), Some(1), "{}", said(&exported));
    let text = said(&exported);
    assert!(text.contains("7 instances de-identified"), "{text}");
    assert!(text.contains("2 refused"), "{text}");
    let compared = script(&["check", &originals, &made, KEY]);
    assert!(compared.contains("7 compared"), "{compared}");
    for name in ["SC_rgb_jpeg_dcmtk.dcm", "image_dfl.dcm"] {
        assert!(compared.contains(&format!("{name} refused")), "{compared}");
    }
}

/// The same key makes the same files, on each index; another one others; what is stored stays as it is.
#[test]
fn an_export_is_repeated_by_its_key() {
    on_each_index(|server| {
        let folder = tempfile::tempdir().unwrap();
        let sample = python::sample("CT_small.dcm");
        let sample = sample.to_str().unwrap();
        assert!(server.command(&["import", sample]).status.success());
        let study = studies(server).remove(0);
        let export = |key: &str, to: &str, options: &str| {
            let key = write(server, "deidentify.key", key);
            let settings = [("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str())];
            let to = folder.path().join(to);
            let to = to.to_str().unwrap();
            let done = server.command_with(&settings, &["export", options, "--to", to, &study]);
            assert!(done.status.success(), "{}", said(&done));
            files(Path::new(to))
        };
        let first = export(KEY, "first", "--deidentify");
        assert_eq!(first, export(KEY, "again", "--deidentify=basic"));
        assert_eq!(first, export(KEY, "first", "--deidentify"));
        let other = export("another key, as long as that", "other", "--deidentify");
        assert_ne!(first[0].0, other[0].0);
        let kept = export(KEY, "kept", "--deidentify=retain-uids");
        assert!(kept[0].0.starts_with(&study), "{}", kept[0].0);
        let sent = server
            .get(&format!("/dicom-web/studies/{study}"))
            .expect(200);
        let original = fs::read(sample).unwrap();
        assert!(
            sent.body
                .windows(original.len())
                .any(|part| part == original)
        );
    });
}

/// Names below a folder with their bytes.
pub(super) fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn without_a_key_nothing_is_written() {
    let server = TestApp::start(None);
    let sample = python::sample("CT_small.dcm");
    assert!(
        server
            .command(&["import", sample.to_str().unwrap()])
            .status
            .success()
    );
    let study = studies(&server).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let refused = server.command(&["export", "--deidentify", "--to", to, &study]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(
        said(&refused).contains("STOWAGE_DEIDENTIFY_KEY_FILE"),
        "{}",
        said(&refused)
    );
    let short = write(&server, "short.key", "short");
    let settings = [("STOWAGE_DEIDENTIFY_KEY_FILE", short.as_str())];
    let refused = server.command_with(&settings, &["export", "--deidentify", "--to", to, &study]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    let unknown = server.command(&["export", "--deidentify=retain-names", "--to", to, &study]);
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
    assert!(files(folder.path()).is_empty());
}

/// A file that was changed on the disk is not de-identified.
#[test]
fn a_damaged_file_is_not_exported() {
    let server = TestApp::start(None);
    let sample = python::sample("CT_small.dcm");
    assert!(
        server
            .command(&["import", sample.to_str().unwrap()])
            .status
            .success()
    );
    let study = studies(&server).remove(0);
    let blob = server.blob_files().remove(0);
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let key = write(&server, "deidentify.key", KEY);
    let settings = [("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str())];
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let done = server.command_with(&settings, &["export", "--deidentify", "--to", to, &study]);
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    assert!(files(folder.path()).is_empty());
}

/// The shell blocks of the page, run as printed in the server's folder.
#[test]
fn the_page_runs_as_printed() {
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), KEY).unwrap();
    let path = key.path().to_str().unwrap();
    let server = Server::with(&[("STOWAGE_DEIDENTIFY_KEY_FILE", path)]);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deidentification.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```").skip(1).step_by(2);
    let code: String = blocks
        .filter_map(|block| block.strip_prefix("bash\n"))
        .collect();
    assert!(code.lines().count() > 10, "{code}");
    let folder = tempfile::tempdir().unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("dcms");
    std::os::unix::fs::symlink(samples, folder.path().join("dcms")).unwrap();
    let sample = python::sample("CT_small.dcm");
    std::os::unix::fs::symlink(sample, folder.path().join("ct.dcm")).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_stowage")).parent().unwrap();
    let path = format!(
        "{}:{}:{}",
        binary.display(),
        python::interpreter().parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c"])
        .arg(code.replace("http://127.0.0.1:8080", server.url()))
        .current_dir(folder.path())
        .env("PATH", path)
        .env("STOWAGE_DATA_DIR", server.data());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        server.log()
    );
    let made = files(&folder.path().join("research"));
    assert_eq!(made.len(), 1, "{}", said(&output));
}
