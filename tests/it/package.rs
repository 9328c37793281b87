//! What `deploy/package` makes: an archive, a Debian package and its service, which is installed, started and removed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_stowage");
/// How long a machine that does much else may take to start a server.
const PATIENCE: Duration = Duration::from_secs(120);

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The packages of the program that is tested.
fn packed() -> TempDir {
    let folder = TempDir::new().unwrap();
    run(Command::new(tree().join("deploy/package"))
        .args(["--fast", "--binary", PROGRAM])
        .arg(folder.path()));
    folder
}

fn with_ending(folder: &Path, ending: &str) -> PathBuf {
    let found = fs::read_dir(folder).unwrap().flatten();
    let mut found = found.map(|entry| entry.path()).filter(|path| {
        path.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.ends_with(ending))
    });
    found
        .next()
        .unwrap_or_else(|| panic!("no {ending} in {}", folder.display()))
}

/// A folder into which dpkg installs, with the files that dpkg and useradd need.
fn root() -> TempDir {
    let root = TempDir::new().unwrap();
    for folder in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib",
        "etc",
        "tmp",
    ] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    for file in [
        "var/lib/dpkg/status",
        "etc/passwd",
        "etc/group",
        "etc/shadow",
        "etc/gshadow",
    ] {
        fs::write(root.path().join(file), "").unwrap();
    }
    root
}

#[track_caller]
fn dpkg(root: &Path, arguments: &[&OsStr]) {
    run(Command::new("dpkg")
        .arg("--root")
        .arg(root)
        .args([
            "--force-not-root",
            "--force-script-chrootless",
            "--force-depends",
        ])
        .arg("--log=/dev/null")
        .args(arguments));
}

/// Lines `NAME=value`; those of a unit only below a section.
fn values(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    lines.filter_map(pair).collect()
}

#[test]
fn the_release_archive_holds_what_it_promises() {
    let dist = packed();
    run(Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(dist.path()));
    let sums = fs::read_to_string(dist.path().join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 2, "{sums}");
    let unpacked = TempDir::new().unwrap();
    run(Command::new("tar")
        .arg("-xzf")
        .arg(with_ending(dist.path(), ".tar.gz"))
        .arg("-C")
        .arg(unpacked.path()));
    let top = fs::read_dir(unpacked.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let version = run(Command::new(top.join("bin/stowage")).arg("--version"));
    let version = String::from_utf8(version.stdout).unwrap();
    let name = top.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        version.trim().ends_with(env!("CARGO_PKG_VERSION")),
        "{version}"
    );
    assert!(
        name.starts_with(concat!("stowage-", env!("CARGO_PKG_VERSION"), "-linux-")),
        "{name}"
    );
    for file in [
        "README.md",
        "LICENSE",
        "docs/configuration.md",
        "share/man/man1/stowage.1",
        "share/man/man1/stowage-serve.1",
        "share/bash-completion/completions/stowage",
        "share/zsh/site-functions/_stowage",
        "share/fish/vendor_completions.d/stowage.fish",
        "systemd/stowage.service",
        "systemd/stowage.env",
    ] {
        let size = fs::metadata(top.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(size.len() > 100, "{file}");
    }
}

#[test]
fn the_debian_package_is_installed_started_and_removed() {
    let dist = packed();
    let root = root();
    let root = root.path();
    let package = with_ending(dist.path(), ".deb");
    dpkg(root, &[OsStr::new("--install"), package.as_os_str()]);
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(users.contains("stowage:x:"), "{users}");
    assert!(
        users.contains(":/var/lib/stowage:/usr/sbin/nologin"),
        "{users}"
    );
    let settings = root.join("etc/stowage/stowage.env");
    let mode = fs::metadata(&settings).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640, "secrets may stand in it");

    let unit = root.join("lib/systemd/system/stowage.service");
    run(Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no", "--root"])
        .arg(root)
        .arg(&unit));
    // In tenths; a service of Debian without settings of its own has 96.
    run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15"])
        .arg(&unit));

    start_and_stop(root, &unit, &settings);

    // An upgrade keeps what the administrator wrote.
    fs::write(&settings, "STOWAGE_LISTEN=127.0.0.1:8181\n").unwrap();
    dpkg(
        root,
        &[
            OsStr::new("--force-confold"),
            OsStr::new("--install"),
            package.as_os_str(),
        ],
    );
    assert!(fs::read_to_string(&settings).unwrap().contains("8181"));

    dpkg(root, &[OsStr::new("--remove"), OsStr::new("stowage")]);
    assert!(!root.join("usr/bin/stowage").exists());
    assert!(settings.exists());
    dpkg(root, &[OsStr::new("--purge"), OsStr::new("stowage")]);
    assert!(!settings.exists());
    assert!(
        root.join("var/lib/stowage/index.sqlite").exists(),
        "images stay when the package goes"
    );
}

/// Does what systemd does with the unit: its program with its environment, until it says that it is ready; then a stop.
fn start_and_stop(root: &Path, unit: &Path, settings: &Path) {
    let unit = values(&fs::read_to_string(unit).unwrap());
    let value = |name: &str| {
        let found = unit.iter().find(|(known, _)| known == name);
        found.map_or_else(
            || panic!("the unit has no {name}"),
            |(_, value)| value.as_str(),
        )
    };
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("EnvironmentFile"), "-/etc/stowage/stowage.env");
    let mut line = value("ExecStart").split(' ');
    let program = root.join(line.next().unwrap().trim_start_matches('/'));
    let mut environment: BTreeMap<String, String> = BTreeMap::new();
    let (name, folder) = value("Environment").split_once('=').unwrap();
    let folder = root.join(folder.trim_start_matches('/'));
    environment.insert(name.to_owned(), folder.to_str().unwrap().to_owned());
    environment.extend(values(&fs::read_to_string(settings).unwrap()));
    assert_eq!(environment["STOWAGE_LISTEN"], "127.0.0.1:8080");
    // The port of the test is a free one.
    environment.insert("STOWAGE_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
    let written = root.join("tmp/address");
    environment.insert(
        "STOWAGE_ADDRESS_FILE".to_owned(),
        written.to_str().unwrap().to_owned(),
    );
    fs::create_dir_all(&folder).unwrap();

    let socket = root.join("tmp/notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut server = Command::new(program)
        .args(line)
        .env_clear()
        .envs(&environment)
        .env("NOTIFY_SOCKET", &socket)
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut message = [0; 64];
    let hear = |message: &mut [u8; 64]| {
        let length = manager.recv(message).expect("the server says nothing");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    assert_eq!(hear(&mut message), "READY=1");
    let address = fs::read_to_string(&written).unwrap();
    TcpStream::connect(address.trim()).expect("it listens when it says so");
    run(Command::new("kill").arg(server.id().to_string()));
    assert_eq!(hear(&mut message), "STOPPING=1");
    let status = server.wait().unwrap();
    let mut log = String::new();
    server
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(status.success(), "{status}: {log}");
}
