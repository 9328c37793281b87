//! `docs/migration.md`: its commands run as printed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::said;
use crate::support::server::Server;

/// Address that the page prints.
const PRINTED: &str = "https://pacs.example/dicom-web";

#[test]
fn commands_of_the_migration_page_run_as_printed() {
    let server = Server::start(None);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/migration.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    symlink(root.join("dcms"), folder.path().join("archive")).unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_stowage"),
        folder.path().join("bin/stowage"),
    )
    .unwrap();
    let blocks: Vec<&str> = page
        .split("```bash\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .collect();
    assert!(blocks.len() >= 3, "the commands were not found");
    let url = format!("{}/dicom-web", server.url());
    let script = blocks.concat().replace(PRINTED, &url);
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", folder.path().join("bin").display());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env_remove("STOWAGE_DATA_DIR")
        .output()
        .unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for printed in page.lines().filter_map(|line| line.strip_prefix("#> ")) {
        assert!(text.contains(printed), "{printed}: {text}");
    }
}
