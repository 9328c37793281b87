//! Node.js for the tests: the pinned packages of `tests/clients/node`.
//!
//! They lie in Cargo's folder for test files and are installed once, whoever comes first; a changed list installs them anew.
//! Invariant: a half made folder is never used, for the list is written into it last.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::server::run;

/// A command that runs a script of `tests/clients` with the packages.
pub(crate) fn script(name: &str) -> Command {
    static MODULES: OnceLock<std::path::PathBuf> = OnceLock::new();
    let modules = MODULES.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(home).expect("Cargo's folder for test files can be made");
        // Several test processes may run at once; the lock goes with the file handle.
        let lock = File::create(home.join("node.lock")).expect("the lock file can be made");
        lock.lock().expect("the lock file can be locked");
        let folder = home.join("node");
        install(&folder);
        folder.join("node_modules")
    });
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(clients.join(name));
    command
}

fn install(folder: &Path) {
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node");
    let wanted = fs::read(lists.join("package-lock.json")).expect("the list can be read");
    let installed = folder.join("installed");
    if fs::read(&installed).is_ok_and(|there| there == wanted) {
        return;
    }
    drop(fs::remove_dir_all(folder));
    fs::create_dir_all(folder).expect("a folder");
    for name in ["package.json", "package-lock.json"] {
        fs::copy(lists.join(name), folder.join(name)).expect("the list can be copied");
    }
    let mut npm = Command::new("npm");
    npm.current_dir(folder);
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--silent",
    ]);
    run(&mut npm);
    fs::write(&installed, wanted).expect("the folder can be written to");
}
